//! The rooms of the engine and the arrows between them, as `docs/architecture.md` has them. Fails on a `use` that crosses a
//! wall.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test that reads the sources; what fails fails it"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Each room and the rooms it may use. What is not listed is forbidden.
const ARROWS: &[(&str, &[&str])] = &[
    ("expression", &[]),
    ("program", &["expression"]),
    ("components", &["program", "expression"]),
    ("graph", &["program", "expression"]),
    ("state", &[]),
    ("observe", &["graph", "state", "expression"]),
    ("plan", &["graph", "state", "expression"]),
    ("apply", &["plan", "state", "graph", "expression"]),
    ("builtin", &[]),
    (
        "cli",
        &[
            "apply",
            "builtin",
            "components",
            "expression",
            "graph",
            "observe",
            "plan",
            "program",
            "state",
        ],
    ),
];

/// Crates that only some rooms may name.
const CRATES: &[(&str, &[&str])] = &[
    ("petgraph", &["graph"]),
    // Of the state, the file of sealed keys: it is committed, and people read it.
    ("toml", &["program", "state"]),
    ("toml_edit", &["program"]),
    ("annotate_snippets", &["program"]),
    ("tokio", &["apply", "state", "cli"]),
    ("aes_gcm", &["state"]),
    ("hmac", &["state"]),
    ("rcgen", &["builtin"]),
    ("clap", &["cli"]),
    ("indicatif", &["cli"]),
    ("console", &["cli"]),
    ("epid_aws", &["cli"]),
    ("epid_kubernetes", &["cli", "components"]),
    ("epid_sandbox", &["cli"]),
];

/// What each crate beside the engine may depend on of this workspace, tests aside.
const PACKAGES: &[(&str, &[&str])] = &[
    ("contract", &[]),
    ("fake", &["epid-provider"]),
    ("aws", &["epid-provider"]),
    ("kubernetes", &["epid-provider"]),
    ("sandbox", &[]),
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|e| e == "rs") {
            into.push(path);
        }
    }
}

/// The room of a file: the first folder, or the file's own name.
fn room(path: &Path) -> String {
    let inside = path.strip_prefix(root().join("src")).unwrap();
    let first = inside.components().next().unwrap().as_os_str().to_str().unwrap();
    first.trim_end_matches(".rs").to_owned()
}

/// A file without its tests and comments: tests may reach further.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let is_code = |line: &&str| !line.trim_start().starts_with("//");
    code.lines().filter(is_code).collect::<Vec<_>>().join("\n")
}

/// The names that follow `prefix` in a text: `graph` of `crate::graph::build`.
fn after<'a>(text: &'a str, prefix: &str) -> BTreeSet<&'a str> {
    let word = |rest: &'a str| {
        let end = rest
            .find(|c: char| !(c.is_alphanumeric() || c == '_'))
            .unwrap_or(rest.len());
        &rest[..end]
    };
    text.match_indices(prefix)
        .map(|(at, _)| word(&text[at + prefix.len()..]))
        .filter(|name| !name.is_empty())
        .collect()
}

fn files() -> Vec<PathBuf> {
    let mut files = Vec::new();
    sources(&root().join("src"), &mut files);
    let of_tests =
        |path: &PathBuf| path.components().any(|c| c.as_os_str() == "tests") || path.ends_with("tests.rs");
    files.retain(|path| !of_tests(path));
    files
}

#[test]
fn rooms_use_only_what_the_table_allows() {
    let allowed: BTreeMap<&str, &[&str]> = ARROWS.iter().copied().collect();
    let mut wrong = Vec::new();
    for path in files() {
        let room = room(&path);
        if room == "lib" || room == "main" {
            continue;
        }
        let Some(may) = allowed.get(room.as_str()) else {
            wrong.push(format!("{}: `{room}` is no room of the table", path.display()));
            continue;
        };
        for used in after(&code(&path), "crate::") {
            if allowed.contains_key(used) && used != room && !may.contains(&used) {
                wrong.push(format!("{}: `{room}` may not use `{used}`", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn crates_are_named_only_in_their_rooms() {
    let mut wrong = Vec::new();
    for path in files() {
        let (room, code) = (room(&path), code(&path));
        for (name, rooms) in CRATES {
            let named = code.contains(&format!(" {name}::")) || code.contains(&format!("({name}::"));
            if named && !rooms.contains(&room.as_str()) {
                wrong.push(format!("{}: `{name}` belongs to {rooms:?}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn providers_know_the_contract_and_not_the_engine() {
    for (name, may) in PACKAGES {
        let manifest = fs::read_to_string(root().join("providers").join(name).join("Cargo.toml")).unwrap();
        let dependencies = manifest.split("[dependencies]").nth(1).unwrap_or_default();
        let dependencies = dependencies.split("\n[").next().unwrap_or_default();
        let ours = dependencies
            .lines()
            .filter_map(|line| line.split(['.', ' ', '=']).next())
            .filter(|n| n.starts_with("epid"));
        for dependency in ours {
            assert!(
                may.contains(&dependency),
                "providers/{name} may not depend on {dependency}"
            );
        }
    }
}

#[test]
fn cargo_run_is_epid_though_other_members_have_programs_too() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let package = manifest.split("\n[package]").nth(1).unwrap_or_default();
    let package = package.split("\n[").next().unwrap_or_default();
    assert!(package.contains("\ndefault-run = \"epid\"\n"));
}
