//! Programs against recorded states: which steps, in which order.

use std::collections::HashMap;
use std::sync::Arc;

use epid_fake::{Fake, World};
use epid_provider::{Kind, Map, Observed, Owner, Path, Present, Record, Urn, Value};

use super::{Action, Mode, Observations, Plan, PlanProblem, Refresh, Request, Selection, plan};
use crate::expression::{Located, Span, Template};
use crate::graph::{Inputs, Known, Providers, ResourceGraph, View, build, provider_type};
use crate::program::{Components, Declaration, Options, Program};
use crate::state::{Entry, Generation, Header, RecordKey, Role, Snapshot, Timeouts};

fn providers() -> Providers {
    let mut providers = Providers::default();
    providers.add(Arc::new(Fake::new(World::new())));
    providers
}

fn template(value: &Value) -> Located {
    Located::from(match value {
        Value::Str(text) => Template::parse_text(text).unwrap(),
        Value::Map(map) => Template::object(map.iter().map(|(k, v)| (k.clone(), template(v)))),
        other => Template::Literal(other.clone()),
    })
}

/// A program as `name: {type, properties, options}`, in JSON.
fn graph(text: &str) -> ResourceGraph {
    let all: Value = serde_json::from_str(text).unwrap();
    let mut program = Program::default();
    for (name, body) in all.as_map().unwrap().iter() {
        let get = |key: &str| {
            body.get(key)
                .cloned()
                .unwrap_or_else(|| Value::Map(Map::default()))
        };
        let option = |key: &str| body.get("options").and_then(|o| o.get(key)).cloned();
        let texts = |key: &str| -> Vec<Arc<str>> {
            let list = option(key).unwrap_or(Value::list([]));
            list.as_list()
                .unwrap()
                .iter()
                .map(|v| Arc::from(v.as_str().unwrap()))
                .collect()
        };
        let flag = |key: &str| option(key).and_then(|v| v.as_bool());
        let paths = |key: &str| -> Vec<Path> { texts(key).iter().map(|t| t.parse().unwrap()).collect() };
        let options = Options {
            depends_on: texts("dependsOn"),
            protect: flag("protect").unwrap_or_default(),
            retain_on_delete: flag("retainOnDelete").unwrap_or_default(),
            delete_before_replace: flag("deleteBeforeReplace"),
            ignore_changes: paths("ignoreChanges"),
            replace_on_changes: paths("replaceOnChanges"),
            aliases: texts("aliases"),
            served_by: texts("servedBy"),
            ..Options::default()
        };
        let declaration = Declaration {
            name: name.clone(),
            kind: Kind::parse(&format!("fake:thing:{}", get("type").as_str().unwrap())).unwrap(),
            properties: template(&get("properties")),
            options,
            for_each: None,
            when: None,
            span: Span::NONE,
            kind_span: Span::NONE,
        };
        program.resources.push(declaration);
    }
    let inputs = Inputs {
        project: "p",
        stack: "s",
        config: Map::default(),
        stacks: Map::default(),
        components: &Components::default(),
        providers: &providers(),
        digests: &|_: &[u8]| None,
        place: &|_| None,
    };
    build(&program, &inputs).unwrap()
}

