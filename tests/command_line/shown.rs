//! What a plan shows of new resources.

use crate::place::{Place, ROLE, VALUES};

/// Something in Kubernetes that is declared deeply, with a secret in it.
const DEEP: &str = r#"
[config.password]
type = "string"
secret = true
[providers.k]
type = "kubernetes"
properties.kubeconfig = "/nowhere"
[resources.key]
type = "epid:tls:SelfSignedCertificate"
properties.commonName = "x"
[resources.app]
type = "kubernetes:apps/v1:Deployment"
options.provider = "k"
[resources.app.properties.metadata]
name = "app"
namespace = "default"
annotations.certificate = "${key.certificate}"
annotations.password = "${config.password}"
[resources.app.properties.spec]
replicas = 2
selector.matchLabels.app = "app"
template.metadata.labels.app = "app"
template.spec.containers = [{ name = "web", image = "example/web:1", args = ["LONG"] }]
"#;

#[test]
fn a_short_plan_lists_what_is_declared_leaf_by_leaf() {
    let place = Place::with(VALUES);
    let long = "x".repeat(300);
    place.write("stacks/programs/deep.toml", &DEEP.replace("LONG", &long));
    place.write("stacks/deep.toml", "program = \"programs/deep.toml\"\n");
    place
        .run("config set --secret password hunter2 --stack deep")
        .ends(0);
    let shown = place.run("preview --offline --stack deep").ends(0);
    for (path, value) in [
        ("commonName", "\"x\""),
        (
            "metadata.annotations.certificate",
            "(known after key.certificate)",
        ),
        ("metadata.annotations.password", "(secret)"),
        ("spec.replicas", "2"),
        ("spec.template.spec.containers[web].image", "\"example/web:1\""),
        // Nothing is cut where nobody looks.
        (
            "spec.template.spec.containers[web].args",
            &format!("[\"{long}\"]"),
        ),
    ] {
        let line = shown.out.lines().find(|line| line.trim().starts_with(path));
        let line = line.unwrap_or_else(|| panic!("no {path} in {shown:?}"));
        assert!(line.trim_end().ends_with(value), "{line}");
    }
    assert!(!shown.out.contains("--details"), "nothing is left out: {shown:?}");
    let events = place
        .run("preview --offline --stack deep --json")
        .ends(0)
        .events();
    let steps = events[0]["steps"].as_array().unwrap();
    let app = steps
        .iter()
        .find(|step| step["kind"] == "kubernetes:apps/v1:Deployment");
    let changes = app.unwrap()["changes"].as_array().unwrap();
    let of = |path: &str| changes.iter().find(|c| c["path"] == path).unwrap()["after"].clone();
    assert_eq!(of("spec.replicas"), "2");
    assert_eq!(of("metadata.annotations.password"), "(secret)");
}

#[test]
fn a_long_plan_is_a_tree_unless_its_details_are_asked_for() {
    let place = Place::with(VALUES);
    let mut text = String::new();
    for n in 0..70 {
        let value = format!("[resources.r{n}]\ntype = \"epid:data:Value\"\nproperties.value = \"v{n}\"\n");
        text.push_str(&value);
    }
    place.write("stacks/long.toml", &text);
    let tree = place
        .run("preview --stack long")
        .ends(0)
        .says("--details shows what");
    assert!(!tree.out.contains("\"v1\""), "{tree:?}");
    for line in [
        "preview --stack long --details",
        "up --stack long --details --yes",
    ] {
        let all = place.run(line).ends(0);
        assert_eq!(
            all.out
                .lines()
                .filter(|line| line.trim().starts_with("value   \"v"))
                .count(),
            70,
            "{all:?}"
        );
        assert!(!all.out.contains("--details shows"), "{all:?}");
    }
    // Ten more are no long plan, however many there are already.
    place.write(
        "stacks/long.toml",
        &(text + "[resources.more]\ntype = \"epid:data:Value\"\nproperties.value = \"new\"\n"),
    );
    place.run("preview --stack long").ends(0).says("value   \"new\"");
}

