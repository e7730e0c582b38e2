//! Both orders of replacement, what follows from them, and what weakens at run time.

use std::time::Duration;

use epid::plan::{Action, Mode, Observations, Refresh, Selection};
use epid::state::Role;
use epid_fake::fault::Api;
use epid_fake::{Effect, Fault};
use epid_provider::Observed;

use crate::stack::{Stack, actions, on_clock, urn};

#[test]
fn without_a_collision_the_new_one_comes_first() {
    on_clock(async {
        let stack = Stack::new();
        let text = |shape: &str| {
            format!(
                r#"{{"a": {{"type": "Tagged", "properties": {{"shape": "{shape}"}}}},
                     "b": {{"type": "Item", "properties": {{"value": "${{a.id}}", "uses": ["${{a.id}}"]}}}}}}"#
            )
        };
        stack.up(&text("round")).await;
        let ran = stack.up(&text("square")).await;
        assert_eq!(ran.did(), ["Replaced a", "Updated b", "Deleted a"]);
        assert_eq!(stack.world.of("Tagged").len(), 1);
    });
}

#[test]
fn what_is_no_longer_needed_stays_until_what_needed_it_is_changed_in_place() {
    on_clock(async {
        let stack = Stack::new();
        let text = |shape: &str| {
            format!(
                r#"{{"a": {{"type": "Tagged", "properties": {{"shape": "{shape}"}}}},
                     "b": {{"type": "Item", "properties": {{"name": "b", "shape": "${{a.version}}", "uses": ["${{a.id}}"]}}}}}}"#
            )
        };
        stack.up(&text("round")).await;
        // The version of the new `a` turns out to be the same, so `b` need not be replaced.
        stack
            .world
            .fault(Fault::new(Effect::Delay(Duration::from_secs(30))).api(Api::Update));
        let ran = stack.up(&text("square")).await;
        assert_eq!(ran.did(), ["Replaced a", "Updated b", "Deleted a"]);
    });
}

#[test]
fn two_generations_of_a_container_leave_with_what_is_in_each() {
    on_clock(async {
        let stack = Stack::new();
        let text = |name: &str| {
            format!(
                r#"{{"box": {{"type": "Box", "properties": {{"name": "{name}"}}}},
                     "child": {{"type": "Child", "properties": {{"box": "${{box.name}}", "name": "c"}}}}}}"#
            )
        };
        stack.up(&text("one")).await;
        stack.world.fault(Fault::new(Effect::Refuse).api(Api::Delete));
        let ran = stack.run(&text("two")).await;
        assert_eq!(ran.failed().len(), 1, "{:?}", ran.outcome);
        assert_eq!(stack.world.of("Child").len(), 2);
        stack.world.heal();
        stack.destroy().await;
        assert_eq!(stack.world.things(), Vec::new());
    });
}

#[test]
fn what_stands_on_something_deleted_first_goes_before_it_also_when_it_is_renamed() {
    on_clock(async {
        let stack = Stack::new();
        let text = |shape: &str, name: &str| {
            format!(
                r#"{{"a": {{"type": "Item", "properties": {{"name": "a", "shape": "{shape}"}}}},
                     "{name}": {{"type": "Item", "properties": {{"value": "${{a.id}}"}}}},
                     "c": {{"type": "Item", "properties": {{"value": "${{{name}.id}}"}}}}}}"#
            )
        };
        stack.up(&text("round", "b")).await;
        let ran = stack.up(&text("square", "bb")).await;
        assert_eq!(
            ran.did(),
            ["Deleted b", "Vacated a", "Replaced a", "Created bb", "Updated c"]
        );
    });
}

#[test]
fn where_the_name_collides_the_old_one_goes_first_with_all_that_needs_it() {
    on_clock(async {
        let stack = Stack::new();
        let text = |range: &str| {
            format!(
                r#"{{"net": {{"type": "Network", "properties": {{"range": "{range}"}}, "options": {{"deleteBeforeReplace": true}}}},
                     "sub": {{"type": "Subnet", "properties": {{"network": "${{net.id}}", "range": "1"}}}}}}"#
            )
        };
        stack.up(&text("10")).await;
        let ran = stack.up(&text("11")).await;
        assert_eq!(
            ran.did(),
            ["Vacated sub", "Vacated net", "Replaced net", "Replaced sub"]
        );
        let ran = stack.run(&text("11")).await;
        assert_eq!(ran.did(), Vec::<String>::new());
        assert!(stack.snapshot().entries.values().all(|e| e.role == Role::Live));
    });
}