/// The state after everything a program says was made.
fn made(graph: &ResourceGraph) -> Snapshot {
    let mut snapshot = Snapshot::new(Header::new("p", "s", "local", "lineage"));
    let mut known: HashMap<Urn, Known> = HashMap::new();
    for (order, node) in (0u64..).zip(graph.nodes()) {
        let look = |urn: &Urn| known.get(urn).cloned();
        let view = View::new(graph.names(), node.each.as_ref(), &look, &|_: &[u8]| None);
        let applied = node.properties.template.evaluate(&view).unwrap();
        let id = format!("{}-id", node.address);
        let outputs = Value::map([
            ("id", Value::str(&id)),
            ("endpoint", Value::str(&format!("{}-endpoint", node.address))),
            ("version", Value::str("1")),
            ("found", Value::str("fact")),
        ]);
        let record = Record {
            urn: node.urn.clone(),
            kind: node.kind.clone(),
            id: Arc::from(id),
            applied: applied.clone(),
            resolved: Value::Map(Map::default()),
            outputs: outputs.clone(),
            incomplete: Vec::new(),
            attempted: Vec::new(),
        };
        let provider = providers().of(&node.kind).unwrap().clone();
        let mut dependencies: Vec<Urn> = node.edges.iter().map(|e| e.to.clone()).collect();
        dependencies.sort();
        dependencies.dedup();
        let key = if provider_type(&node.kind).is_none() {
            provider.identity(&node.kind, &applied)
        } else {
            None
        };
        let entry = Entry {
            provider: node.provider.clone().map(|urn| RecordKey {
                urn,
                generation: Generation(1),
            }),
            dependencies,
            deleted_with: node.deleted_with.clone(),
            served_by: node.served_by.clone(),
            outside: node.outside,
            protect: node.options.protect,
            retain_on_delete: node.options.retain_on_delete,
            delete_before_replace: node.options.delete_before_replace,
            ignore_changes: node.options.ignore_changes.clone(),
            replace_on_changes: node.options.replace_on_changes.clone(),
            key,
            order,
            timeouts: Timeouts::default(),
            ..Entry::new(record)
        };
        snapshot.entries.insert(entry.key_of(), Arc::new(entry));
        let schema = Some(node.schema.clone());
        let facts = Known {
            id: Value::Null,
            inputs: applied,
            resolved: Value::Null,
            outputs,
            schema,
            pending: None,
        };
        known.insert(node.urn.clone(), facts);
    }
    snapshot
}

struct Case<'a> {
    graph: &'a ResourceGraph,
    snapshot: &'a Snapshot,
    observed: Observations,
    selection: Selection,
    mode: Mode,
    refresh: Refresh,
}

impl<'a> Case<'a> {
    fn new(graph: &'a ResourceGraph, snapshot: &'a Snapshot) -> Self {
        let (observed, selection) = (Observations::new(), Selection::default());
        Self {
            graph,
            snapshot,
            observed,
            selection,
            mode: Mode::Up,
            refresh: Refresh::Undo,
        }
    }

    fn plan(&self) -> Result<Plan, Vec<PlanProblem>> {
        let made = plan(&Request {
            graph: self.graph,
            snapshot: self.snapshot,
            observed: &self.observed,
            providers: &providers(),
            mode: self.mode,
            selection: &self.selection,
            refresh: self.refresh,
            digests: &|_: &[u8]| None,
        });
        if let Ok(plan) = &made {
            for step in &plan.steps {
                assert!(step.after.iter().all(|id| *id < step.id), "{step:?}");
            }
        }
        made
    }

    /// `action address#generation <- what it comes after`.
    fn steps(&self) -> Vec<String> {
        let plan = self.plan().unwrap();
        let name = |id: super::StepId| {
            let step = plan.step(id).unwrap();
            format!("{:?} {}#{}", step.action, step.address, step.target.generation)
        };
        let skip = |id: super::StepId| plan.step(id).unwrap().action == Action::Connect;
        plan.steps
            .iter()
            .filter(|s| s.action != Action::Connect)
            .map(|s| {
                let after: Vec<String> = s
                    .after
                    .iter()
                    .filter(|id| !skip(**id))
                    .map(|id| name(*id))
                    .collect();
                let takes: Vec<String> = s.takes.iter().map(|k| k.urn.path().to_owned()).collect();
                let takes = if takes.is_empty() {
                    String::new()
                } else {
                    format!(" takes {}", takes.join(", "))
                };
                let after = if after.is_empty() {
                    String::new()
                } else {
                    format!(" <- {}", after.join(", "))
                };
                format!("{}{takes}{after}", name(s.id))
            })
            .collect()
    }
}

const PAIR: &str = r#"{
    "a": {"type": "Item", "properties": {"name": "a", "value": "1", "shape": "round"}},
    "b": {"type": "Item", "properties": {"name": "b", "value": "${a.endpoint}"}}
}"#;

