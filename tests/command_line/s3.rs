//! States in S3, against moto's: `EPID_MOTO_ENDPOINT=$(tests/moto/up.sh) cargo test --test command_line s3 -- --ignored`.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::place::{Place, VALUES};

/// Where moto is: `127.0.0.1:PORT`.
fn moto() -> String {
    let url = std::env::var("EPID_MOTO_ENDPOINT").expect("EPID_MOTO_ENDPOINT holds moto's URL");
    url.trim_start_matches("http://").trim_end_matches('/').to_owned()
}

/// Sends one request without credentials, which moto does not mind.
fn ask(method: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(moto()).unwrap();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: s3\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Stands between epid and moto: counts writes, and breaks some connections.
struct Between {
    address: String,
    puts: Arc<AtomicUsize>,
}

impl Between {
    /// Of every `faulty` requests one is lost, and the answer of another one.
    fn new(faulty: Option<usize>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (puts, requests) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let counted = puts.clone();
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (puts, requests) = (counted.clone(), requests.clone());
                let client = client.unwrap();
                std::thread::spawn(move || carry(client, faulty, &puts, &requests));
            }
        });
        Self { address, puts }
    }

    fn puts(&self) -> usize {
        self.puts.swap(0, Ordering::Relaxed)
    }
}

fn carry(mut client: TcpStream, faulty: Option<usize>, puts: &AtomicUsize, requests: &AtomicUsize) {
    let mut server = TcpStream::connect(moto()).unwrap();
    let (mut answers, mut back) = (server.try_clone().unwrap(), client.try_clone().unwrap());
    std::thread::spawn(move || {
        drop(std::io::copy(&mut answers, &mut back));
        drop(back.shutdown(Shutdown::Both));
    });
    let mut buffer = vec![0; 1 << 16];
    while let Ok(length) = client.read(&mut buffer) {
        let bytes = &buffer[..length];
        // One request at a time: a head begins a chunk.
        let begins = |method: &[u8]| bytes.starts_with(method);
        if begins(b"PUT /") {
            puts.fetch_add(1, Ordering::Relaxed);
        }
        if begins(b"PUT /") || begins(b"GET /") || begins(b"DELETE /") {
            let number = requests.fetch_add(1, Ordering::Relaxed);
            match faulty.map(|every| number % every) {
                Some(3) => break,
                Some(7) => {
                    // It arrives, and the answer does not.
                    drop(client.shutdown(Shutdown::Both));
                }
                _ => {}
            }
        }
        if length == 0 || server.write_all(bytes).is_err() {
            break;
        }
    }
    drop(client.shutdown(Shutdown::Both));
    // What is on its way still arrives.
    std::thread::sleep(Duration::from_millis(200));
    drop(server.shutdown(Shutdown::Both));
}

/// A project whose states are in a bucket of its own, reached at `address`.
fn place(bucket: &str, address: &str) -> Place {
    let mut place = Place::with(VALUES);
    place.write(
        "Epid.toml",
        &format!(
            "name = \"values\"\ndefaultStack = \"one\"\n[backend]\ntype = \"s3\"\nbucket = \"{bucket}\"\n\
             prefix = \"team/a\"\nregion = \"us-east-1\"\nendpoint = \"http://{address}\"\n"
        ),
    );
    place.set("AWS_ACCESS_KEY_ID", "someone");
    place.set("AWS_SECRET_ACCESS_KEY", "secret");
    assert!(ask("PUT", &format!("/{bucket}")).starts_with("HTTP/1.1 200"));
    place
}

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

#[test]
#[ignore = "needs a moto server, whose URL stands in EPID_MOTO_ENDPOINT"]
fn s3_keeps_states_and_the_project_folder_keeps_none() {
    let place = place("states-ordinary", &moto());
    place.run("up --yes").ends(0);
    place.run("preview --expect-no-changes").ends(0);
    place.run("up --yes").ends(0).says("no changes");
    place.run("stack output b").ends(0).says("1-2");
    place.run("stack ls").ends(0).says("3 resources");
    let listed = ask("GET", "/states-ordinary?list-type=2");
    for key in ["team/a/cloud/values/one/state", "team/a/cloud/values/one/lock"] {
        assert!(listed.contains(&format!("<Key>{key}</Key>")), "{listed}");
    }
    assert!(place.files(".epid/state").is_empty());
    // The sandbox and its states stay here, and need no network.
    let mut alone = place.twin();
    alone.set("AWS_ACCESS_KEY_ID", "");
    alone.write(
        "Epid.toml",
        "name = \"values\"\ndefaultStack = \"one\"\n[backend]\ntype = \"s3\"\nbucket = \"states-ordinary\"\n\
         region = \"us-east-1\"\nendpoint = \"http://127.0.0.1:9\"\n",
    );
    alone.run("up --sandbox --yes").ends(0);
    assert!(!alone.files(".epid/state").is_empty());
    // Another clone has the key and the bucket, and so the state.
    let other = place.twin();
    other.run("destroy --yes").ends(0);
    place.run("state ls").ends(0);
    place.run("stack rm --yes").ends(0);
    let listed = ask("GET", "/states-ordinary?list-type=2");
    assert!(!listed.contains("values/one/state<"), "{listed}");
}

#[test]
#[ignore = "needs a moto server, whose URL stands in EPID_MOTO_ENDPOINT"]
fn s3_takes_fewer_than_a_hundred_writes_for_a_thousand_resources() {
    let between = Between::new(None);
    let place = place("states-layers", &between.address);
    place.write("stacks/many.toml", &layers());
    place.run("up --stack many --yes").ends(0).says("1000 created");
    let puts = between.puts();
    assert!((10..100).contains(&puts), "{puts}");
    place.run("preview --stack many --expect-no-changes").ends(0);
    assert_eq!(between.puts(), 0, "a preview writes nothing");
}

#[test]
#[ignore = "needs a moto server, whose URL stands in EPID_MOTO_ENDPOINT"]
fn s3_is_used_by_one_run_at_a_time_and_a_killed_one_frees_it() {
    let mut place = place("states-races", &moto());
    place.set("CI_JOB_URL", "https://ci.example/jobs/7");
    place.write("stacks/many.toml", &layers());
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
#[ignore = "needs a moto server, whose URL stands in EPID_MOTO_ENDPOINT"]
fn s3_behind_a_network_that_loses_requests_and_answers_keeps_everything() {
    let between = Between::new(Some(11));
    let place = place("states-faults", &between.address);
    place.write("stacks/many.toml", &layers());
    place.run("up --stack many --yes").ends(0).says("1000 created");
    place.run("preview --stack many --expect-no-changes").ends(0);
    place.run("destroy --stack many --yes").ends(0);
}

#[test]
#[ignore = "needs a moto server, whose URL stands in EPID_MOTO_ENDPOINT"]
fn s3_without_the_bucket_or_credentials_says_so() {
    let mut place = place("states-mistakes", &moto());
    let text = std::fs::read_to_string(place.path("Epid.toml")).unwrap();
    place.write("Epid.toml", &text.replace("states-mistakes", "states-missing"));
    place.run("up --yes").ends(1).says("NoSuchBucket");
    place.set("AWS_ACCESS_KEY_ID", "");
    place
        .run("up --yes")
        .ends(1)
        .says("no AWS credentials were found");
}
