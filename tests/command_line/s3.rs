//! States in S3, on the server that `EPID_S3_ENDPOINT` names; `CONTRIBUTING.md` has how each is started.

use std::fmt::Write as _;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::bucket::{Between, bad, far, good, near, objects, prefix, server};
use crate::place::{Place, VALUES};

/// A thousand values in ten layers; each needs one of the layer before.
fn layers() -> String {
    let mut text = String::new();
    for layer in 0..10 {
        for n in 0..100 {
            let value = match layer {
                0 => n.to_string(),
                _ => format!("${{r{}x{}.value}}-{layer}", layer - 1, (n * 7 + 3) % 100),
            };
            write!(
                text,
                "[resources.r{layer}x{n}]\ntype = \"epid:data:Value\"\nproperties.value = \"{value}\"\n"
            )
            .unwrap();
        }
    }
    text
}

/// A project with that many values, whose states are reached at `address`.
fn many(address: &str) -> Place {
    let place = far(address);
    place.write("stacks/many.toml", &layers());
    place
}

#[test]
#[ignore = "needs an S3 server, whose URL stands in EPID_S3_ENDPOINT"]
fn s3_keeps_states_and_the_project_folder_keeps_none() {
    let place = far(&server());
    place.run("up --yes").ends(0);
    place.run("preview --expect-no-changes").ends(0);
    place.run("up --yes").ends(0).says("no changes");
    place.run("stack output b").ends(0).says("1-2");
    place.run("stack ls").ends(0).says("3 resources");
    let stored = objects(&place);
    for key in ["cloud/values/one/state", "cloud/values/one/lock"] {
        assert!(stored.contains_key(key), "{:?}", stored.keys());
    }
    assert!(place.files(".epid/state").is_empty());
    // The sandbox and its states stay here, and need no network.
    let mut alone = place.twin();
    alone.set("AWS_ACCESS_KEY_ID", "");
    let text = std::fs::read_to_string(place.path("Epid.toml")).unwrap();
    alone.write("Epid.toml", &text.replace(&server(), "127.0.0.1:9"));
    alone.run("up --sandbox --yes").ends(0);
    assert!(!alone.files(".epid/state").is_empty());
    // Another clone has the key and the bucket, and so the state.
    let other = place.twin();
    other.run("destroy --yes").ends(0);
    place.run("state ls").ends(0);
    place.run("stack rm --yes").ends(0);
    assert!(!objects(&place).contains_key("cloud/values/one/state"));
}

#[test]
#[ignore = "needs an S3 server, whose URL stands in EPID_S3_ENDPOINT"]
fn s3_takes_fewer_than_a_hundred_writes_for_a_thousand_resources() {
    let between = Between::new(good);
    let place = many(&between.address);
    place.run("up --stack many --yes").ends(0).says("1000 created");
    let puts = between.puts();
    assert!((10..100).contains(&puts), "{puts}");
    place.run("preview --stack many --expect-no-changes").ends(0);
    assert_eq!(between.puts(), 0, "a preview writes nothing");
}

