//! `kill -9` at many moments: after it a plain run goes on, and there is exactly one of each.

use std::collections::BTreeMap;

use crate::endpoints::{Cloud, towards};
use crate::place::{CLOUD, Look, Place};

/// A small generator, so that the moments are the same each time.
struct Moments(u64);

impl Moments {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) % limit
    }
}

/// Runs a command again and again, killed after a few lines each time and some thousand instructions later, until it gets
/// through. Returns how often it was killed.
#[track_caller]
fn kill_until_done(place: &Place, line: &str, moments: &mut Moments, longest: u64) -> u32 {
    let line = format!("{line} --json");
    for kills in 0..200 {
        let mut going = place.start(&line);
        // Later attempts get further, so that there is an end.
        let lines = 1 + moments.below(longest + u64::from(kills) / 4);
        let reached = (0..lines).all(|_| going.line().is_some());
        if !reached {
            let ran = going.end();
            if ran.code == Some(0) {
                return kills;
            }
            let telling = ["stepFailed", "error", "recovered"];
            let told = ran
                .out
                .lines()
                .filter(|line| telling.iter().any(|t| line.contains(t)));
            panic!(
                "after {kills} kills: {:?}\n{}\n{}",
                ran.code,
                told.collect::<Vec<_>>().join("\n"),
                ran.err
            );
        }
        let pause = moments.below(3_000);
        (0..pause * 100).for_each(|n| {
            std::hint::black_box(n);
        });
        going.kill();
    }
    panic!("it never came to its end");
}

fn counts(place: &Place) -> BTreeMap<&'static str, usize> {
    Look::at(place).counts()
}

#[test]
fn a_network_killed_often_is_made_once_and_removed_whole() {
    let clean = Place::with(CLOUD);
    let nothing = counts(&clean);
    clean.run("up --sandbox --yes").ends(0);
    let all = counts(&clean);
    assert!(all["subnets"] > nothing["subnets"] && all["vpcs"] == nothing["vpcs"] + 1);
    for seed in 0..2 {
        let moments = &mut Moments(seed);
        let place = Place::with(CLOUD);
        let kills = kill_until_done(&place, "up --all --sandbox --yes", moments, 14);
        assert!(kills > 0);
        place.run("up --all --sandbox --yes").ends(0).says("no changes");
        place
            .run("preview --all --sandbox --refresh --expect-no-changes")
            .ends(0);
        assert_eq!(counts(&place), all, "seed {seed}, {kills} kills");
        let kills = kill_until_done(&place, "destroy --all --sandbox --yes", moments, 14);
        assert_eq!(counts(&place), nothing, "seed {seed}, {kills} kills of destroy");
        assert_eq!(place.run("state ls --sandbox").ends(0).out, "");
        // After a destroy that was killed, everything can be made again.
        place.run("up --all --sandbox --yes").ends(0);
    }
}

#[test]
fn the_seed_killed_often_is_made_once_and_removed_whole() {
    let place = Place::seed();
    let moments = &mut Moments(7);
    let nothing = counts(&place);
    let kills = kill_until_done(&place, "up --all --sandbox --yes", moments, 180);
    place.run("up --all --sandbox --yes").ends(0).says("no changes");
    place
        .run("preview --all --sandbox --refresh --expect-no-changes")
        .ends(0);
    let all = counts(&place);
    assert_eq!(
        (all["clusters"], all["oidc"], all["vpcs"] - nothing["vpcs"]),
        (1, 1, 1),
        "{kills} kills: {all:?}"
    );
    assert_eq!(all["roles"] - nothing["roles"], 3, "{all:?}");
    let kills = kill_until_done(&place, "destroy --all --sandbox --yes", moments, 180);
    assert_eq!(counts(&place), nothing, "{kills} kills of destroy");
}

#[test]
fn an_interrupted_first_run_blocks_neither_preview_nor_destroy() {
    let place = Place::with(CLOUD);
    let nothing = counts(&place);
    let mut going = place.start("up --sandbox --yes --json");
    going.until(&["stepStarted"]);
    going.kill();
    let before = place.files(".epid");
    place.run("preview --sandbox").ends(0);
    place.run("preview --sandbox --refresh").ends(0);
    place.run("state ls --sandbox").ends(0);
    assert_eq!(place.files(".epid"), before, "a preview wrote");
    place.run("destroy --sandbox --yes").ends(0);
    assert_eq!(counts(&place), nothing);
}

#[test]
fn a_refresh_finds_out_what_became_of_a_call() {
    let cloud = Cloud::at_speed(100);
    let place = towards(Place::with(CLOUD), &cloud.address);
    let mut going = place.start("up --yes");
    going.until(&["network/nat1 ", "pending"]);
    going.kill();
    let before = place.files(".epid/state");
    let unclear = "may have happened or not: create of network/nat1";
    place.run("preview").ends(0).says(unclear);
    assert_eq!(place.files(".epid/state"), before, "a preview wrote");
    place.run("refresh").ends(0).says("an earlier run's create");
    let clear = place.run("preview").ends(0);
    assert!(!(clear.out + &clear.err).contains("may have happened"));
    place.run("up --yes").ends(0);
    place.run("preview --refresh --expect-no-changes").ends(0);
}