#[test]
fn everything_is_made_in_order_and_then_nothing_changes() {
    let graph = graph(PAIR);
    let empty = Snapshot::new(Header::new("p", "s", "local", ""));
    assert_eq!(
        Case::new(&graph, &empty).steps(),
        ["Create a#1", "Create b#1 <- Create a#1"]
    );
    let made = made(&graph);
    let plan = Case::new(&graph, &made).plan().unwrap();
    assert!(plan.is_empty(), "{:?}", plan.steps);
    assert_eq!(
        plan.unchanged, 2,
        "providers are none of the resources that people count"
    );
}

#[test]
fn an_update_that_keeps_its_outputs_leaves_what_depends_on_it_alone() {
    let made = made(&graph(PAIR));
    let changed = graph(&PAIR.replace("\"1\"", "\"2\""));
    assert_eq!(
        Case::new(&changed, &made).steps(),
        ["Update a#1", "Nothing b#1 <- Update a#1"]
    );
}

#[test]
fn an_update_of_an_output_that_changes_may_update_what_depends_on_it() {
    let text = PAIR.replace("a.endpoint", "a.version");
    let made = made(&graph(&text));
    let changed = graph(&text.replace("\"1\"", "\"2\""));
    assert_eq!(
        Case::new(&changed, &made).steps(),
        ["Update a#1", "Update b#1 <- Update a#1"]
    );
}

#[test]
fn a_name_that_stays_makes_the_old_one_go_first() {
    let made = made(&graph(PAIR));
    let changed = graph(&PAIR.replace("round", "square"));
    assert_eq!(
        Case::new(&changed, &made).steps(),
        [
            "Vacate a#1",
            "Refill a#2 <- Vacate a#1",
            "Update b#1 <- Refill a#2"
        ]
    );
}

#[test]
fn what_cannot_go_while_it_is_named_is_told_how_the_new_one_comes_first() {
    let text = |shape: &str, name: &str, options: &str, user: &str| {
        format!(
            r#"{{"a": {{"type": "Group", "properties": {{{name} "shape": "{shape}"}}, "options": {{{options}}}}},
                "b": {{"type": "Item", "properties": {{{user}}}, "options": {{"dependsOn": ["a"]}}}}}}"#
        )
    };
    let (name, user) = (r#""name": "a","#, r#""value": "${a.id}""#);
    let first = r#""deleteBeforeReplace": true"#;
    let made = made(&graph(&text("round", name, "", user)));
    let told = |name: &str, options: &str, user: &str| {
        let changed = graph(&text("square", name, options, user));
        let problems = Case::new(&changed, &made).plan().err().unwrap_or_default();
        let told = problems.iter().map(|problem| {
            let hint = problem.hint.clone().unwrap_or_default();
            format!("{}: {hint}", problem.message)
        });
        told.collect::<Vec<_>>()
    };
    let why = "`a` has to be replaced and the old one would go first, but it cannot be deleted while `b` names it: ";
    let other = "give it another `name`, or none,";
    assert_eq!(
        told(name, "", user),
        [format!("{why}{other} so that the new one is made first")]
    );
    assert_eq!(
        told(name, first, user),
        [format!(
            "{why}{other} and take `deleteBeforeReplace` out of its options so that the new one is made first"
        )]
    );
    // A new name, nobody who names it any more, or who goes first with it.
    for (name, user) in [
        (r#""name": "other","#, user),
        ("", user),
        (name, ""),
        (name, r#""shape": "${a.id}""#),
    ] {
        assert_eq!(told(name, "", user), Vec::<String>::new(), "{name} {user}");
    }
}

#[test]
fn without_a_collision_the_new_one_comes_first_and_the_old_one_goes_last() {
    let made = made(&graph(PAIR));
    let changed = graph(&PAIR.replace("\"name\": \"a\"", "\"name\": \"other\""));
    assert_eq!(
        Case::new(&changed, &made).steps(),
        [
            "Replace a#2",
            "Update b#1 <- Replace a#2",
            "Delete a#1 <- Replace a#2, Update b#1"
        ]
    );
}

#[test]
fn a_delete_first_replacement_takes_along_what_must_be_replaced_with_it() {
    let text = r#"{
        "net": {"type": "Item", "properties": {"name": "net", "shape": "round"}},
        "sub": {"type": "Tagged", "properties": {"shape": "${net.id}"}},
        "top": {"type": "Item", "properties": {"name": "top", "value": "${sub.id}"}}
    }"#;
    let made = made(&graph(text));
    let changed = graph(&text.replace("round", "square"));
    assert_eq!(
        Case::new(&changed, &made).steps(),
        [
            "Vacate sub#1",
            "Vacate net#1 <- Vacate sub#1",
            "Refill net#2 <- Vacate net#1",
            "Refill sub#2 <- Vacate sub#1, Refill net#2",
            "Update top#1 <- Refill sub#2"
        ]
    );
}

#[test]
fn a_delete_first_root_is_decided_before_the_first_delete_of_its_chain() {
    let text = r#"{
        "src": {"type": "Item", "properties": {"name": "src", "value": "1"}},
        "net": {"type": "Item", "properties": {"name": "net", "shape": "${src.version}"}},
        "sub": {"type": "Tagged", "properties": {"shape": "${net.id}"}}
    }"#;
    let made = made(&graph(text));
    let changed = graph(&text.replace("\"value\": \"1\"", "\"value\": \"2\""));
    assert_eq!(
        Case::new(&changed, &made).steps(),
        [
            "Update src#1",
            "Decide net#2 <- Update src#1",
            "Vacate sub#1 <- Decide net#2",
            "Vacate net#1 <- Decide net#2, Vacate sub#1",
            "Refill net#2 <- Update src#1, Vacate net#1",
            "Refill sub#2 <- Vacate sub#1, Refill net#2"
        ]
    );
}

