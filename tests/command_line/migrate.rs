//! States that move from one folder to another; `s3` has those that move to a bucket.

use std::fs;

use crate::place::{Place, VALUES};

const MANIFEST: &str = "# The values.\nname = \"values\"\ndefaultStack = \"one\"  # the only one\n\n[backend] # kept\n\
                        type = \"local\"\n# beside the project\npath = \"kept\"  # for now\n";

fn manifest(place: &Place) -> String {
    fs::read_to_string(place.path("Epid.toml")).unwrap()
}

#[test]
fn states_move_to_another_folder_and_back_and_the_manifest_keeps_its_comments() {
    let place = Place::with(VALUES);
    place.write("Epid.toml", MANIFEST);
    place.run("up --yes").ends(0);
    place.run("up --sandbox --copy --yes").ends(0);
    let asked = place.run("state migrate --to other/states").ends(2);
    assert!(
        asked.out.contains("2 states move with their history"),
        "{asked:?}"
    );
    assert!(asked.err.contains("add --yes"), "{asked:?}");
    assert_eq!(manifest(&place), MANIFEST, "it was only shown");
    place
        .run("state migrate --to other/states --yes")
        .ends(0)
        .says("2 states moved to ");
    assert_eq!(manifest(&place), MANIFEST.replace("\"kept\"", "\"other/states\""));
    // The sandbox of such a project keeps its states there too.
    for line in [
        "preview --expect-no-changes",
        "preview --sandbox --expect-no-changes",
    ] {
        place.run(line).ends(0);
    }
    place.run("state verify --all").ends(0);
    place
        .run("history")
        .ends(0)
        .says("epid state migrate --to other/states --yes");
    place.run("stack output b").ends(0).says("1-2");
    place
        .run("state migrate --to other/states --yes")
        .ends(0)
        .says("already");
    // The same place, reached in another way: that is written.
    let text = manifest(&place);
    place.write(
        "Epid.toml",
        &text.replace("\"other/states\"", "\"./other/states\""),
    );
    place
        .run("state migrate --to other/states --yes")
        .ends(0)
        .says("already");
    assert_eq!(manifest(&place), text);
    // Whoever has the old manifest is told, whatever they want.
    place.write("Epid.toml", MANIFEST);
    place.write("stacks/two.toml", VALUES[1].1);
    for line in [
        "up --yes",
        "up --yes --sandbox",
        "up --stack two --yes",
        "preview",
        "destroy --yes",
        "state ls",
        "state verify",
        "state rm a --yes",
        "stack ls",
        "history",
        "keys rotate --yes",
        "state migrate --to third --yes",
    ] {
        let told = place.run(line).ends(2);
        for text in ["other/states", "somebody@", "epid state migrate --to /"] {
            assert!(told.err.contains(text), "{line}: {told:?}");
        }
    }
    let json = place.run("up --yes --json").ends(2);
    assert_eq!(json.events().last().unwrap()["exit"], 2);
    // What they are told to do does it.
    place.run("state migrate --to other/states --yes").ends(0);
    assert_eq!(manifest(&place), MANIFEST.replace("\"kept\"", "\"other/states\""));
    place.run("state migrate --to local --yes").ends(0);
    let text = manifest(&place);
    assert!(
        text.contains("[backend] # kept\ntype = \"local\"\n") && !text.contains("path"),
        "{text}"
    );
    place.run("preview --expect-no-changes").ends(0);
    assert!(!place.files(".epid/state").is_empty());
}

#[test]
fn a_place_that_cannot_be_is_refused_before_anything_moves() {
    let place = Place::with(VALUES);
    place.run("up --yes").ends(0);
    let before = place.files(".epid");
    for (line, says) in [
        ("state migrate --to gs://x/y --yes", "is no place for states"),
        (
            "state migrate --to s3://My_Bucket/y --yes",
            "is not a bucket's name",
        ),
        (
            "state migrate --to s3://b --endpoint minio:9000 --yes",
            "is no URL",
        ),
        (
            "state migrate --to there --region eu-west-1 --yes",
            "are of buckets",
        ),
    ] {
        place.run(line).ends(2).says(says);
    }
    assert_eq!(place.files(".epid"), before);
    assert_eq!(manifest(&place), VALUES[0].1);
    // Another project of the same name keeps its states there.
    let other = Place::with(VALUES);
    other.run("up --yes").ends(0);
    let theirs = other.path(".epid/state").display().to_string();
    let files = other.files(".epid/state");
    place
        .run(&format!("state migrate --to {theirs} --yes"))
        .ends(2)
        .says("holds states of `values` already");
    assert_eq!(other.files(".epid/state"), files);
    place.run("up --yes").ends(0).says("no changes");
    assert_eq!(manifest(&place), VALUES[0].1);
}

