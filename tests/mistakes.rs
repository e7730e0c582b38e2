//! Mistakes as people make them, and what `epid` says: one line for each that is wrong, with its place, all at once.
//!
//! The cases stand in `tests/mistakes/*.txt`. `== title` begins one, `-- path --` a file of its project, `-- args --` the
//! arguments (by default `preview --stack dev --sandbox`), and `-- says --` what must be printed. Without an `Epid.toml`
//! there is one that names the project. `EPID_BLESS=1 cargo test --test mistakes` writes what is printed now into the
//! cases: read the difference before it is kept.

// Most cases name kinds of the clouds, and all of them are previewed in the sandbox.
#![cfg(feature = "sandbox")]
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test that lays projects out and runs the program; what fails fails it"
)]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const PROJECT: &str = "name = \"shop\"\n";
const ARGUMENTS: &str = "preview --stack dev --sandbox";

/// A folder with files in it.
struct Project(tempfile::TempDir);

impl Project {
    fn new(files: &[(&str, &[u8])]) -> Self {
        let project = Self(tempfile::tempdir().unwrap());
        if files.iter().all(|(path, _)| !path.starts_with("Epid.toml")) {
            project.write("Epid.toml", PROJECT.as_bytes());
        }
        for (path, text) in files {
            project.write(path, text);
        }
        project
    }

    fn write(&self, path: &str, text: &[u8]) {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn run(&self, arguments: &str) -> Output {
        Command::new(env!("CARGO_BIN_EXE_epid"))
            .args(arguments.split_whitespace())
            .current_dir(self.path())
            .env_clear()
            .env("HOME", self.path())
            .output()
            .unwrap()
    }

    /// What is printed; the exit code is that of invalid input, and nothing was written.
    fn says(&self, arguments: &str) -> String {
        let output = self.run(arguments);
        let said = String::from_utf8(output.stderr).unwrap();
        let said = said.replace(&self.path().display().to_string(), "PROJECT");
        assert_eq!(
            output.status.code(),
            Some(2),
            "{said}{}",
            String::from_utf8_lossy(&output.stdout)
        );
        assert!(
            output.stdout.is_empty(),
            "{}",
            String::from_utf8_lossy(&output.stdout)
        );
        assert!(!self.path().join(".epid").exists(), "something was written");
        said
    }
}

/// One case of a file.
struct Case {
    title: String,
    sections: Vec<(String, String)>,
}

impl Case {
    fn section(&self, name: &str) -> Option<&str> {
        let found = self.sections.iter().find(|(section, _)| section == name);
        found.map(|(_, text)| text.trim_end_matches('\n'))
    }