#[test]
fn an_option_that_contradicts_a_collision_is_a_problem() {
    let text = PAIR.replace("}},\n", "}, \"options\": {\"deleteBeforeReplace\": false}},\n");
    let made = made(&graph(&text));
    let changed = graph(&text.replace("round", "square"));
    let problems = Case::new(&changed, &made).plan().unwrap_err();
    assert!(problems[0].message.contains("keeps its name"), "{problems:?}");
}

#[test]
fn what_left_the_program_goes_after_what_used_it() {
    let graph_of_pair = graph(PAIR);
    let made = made(&graph_of_pair);
    let empty = ResourceGraph::empty();
    let destroy = Case {
        mode: Mode::Destroy,
        ..Case::new(&empty, &made)
    };
    assert_eq!(
        destroy.steps(),
        [
            "Delete b#1",
            "Delete a#1 <- Delete b#1",
            "Drop fake#1 <- Delete b#1, Delete a#1"
        ]
    );
    let only_b = graph(r#"{"b": {"type": "Item", "properties": {"name": "b", "value": "plain"}}}"#);
    assert_eq!(
        Case::new(&only_b, &made).steps(),
        ["Update b#1", "Delete a#1 <- Update b#1"]
    );
}

#[test]
fn what_dies_with_its_container_is_not_deleted_one_by_one() {
    let text = r#"{
        "box": {"type": "Box", "properties": {"name": "box"}},
        "inner": {"type": "Child", "properties": {"box": "box", "name": "inner"}},
        "door": {"type": "Child", "properties": {"box": "box", "name": "door", "outside": true}}
    }"#;
    let made = made(&graph(text));
    let empty = ResourceGraph::empty();
    let destroy = Case {
        mode: Mode::Destroy,
        ..Case::new(&empty, &made)
    };
    assert_eq!(
        destroy.steps(),
        [
            "Delete door#1",
            "Delete box#1 takes inner <- Delete door#1",
            "Drop fake#1 <- Delete door#1, Delete box#1"
        ]
    );
}

#[test]
fn what_stands_on_something_that_needs_the_container_is_deleted_by_itself() {
    let text = r#"{
        "box": {"type": "Box", "properties": {"name": "box"}},
        "key": {"type": "Item", "properties": {"name": "key", "value": "${box.endpoint}"}},
        "inner": {"type": "Child", "properties": {"box": "box", "name": "inner", "value": "${key.endpoint}"}},
        "leaf": {"type": "Child", "properties": {"box": "box", "name": "leaf", "value": "${inner.id}"}},
        "free": {"type": "Child", "properties": {"box": "box", "name": "free"}}
    }"#;
    let made = made(&graph(text));
    let empty = ResourceGraph::empty();
    let destroy = Case {
        mode: Mode::Destroy,
        ..Case::new(&empty, &made)
    };
    let steps = destroy.steps();
    assert!(
        steps.contains(&"Delete box#1 takes free <- Delete leaf#1, Delete inner#1, Delete key#1".to_owned()),
        "{steps:#?}"
    );
}

