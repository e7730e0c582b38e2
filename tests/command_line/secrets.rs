//! A secret that was planted is searched for in everything epid writes and prints.

use std::fmt::Write as _;

use crate::place::{CLOUD, Place, ROLE, Ran, VALUES};

const CANARY: &str = "canary-7Qk2mX9w";

/// Passphrases: the first of a key, and the one that takes its place.
const PASSPHRASES: [&str; 2] = ["phrase-3Rt8vB5n of some words", "phrase-6Yu1oP4k of some others"];

/// The ways in which bytes show a secret.
fn shapes() -> Vec<Vec<u8>> {
    use base64::Engine as _;
    let engine = base64::engine::general_purpose::STANDARD_NO_PAD;
    let mut shapes = Vec::new();
    for secret in [CANARY, PASSPHRASES[0], PASSPHRASES[1]] {
        let mut hex = String::new();
        secret.bytes().for_each(|b| write!(hex, "{b:02x}").unwrap());
        shapes.extend([secret.as_bytes().to_vec(), hex.into_bytes()]);
        // In base64 it looks different at each of three offsets; what is cut off depends on its neighbours.
        for offset in 0..3 {
            let text = engine.encode([vec![b' '; offset], secret.into()].concat());
            shapes.push(text.as_bytes()[4..text.len() - 4].to_vec());
        }
    }
    shapes
}

#[track_caller]
fn absent(bytes: &[u8], place: &str) {
    for shape in shapes() {
        assert!(
            !bytes.windows(shape.len()).any(|part| part == shape),
            "the secret is in {place}: {}",
            String::from_utf8_lossy(bytes)
        );
    }
}

#[track_caller]
fn search(place: &Place, line: &str, ran: &Ran) {
    absent(ran.out.as_bytes(), &format!("stdout of {line}"));
    absent(ran.err.as_bytes(), &format!("stderr of {line}"));
    for (name, bytes) in place.files("") {
        absent(&bytes, &name);
    }
}

#[test]
fn the_search_finds_what_is_there() {
    use base64::Engine as _;
    for offset in 0..5 {
        let text = format!("{}{CANARY} and more", "x".repeat(offset));
        let text = base64::engine::general_purpose::STANDARD.encode(text);
        let found = shapes().iter().any(|shape| {
            text.as_bytes()
                .windows(shape.len())
                .any(|part| part == &shape[..])
        });
        assert!(found, "offset {offset}");
    }
}

#[test]
fn a_secret_is_in_no_byte_that_is_written_or_printed() {
    let place = Place::with(VALUES);
    place.write(
        "stacks/one.toml",
        "[config]\n[resources.a]\ntype = \"epid:data:Value\"\nproperties.value = \"${config.password}\"\n\
         [resources.b]\ntype = \"epid:data:Value\"\nproperties.value = \"x-${a.value}\"\n\
         [resources.c]\ntype = \"epid:data:Value\"\nproperties.value = { deep = [\"${b.value}\"] }\n\
         [resources.d]\ntype = \"epid:data:Value\"\nproperties.value = \"${c.value.deep[0]}\"\n\
         [outputs]\nb = \"${b.value}\"\nc = \"${c.value}\"\n",
    );
    place.write(
        "stacks/user.toml",
        "references.one = \"one\"\n[resources.x]\ntype = \"epid:data:Value\"\nproperties.value = \"${stacks.one.b}\"\n",
    );
    let set = format!("config set --stack one --secret password {CANARY}");
    for line in [
        &set[..],
        "config ls",
        "config ls --json",
        "config get password",
        "preview",
        "preview --json",
        "preview --save plan",
        "up --plan plan --json",
        "up --all --yes",
        "up --yes --replace a",
        "up --yes --replace d --json",
        "preview --replace a",
        "stack output",
        "stack output --json",
        "stack output b",
        "stack ls --json",
        "state ls --json",
        "state show a",
        "state show c --json",
        "graph",
        "graph --format svg",
        "graph --format mermaid --json",
        "refresh --json",
        "preview --stack user --json",
        "preview --destroy --json",
    ] {
        let ran = place.run(line);
        assert!(matches!(ran.code, Some(0 | 2)), "{line}: {ran:?}");
        search(&place, line, &ran);
    }
    let shown = place.run("stack output b --show-secrets").ends(0).out;
    assert_eq!(shown, format!("x-{CANARY}\n"), "the secret is there for who asks");
    let mut going = place.start("up --yes --replace a --json");
    going.until(&["stepStarted"]);
    going.kill();
    search(&place, "a killed run", &place.run("preview"));
    let ran = place.run("destroy --all --yes");
    search(&place, "destroy", &ran.ends(0));
}