#[test]
fn a_named_thing_whose_shape_changes_is_deleted_first() {
    on_clock(async {
        let stack = Stack::new();
        let text = |shape: &str| {
            format!(r#"{{"a": {{"type": "Item", "properties": {{"name": "a", "shape": "{shape}"}}}}}}"#)
        };
        stack.up(&text("round")).await;
        let ran = stack.up(&text("square")).await;
        assert_eq!(ran.did(), ["Vacated a", "Replaced a"]);
    });
}

#[test]
fn a_replacement_that_turns_out_not_to_be_needed_does_nothing() {
    on_clock(async {
        let stack = Stack::new();
        stack.world.set_fact("first", "round");
        stack.world.set_fact("same", "round");
        stack.world.set_fact("other", "square");
        let text = |fact: &str, name: &str| {
            format!(
                r#"{{"zone": {{"type": "Lookup", "properties": {{"fact": "{fact}"}}}},
                     "b": {{"type": "Item", "properties": {{{name} "shape": "${{zone.found}}"}}}},
                     "c": {{"type": "Item", "properties": {{"value": "${{b.id}}"}}}}}}"#
            )
        };
        for (name, promised) in [("", Action::Replace), (r#""name": "b","#, Action::Decide)] {
            stack.up(&text("first", name)).await;
            let ran = stack.up(&text("same", name)).await;
            assert!(
                ran.plan.steps.iter().any(|s| s.action == promised),
                "{:?}",
                actions(&ran.plan)
            );
            assert_eq!(ran.did(), ["Read zone"]);
            let ran = stack.up(&text("other", name)).await;
            assert!(ran.did().contains(&"Replaced b".to_owned()), "{:?}", ran.did());
            assert_eq!(stack.world.at("b")[0].text("shape"), "square");
            stack.destroy().await;
        }
    });
}

#[test]
fn what_lives_in_a_container_is_replaced_with_it_and_dies_with_it() {
    on_clock(async {
        let stack = Stack::new();
        let text = |name: &str, value: &str| {
            format!(
                r#"{{"box": {{"type": "Box", "properties": {{"name": "{name}", "value": "{value}"}}, "options": {{"replaceOnChanges": ["value"]}}}},
                     "x": {{"type": "Child", "properties": {{"box": "${{box.name}}", "name": "x"}}}},
                     "y": {{"type": "Child", "properties": {{"box": "${{box.name}}", "name": "y"}}}}}}"#
            )
        };
        let deletes = |did: &[String]| {
            did.iter()
                .filter(|d| d.starts_with("Deleted") || d.starts_with("Vacated"))
                .count()
        };
        stack.up(&text("old", "1")).await;
        stack.up(&text("new", "1")).await;
        assert_eq!(stack.world.of("Child").len(), 2);
        let ran = stack.up(&text("new", "2")).await;
        assert_eq!(deletes(&ran.did()), 1, "only the box itself: {:?}", ran.did());
        assert_eq!(stack.world.of("Child").len(), 2);
        let gone = stack.destroy().await;
        assert_eq!(deletes(&gone.did()), 1, "{:?}", gone.did());
        assert!(stack.world.things().is_empty());
    });
}

#[test]
fn what_has_effects_outside_is_deleted_by_itself_while_it_is_served() {
    on_clock(async {
        let stack = Stack::new();
        let text = r#"{
            "box": {"type": "Box", "properties": {"name": "b"}},
            "controller": {"type": "Item", "properties": {"name": "controller"}},
            "ingress": {"type": "Child", "properties": {"box": "${box.name}", "name": "i", "outside": true, "controller": "controller"},
                        "options": {"servedBy": ["controller"]}},
            "plain": {"type": "Child", "properties": {"box": "${box.name}", "name": "p"}}}"#;
        stack.up(text).await;
        let gone = stack.destroy().await;
        let did = gone.did();
        let place = |what: &str| did.iter().position(|d| d == what);
        assert!(place("Deleted ingress") < place("Deleted controller"), "{did:?}");
        assert!(place("Deleted ingress") < place("Deleted box"), "{did:?}");
        assert_eq!(place("Deleted plain"), None);
    });
}

