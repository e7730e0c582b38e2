//! `epid config`: settings and secrets are written into stack files, and nothing else in them changes.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test that lays projects out and runs the program; what fails fails it"
)]

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

const PROGRAM: &str = r#"
[config.name]
type = "string"
[config.replicas]
type = "integer"
default = 1
[config.ratio]
type = "number"
default = 0.5
[config.debug]
type = "boolean"
default = false
[config.zones]
type = "list"
default = []
[config.tags]
type = "map"
default = {}
[config.password]
type = "string"
secret = true
[config.ports]
type = "list"
secret = true
"#;

const STACK: &str =
    "# Our stack.\nprogram = \"programs/p.toml\"   # shared\n\n[config]\n# who\nname = \"a\"  # short\n";

struct Project(tempfile::TempDir);

/// How a command ended.
struct Ended {
    code: i32,
    out: String,
    err: String,
}

impl Project {
    fn new(stack: &str) -> Self {
        let project = Self(tempfile::tempdir().unwrap());
        fs::create_dir_all(project.path().join("stacks/programs")).unwrap();
        fs::write(project.path().join("Epid.toml"), "name = \"shop\"\n").unwrap();
        fs::write(project.path().join("stacks/programs/p.toml"), PROGRAM).unwrap();
        project.put(stack);
        project
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn put(&self, text: &str) {
        fs::write(self.path().join("stacks/dev.toml"), text).unwrap();
    }

    fn text(&self) -> String {
        fs::read_to_string(self.path().join("stacks/dev.toml")).unwrap()
    }

    fn piped(&self, arguments: &[&str], input: &str) -> Ended {
        let mut child = Command::new(env!("CARGO_BIN_EXE_epid"))
            .arg("config")
            .args(arguments)
            .current_dir(self.path())
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // One that does not read its input may be gone by now.
        drop(child.stdin.take().unwrap().write_all(input.as_bytes()));
        let output = child.wait_with_output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Ended {
            code: output.status.code().unwrap(),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        self.piped(arguments, "")
    }

    fn done(&self, arguments: &[&str]) -> String {
        let ended = self.run(arguments);
        assert_eq!(ended.code, 0, "{arguments:?}: {}{}", ended.out, ended.err);
        ended.out
    }

    fn refused(&self, arguments: &[&str]) -> String {
        let before = self.text();
        let ended = self.run(arguments);
        assert_eq!(ended.code, 2, "{arguments:?}: {}{}", ended.out, ended.err);
        assert_eq!(self.text(), before);
        ended.err
    }
}

#[test]
fn values_are_of_the_declared_type_and_everything_else_stays() {
    let project = Project::new(STACK);
    for (name, value) in [
        ("name", "b c"),
        ("replicas", "3"),
        ("ratio", "1.5"),
        ("debug", "true"),
        ("zones", r#"["a", "b"]"#),
        ("tags", r#"{"team": "x", "n": 1}"#),
    ] {
        project.done(&["set", name, value]);
    }
    assert_eq!(
        project.text(),
        STACK.replace("\"a\"", "\"b c\"")
            + "replicas = 3\nratio = 1.5\ndebug = true\nzones = [\"a\", \"b\"]\ntags = { n = 1, team = \"x\" }\n"
    );
    assert_eq!(project.done(&["get", "tags"]), "{\"n\":1,\"team\":\"x\"}\n");
    assert_eq!(project.done(&["get", "replicas"]), "3\n");
    project.done(&["rm", "replicas"]);
    assert_eq!(project.done(&["get", "replicas"]), "1\n");
    // A text that looks like something else stays a text.
    project.done(&["set", "name", "007"]);
    assert!(project.text().contains("name = \"007\"  # short\n"));
}

#[test]
fn what_does_not_fit_is_refused_with_what_does() {
    let project = Project::new(STACK);
    let refused = |arguments: &[&str]| project.refused(arguments).replace("\n  help:", " |");
    let told = [
        refused(&["set", "replicas", "many"]),
        refused(&["set", "debug", "yes"]),
        refused(&["set", "zones", "a,b"]),
        refused(&["set", "tags", "[1]"]),
        refused(&["set", "nam", "x"]),
        refused(&["set", "my-name", "x"]),
        refused(&["set", "password", "x", "--stack", "dve"]),
        refused(&["get", "nmae"]),
        refused(&["rm", "zones"]),
        refused(&["rm", "nme"]),
    ];
    insta::assert_snapshot!(told.concat(), @r#"
    error: `replicas` takes a whole number, not "many"
    error: `debug` takes true or false, not "yes"
    error: `zones` takes a list in JSON: expected value at line 1 column 1 | such as ["a", "b"]
    error: `tags` takes a map in JSON, not "[1]"
    error: the program of stack `dev` takes no `nam` | did you mean `name`?
    error: the program of stack `dev` takes no `my-name` | declare it in the program: [config.my-name]
    error: there is no stack `dve` | did you mean `dev`?
    error: stack `dev` has no setting `nmae` | did you mean `name`?
    error: stacks/dev.toml gives no `zones` | `epid config ls` lists what there is
    error: stacks/dev.toml gives no `nme` | did you mean `name`?
    "#);
    // The value of a secret is in no message.
    let told = project.refused(&["set", "ports", "hunter2"]);
    assert!(!told.contains("hunter2"), "{told}");
}

#[test]
fn texts_of_several_lines_come_back() {
    let project = Project::new(STACK);
    let text = "one\n\ttwo \"quoted\" '''\\\n\nlast";
    assert_eq!(project.piped(&["set", "name"], &format!("{text}\n")).code, 0);
    assert_eq!(project.done(&["get", "name"]), format!("{text}\n"));
    assert!(
        project
            .text()
            .starts_with("# Our stack.\nprogram = \"programs/p.toml\"   # shared\n")
    );
    assert_eq!(project.piped(&["set", "name"], "a\r\n").code, 0);
    assert_eq!(project.done(&["get", "name"]), "a\n");
    assert_eq!(project.piped(&["set", "replicas"], "7\n").code, 0);
    assert_eq!(project.done(&["get", "replicas"]), "7\n");
}

#[test]
fn secrets_are_sealed_and_shown_only_when_asked() {
    let project = Project::new(STACK);
    let secret = "hunter2\n-----END-----";
    let ended = project.piped(&["set", "password"], &format!("{secret}\n"));
    assert_eq!((ended.code, ended.err.as_str()), (0, ""), "{}", ended.err);
    // Declared as secret it is one without being asked for, and one that is not declared so may be one too.
    project.piped(&["set", "--secret", "name"], "quiet");
    project.piped(&["set", "ports"], "[1, 2]");
    let text = project.text();
    assert!(!text.contains("hunter2") && !text.contains("quiet"), "{text}");
    assert!(
        text.starts_with("# Our stack.\nprogram = \"programs/p.toml\"   # shared\nkey = \""),
        "{text}"
    );
    assert_eq!(text.matches("\"epid:1:").count(), 3, "{text}");
    for told in [
        project.refused(&["get", "password"]),
        project.done(&["ls"]),
        project.done(&["ls", "--json"]),
    ] {
        assert!(!told.contains("hunter2") && !told.contains("quiet"), "{told}");
    }
    assert_eq!(
        project.done(&["get", "password", "--show-secret"]),
        format!("{secret}\n")
    );
    assert_eq!(project.done(&["get", "ports", "--show-secret"]), "[1,2]\n");
    assert!(project.done(&["ls", "--show-secrets"]).contains("quiet"));
    // The same secret again leaves the file as it is.
    project.piped(&["set", "password"], secret);
    assert_eq!(project.text(), text);
    // On the command line it is taken, with a word about the history.
    let ended = project.run(&["set", "password", "other"]);
    assert!(ended.code == 0 && ended.err.contains("history"), "{}", ended.err);
    project.done(&["rm", "password"]);
    assert_eq!(project.text().matches("\"epid:1:").count(), 2);
}

#[test]
fn a_stack_that_is_wrong_elsewhere_can_be_edited() {
    // Unknown keys, values of other types, and a program with mistakes.
    let wrong = STACK.replace("# short\n", "# short\nreplicas = \"x\"\nnoname = 1\n") + "\n[secrt]\n";
    let project = Project::new(&wrong);
    project.done(&["set", "replicas", "2"]);
    project.done(&["rm", "noname"]);
    assert_eq!(
        project.text(),
        wrong.replace("replicas = \"x\"\nnoname = 1\n", "replicas = 2\n")
    );
    fs::write(
        project.path().join("stacks/programs/p.toml"),
        "[config.name]\ntype = \"strng\"\n[resources.",
    )
    .unwrap();
    project.done(&["set", "name", "c"]);
    fs::remove_file(project.path().join("stacks/programs/p.toml")).unwrap();
    project.done(&["set", "name", "d"]);
    assert!(project.text().contains("name = \"d\"  # short\n"));
    // What is no TOML is shown at its place.
    project.put("[config]\nname = \n");
    let told = project.refused(&["set", "name", "e"]);
    assert!(told.contains("stacks/dev.toml:2:8"), "{told}");
}

#[test]
fn a_stack_without_a_program_keeps_the_types_it_has() {
    let project = Project::new("[config]\nn = 1\non = true\nt = \"x\"\n");
    for (name, value) in [("n", "2"), ("on", "false"), ("t", "3"), ("new", "4")] {
        project.done(&["set", name, value]);
    }
    assert_eq!(
        project.text(),
        "[config]\nn = 2\non = false\nt = \"3\"\nnew = \"4\"\n"
    );
}

#[test]
fn windows_newlines_and_a_byte_order_mark_stay() {
    let windows = format!("\u{feff}{}", STACK.replace('\n', "\r\n"));
    let project = Project::new(&windows);
    project.done(&["set", "name", "b"]);
    assert_eq!(project.text(), windows.replace("\"a\"", "\"b\""));
}

#[cfg(unix)]
#[test]
fn permissions_links_and_neighbours_stay() {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    let project = Project::new(STACK);
    let stack = project.path().join("stacks/dev.toml");
    let real = project.path().join("real.toml");
    fs::rename(&stack, &real).unwrap();
    symlink("../real.toml", &stack).unwrap();
    fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
    project.done(&["set", "name", "b"]);
    assert!(fs::symlink_metadata(&stack).unwrap().is_symlink());
    assert_eq!(fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o640);
    assert!(fs::read_to_string(&real).unwrap().contains("\"b\""));
    let mut names: Vec<String> = fs::read_dir(project.path().join("stacks"))
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["dev.toml", "programs"]);
}

#[test]
fn a_stack_that_declares_its_own_configuration_keeps_the_declarations() {
    let declared = "[config.word]\ntype = \"string\" # said\n\n[config.pw]\ntype = \"string\"\nsecret = true\ndescription = \"kept\"\n\n\
         [resources.a]\ntype = \"epid:data:Value\"\nproperties.value = \"${config.word} ${config.pw}\"\n";
    let project = Project::new(declared);
    project.done(&["set", "word", "hello"]);
    project.done(&["set", "--secret", "pw", "hunter2"]);
    let text = project.text();
    assert!(
        text.contains("type = \"string\" # said\ndefault = \"hello\""),
        "{text}"
    );
    assert!(
        text.contains("[config.pw]\ntype = \"string\"\nsecret = true\ndescription = \"kept\""),
        "{text}"
    );
    assert!(text.contains("[secrets]\npw = \"epid:"), "{text}");
    assert_eq!(project.done(&["get", "word"]), "hello\n");
}
