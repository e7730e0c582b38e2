//! AWS endpoints that hang, fail, throttle, reset or talk rubbish; and credentials that are missing or expired.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::place::{CLOUD, Going, Look, Place, ROLE};

/// The sandbox of a place of its own, served with time that passes.
pub(crate) struct Cloud {
    place: Place,
    _serving: Going,
    pub(crate) address: String,
}

impl Cloud {
    pub(crate) fn at_speed(speed: u32) -> Self {
        Self::of(Place::with(&[("Epid.toml", "name = \"cloud\"\n")]), speed)
    }

    /// The same world, in which time passes otherwise.
    pub(crate) fn again_at_speed(self, speed: u32) -> Self {
        self._serving.signal("INT");
        self._serving.end().ends(0);
        Self::of(self.place, speed)
    }

    fn of(place: Place, speed: u32) -> Self {
        let mut serving = place.start(&format!("sandbox serve --port 0 --json --speed {speed}"));
        let line = serving.until(&["serving"]);
        let event: serde_json::Value = serde_json::from_str(&line).unwrap();
        let address = event["aws"].as_str().unwrap().trim_start_matches("http://");
        Self {
            address: address.to_owned(),
            place,
            _serving: serving,
        }
    }

    /// What exists there; it ends.
    pub(crate) fn counts(self) -> std::collections::BTreeMap<&'static str, usize> {
        self._serving.signal("INT");
        self._serving.end().ends(0);
        Look::at(&self.place).counts()
    }
}

/// What becomes of a request on its way.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fate {
    Pass,
    /// No answer, ever.
    Hang,
    Reset,
    /// It took effect, and the answer is lost.
    Lose,
    Answer(u16, &'static str),
    /// A captive portal's page.
    Page,
    Rubbish,
    /// Byte by byte.
    Slow,
}

type Script = dyn FnMut(&str) -> Fate + Send;

/// A server between epid and a cloud that deals with requests as a script says.
struct Between {
    address: String,
    /// The actions that were asked for, in order.
    asked: Arc<Mutex<Vec<String>>>,
}

impl Between {
    fn new(cloud: Option<&Cloud>, script: impl FnMut(&str) -> Fate + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let to = cloud.map(|cloud| cloud.address.clone());
        let script: Arc<Mutex<Box<Script>>> = Arc::new(Mutex::new(Box::new(script)));
        let heard = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (to, script, heard) = (to.clone(), Arc::clone(&script), Arc::clone(&heard));
                std::thread::spawn(move || serve(stream, to.as_deref(), &script, &heard));
            }
        });
        Self { address, asked }
    }

    fn times(&self, action: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|a| *a == action).count()
    }
}

fn serve(mut stream: TcpStream, to: Option<&str>, script: &Mutex<Box<Script>>, heard: &Mutex<Vec<String>>) {
    let Some(request) = read(&mut stream) else { return };
    let text = String::from_utf8_lossy(&request).into_owned();
    let action = text
        .split(['&', '\n'])
        .find_map(|part| part.strip_prefix("Action="))
        .unwrap_or("?")
        .to_owned();
    heard.lock().unwrap().push(action.clone());
    let fate = script.lock().unwrap()(&action);
    match fate {
        Fate::Hang => {
            // Until the other side gives up.
            drop(stream.read(&mut [0]));
        }
        Fate::Reset => {}
        Fate::Answer(status, body) => {
            let head = format!(
                "HTTP/1.1 {status} Said\r\ncontent-type: text/xml\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            drop(stream.write_all((head + body).as_bytes()));
        }
        Fate::Page => {
            const PAGE: &str = "<html><head><title>Log in</title></head><body><p>Welcome</p></body></html>";
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                PAGE.len()
            );
            drop(stream.write_all((head + PAGE).as_bytes()));
        }
        Fate::Rubbish => drop(stream.write_all(b"\x00\xffthis is no HTTP\r\n\r\n")),
        Fate::Pass | Fate::Lose | Fate::Slow => {
            let Some(answer) = to.and_then(|to| forward(to, &request)) else {
                return;
            };
            match fate {
                Fate::Lose => {}
                Fate::Slow => {
                    for byte in answer {
                        if stream.write_all(&[byte]).is_err() {
                            return;
                        }
                    }
                }
                _ => drop(stream.write_all(&answer)),
            }
        }
    }
}

/// A whole request, told to close its connection.
fn read(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut part = [0; 4096];
    loop {
        if let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
            let length: usize = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length:"))
                .map_or(0, |length| length.trim().parse().unwrap());
            if bytes.len() >= end + 4 + length {
                let close = b"\r\nconnection: close".to_vec();
                return Some([&bytes[..end], &close, &bytes[end..]].concat());
            }
        }
        match stream.read(&mut part) {
            Ok(0) | Err(_) => return None,
            Ok(n) => bytes.extend(&part[..n]),
        }
    }
}