#[test]
fn an_old_one_that_cannot_be_deleted_waits_for_the_next_run() {
    on_clock(async {
        let stack = Stack::new();
        let text =
            |shape: &str| format!(r#"{{"a": {{"type": "Tagged", "properties": {{"shape": "{shape}"}}}}}}"#);
        stack.up(&text("round")).await;
        stack.world.fault(Fault::new(Effect::Refuse).api(Api::Delete));
        let ran = stack.run(&text("square")).await;
        assert_eq!(ran.failed(), [("a", "AccessDenied")].into());
        let snapshot = stack.snapshot();
        let roles: Vec<Role> = snapshot.of(&urn("Tagged", "a")).map(|e| e.role).collect();
        assert_eq!(roles, [Role::Condemned, Role::Live]);
        let ran = stack.up(&text("square")).await;
        assert_eq!(ran.did(), ["Deleted a"]);
        assert_eq!(stack.world.of("Tagged").len(), 1);
    });
}

#[test]
fn a_forced_replacement_happens_though_nothing_changed() {
    on_clock(async {
        let stack = Stack::new();
        let text = r#"{"a": {"type": "Tagged", "properties": {"value": "1"}}}"#;
        stack.up(text).await;
        let selection = Selection {
            replace: vec!["a".parse().unwrap()],
            ..Selection::default()
        };
        let plan = stack
            .plan_with(&stack.graph(text), Mode::Up, &Default::default(), &selection)
            .unwrap();
        let ran = stack.apply(plan).await;
        assert_eq!(ran.did(), ["Replaced a", "Deleted a"]);
        assert_eq!(&*stack.world.of("Tagged")[0].id, "tagged-2");
    });
}

#[test]
fn a_change_of_chosen_paths_replaces() {
    on_clock(async {
        let stack = Stack::new();
        let text = |value: &str| {
            format!(
                r#"{{"a": {{"type": "Tagged", "properties": {{"value": "{value}"}}, "options": {{"replaceOnChanges": ["value"]}}}}}}"#
            )
        };
        stack.up(&text("1")).await;
        assert_eq!(stack.up(&text("2")).await.did(), ["Replaced a", "Deleted a"]);
    });
}

#[test]
fn a_provider_that_moves_to_another_account_is_refused() {
    on_clock(async {
        let stack = Stack::new();
        let text = |account: &str| {
            format!(
                r#"{{"$providers": {{"cloud": {{"properties": {{"account": "{account}"}}}}}},
                     "a": {{"type": "Item", "properties": {{"value": "1"}}}}}}"#
            )
        };
        stack.up(&text("one")).await;
        let ran = stack.run(&text("two")).await;
        assert_eq!(ran.failed(), [("cloud", "OtherIdentity")].into());
        assert_eq!(stack.world.of("Item")[0].account, "one".into());
        stack.up(&text("one")).await;
        stack.destroy().await;
    });
}

#[test]
fn a_provider_whose_cluster_is_replaced_takes_its_resources_along() {
    on_clock(async {
        let stack = Stack::new();
        let text = |name: &str| {
            format!(
                r#"{{"$providers": {{"outer": {{}}, "inner": {{"properties": {{"cluster": "${{cluster.id}}"}}}}}},
                     "cluster": {{"type": "Cluster", "properties": {{"name": "{name}"}}, "options": {{"provider": "outer"}}}},
                     "a": {{"type": "Item", "properties": {{"name": "a"}}, "options": {{"provider": "inner"}}}}}}"#
            )
        };
        stack.up(&text("old")).await;
        stack.up(&text("new")).await;
        let cluster = stack.world.of("Cluster");
        assert_eq!(cluster.len(), 1);
        let items = stack.world.of("Item");
        assert!(
            items.iter().any(|item| item.account == cluster[0].id),
            "{items:?}"
        );
        stack.destroy().await;
    });
}

/// A cluster of that name, with `more` behind it.
pub(crate) fn behind(name: &str, more: &str) -> String {
    format!(
        r#"{{"$providers": {{"outer": {{}}, "inner": {{"properties": {{"cluster": "${{cluster.id}}"}}}}}},
             "cluster": {{"type": "Cluster", "properties": {{"name": "{name}"}}, "options": {{"provider": "outer"}}}}{more}}}"#
    )
}

