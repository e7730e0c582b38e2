//! What people do to states by hand, and the history of it.

use std::fs;

use serde_json::Value;

use crate::place::{CLOUD, Look, Place, ROLE, VALUES};

/// The addresses that `state ls` lists.
fn recorded(place: &Place) -> Vec<String> {
    let listed = place.run("state ls").ends(0).out;
    let name = |line: &str| line.split_whitespace().next().unwrap().to_owned();
    listed.lines().map(name).collect()
}

fn runs(place: &Place) -> Vec<Value> {
    place.run("history --json").ends(0).events()
}

#[test]
fn every_run_leaves_a_record() {
    let place = Place::with(ROLE);
    assert_eq!(place.run("history --sandbox").ends(0).out, "");
    place.run("history 1 --sandbox").ends(2).says("has no run 1");
    assert!(place.files(".epid").is_empty(), "a look wrote something");
    fs::create_dir_all(place.path(".git/refs/heads")).unwrap();
    place.write(".git/HEAD", "ref: refs/heads/main\n");
    let commit = "0123456789abcdef0123456789abcdef01234567";
    place.write(".git/refs/heads/main", &format!("{commit}\n"));
    place.run("up --sandbox --yes").ends(0);
    place.run("state protect role --sandbox --yes").ends(0);
    place.run("state unprotect role --sandbox --yes").ends(0);
    place.run("destroy --sandbox --yes").ends(0);
    let events = place.run("history --sandbox --json").ends(0).events();
    let commands: Vec<&str> = events.iter().map(|e| e["command"].as_str().unwrap()).collect();
    let expected = [
        "up --sandbox --yes",
        "state protect role",
        "state unprotect role",
        "destroy",
    ];
    assert_eq!(commands.len(), expected.len());
    for (command, expected) in commands.iter().zip(expected) {
        assert!(command.starts_with(&format!("epid {expected}")), "{command}");
    }
    for event in &events {
        assert_eq!(event["result"], "done", "{event}");
        assert!(event["who"].as_str().unwrap().starts_with("somebody@"), "{event}");
        assert_eq!(event["commit"], commit, "{event}");
        assert!(event["seconds"].is_number(), "{event}");
    }
    assert!(events[0]["plan"].is_string() && events[1]["plan"].is_null());
    assert_eq!((&events[0]["calls"], &events[1]["calls"]), (&1.into(), &0.into()));
    let text = place.run("history --sandbox").ends(0).out;
    assert_eq!(text.lines().count(), 4, "{text}");
    let one = place.run("history 1 --sandbox").ends(0);
    one.says("create").says("role").says(commit).says("took");
    let one = place.run("history 1 --sandbox --json").ends(0).events();
    assert_eq!(one[0]["steps"][0]["operation"], "create");
    assert!(one[0]["steps"][0]["seconds"].as_f64().unwrap() > 0.0);
    place.run("history 9 --sandbox").ends(2).says("1 to 4");
}

