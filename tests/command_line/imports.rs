//! What exists is recorded as what is declared.

use crate::place::{CLOUD, Place, ROLE, VALUES};

/// A place whose role exists and is not recorded.
pub(crate) fn forgotten() -> Place {
    let place = Place::with(ROLE);
    place.run("up --sandbox --yes").ends(0);
    place.run("state rm role --sandbox --yes").ends(0);
    place
}

#[test]
fn what_exists_is_recorded_and_nothing_is_sent() {
    let place = forgotten();
    let before = place.files(".epid");
    let ran = place.run("import role reader --sandbox").ends(2).says("--yes");
    assert!(
        ran.out.contains("the next `epid up` changes nothing"),
        "{}",
        ran.out
    );
    assert!(
        ran.out.contains("+ role") && ran.out.contains("= reader"),
        "{}",
        ran.out
    );
    assert_eq!(place.files(".epid"), before, "a question wrote something");
    place
        .run("import role reader --sandbox --yes")
        .ends(0)
        .says("1 resource is recorded");
    place
        .run("preview --sandbox --refresh --expect-no-changes")
        .ends(0);
    place
        .run("import role reader --sandbox --yes")
        .ends(2)
        .says("recorded already");
    place
        .run("history --sandbox")
        .ends(0)
        .says("epid import role reader");
    place.run("state rollback --sandbox --yes").ends(0);
    let events = place
        .run("import role reader --sandbox --yes --json")
        .ends(0)
        .events();
    let names: Vec<&str> = events
        .iter()
        .map(|event| event["event"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["plan", "stateChanges", "done"]);
    place.run("destroy --sandbox --yes").ends(0).says("1 deleted");
}

#[test]
fn what_differs_is_shown_and_left_to_the_next_run() {
    let place = forgotten();
    let other = ROLE[1].1.replace("eks.amazonaws.com", "ec2.amazonaws.com");
    place.write("stacks/role.toml", &other);
    let ran = place.run("import role reader --sandbox --yes").ends(0);
    assert!(
        ran.out.contains("would do this") && ran.out.contains("1 to update"),
        "{}",
        ran.out
    );
    assert!(ran.out.contains("eks.amazonaws.com"), "{}", ran.out);
    place
        .run("preview --sandbox --expect-no-changes")
        .ends(3)
        .says("1 to update");
    place.run("up --sandbox --yes").ends(0).says("1 updated");
    place
        .run("preview --sandbox --refresh --expect-no-changes")
        .ends(0);
}

#[test]
fn what_cannot_be_imported_leaves_nothing_behind() {
    let place = forgotten();
    let before = place.files(".epid");
    let refused = |line: &str, code: i32, text: &str| {
        place
            .run(&format!("import {line} --sandbox --yes"))
            .ends(code)
            .says(text);
        assert_eq!(place.files(".epid"), before, "{line} wrote something");
    };
    refused("role nobody", 1, "there is no aws:iam:Role `nobody`");
    refused("rol reader", 2, "did you mean `role`?");
    refused("aws reader", 2, "nothing that could be imported");
    refused("role", 2, "ID");
    refused("role reader --from file", 2, "--from");
    refused("--from file", 2, "file cannot be read");
    place.write("file", "# nothing\n\n");
    refused("--from file", 2, "names nothing to import");
    place.write("file", "role reader\n");
    refused("--from file", 2, "file:1: a line is");
    place.write("file", "role = reader\nrole = writer\n");
    refused("--from file", 2, "file:2: `role` is given two ids");
    // Only a replacement could make it what is declared.
    let other = ROLE[1].1.replace("\"reader\"", "\"writer\"");
    place.write("stacks/role.toml", &other);
    refused("role reader", 1, "cannot be taken over as declared");
    place.write("stacks/role.toml", "[resources.a");
    place.run("import role reader --sandbox --yes").ends(2);
}

#[test]
fn what_another_stack_owns_is_not_taken() {
    let place = Place::with(ROLE);
    place.run("up --sandbox --yes").ends(0);
    place.write("stacks/thief.toml", ROLE[1].1);
    let ran = place
        .run("import role reader --stack thief --sandbox --yes")
        .ends(1);
    assert!(ran.err.contains("belongs to another stack"), "{}", ran.err);
    place.run("state ls --stack thief --sandbox").ends(0);
    assert!(
        place
            .files(".epid/state")
            .keys()
            .all(|name| !name.contains("thief"))
    );
}

#[test]
fn a_whole_network_is_imported_from_a_file() {
    let place = Place::with(CLOUD);
    place.run("up --sandbox --yes").ends(0);
    let recorded = place.run("state ls --sandbox --json").ends(0).events();
    let mut lines = String::from("# what was there\n");
    for (at, entry) in recorded.iter().enumerate() {
        let urn = entry["urn"].as_str().unwrap();
        let kind = entry["kind"].as_str().unwrap();
        if kind.starts_with("aws:ec2:") && !kind.ends_with("Zones") {
            let name = if at % 2 == 0 {
                urn
            } else {
                urn.rsplit(':').next().unwrap()
            };
            lines.push_str(&format!("{name} = {}\n", entry["id"].as_str().unwrap()));
        }
    }
    place.write("file", &lines);
    place.run("state rm network aws --sandbox --yes").ends(0);
    let ran = place.run("import --from file --sandbox --yes").ends(0);
    ran.says("resources are recorded").says("needed by that");
    place
        .run("preview --sandbox --refresh --expect-no-changes")
        .ends(0);
    place.run("destroy --sandbox --yes").ends(0);
}

#[test]
fn a_stack_that_never_ran_begins_with_what_is_imported() {
    let place = Place::with(VALUES);
    let ran = place.run("import a x --yes");
    assert_ne!(ran.code, Some(0), "{}", ran.out);
    assert!(place.files(".epid/state").is_empty(), "a refusal wrote something");
}