pub(crate) const TAGGED: &str =
    r#", "x": {"type": "Tagged", "properties": {"value": "1"}, "options": {"provider": "inner"}}"#;

#[test]
fn a_replaced_cluster_takes_along_what_an_interrupted_run_left_behind() {
    for (effect, api) in [(Effect::Refuse, Api::Create), (Effect::Refuse, Api::Connect)] {
        on_clock(async {
            let mut stack = Stack::new();
            stack.up(&behind("old", TAGGED)).await;
            let refused = if api == Api::Create { "x" } else { "inner" };
            stack.world.fault(Fault::new(effect).api(api).path(refused));
            let ran = stack.run(&behind("new", TAGGED)).await;
            assert!(!ran.outcome.is_success());
            stack.restart();
            stack.up(&behind("new", TAGGED)).await;
            let cluster = &stack.world.of("Cluster")[0];
            let tagged = stack.world.of("Tagged");
            assert_eq!((tagged.len(), &tagged[0].account), (1, &cluster.id));
            stack.destroy().await;
        });
    }
}

#[test]
fn a_cluster_that_keeps_its_name_is_replaced_with_all_that_is_in_it() {
    on_clock(async {
        let stack = Stack::new();
        let text = |version: &str| {
            behind("c", TAGGED).replace(
                r#""name": "c"}, "options": {"#,
                &format!(
                    r#""name": "c", "version": "{version}"}}, "options": {{"replaceOnChanges": ["version"], "#
                ),
            )
        };
        stack.up(&text("1")).await;
        let ran = stack.up(&text("2")).await;
        assert_eq!(ran.did(), ["Vacated cluster", "Replaced cluster", "Replaced x"]);
        let cluster = &stack.world.of("Cluster")[0];
        let tagged = stack.world.of("Tagged");
        assert_eq!((tagged.len(), &tagged[0].account), (1, &cluster.id));
        stack.destroy().await;
    });
}

#[test]
fn what_a_provider_only_mentions_is_no_reason_to_replace_what_is_behind_it() {
    on_clock(async {
        let stack = Stack::new();
        let text = |shape: &str| {
            format!(
                r#"{{"$providers": {{"outer": {{}}, "inner": {{"properties": {{"endpoint": "${{role.id}}"}}}}}},
                     "role": {{"type": "Tagged", "properties": {{"shape": "{shape}"}}, "options": {{"provider": "outer"}}}},
                     "b": {{"type": "Item", "properties": {{"name": "b"}}, "options": {{"provider": "inner"}}}}}}"#
            )
        };
        stack.up(&text("round")).await;
        let ran = stack.up(&text("square")).await;
        assert_eq!(ran.did(), ["Replaced role", "Deleted role"]);
    });
}

#[test]
fn another_provider_makes_a_resource_anew_there_and_deletes_it_here() {
    on_clock(async {
        let stack = Stack::new();
        let text = |provider: &str| {
            format!(
                r#"{{"$providers": {{"east": {{"properties": {{"account": "east"}}}}, "west": {{"properties": {{"account": "west"}}}}}},
                     "a": {{"type": "Item", "properties": {{"name": "a"}}, "options": {{"provider": "{provider}"}}}}}}"#
            )
        };
        stack.up(&text("east")).await;
        let ran = stack.up(&text("west")).await;
        assert_eq!(ran.did(), ["Replaced a", "Deleted a"]);
        let items = stack.world.of("Item");
        assert_eq!((items.len(), &*items[0].account), (1, "west"));
        stack.destroy().await;
    });
}

#[test]
fn a_renamed_provider_takes_its_resources_along() {
    on_clock(async {
        let stack = Stack::new();
        let text = |provider: &str| {
            format!(
                r#"{{"$providers": {{"{provider}": {{"properties": {{"account": "one"}}}}}},
                     "a": {{"type": "Item", "properties": {{"name": "a"}}, "options": {{"provider": "{provider}"}}}}}}"#
            )
        };
        stack.up(&text("one")).await;
        let ran = stack.up(&text("two")).await;
        assert_eq!(ran.did(), ["Recorded a", "Dropped one"]);
        stack.destroy().await;
    });
}

