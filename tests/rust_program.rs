//! A program in Rust is as good as one in TOML: `examples/services.rs` beside `stacks/programs/services.toml`.

#![cfg(feature = "sandbox")]
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test that lays projects out and runs programs; what fails fails it"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

const FILES: [&str; 6] = [
    "Epid.toml",
    "stacks/dev.toml",
    "stacks/prod.toml",
    "stacks/platform.toml",
    "stacks/programs/services.toml",
    "stacks/programs/cluster.toml",
];

/// A copy of this repository's project. With `rust`, dev and prod run the program in Rust.
fn project(rust: bool) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("stacks/programs")).unwrap();
    for file in FILES {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
        let text = if rust {
            text.replace("programs/services.toml", "../examples/services.rs")
        } else {
            text
        };
        fs::write(folder.path().join(file), text).unwrap();
    }
    folder
}

/// The binary of the example. `cargo test` builds it, `cargo test --test rust_program` does not.
fn example() -> PathBuf {
    let epid = Path::new(env!("CARGO_BIN_EXE_epid"));
    let folder = epid.parent().unwrap();
    let path = folder.join("examples/services");
    let written = |path: &Path| fs::metadata(path).and_then(|m| m.modified()).ok();
    // Of one build, both are written within minutes.
    let fresh = written(&path).is_some_and(|time| time + Duration::from_secs(900) > written(epid).unwrap());
    if !fresh {
        let mut build = Command::new(env!("CARGO"));
        build.args([
            "build",
            "--example",
            "services",
            "--locked",
            "--quiet",
            "--target-dir",
        ]);
        build
            .arg(folder.parent().unwrap())
            .current_dir(env!("CARGO_MANIFEST_DIR"));
        if folder.ends_with("release") {
            build.arg("--release");
        }
        assert!(build.status().unwrap().success());
    }
    path
}

fn run(binary: &Path, folder: &Path, arguments: &str) -> Output {
    let mut command = Command::new(binary);
    command.args(arguments.split_whitespace()).current_dir(folder);
    command
        .env("XDG_STATE_HOME", folder.join("state"))
        .env_remove("EPID_STACK")
        .env_remove("EPID_SANDBOX")
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// What a plan says of resources, without the places they were declared at.
fn placeless(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Object(map) => {
            map.remove("source");
            map.remove("place");
            map.values_mut().for_each(placeless);
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(placeless),
        _ => {}
    }
}

fn plan(output: &Output) -> Vec<serde_json::Value> {
    assert!(output.status.success(), "{}", said(output));
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let mut lines: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    lines.iter_mut().for_each(placeless);
    lines
}

#[test]
fn both_forms_give_the_same_plan_and_the_example_has_the_whole_command_line() {
    let (epid, services) = (PathBuf::from(env!("CARGO_BIN_EXE_epid")), example());
    let (toml, rust) = (project(false), project(true));
    // The platform's outputs are there, so that the plans are as sharp as can be.
    for folder in [&toml, &rust] {
        let done = run(&epid, folder.path(), "up --stack platform --sandbox --yes");
        assert!(done.status.success(), "{}", said(&done));
    }
    for stack in ["dev", "prod"] {
        let preview = format!("preview --stack {stack} --sandbox --json");
        let (one, other) = (
            run(&epid, toml.path(), &preview),
            run(&services, rust.path(), &preview),
        );
        let (one, other) = (plan(&one), plan(&other));
        assert!(
            one.iter().any(|line| line.to_string().contains("curator")),
            "{one:?}"
        );
        assert_eq!(one, other);
    }
    // What one form made the other finds as declared.
    let up = run(&services, rust.path(), "up --stack dev --sandbox --yes");
    assert!(up.status.success(), "{}", said(&up));
    for file in FILES {
        fs::copy(toml.path().join(file), rust.path().join(file)).unwrap();
    }
    let again = run(
        &epid,
        rust.path(),
        "preview --stack dev --sandbox --expect-no-changes",
    );
    assert!(again.status.success(), "{}", said(&again));
}

#[test]
fn stacks_and_binaries_that_do_not_fit_are_told_apart() {
    let (epid, services) = (PathBuf::from(env!("CARGO_BIN_EXE_epid")), example());
    let (toml, rust) = (project(false), project(true));
    let told = |binary: &Path, folder: &Path, arguments: &str| {
        let output = run(binary, folder, arguments);
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        said(&output)
    };
    insta::assert_snapshot!(told(&epid, rust.path(), "preview --stack dev --sandbox"), @r#"
    error: examples/services.rs is a program in Rust, which only its own binary runs
     --> stacks/dev.toml:2:11
      |
    2 | program = "../examples/services.rs"
      |           ^^^^^^^^^^^^^^^^^^^^^^^^^
      |
      = help: that binary has this whole command line: cargo run -- preview

    1 error
    "#);
    insta::assert_snapshot!(told(&services, toml.path(), "preview --stack dev --sandbox"), @r#"
    error: no stack of this project runs examples/services.rs
      help: write program = "../examples/services.rs" into the stacks that run it

    1 error
    "#);
    let dev = rust.path().join("stacks/dev.toml");
    let text = fs::read_to_string(&dev).unwrap();
    fs::write(&dev, text.replace("services.rs", "others.rs")).unwrap();
    insta::assert_snapshot!(told(&services, rust.path(), "preview --stack dev --sandbox"), @r#"
    error: this stack runs examples/others.rs, and this binary is examples/services.rs
     --> stacks/dev.toml:2:11
      |
    2 | program = "../examples/others.rs"
      |           ^^^^^^^^^^^^^^^^^^^^^^^ run the stack with the binary of its own program

    1 error
    "#);
    // A stack that names none runs the program that is there; one in TOML runs its own.
    fs::write(&dev, text.replace("program = ", "# ")).unwrap();
    let done = run(&services, rust.path(), "preview --all --sandbox");
    assert!(done.status.success(), "{}", said(&done));
}