#[test]
fn no_name_of_the_engine_is_in_what_people_are_told() {
    let place = Place::with(VALUES);
    place.write(
        "stacks/one.toml",
        "[resources.a]\ntype = \"kubernetes:v1:ConfigMap\"\nproperties.metadata.name = \"a\"\n\
         options.provider = \"k\"\n[providers.k]\ntype = \"kubernetes\"\nproperties.kubeconfig = \"/nowhere\"\n",
    );
    let told = place.run("up --yes").ends(1).says("/nowhere");
    let events = place.run("up --yes --json").ends(1).events();
    let failed = events
        .iter()
        .find(|event| event["event"] == "stepFailed")
        .unwrap();
    // Programs have the code; people have the sentence.
    let code = failed["problem"]["code"].as_str().unwrap();
    assert!(!code.is_empty() && !told.out.contains(code), "{code} in {told:?}");
}

#[test]
fn a_plan_that_only_forgets_records_says_so() {
    let place = Place::with(ROLE);
    place.run("up --sandbox --yes").ends(0);
    place.run("state rm role --sandbox --yes").ends(0);
    place.write("stacks/role.toml", "");
    let what = "1 record to forget; nothing in a cloud changes";
    for line in [
        "preview --sandbox",
        "preview --sandbox --destroy",
        "up --sandbox --yes",
    ] {
        let ran = place.run(line).ends(0).says(what);
        assert!(!ran.out.contains("no changes"), "{line}: {ran:?}");
    }
    place.run("up --sandbox --yes").ends(0).says("no changes");
}

#[test]
fn what_people_count_is_the_same_in_every_command() {
    let place = Place::with(ROLE);
    let text = format!(
        "{}[resources.who]\ntype = \"aws:sts:CallerIdentity\"\n",
        ROLE[1].1
    );
    place.write("stacks/role.toml", &text);
    place
        .run("up --sandbox --yes")
        .ends(0)
        .says("1 to create, 1 to look up")
        .says("1 created, 1 looked up");
    for (line, so) in [
        ("preview --sandbox", "declared"),
        ("refresh --sandbox", "recorded"),
        ("up --sandbox --yes", "declared"),
    ] {
        place
            .run(line)
            .ends(0)
            .says("state 1, 2 resources")
            .says(&format!("no changes, 2 resources as {so}"));
    }
    for line in ["stack ls --sandbox", "state verify --sandbox"] {
        place.run(line).ends(0).says("2 resources");
    }
    // What is in a cluster dies with it, and with that the provider that leads there, which is nothing in a cloud.
    Place::seed_up()
        .run("preview --all --sandbox --destroy")
        .ends(0)
        .says("state 1, 36 resources   destroy")
        .says("33 to delete");
}

#[test]
fn a_protection_that_the_program_does_not_know_is_shown_to_end() {
    let place = Place::with(VALUES);
    place.run("up --yes").ends(0);
    place.run("state protect a --yes").ends(0);
    let ends = |ran: crate::place::Ran| {
        let ran = ran.says("1 to record anew, 2 unchanged");
        let lines: Vec<&str> = ran.out.lines().map(str::trim).collect();
        assert!(lines.contains(&"options.protect   true → false"), "{ran:?}");
    };
    ends(place.run("preview").ends(0));
    let events = place.run("preview --json").ends(0).events();
    assert_eq!(events[0]["steps"][0]["options"][0]["path"], "options.protect");
    ends(place.run("up --yes").ends(0));
    place.run("preview --expect-no-changes").ends(0);
    // Beside what changes of the resource, too.
    let text = VALUES[1]
        .1
        .replace("value = \"1\"", "value = \"2\"\noptions.retainOnDelete = true");
    place.write("stacks/one.toml", &text);
    place
        .run("preview")
        .ends(0)
        .says("options.retainOnDelete   false → true")
        .says("value   \"1\" → \"2\"");
}