#[test]
fn a_name_that_a_condemned_one_still_has_is_free_before_it_is_taken_again() {
    on_clock(async {
        let mut stack = Stack::new();
        let text = |name: &str| format!(r#"{{"a": {{"type": "Item", "properties": {{"name": "{name}"}}}}}}"#);
        stack.up(&text("k1")).await;
        stack.world.fault(Fault::new(Effect::Refuse).api(Api::Delete));
        stack.run(&text("k2")).await;
        stack.restart();
        let ran = stack.up(&text("k1")).await;
        assert_eq!(ran.did(), ["Deleted a", "Replaced a", "Deleted a"]);
        assert_eq!(stack.world.of("Item").len(), 1);
    });
}

#[test]
fn a_condemned_container_leaves_what_lives_in_the_new_one_alone() {
    on_clock(async {
        let mut stack = Stack::new();
        let text = |name: &str, more: &str| {
            format!(r#"{{"box": {{"type": "Box", "properties": {{"name": "{name}"}}}}{more}}}"#)
        };
        let child = r#", "c": {"type": "Child", "properties": {"box": "${box.name}", "name": "c"}}"#;
        stack.up(&text("old", child)).await;
        stack
            .world
            .fault(Fault::new(Effect::Refuse).api(Api::Delete).path("box"));
        stack.run(&text("new", child)).await;
        stack.restart();
        stack.up(&text("new", "")).await;
        assert_eq!(stack.world.of("Child").len(), 0);
        assert_eq!(stack.world.of("Box").len(), 1);
    });
}

#[test]
fn two_uncertain_reasons_to_go_first_count_each() {
    on_clock(async {
        let stack = Stack::new();
        for (fact, found) in [("a", "1"), ("b", "1"), ("c", "2")] {
            stack.world.set_fact(fact, found);
        }
        let text = |one: &str, two: &str| {
            let item = |name: &str, fact: &str| {
                format!(
                    r#""l{name}": {{"type": "Lookup", "properties": {{"fact": "{fact}"}}}},
                       "{name}": {{"type": "Item", "properties": {{"name": "{name}", "shape": "${{l{name}.found}}"}}}}"#
                )
            };
            format!(
                r#"{{{}, {}, "z": {{"type": "Tagged", "properties": {{"shape": "${{x.id}}${{y.id}}", "uses": ["${{x.id}}", "${{y.id}}"]}}}}}}"#,
                item("x", one),
                item("y", two)
            )
        };
        stack.up(&text("a", "a")).await;
        let ran = stack.up(&text("b", "c")).await;
        let did: Vec<String> = ran.did().into_iter().filter(|d| !d.contains(" l")).collect();
        assert_eq!(did, ["Vacated z", "Vacated y", "Replaced y", "Replaced z"]);
    });
}

#[test]
fn what_stands_on_a_cluster_by_name_goes_before_it_and_comes_after_it() {
    on_clock(async {
        let stack = Stack::new();
        let text = |version: &str| {
            format!(
                r#"{{"c": {{"type": "Cluster", "properties": {{"name": "c", "version": "{version}"}}, "options": {{"replaceOnChanges": ["version"]}}}},
                     "p": {{"type": "Profile", "properties": {{"name": "p", "cluster": "${{c.name}}"}}}}}}"#
            )
        };
        stack.up(&text("1")).await;
        let ran = stack.up(&text("2")).await;
        assert_eq!(ran.did(), ["Vacated p", "Vacated c", "Replaced c", "Replaced p"]);
        stack.destroy().await;
    });
}

