//! Two runs at once.

use std::fmt::Write as _;
use std::fs::File;

use crate::place::{CLOUD, Place, ROLE, VALUES};

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
    // It is told, and stays in the history once the next run has ended.
    place.run("state verify --stack many").ends(0).says(", 1 run");
    place.run("history --stack many").ends(0).says("no end");
    place.run("up --stack many --yes").ends(0);
    let events = place.run("history --stack many --json").ends(0).events();
    let recoveries = events.iter().filter(|run| run["recovery"] == true).count();
    assert_eq!(
        (events.len(), &events[0]["result"]),
        (2 + recoveries, &serde_json::Value::Null)
    );
    place
        .run("state verify --stack many")
        .ends(0)
        .says(&format!(", {} runs", 2 + recoveries));
    place.run("preview --stack many --expect-no-changes").ends(0);
}

/// Holds the lock of a stack, as a run does.
fn hold(place: &Place, stack: &str) -> File {
    let file = File::open(place.state_file(stack, "state").with_file_name("lock")).unwrap();
    file.try_lock().unwrap();
    file
}

#[test]
fn whatever_locks_a_stack_says_that_it_can_wait_and_does() {
    let place = Place::with(VALUES);
    place.run("up --yes").ends(0);
    place.run("state export file").ends(0);
    for line in [
        "state protect a --yes",
        "state unprotect a --yes",
        "state mv c d --yes",
        "state rollback --yes",
        "state rm c --yes",
        "state import file --force --yes",
        "up --replace c --yes",
        "keys rotate --yes",
        "destroy --yes",
        "stack rm --yes",
    ] {
        let held = hold(&place, "one");
        place
            .run(line)
            .ends(4)
            .says("values/one in cloud is locked")
            .says("--wait waits");
        let mut waiting = place.start(&format!("{line} --wait"));
        waiting.until_told(&["waiting: values/one in cloud is locked"]);
        drop(held);
        waiting.end().ends(0);
    }
}

#[test]
fn an_import_waits_too() {
    let place = Place::with(ROLE);
    place.run("up --sandbox --yes").ends(0);
    place.run("state rm role --sandbox --yes").ends(0);
    let held = hold(&place, "role");
    let line = "import role reader --sandbox --yes";
    place.run(line).ends(4).says("--wait waits");
    let mut waiting = place.start(&format!("{line} --wait"));
    waiting.until_told(&["waiting: cloudy/role in "]);
    drop(held);
    waiting.end().ends(0).says("recorded");
}

#[test]
fn what_needs_several_stacks_names_all_that_are_locked() {
    let place = Place::with(VALUES);
    for stack in ["two", "three"] {
        place.write(&format!("stacks/{stack}.toml"), VALUES[1].1);
    }
    place.run("up --all --yes").ends(0);
    for line in ["keys rotate --yes", "state migrate --to elsewhere --yes"] {
        let held = ["one", "two"].map(|stack| hold(&place, stack));
        let told = place.run(line).ends(4);
        for text in ["values/one in cloud is locked", "values/two in cloud is locked"] {
            assert!(told.err.contains(text), "{line}: {told:?}");
        }
        assert!(!told.err.contains("values/three"), "{line}: {told:?}");
        place.run("up --stack three --yes").ends(0);
        let mut waiting = place.start(&format!("{line} --wait"));
        waiting.until_told(&["waiting: "]);
        drop(held);
        waiting.end().ends(0);
        place.run("state verify --all").ends(0);
    }
}

#[test]
fn a_sandbox_that_another_process_has_is_waited_for() {
    let place = Place::with(CLOUD);
    let mut serving = place.start("sandbox serve --port 0 --speed 600");
    serving.until(&["AWS_ENDPOINT_URL"]);
    place.run("sandbox reset --yes").ends(4).says("--wait waits");
    let mut waiting = place.start("sandbox reset --yes --wait");
    waiting.until_told(&["waiting: "]);
    serving.signal("INT");
    serving.end().ends(0);
    waiting.end().ends(0);
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

/// A run that waits for a stack, shown as it was; while it waits another one removes everything in it.
fn overtaken(line: &str, up_to: &str) -> (Place, crate::place::Going) {
    let place = Place::with(VALUES);
    place.run("up --yes").ends(0);
    let twin = place.twin();
    twin.run("destroy --yes").ends(0);
    place.write("stacks/one.toml", &VALUES[1].1.replace("\"3\"", "\"9\""));
    let lock = File::open(place.state_file("one", "state").with_file_name("lock")).unwrap();
    lock.lock().unwrap();
    let mut command = std::process::Command::new("bash");
    let program = env!("CARGO_BIN_EXE_epid");
    command.args(["-c", &line.replace("epid", program)]);
    place.surround(&mut command);
    let mut going = crate::place::Going::new(command);
    going.until(&[up_to]);
    going.until(&["waiting: ", "is locked"]);
    for below in [".epid/state", ".epid/seen"] {
        for (name, bytes) in twin.files(below) {
            place.write_bytes(&name, &bytes);
        }
        for name in place
            .files(below)
            .into_keys()
            .filter(|name| !twin.path(name).exists())
        {
            std::fs::remove_file(place.path(&name)).unwrap();
        }
    }
    drop(lock);
    (place, going)
}

#[test]
fn a_run_that_waited_plans_anew_and_does_what_it_shows() {
    let (place, going) = overtaken("epid up --yes --wait 2>&1", "1 to update");
    let ran = going.end().ends(0);
    let anew = ran.out.split("has changed since that was shown").nth(1).unwrap();
    let (shown, done) = anew.split_once("3 to create").unwrap();
    assert!(shown.contains("+ a") && done.contains("3 created"), "{ran:?}");
    place.run("preview --expect-no-changes").ends(0);
}

#[test]
#[ignore = "needs `script` of util-linux, which gives a terminal"]
fn a_run_that_waited_asks_anew_about_what_it_did_not_show() {
    for (answer, code) in [("no", 3), ("yes", 0)] {
        let line = format!("printf 'yes\\n{answer}\\n' | script -qec 'epid up --wait' /dev/null");
        let (place, going) = overtaken(&line, "1 to update");
        let ran = going.end().ends(0).says("Do this instead?");
        assert_eq!(ran.out.contains("nothing was done"), answer == "no", "{ran:?}");
        assert_eq!(ran.out.contains("3 created"), answer == "yes", "{ran:?}");
        place.run("preview --expect-no-changes").ends(code);
    }
}