#[test]
fn a_provider_that_is_recorded_anew_is_counted_apart_from_resources() {
    let place = Place::with(ROLE);
    let region = "properties.region = \"us-east-1\"";
    let named = ROLE[1]
        .1
        .replace(region, "properties.region = \"${where.value}\"")
        + "[resources.where]\ntype = \"epid:data:Value\"\nproperties.value = \"us-east-1\"\n";
    place.write("stacks/role.toml", &named);
    place.run("up --sandbox --yes").ends(0);
    place.write("stacks/role.toml", &named.replace("${where.value}", "us-east-1"));
    place
        .run("preview --sandbox")
        .ends(0)
        .says("1 provider to record anew, 2 unchanged\n");
}

#[test]
fn what_is_renamed_and_replaced_is_told_once() {
    let place = Place::with(ROLE);
    place.run("up --sandbox --yes").ends(0);
    let renamed = ROLE[1]
        .1
        .replace("[resources.role", "[resources.other")
        .replace("${role.", "${other.")
        .replace("\"reader\"", "\"writer\"")
        .replace(
            "[outputs]",
            "[resources.other.options]\naliases = [\"role\"]\n[outputs]",
        );
    place.write("stacks/role.toml", &renamed);
    let told = place
        .run("preview --sandbox")
        .ends(0)
        .says("1 to replace\n")
        .says("was role");
    assert!(!told.out.contains("  - "), "{told:?}");
    let ran = place.run("up --sandbox --yes").ends(0).says("1 replaced ");
    assert!(!ran.out.contains("1 deleted"), "{ran:?}");
    place
        .run("preview --sandbox --refresh --expect-no-changes")
        .ends(0);
}

#[test]
fn drift_is_told_in_words_and_counted_once() {
    let place = Place::with(ROLE);
    let described = ROLE[1]
        .1
        .replace("\"reader\"", "\"reader\"\ndescription = \"ours\"");
    place.write("stacks/role.toml", &described);
    place.run("up --sandbox --yes").ends(0);
    crate::place::Look::at(&place).iam("Action=UpdateRole&RoleName=reader&Description=theirs");
    let told = place
        .run("refresh --sandbox")
        .ends(0)
        .says("\n  1 drifted\n  `epid up --refresh` puts back");
    assert!(!told.out.contains("--refresh=accept"), "{told:?}");
    place
        .run("preview --sandbox --refresh")
        .ends(0)
        .says("1 to update, 1 drifted (--refresh=accept keeps it)\n");
}

/// Two groups, one of which names the other.
#[cfg(feature = "aws")]
const GROUPS: &str = r#"
[providers.aws]
type = "aws"
properties.region = "us-east-1"
[resources.net]
type = "aws:ec2:Vpc"
properties.cidrBlock = "10.0.0.0/16"
[resources.web]
type = "aws:ec2:SecurityGroup"
properties.vpcId = "${net.vpcId}"
properties.description = "DESCRIPTION"
NAME
[resources.db]
type = "aws:ec2:SecurityGroup"
properties.vpcId = "${net.vpcId}"
properties.ingress = [{ ipProtocol = "tcp", fromPort = 5432, toPort = 5432, referencedGroupId = "${web.groupId}" }]
"#;

#[cfg(feature = "aws")]
#[test]
fn a_group_that_another_names_is_replaced_at_once_or_not_at_all() {
    let place = Place::with(VALUES);
    let write = |description: &str, name: &str| {
        let text = GROUPS.replace("DESCRIPTION", description).replace("NAME", name);
        place.write("stacks/groups.toml", &text);
    };
    let name = "properties.groupName = \"web\"";
    write("one", name);
    place.run("up --sandbox --yes --stack groups").ends(0);
    write("two", name);
    place
        .run("up --sandbox --yes --stack groups")
        .ends(2)
        .says("it cannot be deleted while `db` names it")
        .says("give it another `groupName`, or none, so that the new one is made first");
    for (description, name) in [("two", ""), ("three", "properties.groupName = \"web3\"")] {
        write(description, name);
        place
            .run("up --sandbox --yes --stack groups")
            .ends(0)
            .says("ingress[tcp/5432/5432/…]");
        place
            .run("preview --sandbox --refresh --expect-no-changes --stack groups")
            .ends(0);
    }
}