#[test]
#[ignore = "needs an S3 server, whose URL stands in EPID_S3_ENDPOINT"]
fn s3_is_used_by_one_run_at_a_time_and_a_killed_one_frees_it() {
    let mut place = many(&server());
    place.set("CI_JOB_URL", "https://ci.example/jobs/7");
    let mut first = place.start("up --stack many --yes --json");
    first.until(&["stepDone"]);
    // It writes more lines than a pipe holds, and stands still.
    let second = place.run("up --stack many --yes").ends(4);
    for text in [
        "epid up --stack many --yes --json",
        "somebody@",
        &format!("process {}", first.pid()),
        "since 20",
        "until 20",
        "https://ci.example/jobs/7",
    ] {
        assert!(second.err.contains(text), "{text:?} is missing: {}", second.err);
    }
    place.run("up --yes").ends(0);
    first.kill();
    let begun = Instant::now();
    place
        .run("up --stack many --yes --wait")
        .ends(0)
        .says("waiting: ");
    assert!(begun.elapsed() < Duration::from_secs(60));
    place.run("preview --stack many --expect-no-changes").ends(0);
    // Where a run ends in peace, whoever waits goes on at once.
    let start = |_| {
        let mut racer = place.command("destroy --stack many --yes --wait");
        racer.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    let racers: Vec<_> = (0..4).map(start).collect();
    for mut racer in racers {
        assert!(racer.wait().unwrap().success());
    }
    assert!(place.run("state ls --stack many").ends(0).out.is_empty());
}

#[test]
#[ignore = "needs an S3 server, whose URL stands in EPID_S3_ENDPOINT"]
fn s3_lets_a_run_that_stood_still_write_nothing_once_another_came() {
    let place = many(&server());
    let mut first = place.start("up --stack many --yes --json");
    first.until(&["stepDone"]);
    first.signal("STOP");
    let begun = Instant::now();
    place
        .run("up --stack many --yes --wait")
        .ends(0)
        .says("waiting: ");
    let waited = begun.elapsed();
    assert!(waited > Duration::from_secs(12), "taken over after {waited:?}");
    let before = objects(&place);
    first.signal("CONT");
    let ran = first.end().ends(1);
    // Whether it notices by its own clock or by what it finds there depends on where it stood still.
    let told = [
        "another epid has taken over this stack",
        "the lock of values/many in cloud was lost",
    ];
    assert!(
        told.iter().any(|text| ran.out.contains(text)),
        "{}\n{}",
        ran.out,
        ran.err
    );
    assert!(ran.out.contains("Run the same command again"), "{}", ran.err);
    assert_eq!(objects(&place), before, "it wrote");
    place.run("preview --stack many --expect-no-changes").ends(0);
    place.run("state verify --stack many").ends(0);
    place.run("up --stack many --yes").ends(0).says("no changes");
}

#[test]
#[ignore = "needs an S3 server, whose URL stands in EPID_S3_ENDPOINT"]
fn s3_behind_a_network_that_loses_and_delays_keeps_everything() {
    let between = Between::new(bad);
    let place = many(&between.address);
    place.run("up --stack many --yes").ends(0).says("1000 created");
    place.run("preview --stack many --expect-no-changes").ends(0);
    place.run("state verify --stack many").ends(0);
    place.run("destroy --stack many --yes").ends(0);
}

#[test]
#[ignore = "needs an S3 server, whose URL stands in EPID_S3_ENDPOINT"]
fn s3_behind_such_a_network_is_used_by_two_runners_in_turn() {
    let (one, other) = (Between::new(bad), Between::new(bad));
    let place = many(&one.address);
    let text = std::fs::read_to_string(place.path("Epid.toml")).unwrap();
    place.run("up --yes").ends(0);
    // The same prefix through the other network, with the same key.
    let twin = place.twin();
    twin.write("Epid.toml", &text.replace(&one.address, &other.address));
    let start = |place: &Place, line| {
        let mut racer = place.command(line);
        racer.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    for _ in 0..3 {
        let racers = [
            start(&place, "up --stack one --yes --wait"),
            start(&twin, "up --stack one --yes --wait --refresh"),
            start(&twin, "state protect --stack one a --yes"),
            start(&place, "destroy --stack one --yes --wait"),
        ];
        for racer in racers {
            racer.wait_with_output().unwrap();
        }
    }
    place.run("state verify --stack one").ends(0);
    drop(place.run("state unprotect --stack one a --yes"));
    place.run("up --yes --wait").ends(0);
    twin.run("preview --expect-no-changes").ends(0);
}

#[test]
#[ignore = "needs an S3 server, whose URL stands in EPID_S3_ENDPOINT"]
fn s3_without_the_bucket_or_credentials_says_so() {
    let mut place = far(&server());
    let text = std::fs::read_to_string(place.path("Epid.toml")).unwrap();
    place.write("Epid.toml", &text.replace("epid-states", "epid-missing"));
    place.run("up --yes").ends(1).says("NoSuchBucket");
    place.set("AWS_ACCESS_KEY_ID", "");
    place
        .run("up --yes")
        .ends(1)
        .says("no AWS credentials were found");
}

#[test]
#[ignore = "needs an S3 server, whose URL stands in EPID_S3_ENDPOINT"]
fn s3_takes_the_states_of_a_folder_and_gives_them_back() {
    let between = Between::new(bad);
    let place = near();
    place.run("up --yes").ends(0);
    place.run("up --sandbox --copy --yes").ends(0);
    let behind = place.twin();
    let to = format!("s3://epid-states/{}", prefix(&place));
    let line = format!(
        "state migrate --to {to} --region us-east-1 --endpoint http://{}",
        between.address
    );
    let asked = place.run(&line).ends(2);
    assert!(
        asked.out.contains("one state moves with its history"),
        "{asked:?}"
    );
    assert_eq!(
        std::fs::read_to_string(place.path("Epid.toml")).unwrap(),
        VALUES[0].1
    );
    place
        .run(&format!("{line} --yes"))
        .ends(0)
        .says("1 state moved to s3://");
    let text = std::fs::read_to_string(place.path("Epid.toml")).unwrap();
    assert_eq!(
        text,
        format!(
            "{}\n{}",
            VALUES[0].1,
            crate::bucket::backend(&prefix(&place), &between.address)
        )
    );
    place.run("preview --expect-no-changes").ends(0);
    place.run("state verify --all").ends(0);
    place.run("history").ends(0).says("epid state migrate --to s3://");
    // The sandbox stays here.
    place.run("preview --sandbox --expect-no-changes").ends(0);
    assert!(objects(&place).keys().all(|key| key.starts_with("cloud/")));
    // Somebody's copy of the folder as it was before has the old states, and nobody can tell; in this one they are told.
    drop(behind);
    let new = std::fs::read_to_string(place.path("Epid.toml")).unwrap();
    place.write("Epid.toml", VALUES[0].1);
    place
        .run("up --yes")
        .ends(2)
        .says(&format!("were moved to {to} at http://"));
    place.write("Epid.toml", &new);
    // Another clone moves them into a folder; here the bucket tells.
    let clone = place.twin();
    clone.run("state migrate --to kept --yes").ends(0);
    clone.run("preview --expect-no-changes").ends(0);
    clone.run("state verify --all").ends(0);
    for line in [
        "up --yes",
        "preview",
        "destroy --yes",
        "state ls",
        "keys rotate --yes",
    ] {
        place
            .run(line)
            .ends(2)
            .says("/kept by `epid state migrate --to kept --yes` of somebody@");
    }
    let left = objects(&place);
    assert!(
        left.keys().all(|key| !key.ends_with("/state")),
        "{:?}",
        left.keys()
    );
}
