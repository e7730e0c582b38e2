//! Keys: which there are, and sealing everything with a new one.

use std::fs;

use crate::place::{Going, Place, VALUES};

/// Two stacks, one with a secret, one that uses its outputs.
fn sealed() -> Place {
    let place = Place::with(VALUES);
    place.write(
        "stacks/one.toml",
        "# kept\n\n[resources.a]\ntype = \"epid:data:Value\"\nproperties.value = \"${config.word}\"\n[outputs]\na = \"${a.value}\"\n",
    );
    place.write(
        "stacks/two.toml",
        "references.one = \"one\"\n[resources.x]\ntype = \"epid:data:Value\"\nproperties.value = \"${stacks.one.a}\"\n",
    );
    place
        .bash("echo -n hunter2 | epid config set word --secret")
        .ends(0);
    place
        .bash("echo -n hunter3 | epid config set other --secret")
        .ends(0);
    place.run("up --all --yes").ends(0);
    place
}

fn keys(place: &Place) -> Vec<String> {
    let files = place.files(".epid/keys");
    let keys = files.keys().filter(|name| name.ends_with(".key"));
    keys.cloned().collect()
}

/// Everything is sealed with one key: all others can go.
fn assert_one_key(place: &Place) {
    let current = fs::read_to_string(place.path(".epid/keys/current")).unwrap();
    for key in keys(place) {
        if !key.contains(current.trim()) {
            fs::remove_file(place.path(&key)).unwrap();
        }
    }
    assert_eq!(keys(place).len(), 1);
    place.run("state verify --all").ends(0);
    place.run("preview --all --expect-no-changes").ends(0);
    assert_eq!(
        place.run("config get word --show-secret").ends(0).out,
        "hunter2\n"
    );
    assert_eq!(
        place.run("config get other --show-secret").ends(0).out,
        "hunter3\n"
    );
    assert_eq!(
        place.run("stack output a --show-secrets").ends(0).out,
        "hunter2\n"
    );
    place.run("history 1").ends(0).says("create");
    let listed = place.run("keys ls --json").ends(0).events();
    assert!(listed.iter().all(|key| key["here"] == true), "{listed:?}");
}

#[test]
fn a_new_key_seals_everything_and_the_old_ones_open_nothing_any_more() {
    let place = sealed();
    let listed = place.run("keys ls").ends(0).says("word in stacks/one.toml");
    assert!(listed.out.contains("the state of two in cloud"), "{}", listed.out);
    let (before, old) = (place.files(""), keys(&place));
    place.run("keys rotate").ends(2).says("--yes");
    assert_eq!(place.files(""), before, "a question wrote something");
    place
        .run("keys rotate --yes")
        .ends(0)
        .says("2 states and 2 secrets");
    assert_eq!(keys(&place).len(), old.len() + 1);
    let text = fs::read_to_string(place.path("stacks/one.toml")).unwrap();
    assert!(text.contains("# kept\n"), "{text}");
    assert_one_key(&place);
    // Each stack tells it as one of its runs.
    for stack in ["one", "two"] {
        let runs = place
            .run(&format!("history --stack {stack} --json"))
            .ends(0)
            .events();
        let runs: Vec<_> = runs
            .iter()
            .map(|run| (run["command"].clone(), run["result"].clone()))
            .collect();
        let run = |command: &str| (command.into(), "done".into());
        assert_eq!(runs, [run("epid up --all --yes"), run("epid keys rotate --yes")]);
        let last = place.run(&format!("history 2 --stack {stack}")).ends(0);
        last.says("somebody@").says("epid keys rotate --yes");
    }
    // What is sealed from now on needs no old key either.
    place.run("preview --stack two --save plan --replace x").ends(0);
    place.run("up --plan plan").ends(0);
    place.run("up --all --yes").ends(0);
    place.run("keys rotate --yes").ends(0);
    assert_one_key(&place);
    place.run("destroy --all --yes").ends(0);
}

/// The bytes of a file, empty where there is none.
fn bytes(place: &Place, name: &str) -> Vec<u8> {
    fs::read(place.path(name)).unwrap_or_default()
}

/// Kills a command as soon as a file changes, and tells whether that hit a rotation that had begun and not ended.
fn kill_at(place: &Place, line: &str, file: &str) -> bool {
    let before = bytes(place, file);
    let mut going = place.start(line);
    while bytes(place, file) == before && going.goes_on() {
        std::thread::yield_now();
    }
    going.kill();
    place.path(".epid/keys/rotating").exists()
}