#[test]
fn a_run_that_was_killed_has_no_end_in_the_history() {
    let place = Place::with(CLOUD);
    let mut going = place.start("up --sandbox --yes --json");
    going.until(&["\"stepStarted\"", "NatGateway"]);
    let holder = "`epid up --sandbox --yes --json` of somebody@";
    let process = format!("(process {}, since 20", going.pid());
    going.kill();
    for (line, says) in [
        ("history --sandbox", "run 1 has no end: "),
        (
            "state verify --sandbox",
            "goes on; where it was cut short, the next `epid up` finds out",
        ),
        ("preview --sandbox", "goes on, or was cut short, and "),
    ] {
        // What takes no lock cannot tell a run that goes on from one that died.
        let ran = place.run(line).ends(0).says(says).says(holder).says(&process);
        assert!(!ran.err.contains("an earlier run was cut short"), "{ran:?}");
    }
    place.run("history --sandbox").ends(0).says("no end");
    // Who gave the stack back before the end was written is not at work.
    fs::remove_file(place.state_file("net", "state").with_file_name("holder")).unwrap();
    place
        .run("preview --sandbox")
        .ends(0)
        .says("an earlier run was cut short, and ");
    place
        .run("state verify --sandbox")
        .ends(0)
        .says("without a known outcome: the next `epid up` finds out");
    // What it left is looked into by a run of its own, which nobody has to have agreed to.
    let unanswered = place.run("up --sandbox").ends(2);
    assert!(unanswered.err.contains("--yes"), "{unanswered:?}");
    place.run("up --sandbox --yes").ends(0);
    let events = place.run("history --sandbox --json").ends(0).events();
    let told = |event: &Value| {
        (
            event["run"].clone(),
            event["result"].clone(),
            event["recovery"].clone(),
        )
    };
    let expected = [
        (1, Value::Null, false),
        (2, "done".into(), true),
        (3, "done".into(), false),
    ];
    let expected = expected.map(|(run, result, recovery)| (run.into(), result, recovery.into()));
    assert_eq!(events.iter().map(told).collect::<Vec<_>>(), expected);
    assert_eq!(events[1]["command"], "epid up --sandbox");
    place.run("history --sandbox").ends(0).says("   recovered   ");
    // How long a call took that another run began is not known: no estimate comes of it.
    let recovered = place.run("history 2 --sandbox --json").ends(0).events();
    let took = recovered[0]["steps"][0]["seconds"].as_f64().unwrap();
    assert!(took < 60.0, "{took}");
}

#[test]
fn a_run_that_finds_nothing_to_do_is_in_the_history_too() {
    let place = Place::with(VALUES);
    place.run("up --yes").ends(0);
    place.run("up --yes").ends(0).says("no changes");
    let saved = place.run("preview --save plan.json").ends(0);
    let before = place.files(".epid/state");
    place.run("up --yes").ends(0).says("no changes");
    let after = place.files(".epid/state");
    let is_history = |name: &str| name.contains("/history/");
    // What others may see is told anew, and who had the lock.
    let is_told = |name: &str| name.ends_with("/outputs") || name.ends_with("/holder");
    for (name, bytes) in &after {
        assert!(
            is_history(name) || is_told(name) || before.get(name) == Some(bytes),
            "a run that changed nothing wrote {name}"
        );
    }
    let told = |run: &Value| (run["run"].clone(), run["idle"].clone(), run["result"].clone());
    let idle = (Value::from(1), Value::from(true), Value::from("done"));
    let first = (Value::from(1), Value::from(false), Value::from("done"));
    let events: Vec<_> = runs(&place).iter().map(told).collect();
    assert_eq!(events, [first, idle.clone(), idle]);
    place.run("history").ends(0).says("   no changes   ");
    place.run("state verify").ends(0).says(", 3 runs");
    // What was planned before it holds: nothing has changed. A look is no run.
    drop(saved);
    place.run("up --plan plan.json").ends(0);
    place.run("preview").ends(0);
    place.run("refresh").ends(0);
    assert_eq!(runs(&place).len(), 4);
    // Damage to the record of such a run is told as that of any other.
    let name = place
        .files(".epid/state")
        .into_keys()
        .find(|name| is_history(name) && name.contains('-'));
    place.write(&name.unwrap(), "nothing");
    place.run("state verify").ends(1).says("history");
}

#[test]
fn a_plan_that_was_saved_before_a_recovery_is_refused_and_a_new_one_is_not() {
    let place = Place::with(CLOUD);
    let mut going = place.start("up --sandbox --yes --json");
    going.until(&["\"stepStarted\"", "NatGateway"]);
    going.kill();
    place.run("preview --sandbox --save plan.json").ends(0);
    // What is found out changes the state, and with it what a plan says.
    place
        .run("up --sandbox --plan plan.json")
        .ends(2)
        .says("has changed since the plan was made");
    place.run("preview --sandbox --save plan.json").ends(0);
    place.run("up --sandbox --plan plan.json").ends(0);
}

