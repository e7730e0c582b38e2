//! Whoever has the state part of a key reads states and previews, with secrets compared by digest, and opens none.

use std::fs;

use crate::place::{Place, VALUES};

/// A stack in which secrets go every way there is, and one that uses its outputs.
fn applied() -> Place {
    let place = Place::with(VALUES);
    place.write(
        "stacks/one.toml",
        r#"
[config]
user = "somebody"
[resources.direct]
type = "epid:data:Value"
properties.value = "${config.password}"
[resources.text]
type = "epid:data:Value"
properties.value = "postgres://${config.user}:${config.password}@${direct.value}"
[resources.deep]
type = "epid:data:Value"
properties.value = { list = ["${text.value}", "plain"], encoded = "${base64.encode(config.password)}" }
[resources.picked]
type = "epid:data:Value"
properties.value = "${deep.value.list[0]}-${config.password == 'x' ? 'a' : 'b'}"
[resources.named]
type = "epid:data:Value"
properties.value = "name-${contentHash(config.password)}"
[resources.several]
type = "epid:data:Value"
forEach = ["a", "b"]
properties.value = "${each.key}-${config.other}"
[resources.made]
type = "epid:tls:SelfSignedCertificate"
properties = { commonName = "x", validityDays = 100 }
[resources.key]
type = "epid:data:Value"
properties.value = "${made.privateKey}!"
[outputs]
user = "${config.user}"
text = "${text.value}"
hash = "${contentHash([config.password, config.other])}"
"#,
    );
    place.write(
        "stacks/two.toml",
        "references.one = \"one\"\n[resources.x]\ntype = \"epid:data:Value\"\nproperties.value = \"${stacks.one.text}+${stacks.one.hash}\"\n\
         [resources.y]\ntype = \"epid:data:Value\"\nproperties.value = \"${stacks.one.text}\"\n",
    );
    for name in ["password", "other"] {
        let set = format!("echo -n hunter-{name} | epid config set {name} --secret --stack one");
        place.bash(&set).ends(0);
    }
    place.run("up --all --yes").ends(0);
    place
}

/// What a CI job is given: the project, the states, and only the state part of each key.
fn given(place: &Place) -> Place {
    let given = place.twin();
    place
        .run("keys export --state-only parts")
        .ends(0)
        .says("no secret");
    fs::remove_dir_all(given.path(".epid/keys")).unwrap();
    fs::rename(place.path("parts"), given.path(".epid/keys")).unwrap();
    given
}

#[test]
fn an_unchanged_stack_has_no_changes_and_a_changed_secret_is_seen() {
    let place = applied();
    let part = given(&place);
    let before = part.files("");
    part.run("preview --all --expect-no-changes").ends(0);
    part.run("preview --stack one --json").ends(0);
    part.run("preview --stack one --destroy").ends(0);
    part.run("state ls").ends(0).says("direct");
    part.run("state show text").ends(0).says("(secret)");
    part.run("stack output user").ends(0).says("somebody");
    part.run("graph").ends(0);
    part.run("history").ends(0);
    part.run("state verify --all").ends(0);
    part.run("keys ls").ends(0).says("only its state part");
    assert_eq!(part.files(""), before);

    // The same value sealed once more is another text: whoever cannot open it sees a change where there may be none.
    place
        .bash("echo -n hunter-2 | epid config set other --secret --stack one")
        .ends(0);
    fs::copy(place.path("stacks/one.toml"), part.path("stacks/one.toml")).unwrap();
    let changed = part.run("preview --stack one --json --expect-no-changes").ends(3);
    let events = changed.events();
    let steps = events[0]["steps"].as_array().unwrap();
    let urns: Vec<&str> = steps.iter().filter_map(|step| step["urn"].as_str()).collect();
    let several = ["several[\"a\"]", "several[\"b\"]"];
    assert!(
        urns.len() == 2 && urns.iter().zip(several).all(|(urn, name)| urn.ends_with(name)),
        "{}",
        changed.out
    );
    part.run("preview --stack one").ends(0).says("(secret changed)");
    assert!(!changed.out.contains("hunter"));

    // What is not secret is seen as ever.
    let text = fs::read_to_string(part.path("stacks/one.toml")).unwrap();
    part.write("stacks/one.toml", &text.replace("postgres://", "mysql://"));
    part.run("preview --stack one").ends(0).says("text");
}

#[test]
fn whatever_changes_or_opens_something_is_refused_and_names_the_key() {
    let place = applied();
    let part = given(&place);
    let before = part.files("");
    for line in [
        "up --yes",
        "up --all --yes",
        "destroy --all --yes",
        "refresh",
        "refresh --accept --yes",
        "preview --refresh",
        "preview --save plan",
        "config get password --show-secret",
        "config set password --secret x",
        "state rm picked --yes",
        "state mv picked other --yes",
        "state export out",
        "keys rotate --yes",
        "keys export --state-only again",
    ] {
        let ran = part.run(line).ends(2);
        assert!(
            ran.err.contains("needs all of the key") || ran.err.contains("state part"),
            "{line}: {}",
            ran.err
        );
        assert!(
            !ran.out.contains("hunter") && !ran.err.contains("hunter"),
            "{line}"
        );
    }
    let refused = part.run("up --yes").ends(2).err;
    let names = part.files(".epid/keys").into_keys();
    let mut ids =
        names.filter_map(|name| Some(name.strip_prefix(".epid/keys/")?.strip_suffix(".key")?.to_owned()));
    assert!(ids.any(|id| refused.contains(&id)), "{refused}");
    let mut after = part.files("");
    after.retain(|name, _| !name.starts_with("again"));
    assert_eq!(after, before);
    for line in [
        "stack output text --show-secrets",
        "state export --plain --show-secrets -",
    ] {
        part.run(line).ends(2).says("state part");
    }
}

#[test]
fn a_rotation_ends_what_a_part_opens() {
    let place = applied();
    let part = given(&place);
    place.run("keys rotate --yes").ends(0);
    fs::remove_dir_all(part.path(".epid/state")).unwrap();
    fs::rename(place.path(".epid/state"), part.path(".epid/state")).unwrap();
    part.run("preview").ends(2).says("restore the file");
}

#[test]
fn the_services_of_the_seed_preview_without_their_secrets() {
    let place = Place::seed_up();
    let seals = |what: &str| {
        let listed = place.run("keys ls --json").ends(0).events();
        let key = listed
            .iter()
            .find(|key| key["seals"].to_string().contains(what))
            .unwrap()
            .clone();
        key["id"].as_str().unwrap().to_owned()
    };
    place.write(".epid/keys/current", &seals("the state of dev"));
    for name in ["databaseConnection", "oauthClientSecret"] {
        let set = format!("echo -n hunter2 | epid config set --secret --stack dev --new-key {name}");
        place.bash(&set).ends(0);
    }
    place.run("up --stack dev --sandbox --yes").ends(0);
    place.run("keys export --state-only parts").ends(0);
    let part = place.twin();
    for file in place.files("parts").keys() {
        let name = file.strip_prefix("parts/").unwrap();
        fs::copy(place.path(file), part.path(&format!(".epid/keys/{name}"))).unwrap();
    }
    // The sandbox itself is behind its key; its states are not.
    assert!(
        !part
            .path("parts")
            .join(format!("{}.key", seals("the world of the sandbox")))
            .exists()
    );
    let secret = "config get databaseConnection --show-secret --stack dev";
    part.run(secret).ends(2).says("state part");
    part.run("preview --stack dev --sandbox --expect-no-changes")
        .ends(0);
}
