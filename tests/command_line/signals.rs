//! Interrupts: gently, firmly, and as CI runners send them.

use std::time::Duration;

use crate::endpoints::{Cloud, towards};
use crate::place::{CLOUD, Going, Place, Ran, VALUES};

/// A run that is under way, against a cloud in which a gateway takes a while. Its create was answered: one that never left
/// would be looked for through a minute of quiet.
fn under_way(cloud: &Cloud) -> (Place, Going) {
    let place = towards(Place::with(CLOUD), &cloud.address);
    let mut going = place.start("up --yes");
    going.until(&["network/nat1 ", "pending"]);
    (place, going)
}

/// What the interrupted run said, and that the next one brings it to its end with one of each.
#[track_caller]
fn goes_on(place: &Place, ran: Ran, cloud: Cloud) {
    let ran = ran.ends(130);
    assert!(
        ran.out.contains("interrupted") && ran.out.contains("`epid up --yes` goes on from here"),
        "{ran:?}"
    );
    place.run("up --yes").ends(0);
    place.run("preview --expect-no-changes --refresh").ends(0);
    let all = cloud.counts();
    let clean = Place::with(CLOUD);
    clean.run("up --sandbox --yes").ends(0);
    assert_eq!(all, crate::place::Look::at(&clean).counts());
}

#[test]
fn the_first_interrupt_finishes_what_runs_and_says_what_is_left() {
    for signal in ["INT", "TERM", "HUP"] {
        let cloud = Cloud::at_speed(100);
        let (place, mut going) = under_way(&cloud);
        going.signal(signal);
        going.until(&["stopping:"]);
        if signal == "HUP" {
            going.signal(signal);
        }
        let ran = going.end();
        assert!(
            ran.out.contains("left: network/") && !ran.out.contains("cancelling"),
            "{ran:?}"
        );
        goes_on(&place, ran, cloud);
    }
}

#[test]
fn the_second_interrupt_cancels_and_nothing_is_lost() {
    let cloud = Cloud::at_speed(20);
    let (place, mut going) = under_way(&cloud);
    going.signal("INT");
    going.until(&["stopping:"]);
    going.signal("INT");
    let ran = going.end();
    goes_on(&place, ran, cloud);
}

#[test]
fn a_ci_runner_that_kills_in_the_end_loses_nothing() {
    let cloud = Cloud::at_speed(20);
    let (place, mut going) = under_way(&cloud);
    going.signal("INT");
    going.until(&["stopping:"]);
    going.signal("TERM");
    going.kill();
    place.run("up --yes").ends(0);
    place.run("preview --expect-no-changes --refresh").ends(0);
    place.run("destroy --yes").ends(0);
    assert_eq!(place.run("state ls").ends(0).out, "");
}

#[test]
fn an_interrupt_before_anything_has_begun_does_nothing() {
    let cloud = Cloud::at_speed(1000);
    let place = towards(Place::with(CLOUD), &cloud.address);
    place.run("up --yes").ends(0);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let place = towards(place, &listener.local_addr().unwrap().to_string());
    // It asks who it is, and nobody answers.
    let going = place.start("up --yes --refresh");
    let (stream, _) = listener.accept().unwrap();
    going.signal("INT");
    let ran = going.end();
    drop(stream);
    assert_eq!(ran.code, Some(130), "{ran:?}");
    assert!(
        ran.err.contains("interrupted") || ran.out.contains("interrupted"),
        "{ran:?}"
    );
    place.run("preview").ends(0);
}

#[test]
fn an_interrupt_between_stacks_leaves_the_later_ones_alone() {
    let cloud = Cloud::at_speed(60);
    let place = towards(Place::with(CLOUD), &cloud.address);
    place.write(
        "stacks/after.toml",
        "references.net = \"net\"\n[resources.x]\ntype = \"epid:data:Value\"\nproperties.value = \"${stacks.net.vpc}\"\n",
    );
    let mut going = place.start("up --all --yes");
    going.until(&["network/nat1 ", "pending"]);
    going.signal("INT");
    going.end().ends(130).says("stacks not begun: after");
    assert_eq!(place.run("state ls --stack after").ends(0).out, "");
    place.run("up --all --yes").ends(0);
    place.run("preview --all --expect-no-changes").ends(0);
}