#[test]
fn of_many_containers_each_takes_its_own() {
    // More than are walked at once, and one stands on what needs another.
    let boxes = (0..150).map(|n| {
        let stands = if n == 140 { "${inner3.id}" } else { "alone" };
        format!(
            r#""box{n}": {{"type": "Box", "properties": {{"name": "box{n}"}}}},
               "inner{n}": {{"type": "Child", "properties": {{"box": "box{n}", "name": "inner"}}}},
               "leaf{n}": {{"type": "Child", "properties": {{"box": "box{n}", "name": "leaf", "value": "{stands}"}}}}"#
        )
    });
    let made = made(&graph(&format!("{{{}}}", boxes.collect::<Vec<_>>().join(","))));
    let empty = ResourceGraph::empty();
    let destroy = Case {
        mode: Mode::Destroy,
        ..Case::new(&empty, &made)
    };
    let steps = destroy.steps();
    let deletes: Vec<&String> = steps.iter().filter(|s| s.starts_with("Delete box")).collect();
    assert_eq!(deletes.len(), 150);
    for (n, step) in (0..150).map(|n| (n, format!("Delete box{n}#1 takes inner{n}, leaf{n}"))) {
        assert!(deletes.iter().any(|s| s.starts_with(&step)), "{n}: {deletes:#?}");
    }
    assert!(
        steps.contains(&"Delete box3#1 takes inner3, leaf3 <- Delete box140#1".to_owned()),
        "{steps:#?}"
    );
}

#[test]
fn a_replaced_container_takes_its_contents_and_they_are_made_again() {
    let text = r#"{
        "box": {"type": "Box", "properties": {"name": "box"}},
        "inner": {"type": "Child", "properties": {"box": "box", "name": "inner"}}
    }"#;
    let made = made(&graph(text));
    let graph = graph(text);
    let mut case = Case::new(&graph, &made);
    case.selection.replace = vec!["box".parse().unwrap()];
    assert_eq!(
        case.steps(),
        [
            "Vacate box#1 takes inner",
            "Refill box#2 <- Vacate box#1",
            "Nothing inner#1 <- Vacate box#1",
            "Refill inner#2 <- Refill box#2, Nothing inner#1"
        ]
    );
}

#[test]
fn a_rename_moves_the_record_and_deletes_nothing() {
    let made = made(&graph(PAIR));
    let renamed = graph(&PAIR.replace("\"a\": {", "\"web\": {").replace("${a.", "${web."));
    assert_eq!(
        Case::new(&renamed, &made).steps(),
        ["Record web#1", "Record b#1 <- Record web#1"]
    );
}

#[test]
fn two_names_for_one_thing_are_a_problem() {
    let twice = graph(
        r#"{"a": {"type": "Item", "properties": {"name": "x"}}, "b": {"type": "Item", "properties": {"name": "x"}}}"#,
    );
    let empty = Snapshot::new(Header::new("p", "s", "local", ""));
    let problems = Case::new(&twice, &empty).plan().unwrap_err();
    assert_eq!(problems[0].message, "`a` and `b` are the same resource: Item/x");
}

#[test]
fn protection_refuses_delete_and_replacement() {
    let text = PAIR.replace("}},\n", "}, \"options\": {\"protect\": true}},\n");
    let made = made(&graph(&text));
    let empty = ResourceGraph::empty();
    let destroy = Case {
        mode: Mode::Destroy,
        ..Case::new(&empty, &made)
    };
    assert!(
        destroy.plan().unwrap_err()[0]
            .message
            .contains("`a` is protected")
    );
    let changed = graph(&text.replace("round", "square"));
    assert!(
        Case::new(&changed, &made).plan().unwrap_err()[0]
            .message
            .contains("shape would replace it")
    );
}

