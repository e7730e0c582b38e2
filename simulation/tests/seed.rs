//! The stacks of the seed die before and after each call that changes the cloud, at writes of the state, and in the middle of
//! them: while they are made, updated, replaced and destroyed. A plain run goes on, and everything is as if nothing had happened.

#![expect(clippy::disallowed_methods, reason = "projects are files")]

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use epid_simulation::cloud::On;
use epid_simulation::deaths::{Goal, Recorded};
use epid_simulation::machine::Machine;
use epid_simulation::moments::Moment;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
/// Every so many of the moments that are beside no call are died at.
const NTH: usize = 6;

static MACHINE: LazyLock<Machine> =
    LazyLock::new(|| Machine::of(Path::new(ROOT)).expect("the stacks of this repository can be read"));

static PLATFORM: LazyLock<Recorded> = LazyLock::new(|| {
    let nothing = Moment::beginning(On::Sandbox);
    recorded(&MACHINE, &nothing, up("platform"))
});
static DEV: LazyLock<Recorded> = LazyLock::new(|| recorded(&MACHINE, PLATFORM.last(), up("dev")));

fn up(stack: &str) -> Goal {
    Goal::Up(stack.to_owned())
}

fn recorded(machine: &Machine, from: &Moment, goal: Goal) -> Recorded {
    Recorded::of(machine, from, goal).expect("a run that meets no trouble reaches its goal")
}

/// The same stacks, with other words in some of their programs: file, what is written there, what takes its place.
fn edited(edits: &[(&str, &str, &str)]) -> Machine {
    let folder = tempfile::tempdir().expect("there is a temporary folder");
    let write = |file: &str| {
        let mut text = fs::read_to_string(Path::new(ROOT).join(file))?;
        for (_, from, to) in edits.iter().filter(|(of, ..)| *of == file) {
            assert!(text.contains(from), "{file} has no {from}");
            text = text.replace(from, to);
        }
        fs::write(folder.path().join(file), text)
    };
    let files = [
        "Epid.toml",
        "stacks/platform.toml",
        "stacks/dev.toml",
        "stacks/prod.toml",
        "stacks/programs/cluster.toml",
        "stacks/programs/services.toml",
    ];
    fs::create_dir_all(folder.path().join("stacks/programs"))
        .and_then(|()| files.into_iter().try_for_each(write))
        .expect("the stacks can be copied");
    MACHINE
        .with(folder.path())
        .expect("the edited stacks can be read")
}

#[track_caller]
fn dies_everywhere(machine: &Machine, recorded: &Recorded, least: usize) {
    match recorded.die_everywhere(machine, NTH) {
        Ok(deaths) => assert!(deaths >= least, "it died only {deaths} times"),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_platform_that_dies_while_it_is_made_is_made_once() {
    dies_everywhere(&MACHINE, &PLATFORM, 40);
}

#[test]
fn a_service_that_dies_while_it_is_made_is_made_once() {
    dies_everywhere(&MACHINE, &DEV, 8);
}

#[test]
fn a_platform_that_dies_while_it_is_updated_is_not_made_again() {
    let machine = edited(&[
        (
            "stacks/programs/cluster.toml",
            "default = \"1.34\"",
            "default = \"1.35\"",
        ),
        (
            "stacks/programs/cluster.toml",
            "cluster = \"${cluster.cluster}\"\nvpcId",
            "cluster = \"${cluster.cluster}\"\nreplicas = 1\nvpcId",
        ),
    ]);
    // With what runs on it.
    let updated = recorded(&machine, DEV.last(), up("platform"));
    assert_eq!(updated.wanted.difference(&DEV.wanted), Vec::<String>::new());
    dies_everywhere(&machine, &updated, 5);
}

#[test]
fn a_platform_that_dies_while_it_is_replaced_is_made_once() {
    let other = [("stacks/programs/cluster.toml", "192.168.0.0/16", "10.7.0.0/16")];
    let machine = edited(&other);
    let replaced = recorded(&machine, PLATFORM.last(), up("platform"));
    assert_eq!(replaced.wanted.difference(&PLATFORM.wanted), Vec::<String>::new());
    assert!(
        !replaced
            .wanted
            .missing(&PLATFORM.wanted.same(&PLATFORM.wanted))
            .is_empty()
    );
    dies_everywhere(&machine, &replaced, 70);
}

#[test]
fn a_service_that_dies_while_its_image_changes_is_not_made_again() {
    let image = [(
        "stacks/dev.toml",
        "environment = \"dev\"",
        "environment = \"dev\"\ncuratorVersion = \"0.1.3\"",
    )];
    let machine = edited(&image);
    let updated = recorded(&machine, DEV.last(), up("dev"));
    assert_eq!(updated.wanted.difference(&DEV.wanted), Vec::<String>::new());
    dies_everywhere(&machine, &updated, 3);
}

#[test]
fn a_service_that_dies_while_it_is_renamed_is_there_once() {
    let name = [(
        "stacks/programs/services.toml",
        "\"curator-${config.environment}\"",
        "\"curators-${config.environment}\"",
    )];
    let machine = edited(&name);
    let renamed = recorded(&machine, DEV.last(), up("dev"));
    let changes = renamed.wanted.difference(&DEV.wanted);
    assert!(
        changes.contains(&"services default/curators-dev: 1, not 0".to_owned()),
        "{changes:?}"
    );
    dies_everywhere(&machine, &renamed, 6);
}

#[test]
fn a_service_that_dies_while_it_is_destroyed_goes_alone() {
    let destroyed = recorded(&MACHINE, DEV.last(), Goal::Destroyed("dev".into()));
    assert_eq!(
        destroyed.wanted.difference(&PLATFORM.wanted),
        Vec::<String>::new()
    );
    dies_everywhere(&MACHINE, &destroyed, 6);
}

#[test]
fn a_platform_that_dies_while_it_is_destroyed_leaves_nothing() {
    let destroyed = recorded(&MACHINE, PLATFORM.last(), Goal::Destroyed("platform".into()));
    let nothing = Moment::beginning(On::Sandbox);
    let nothing = recorded(&MACHINE, &nothing, Goal::Destroyed("dev".into())).wanted;
    assert_eq!(destroyed.wanted.difference(&nothing), Vec::<String>::new());
    dies_everywhere(&MACHINE, &destroyed, 30);
}
