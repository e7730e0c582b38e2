//! What an expansion promises.

use std::time::Duration;

use epid_provider::{Field, KindSchema, Object, Path, Problem, Type};
use proptest::prelude::*;

use super::*;
use crate::expression::SourceId;
use crate::program::component::{Component, Expansion};
use crate::program::declaration::{Declaration, PartAlias, Timeouts};

fn kind(text: &str) -> Kind {
    Kind::parse(text).unwrap()
}

fn schema(name: &str, fields: impl IntoIterator<Item = Field>) -> KindSchema {
    KindSchema::new(kind(name), "", Object::of(fields))
}

/// A deployment and a service; `replicas` shapes it, `name` is handed on.
struct Web(KindSchema);

impl Component for Web {
    fn kind(&self) -> &Kind {
        &self.0.kind
    }

    fn schema(&self) -> &KindSchema {
        &self.0
    }

    fn expand(&self, x: &mut Expansion<'_>) -> Vec<Problem> {
        let replicas = match x.known("replicas") {
            Ok(value) => value.as_int().unwrap_or(1),
            Err(problem) => return vec![problem],
        };
        if replicas > 9 {
            return vec![Problem::new(Path::root().key("replicas"), "nine are enough")];
        }
        let name = x.property("name").unwrap_or_else(|| "web".into());
        let metadata = Template::object([("name", name.clone())]);
        let deployment = x.child(
            "deployment",
            kind("kubernetes:apps/v1:Deployment"),
            Template::object([
                ("metadata", Located::from(metadata)),
                ("replicas", replicas.into()),
            ]),
        );
        let selector = Template::object([("selector", deployment.reference("metadata.name"))]);
        let service = x.child("service", kind("kubernetes:v1:Service"), selector);
        if let Some(options) = x.options(&service) {
            options.aliases.push(Arc::from("svc"));
        }
        x.child(
            "role",
            kind("aws:iam:Role"),
            Template::object::<&str, Template>([]),
        );
        x.output("name", name);
        x.output("selector", service.reference("selector"));
        Vec::new()
    }
}

/// Two of them, or itself forever.
struct Pair(KindSchema);

impl Component for Pair {
    fn kind(&self) -> &Kind {
        &self.0.kind
    }

    fn schema(&self) -> &KindSchema {
        &self.0
    }

    fn expand(&self, x: &mut Expansion<'_>) -> Vec<Problem> {
        if x.known("forever") == Ok(&Value::Bool(true)) {
            x.child(
                "again",
                self.0.kind.clone(),
                Template::object([("forever", true)]),
            );
            return Vec::new();
        }
        let name = x.property("name").unwrap_or_else(|| "pair".into());
        let properties = || Template::object([("name", name.clone())]);
        let left = x.child("left", kind("epid:test:Web"), properties());
        x.child("right", kind("epid:test:Web"), properties());
        x.output("left", left.reference("name"));
        Vec::new()
    }
}

fn components() -> Components {
    let name = || Field::new("name", Type::String);
    let replicas = Field::new("replicas", Type::Int);
    let secret = Field::new("password", Type::String).secret();
    Components::new()
        .with(Web(schema("epid:test:Web", [name(), replicas, secret])))
        .with(Pair(schema(
            "epid:test:Pair",
            [name(), Field::new("forever", Type::Bool)],
        )))
}

/// A template as a program would have it, every text parsed.
fn template(json: &str) -> Template {
    Template::from_program_value(&serde_json::from_str(json).unwrap()).unwrap()
}

fn span(at: usize) -> Span {
    Span::new(SourceId(0), at..at + 1)
}

fn declared(name: &str, of: &str, properties: &str) -> Declaration {
    Declaration {
        name: Arc::from(name),
        kind: kind(of),
        properties: template(properties).into(),
        options: Options::default(),
        for_each: None,
        when: None,
        span: span(7),
        kind_span: span(8),
    }
}

fn for_each(json: &str, declaration: Declaration) -> Declaration {
    Declaration {
        for_each: Some(template(json).into()),
        ..declaration
    }
}

fn when(json: &str, declaration: Declaration) -> Declaration {
    Declaration {
        when: Some(template(json).into()),
        ..declaration
    }
}