#[test]
fn what_changes_records_shows_it_and_asks() {
    let place = Place::with(VALUES);
    place.run("up --yes").ends(0);
    let before = place.files(".epid/state");
    for line in [
        "state protect a",
        "state mv a z",
        "state rm c",
        "state mv a z --json",
    ] {
        let ran = place.run(line).ends(2).says("--yes");
        assert!(
            ran.out.contains("values:one") || ran.out.contains("values/one"),
            "{line}: {}",
            ran.out
        );
    }
    assert_eq!(place.files(".epid/state"), before, "a question wrote something");
    let shown = place.run("state mv a z --json --yes").ends(0).events();
    assert_eq!(shown[0]["event"], "stateChanges");
    assert_eq!(shown[0]["changes"].as_array().unwrap().len(), 2, "{}", shown[0]);
    assert_eq!(shown[0]["changes"][0]["change"], "rename");
}

#[test]
fn protection_is_given_and_taken_by_hand() {
    let place = Place::with(VALUES);
    place.run("up --yes").ends(0);
    place.run("state protect a").ends(2).says("~ a").says("protected");
    place
        .run("state protect a --yes")
        .ends(0)
        .says("`options.protect = true` keeps it so");
    place.run("state protect a").ends(0).says("was protected");
    place.run("state ls").ends(0).says("(protected)");
    place.run("destroy --yes").ends(2).says("epid state unprotect a");
    place
        .run("state rm a b c --yes")
        .ends(2)
        .says("epid state unprotect a");
    place
        .run("state protect d --yes")
        .ends(2)
        .says("nothing is recorded of `d`");
    place.run("state unprotect a --yes").ends(0);
    place.run("state unprotect a").ends(0).says("was not protected");
    place.run("destroy --yes").ends(0).says("3 deleted");
}

#[test]
fn a_renamed_record_keeps_what_depends_on_it() {
    let place = Place::with(VALUES);
    place.run("up --yes").ends(0);
    place
        .run("state mv a c --yes")
        .ends(2)
        .says("`c` is recorded already");
    place.run("state mv a a --yes").ends(2).says("recorded already");
    place
        .run("state mv nothing z --yes")
        .ends(2)
        .says("nothing is recorded of `nothing`");
    for bad in ["z/", "*", "/z", "a:b"] {
        place
            .run(&format!("state mv a {bad} --yes"))
            .ends(2)
            .says("is no address");
    }
    place
        .run("state mv a urn:epid:values:two:epid:data:Value:z --yes")
        .ends(2)
        .says("not of the stack and kind");
    place.run("state mv a z --yes").ends(0).says("follows");
    assert_eq!(recorded(&place), ["b", "c", "z"]);
    place.run("state show b").ends(0).says("needs       z");
    // Renamed in the program as well, there is nothing to do.
    let renamed = VALUES[1]
        .1
        .replace("resources.a]", "resources.z]")
        .replace("{a.", "{z.");
    place.write("stacks/one.toml", &renamed);
    place.run("up --yes").ends(0);
    place.run("preview --expect-no-changes").ends(0);
    assert!(runs(&place).iter().all(|run| run["result"] == "done"));
    place.run("destroy --yes").ends(0).says("3 deleted");
}

#[test]
fn a_renamed_provider_takes_what_it_made_along() {
    let place = Place::with(CLOUD);
    place.run("up --sandbox --yes").ends(0);
    let ran = place.run("state mv aws amazon --sandbox --yes").ends(0);
    assert!(ran.out.contains("it was made by that"), "{}", ran.out);
    place
        .run("state mv network net --sandbox --yes")
        .ends(0)
        .says("net/vpc");
    let listed = place.run("state ls --sandbox").ends(0).out;
    assert!(
        listed.contains("amazon") && !listed.contains("network/"),
        "{listed}"
    );
    let text = CLOUD[1].1.replace("providers.aws]", "providers.amazon]");
    let text = text
        .replace("resources.network]", "resources.net]")
        .replace("{network.", "{net.");
    place.write("stacks/net.toml", &text);
    place.run("preview --sandbox --refresh").ends(0);
    // From state alone, under the new names.
    fs::remove_file(place.path("stacks/net.toml")).unwrap();
    place
        .run("history --stack net --sandbox")
        .ends(0)
        .says("state mv");
    place.run("destroy --stack net --sandbox --yes").ends(0);
}

