//! What exists is recorded as what is declared.

use crate::place::{CLOUD, Look, Place, ROLE, VALUES};

/// A place whose role exists and is not recorded.
pub(crate) fn forgotten() -> Place {
    let place = Place::with(ROLE);
    place.run("up --sandbox --yes").ends(0);
    place.run("state rm role --sandbox --yes").ends(0);
    place
}

#[test]
fn an_import_of_nothing_says_how_one_or_many_are_named() {
    let place = Place::with(ROLE);
    for line in ["import", "import role"] {
        place
            .run(line)
            .ends(2)
            .says("epid import RESOURCE ID, or many at once: epid import --from FILE");
    }
    let told = place.run("history").ends(0);
    assert_eq!(
        (&*told.out, &*told.err),
        ("", "stack `role` has no runs in cloud\n")
    );
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
    refused("role nobody", 2, "there is no aws:iam:Role `nobody`");
    refused("rol reader", 2, "did you mean `role`?");
    refused("aws reader", 2, "nothing that could be imported");
    refused("role", 2, "ID");
    refused("role reader --from file", 2, "--from");
    refused("--from file", 2, "file cannot be read");
    place.write("file", "# nothing\n\n");
    refused("--from file", 2, "names nothing to import");
    place.write("file", "role reader\n");
    refused("--from file", 2, "a line is `RESOURCE = ID`");
    place.write("file", "role = reader\nrole = writer\n");
    refused("--from file", 2, "`role` is given two ids");
    // Only a replacement could make it what is declared.
    let other = ROLE[1].1.replace("\"reader\"", "\"writer\"");
    place.write("stacks/role.toml", &other);
    refused("role reader", 2, "cannot import reader as declared");
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
        .ends(2);
    assert!(ran.err.contains("belongs to another stack"), "{}", ran.err);
    place.run("state ls --stack thief --sandbox").ends(0);
    assert!(
        place
            .files(".epid/state")
            .keys()
            .all(|name| !name.contains("thief"))
    );
}

/// A place whose role exists, is not recorded, and is nobody's; and a stack that adopts it.
fn nobodys() -> Place {
    let place = forgotten();
    Look::at(&place)
        .iam("Action=UntagRole&RoleName=reader&TagKeys.member.1=epid:lineage&TagKeys.member.2=epid:urn");
    let adopts = ROLE[1]
        .1
        .replace("[outputs]", "[resources.role.options]\nadopt = true\n[outputs]");
    place.write("stacks/thief.toml", &adopts);
    place
}

#[test]
fn a_preview_tells_what_it_would_adopt_and_writes_nothing() {
    let place = nobodys();
    let before = place.files(".epid");
    place
        .run("preview --stack thief --sandbox")
        .ends(0)
        .says("adopts reader: nobody's, marked as this stack's")
        .says("1 to adopt");
    let events = place
        .run("preview --stack thief --sandbox --json")
        .ends(0)
        .events();
    assert_eq!(
        events[0]["steps"][0]["found"],
        serde_json::json!({"id": "reader", "marked": false})
    );
    assert_eq!(place.files(".epid"), before);
    Look::at(&place).iam("Action=DeleteRole&RoleName=reader");
    place
        .run("preview --stack thief --sandbox")
        .ends(0)
        .says("there is none to adopt")
        .says("1 to create");
}

#[test]
fn what_was_nobodys_is_marked_by_the_run_after_its_import_and_others_are_kept_out() {
    let place = nobodys();
    place
        .run("import role reader --stack role --sandbox --yes")
        .ends(0)
        .says("marks what is nobody's");
    let taken = place.twin();
    place
        .run("preview --stack role --sandbox --expect-no-changes")
        .ends(3)
        .says("marked as this stack's");
    place
        .run("up --stack role --sandbox --yes")
        .ends(0)
        .says("1 updated");
    place
        .run("preview --stack role --sandbox --refresh --expect-no-changes")
        .ends(0);
    place
        .run("up --stack thief --sandbox --yes")
        .ends(2)
        .says("belongs to another stack (urn:epid:cloudy:role:aws:iam:Role:role)");
    // Where another one is faster, the stack that imported it says so and leaves it alone.
    taken
        .run("up --stack thief --sandbox --yes")
        .ends(0)
        .says("1 adopted");
    let whose = "belongs to another stack now (urn:epid:cloudy:thief:aws:iam:Role:role)";
    taken.run("up --stack role --sandbox --yes").ends(2).says(whose);
    taken
        .run("refresh --stack role --sandbox --expect-no-changes")
        .ends(3)
        .says(whose)
        .says("epid state rm");
    taken
        .run("destroy --stack role --sandbox --yes")
        .ends(1)
        .says("reader belongs to another stack");
    taken
        .run("preview --stack thief --sandbox --refresh --expect-no-changes")
        .ends(0);
}

