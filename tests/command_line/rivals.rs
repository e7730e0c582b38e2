//! What bit other engines, where no other test is about it.

use crate::imports::forgotten;
use crate::place::{Look, ROLE};

#[test]
fn an_adoption_that_is_only_shown_or_saved_writes_and_takes_nothing() {
    let place = forgotten();
    let adopting = ROLE[1].1.replace(
        "[resources.role.properties]",
        "[resources.role.options]\nadopt = true\n[resources.role.properties]",
    );
    place.write("stacks/role.toml", &adopting);
    let there = Look::at(&place).counts();
    for line in [
        "preview --sandbox",
        "preview --sandbox --refresh",
        "preview --sandbox --save plan.json",
    ] {
        let before = place.files(".epid");
        place.run(line).ends(0).says("role");
        assert_eq!(place.files(".epid"), before, "{line} wrote");
        assert_eq!(Look::at(&place).counts(), there, "{line} changed something");
    }
    assert_eq!(
        place
            .run("state ls --sandbox")
            .ends(0)
            .out
            .matches("iam:Role")
            .count(),
        0
    );
    place.run("up --sandbox --plan plan.json --yes").ends(0);
    assert_eq!(
        place
            .run("state ls --sandbox")
            .ends(0)
            .out
            .matches("iam:Role")
            .count(),
        1
    );
    assert_eq!(Look::at(&place).counts(), there, "it was there already");
    place
        .run("preview --sandbox --refresh --expect-no-changes")
        .ends(0);
}
