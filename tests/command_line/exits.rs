//! Exit codes and streams.

use std::io::Read as _;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use crate::endpoints::{Cloud, towards};
use crate::place::{Going, Place, ROLE, VALUES};

#[test]
fn each_exit_code_is_what_the_help_says() {
    let place = Place::with(VALUES);
    place.run("--help").ends(0).says("130  interrupted");
    place.run("up --yes").ends(0);
    place.run("preview --expect-no-changes").ends(0);
    place.run("up --bogus").ends(2).says("--bogus");
    place
        .run("up --stack tow")
        .ends(2)
        .says("there is no stack `tow`");
    place.write("stacks/one.toml", "[resources.a]\ntype = \"epid:data:Valu\"\n");
    let wrong = place
        .run("preview")
        .ends(2)
        .says("did you mean `epid:data:Value`?");
    assert!(wrong.out.is_empty(), "{}", wrong.out);
    place.write(
        "stacks/one.toml",
        "[resources.a]\ntype = \"epid:data:Value\"\nproperties.value = \"changed\"\n",
    );
    place.run("preview").ends(0);
    place.run("preview --expect-no-changes").ends(3);
    // Nothing listens there: it fails, and the summary says what.
    place.write(
        "stacks/one.toml",
        "[resources.a]\ntype = \"kubernetes:v1:ConfigMap\"\nproperties.metadata.name = \"a\"\n\
         options.provider = \"k\"\n[providers.k]\ntype = \"kubernetes\"\nproperties.kubeconfig = \"/nowhere\"\n",
    );
    place.run("up --yes").ends(1).says("/nowhere");
}

#[test]
fn results_go_to_stdout_and_everything_else_to_stderr() {
    let place = Place::with(VALUES);
    let up = place.run("up --yes").ends(0);
    assert!(up.out.contains("3 created") && up.err.is_empty(), "{up:?}");
    assert!(!up.out.contains('\u{1b}'), "colour without a terminal");
    let output = place.run("stack output b").ends(0);
    assert_eq!((output.out.as_str(), output.err.as_str()), ("1-2\n", ""));
    let missing = place.run("stack output c").ends(2);
    assert!(
        missing.out.is_empty() && missing.err.contains("`c`"),
        "{missing:?}"
    );
    let colour = place.run("--color always preview --replace a").ends(0);
    assert!(colour.out.contains('\u{1b}'));
}

#[test]
fn no_color_wins_over_a_wish_for_colour_in_the_environment() {
    let mut place = Place::with(VALUES);
    place.set("CLICOLOR_FORCE", "1");
    assert!(place.run("preview").ends(0).out.contains('\u{1b}'));
    place.set("NO_COLOR", "1");
    assert!(!place.run("preview").ends(0).out.contains('\u{1b}'));
}

#[test]
fn json_is_one_schema_on_stdout_errors_included() {
    let place = Place::with(VALUES);
    let of = |line: &str, code: i32, event: &str| {
        let ran = place.run(line).ends(code);
        let events = ran.events();
        assert!(ran.err.is_empty(), "{line}: {}", ran.err);
        assert!(
            events.iter().any(|e| e["event"] == event),
            "{line} has no {event}: {}",
            ran.out
        );
    };
    of("preview --json --stack nothing", 2, "error");
    of("up --json", 2, "error");
    of("up --json --bogus", 2, "error");
    of("up --json --yes", 0, "result");
    of("preview --json --replace a", 0, "plan");
    of("preview --json --save plan", 0, "saved");
    of("stack ls --json", 0, "stack");
    of("stack output --json", 0, "outputs");
    of("stack output b --json", 0, "output");
    of("state ls --json", 0, "resource");
    of("state show a --json", 0, "resource");
    of("state unprotect a --json", 0, "done");
    of("state protect a --json --yes", 0, "stateChanges");
    of("state rollback --json --yes", 0, "done");
    of("state mv c d --json --yes", 0, "done");
    of("state mv d c --json --yes", 0, "done");
    of("state verify --json", 0, "verified");
    of("state export x --json", 0, "done");
    of("state import x --json --yes", 0, "done");
    of("state rm d --json --yes", 2, "error");
    of("history --json", 0, "run");
    of("history 1 --json", 0, "run");
    of("graph --json", 0, "graph");
    of("completions bash --json", 0, "completions");
    of("config set x 1 --json", 0, "done");
    of("config ls --json", 0, "setting");
    of("config get x --json", 0, "setting");
    of("config rm x --json", 0, "done");
    of("destroy --json --yes", 0, "result");
    of("stack rm --json --yes", 0, "done");
    of("sandbox reset --json --yes", 0, "done");
}

