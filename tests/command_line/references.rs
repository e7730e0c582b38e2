//! Stacks that use each other's outputs.

use crate::place::{Look, Place, VALUES};

const USER: &str = "references.one = \"one\"\n[resources.x]\ntype = \"epid:data:Value\"\n\
     properties.value = \"${stacks.one.b}\"\n";

fn linked() -> Place {
    let place = Place::with(VALUES);
    place.write("stacks/user.toml", USER);
    place
}

#[test]
fn a_producer_that_never_ran_is_named() {
    let place = linked();
    let ran = place.run("up --stack user --yes").ends(2);
    assert!(
        ran.err.contains("stack `one` has no outputs yet") && ran.err.contains("--all"),
        "{ran:?}"
    );
    place.run("preview --all").ends(0);
    place.run("up --all --yes").ends(0);
    place.run("preview --all --expect-no-changes").ends(0);
}

#[test]
fn what_is_used_cannot_go() {
    let place = linked();
    place.run("up --all --yes").ends(0);
    let before = place.files(".epid/state");
    let text = "stack `one` is used by `user`";
    place.run("destroy --stack one --yes").ends(1).says(text);
    let gone = VALUES[1].1.replace("[outputs]\nb = \"${b.value}\"\n", "");
    place.write("stacks/one.toml", &gone);
    place
        .run("up --stack one --yes")
        .ends(1)
        .says("output `b` would be removed");
    place.write("stacks/one.toml", VALUES[1].1);
    assert_eq!(place.files(".epid/state"), before, "a refusal wrote");
    place.run("destroy --stack user --yes").ends(0);
    place.run("destroy --stack one --yes").ends(0);
}

#[test]
fn destroying_one_stack_leaves_the_others_byte_for_byte() {
    let place = linked();
    place.write("stacks/third.toml", USER);
    place.run("up --all --yes").ends(0);
    let others = |place: &Place| {
        let mut files = place.files(".epid/state");
        files.retain(|name, _| !name.contains("/user/") && !name.contains("/consumers/"));
        files
    };
    let before = others(&place);
    place.run("destroy --stack user --yes").ends(0);
    assert_eq!(others(&place), before);
    place.run("destroy --stack one --yes").ends(1).says("third");
}

#[test]
fn a_stack_that_is_gone_holds_nobody() {
    let place = linked();
    place.run("up --stack one --yes").ends(0);
    // Its first run leaves its mark, and makes nothing.
    place.write(
        "stacks/user.toml",
        "references.one = \"one\"\n[resources.x]\ntype = \"kubernetes:v1:ConfigMap\"\n\
         properties.metadata.name = \"${stacks.one.b}\"\noptions.provider = \"k\"\n\
         [providers.k]\ntype = \"kubernetes\"\nproperties.kubeconfig = \"/nowhere\"\n",
    );
    place.run("up --stack user --yes").ends(1);
    place.run("destroy --stack user --yes").ends(0);
    place.run("stack rm --stack user --yes").ends(0);
    place.run("destroy --stack one --yes").ends(0);
}

#[test]
fn a_destroy_that_was_killed_does_not_close_the_stack_for_ever() {
    let place = linked();
    place.run("up --stack one --yes").ends(0);
    let state = place.state_file("one", "state");
    // As a destroy leaves it that was killed after it had said so.
    std::fs::write(state.with_file_name("closing"), "epid closing 1\n").unwrap();
    place
        .run("up --stack user --yes")
        .ends(1)
        .says("is being destroyed");
    place.run("up --stack one --yes").ends(0);
    place.run("up --stack user --yes").ends(0);
}

#[test]
fn what_one_run_changes_for_the_next_stack_is_shown_and_done() {
    let place = linked();
    place.run("up --all --yes").ends(0);
    place.write("stacks/one.toml", &VALUES[1].1.replace("\"1\"", "\"9\""));
    place.run("preview --all --expect-no-changes").ends(3).says("9-2");
    place.run("up --all --yes").ends(0);
    place.run("preview --all --expect-no-changes").ends(0);
    // Only the expression of an output is another.
    place.write(
        "stacks/one.toml",
        &VALUES[1]
            .1
            .replace("\"1\"", "\"9\"")
            .replace("b = \"${b.value}\"", "b = \"${c.value}\""),
    );
    place.run("up --all --yes").ends(0);
    place.run("preview --all --expect-no-changes").ends(0);
}

#[test]
fn a_stack_that_was_removed_offers_nothing() {
    let place = linked();
    place.run("up --stack one --yes").ends(0);
    place.run("destroy --stack one --yes").ends(0);
    place
        .run("up --stack user --yes")
        .ends(2)
        .says("stack `one` has no outputs yet");
}

#[test]
fn a_mark_stays_until_a_run_went_through_without_the_reference() {
    let place = linked();
    place.run("up --all --yes").ends(0);
    let broken = "[resources.x]\ntype = \"epid:data:Value\"\nproperties.value = \"1\"\n\
         [resources.y]\ntype = \"kubernetes:v1:ConfigMap\"\nproperties.metadata.name = \"y\"\n\
         options.provider = \"k\"\n[providers.k]\ntype = \"kubernetes\"\nproperties.kubeconfig = \"/nowhere\"\n";
    place.write("stacks/user.toml", broken);
    place.run("up --stack user --yes").ends(1);
    place.run("destroy --stack one --yes").ends(1).says("`user`");
    place.write(
        "stacks/user.toml",
        "[resources.x]\ntype = \"epid:data:Value\"\nproperties.value = \"1\"\n",
    );
    place.run("up --stack user --yes").ends(0);
    place.run("destroy --stack one --yes").ends(0);
}

#[test]
fn what_is_replaced_goes_only_where_its_outputs_stay() {
    let place = linked();
    let text = "[resources.b]\ntype = \"epid:data:Value\"\nproperties.value = \"1\"\n\
         [resources.tls]\ntype = \"epid:tls:SelfSignedCertificate\"\nproperties.commonName = \"x\"\n\
         [outputs]\nb = \"${b.value}${tls.certificate}\"\nc = \"${b.value}\"\n";
    place.write("stacks/one.toml", text);
    place.run("up --all --yes").ends(0);
    place
        .run("up --stack one --yes --replace tls")
        .ends(1)
        .says("used by `user`");
    // The value is the same afterwards.
    place.run("up --stack one --yes --replace b").ends(0);
    place.run("preview --all --expect-no-changes").ends(0);
}

#[test]
fn a_platform_moves_to_other_addresses_once_nobody_uses_it() {
    let place = Place::seed_up();
    let file = std::fs::read_to_string(place.path("stacks/platform.toml")).unwrap();
    place.write(
        "stacks/platform.toml",
        &format!("{file}cidrBlock = \"10.20.0.0/16\"\n"),
    );
    place
        .run("up --stack platform --sandbox --yes")
        .ends(1)
        .says("is used by `dev` and `prod`");
    place.run("destroy --stack dev --sandbox --yes").ends(0);
    place.run("destroy --stack prod --sandbox --yes").ends(0);
    place
        .run("preview --stack platform --sandbox")
        .ends(0)
        .says("replaced only if resourcesVpcConfig.vpcId changes");
    place.run("up --stack platform --sandbox --yes").ends(0);
    place.run("up --all --sandbox --yes").ends(0);
    let counts = Look::at(&place).counts();
    assert_eq!(
        (
            counts["clusters"],
            counts["vpcs"],
            counts["gateways"],
            counts["nats"]
        ),
        (1, 1, 1, 1)
    );
    place
        .run("preview --all --sandbox --refresh --expect-no-changes")
        .ends(0);
}