#[test]
fn a_forgotten_record_leaves_the_resource() {
    let place = Place::with(ROLE);
    place.run("up --sandbox --yes").ends(0);
    place
        .run("state rm aws --sandbox --yes")
        .ends(2)
        .says("`aws` is needed by `role`");
    place
        .run("state rm role --sandbox --yes")
        .ends(0)
        .says("reader stays");
    assert!(!place.run("state ls --sandbox").ends(0).out.contains("role"));
    // It is still there, so it cannot be made again.
    place.run("up --sandbox --yes").ends(1);
    let values = Place::with(VALUES);
    values.run("up --yes").ends(0);
    values
        .run("state rm a --yes")
        .ends(2)
        .says("`a` is needed by `b`");
    values.run("state rm a b --yes").ends(0);
    assert_eq!(recorded(&values), ["c"]);
    values.run("up --yes").ends(0).says("2 created");
}

#[test]
fn nothing_is_changed_by_hand_while_a_call_is_unclear() {
    // Killed where a subnet is made, so its network is recorded; mostly something else is on its way.
    let killed = || {
        let place = Place::with(CLOUD);
        let mut going = place.start("up --sandbox --yes --json");
        going.until(&["stepDone", "ubnet"]);
        going.kill();
        let listed = place.run("state ls --sandbox").ends(0).out;
        listed.contains("is not known yet").then_some(place)
    };
    let place = (0..10).find_map(|_| killed()).unwrap();
    let before = place.files(".epid/state");
    // The provider makes what is unclear, and it is in the network.
    for line in [
        "state mv aws amazon",
        "state rm aws network",
        "state mv network net",
    ] {
        place
            .run(&format!("{line} --sandbox --yes"))
            .ends(2)
            .says("not known yet");
    }
    assert_eq!(place.files(".epid/state"), before, "a refusal wrote something");
    // What is unclear itself can be let go of.
    let lost = place.twin();
    let listed = lost.run("state ls --sandbox").ends(0).out;
    let unclear = listed.lines().filter_map(|line| {
        let (name, _) = line.strip_prefix("! ")?.split_once(": the outcome")?;
        Some(name.to_owned())
    });
    let unclear: Vec<String> = unclear.collect();
    lost.run(&format!("state rm {} --sandbox --yes", unclear.join(" ")))
        .ends(0)
        .says("a call whose outcome nobody knows is forgotten");
    let listed = lost.run("state ls --sandbox").ends(0).out;
    assert!(!listed.contains("is not known yet"), "{listed}");
    place.run("up --sandbox --yes").ends(0);
    place.run("state mv network net --sandbox --yes").ends(0);
}

const CHANGED: &str = "[resources.a]\ntype = \"epid:data:Value\"\nproperties.value = \"changed\"\n";

/// Everything a state says of its resources and outputs, run numbers aside.
fn content(place: &Place) -> String {
    let text = place.run("state export - --plain --show-secrets").ends(0).out;
    let document: Value = serde_json::from_str(&text).unwrap();
    format!("{} {}", document["resources"], document["outputs"])
}

