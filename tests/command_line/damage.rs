//! Full disks, damaged files, missing keys: a clear message, and nothing is overwritten.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use crate::place::{CLOUD, Place, Ran, VALUES};

const CHANGED: &str = "[resources.a]\ntype = \"epid:data:Value\"\nproperties.value = \"changed\"\n";

/// A place that was up twice, so that there is a snapshot, one before it, and a journal.
fn used() -> Place {
    let place = Place::with(VALUES);
    place.run("up --yes").ends(0);
    place.write("stacks/one.toml", CHANGED);
    place.run("up --yes").ends(0);
    place.write("stacks/one.toml", VALUES[1].1);
    place
}

/// Everything that reads the state refuses it with the same words, and leaves every file as it is.
#[track_caller]
fn refused(place: &Place, code: i32, texts: &[&str]) {
    let before = place.files(".epid");
    for line in [
        "preview",
        "up --yes",
        "destroy --yes",
        "state ls",
        "stack output",
        "stack rm --yes",
        "up --yes --json",
    ] {
        let ran = place.run(line).ends(code);
        let said = format!("{}{}", ran.out, ran.err);
        for text in texts {
            assert!(said.contains(text), "{line}: {text:?} is missing: {said}");
        }
    }
    assert_eq!(place.files(".epid"), before, "something was written");
}

#[test]
fn a_damaged_snapshot_is_told_with_its_name_and_the_way_out() {
    let whole = used();
    let bytes = fs::read(whole.state_file("one", "state")).unwrap();
    for at in [1, bytes.len() / 2, bytes.len() - 1] {
        for cut in [true, false] {
            let place = whole.twin();
            let file = place.state_file("one", "state");
            let mut changed = bytes.clone();
            if cut {
                changed.truncate(at);
            } else {
                changed[at] ^= 0x10;
            }
            fs::write(&file, &changed).unwrap();
            let name = file.display().to_string();
            refused(
                &place,
                1,
                &[&name, "damaged at byte", "move it away and try again"],
            );
        }
    }
    // The way out is one.
    let place = whole.twin();
    let file = place.state_file("one", "state");
    fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
    fs::rename(&file, place.path("away")).unwrap();
    assert_eq!(place.run("state ls").ends(0).out, whole.run("state ls").out);
    place.run("up --yes").ends(0).says("2 created");
    place.run("preview --expect-no-changes").ends(0);
}

#[test]
fn a_damaged_journal_is_told_and_a_torn_one_is_read() {
    let whole = Place::with(CLOUD);
    let mut going = whole.start("up --sandbox --yes --json");
    going.until(&["stepDone"]);
    going.until(&["stepDone"]);
    going.kill();
    let journal = |place: &Place| place.state_file("net", "journal/");
    let bytes = fs::read(journal(&whole)).unwrap();
    let (mut torn, mut lost) = (0, 0);
    for at in (0..bytes.len()).step_by(bytes.len() / 7) {
        let place = whole.twin();
        let mut changed = bytes.clone();
        changed[at] ^= 0x10;
        fs::write(journal(&place), &changed).unwrap();
        let before = place.files(".epid/state");
        let ran = place.run("up --sandbox --yes").ends(1);
        assert!(
            ran.err.contains(&journal(&place).display().to_string()) && ran.err.contains("damaged"),
            "byte {at}: {ran:?}"
        );
        assert_eq!(place.files(".epid/state"), before, "byte {at}");
        // Cut off where a crash cuts, it is read as far as it goes.
        let place = whole.twin();
        fs::write(journal(&place), &bytes[..at]).unwrap();
        let ran = place.run("state ls --sandbox");
        // Further back it lacks the run itself, which is known to have been written.
        let is_older = ran.err.contains("is at run 0, and run 1 of it was seen here");
        let is_told = ran.code == Some(1) && (is_older || ran.err.contains("damaged"));
        assert!(ran.code == Some(0) || is_told, "byte {at}: {ran:?}");
        (torn, lost) = (torn + u32::from(ran.code == Some(0)), lost + u32::from(is_older));
    }
    assert!(torn > 0 && lost > 0, "{torn} {lost}");
}

