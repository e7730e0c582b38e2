//! How fast a state is written, read and replayed, on the disk of the temporary directory. Prints figures.
//!
//!     cargo bench --bench state                the journal and its closing
//!     cargo bench --bench state -- replay      the replay alone, beside two peers
//!
//! The peers of a replay have the same 50,001 records to read: as one file of plain JSON, parsed and nothing else, which is the
//! least that a tool with its state in such a file must do; and, where there is a `terraform`, its own `terraform state list`.
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a benchmark measures time and prints it"
)]

use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use epid::state::blobs::FolderBlobs;
use epid::state::{
    Change, Ending, Entropy, Entry, Holder, Intent, JournalEntry, KeyRing, Location, Opening, Session, Store,
};
use epid_provider::{Kind, Operation, Record, Timestamp, Token, Urn, Value};

type Outcome = Result<(), Box<dyn Error>>;

fn opening() -> Opening {
    let holder = Holder {
        pid: 0,
        user: String::new(),
        host: String::new(),
        since: Timestamp(0),
        command: String::new(),
        job: None,
    };
    Opening::new(holder).create()
}

/// Begin and end of a resource of about 512 bytes.
fn make(number: u64) -> Result<[JournalEntry; 2], Box<dyn Error>> {
    let kind = Kind::parse("aws:ec2:Vpc")?;
    let property = |n: u64| {
        (
            format!("property{n}"),
            Value::str("a text of about thirty bytes ..."),
        )
    };
    let entry = Box::new(Entry::new(Record {
        urn: Urn::new("p", "dev", &kind, &format!("v{number}")),
        kind,
        id: "vpc-0123456789abcdef0".into(),
        applied: Value::map((0..8).map(property)),
        resolved: Value::map::<&str>([]),
        outputs: Value::map((8..10).map(property)),
        incomplete: Vec::new(),
        attempted: Vec::new(),
    }));
    let token = Token::from_bytes(u128::from(number).to_be_bytes());
    let intent = Intent {
        token: token.clone(),
        operation: Operation::Create,
        entry: entry.clone(),
        before: None,
        partial: None,
        begun: Timestamp(0),
    };
    let end = JournalEntry::End {
        token: Some(token),
        ending: Ending::Done,
        changes: vec![Change::Put(entry)],
        at: Timestamp(1),
    };
    Ok([JournalEntry::Begin(Box::new(intent)), end])
}

fn said(what: &str, since: Instant) {
    println!("{what:<60} {:>9.3} s", since.elapsed().as_secs_f64());
}

/// `steps` resources, `wide` at a time: each begins durably before it ends.
async fn steps(store: &Store, location: &Location, steps: u64, wide: u64) -> Result<Session, Box<dyn Error>> {
    let session = Session::open(store, location, opening()).await?;
    let start = Instant::now();
    for from in (0..steps).step_by(usize::try_from(wide)?) {
        let (mut begun, mut ends) = (Vec::new(), Vec::new());
        for number in from..(from + wide).min(steps) {
            let [begin, end] = make(number)?;
            begun.push(session.append(begin)?);
            ends.push(end);
        }
        for ticket in begun {
            session.durable(ticket).await?;
        }
        for end in ends {
            // Whatever begins next proves it durable.
            let _ticket = session.append(end)?;
        }
    }
    said(&format!("{steps} steps, {wide} wide, each begun durably"), start);
    Ok(session)
}

/// Resources of the state that is replayed; each has a `begin` and an `end` in the journal.
const REPLAYED: u64 = 50_001;
/// How often each is measured.
const ROUNDS: usize = 5;

/// The median of what `work` takes.
fn median<R>(mut work: impl FnMut() -> Result<R, Box<dyn Error>>) -> Result<Duration, Box<dyn Error>> {
    let mut took = Vec::new();
    for _ in 0..ROUNDS {
        let start = Instant::now();
        std::hint::black_box(work()?);
        took.push(start.elapsed());
    }
    took.sort();
    Ok(took[ROUNDS / 2])
}