#[test]
fn verify_finds_every_damaged_file() {
    let place = Place::with(VALUES);
    place.run("state verify").ends(0).says("nothing recorded yet");
    assert!(place.files(".epid").is_empty(), "a look wrote something");
    place.run("up --yes").ends(0);
    place.write("stacks/one.toml", CHANGED);
    place.run("up --yes").ends(0);
    place
        .run("state verify")
        .ends(0)
        .says("state 2, 1 resource, 2 runs");
    place.run("state verify --all").ends(0).says("values/one");
    let whole = place.run("state verify --json").ends(0).events();
    assert_eq!(
        (&whole[0]["event"], &whole[0]["state"]["runs"]),
        (&"verified".into(), &2.into())
    );
    let files = place.files(".epid/state");
    let kinds = ["state", "state.previous", "journal", "history", "outputs"];
    let mut seen = 0;
    for (name, bytes) in &files {
        seen += usize::from(kinds.iter().any(|kind| name.contains(&format!("/one/{kind}"))));
        for at in [0, bytes.len() / 2, bytes.len() - 1] {
            let mut changed = bytes.clone();
            changed[at] ^= 0x10;
            fs::write(place.path(name), &changed).unwrap();
            let ran = place.run("state verify").ends(1);
            assert!(ran.err.contains(name.as_str()), "byte {at} of {name}: {ran:?}");
            let before = place.files(".epid/state");
            let json = place.run("state verify --all --json").ends(1);
            assert!(json.events()[0]["problems"][0].is_string(), "{json:?}");
            assert_eq!(place.files(".epid/state"), before, "verify wrote something");
        }
        fs::write(place.path(name), bytes).unwrap();
    }
    assert!(seen >= kinds.len(), "{:?}", files.keys());
    // A run of another number, and a state that lacks its newest snapshot.
    let run = place.state_file("one", "history/0000000001");
    fs::rename(&run, run.with_file_name("0000000002")).unwrap();
    place
        .run("state verify")
        .ends(1)
        .says("it is the history of run 1");
    place.twin().run("up --yes").ends(0);
    fs::remove_file(place.state_file("one", "state")).unwrap();
    place.run("state verify").ends(1).says("it is missing");
}

