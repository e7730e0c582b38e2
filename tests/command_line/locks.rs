//! Two runs at once.

use std::fmt::Write as _;

use crate::place::{CLOUD, Place, VALUES};

/// More resources than a pipe holds lines about: who is not read from stands still.
fn many() -> String {
    let mut text = String::new();
    for n in 0..600 {
        write!(
            text,
            "[resources.r{n}]\ntype = \"epid:data:Value\"\nproperties.value = \"{n}\"\n"
        )
        .unwrap();
    }
    text
}

#[test]
fn a_second_run_ends_with_4_and_says_who_holds_the_stack() {
    let place = Place::with(VALUES);
    place.write("stacks/many.toml", &many());
    let mut first = place.start("up --stack many --yes --json");
    first.until(&["stepDone"]);
    let second = place.run("up --stack many --yes").ends(4);
    for text in [
        "epid up --stack many --yes --json",
        "somebody@",
        &format!("process {}", first.pid()),
        "since 20",
    ] {
        assert!(second.err.contains(text), "{text:?} is missing: {}", second.err);
    }
    let json = place.run("destroy --stack many --yes --json").ends(4);
    assert_eq!(json.events().last().unwrap()["exit"], 4);
    // Another stack is free, and looking needs no lock.
    place.run("up --stack one --yes").ends(0);
    place.run("preview --stack many").ends(0);
    place.run("state ls --stack many").ends(0);
    first.kill();
    place.run("up --stack many --yes").ends(0);
    place.run("preview --stack many --expect-no-changes").ends(0);
}

#[test]
fn a_sandbox_that_is_served_is_shared_with_runs_and_kept_from_everything_else() {
    let place = Place::with(CLOUD);
    place.run("up --sandbox --yes").ends(0);
    let mut serving = place.start("sandbox serve --port 0 --speed 600");
    serving.until(&["AWS_ENDPOINT_URL"]);
    for other in ["sandbox serve --port 0", "sandbox reset --yes"] {
        let refused = place.run(other).ends(4);
        for text in [
            "epid sandbox serve",
            "somebody@",
            &format!("process {}", serving.pid()),
            "since 20",
        ] {
            assert!(refused.err.contains(text), "{text:?} is missing: {}", refused.err);
        }
    }
    place.run("preview --sandbox --expect-no-changes").ends(0);
    place.run("destroy --sandbox --yes").ends(0);
    place.run("up --sandbox --yes").ends(0);
    serving.signal("INT");
    serving.end().ends(0);
    place
        .run("preview --sandbox --expect-no-changes --refresh")
        .ends(0);
}