#[test]
fn a_missing_or_wrong_key_is_invalid_input() {
    let whole = used();
    let key = |place: &Place| {
        let files = place.files(".epid/keys");
        let name = files.keys().find(|name| name.ends_with(".key")).unwrap();
        place.path(name)
    };
    let name = key(&whole).file_name().unwrap().to_str().unwrap().to_owned();
    let place = whole.twin();
    fs::remove_file(key(&place)).unwrap();
    refused(&place, 2, &[&name, "restore the file"]);
    for text in ["", "rubbish\n", "epid key 1\nAAAA\n", "epid key 2\nAAAA\n"] {
        let place = whole.twin();
        fs::write(key(&place), text).unwrap();
        refused(&place, 2, &[&name, "is no key file"]);
    }
    let place = whole.twin();
    let other = used();
    fs::copy(key(&other), key(&place)).unwrap();
    refused(&place, 2, &[&name, "another key"]);
    fs::copy(key(&whole), key(&place)).unwrap();
    place.run("up --yes").ends(0);
}

#[test]
fn a_state_of_a_later_format_is_left_alone() {
    let place = used();
    let file = place.state_file("one", "state");
    let text = fs::read(&file).unwrap();
    let line = text.iter().position(|b| *b == b'\n').unwrap();
    let head = String::from_utf8(text[..line].to_vec()).unwrap();
    let head = head.replace("\"format\":3", "\"format\":4");
    fs::write(&file, [head.as_bytes(), &text[line..]].concat()).unwrap();
    let name = file.display().to_string();
    refused(&place, 1, &[&name, "has format 4", "upgrade epid"]);
}

#[test]
fn what_cannot_be_read_is_not_taken_for_empty() {
    let place = used();
    let file = place.state_file("one", "state");
    fs::rename(&file, place.path("away")).unwrap();
    fs::create_dir(&file).unwrap();
    refused(&place, 1, &["cannot read", &file.display().to_string()]);
    fs::remove_dir(&file).unwrap();
    fs::rename(place.path("away"), &file).unwrap();
    let is_root = String::from_utf8(Command::new("id").arg("-u").output().unwrap().stdout).unwrap();
    if is_root.trim() == "0" {
        eprintln!("SKIPPED: root may read everything");
        return;
    }
    Command::new("chmod").arg("000").arg(&file).status().unwrap();
    refused(&place, 1, &["cannot read", &file.display().to_string()]);
}

#[test]
fn a_sandbox_without_its_key_or_with_damage_is_told() {
    let whole = Place::with(CLOUD);
    whole.run("up --sandbox --yes").ends(0);
    let place = whole.twin();
    fs::remove_dir_all(place.path(".epid/keys")).unwrap();
    // Who lacks the key is not told to delete everything first.
    place
        .run("up --sandbox --yes")
        .ends(2)
        .says("restore the file")
        .says("Where it is lost for good, `epid sandbox reset`");
    let mut place = whole.twin();
    place.set("EPID_PASSPHRASE", "four words of a sentence");
    place.run("keys rotate --to passphrase --yes").ends(0);
    for line in ["up --sandbox --yes", "preview --sandbox"] {
        place.set("EPID_PASSPHRASE", "four words of another");
        place
            .run(line)
            .ends(2)
            .says("wrong passphrase")
            .says("with that key everything is there as it was. Where it is lost for good");
        place.set("EPID_PASSPHRASE", "four words of a sentence");
        place.run(line).ends(0);
    }
    for at in [0, 30, 3000] {
        let place = whole.twin();
        let file = place.path(".epid/sandbox/world.json");
        let mut bytes = fs::read(&file).unwrap();
        bytes[at] ^= 1;
        fs::write(&file, &bytes).unwrap();
        let ran = place.run("up --sandbox --yes");
        assert!(
            matches!(ran.code, Some(1 | 2)) && ran.err.contains("sandbox reset"),
            "byte {at}: {ran:?}"
        );
        assert_eq!(fs::read(&file).unwrap(), bytes);
        place.run("sandbox reset --yes").ends(0);
        place.run("up --sandbox --yes").ends(0);
    }
}