/// What changes one after the other in a rotation of [`sealed`].
fn marks(place: &Place) -> Vec<String> {
    let mut marks = vec![".epid/keys/rotating".to_owned()];
    for (stack, file) in [("one", "state"), ("one", "state.previous"), ("two", "state")] {
        let path = place.state_file(stack, file);
        let name = path.strip_prefix(place.dir.path()).unwrap();
        marks.push(name.display().to_string());
    }
    marks.push("stacks/one.toml".to_owned());
    marks
}

#[test]
fn a_rotation_that_is_killed_leaves_everything_readable_and_is_ended_by_the_next() {
    let first = sealed();
    let mut hits = 0;
    for mark in marks(&first) {
        let place = first.twin();
        hits += u32::from(kill_at(&place, "keys rotate --yes", &mark));
        place.run("state verify --all").ends(0);
        place.run("preview --all --expect-no-changes").ends(0);
        let known = keys(&place).len();
        place.run("keys rotate --yes").ends(0);
        assert!(keys(&place).len() <= known + 1);
        assert_one_key(&place);
    }
    assert!(hits >= 2, "only {hits} kills hit the middle");
}

/// Kills a rotation at one moment after another. What opened everything before or what does afterwards opens it at each of them,
/// and the same command once more ends it.
fn killed(before: &dyn Fn() -> Place, after: &dyn Fn(&mut Place), line: &str, assert: &dyn Fn(&Place)) {
    let mut marks = marks(&before());
    marks.insert(0, "Epid.keys.toml".to_owned());
    let mut hits = 0;
    for mark in marks {
        let mut place = before();
        hits += u32::from(kill_at(&place, line, &mark));
        let (mut old, mut changed) = (place.twin(), place.twin());
        old.unset("EPID_NEW_PASSPHRASE");
        after(&mut changed);
        let opens = |place: &Place| place.run("preview --all --expect-no-changes").code == Some(0);
        assert!(opens(&old) || opens(&changed), "killed at {mark}");
        place.run(line).ends(0);
        after(&mut place);
        assert(&place);
    }
    assert!(hits >= 2, "only {hits} kills hit the middle");
}

/// What a clone of the repository has, and a bucket.
fn clone(place: &Place) -> Place {
    let clone = place.twin();
    fs::remove_dir_all(clone.path(".epid/keys")).unwrap();
    clone
}

fn with_passphrase() -> Place {
    let mut place = sealed();
    place.set("EPID_PASSPHRASE", "correct horse battery staple");
    place
        .run("keys rotate --to passphrase --yes")
        .ends(0)
        .says("commit Epid.keys.toml");
    place
}

fn assert_open(place: &Place) {
    place.run("state verify --all").ends(0);
    place.run("preview --all --expect-no-changes").ends(0);
    let shown = place.run("config get word --show-secret").ends(0);
    assert_eq!(shown.out, "hunter2\n");
}

#[test]
fn a_passphrase_opens_everything_in_a_fresh_clone_and_no_other_does() {
    let place = with_passphrase();
    let mut clone = clone(&place);
    assert_open(&clone);
    let listed = clone.run("keys ls").ends(0);
    assert!(
        listed.out.contains("sealed with a passphrase") && !listed.out.contains("not here"),
        "{}",
        listed.out
    );
    clone.run("up --all --yes --replace a --stack one").ends(2);
    clone.run("up --yes --replace a").ends(0);
    clone.write(
        "stacks/new.toml",
        "[resources.n]\ntype = \"epid:data:Value\"\nproperties.value = \"1\"\n",
    );
    clone.run("up --stack new --yes").ends(0);
    clone.run("preview --stack new --save plan --replace n").ends(0);
    clone.run("up --plan plan").ends(0);
    assert!(
        !clone.path(".epid/keys").exists(),
        "a key file was made beside the passphrase"
    );

    let before = clone.files("");
    clone.set("EPID_PASSPHRASE", "correct horse battery maple");
    for line in [
        "preview",
        "up --yes",
        "config get word --show-secret",
        "keys rotate --yes",
    ] {
        clone.run(line).ends(2).says("wrong passphrase");
    }
    clone.write("phrase", "correct horse battery staple\n");
    clone.set("EPID_PASSPHRASE_FILE", clone.path("phrase").to_str().unwrap());
    clone.run("preview").ends(2).says("both set");
    clone.unset("EPID_PASSPHRASE");
    assert_open(&clone);
    clone.write("phrase", "\n");
    clone.run("preview").ends(2).says("empty");
    let nowhere = clone.path("nowhere").display().to_string();
    clone.set("EPID_PASSPHRASE_FILE", &nowhere);
    clone.run("preview").ends(2).says(&format!(
        "cannot read the passphrase from {nowhere}: No such file"
    ));
    clone.unset("EPID_PASSPHRASE_FILE");
    for line in [
        "preview",
        "up --yes",
        "config get word --show-secret",
        "keys rotate --yes",
    ] {
        clone
            .run(line)
            .ends(2)
            .says("set EPID_PASSPHRASE or EPID_PASSPHRASE_FILE");
    }
    clone.run("config ls").ends(0);
    clone.run("keys ls").ends(0);
    fs::remove_file(clone.path("phrase")).unwrap();
    assert_eq!(clone.files(""), before);
}