#[test]
fn nobody_to_ask_is_an_invalid_call_and_nothing_is_done() {
    let place = Place::with(VALUES);
    let ran = place.run("up").ends(2).says("--yes");
    assert!(ran.err.contains("--yes"), "{ran:?}");
    let closed = place.bash("epid up <&-").ends(2).says("--yes");
    assert!(closed.err.contains("--yes"), "{closed:?}");
    assert!(place.files(".epid").is_empty(), "a question left files");
    place.run("up --yes").ends(0);
    place.bash("epid destroy <&-").ends(2).says("--yes");
    place.run("preview --expect-no-changes").ends(0);
}

#[test]
fn a_reader_that_goes_away_does_not_stop_a_run() {
    let place = Place::with(VALUES);
    let ran = place.bash("set -o pipefail; epid up --yes | head -n 1").ends(0);
    assert_eq!(ran.out.lines().count(), 1);
    place.run("up --yes").ends(0).says("no changes");
    // Closed before the first byte, and both streams.
    place.write(
        "stacks/one.toml",
        "[resources.a]\ntype = \"epid:data:Value\"\nproperties.value = \"9\"\n",
    );
    let mut command = place.command("up --yes --json");
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop((child.stdout.take(), child.stderr.take()));
    assert_eq!(child.wait().unwrap().code(), Some(0));
    place.run("preview --expect-no-changes").ends(0);
    place.bash("epid graph >&-").ends(0);
    place.bash("epid preview --stack nothing 2>&-").ends(2);
}

#[test]
#[ignore = "needs `script` of util-linux, which gives a terminal"]
fn a_terminal_is_drawn_on_and_asks() {
    let place = Place::with(VALUES);
    let answered = |answer: &str| {
        let program = env!("CARGO_BIN_EXE_epid");
        place.bash(&format!(
            "printf '{answer}\\n' | script -qec '{program} up' /dev/null"
        ))
    };
    answered("no").ends(0).says("[y/N]").says("nothing was done");
    place.run("preview --expect-no-changes").ends(3);
    answered("yes").ends(0).says("3 created");
    place.run("preview --expect-no-changes").ends(0);
}

/// epid on a terminal, and what it has drawn there once that contains a text.
fn drawn(place: &Place, line: &str, until: &str) -> (Child, String) {
    let mut command = Command::new("script");
    let line = format!("{} {line}", env!("CARGO_BIN_EXE_epid"));
    place.surround(&mut command);
    command
        .args(["-qec", &line, "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let out = child.stdout.as_mut().unwrap();
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains(until) {
        let mut byte = [0];
        assert_eq!(out.read(&mut byte).unwrap(), 1, "it ended before {until:?}");
        seen.extend(byte);
    }
    (child, String::from_utf8_lossy(&seen).into_owned())
}

#[test]
#[ignore = "needs `script` of util-linux, which gives a terminal"]
fn who_waits_for_what_is_read_is_told_so_on_a_terminal() {
    let cloud = Cloud::at_speed(1000);
    let place = towards(Place::with(ROLE), &cloud.address);
    place.run("up --yes").ends(0);
    // Who asks here who they are is not answered.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = towards(place, &listener.local_addr().unwrap().to_string());
    let (mut child, _) = drawn(&place, "refresh", "reading 1 resource of role…");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
#[ignore = "needs `script` of util-linux, which gives a terminal"]
fn an_interrupted_question_is_no_answer() {
    let place = Place::with(VALUES);
    let (mut child, seen) = drawn(&place, "up", "[y/N]");
    let mut keys = child.stdin.take().unwrap();
    std::io::Write::write_all(&mut keys, b"\x03").unwrap();
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(130), "{seen}");
    place.run("preview --expect-no-changes").ends(3);
}

#[test]
fn words_that_are_no_text_are_refused_without_a_panic() {
    use std::os::unix::ffi::OsStrExt as _;
    let place = Place::with(VALUES);
    let odd = std::ffi::OsStr::from_bytes(b"\xff");
    for option in ["--stack", "--plan", "--cwd"] {
        let mut command = place.command("up --yes");
        command.args([std::ffi::OsStr::new(option), odd]);
        let ran = Going::new(command).end();
        assert_eq!(ran.code, Some(2), "{option}: {ran:?}");
        assert!(!ran.err.contains("panicked"), "{}", ran.err);
    }
}
