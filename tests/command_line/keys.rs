//! Keys: which there are, and sealing everything with a new one.

use std::fs;
use std::time::Duration;

use crate::place::{Place, VALUES};

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
    // What is sealed from now on needs no old key either.
    place.run("preview --stack two --save plan --replace x").ends(0);
    place.run("up --plan plan").ends(0);
    place.run("up --all --yes").ends(0);
    place.run("keys rotate --yes").ends(0);
    assert_one_key(&place);
    place.run("destroy --all --yes").ends(0);
}

#[test]
fn a_rotation_that_is_killed_leaves_everything_readable_and_is_ended_by_the_next() {
    for at in 0..8 {
        let place = sealed();
        let going = place.start("keys rotate --yes");
        let begun = std::time::Instant::now();
        while begun.elapsed() < Duration::from_millis(at * 8) {
            std::hint::spin_loop();
        }
        going.kill();
        place.run("state verify --all").ends(0);
        place.run("preview --all --expect-no-changes").ends(0);
        let known = keys(&place).len();
        place.run("keys rotate --yes").ends(0);
        assert!(keys(&place).len() <= known + 1);
        assert_one_key(&place);
    }
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