#[test]
fn a_passphrase_is_changed_and_given_up_again_with_one_command_each() {
    let mut place = with_passphrase();
    place.run("keys rotate --yes").ends(0);
    assert_open(&clone(&place));
    place
        .run("keys rotate --new-passphrase --yes")
        .ends(2)
        .says("set EPID_NEW_PASSPHRASE");
    place.set("EPID_NEW_PASSPHRASE", "another horse altogether");
    place.run("keys rotate --new-passphrase --yes").ends(0);
    place.unset("EPID_NEW_PASSPHRASE");
    clone(&place).run("preview").ends(2).says("wrong passphrase");
    place.set("EPID_PASSPHRASE", "another horse altogether");
    assert_open(&clone(&place));
    place.unset("EPID_PASSPHRASE");
    place
        .run("keys rotate --to file --yes")
        .ends(2)
        .says("EPID_PASSPHRASE");
    place.set("EPID_PASSPHRASE", "another horse altogether");
    place
        .run("keys rotate --to file --yes")
        .ends(0)
        .says("give its file");
    place.unset("EPID_PASSPHRASE");
    fs::remove_file(place.path("Epid.keys.toml")).unwrap();
    assert_one_key(&place);
}

#[test]
fn rotations_at_once_are_one_after_the_other() {
    let place = with_passphrase();
    let rotations: Vec<_> = (0..3).map(|_| place.start("keys rotate --yes")).collect();
    let ran: Vec<_> = rotations.into_iter().map(Going::end).collect();
    assert!(ran.iter().any(|ran| ran.code == Some(0)), "{ran:?}");
    for ran in ran.iter().filter(|ran| ran.code != Some(0)) {
        assert_eq!(ran.code, Some(4), "{ran:?}");
    }
    assert_open(&clone(&place));
    // While one holds the lock, another says so and writes nothing.
    let held = fs::File::options()
        .write(true)
        .open(place.path(".epid/keys/lock"))
        .unwrap();
    held.lock().unwrap();
    let before = place.files("");
    place
        .run("keys rotate --yes")
        .ends(4)
        .says("another `epid keys rotate` or `epid config` holds");
    assert_eq!(place.files(""), before);
    drop(held);
    place.run("keys rotate --yes").ends(0);
    assert_open(&clone(&place));
}

/// Holds the lock of stack one, and starts a rotation that has begun and waits for it.
fn waiting(place: &Place) -> (fs::File, Going) {
    let lock = place.state_file("one", "state").with_file_name("lock");
    let held = fs::File::open(lock).unwrap();
    held.try_lock().unwrap();
    let mut going = place.start("keys rotate --yes --wait");
    going.until_told(&["waiting: values/one in cloud is locked"]);
    (held, going)
}

#[test]
fn a_secret_that_is_set_while_a_rotation_waits_is_kept() {
    let place = sealed();
    let other = place.twin();
    other
        .bash("echo -n hunter4 | epid config set word --secret")
        .ends(0);
    other
        .bash("echo -n hunter5 | epid config set third --secret")
        .ends(0);
    let (held, going) = waiting(&place);
    // Not by epid, which waits for the rotation,
    let text = fs::read_to_string(place.path("stacks/one.toml")).unwrap();
    for line in ["config set word hunter6 --secret", "config rm other"] {
        place.run(line).ends(4).says("--wait waits");
    }
    let mut setting = place.start("config set fourth hunter7 --secret --wait");
    setting.until_told(&["waiting: another `epid keys rotate`"]);
    assert_eq!(fs::read_to_string(place.path("stacks/one.toml")).unwrap(), text);
    // but by whoever takes a file from the repository.
    let pulled = fs::read_to_string(other.path("stacks/one.toml")).unwrap();
    place.write("stacks/one.toml", &pulled);
    drop(held);
    going.end().ends(0).says("2 states and 3 secrets");
    setting.end().ends(0);
    let current = fs::read_to_string(place.path(".epid/keys/current")).unwrap();
    for key in keys(&place) {
        if !key.contains(current.trim()) {
            fs::remove_file(place.path(&key)).unwrap();
        }
    }
    for (name, value) in [
        ("word", "hunter4\n"),
        ("other", "hunter3\n"),
        ("third", "hunter5\n"),
        ("fourth", "hunter7\n"),
    ] {
        let shown = place.run(&format!("config get {name} --show-secret")).ends(0);
        assert_eq!(shown.out, value);
    }
}