#[test]
fn neither_a_passphrase_nor_what_it_seals_is_written_or_printed() {
    let mut place = Place::with(VALUES);
    place.write(
        "stacks/one.toml",
        "[resources.a]\ntype = \"epid:data:Value\"\nproperties.value = \"x-${config.password}\"\n\
         [resources.b]\ntype = \"epid:data:Value\"\nproperties.value = \"${contentHash(a.value)}\"\n\
         [outputs]\na = \"${a.value}\"\n",
    );
    let set = format!("config set --stack one --secret password {CANARY}");
    place.run(&set).ends(0);
    place.run("up --yes").ends(0);
    place.set("EPID_PASSPHRASE", PASSPHRASES[0]);
    let everywhere = |place: &Place, lines: &[&str]| {
        for line in lines {
            let ran = place.run(line);
            assert!(matches!(ran.code, Some(0 | 2)), "{line}: {ran:?}");
            search(place, line, &ran);
        }
    };
    everywhere(
        &place,
        &[
            "keys rotate --to passphrase --yes",
            "keys ls",
            "keys ls --json",
            "preview --json",
            "up --yes --replace a --json",
        ],
    );
    place.set("EPID_NEW_PASSPHRASE", PASSPHRASES[1]);
    everywhere(
        &place,
        &[
            "keys rotate --new-passphrase --yes",
            "keys rotate --new-passphrase --yes --json",
        ],
    );
    place.unset("EPID_NEW_PASSPHRASE");
    everywhere(
        &place,
        &[
            "preview",
            "up --yes",
            "config get password --show-secret",
            "keys rotate --yes --json",
        ],
    );
    place.set("EPID_PASSPHRASE", PASSPHRASES[1]);
    everywhere(
        &place,
        &[
            "up --yes --replace a",
            "history --json",
            "keys export --state-only parts",
        ],
    );
    place.run("preview --expect-no-changes").ends(0);

    // With the state part alone there is nothing to be shown, whatever is asked.
    let mut part = place.twin();
    part.unset("EPID_PASSPHRASE");
    for file in place.files("parts").keys() {
        let name = file.strip_prefix("parts/").unwrap();
        std::fs::copy(place.path(file), part.path(&format!(".epid/keys/{name}"))).unwrap();
    }
    part.run("preview --expect-no-changes").ends(0);
    everywhere(
        &part,
        &[
            "preview",
            "preview --json",
            "preview --replace a",
            "preview --destroy --json",
            "state show a --json",
            "stack output --json",
            "stack output a --show-secrets",
            "config ls --show-secrets",
            "up --yes",
            "graph",
        ],
    );
    place.set("EPID_NEW_PASSPHRASE", PASSPHRASES[0]);
    everywhere(&place, &["keys rotate --to file --yes", "destroy --yes --json"]);
}

#[test]
fn the_simulated_cloud_keeps_its_secrets_to_itself() {
    let place = Place::seed_up();
    let text = std::fs::read_to_string(place.path("stacks/dev.toml")).unwrap();
    let mut kept: Vec<&str> = text.lines().filter(|line| !line.contains("epid:1:")).collect();
    kept.retain(|line| !line.starts_with("key"));
    place.write("stacks/dev.toml", &kept.join("\n"));
    for name in ["databaseConnection", "oauthClientSecret"] {
        let set = format!("config set --stack dev {name} {CANARY}");
        search(&place, &set, &place.run(&set).ends(0));
    }
    let mut going = place.start("up --stack dev --sandbox --yes --json");
    going.until(&["stepDone"]);
    going.kill();
    for line in [
        "preview --stack dev --sandbox --refresh",
        "up --stack dev --sandbox --yes",
        "state show data/secret --stack dev --sandbox",
        "state show curator/deployment --stack dev --sandbox --json",
    ] {
        search(&place, line, &place.run(line).ends(0));
    }
}

#[test]
fn a_secret_that_is_repeated_in_a_message_is_not_shown() {
    let place = Place::with(CLOUD);
    place.write("stacks/net.toml", "[config]\n");
    let awkward = r#"canary-7Qk2mX9w/ü"x+&=\7Q"#;
    place
        .bash(&format!(
            "printf %s '{awkward}' | epid config set --stack net --secret pw"
        ))
        .ends(0);
    let declared = std::fs::read_to_string(place.path("stacks/net.toml")).unwrap();
    let program = |resource: &str| place.write("stacks/net.toml", &format!("{declared}\n{resource}"));
    // As epid words it.
    program("[resources.v]\ntype = \"aws:ec2:Vpc\"\nproperties.cidrBlock = \"${config.pw}\"\n");
    for line in [
        "preview --sandbox",
        "preview --sandbox --json",
        "up --sandbox --yes",
    ] {
        let ran = place.run(line).ends(2);
        search(&place, line, &ran);
        assert!(
            format!("{}{}", ran.out, ran.err).contains("(secret)"),
            "{line}: {ran:?}"
        );
    }
    // As the cloud does, and another stack that is told.
    program(
        "[resources.v]\ntype = \"aws:ec2:Vpc\"\nproperties.cidrBlock = \"10.0.0.0/16\"\n\
             [resources.s]\ntype = \"aws:ec2:Subnet\"\n[resources.s.properties]\nvpcId = \"${v.vpcId}\"\n\
             cidrBlock = \"10.0.0.0/24\"\navailabilityZone = \"us-east-1${config.pw}\"\n",
    );
    for line in ["up --sandbox --yes", "up --sandbox --yes --json"] {
        let ran = place.run(line).ends(1);
        search(&place, line, &ran);
        assert!(
            format!("{}{}", ran.out, ran.err).contains("(secret)"),
            "{line}: {ran:?}"
        );
    }
}

