//! Saved plans, selections, and the commands beside runs.

use std::fs;

use crate::place::{CLOUD, Place, VALUES};

const CHANGED: &str = "[resources.a]\ntype = \"epid:data:Value\"\nproperties.value = \"one\"\n\
     [resources.b]\ntype = \"epid:data:Value\"\nproperties.value = \"${a.value}-2\"\n\
     [resources.c]\ntype = \"epid:data:Value\"\nproperties.value = \"three\"\n\
     [outputs]\nb = \"${b.value}\"\n";

#[test]
fn a_saved_plan_is_executed_as_it_is() {
    let place = Place::with(VALUES);
    let saved = place.run("preview --save first.plan").ends(0);
    assert!(saved.out.contains("first.plan"));
    // The program changes afterwards; what was planned is what happens.
    place.write("stacks/one.toml", CHANGED);
    place.run("up --plan first.plan").ends(0).says("3 created");
    assert_eq!(place.run("stack output b").ends(0).out, "1-2\n");
    place.run("preview --save second.plan").ends(0);
    place.run("up --plan second.plan").ends(0).says("3 updated");
    place.run("preview --expect-no-changes").ends(0);
    place.run("preview --destroy --save last.plan").ends(0);
    place.run("up --plan last.plan").ends(0).says("3 deleted");
    assert_eq!(place.run("state ls").ends(0).out, "");
}

#[test]
fn a_saved_plan_is_refused_where_it_does_not_fit() {
    let place = Place::with(VALUES);
    place.write("stacks/two.toml", CHANGED);
    place.run("preview --save p").ends(0);
    place
        .run("up --plan p --stack two")
        .ends(2)
        .says("of stack `one`");
    place.run("up --plan p --sandbox").ends(2).says("made for cloud");
    place.run("up --plan nothing").ends(2).says("nothing");
    place.write("stale/Epid.toml", "name = \"other\"\n");
    place.run("up --yes").ends(0);
    let before = place.files(".epid/state");
    place.run("up --plan p").ends(2).says("has changed");
    place.write("stacks/one.toml", CHANGED);
    place.run("preview --save q").ends(0);
    let text = fs::read_to_string(place.path("q")).unwrap();
    assert!(!text.contains("three"), "a plan in clear");
    for at in [0, 8, text.len() / 2, text.len() - 4] {
        let mut bytes = text.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        fs::write(place.path("changed"), bytes).unwrap();
        place.run("up --plan changed").ends(2).says("changed is no plan");
        fs::write(place.path("changed"), &text[..at]).unwrap();
        place.run("up --plan changed").ends(2).says("changed is no plan");
    }
    let other = Place::with(VALUES);
    other.run("up --yes").ends(0);
    fs::write(other.path("q"), &text).unwrap();
    other.run("up --plan q").ends(2).says(".key");
    let after = place.files(".epid/state");
    assert_eq!(before, after, "a refused plan wrote");
    place.run("up --plan q").ends(0).says("3 updated");
}

#[test]
fn a_plan_made_with_outputs_that_changed_since_is_refused() {
    let place = Place::with(VALUES);
    place.write(
        "stacks/user.toml",
        "references.one = \"one\"\n[resources.x]\ntype = \"epid:data:Value\"\nproperties.value = \"${stacks.one.b}\"\n",
    );
    place.run("up --yes").ends(0);
    place.run("preview --stack user --save p").ends(0);
    let twin = place.twin();
    place.write("stacks/one.toml", CHANGED);
    place.run("up --yes").ends(0);
    place.run("up --plan p").ends(2).says("`one` have changed");
    twin.run("up --plan p").ends(0).says("1 created");
    // The plan left its mark with the stack whose outputs it used.
    twin.run("destroy --stack one --yes").ends(1).says("user");
}

#[test]
fn a_selection_leaves_every_other_record_as_it_was() {
    let place = Place::with(VALUES);
    let shown = |name: &str| place.run(&format!("state show {name} --json")).ends(0).out;
    place.run("up --yes --target b").ends(2).says("add --target a");
    place
        .run("up --yes --target b --target a")
        .ends(0)
        .says("2 created");
    assert_eq!(place.run("state ls").ends(0).out.lines().count(), 2);
    place.run("up --yes").ends(0).says("1 created");
    place.write("stacks/one.toml", CHANGED);
    let (a, b, c) = (shown("a"), shown("b"), shown("c"));
    place.run("up --yes --target c").ends(0).says("1 updated");
    assert_eq!((shown("a"), shown("b")), (a.clone(), b));
    assert_ne!(shown("c"), c);
    let c = shown("c");
    place.run("up --yes --exclude b").ends(0).says("1 updated");
    assert_eq!(shown("c"), c);
    assert_ne!(shown("a"), a);
    let replaced = place.run("up --yes --replace c --exclude b").ends(0);
    let told = replaced.says("1 replaced").says("old one deleted");
    assert!(!told.out.contains("1 deleted"), "{told:?}");
    place.run("up --yes").ends(0).says("1 updated");
    place.run("up --yes --target nothing").ends(2).says("nothing");
    place.run("destroy --yes --target c").ends(0).says("1 deleted");
    assert_eq!(place.run("state ls").ends(0).out.lines().count(), 2);
}

#[test]
fn destroy_needs_no_program() {
    for wrong in [
        None,
        Some("this is [no toml"),
        Some("[resources.x]\ntype = \"no\"\n"),
    ] {
        let place = Place::with(VALUES);
        place.run("up --yes").ends(0);
        match wrong {
            None => fs::remove_file(place.path("stacks/one.toml")).unwrap(),
            Some(text) => place.write("stacks/one.toml", text),
        }
        place.run("destroy --stack one --yes").ends(0).says("3 deleted");
        place.run("destroy --stack one --yes").ends(0);
    }
}

