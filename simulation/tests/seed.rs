//! The stacks of the seed die at every moment: before and after each call that changes the cloud, before and after each write
//! of the state, and in the middle of it. A plain run goes on, and everything is as if nothing had happened.

use std::path::Path;
use std::sync::LazyLock;

use epid_simulation::cloud::On;
use epid_simulation::deaths::{Goal, Recorded};
use epid_simulation::machine::Machine;
use epid_simulation::moments::Moment;

static MACHINE: LazyLock<Machine> = LazyLock::new(|| {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    Machine::of(root).expect("the stacks of this repository can be read")
});

static PLATFORM: LazyLock<Recorded> =
    LazyLock::new(|| recorded(&Moment::beginning(On::Sandbox), Goal::Up("platform".into())));
static DEV: LazyLock<Recorded> = LazyLock::new(|| recorded(PLATFORM.last(), Goal::Up("dev".into())));

fn recorded(from: &Moment, goal: Goal) -> Recorded {
    Recorded::of(&MACHINE, from, goal).expect("a run that meets no trouble reaches its goal")
}

#[track_caller]
fn dies_everywhere(recorded: &Recorded, least: usize) {
    match recorded.die_everywhere(&MACHINE) {
        Ok(deaths) => assert!(deaths >= least, "it died only {deaths} times"),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_platform_that_dies_while_it_is_made_is_made_once() {
    dies_everywhere(&PLATFORM, 100);
}

#[test]
fn a_service_that_dies_while_it_is_made_is_made_once() {
    dies_everywhere(&DEV, 40);
}

#[test]
fn a_service_that_dies_while_it_is_destroyed_goes_alone() {
    let destroyed = recorded(DEV.last(), Goal::Destroyed("dev".into()));
    assert_eq!(
        destroyed.wanted.difference(&PLATFORM.wanted),
        Vec::<String>::new()
    );
    dies_everywhere(&destroyed, 20);
}

#[test]
fn a_platform_that_dies_while_it_is_destroyed_leaves_nothing() {
    let destroyed = recorded(PLATFORM.last(), Goal::Destroyed("platform".into()));
    let nothing = recorded(&Moment::beginning(On::Sandbox), Goal::Destroyed("dev".into())).wanted;
    assert_eq!(destroyed.wanted.difference(&nothing), Vec::<String>::new());
    dies_everywhere(&destroyed, 80);
}
