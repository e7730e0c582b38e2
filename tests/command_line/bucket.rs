//! A bucket on the server that `EPID_S3_ENDPOINT` names, and a network before it that may be bad.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use epid_aws::Settings;
use epid_aws::s3::{Bucket, BucketPlace};

use crate::place::{Place, VALUES};

/// The bucket that each server has before the tests begin.
pub(crate) const BUCKET: &str = "epid-states";

/// Where the server is: `127.0.0.1:PORT`.
pub(crate) fn server() -> String {
    let url = std::env::var("EPID_S3_ENDPOINT").expect("EPID_S3_ENDPOINT holds the URL of an S3 service");
    url.trim_start_matches("http://").trim_end_matches('/').to_owned()
}

/// A prefix of that bucket that nothing else uses.
pub(crate) fn prefix(place: &Place) -> String {
    let unique = place
        .dir
        .path()
        .file_name()
        .unwrap()
        .to_string_lossy()
        .into_owned();
    format!("{}/team/a", unique.trim_start_matches('.'))
}

/// The table `[backend]` of a place whose states are below a prefix, reached at `address`.
pub(crate) fn backend(prefix: &str, address: &str) -> String {
    format!(
        "[backend]\ntype = \"s3\"\nbucket = \"{BUCKET}\"\nprefix = \"{prefix}\"\nregion = \"us-east-1\"\n\
         endpoint = \"http://{address}\"\n"
    )
}

/// A project that may use the bucket, and whose states are in its folder.
pub(crate) fn near() -> Place {
    let mut place = Place::with(VALUES);
    place.set("AWS_ACCESS_KEY_ID", "someone");
    place.set("AWS_SECRET_ACCESS_KEY", "secret");
    place
}

/// A project whose states are below a prefix of its own, reached at `address`.
pub(crate) fn far(address: &str) -> Place {
    let place = near();
    let text = format!("{}{}", VALUES[0].1, backend(&prefix(&place), address));
    place.write("Epid.toml", &text);
    place
}

/// Every object below the prefix of a place, without that.
pub(crate) fn objects(place: &Place) -> BTreeMap<String, Vec<u8>> {
    let at = BucketPlace {
        bucket: BUCKET.to_owned(),
        region: Some("us-east-1".to_owned()),
        endpoint: Some(format!("http://{}", server())),
    };
    let prefix = format!("{}/", prefix(place));
    let look = async {
        let settings = Settings::ordinary().with_credentials("someone", "secret");
        let bucket = Bucket::connect(&settings, &at).await.unwrap();
        let mut found = BTreeMap::new();
        for key in bucket.list(&prefix).await.unwrap() {
            let object = bucket.get(&key).await.unwrap().unwrap();
            found.insert(key[prefix.len()..].to_owned(), object.bytes);
        }
        found
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.unwrap().block_on(look)
}

/// What becomes of a request on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Pass,
    /// It does not arrive.
    Lost,
    /// It arrives, and the answer does not.
    AnswerLost,
    /// It arrives some time after the connection broke.
    Late,
    /// It takes its time.
    Slow,
}

/// A good network.
pub(crate) fn good(_: usize) -> Fate {
    Fate::Pass
}

/// Every third or so has a fate.
pub(crate) fn bad(number: usize) -> Fate {
    match number % 13 {
        2 => Fate::Lost,
        5 => Fate::AnswerLost,
        7 => Fate::Late,
        10 => Fate::Slow,
        _ => Fate::Pass,
    }
}

/// Stands between epid and the server: counts writes, and deals with each request as a script says.
pub(crate) struct Between {
    pub(crate) address: String,
    puts: Arc<AtomicUsize>,
}

impl Between {
    pub(crate) fn new(script: fn(usize) -> Fate) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (puts, requests) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let counted = puts.clone();
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (puts, requests) = (counted.clone(), requests.clone());
                let client = client.unwrap();
                std::thread::spawn(move || carry(client, script, &puts, &requests));
            }
        });
        Self { address, puts }
    }

    /// How many there were since this was asked.
    pub(crate) fn puts(&self) -> usize {
        self.puts.swap(0, Ordering::Relaxed)
    }
}

fn carry(mut client: TcpStream, script: fn(usize) -> Fate, puts: &AtomicUsize, requests: &AtomicUsize) {
    let mut server = TcpStream::connect(server()).unwrap();
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
            match script(requests.fetch_add(1, Ordering::Relaxed)) {
                Fate::Pass => {}
                Fate::Lost => break,
                Fate::AnswerLost => drop(client.shutdown(Shutdown::Write)),
                Fate::Late => {
                    drop(client.shutdown(Shutdown::Write));
                    std::thread::sleep(Duration::from_millis(700));
                }
                Fate::Slow => std::thread::sleep(Duration::from_millis(300)),
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