#[test]
fn a_secret_in_a_name_is_refused() {
    let place = Place::with(ROLE);
    place.write("stacks/role.toml", "[config]\n");
    let set = format!("printf %s {CANARY} | epid config set --stack role --secret pw");
    place.bash(&set).ends(0);
    let declared = std::fs::read_to_string(place.path("stacks/role.toml")).unwrap();
    let named = |name: &str| {
        let role = ROLE[1].1.replace("\"reader\"", name);
        place.write("stacks/role.toml", &format!("{declared}\n{role}"));
    };
    named("\"r-${config.pw}\"");
    for line in [
        "preview --sandbox",
        "up --sandbox --yes",
        "up --sandbox --yes --json",
    ] {
        let ran = place.run(line).ends(2).says("depends on a secret");
        search(&place, line, &ran);
    }
    // So is a path: it is in the ARN.
    named("\"reader\"\npath = \"/${config.pw}/\"");
    let ran = place.run("preview --sandbox").ends(2).says("depends on a secret");
    search(&place, "preview", &ran);
    // A hash of it tells nothing.
    named("\"r-${contentHash(config.pw)}\"");
    for line in [
        "up --sandbox --yes",
        "state show role --sandbox",
        "state export --plain - --sandbox",
    ] {
        search(&place, line, &place.run(line).ends(0));
    }
}

#[test]
fn a_secret_in_a_name_is_refused_also_where_only_the_run_tells_it() {
    let place = Place::with(ROLE);
    let role = ROLE[1].1.replace("\"reader\"", "\"r-${key.privateKey}\"");
    place.write(
        "stacks/role.toml",
        &format!("[resources.key]\ntype = \"epid:tls:SelfSignedCertificate\"\nproperties.commonName = \"a\"\n\n{role}"),
    );
    place.run("preview --sandbox").ends(0);
    place
        .run("up --sandbox --yes")
        .ends(1)
        .says("the name of role depends on a secret");
    assert!(!place.run("state ls --sandbox").ends(0).out.contains("role"));
}

#[test]
fn a_secret_that_the_records_repeat_is_not_shown_by_what_the_state_tells() {
    let place = Place::with(ROLE);
    let named = ROLE[1].1.replace("\"reader\"", &format!("\"r-{CANARY}\""));
    place.write("stacks/role.toml", &named);
    place.run("up --sandbox --yes").ends(0);
    // That it is a secret was decided later.
    place.write("stacks/role.toml", "[config]\n");
    let set = format!("printf %s {CANARY} | epid config set --stack role --secret pw");
    place.bash(&set).ends(0);
    for (line, code) in [
        ("state ls --sandbox", 0),
        ("state show role --sandbox", 0),
        ("state show role --sandbox --json", 0),
        ("state export --plain - --sandbox", 0),
        ("state rm role --sandbox", 2),
    ] {
        search(&place, line, &place.run(line).ends(code));
    }
    place.run("state show role --sandbox").ends(0).says("r-(secret)");
}

#[test]
fn what_is_made_of_secrets_is_secret() {
    let place = Place::with(VALUES);
    place.write("stacks/one.toml", "[config]\n");
    let set = format!("printf %s {CANARY} | epid config set --stack one --secret pw");
    place.bash(&set).ends(0);
    let declared = std::fs::read_to_string(place.path("stacks/one.toml")).unwrap();
    let program = "[resources.cert]\ntype = \"epid:tls:SelfSignedCertificate\"\n\
                   properties.commonName = \"${config.pw}\"\n[outputs]\ncert = \"${cert.certificate}\"\n";
    place.write("stacks/one.toml", &format!("{declared}\n{program}"));
    for line in [
        "up --yes",
        "stack output",
        "stack output --json",
        "state show cert",
        "state show cert --json",
        "state export --plain plain.json",
    ] {
        search(&place, line, &place.run(line).ends(0));
    }
    place.run("stack output cert").ends(2).says("is secret");
}