#[test]
fn a_connection_goes_with_its_cluster_though_something_in_it_went_before() {
    on_clock(async {
        let stack = Stack::new();
        let text = |version: &str| {
            behind(
                "c",
                r#", "door": {"type": "Item", "properties": {"name": "door", "uses": ["${x.id}"]}, "options": {"provider": "inner", "servedBy": ["x"]}},
                    "x": {"type": "Tagged", "properties": {"value": "1"}, "options": {"provider": "inner"}}"#,
            )
            .replace(
                r#""name": "c"}, "options": {"#,
                &format!(r#""name": "c", "version": "{version}"}}, "options": {{"replaceOnChanges": ["version"], "#),
            )
        };
        stack.up(&text("1")).await;
        let ran = stack.up(&text("2")).await;
        assert_eq!(
            ran.did(),
            [
                "Vacated door",
                "Vacated cluster",
                "Replaced cluster",
                "Replaced x",
                "Replaced door"
            ]
        );
        stack.destroy().await;
    });
}

#[test]
fn what_was_in_a_cluster_that_is_gone_is_made_anew_and_nothing_is_asked_of_the_old_one() {
    on_clock(async {
        let mut stack = Stack::new();
        stack.up(&behind("c", TAGGED)).await;
        let old = stack.world.of("Cluster")[0].id.clone();
        stack.world.vanish(&old);
        let inside = stack.world.of("Tagged")[0].id.clone();
        stack.world.vanish(&inside);
        stack.world.fault(Fault::new(Effect::Refuse).api(Api::Delete));
        let graph = stack.graph(&behind("c", TAGGED));
        let absent = Observations::from([(urn("Cluster", "cluster"), Observed::Absent)]);
        let plan = stack
            .plan_with(&graph, Mode::Up, &absent, &Selection::default())
            .unwrap();
        let ran = stack.apply(plan).await;
        assert_eq!(ran.did(), ["Created cluster", "Created x", "Dropped inner"]);
        stack.restart();
        stack.up(&behind("c", TAGGED)).await;
        let cluster = stack.world.of("Cluster")[0].id.clone();
        stack.world.vanish(&cluster);
        let absent = Observations::from([(urn("Cluster", "cluster"), Observed::Absent)]);
        let plan = stack.plan_destroy(&absent, &Selection::default());
        stack.world.fault(Fault::new(Effect::Refuse).api(Api::Delete));
        let ran = stack.apply(plan).await;
        assert!(ran.outcome.is_success(), "{:?}", ran.outcome);
        assert!(stack.snapshot().is_empty());
    });
}

#[test]
fn a_cluster_that_was_recorded_as_gone_is_made_again_with_what_was_in_it() {
    on_clock(async {
        let mut stack = Stack::new();
        stack.up(&behind("c", TAGGED)).await;
        for kind in ["Cluster", "Tagged"] {
            let id = stack.world.of(kind)[0].id.clone();
            stack.world.vanish(&id);
        }
        let graph = stack.graph(&behind("c", TAGGED));
        let absent = Observations::from([(urn("Cluster", "cluster"), Observed::Absent)]);
        stack.refresh = Refresh::Record;
        let plan = stack
            .plan_with(&graph, Mode::Up, &absent, &Selection::default())
            .unwrap();
        let ran = stack.apply(plan.records_alone()).await;
        assert_eq!(ran.did(), ["Recorded cluster", "Recorded x"]);
        stack.refresh = Refresh::Undo;
        let ran = stack.up(&behind("c", TAGGED)).await;
        // Nothing of the old connection is left to be waited for.
        assert_eq!(ran.did(), ["Created cluster", "Dropped inner", "Created x"]);
    });
}

#[test]
fn a_call_into_a_cluster_that_is_gone_does_not_stay_unclear() {
    for api in [Api::Create, Api::Update] {
        on_clock(async {
            let mut stack = Stack::new();
            let other = TAGGED.replace(r#""value": "1""#, r#""value": "2""#);
            let first = if api == Api::Create { "" } else { TAGGED };
            stack.up(&behind("c", first)).await;
            stack
                .world
                .fault(Fault::new(Effect::LoseAnswer).api(api).path("x"));
            stack
                .world
                .fault(Fault::new(Effect::Unwell).api(Api::Recover).nth(0));
            stack.run(&behind("c", &other)).await;
            assert_eq!(stack.snapshot().intents.len(), 1);
            let cluster = stack.world.of("Cluster")[0].id.clone();
            for thing in stack.world.things() {
                if thing.id == cluster || thing.account == cluster {
                    stack.world.vanish(&thing.id);
                }
            }
            stack.restart();
            // Nobody answers in a cluster that is not there.
            stack
                .world
                .fault(Fault::new(Effect::Unwell).api(Api::Recover).nth(0));
            stack.recover().await;
            assert_eq!(stack.snapshot().intents.len(), 0);
            stack.restart();
            let absent = Observations::from([(urn("Cluster", "cluster"), Observed::Absent)]);
            let plan = stack.plan_destroy(&absent, &Selection::default());
            let ran = stack.apply(plan).await;
            assert!(ran.outcome.is_success(), "{:?}", ran.outcome);
            assert!(stack.snapshot().is_empty());
        });
    }
}
