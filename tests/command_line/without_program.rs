//! Stacks whose programs are broken or gone: their states still answer, and can be destroyed.

use crate::place::{Going, Place, VALUES};

/// Three stacks in a row, each of which uses the one before.
fn row() -> Place {
    let place = Place::with(VALUES);
    for (name, of, output) in [("two", "one", "b"), ("three", "two", "x")] {
        place.write(
            &format!("stacks/{name}.toml"),
            &format!(
                "references.{of} = \"{of}\"\n[resources.x]\ntype = \"epid:data:Value\"\n\
                 properties.value = \"${{stacks.{of}.{output}}}\"\n[outputs]\nx = \"${{x.value}}\"\n"
            ),
        );
    }
    place.run("up --all --yes").ends(0);
    place
}

fn remove(place: &Place, file: &str) {
    std::fs::remove_file(place.path(file)).unwrap();
}

/// What looks at one stack's state, and a word of what it says.
const LOOKS: [(&str, &str); 5] = [
    ("state ls", "b   epid:data:Value"),
    ("state show b", "value   1-2"),
    ("stack output", "1-2"),
    ("history", "up --all --yes"),
    ("preview --destroy", "3 to delete"),
];

#[test]
fn a_state_is_read_whatever_is_wrong_with_the_program() {
    let place = row();
    for wrong in [
        "broken [",
        "program = \"nowhere.toml\"\n",
        "[resources.a]\ntype = \"no:such:Thing\"\n",
    ] {
        place.write("stacks/one.toml", wrong);
        for (line, text) in LOOKS {
            place.run(line).ends(0).says(text);
        }
        let listed = place.run("stack ls").ends(0);
        listed.says("* one     cloud   state 1, 3 resources");
        place.run("up --yes").ends(2);
    }
    // It is the default stack, so it needs no name here either.
    remove(&place, "stacks/one.toml");
    for (line, text) in LOOKS {
        place.run(line).ends(0).says(text);
    }
    place
        .run("state ls --stack nothing")
        .ends(2)
        .says("there is no stack `nothing`");
    place.run("destroy --stack three --yes").ends(0);
    place.run("destroy --stack two --yes").ends(0);
    place.run("destroy --yes").ends(0).says("3 deleted");
    place.run("stack rm --yes").ends(0);
    place.run("state ls").ends(2);
}

#[test]
fn a_state_in_the_sandbox_is_found_without_the_file_that_says_so() {
    let place = Place::with(VALUES);
    place.write("stacks/one.toml", &format!("sandbox = true\n{}", VALUES[1].1));
    place.run("up --yes").ends(0);
    place.write(
        "stacks/one.toml",
        "sandbox = true\n[resources.a]\ntype = \"no:such:Thing\"\n",
    );
    place.run("state ls").ends(0).says("epid:data:Value");
    place.run("preview --destroy").ends(0).says("3 to delete");
    remove(&place, "stacks/one.toml");
    place.run("state ls").ends(0).says("epid:data:Value");
    place.run("stack ls").ends(0).says("sandbox:");
    place.run("destroy --yes").ends(2).says("--sandbox");
    place.run("destroy --yes --sandbox").ends(0).says("3 deleted");
}