#[test]
fn a_mark_that_was_taken_away_is_told_and_set_again() {
    let place = Place::with(ROLE);
    place.run("up --sandbox --yes").ends(0);
    Look::at(&place).iam("Action=UntagRole&RoleName=reader&TagKeys.member.1=epid:lineage");
    place
        .run("refresh --sandbox --expect-no-changes")
        .ends(3)
        .says("its mark as this stack's is gone")
        .says("`epid up --refresh` marks again");
    place
        .run("up --sandbox --yes --refresh")
        .ends(0)
        .says("1 updated");
    place.run("refresh --sandbox --expect-no-changes").ends(0);
}

#[test]
fn what_vanished_is_told_and_recorded_as_gone_and_made_again_by_a_plain_run() {
    let place = Place::with(ROLE);
    place.run("up --sandbox --yes").ends(0);
    Look::at(&place).iam("Action=DeleteRole&RoleName=reader");
    let state = place.files(".epid/state");
    place
        .run("refresh --sandbox --expect-no-changes")
        .ends(3)
        .says("drift: it is gone")
        .says("`epid refresh --accept` records it as gone");
    place.run("refresh --accept --sandbox").ends(2).says("--yes");
    assert_eq!(
        place.files(".epid/state"),
        state,
        "looking and asking write nothing"
    );
    place
        .run("refresh --accept --sandbox --yes")
        .ends(0)
        .says("recorded as gone");
    place.run("refresh --sandbox --expect-no-changes").ends(0);
    place.run("up --sandbox --yes").ends(0).says("1 created");
    // What is declared no more is forgotten, and nothing is left to do.
    Look::at(&place).iam("Action=DeleteRole&RoleName=reader");
    place.write(
        "stacks/role.toml",
        "[providers.aws]\ntype = \"aws\"\nproperties.region = \"us-east-1\"\n",
    );
    place
        .run("refresh --accept --sandbox --yes")
        .ends(0)
        .says("gone already, no longer recorded");
    assert!(!place.run("state ls --sandbox").ends(0).out.contains("role"));
}

#[test]
fn a_saved_plan_makes_nothing_again_that_is_there_again() {
    let place = Place::with(ROLE);
    place.run("up --sandbox --yes").ends(0);
    let there = place.twin();
    Look::at(&place).iam("Action=DeleteRole&RoleName=reader");
    place
        .run("preview --sandbox --refresh --save plan.json")
        .ends(0)
        .says("1 to create");
    std::fs::copy(place.path("plan.json"), there.path("plan.json")).unwrap();
    there
        .run("up --sandbox --plan plan.json")
        .ends(2)
        .says("`role` is there again");
    place
        .run("up --sandbox --plan plan.json")
        .ends(0)
        .says("1 created");
}

#[test]
fn a_name_that_is_taken_comes_with_the_command_that_imports_it() {
    let place = nobodys();
    let ran = place.run("up --stack role --sandbox --yes").ends(1);
    assert!(
        ran.err.contains("role/reader exists already and is nobody's")
            || ran.out.contains("role/reader exists already and is nobody's"),
        "{}{}",
        ran.out,
        ran.err
    );
    let said = format!("{}{}", ran.out, ran.err);
    let command = said.split("`epid ").nth(1).unwrap().split('`').next().unwrap();
    assert_eq!(command, "import role reader --stack role --sandbox");
    place.run(&format!("{command} --yes")).ends(0);
    place.run("up --stack role --sandbox --yes").ends(0);
}

#[test]
fn everything_wrong_with_a_file_is_told_at_its_line() {
    let place = forgotten();
    let before = place.files(".epid");
    let lines = "# what was there\nrol = reader\nrole = nobody\nrole = reader\nnonsense\naws = x\n";
    place.write("file", lines);
    let ran = place.run("import --from file --sandbox --yes").ends(2);
    for (line, problem) in [
        (2, "the program declares no `rol`"),
        (3, "there is no aws:iam:Role `nobody`"),
        (4, "`role` is given two ids"),
        (5, "a line is `RESOURCE = ID`"),
        (6, "`aws` is nothing that could be imported"),
    ] {
        assert!(ran.err.contains(problem), "{problem}: {}", ran.err);
        assert!(ran.err.contains(&format!("file:{line}:1")), "{line}: {}", ran.err);
    }
    let events = place
        .run("import --from file --sandbox --yes --json")
        .ends(2)
        .events();
    assert_eq!(events[0]["problems"].as_array().unwrap().len(), 5);
    assert_eq!(events[0]["problems"][1]["place"], "file:3:1");
    assert_eq!(place.files(".epid"), before);
    place.write("file", "role = reader\nrole = reader\n");
    place
        .run("import --from file --sandbox --yes")
        .ends(2)
        .says("named twice");
    place.run("import role reader --sandbox --yes").ends(0);
    place.write("file", "role = reader\n");
    place
        .run("import --from file --sandbox --yes")
        .ends(2)
        .says("there is nothing to import");
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
