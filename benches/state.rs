//! How fast a state is written, read and replayed, on the disk of the temporary directory. Prints figures.
//!
//!     cargo bench --bench state
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a benchmark measures time and prints it"
)]

use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

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

fn main() -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    runtime.block_on(async {
        let folder = tempfile::tempdir()?;
        let entropy: Entropy = Arc::new(|bytes| {
            getrandom::fill(bytes).map_err(|error| std::io::Error::other(error.to_string()))
        });
        let keys = KeyRing::new(folder.path().join("keys"));
        let store = Store::new(
            Arc::new(FolderBlobs::new(folder.path().join("state"))),
            keys,
            entropy,
        );
        for wide in [1, 10, 100] {
            let location = Location::new("cloud", "p", &format!("wide{wide}"));
            steps(&store, &location, if wide == 1 { 1_000 } else { 10_000 }, wide).await?;
        }
        let location = Location::new("cloud", "p", "large");
        let session = steps(&store, &location, 50_000, 1_000).await?;
        let start = Instant::now();
        let last = make(50_000)?.map(|line| session.append(line));
        for ticket in last {
            session.durable(ticket?).await?;
        }
        said("the last of them durable", start);
        drop(session);
        let start = Instant::now();
        let entries = store.read(&location).await?.map(|(state, _)| state.entries.len());
        said(
            &format!(
                "replay of 100,002 entries to {} records",
                entries.unwrap_or_default()
            ),
            start,
        );
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