/// The records as Terraform keeps them.
fn plain() -> Result<Vec<u8>, Box<dyn Error>> {
    let record = |number: u64| {
        let properties = (0..8).map(|n| (format!("property{n}"), "a text of about thirty bytes ...".into()));
        let input: serde_json::Map<String, serde_json::Value> = properties.collect();
        serde_json::json!({
            "mode": "managed",
            "type": "terraform_data",
            "name": format!("v{number}"),
            "provider": "provider[\"terraform.io/builtin/terraform\"]",
            "instances": [{
                "schema_version": 0,
                "attributes": {
                    "id": format!("vpc-{number:017}"),
                    "input": {"value": input, "type": "dynamic"},
                    "output": null,
                    "triggers_replace": null,
                },
                "sensitive_attributes": [],
            }],
        })
    };
    let state = serde_json::json!({
        "version": 4,
        "terraform_version": "1.0.0",
        "serial": 1,
        "lineage": "00000000-0000-0000-0000-000000000000",
        "outputs": {},
        "resources": (0..REPLAYED).map(record).collect::<Vec<_>>(),
    });
    Ok(serde_json::to_vec(&state)?)
}

/// What `terraform state list` takes; `None` where there is none.
fn terraform(folder: &Path) -> Result<Option<Duration>, Box<dyn Error>> {
    let list = || {
        Command::new("terraform")
            .args(["state", "list"])
            .current_dir(folder)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
    };
    if list().is_err() {
        return Ok(None);
    }
    median(|| match list()?.success() {
        true => Ok(()),
        false => Err("terraform state list failed".into()),
    })
    .map(Some)
}

/// The replay of a journal beside its peers.
async fn replay(store: impl Fn() -> Store, folder: &Path) -> Outcome {
    let location = Location::new("cloud", "p", "replay");
    let session = steps(&store(), &location, REPLAYED - 1, 1_000).await?;
    for ticket in make(REPLAYED - 1)?.map(|entry| session.append(entry)) {
        session.durable(ticket?).await?;
    }
    drop(session);
    let mut took = Vec::new();
    for _ in 0..ROUNDS {
        // Whoever has read it before would not read it again.
        let store = store();
        let start = Instant::now();
        let read = store.read(&location).await?;
        took.push(start.elapsed());
        let records = read.map(|(state, _)| state.entries.len());
        if records != usize::try_from(REPLAYED).ok() {
            return Err(format!("{records:?} records came back").into());
        }
    }
    took.sort();
    let ours = took[ROUNDS / 2];
    let row = |what: &str, took: Duration| {
        let times = took.as_secs_f64() / ours.as_secs_f64();
        println!("{what:<60} {:>9.3} s {times:>8.2} ×", took.as_secs_f64());
    };
    row(
        &format!("replay of {} entries to {REPLAYED} records", REPLAYED * 2),
        ours,
    );
    let text = plain()?;
    row(
        &format!(
            "the records in plain JSON ({} MB), parsed",
            text.len() / 1_000_000
        ),
        median(|| Ok(serde_json::from_slice::<serde_json::Value>(&text)?))?,
    );
    fs::write(folder.join("terraform.tfstate"), &text)?;
    match terraform(folder)? {
        Some(took) => row("terraform state list", took),
        None => println!("there is no `terraform` here"),
    }
    Ok(())
}

fn main() -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    runtime.block_on(async {
        let folder = tempfile::tempdir()?;
        let entropy: Entropy = Arc::new(|bytes| {
            getrandom::fill(bytes).map_err(|error| std::io::Error::other(error.to_string()))
        });
        let keys = KeyRing::new(folder.path().join("keys"));
        let blobs = Arc::new(FolderBlobs::new(folder.path().join("state")));
        let store = || Store::new(blobs.clone(), keys.clone(), entropy.clone());
        if std::env::args().any(|argument| argument == "replay") {
            return replay(store, folder.path()).await;
        }
        let store = store();
        for wide in [1, 10, 100] {
            let location = Location::new("cloud", "p", &format!("wide{wide}"));
            steps(&store, &location, if wide == 1 { 1_000 } else { 10_000 }, wide).await?;
        }
        let location = Location::new("cloud", "p", "large");
        let session = steps(&store, &location, 50_000, 1_000).await?;
        let start = Instant::now();
        for ticket in make(50_000)?.map(|entry| session.append(entry)) {
            session.durable(ticket?).await?;
        }
        said("the last of them durable", start);
        drop(session);
        let session = Session::open(&store, &location, opening()).await?;
        let start = Instant::now();
        session.close().await?;
        said("closing: a snapshot of 50,001 records", start);
        let start = Instant::now();
        store.read(&location).await?;
        said("reading that snapshot", start);
        Ok(())
    })
}