#[test]
fn the_commands_beside_runs_work() {
    let place = Place::with(VALUES);
    assert!(place.run("stack ls").ends(0).out.contains("nothing recorded yet"));
    place.run("stack output b").ends(2).says("no output `b`");
    place.run("state ls").ends(0);
    assert!(place.files(".epid").is_empty(), "a look wrote something");
    place.run("up --yes").ends(0);
    place
        .run("state show d")
        .ends(2)
        .says("nothing is recorded of `d`");
    place.run("stack rm --yes").ends(2).says("still has 3 resources");
    place.run("graph").ends(0).says("digraph epid");
    place.run("graph --format mermaid").ends(0).says("flowchart");
    place.run("graph --format svg").ends(0).says("</svg>");
    for shell in ["bash", "zsh", "fish"] {
        place.run(&format!("completions {shell}")).ends(0).says("destroy");
    }
    place.write("inner/deep/file", "");
    let mut command = place.command("stack output b -C inner/deep");
    assert_eq!(command.output().unwrap().stdout, b"1-2\n");
    let outside = Place::with(&[]);
    let line = format!("stack output b --cwd {}", place.dir.path().display());
    assert_eq!(outside.run(&line).ends(0).out, "1-2\n");
    outside.run("preview").ends(2).says("there is no Epid.toml");
    outside.run("preview --cwd nowhere").ends(2).says("is no folder");
    place.run("destroy --yes").ends(0);
    place.run("stack rm --yes").ends(0);
    place.run("stack rm --yes").ends(0);
    assert!(place.run("stack ls").ends(0).out.contains("nothing recorded yet"));
}

#[test]
fn no_more_calls_run_at_once_than_are_allowed() {
    let place = Place::with(CLOUD);
    let at_once = |line: &str| {
        let (mut running, mut most) = (0_i32, 0_i32);
        for event in place.run(line).ends(0).events() {
            match event["event"].as_str().unwrap() {
                "stepStarted" => running += 1,
                "stepDone" => running -= 1,
                _ => {}
            }
            most = most.max(running);
        }
        most
    };
    assert_eq!(at_once("up --sandbox --yes --json --parallel 2"), 2);
    assert_eq!(at_once("destroy --sandbox --yes --json --parallel 1"), 1);
    assert!(at_once("up --sandbox --yes --json") > 3);
    place.run("up --yes --parallel 0").ends(2).says("--parallel");
}

#[test]
fn what_exists_for_real_is_tried_in_the_sandbox_only_as_a_copy() {
    let place = Place::with(VALUES);
    place.run("up --yes").ends(0);
    let refused = place.run("up --sandbox --yes");
    assert_ne!(refused.code, Some(0), "{}", refused.out);
    assert!(refused.err.contains("--copy"), "{}", refused.err);
    place.run("up --sandbox --copy --yes").ends(0);
    place.run("preview --sandbox --expect-no-changes").ends(0);
    place.run("destroy --sandbox --yes").ends(0);
    place.run("preview --expect-no-changes").ends(0);
}

#[test]
fn a_secret_is_set_where_the_key_of_the_stack_is_not() {
    let place = Place::with(VALUES);
    let text = format!("key = \"0123456789abcdef\"\n{}", VALUES[1].1);
    place.write("stacks/one.toml", &text);
    place
        .run("config set --secret token planted --stack one")
        .ends(2)
        .says("--new-key");
    place
        .run("config set --secret --new-key token planted --stack one")
        .ends(0);
    place
        .run("config set --secret other planted-too --stack one")
        .ends(0);
    place
        .run("config get token --show-secret --stack one")
        .ends(0)
        .says("planted");
}

#[test]
fn an_output_is_told_as_it_is_listed() {
    let place = Place::with(VALUES);
    let text = VALUES[1]
        .1
        .replace("b = \"${b.value}\"", "b = { c = \"${b.value}\" }");
    place.write("stacks/one.toml", &text);
    place.run("up --yes").ends(0).says("b.c");
    assert_eq!(place.run("stack output b.c").ends(0).out, "1-2\n");
}

#[test]
fn who_comes_from_another_tool_is_told_what_a_command_is_called_here() {
    let place = Place::with(&[]);
    for (there, here) in [
        ("plan", "preview"),
        ("apply", "up"),
        ("output", "stack output"),
        ("state list", "ls"),
    ] {
        place.run(there).ends(2).says(&format!("'{here}'"));
    }
}

#[test]
fn a_protected_resource_says_what_would_replace_it() {
    let place = Place::with(VALUES);
    place.run("up --yes").ends(0);
    place.run("state protect a --yes").ends(0);
    place
        .run("up --yes --replace a")
        .ends(2)
        .says("`a` is protected, but --replace would replace it")
        .says("leave it out, or `epid state unprotect a` first");
    place
        .run("up --yes --target nothing")
        .ends(2)
        .says("`epid graph` shows what is declared");
}

#[test]
fn what_lists_nothing_says_so_and_prints_nothing() {
    let place = Place::with(VALUES);
    for (line, says) in [
        ("state ls", "nothing is recorded of stack `one` in cloud"),
        ("stack output", "stack `one` has no outputs in cloud"),
    ] {
        let ran = place.run(line).ends(0);
        assert_eq!((&*ran.out, ran.err.trim_end()), ("", says));
    }
}