#[test]
fn a_stack_without_a_file_is_listed_warned_of_and_destroyed_by_its_name() {
    let place = row();
    remove(&place, "stacks/three.toml");
    place
        .run("stack ls")
        .ends(0)
        .says("three   cloud   state 1, 1 resource   no file");
    let listed = place.run("stack ls --json").ends(0).events();
    let file = |name| &listed.iter().find(|event| event["stack"] == name).unwrap()["file"];
    assert_eq!((file("one"), file("three")), (&"good".into(), &"gone".into()));
    let left = |place: &Place| place.files(".epid/state/cloud/values/three");
    let before = left(&place);
    assert!(!before.is_empty());
    for line in [
        "up --all --yes",
        "preview --all --expect-no-changes",
        "refresh --all",
    ] {
        let told = place.run(line).ends(0);
        for text in [
            "stack `three` has no file any more (1 resource is recorded)",
            "epid destroy --stack three",
        ] {
            assert!(told.err.contains(text), "{line}: {told:?}");
        }
    }
    assert!(left(&place) == before, "a stack without a file was touched");
    let one = place.run("up --yes").ends(0);
    assert!(one.err.is_empty(), "{one:?}");
    // Its file may be in another branch: only who names it destroys it, and what it uses stays until then.
    place
        .run("destroy --all --yes")
        .ends(1)
        .says("`epid destroy --stack three` removes it")
        .says("is used by `three`")
        .says("help: `epid destroy --stack three` first\n");
    place
        .run("destroy --stack two --yes")
        .ends(1)
        .says("first, or destroy all in order with --all");
    assert!(left(&place) == before, "a stack without a file was touched");
    place.run("destroy --stack three --yes").ends(0).says("1 deleted");
    place.write("stacks/two.toml", "broken [");
    place.run("destroy --all --yes").ends(0);
    let listed = place.run("stack ls").ends(0);
    assert_eq!(
        listed.out.matches("state 2, 0 resources").count(),
        3,
        "{listed:?}"
    );
    let told = place.run("destroy --all --yes").ends(0);
    assert!(
        told.err.is_empty(),
        "an empty state is nothing to warn of: {told:?}"
    );
}

#[test]
fn a_project_without_any_stack_says_so_and_what_it_still_holds() {
    let place = Place::with(VALUES);
    place.run("up --yes").ends(0);
    remove(&place, "stacks/one.toml");
    for line in ["up --all --yes", "preview --all", "refresh --all"] {
        place
            .run(line)
            .ends(2)
            .says("stack `one` has no file any more (3 resources are recorded)")
            .says("the project has no stacks");
    }
    place
        .run("preview --stack two")
        .ends(2)
        .says("write stacks/two.toml");
    place
        .run("destroy --all --yes")
        .ends(2)
        .says("the project has no stacks")
        .says("help: `epid destroy --stack one` removes what is recorded");
    place.write("Epid.toml", "name = \"values\"\n");
    for line in ["destroy --yes", "preview --destroy"] {
        let told = place
            .run(line)
            .ends(2)
            .says("help: `epid destroy --stack one` removes what is recorded");
        assert!(!told.err.contains("stacks/dev.toml"), "{told:?}");
    }
    place.run("destroy --stack one --yes").ends(0).says("3 deleted");
}

#[test]
fn what_is_protected_is_not_kept_by_a_program_where_all_is_destroyed() {
    let place = Place::with(VALUES);
    place.run("up --yes").ends(0);
    place.run("state protect a --yes").ends(0);
    let told = place
        .run("destroy --yes")
        .ends(2)
        .says("help: `epid state unprotect a` first");
    assert!(!told.err.contains("in the program"), "{told:?}");
}

#[test]
fn a_broken_program_is_told_before_anything_is_recovered() {
    let place = Place::with(crate::place::CLOUD);
    let mut going: Going = place.start("up --sandbox --yes --json");
    going.until(&["\"stepStarted\"", "NatGateway"]);
    going.kill();
    let unclear = |place: &Place| {
        place
            .run("state ls --sandbox")
            .ends(0)
            .out
            .contains("is not known yet")
    };
    assert!(unclear(&place), "the kill came too late");
    let before = place.files(".epid/state");
    let good = std::fs::read_to_string(place.path("stacks/net.toml")).unwrap();
    let bad = good.replace("cidrBlock =", "cidrBlok =") + "other = \"${nothing.here}\"\n";
    place.write("stacks/net.toml", &bad);
    for line in [
        "up --sandbox --yes",
        "up --all --sandbox --yes",
        "refresh --sandbox",
    ] {
        let told = place.run(line).ends(2).says("cidrBlok").says("nothing");
        assert!(told.out.is_empty(), "{line}: {told:?}");
    }
    assert!(
        place.files(".epid/state") == before,
        "an invalid program wrote something"
    );
    // To remove it all no program is needed.
    place.run("destroy --sandbox --yes").ends(0);
    assert_eq!(place.run("state ls --sandbox").ends(0).out, "");
}