#[test]
fn ignored_paths_stay_and_changed_options_are_recorded() {
    let made = made(&graph(PAIR));
    let ignoring = PAIR.replace("}},\n", "}, \"options\": {\"ignoreChanges\": [\"value\"]}},\n");
    let changed = graph(&ignoring.replace("\"value\": \"1\"", "\"value\": \"9\""));
    assert_eq!(
        Case::new(&changed, &made).steps(),
        ["Record a#1", "Nothing b#1 <- Record a#1"]
    );
}

#[test]
fn a_target_leaves_the_rest_alone_and_names_what_it_needs() {
    let graph_of_pair = graph(PAIR);
    let empty = Snapshot::new(Header::new("p", "s", "local", ""));
    let mut case = Case::new(&graph_of_pair, &empty);
    case.selection.targets = vec!["b".parse().unwrap()];
    let problems = case.plan().unwrap_err();
    assert!(
        problems
            .iter()
            .any(|p| p.message.contains("`a` is needed and does not exist yet")),
        "{problems:?}"
    );
    let made = made(&graph_of_pair);
    let changed = graph(&PAIR.replace("\"1\"", "\"2\"").replace("${a.endpoint}", "new"));
    let mut case = Case::new(&changed, &made);
    case.selection.targets = vec!["b".parse().unwrap()];
    assert_eq!(case.steps(), ["Update b#1"]);
    case.selection = Selection {
        excludes: vec!["b".parse().unwrap()],
        ..Selection::default()
    };
    assert_eq!(case.steps(), ["Update a#1"]);
}

#[test]
fn drift_is_undone_or_kept_and_what_is_gone_is_made_again() {
    let graph_of_pair = graph(PAIR);
    let made = made(&graph_of_pair);
    let urn = graph_of_pair
        .nodes()
        .find(|n| &*n.address == "a")
        .unwrap()
        .urn
        .clone();
    let seen = Present {
        id: Arc::from("a-id"),
        properties: serde_json::from_str(r#"{"name": "a", "value": "9", "shape": "round"}"#).unwrap(),
        outputs: Value::Map(Map::default()),
        owner: Some(Owner {
            lineage: made.header.lineage.clone(),
            urn: None,
        }),
    };
    let mut case = Case::new(&graph_of_pair, &made);
    case.observed
        .insert(urn.clone(), Observed::Present(Box::new(seen)));
    assert_eq!(case.steps(), ["Update a#1", "Nothing b#1 <- Update a#1"]);
    assert_eq!(case.plan().unwrap().drift.len(), 1);
    case.refresh = Refresh::Accept;
    assert_eq!(case.steps(), ["Record a#1", "Nothing b#1 <- Record a#1"]);
    case.observed.insert(urn, Observed::Absent);
    assert_eq!(case.steps(), ["Create a#2 takes a", "Update b#1 <- Create a#2"]);
}

#[test]
fn a_condemned_record_is_deleted_by_the_next_plan() {
    let graph_of_pair = graph(PAIR);
    let mut made = made(&graph_of_pair);
    let live = made
        .entries
        .values()
        .find(|e| e.record.urn.path() == "a")
        .unwrap()
        .clone();
    let old = Entry {
        role: Role::Condemned,
        key: None,
        ..(*live).clone()
    };
    let new = Entry {
        generation: Generation(2),
        ..(*live).clone()
    };
    made.entries.insert(old.key_of(), Arc::new(old));
    made.entries.insert(new.key_of(), Arc::new(new));
    assert_eq!(Case::new(&graph_of_pair, &made).steps(), ["Delete a#1"]);
}

#[test]
fn a_plan_is_the_same_each_time_and_survives_its_file() {
    let made = made(&graph(PAIR));
    let changed = graph(&PAIR.replace("round", "square"));
    let first = serde_json::to_string(&Case::new(&changed, &made).plan().unwrap()).unwrap();
    let second = serde_json::to_string(&Case::new(&changed, &made).plan().unwrap()).unwrap();
    assert_eq!(first, second);
    let read: Plan = serde_json::from_str(&first).unwrap();
    assert_eq!(serde_json::to_string(&read).unwrap(), first);
}