#[test]
fn an_exported_state_holds_no_secret_in_clear() {
    let place = Place::with(VALUES);
    place.run("state export file").ends(2).says("nothing is recorded");
    place.write(
        "stacks/one.toml",
        "[resources.a]\ntype = \"epid:data:Value\"\nproperties.value = \"${config.word}\"\n",
    );
    place
        .bash("echo -n hunter2-canary | epid config set word --secret")
        .ends(0);
    place.run("up --yes").ends(0);
    place.run("state export file").ends(0).says("encrypted");
    place.run("state export file.json --plain").ends(0);
    let bytes = |name: &str| String::from_utf8_lossy(&fs::read(place.path(name)).unwrap()).into_owned();
    assert!(!bytes("file").contains("canary") && !bytes("file").contains("epid:data:Value"));
    assert!(!bytes("file.json").contains("canary") && bytes("file.json").contains("(secret)"));
    place
        .run("state export file --show-secrets")
        .ends(2)
        .says("--plain");
    let ran = place.run("state export - --plain").ends(0);
    assert!(!ran.out.contains("canary"));
    place
        .run("state export - --plain --show-secrets")
        .ends(0)
        .says("hunter2-canary");
    use std::os::unix::fs::PermissionsExt as _;
    let mode = fs::metadata(place.path("file.json"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    place
        .run("state export nowhere/file")
        .ends(1)
        .says("nowhere/file cannot be written");
    place
        .run("state import file.json --yes")
        .ends(2)
        .says("file.json is a plain export, which is for people")
        .says("`epid state export FILE` writes one that can be imported");
    place.write("other.json", "{\"resources\": []}");
    place
        .run("state import other.json --yes")
        .ends(2)
        .says("other.json is damaged");
}

#[test]
fn an_imported_state_is_what_was_exported() {
    let place = Place::with(VALUES);
    place.run("up --yes").ends(0);
    place.run("state export first").ends(0);
    let first = content(&place);
    place.run("state import first").ends(0).says("so already");
    place.write("stacks/one.toml", CHANGED);
    place.run("up --yes").ends(0);
    place.run("state export second").ends(0);
    let second = content(&place);
    // Older: what was recorded since would be lost.
    let before = place.files(".epid/state");
    place
        .run("state import first --yes")
        .ends(2)
        .says("it is of run 1")
        .says("--force");
    place.run("state import first --force").ends(2).says("add --yes");
    assert_eq!(place.files(".epid/state"), before, "a refusal wrote something");
    place.run("state import first --force --yes").ends(0).says("+ b");
    assert_eq!(content(&place), first);
    place.run("state verify").ends(0).says("state 3, 3 resources");
    assert_eq!(place.run("stack output b").ends(0).out, "1-2\n");
    // A state that was lost goes on under its lineage and number.
    fs::remove_dir_all(place.path(".epid/state")).unwrap();
    place.run("state import second --yes").ends(0);
    assert_eq!(content(&place), second);
    place.run("state verify").ends(0).says("state 3, 1 resource");
    place.run("preview --expect-no-changes").ends(0);
    assert_eq!(place.run("history").ends(0).out.lines().count(), 1);
    // A copy of a later run than the state is taken, and numbers do not come twice.
    place.run("state protect a --yes").ends(0);
    place.run("state unprotect a --yes").ends(0);
    place.run("state export third").ends(0);
    fs::remove_dir_all(place.path(".epid/state")).unwrap();
    place.run("state import first --yes").ends(0);
    place.run("state import third --yes").ends(0);
    place.run("state verify").ends(0).says("state 6, 1 resource");
}

#[test]
fn a_state_is_not_imported_where_it_does_not_belong() {
    let place = Place::with(VALUES);
    place.write("stacks/two.toml", CHANGED);
    place.run("up --yes").ends(0);
    place.run("state export file").ends(0);
    let before = place.files(".epid");
    place
        .run("state import file --stack two --yes")
        .ends(2)
        .says("not of values/two");
    place
        .run("state import file --sandbox --yes")
        .ends(2)
        .says("in cloud");
    place
        .run("state import missing --yes")
        .ends(2)
        .says("missing cannot be read");
    let bytes = fs::read(place.path("file")).unwrap();
    for at in [0, bytes.len() / 2, bytes.len() - 1] {
        let mut changed = bytes.clone();
        changed[at] ^= 0x10;
        fs::write(place.path("changed"), &changed).unwrap();
        place.run("state import changed --yes").ends(2).says("damaged");
        fs::write(place.path("changed"), &bytes[..at]).unwrap();
        place.run("state import changed --yes").ends(2).says("damaged");
    }
    assert_eq!(place.files(".epid"), before, "a refusal wrote something");
    // Removed and made anew, it is another state.
    place.run("destroy --yes").ends(0);
    place.run("stack rm --yes").ends(0);
    place.run("up --yes").ends(0);
    place
        .run("state import file --force --yes")
        .ends(2)
        .says("lineage");
}

#[test]
fn the_last_run_is_taken_back_where_it_only_changed_records() {
    let place = Place::with(VALUES);
    place
        .run("state rollback --yes")
        .ends(2)
        .says("nothing to take back");
    place.run("up --yes").ends(0);
    place
        .run("state rollback --yes")
        .ends(2)
        .says("sent 3 calls to a cloud");
    let made = content(&place);
    place.run("state rm a b --yes").ends(0);
    let less = content(&place);
    place.run("state rollback").ends(2).says("+ a").says("+ b");
    place
        .run("state rollback --yes")
        .ends(0)
        .says("this takes back run 2 (`epid state rm a b --yes`)\n")
        .says("as they were at run 1");
    assert_eq!(content(&place), made);
    place.run("preview --expect-no-changes").ends(0);
    // Taking that back is a run like any.
    place
        .run("state rollback --yes")
        .ends(0)
        .says("takes back run 3 (`epid state rollback --yes`), which took back run 2: it is as that run left it again")
        .says("- a   forgotten; ");
    assert_eq!(content(&place), less);
    place.run("state rollback --yes").ends(0);
    place.run("state mv c z --yes").ends(0);
    place.run("state rollback --yes").ends(0);
    assert_eq!(content(&place), made);
    assert_eq!(place.run("history").ends(0).out.lines().count(), 7);
    // A rotation keeps nothing that the old key opens, and says so.
    place.run("state mv c z --yes").ends(0);
    place.run("keys rotate --yes").ends(0);
    place
        .run("state rollback --yes")
        .ends(2)
        .says("nothing to take back")
        .says("`epid keys rotate`");
    place.run("state verify").ends(0);
}

#[test]
fn an_export_made_amid_a_killed_run_is_as_good_as_the_state() {
    let whole = Place::with(CLOUD);
    whole.run("up --sandbox --yes").ends(0);
    let all = Look::at(&whole).counts();
    let place = Place::with(CLOUD);
    let mut going = place.start("up --sandbox --yes --json");
    going.until(&["stepDone", "ubnet"]);
    going.kill();
    let said = place.run("state ls --sandbox").ends(0).out;
    place.run("state export file --sandbox").ends(0);
    place.run("state rollback --sandbox --yes").ends(2);
    fs::remove_dir_all(place.path(".epid/state")).unwrap();
    place.run("state import file --sandbox --yes").ends(0);
    assert_eq!(
        place.run("state ls --sandbox").ends(0).out,
        said,
        "what was unclear is so still"
    );
    // Nothing is made twice.
    place.run("up --sandbox --yes").ends(0);
    place
        .run("preview --sandbox --refresh --expect-no-changes")
        .ends(0);
    assert_eq!(Look::at(&place).counts(), all);
    // Calls of then that ended since are not begun again.
    if said.contains("is not known yet") {
        place
            .run("state import file --sandbox --force --yes")
            .ends(2)
            .says("not known yet");
    }
}

#[test]
fn a_change_by_hand_that_is_killed_is_there_or_not() {
    let whole = Place::with(VALUES);
    whole.run("up --yes").ends(0);
    for at in 0..10 {
        let place = whole.twin();
        let going = place.start("state mv a z --yes");
        let begun = std::time::Instant::now();
        while begun.elapsed() < std::time::Duration::from_millis(at * 3) {
            std::hint::spin_loop();
        }
        going.kill();
        let names = recorded(&place);
        assert!(names == ["a", "b", "c"] || names == ["b", "c", "z"], "{names:?}");
        place.run("state verify").ends(0);
        let line = if names[0] == "a" {
            "state mv a z --yes"
        } else {
            "state mv z a --yes"
        };
        place.run(line).ends(0);
        place.run("state verify").ends(0);
    }
}

#[test]
fn a_state_that_was_copied_back_is_told_before_anything_is_made_twice() {
    let place = Place::with(VALUES);
    place.run("up --yes").ends(0);
    let old = place.files(".epid/state");
    place.write("stacks/one.toml", &VALUES[1].1.replace("\"3\"", "\"4\""));
    place.run("up --yes").ends(0);
    let new = place.files(".epid/state");
    let put_back = |files: &std::collections::BTreeMap<String, Vec<u8>>| {
        fs::remove_dir_all(place.path(".epid/state")).unwrap();
        for (name, bytes) in files {
            fs::create_dir_all(place.path(name).parent().unwrap()).unwrap();
            fs::write(place.path(name), bytes).unwrap();
        }
    };
    put_back(&old);
    for line in [
        "up --yes",
        "preview",
        "destroy --yes",
        "state rm a --yes",
        "state ls",
    ] {
        let told = place.run(line).ends(1);
        for text in [
            "is at run 1, and run 2 of it was seen here",
            "Put the newer one back",
            ".epid/seen/cloud/values/one/serial",
        ] {
            assert!(told.err.contains(text), "{line}: {told:?}");
        }
    }
    assert_eq!(place.files(".epid/state"), old, "it wrote");
    put_back(&new);
    place.run("preview --expect-no-changes").ends(0);
    // Where the newer one is lost, the older one serves, once somebody says so.
    put_back(&old);
    fs::remove_file(place.path(".epid/seen/cloud/values/one/serial")).unwrap();
    forget_person(&place);
    place.run("up --yes").ends(0).says("1 updated");
    // One that is gone altogether is no new stack.
    let kept = place.files(".epid/state");
    fs::remove_dir_all(place.path(".epid/state")).unwrap();
    for line in ["up --yes", "preview", "state ls"] {
        place
            .run(line)
            .ends(1)
            .says("is gone from")
            .says("check [backend]")
            .says(".epid/seen/cloud/values/one/serial");
    }
    fs::create_dir_all(place.path(".epid/state")).unwrap();
    put_back(&kept);
    // A stack that is removed and made anew begins anew.
    place.run("destroy --yes").ends(0);
    place.run("stack rm --yes").ends(0);
    place.run("up --yes").ends(0);
}

/// Removes the note that the person's own folder has of a state.
fn forget_person(place: &Place) {
    let notes = place.files("home/.local/state/epid/seen");
    assert_eq!(notes.len(), 1, "{:?}", notes.keys());
    fs::remove_file(place.path(notes.keys().next().unwrap())).unwrap();
}

#[test]
fn a_folder_that_was_copied_back_as_a_whole_is_told_too() {
    let mut place = Place::with(VALUES);
    place.run("up --yes").ends(0);
    let old = place.files(".epid");
    place.write("stacks/one.toml", &VALUES[1].1.replace("\"3\"", "\"4\""));
    place.run("up --yes").ends(0);
    fs::remove_dir_all(place.path(".epid")).unwrap();
    for (name, bytes) in &old {
        place.write(name, "");
        fs::write(place.path(name), bytes).unwrap();
    }
    for line in ["up --yes", "preview", "state ls", "state verify"] {
        let told = place.run(line).ends(1);
        for text in [
            "is at run 1, and run 2 of it was seen here",
            "Put the newer one back",
            "home/.local/state/epid/seen/",
        ] {
            assert!(told.err.contains(text), "{line}: {told:?}");
        }
    }
    // Another person's folder has nothing of it.
    place.set("XDG_STATE_HOME", &place.path("elsewhere").display().to_string());
    place.run("preview").ends(0);
    place.unset("XDG_STATE_HOME");
    forget_person(&place);
    place.run("up --yes").ends(0).says("1 updated");
}

#[test]
fn a_damaged_note_is_told_and_in_nobodys_way() {
    let place = Place::with(VALUES);
    place.run("up --yes").ends(0);
    let note = place.path(".epid/seen/cloud/values/one/serial");
    let whole = fs::read_to_string(&note).unwrap();
    let later = whole.replace("\"serial\":1", "\"serial\":7");
    for text in ["", "rubbish", &later] {
        assert_ne!(text, whole);
        fs::write(&note, text).unwrap();
        let told = place.run("preview --expect-no-changes").ends(0);
        assert_eq!(told.err.matches("serial is damaged").count(), 1, "{told:?}");
        place.run("state verify").ends(0).says("warning: ");
        place.run("up --yes --json").ends(0).says("serial is damaged");
        let told = place.run("up --yes").ends(0);
        assert!(!told.err.contains("damaged"), "{told:?}");
    }
}

#[test]
fn git_leaves_the_folder_alone_unless_somebody_says_otherwise() {
    let place = Place::with(CLOUD);
    place.run("up --sandbox --yes").ends(0);
    let ignore = place.path(".epid/.gitignore");
    let text = fs::read_to_string(&ignore).unwrap();
    assert_eq!(text.lines().last(), Some("*"));
    fs::write(&ignore, "*\n!state/\n").unwrap();
    place.run("destroy --sandbox --yes").ends(0);
    assert_eq!(fs::read_to_string(&ignore).unwrap(), "*\n!state/\n");
    // A sandbox that is served has no state yet.
    let place = Place::with(CLOUD);
    let mut serving = place.start("sandbox serve --port 0");
    serving.until(&["AWS_ENDPOINT_URL"]);
    assert!(place.path(".epid/.gitignore").exists());
}