#[test]
fn a_stack_that_begins_or_ends_while_a_rotation_waits_is_taken_as_it_is_then() {
    let place = sealed();
    let (held, going) = waiting(&place);
    place.run("destroy --stack two --yes").ends(0);
    place.run("stack rm --stack two --yes").ends(0);
    fs::remove_file(place.path("stacks/two.toml")).unwrap();
    place.write(
        "stacks/three.toml",
        "[resources.x]\ntype = \"epid:data:Value\"\nproperties.value = 1\n",
    );
    place.run("up --stack three --yes").ends(0);
    drop(held);
    going.end().ends(0).says("2 states and 2 secrets");
    assert_one_key(&place);
}

#[test]
fn a_change_of_provider_that_is_killed_is_ended_by_the_next() {
    let first = sealed();
    let before = || {
        let mut place = first.twin();
        place.set("EPID_PASSPHRASE", "correct horse battery staple");
        place
    };
    killed(&before, &|_| (), "keys rotate --to passphrase --yes", &|place| {
        assert_open(&clone(place));
    });
}

#[test]
fn a_change_of_the_passphrase_that_is_killed_is_ended_by_the_next() {
    let first = with_passphrase();
    let before = || {
        let mut place = first.twin();
        place.set("EPID_NEW_PASSPHRASE", "another horse altogether");
        place
    };
    let after = |place: &mut Place| {
        place.unset("EPID_NEW_PASSPHRASE");
        place.set("EPID_PASSPHRASE", "another horse altogether");
    };
    let assert = |place: &Place| assert_open(&clone(place));
    killed(&before, &after, "keys rotate --new-passphrase --yes", &assert);
}

#[test]
fn a_sandbox_follows_a_rotation_and_does_without_a_passphrase_in_a_fresh_clone() {
    let mut place = sealed();
    place.run("up --all --sandbox --copy --yes").ends(0);
    place.set("EPID_PASSPHRASE", "correct horse battery staple");
    place.run("keys rotate --to passphrase --yes").ends(0);
    let mut clone = clone(&place);
    clone.run("preview --all --sandbox --expect-no-changes").ends(0);
    clone.unset("EPID_PASSPHRASE");
    clone.run("preview --sandbox").ends(2).says("EPID_PASSPHRASE");
    fs::remove_dir_all(clone.path(".epid")).unwrap();
    clone.run("up --all --sandbox --yes").ends(0);
    clone.run("preview --all --sandbox --expect-no-changes").ends(0);
}

#[test]
fn a_file_of_sealed_keys_that_is_none_is_told_and_stays() {
    let place = with_passphrase();
    let good = fs::read_to_string(place.path("Epid.keys.toml")).unwrap();
    let clone = clone(&place);
    for (bad, said) in [
        (good.replace("format = 1", "format = 2"), "upgrade epid"),
        (good.replace("t=3", "t=4000000000"), "parameters"),
        (good.replace("sealed = \"", "sealed = \"!"), "base64"),
        (good.replace("\"passphrase\"", "\"kms\""), "no key provider `kms`"),
        (good.replace("provider", "keeper"), "Epid.keys.toml"),
        (good[..good.len() - 10].to_owned(), "Epid.keys.toml"),
    ] {
        clone.write("Epid.keys.toml", &bad);
        let ran = clone.run("preview").says(said);
        assert!(matches!(ran.code, Some(1 | 2)), "{ran:?}");
        assert_eq!(fs::read_to_string(clone.path("Epid.keys.toml")).unwrap(), bad);
    }
    clone.write("Epid.keys.toml", &good);
    assert_open(&clone);
}

#[test]
fn nothing_is_sealed_anew_where_a_key_or_a_file_is_missing() {
    let place = sealed();
    place.write("stacks/three.toml", "this is [no toml");
    let before = place.files(".epid");
    place.run("keys rotate --yes").ends(2).says("three.toml");
    fs::remove_file(place.path("stacks/three.toml")).unwrap();
    assert_eq!(place.files(".epid"), before);
    for key in keys(&place) {
        let place = place.twin();
        fs::remove_file(place.path(&key)).unwrap();
        let before = place.files(".epid");
        place.run("keys rotate --yes").ends(2).says("restore the file");
        assert_eq!(place.files(".epid"), before);
        place.run("keys ls").ends(0).says("not here");
    }
}