fn program(resources: impl IntoIterator<Item = Declaration>) -> Program {
    let provider = |name: &str, of: &str| declared(name, &format!("epid:provider:{of}"), "{}");
    Program {
        providers: vec![provider("cloud", "aws"), provider("cluster", "kubernetes")],
        resources: resources.into_iter().collect(),
        ..Program::default()
    }
}

fn expanded(program: &Program) -> Result<Expanded, Vec<Diagnostic>> {
    let config: Value =
        serde_json::from_str(r#"{"zones": ["a", "b"], "on": true, "off": false, "n": 3, "none": []}"#)
            .unwrap();
    let config = config
        .as_map()
        .unwrap()
        .with("secret", Value::Bool(true).into_secret());
    let setting = Setting {
        project: "shop",
        stack: "dev",
        config: &config,
        components: &components(),
    };
    expand(program, &setting)
}

fn made(resources: impl IntoIterator<Item = Declaration>) -> Expanded {
    expanded(&program(resources)).unwrap_or_else(|problems| panic!("{problems:?}"))
}

fn addresses(expanded: &Expanded) -> Vec<&str> {
    let resources = expanded.declarations.iter().filter(|d| !d.is_provider);
    resources.map(|d| &*d.address).collect()
}

fn problems(resources: impl IntoIterator<Item = Declaration>) -> Vec<String> {
    let problem = |d: Diagnostic| {
        let hint = d.hint.map_or(String::new(), |h| format!(" ({h})"));
        format!("{}: {}{hint}", d.span.unwrap_or_default().start, d.message)
    };
    match expanded(&program(resources)) {
        Ok(made) => panic!("made {:?}", addresses(&made)),
        Err(all) => all.into_iter().map(problem).collect(),
    }
}

fn find<'e>(expanded: &'e Expanded, address: &str) -> &'e Instance {
    let found = expanded
        .declarations
        .iter()
        .find(|d| !d.is_provider && &*d.address == address);
    found.unwrap_or_else(|| panic!("no {address} in {:?}", addresses(expanded)))
}

