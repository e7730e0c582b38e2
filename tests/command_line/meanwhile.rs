//! What changes while a person reads a plan: no more is done than they saw.

use std::fs::File;
use std::io::Write as _;
use std::process::Command;

use crate::place::{Going, Look, Place, ROLE, Ran};

const DECLARED: &str = "roleName = \"reader\"\ndescription = \"ours\"";
/// What the role trusts, as a query has it.
const TRUST: &str = "AssumeRolePolicyDocument=%7B%22Version%22%3A%222012-10-17%22%2C%22Statement%22%3A%5B%7B%22Effect%22%3A%22Allow%22\
                     %2C%22Principal%22%3A%7B%22Service%22%3A%22eks.amazonaws.com%22%7D%2C%22Action%22%3A%22sts%3AAssumeRole%22%7D%5D%7D";

fn place(options: &str) -> Place {
    let place = Place::with(ROLE);
    let text = ROLE[1].1.replace("roleName = \"reader\"", DECLARED);
    let properties = "[resources.role.properties]";
    let text = text.replace(
        properties,
        &format!("[resources.role.options]\n{options}\n{properties}"),
    );
    place.write("stacks/role.toml", &text);
    place
}

/// Runs `epid LINE --sandbox` on a terminal. Once it has shown `shown`, somebody else does `meanwhile`; then these are the
/// answers.
fn asked(place: &Place, look: &Look, line: &str, shown: &str, meanwhile: Option<&str>, answers: &str) -> Ran {
    let keys = place.path("keys");
    if !keys.exists() {
        assert!(Command::new("mkfifo").arg(&keys).status().unwrap().success());
    }
    let mut command = Command::new("bash");
    let program = env!("CARGO_BIN_EXE_epid");
    let line = format!("script -qec '{program} {line} --sandbox' /dev/null < keys");
    command.args(["-c", &line]);
    place.surround(&mut command);
    let mut going = Going::new(command);
    let mut keys = File::options().write(true).open(&keys).unwrap();
    going.until(&[shown]);
    if let Some(query) = meanwhile {
        look.iam(query);
    }
    keys.write_all(answers.as_bytes()).unwrap();
    going.end()
}

/// The same where the answer is yes.
fn answered(place: &Place, look: &Look, line: &str, shown: &str, meanwhile: Option<&str>) -> Ran {
    asked(place, look, line, shown, meanwhile, "yes\n")
}

#[test]
#[ignore = "needs `script` of util-linux, which gives a terminal"]
fn drift_is_accepted_as_it_was_shown() {
    let place = place("");
    place.run("up --sandbox --yes").ends(0);
    let look = Look::at(&place);
    // What was accepted by the first is no drift to the second.
    for (line, text) in [("refresh --accept", "theirs"), ("up --refresh=accept", "others")] {
        let changed = format!("Action=UpdateRole&RoleName=reader&Description={text}");
        look.iam(&changed);
        let state = place.files(".epid/state");
        for meanwhile in [
            "Action=UpdateRole&RoleName=reader&Description=another",
            "Action=UntagRole&RoleName=reader&TagKeys.member.1=epid:lineage",
            "Action=DeleteRole&RoleName=reader",
        ] {
            answered(&place, &look, line, "drifted", Some(meanwhile))
                .ends(1)
                .says("more was changed meanwhile than was shown: role");
            assert_eq!(place.files(".epid/state"), state, "{line}: {meanwhile}");
        }
        place.run("up --refresh --sandbox --yes").ends(0);
        look.iam(&changed);
        answered(&place, &look, line, "drifted", None).ends(0);
        place
            .run("preview --refresh --sandbox --expect-no-changes")
            .ends(0);
    }
}

#[test]
#[ignore = "needs `script` of util-linux, which gives a terminal"]
fn drift_that_a_run_found_when_it_had_waited_is_asked_about() {
    let place = place("");
    place.run("up --sandbox --yes").ends(0);
    let look = Look::at(&place);
    look.iam("Action=UpdateRole&RoleName=reader&Description=theirs");
    let another = "Action=UpdateRole&RoleName=reader&Description=another";
    let line = "refresh --accept --wait";
    for (answers, code) in [("yes\nno\n", 3), ("yes\nyes\n", 0)] {
        asked(&place, &look, line, "drifted", Some(another), answers)
            .ends(0)
            .says("Do this instead?");
        place
            .run("preview --refresh --sandbox --expect-no-changes")
            .ends(code);
        if code == 3 {
            look.iam("Action=UpdateRole&RoleName=reader&Description=theirs");
        }
    }
}

#[test]
#[ignore = "needs `script` of util-linux, which gives a terminal"]
fn what_is_taken_over_is_what_was_shown() {
    let place = place("adopt = true");
    let look = Look::at(&place);
    let made = format!("Action=CreateRole&RoleName=reader&Description=ours&{TRUST}");
    answered(&place, &look, "up", "1 to create", Some(&made))
        .ends(1)
        .says("more would change than was shown: role");
    let other = "Action=UpdateRole&RoleName=reader&Description=theirs";
    answered(&place, &look, "up", "1 to adopt", Some(other))
        .ends(1)
        .says("more would change than was shown: role");
    // Shown, it is put back as declared.
    answered(&place, &look, "up", "1 to adopt", None)
        .ends(0)
        .says("1 adopted");
    place
        .run("preview --refresh --sandbox --expect-no-changes")
        .ends(0);
}