fn forward(to: &str, request: &[u8]) -> Option<Vec<u8>> {
    let mut stream = TcpStream::connect(to).ok()?;
    stream.write_all(request).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    Some(answer)
}

/// A place whose AWS is at an address.
pub(crate) fn towards(mut place: Place, address: &str) -> Place {
    place.set("AWS_ENDPOINT_URL", &format!("http://{address}"));
    place.set("AWS_REGION", "us-east-1");
    place.set("AWS_ACCESS_KEY_ID", "AKIASIMULATED0000000");
    place.set("AWS_SECRET_ACCESS_KEY", "sandbox");
    place
}

/// Once against a script, then against the cloud itself: then all is well.
#[track_caller]
fn heals(cloud: &Cloud, place: Place) {
    let place = towards(place, &cloud.address);
    place.run("up --yes").ends(0);
    place.run("preview --expect-no-changes --refresh").ends(0);
    place.run("up --yes").ends(0).says("no changes");
    assert!(
        place
            .run("stack output arn")
            .ends(0)
            .out
            .starts_with("arn:aws:iam::")
    );
    place.run("destroy --yes").ends(0);
}

/// The answer to the first of some requests for `action`, the others pass.
fn first(action: &'static str, times: usize, fate: Fate) -> impl FnMut(&str) -> Fate + Send {
    let mut left = times;
    move |asked| {
        if asked == action && left > 0 {
            left -= 1;
            fate
        } else {
            Fate::Pass
        }
    }
}

const THROTTLED: Fate = Fate::Answer(
    400,
    "<ErrorResponse><Error><Type>Sender</Type><Code>Throttling</Code><Message>Rate exceeded</Message></Error></ErrorResponse>",
);
const BROKEN: Fate = Fate::Answer(
    500,
    "<ErrorResponse><Error><Type>Receiver</Type><Code>InternalFailure</Code><Message>oh</Message></Error></ErrorResponse>",
);
const EXPIRED: Fate = Fate::Answer(
    403,
    "<ErrorResponse><Error><Type>Sender</Type><Code>ExpiredToken</Code><Message>expired</Message></Error></ErrorResponse>",
);
const DENIED: Fate = Fate::Answer(
    403,
    "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>no iam:CreateRole</Message></Error></ErrorResponse>",
);

#[test]
fn what_passes_is_tried_again_and_comes_to_a_good_end() {
    let cloud = Cloud::at_speed(1000);
    for (name, fate, times) in [
        ("throttled", THROTTLED, 2),
        ("broken", BROKEN, 1),
        ("reset", Fate::Reset, 1),
        ("lost", Fate::Lose, 1),
        ("rubbish", Fate::Rubbish, 1),
        ("slow", Fate::Slow, 1),
    ] {
        let between = Between::new(Some(&cloud), first("CreateRole", times, fate));
        let place = towards(Place::with(ROLE), &between.address);
        let ran = place.run("up --yes").ends(0);
        assert!(ran.out.contains("1 created"), "{name}: {ran:?}");
        assert!(between.times("CreateRole") <= times + 1, "{name}: sent too often");
        place.run("preview --expect-no-changes --refresh").ends(0);
        heals(&cloud, place);
    }
}

#[test]
fn what_is_refused_is_said_and_the_next_run_goes_on() {
    let cloud = Cloud::at_speed(1000);
    for (fate, texts) in [
        (EXPIRED, ["ExpiredToken", "aws sso login"]),
        (DENIED, ["AccessDenied", "iam:CreateRole"]),
    ] {
        let between = Between::new(Some(&cloud), first("CreateRole", 9, fate));
        let place = towards(Place::with(ROLE), &between.address);
        let begun = Instant::now();
        let ran = place.run("up --yes").ends(1);
        assert!(begun.elapsed() < Duration::from_secs(20));
        for text in texts {
            assert!(
                ran.out.contains(text) || ran.err.contains(text),
                "{text}: {ran:?}"
            );
        }
        assert_eq!(
            between.times("CreateRole"),
            1,
            "what is refused is not tried again"
        );
        // It is known that nothing happened.
        let left = place.run("state ls").ends(0);
        assert!(!left.out.contains("not known"), "{left:?}");
        heals(&cloud, place);
    }
}

#[test]
fn an_account_that_cannot_be_asked_stops_everything_before_it_begins() {
    let cloud = Cloud::at_speed(1000);
    let between = Between::new(Some(&cloud), |_| EXPIRED);
    let place = towards(Place::with(ROLE), &between.address);
    place.run("up --yes").ends(1).says("aws sso login");
    assert_eq!(between.times("CreateRole"), 0);
    // Nobody is there at all.
    let place = towards(place, "127.0.0.1:9");
    let begun = Instant::now();
    place.run("up --yes").ends(1).says("AWS_ENDPOINT_URL");
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    heals(&cloud, place);
}