#[test]
fn a_migration_that_was_cut_short_is_told_completed_or_given_up() {
    let place = Place::with(VALUES);
    place.run("up --yes").ends(0);
    // A folder where the copy is to be: it fails there, and everything stays.
    fs::create_dir_all(place.path("other/cloud/values/one/outputs")).unwrap();
    place
        .run("state migrate --to other --yes")
        .ends(1)
        .says("other/cloud/values/one/outputs");
    place.run("up --yes").ends(0).says("no changes");
    assert_eq!(manifest(&place), VALUES[0].1);
    // As one that was killed leaves the two places.
    let text = fs::read_to_string(place.path("other/cloud/values/notice.json")).unwrap();
    assert!(text.contains("\"arriving\""), "{text}");
    let real = |path: &str| place.path(path).canonicalize().unwrap().display().to_string();
    let leaving = text
        .replace("\"arriving\"", "\"leaving\"")
        .replace(&real(".epid/state"), &real("other"));
    place.write(".epid/state/cloud/values/notice.json", &leaving);
    let gives_up = format!("state migrate --to {}", place.path(".epid/state").display());
    place
        .run("up --yes")
        .ends(4)
        .says("goes on with it")
        .says(&format!("`epid {gives_up}` gives it up"));
    place.run("preview").ends(0);
    place.run("state migrate --to third --yes").ends(4);
    place
        .run(&format!("{gives_up} --yes"))
        .ends(0)
        .says("the states stay in ");
    place.run("up --yes").ends(0);
    place.write(".epid/state/cloud/values/notice.json", &leaving);
    fs::remove_dir(place.path("other/cloud/values/one/outputs")).unwrap();
    place.run("state migrate --to other --yes").ends(0);
    place.run("preview --expect-no-changes").ends(0);
    assert!(manifest(&place).ends_with("[backend]\ntype = \"local\"\npath = \"other\"\n"));
}

/// After a kill: nobody begins anew or goes on in two places, and the same command completes the move.
#[track_caller]
fn completes(place: &Place, when: &str) {
    let up = place.run("up --yes");
    match up.code {
        // Not begun, or done.
        Some(0) => assert!(up.out.contains("no changes"), "{when}: {up:?}"),
        // On their way, or there already.
        Some(2 | 4) => assert!(up.err.contains("epid state migrate --to "), "{when}: {up:?}"),
        _ => panic!("{when}: {up:?}"),
    }
    place.run("state migrate --to other --yes").ends(0);
    assert!(manifest(place).ends_with("path = \"other\"\n"), "{when}");
    place.run("preview --expect-no-changes").ends(0);
    place.run("state verify --all").ends(0);
    place.run("stack output b").ends(0).says("1-2");
    let history = place.run("history --json").ends(0).events();
    let ran = |command: &str| {
        let of = |run: &&serde_json::Value| run.to_string().contains(command);
        history.iter().filter(of).count()
    };
    let ups = 1 + usize::from(up.code == Some(0));
    assert_eq!(ran("epid up --yes"), ups, "{when}: {history:?}");
    assert!(ran("epid state migrate") > 0, "{when}: {history:?}");
    let mut left: Vec<String> = place.files(".epid/state/cloud").into_keys().collect();
    // What was being written aside when it was killed has no name yet.
    left.retain(|name| !name.contains("/."));
    assert_eq!(
        left,
        [
            ".epid/state/cloud/values/notice.json",
            ".epid/state/cloud/values/notice.lock"
        ],
        "{when}"
    );
}

fn said(place: &Place, part: &str) -> String {
    fs::read_to_string(place.path(part).join("cloud/values/notice.json")).unwrap_or_default()
}

#[test]
fn a_migration_that_is_killed_once_a_file_is_there_is_completed_by_the_same_command() {
    let whole = Place::with(VALUES);
    whole.run("up --yes").ends(0);
    whole.run("state migrate --to other --yes").ends(0);
    let mut copied: Vec<String> = whole.files("other/cloud/values/one").into_keys().collect();
    assert!(copied.len() > 4, "{copied:?}");
    copied.push("other/cloud/values/notice.json".to_owned());
    type Moment = Box<dyn Fn(&Place) -> bool>;
    let there = |name: String| -> (String, Moment) {
        (
            name.clone(),
            Box::new(move |place: &Place| place.path(&name).exists()),
        )
    };
    let mut moments: Vec<(String, Moment)> = copied.into_iter().map(there).collect();
    moments.extend([
        (
            "leaving".to_owned(),
            Box::new(|place: &Place| said(place, ".epid/state").contains("leaving")) as Moment,
        ),
        (
            "left".to_owned(),
            Box::new(|place: &Place| said(place, ".epid/state").contains("left")),
        ),
        (
            "arrived".to_owned(),
            Box::new(|place: &Place| {
                said(place, ".epid/state").contains("left") && said(place, "other").is_empty()
            }),
        ),
        (
            "the old state is gone".to_owned(),
            Box::new(|place: &Place| !place.path(".epid/state/cloud/values/one/state").exists()),
        ),
        (
            "the manifest says so".to_owned(),
            Box::new(|place: &Place| manifest(place).contains("other")),
        ),
    ]);
    for (when, reached) in moments {
        let place = Place::with(VALUES);
        place.run("up --yes").ends(0);
        let mut going = place.start("state migrate --to other --yes");
        // It may go on while it is looked at: what counts is that it came to that.
        let mut came = reached(&place);
        while !came && going.goes_on() {
            std::thread::yield_now();
            came = reached(&place);
        }
        going.kill();
        assert!(came || reached(&place), "{when}: it never came to that");
        completes(&place, &when);
    }
}

#[test]
fn a_migration_that_is_killed_amid_the_copy_is_completed_by_the_same_command() {
    let place = Place::with(VALUES);
    place.run("up --yes").ends(0);
    // Something that is copied, and whose bytes never come.
    let pipe = place.path(".epid/state/cloud/values/one/pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    let mut going = place.start("state migrate --to other --yes");
    let others = ["state", "state.previous", "outputs", "history/0000000001"];
    while !others
        .iter()
        .all(|name| place.path("other/cloud/values/one").join(name).exists())
    {
        assert!(going.goes_on(), "{:?}", going.end());
        std::thread::yield_now();
    }
    assert!(going.goes_on(), "it waits for the bytes");
    going.kill();
    fs::remove_file(&pipe).unwrap();
    assert!(said(&place, ".epid/state").contains("leaving") && said(&place, "other").contains("arriving"));
    completes(&place, "amid the copy");
}