#[test]
fn a_reset_sandbox_forgets_states_that_were_removed_by_hand_too() {
    let place = Place::with(CLOUD);
    place.run("up --sandbox --yes").ends(0);
    fs::remove_dir_all(place.path(".epid/state")).unwrap();
    place.run("up --sandbox --yes").ends(1).says("is gone from");
    place.run("sandbox reset --yes").ends(0);
    let notes: Vec<String> = place.files(".epid/seen").into_keys().collect();
    assert!(notes.is_empty(), "{notes:?}");
    place.run("up --sandbox --yes").ends(0);
    place.run("preview --sandbox --expect-no-changes").ends(0);
}

/// Runs a line where no file may grow beyond some blocks of 1 KiB.
fn limited(place: &Place, blocks: u32, line: &str) -> Ran {
    // Ignored, the signal becomes an error of the write.
    place.bash(&format!("trap '' XFSZ; ulimit -f {blocks}; epid {line}"))
}

#[test]
fn a_write_that_fails_loses_nothing() {
    let mut said = BTreeMap::new();
    for blocks in [1, 4, 20] {
        let place = Place::with(CLOUD);
        place.run("up --sandbox --yes --parallel 2").ends(0);
        place.write("stacks/net.toml", &CLOUD[1].1.replace("\"net\"", "\"other\""));
        let ran = limited(&place, blocks, "up --sandbox --yes");
        assert!(!ran.err.contains("panicked"), "{ran:?}");
        if ran.code != Some(0) {
            assert_eq!(ran.code, Some(1), "{blocks}: {ran:?}");
            // The state or the sandbox: each is told where it happens, and what it comes to.
            for what in ["cannot write ", "store failed"] {
                let told = format!("{}{}", ran.out, ran.err).matches(what).count();
                assert!(told <= 2, "{blocks}: told {told} times: {ran:?}");
            }
            assert!(
                ran.err.contains("File too large") || ran.out.contains("File too large"),
                "{blocks}: {ran:?}"
            );
        }
        said.insert(blocks, ran.code);
        place.run("up --sandbox --yes").ends(0);
        place
            .run("preview --sandbox --refresh --expect-no-changes")
            .ends(0);
        place.run("destroy --sandbox --yes").ends(0);
    }
    assert!(said.values().any(|code| *code == Some(1)), "{said:?}");
}

#[test]
#[ignore = "needs to mount a small disk"]
fn a_full_disk_loses_nothing() {
    for kib in [4, 8, 12, 16, 20, 32, 160, 500] {
        let place = Place::with(CLOUD);
        fs::create_dir(place.path(".epid")).unwrap();
        let folder = place.path(".epid").display().to_string();
        let mount = |options: &str| {
            let options = options.to_owned();
            Command::new("mount")
                .args(["-t", "tmpfs", "-o", &options, "tmpfs", &folder])
                .status()
                .is_ok_and(|status| status.success())
        };
        assert!(mount(&format!("size={kib}k")), "`mount` is not permitted");
        let mounted = Mounted(folder.clone());
        let first = place.run("up --sandbox --yes");
        assert!(matches!(first.code, Some(0 | 1)), "{first:?}");
        assert!(!first.err.contains("panicked"), "{first:?}");
        if first.code == Some(1) {
            assert!(
                first.err.contains("No space left") || first.out.contains("No space left"),
                "{first:?}"
            );
            // What is there serves again once there is space.
            let again = place.run("up --sandbox --yes");
            assert!(!again.err.contains("sandbox reset"), "{again:?}");
        }
        mount("remount,size=8m");
        place.run("up --sandbox --yes").ends(0);
        place
            .run("preview --sandbox --refresh --expect-no-changes")
            .ends(0);
        drop(mounted);
    }
}

struct Mounted(String);

impl Drop for Mounted {
    fn drop(&mut self) {
        drop(Command::new("umount").arg(&self.0).status());
    }
}