#[test]
fn an_interrupt_in_the_last_call_of_a_run_is_none_and_keeps_the_stacks_behind_it_from_beginning() {
    let cloud = Cloud::at_speed(1000);
    let place = towards(Place::with(CLOUD), &cloud.address);
    place.run("up --yes").ends(0);
    let cloud = cloud.again_at_speed(100);
    let place = towards(place, &cloud.address);
    let more = |name: &str| {
        let properties = format!(
            "{{ allocationId = \"${{{name}Address.allocationId}}\", subnetId = \"${{network.subnetIds[0]}}\" }}"
        );
        format!(
            "[resources.{name}Address]\ntype = \"aws:ec2:Eip\"\n[resources.{name}]\ntype = \"aws:ec2:NatGateway\"\n\
             properties = {properties}\n"
        )
    };
    let stopped = |line: &str, name: &str| {
        let mut going = place.start(line);
        going.until(&[&format!("{name} "), "pending"]);
        going.signal("INT");
        going.end()
    };
    let text = CLOUD[1].1.to_owned() + &more("one");
    place.write("stacks/net.toml", &text);
    let ran = stopped("up --yes", "one")
        .ends(0)
        .says("stopping:")
        .says("2 created");
    assert!(!ran.out.contains("interrupted"), "{ran:?}");
    place.run("preview --expect-no-changes").ends(0);
    place.write("stacks/net.toml", &(text + &more("two")));
    place.write("stacks/values.toml", VALUES[1].1);
    place.write("stacks/after.toml", "references.net = \"net\"\n[resources.x]\ntype = \"epid:data:Value\"\nproperties.value = \"${stacks.net.vpc}\"\n");
    let ran = stopped("up --all --yes", "two")
        .ends(130)
        .says("stacks not begun: after");
    assert!(!ran.out.contains("goes on from here"), "{ran:?}");
    place.run("up --all --yes").ends(0).says("1 created");
}

/// What GitHub's runners do to a job that is cancelled: SIGINT, and 7.5 s later SIGTERM. The call that runs takes longer than that,
/// and the run has ended before SIGKILL comes.
#[test]
fn a_ci_runner_that_cancels_a_job_loses_nothing() {
    let cloud = Cloud::at_speed(2);
    let (place, mut going) = under_way(&cloud);
    going.signal("INT");
    going.until(&["stopping:"]);
    // These are the times of the runner, not of what is waited for.
    std::thread::sleep(Duration::from_secs(7));
    assert!(going.goes_on(), "the call was not finished, or not waited for");
    going.signal("TERM");
    let ran = going
        .end()
        .ends(130)
        .says("1 cut short")
        .says("goes on from here");
    assert!(
        !ran.out.contains("error") && !ran.out.contains("skipped"),
        "{ran:?}"
    );
    let left = place.run("state ls").ends(0).out;
    assert!(
        left.contains("network/vpc ") && left.contains("network/nat1"),
        "{left}"
    );
    // Nobody waits so long for the next one.
    let (place, cloud) = (place, cloud.again_at_speed(200));
    let place = towards(place, &cloud.address);
    place.run("up --yes").ends(0).says("network/nat1");
    place.run("preview --expect-no-changes --refresh").ends(0);
    let clean = Place::with(CLOUD);
    clean.run("up --sandbox --yes").ends(0);
    assert_eq!(cloud.counts(), crate::place::Look::at(&clean).counts());
}

#[test]
fn a_run_whose_reader_has_gone_says_on_stderr_that_it_stops() {
    let cloud = Cloud::at_speed(100);
    let (place, going) = under_way(&cloud);
    let ran = going.unheard("INT");
    assert_eq!(ran.code, Some(130), "{ran:?}");
    for text in [
        "stopping: the running call is finished first",
        "left: network/",
        "goes on from here",
    ] {
        assert!(ran.err.contains(text), "{text:?} is missing: {ran:?}");
    }
    place.run("up --yes").ends(0);
}