    fn says(&self) -> String {
        let files: Vec<(&str, String)> = self
            .sections
            .iter()
            .filter(|(name, _)| name != "args" && name != "says")
            .map(|(name, text)| {
                let text = text.trim_end_matches('\n');
                let text = text
                    .replace("@LONG@", &format!("{}1", "1+".repeat(2100)))
                    .replace("@DEEP@", &format!("{}1{}", "(".repeat(100), ")".repeat(100)));
                (name.as_str(), if text.is_empty() { text } else { text + "\n" })
            })
            .collect();
        let files: Vec<(&str, &[u8])> = files
            .iter()
            .map(|(name, text)| (*name, text.as_bytes()))
            .collect();
        Project::new(&files).says(self.section("args").unwrap_or(ARGUMENTS))
    }
}

fn cases(text: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for line in text.split_inclusive('\n') {
        let bare = line.trim_end_matches('\n');
        if let Some(title) = bare.strip_prefix("== ") {
            let (title, sections) = (title.to_owned(), Vec::new());
            cases.push(Case { title, sections });
        } else if let Some(name) = bare.strip_prefix("-- ").and_then(|rest| rest.strip_suffix(" --")) {
            cases
                .last_mut()
                .unwrap()
                .sections
                .push((name.to_owned(), String::new()));
        } else if let Some((_, section)) = cases.last_mut().and_then(|case| case.sections.last_mut()) {
            section.push_str(line);
        }
    }
    cases
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mistakes")
}

#[test]
fn every_mistake_is_told_with_its_place() {
    let bless = std::env::var_os("EPID_BLESS").is_some();
    let mut wrong = String::new();
    let mut count = 0;
    let mut paths: Vec<PathBuf> = fs::read_dir(folder())
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    paths.sort();
    for path in paths {
        let text = fs::read_to_string(&path).unwrap();
        let mut blessed = String::new();
        for case in cases(&text) {
            count += 1;
            let said = case.says();
            let said = said.trim_end_matches('\n');
            if case.section("says") != Some(said) {
                let expected = case.section("says").unwrap_or_default();
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                writeln!(
                    wrong,
                    "{name}: {}\n--- expected\n{expected}\n--- said\n{said}\n",
                    case.title
                )
                .unwrap();
            }
            writeln!(blessed, "== {}", case.title).unwrap();
            for (name, text) in case.sections.iter().filter(|(name, _)| name != "says") {
                let text = text.trim_end_matches('\n');
                writeln!(
                    blessed,
                    "-- {name} --{}{text}",
                    if text.is_empty() { "" } else { "\n" }
                )
                .unwrap();
            }
            writeln!(blessed, "-- says --\n{said}\n").unwrap();
        }
        if bless {
            fs::write(&path, blessed.trim_end_matches('\n').to_owned() + "\n").unwrap();
        }
    }
    assert!(bless || wrong.is_empty(), "{wrong}");
    assert!(count > 70, "only {count} cases were found");
}

const STACK: &str = "[resources.a]\ntype = \"epid:data:Value\"\nproperties.valeu = 1\n";

#[test]
fn a_byte_order_mark_and_windows_newlines_are_no_mistakes() {
    let plain = Project::new(&[("stacks/dev.toml", STACK.as_bytes())]).says(ARGUMENTS);
    let windows = format!("\u{feff}{}", STACK.replace('\n', "\r\n"));
    let windows = Project::new(&[("stacks/dev.toml", windows.as_bytes())]).says(ARGUMENTS);
    assert_eq!(windows, plain);
    assert!(plain.contains("stacks/dev.toml:3:12"), "{plain}");
}

#[test]
fn files_that_are_no_text() {
    let latin = b"# caf\xe9\n".as_slice();
    let said = Project::new(&[("stacks/dev.toml", latin)]).says(ARGUMENTS);
    insta::assert_snapshot!(said, @r#"
    error: stacks/dev.toml is not UTF-8
    --> stacks/dev.toml:1:6
     = help: save it as UTF-8

    1 error
    "#);
    let said = Project::new(&[("stacks/dev.toml", &b"a = \"\0\"\n"[..])]).says(ARGUMENTS);
    insta::assert_snapshot!(said, @r#"
    error: this is not TOML: a control character stands here
     --> stacks/dev.toml:1:6
      |
    1 | a = "�"
      |      ^ in double quotes it is written `\u0000` with its number

    1 error
    "#);
    let utf16: Vec<u8> = STACK.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let utf16 = [&b"\xff\xfe"[..], &utf16].concat();
    let said = Project::new(&[("stacks/dev.toml", &utf16)]).says(ARGUMENTS);
    insta::assert_snapshot!(said, @r#"
    error: stacks/dev.toml is UTF-16
    --> stacks/dev.toml:1:1
     = help: save it as UTF-8

    1 error
    "#);
    let manifests = "[resources.m]\ntype = \"kubernetes:yaml:Manifests\"\nproperties.files = [\"a.yaml\"]\n";
    let said = Project::new(&[
        ("stacks/dev.toml", manifests.as_bytes()),
        ("a.yaml", b"a: \xff\n"),
    ])
    .says(ARGUMENTS);
    insta::assert_snapshot!(said, @r#"
    error: a.yaml is not UTF-8
    --> a.yaml:1:4
     = help: save it as UTF-8

    1 error
    "#);
}

#[test]
fn a_folder_in_place_of_a_file() {
    let project = Project::new(&[("stacks/dev.toml/x", b"")]);
    insta::assert_snapshot!(project.says(ARGUMENTS), @r#"
    error: stacks/dev.toml is a folder, not a file

    1 error
    "#);
    let project = Project::new(&[
        ("stacks/dev.toml", b"program = \"programs/a.toml\"\n"),
        ("stacks/programs/a.toml/x", b""),
    ]);
    insta::assert_snapshot!(project.says(ARGUMENTS), @r#"
    error: stacks/programs/a.toml is a folder, not a file
     --> stacks/dev.toml:1:11
      |
    1 | program = "programs/a.toml"
      |           ^^^^^^^^^^^^^^^^^

    1 error
    "#);
    let project = Project::new(&[("Epid.toml/x", b"")]);
    insta::assert_snapshot!(project.says(ARGUMENTS), @r#"
    error: there is no Epid.toml in PROJECT or above it
      help: run epid within a project, or name its folder with --cwd DIR
    "#);
}

#[test]
fn a_file_that_is_too_large() {
    let large = "# filling\n".repeat(2 * 1024 * 1024);
    let project = Project::new(&[("stacks/dev.toml", large.as_bytes())]);
    insta::assert_snapshot!(project.says(ARGUMENTS), @r#"
    error: stacks/dev.toml is larger than 16 MiB
      help: split it, or keep data outside of programs

    1 error
    "#);
}

#[test]
fn a_pipe_does_not_hang() {
    let project = Project::new(&[("stacks/other.toml", b"")]);
    let made = Command::new("mkfifo")
        .arg(project.path().join("stacks/dev.toml"))
        .status();
    if made.is_ok_and(|status| status.success()) {
        insta::assert_snapshot!(project.says(ARGUMENTS), @r#"
        error: stacks/dev.toml is not an ordinary file

        1 error
        "#);
    }
}

#[test]
fn no_project_at_all() {
    let project = Project::new(&[]);
    fs::remove_file(project.path().join("Epid.toml")).unwrap();
    insta::assert_snapshot!(project.says(ARGUMENTS), @r#"
    error: there is no Epid.toml in PROJECT or above it
      help: run epid within a project, or name its folder with --cwd DIR
    "#);
}

#[test]
fn deep_nesting_is_refused_and_not_fatal() {
    for (open, close) in [("[", "]"), ("{ a = ", " }")] {
        let deep = format!("[config]\na = {}1{}\n", open.repeat(5000), close.repeat(5000));
        let said = Project::new(&[("stacks/dev.toml", deep.as_bytes())]).says(ARGUMENTS);
        assert!(said.contains("nested"), "{said}");
    }
    let keys = format!("[config]\n{}a = 1\n", "a.".repeat(5000));
    let said = Project::new(&[("stacks/dev.toml", keys.as_bytes())]).says(ARGUMENTS);
    assert!(said.contains("nested"), "{said}");
}