#[test]
fn damaged_outputs_are_told_to_who_reads_them_and_written_anew_by_their_own_stack() {
    let place = used();
    let file = place.state_file("one", "outputs");
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, &bytes[..bytes.len() - 3]).unwrap();
    place.run("state verify").ends(1).says("outputs");
    place.run("up --yes").ends(0);
    place.run("state verify").ends(0);
}

/// Removes a file, or changes a byte in the middle of it.
fn spoil(place: &Place, name: &str, flip: bool) {
    let file = place.state_file("one", name);
    if flip {
        let mut bytes = fs::read(&file).unwrap();
        let at = bytes.len() / 2;
        bytes[at] ^= 0x10;
        fs::write(&file, bytes).unwrap();
    } else {
        fs::remove_file(&file).unwrap();
    }
}

#[test]
fn verify_gives_the_advice_that_a_run_gives() {
    const AWAY: &str = "move it away and try again";
    const BACKUP: &str = "restore";
    const HOLDS: &str = "nothing is lost: `state` holds";
    /// What is spoiled, what is said of it, and whether a run goes on nevertheless.
    type Case = (&'static [(&'static str, bool)], &'static str, bool);
    let whole = used();
    let cases: &[Case] = &[
        (&[("state", true)], AWAY, false),
        (
            &[("state", false)],
            "the next run makes it anew from `state.previous`",
            true,
        ),
        (&[("state.previous", true)], HOLDS, true),
        (&[("journal/", true)], HOLDS, true),
        (&[("state", true), ("state.previous", true)], BACKUP, false),
        (&[("state", true), ("journal/", true)], BACKUP, false),
        (&[("state", false), ("journal/", true)], BACKUP, false),
        (&[("state", true), ("journal/", false)], BACKUP, false),
        (
            &[("state", false), ("journal/", false)],
            "Put the newer one back",
            false,
        ),
        (&[("state", false), ("state.previous", false)], BACKUP, false),
        (
            &[("state", false), ("state.previous", false), ("journal/", false)],
            "check [backend]",
            false,
        ),
    ];
    for (spoiled, advice, goes_on) in cases {
        let place = whole.twin();
        for (name, flip) in *spoiled {
            spoil(&place, name, *flip);
        }
        let verified = place.run("state verify").ends(1);
        assert!(verified.err.contains(advice), "{spoiled:?}: {verified:?}");
        for other in [AWAY, BACKUP, HOLDS] {
            let fits = *advice == other || !verified.err.contains(other);
            assert!(fits, "{spoiled:?}: {other:?}: {verified:?}");
        }
        let up = place.run("up --yes").ends(i32::from(!goes_on));
        if *goes_on {
            place.run("state verify").ends(0);
        } else {
            let said = up.err.trim_start_matches("error: ").trim_end();
            assert!(verified.err.contains(said), "{spoiled:?}: {verified:?}\n{up:?}");
        }
    }
}

#[test]
fn a_full_state_is_told_once_with_how_many_it_stopped() {
    let declared =
        |n| format!("[resources.r{n}]\ntype = \"epid:data:Value\"\nproperties.value = \"{n:0300}\"\n");
    let place = Place::with(VALUES);
    place.write("stacks/one.toml", &(1..=17).map(declared).collect::<String>());
    let ran = limited(&place, 4, "up --yes").ends(1);
    let error = ran.out.matches("File too large").count() + ran.err.matches("File too large").count();
    assert_eq!(error, 2, "where it happened, and at the end: {ran:?}");
    ran.says("17 resources stopped by it: r")
        .says("and 9 more")
        .says("17 failed");
    place.run("up --yes").ends(0);
}

#[test]
fn a_run_that_the_history_lacks_is_a_remark() {
    let place = used();
    fs::remove_file(place.state_file("one", "history/0000000001")).unwrap();
    place
        .run("state verify")
        .ends(0)
        .says("the history has no run 1: ");
    let events = place.run("state verify --json").ends(0).events();
    assert_eq!(
        events[0]["state"]["runsWithoutHistory"],
        serde_json::json!([[1, 1]])
    );
}