#[test]
fn for_each_makes_one_of_each() {
    let made = made([
        for_each(
            r#""${config.zones}""#,
            declared("subnet", "aws:ec2:Subnet", r#"{"zone": "${each.key}"}"#),
        ),
        for_each(
            r#"{"x": {"n": 1}, "y": {"n": "${config.n}"}}"#,
            declared("queue", "aws:sqs:Queue", r#"{"n": "${each.value.n}"}"#),
        ),
        for_each(r#""${config.none}""#, declared("nothing", "aws:ec2:Vpc", "{}")),
        when(
            r#""${each.key != 'b'}""#,
            for_each(r#"["a", "b"]"#, declared("some", "aws:ec2:Vpc", "{}")),
        ),
    ]);
    assert_eq!(
        addresses(&made),
        [
            r#"subnet["a"]"#,
            r#"subnet["b"]"#,
            r#"queue["x"]"#,
            r#"queue["y"]"#,
            r#"some["a"]"#
        ]
    );
    let queue = find(&made, r#"queue["y"]"#).each.clone();
    assert_eq!(queue, Some((Arc::from("y"), Value::map([("n", Value::Int(3))]))));
    assert_eq!(made.groups.get("nothing").map(BTreeMap::len), Some(0));
}

#[test]
fn an_address_leads_to_what_it_means() {
    let made = made([
        declared("vpc", "aws:ec2:Vpc", "{}"),
        for_each(r#"["a", "b"]"#, declared("subnet", "aws:ec2:Subnet", "{}")),
        for_each(r#"["x"]"#, declared("web", "epid:test:Web", "{}")),
        when("false", declared("gone", "aws:ec2:Vpc", "{}")),
    ]);
    let target = |text: &str| {
        let expression = crate::expression::Expression::parse(text).unwrap();
        let found = made.resolve(&expression.references()[0]);
        match found {
            None => "nothing".to_owned(),
            Some(Target::Instance(address, rest)) => format!("instance {address} {}", rest.len()),
            Some(Target::Component(address, rest)) => format!("component {address} {}", rest.len()),
            Some(Target::Each(all)) => format!("each {:?}", all.values().collect::<Vec<_>>()),
        }
    };
    assert_eq!(target("vpc.id"), "instance vpc 1");
    assert_eq!(target("subnet['a'].id"), r#"instance subnet["a"] 1"#);
    assert_eq!(target("`subnet[\"a\"]`.id"), r#"instance subnet["a"] 1"#);
    assert_eq!(target("subnet"), r#"each ["subnet[\"a\"]", "subnet[\"b\"]"]"#);
    assert_eq!(target("subnet.c.id"), "nothing");
    assert_eq!(target("web.x.name"), r#"component web["x"] 1"#);
    assert_eq!(target("`web[\"x\"]/role`.arn"), r#"instance web["x"]/role 1"#);
    assert_eq!(target("gone.id"), "component gone 1");
    assert_eq!(target("config.n"), "nothing");
    assert_eq!(made.components.get("gone"), Some(&Template::Literal(Value::Null)));
    assert_eq!(made.members("subnet").len(), 2);
    assert_eq!(made.members("web").len(), 3);
    assert_eq!(made.members("we").len(), 0);
}

#[test]
fn components_nest_and_their_outputs_are_references() {
    let made = made([
        declared("vpc", "aws:ec2:Vpc", "{}"),
        declared("pair", "epid:test:Pair", r#"{"name": "${vpc.id}-x"}"#),
    ]);
    assert_eq!(
        addresses(&made),
        [
            "vpc",
            "pair/left/deployment",
            "pair/left/service",
            "pair/left/role",
            "pair/right/deployment",
            "pair/right/service",
            "pair/right/role"
        ]
    );
    let service = find(&made, "pair/left/service");
    assert_eq!(
        service.properties.template.get("selector").map(|l| &l.template),
        Some(&Template::reference(
            "pair/left/deployment",
            &["metadata", "name"]
        ))
    );
    let output = made
        .components
        .get("pair")
        .and_then(|o| o.get("left"))
        .map(|l| &l.template);
    assert_eq!(output, Some(&Template::reference("pair/left", &["name"])));
    let name = made
        .components
        .get("pair/left")
        .and_then(|o| o.get("name"))
        .map(|l| &l.template);
    assert_eq!(name, Some(&Template::parse_text("${vpc.id}-x").unwrap()));
}

#[test]
fn what_each_was_is_kept_in_children_and_put_into_outputs() {
    let made = made([for_each(
        r#"{"a": "x"}"#,
        declared(
            "web",
            "epid:test:Web",
            r#"{"name": "n-${each.key}-${each.value + '!'}"}"#,
        ),
    )]);
    let child = find(&made, r#"web["a"]/deployment"#);
    assert_eq!(child.each, Some((Arc::from("a"), Value::str("x"))));
    let output = made
        .components
        .get(r#"web["a"]"#)
        .and_then(|o| o.get("name"))
        .unwrap();
    assert_eq!(
        output.template.evaluate(&Map::default()),
        Ok(Value::str("n-a-x!"))
    );
}

#[test]
fn children_inherit_options() {
    let options = Options {
        provider: Some(Arc::from("cluster")),
        protect: true,
        retain_on_delete: true,
        depends_on: vec![Arc::from("vpc")],
        deleted_with: Some(Arc::from("vpc")),
        served_by: vec![Arc::from("vpc")],
        aliases: vec![
            Arc::from("old"),
            Arc::from("urn:epid:shop:test:epid:test:Pair:older"),
        ],
        spans: BTreeMap::from([
            (Arc::from("dependsOn[0]"), span(3)),
            (Arc::from("aliases"), span(4)),
        ]),
        ..Options::default()
    };
    let made = made([
        declared("vpc", "aws:ec2:Vpc", "{}"),
        Declaration {
            options,
            ..declared("pair", "epid:test:Pair", "{}")
        },
    ]);
    let o = &find(&made, "pair/left/service").options;
    assert_eq!(o.provider.as_deref(), Some("cluster"));
    assert!(o.protect && o.retain_on_delete);
    assert_eq!(
        (o.depends_on.len(), o.served_by.len(), o.deleted_with.as_deref()),
        (1, 1, Some("vpc"))
    );
    assert_eq!((o.span("dependsOn[0]"), o.span("aliases")), (span(3), Span::NONE));
    let aliases: Vec<&str> = o.aliases.iter().map(|a| &**a).collect();
    assert_eq!(
        aliases,
        [
            "pair/left/svc",
            "old/left/service",
            "old/left/svc",
            "urn:epid:shop:test:kubernetes:core:Service:older/left/service",
            "urn:epid:shop:test:kubernetes:core:Service:older/left/svc"
        ]
    );
    // A provider of another type is not for it.
    assert_eq!(find(&made, "pair/left/role").options.provider, None);
}

#[test]
fn aliases_follow_the_keys_of_for_each() {
    let options = Options {
        aliases: vec![Arc::from("net"), Arc::from("zone[\"b\"]")],
        ..Options::default()
    };
    let made = made([for_each(
        r#"["a", "b"]"#,
        Declaration {
            options,
            ..declared("subnet", "aws:ec2:Subnet", "{}")
        },
    )]);
    let aliases = |address: &str| find(&made, address).options.aliases.join(" ");
    assert_eq!(aliases(r#"subnet["a"]"#), r#"net["a"]"#);
    assert_eq!(aliases(r#"subnet["b"]"#), r#"net["b"] zone["b"]"#);
}

#[test]
fn what_one_instance_or_child_was_called_is_said_of_that_one() {
    let part = |way: &[&str], before: &str| PartAlias {
        way: way.iter().copied().map(Arc::from).collect(),
        before: Arc::from(before),
    };
    let with = |aliases: &[&str], part_aliases: Vec<PartAlias>, kind: &str| Declaration {
        options: Options {
            aliases: aliases.iter().copied().map(Arc::from).collect(),
            part_aliases,
            ..Options::default()
        },
        ..declared("web", kind, "{}")
    };
    let aliases = |made: &Expanded, address: &str| find(made, address).options.aliases.join(" ");
    let vpc = "aws:ec2:Vpc";
    let parts = vec![part(&["a"], "web"), part(&["c"], "old[\"b\"]")];
    let several = made([for_each(r#"["a", "c"]"#, with(&[], parts, vpc))]);
    assert_eq!(aliases(&several, r#"web["a"]"#), "web");
    assert_eq!(aliases(&several, r#"web["c"]"#), r#"old["b"]"#);
    // An only instance has whatever is said of all.
    let only = made([for_each(
        r#"["a"]"#,
        with(&["web", "old[\"z\"]", "net"], Vec::new(), vpc),
    )]);
    assert_eq!(aliases(&only, r#"web["a"]"#), r#"web old["z"] net["a"] net"#);
    // Into a component, and into one of several.
    let service = part(&["left", "service"], "service");
    let one = made([with(&[], vec![service], "epid:test:Pair")]);
    assert!(
        aliases(&one, "web/left/service")
            .split(' ')
            .any(|alias| alias == "service")
    );
    let each = vec![part(&["a", "left", "service"], "service"), part(&["c"], "pair")];
    let each = made([for_each(r#"["a", "c"]"#, with(&[], each, "epid:test:Pair"))]);
    assert!(aliases(&each, r#"web["a"]/left/service"#).ends_with(" service"));
    assert!(aliases(&each, r#"web["c"]/left/service"#).contains("pair/left/service"));
    assert!(!aliases(&each, r#"web["c"]/left/service"#).ends_with(" service"));
    // Where it cannot be told whose name it was, nothing is guessed.
    assert_eq!(
        problems([for_each(
            r#"["a", "c"]"#,
            with(&["web", "old[\"z\"]", "old[\"c\"]"], Vec::new(), vpc)
        )]),
        [
            "7: `web` has 2 instances, and `web` may have been any (say which one it was: `aliases = { \"a\" = \"web\" }`)",
            "7: `web` has 2 instances, and `old[\"z\"]` may have been any (say which one it was: `aliases = { \"a\" = \"old[\\\"z\\\"]\" }`)"
        ]
    );
    assert_eq!(
        problems([with(&[], vec![part(&["a"], "old")], vpc)]),
        [
            "7: `aliases` names the part `a` of `web`, which has none (keys of its `forEach` and children of a component are parts; of anything else name the whole)"
        ]
    );
}

#[test]
fn for_each_and_if_take_configuration_only() {
    let vpc = || declared("vpc", "aws:ec2:Vpc", "{}");
    let subnet = || declared("subnet", "aws:ec2:Subnet", "{}");
    assert_eq!(
        problems([
            vpc(),
            for_each(r#""${vpc.zones}""#, subnet()),
            when(r#""${stacks.platform.on}""#, declared("b", "aws:ec2:Vpc", "{}")),
            when(r#""${config.secret}""#, declared("c", "aws:ec2:Vpc", "{}")),
            when(r#""${config.n}""#, declared("d", "aws:ec2:Vpc", "{}")),
            for_each(r#"["x", 1, "x"]"#, declared("e", "aws:ec2:Vpc", "{}")),
            for_each(r#""abc""#, declared("f", "aws:ec2:Vpc", "{}")),
            for_each(r#"["", "a\"b"]"#, declared("g", "aws:ec2:Vpc", "{}")),
            when(r#""${each.key == 'a'}""#, declared("h", "aws:ec2:Vpc", "{}")),
            for_each(r#""${config.zons}""#, declared("i", "aws:ec2:Vpc", "{}")),
            for_each(r#""${vcp.zones}""#, declared("j", "aws:ec2:Vpc", "{}")),
        ]),
        [
            "7: `forEach` of `subnet` depends on `vpc.zones`, which only the run tells (`forEach` takes configuration and literals)",
            "7: `if` of `b` depends on `stacks.platform.on`, which only the run tells (`if` takes configuration and literals)",
            "7: `if` of `c` depends on a secret (what is made shows, so it cannot be decided by a secret)",
            "7: `if` of `d` takes a boolean, not an integer",
            "7: `forEach` of `e` holds an integer, not a string (a map gives each value a key)",
            "7: `forEach` of `e` holds `x` twice",
            "7: `forEach` of `f` takes a list or a map, not a string",
            "7: \"\" cannot be a key of `forEach`, because it becomes part of a name (a key is not empty and holds no quotes, backslashes or control characters)",
            "7: \"a\\\"b\" cannot be a key of `forEach`, because it becomes part of a name (a key is not empty and holds no quotes, backslashes or control characters)",
            "7: `each` is not declared (`each` is there where `forEach` is set)",
            "7: `config` has no `zons` (did you mean `zones`?)",
            "7: `vcp` is not declared (did you mean `vpc`?)",
        ]
    );
}

#[test]
fn properties_of_a_component_are_checked_where_they_stand() {
    let located = |template: Template, at: usize| Located {
        template,
        span: span(at + 1),
        key_span: span(at),
    };
    let properties = Template::object([
        ("nam", located(Template::text("x"), 20)),
        ("replicas", located(Template::text("many"), 30)),
    ]);
    let wrong = Declaration {
        properties: properties.into(),
        ..declared("web", "epid:test:Web", "{}")
    };
    let too_many = Template::object([("replicas", located(Value::Int(10).into_template(), 40))]);
    let refused = Declaration {
        properties: too_many.into(),
        ..declared("many", "epid:test:Web", "{}")
    };
    let options = Options {
        import: Some(Arc::from("id")),
        timeouts: Timeouts {
            create: Some(Duration::from_secs(1)),
            ..Timeouts::default()
        },
        ..Options::default()
    };
    let imported = Declaration {
        options,
        ..declared("imported", "epid:test:Web", "{}")
    };
    assert_eq!(
        problems([
            wrong,
            refused,
            imported,
            declared("late", "epid:test:Web", r#"{"replicas": "${web.n}"}"#),
            declared("typo", "epid:test:Web", r#"{"name": "${confg.n}"}"#),
            declared("endless", "epid:test:Pair", r#"{"forever": true}"#),
            declared("late", "aws:ec2:Vpc", "{}"),
        ]),
        [
            "20: unknown property `nam` of epid:test:Web (did you mean `name`?)",
            "31: `replicas` of epid:test:Web takes an integer, not a string",
            "41: nine are enough",
            "7: `import` cannot be said of `imported`, because it stands for several resources",
            "7: `timeouts` cannot be said of `imported`, because it stands for several resources",
            "7: `replicas` decides what is made, so it cannot depend on what other resources tell (use literals and plain configuration)",
            "7: `confg` is not declared (did you mean `config`?)",
            &format!(
                "7: components nest deeper than 16 levels at `endless{}`",
                "/again".repeat(16)
            ),
            "7: `late` is declared twice",
        ]
    );
}

#[test]
fn secret_properties_are_marked_before_a_component_sees_them() {
    struct Look(KindSchema);
    impl Component for Look {
        fn kind(&self) -> &Kind {
            &self.0.kind
        }
        fn schema(&self) -> &KindSchema {
            &self.0
        }
        fn expand(&self, x: &mut Expansion<'_>) -> Vec<Problem> {
            assert!(x.values().has_secret());
            x.known("password").err().into_iter().collect()
        }
    }
    let look = Look(schema(
        "epid:test:Look",
        [Field::new("password", Type::String).secret()],
    ));
    let setting = Setting {
        project: "shop",
        stack: "dev",
        config: &Map::default(),
        components: &Components::new().with(look),
    };
    let program = program([declared("look", "epid:test:Look", r#"{"password": "hunter2"}"#)]);
    let problems = expand(&program, &setting).unwrap_err();
    assert!(problems[0].message.contains("cannot be secret"), "{problems:?}");
}

trait IntoTemplate {
    fn into_template(self) -> Template;
}

impl IntoTemplate for Value {
    fn into_template(self) -> Template {
        Template::Literal(self)
    }
}

fn any_template() -> impl Strategy<Value = Template> {
    let text = prop::sample::select(vec![
        "${config.zones}",
        "${config.on}",
        "${config.off}",
        "${each.key}",
        "${each.value.x}",
        "${a.id}",
        "${b}",
        "x-${each.key}",
        "${stacks.p.x}",
        "${config.secret}",
        "${config.n + 1}",
        "plain",
        "",
        "\"",
        "`",
        "${nope.x}",
        "${a.map(k, a[k].id)}",
        "${contentHash(config)}",
        "a",
    ])
    .prop_map(|text| Template::parse_text(text).unwrap());
    let leaf = prop_oneof![
        4 => text,
        1 => any::<bool>().prop_map(|b| Template::Literal(Value::Bool(b))),
        1 => (-1_i64..12).prop_map(|n| Template::Literal(Value::Int(n))),
        1 => Just(Template::Literal(Value::Null)),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        let key = prop::sample::select(vec!["name", "replicas", "forever", "x", "y", "`"]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Template::list),
            prop::collection::vec((key, inner), 0..3).prop_map(Template::object),
        ]
    })
}

fn any_declaration() -> impl Strategy<Value = Declaration> {
    let name = prop::sample::select(vec!["a", "b", "c", "web", ""]);
    let of = prop::sample::select(vec![
        "aws:ec2:Vpc",
        "epid:test:Web",
        "epid:test:Pair",
        "epid:test:Nothing",
    ]);
    let text = prop::sample::select(vec![
        "a",
        "b[\"a\"]",
        "cluster",
        "",
        "urn:epid:p:s:a:b:C:d",
        "web/service",
    ]);
    let option = || prop::option::of(any_template());
    (
        name,
        of,
        any_template(),
        option(),
        option(),
        prop::collection::vec(text, 0..3),
    )
        .prop_map(|(name, of, properties, for_each, when, texts)| {
            let texts: Vec<Arc<str>> = texts.into_iter().map(Arc::from).collect();
            Declaration {
                properties: properties.into(),
                for_each: for_each.map(Into::into),
                when: when.map(Into::into),
                options: Options {
                    provider: texts.first().cloned(),
                    depends_on: texts.clone(),
                    aliases: texts,
                    ..Options::default()
                },
                ..declared(name, of, "{}")
            }
        })
}

proptest! {
    #[test]
    fn any_program_is_expanded_or_refused(resources in prop::collection::vec(any_declaration(), 0..5)) {
        let program = program(resources);
        match expanded(&program) {
            Err(problems) => {
                prop_assert!(!problems.is_empty());
                prop_assert!(problems.iter().all(|p| !p.message.is_empty()));
            }
            Ok(made) => {
                let all = addresses(&made);
                let distinct: BTreeSet<&str> = all.iter().copied().collect();
                prop_assert_eq!(all.len(), distinct.len());
                for address in all {
                    prop_assert!(matches!(made.resolve_path(address, &[]), Some(Target::Instance(..))));
                    prop_assert!(made.members(address).iter().any(|a| &**a == address));
                }
                prop_assert_eq!(expanded(&program).unwrap(), made);
            }
        }
    }
}