#[test]
fn without_credentials_it_is_said_how_to_give_some() {
    let mut place = Place::with(ROLE);
    // The services that only a machine in AWS has.
    place.set("AWS_EC2_METADATA_DISABLED", "true");
    let ran = place.run("up --yes").ends(1);
    for text in ["no AWS credentials", "aws sso login", "AWS_PROFILE"] {
        assert!(
            ran.out.contains(text) || ran.err.contains(text),
            "{text}: {ran:?}"
        );
    }
    assert!(!ran.out.contains("created"), "{ran:?}");
    // A preview of what does not exist needs none.
    place.run("preview").ends(0);
}

#[test]
fn what_hangs_is_given_up_in_time_and_found_later() {
    let cloud = Cloud::at_speed(1000);
    let between = Between::new(Some(&cloud), first("CreateRole", 99, Fate::Hang));
    let place = Place::with(ROLE);
    let text = ROLE[1].1.replace(
        "[outputs]",
        "[resources.role.options]\ntimeouts.create = \"2s\"\n[outputs]",
    );
    place.write("stacks/role.toml", &text);
    let place = towards(place, &between.address);
    let begun = Instant::now();
    place.run("up --yes").ends(1);
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    heals(&cloud, place);
}

#[test]
fn a_network_on_a_bad_line_is_made_once() {
    let cloud = Cloud::at_speed(1000);
    let mut n = 0_u32;
    let between = Between::new(Some(&cloud), move |action| {
        n = n.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        match n >> 28 {
            _ if action == "GetCallerIdentity" => Fate::Pass,
            0 => Fate::Lose,
            1 => Fate::Reset,
            _ => Fate::Pass,
        }
    });
    let place = towards(Place::with(CLOUD), &between.address);
    // However this ends, the next one on a good line makes it right.
    let ran = place.run("up --yes");
    assert!(matches!(ran.code, Some(0 | 1)), "{ran:?}");
    let place = towards(place, &cloud.address);
    place.run("up --yes").ends(0);
    place.run("preview --expect-no-changes --refresh").ends(0);
    let all = cloud.counts();
    let clean = Place::with(CLOUD);
    clean.run("up --sandbox --yes").ends(0);
    assert_eq!(all, Look::at(&clean).counts());
}

#[test]
fn a_network_whose_answers_are_lost_is_finished_by_the_same_run() {
    let cloud = Cloud::at_speed(1000);
    let mut lost = vec!["CreateVpc", "CreateSubnet", "CreateInternetGateway"];
    let between = Between::new(Some(&cloud), move |action| {
        match lost.iter().position(|create| *create == action) {
            Some(at) => {
                lost.remove(at);
                Fate::Lose
            }
            None => Fate::Pass,
        }
    });
    let place = towards(Place::with(CLOUD), &between.address);
    place.run("up --yes").ends(0);
    assert_eq!(between.times("CreateVpc"), 1);
    place.run("preview --expect-no-changes --refresh").ends(0);
    let clean = Place::with(CLOUD);
    clean.run("up --sandbox --yes").ends(0);
    assert_eq!(cloud.counts(), Look::at(&clean).counts());
}

#[test]
fn what_a_captive_portal_answers_does_not_mean_that_anything_is_gone() {
    let cloud = Cloud::at_speed(1000);
    let place = towards(Place::with(CLOUD), &cloud.address);
    place.run("up --yes").ends(0);
    let between = Between::new(Some(&cloud), |action| match action {
        "GetCallerIdentity" => Fate::Pass,
        _ => Fate::Page,
    });
    let place = towards(place, &between.address);
    for line in ["refresh --accept --yes", "up --refresh --yes"] {
        let ran = place.run(line).ends(1);
        for text in [
            "cannot be read: it is no Describe",
            "Response (text/html)",
            "captive portal",
        ] {
            assert!(
                ran.out.contains(text) || ran.err.contains(text),
                "{line}: {text}: {ran:?}"
            );
        }
    }
    let place = towards(place, &cloud.address);
    place.run("preview --expect-no-changes --refresh").ends(0);
}

#[test]
fn a_plan_says_what_an_earlier_run_left_unfinished() {
    let cloud = Cloud::at_speed(1000);
    let between = Between::new(Some(&cloud), first("ModifyVpcAttribute", 99, DENIED));
    let place = towards(Place::with(CLOUD), &between.address);
    // Not worded as EC2 words it.
    place.run("up --yes").ends(1).says("HTTP status 403");
    let place = towards(place, &cloud.address);
    place
        .run("preview")
        .ends(0)
        .says("left unfinished by an earlier run: set DNS attributes");
    place.run("up --yes").ends(0);
    place.run("preview --expect-no-changes --refresh").ends(0);
}
