//! Everything that is read from files or the command line, under random and hostile input: it is read or refused, and
//! neither panics, hangs nor fills the memory. `PROPTEST_CASES=100000 cargo test --release --test fuzz` looks longer.

#![cfg(feature = "sandbox")]
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test that lays files out and runs the program; what fails fails it"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, LazyLock};

use epid::graph::{Inputs, Providers, Selector, build};
use epid::plan::Plan;
use epid::program::{Sources, draft_values, load, parse_program, render};
use epid::state::blobs::FolderBlobs;
use epid::state::{
    Entropy, KeyRing, Location, Passphrase, PassphraseProvider, PassphraseSource, Snapshot, StateError, Store,
};
use epid_provider::{Map, Urn, Value};
use proptest::prelude::*;

/// The files of this repository's own project, which most of this begins from.
static FILES: LazyLock<Vec<(String, String)>> = LazyLock::new(|| {
    let names = [
        "Epid.toml",
        "stacks/dev.toml",
        "stacks/prod.toml",
        "stacks/platform.toml",
        "stacks/programs/services.toml",
        "stacks/programs/cluster.toml",
    ];
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files: Vec<(String, String)> = names
        .iter()
        .map(|name| ((*name).to_owned(), fs::read_to_string(root.join(name)).unwrap()))
        .collect();
    files.push(("stacks/rest.toml".to_owned(), REST.to_owned()));
    files.push(("k8s/all.yaml".to_owned(), YAML.to_owned()));
    files
});

/// What the project of this repository has not.
const REST: &str = r#"
sandbox = true
[config]
zones = ["a", "b"]
tags = { team = "x", n = 1 }
[providers.k]
type = "kubernetes"
properties = { kubeconfig = "x", namespace = "shop" }
[resources.m]
type = "kubernetes:yaml:Manifests"
properties.files = ["k8s/*.yaml"]
[resources.v]
type = "epid:data:Value"
forEach = "${config.zones}"
if = "size(config.zones) > 1"
properties.value = { key = "${each.key}", "a/b" = [1, 2.5, true, "x-${config.tags.team}-$${y}"] }
[resources.v.options]
dependsOn = ["m"]
protect = true
ignoreChanges = ["value.key"]
timeouts = { create = "1h30m" }
aliases = ["old", "m/child"]
[resources.w]
type = "epid:data:Value"
properties.value = "${v['a'].value.key + string(v.map(k, k).size())}"
[outputs]
all = { value = "${w.value}", secret = true, description = "All." }
"#;

const YAML: &str = r#"apiVersion: v1
kind: List
items:
- &cm
  apiVersion: v1
  kind: ConfigMap
  metadata: {name: a, labels: {app: "x"}}
  data: {a: |
    two
    lines
  , b: '1'}
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
        - name: web
          image: x:1
          ports: [{containerPort: 80}]
"#;

/// Pieces that mean something to one of the readers.
const WORDS: &[&str] = &[
    "[",
    "]",
    "{",
    "}",
    "[[",
    "]]",
    "=",
    ".",
    ",",
    "\"",
    "'",
    "\"\"\"",
    "'''",
    "\\",
    "\\u",
    "#",
    "\n",
    "\r\n",
    "\t",
    "\0",
    "\u{feff}",
    "\u{202e}",
    "é",
    "🦀",
    "${",
    "}",
    "$${",
    "${}",
    "${config.",
    "${each.key}",
    "each",
    "config",
    "stacks",
    "true",
    "null",
    "1e999",
    "nan",
    "-9223372036854775808",
    "99999999999999999999",
    "2026-01-01",
    "type = ",
    "[resources.",
    "[config.",
    "[outputs]",
    "[providers.x]",
    "options = ",
    "forEach = ",
    "if = ",
    "properties = ",
    "secret = true",
    "\"epid:data:Value\"",
    "\"aws:ec2:Vpc\"",
    "\"kubernetes:v1:ConfigMap\"",
    "\"epid:kubernetes:WebService\"",
    "---",
    "...",
    "&a ",
    "*a",
    "<<: ",
    "!!binary ",
    "? ",
    "- ",
    ": ",
    "|",
    ">-",
    "%YAML 1.2",
    "apiVersion",
    "kind: List",
    "items:",
];

/// A cut, a copy, a word: what is done to a text, with places as parts of its length.
#[derive(Debug, Clone)]
enum Change {
    Cut(f64, f64),
    Copy(f64, f64, f64),
    Word(f64, &'static str),
    Text(f64, String),
    Repeat(f64, &'static str, usize),
    End(f64),
}

fn change() -> impl Strategy<Value = Change> {
    let at = || 0.0..1.0f64;
    let word = || prop::sample::select(WORDS.to_vec());
    prop_oneof![
        3 => (at(), 0.0..0.05f64).prop_map(|(a, b)| Change::Cut(a, b)),
        2 => (at(), 0.0..0.1f64, at()).prop_map(|(a, b, c)| Change::Copy(a, b, c)),
        5 => (at(), word()).prop_map(|(a, w)| Change::Word(a, w)),
        2 => (at(), "\\PC{0,12}").prop_map(|(a, t)| Change::Text(a, t)),
        1 => (at(), word(), 2..300usize).prop_map(|(a, w, n)| Change::Repeat(a, w, n)),
        1 => at().prop_map(Change::End),
    ]
}

fn changed(text: &str, changes: &[Change]) -> String {
    let mut text = text.to_owned();
    for change in changes {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a place in a small text"
        )]
        let place = |part: f64| {
            let mut at = ((text.len() as f64) * part.min(1.0)) as usize;
            while !text.is_char_boundary(at) {
                at -= 1;
            }
            at
        };
        match change {
            Change::Cut(from, length) => {
                let (from, to) = (place(*from), place(from + length));
                text.replace_range(from..to, "");
            }
            Change::Copy(from, length, to) => {
                let piece = text[place(*from)..place(from + length)].to_owned();
                let to = place(*to);
                text.insert_str(to, &piece);
            }
            Change::Word(at, word) => {
                let at = place(*at);
                text.insert_str(at, word);
            }
            Change::Text(at, word) => {
                let at = place(*at);
                text.insert_str(at, word);
            }
            Change::Repeat(at, word, times) => {
                let at = place(*at);
                text.insert_str(at, &word.repeat(*times));
            }
            Change::End(at) => {
                let at = place(*at);
                text.truncate(at);
            }
        }
    }
    text
}

fn providers() -> Providers {
    let mut providers = Providers::default();
    providers.add(Arc::new(epid::builtin::Builtin::default()));
    providers.add(Arc::new(epid_aws::Aws::new(epid_aws::Settings::ordinary())));
    let tokens = Arc::new(NoTokens);
    let settings =
        epid_kubernetes::Settings::real(tokens, Arc::new(|_: &str| Err(std::io::Error::other("none"))));
    providers.add(Arc::new(epid_kubernetes::Kubernetes::new(settings)));
    providers
}

struct NoTokens;

#[async_trait::async_trait]
impl epid_kubernetes::TokenSource for NoTokens {
    async fn token(
        &self,
        _: &epid_provider::Call,
        _: &epid_kubernetes::Cluster,
    ) -> Result<epid_kubernetes::BearerToken, epid_provider::Failure> {
        unreachable!("nothing is connected")
    }
}

/// Loads a project and takes every stack as far as it goes without a run.
fn taken(files: &[(String, Vec<u8>)]) {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let loaded = load(folder.path());
    shown(&loaded.sources, &loaded.diagnostics);
    let components = epid::components::all();
    let providers = providers();
    let project = loaded.project.iter().flat_map(|project| &project.stacks);
    let drafts = loaded.stacks().filter_map(|name| loaded.draft(name));
    for stack in project.chain(drafts) {
        let (config, problems) = draft_values(stack, &BTreeMap::new());
        shown(&loaded.sources, &problems);
        let stacks = stack
            .references
            .keys()
            .map(|name| (name.clone(), Value::unknown("x")));
        let inputs = Inputs {
            project: "p",
            stack: "s",
            config,
            stacks: stacks.collect::<Map>(),
            components: &components,
            providers: &providers,
            digests: &|_: &[u8]| None,
            place: &|span| loaded.sources.place(span).map(Arc::from),
        };
        if let Err(problems) = build(&stack.program, &inputs) {
            shown(&loaded.sources, &problems);
        }
    }
}

/// Every problem can be shown, and stands at a place that there is.
fn shown(sources: &Sources, problems: &[epid::program::Diagnostic]) {
    let text = render(problems, sources, false, 100);
    assert!(
        text.len() < problems.len() * 4_000 + 100,
        "{} bytes for {} problems",
        text.len(),
        problems.len()
    );
    for problem in problems {
        assert!(!problem.message.is_empty());
        if let Some(span) = problem.span {
            assert!(sources.place(span).is_some(), "{problem:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(64), max_shrink_iters: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn a_changed_project_is_read_or_refused(
        at in any::<prop::sample::Index>(),
        changes in prop::collection::vec(change(), 1..8),
    ) {
        let mut files: Vec<(String, Vec<u8>)> = FILES.iter().map(|(n, t)| (n.clone(), t.clone().into_bytes())).collect();
        let at = at.index(files.len());
        files[at].1 = changed(&FILES[at].1, &changes).into_bytes();
        taken(&files);
    }

    #[test]
    fn bytes_in_place_of_a_file_are_refused(at in any::<prop::sample::Index>(), bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut files: Vec<(String, Vec<u8>)> = FILES.iter().map(|(n, t)| (n.clone(), t.clone().into_bytes())).collect();
        let at = at.index(files.len());
        files[at].1 = bytes;
        taken(&files);
    }

    #[test]
    fn words_in_any_order_are_read_or_refused(words in prop::collection::vec(prop::sample::select(WORDS.to_vec()), 0..60)) {
        let text = words.concat();
        let (_, sources, problems) = parse_program(&text, "p.toml");
        shown(&sources, &problems);
        drop(epid_kubernetes::manifest::parse(&text));
    }

    #[test]
    fn changed_manifests_are_read_or_refused(changes in prop::collection::vec(change(), 1..8)) {
        let text = changed(YAML, &changes);
        match epid_kubernetes::manifest::parse(&text) {
            Ok(objects) => {
                for object in objects {
                    prop_assert!(text.get(object.kind_at.start as usize..object.kind_at.end as usize).is_some());
                }
            }
            Err(errors) => {
                prop_assert!(!errors.is_empty());
                for error in errors {
                    prop_assert!(text.get(error.at.start as usize..error.at.end as usize).is_some(), "{:?}", error);
                }
            }
        }
    }

    #[test]
    fn any_selector_is_taken_or_refused(text in "[a-z*/\\[\\]\":]{0,40}|\\PC{0,40}", name in "a{0,60}b?") {
        if let Ok(selector) = text.parse::<Selector>() {
            let kind = epid_provider::Kind::parse("epid:data:Value").unwrap();
            let path = if name.is_empty() { "x" } else { &name };
            let urn = Urn::new("p", "s", &kind, path);
            let named = selector.matches(&urn);
            prop_assert!(selector.to_string() != path || named);
        }
    }

    #[test]
    fn a_changed_plan_is_read_or_refused(changes in prop::collection::vec(change(), 1..4)) {
        drop(serde_json::from_str::<Plan>(&changed(&WORLD.plan, &changes)));
    }

    #[test]
    fn a_changed_sealed_plan_is_refused(changes in prop::collection::vec(change(), 1..4)) {
        let text = changed(&WORLD.sealed, &changes);
        let found = unsealed(&WORLD.keys(), text.trim());
        prop_assert!(found.is_err() || text.trim() == WORLD.sealed.trim());
    }

    #[test]
    fn changed_state_files_are_noticed(
        file in any::<prop::sample::Index>(),
        place in any::<prop::sample::Index>(),
        bytes in prop::collection::vec(any::<u8>(), 0..40),
        insert in any::<bool>(),
        killed in any::<bool>(),
    ) {
        // As one that was killed before it could close leaves them: what the journal holds is read too.
        let files = if killed { WORLD.killed() } else { WORLD.state.clone() };
        let at = file.index(files.len());
        let changed = replaced(&files[at].1, place, &bytes, insert);
        let folder = tempfile::tempdir().unwrap();
        laid(folder.path(), &files);
        laid(folder.path(), &[(files[at].0.clone(), changed)]);
        let (state, outputs) = both(folder.path());
        // Either what was written is known to be whole, or it is said which file is not. Only the last frame may be cut off, as
        // by a kill amid its write.
        match state {
            Ok(Some(state)) if killed => prop_assert!(WORLD.whole(true).contains(&state), "{:?}", state),
            Ok(state) => prop_assert_eq!(state.as_ref(), WORLD.whole(false).first()),
            Err(error) => prop_assert!(error.to_string().contains(folder.path().to_str().unwrap()), "{}", error),
        }
        if let Ok(outputs) = outputs {
            prop_assert_eq!(outputs, WORLD.outputs());
        }
    }

    #[test]
    fn a_changed_export_is_refused(
        place in any::<prop::sample::Index>(),
        bytes in prop::collection::vec(any::<u8>(), 0..40),
        insert in any::<bool>(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        laid(folder.path(), &WORLD.state);
        let store = Store::new(Arc::new(FolderBlobs::new(folder.path())), WORLD.keys(), entropy());
        let export = runtime().block_on(store.export(&WORLD.location)).unwrap().unwrap();
        let changed = replaced(&export, place, &bytes, insert);
        if let Ok(read) = runtime().block_on(store.read_export("file".to_owned(), changed)) {
            prop_assert!(read.is_same(&WORLD.whole(false)[0]));
        }
    }

    #[test]
    fn changed_notes_and_notices_never_change_what_is_read(
        note in any::<bool>(),
        place in any::<prop::sample::Index>(),
        bytes in prop::collection::vec(any::<u8>(), 0..40),
        insert in any::<bool>(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        laid(&folder.path().join("state"), &WORLD.state);
        let (state, seen) = (folder.path().join("state"), folder.path().join("seen"));
        let stack = Path::new(&WORLD.state[0].0).iter().take(3).collect::<std::path::PathBuf>();
        let header = &WORLD.whole(false)[0].header;
        let (path, text) = if note {
            let text = serde_json::json!({"lineage": header.lineage, "serial": header.serial});
            (seen.join(&stack).join("serial"), text)
        } else {
            let by = serde_json::json!({"pid": 1, "user": "u", "host": "h", "since": "2026-01-01T00:00:00Z", "command": "c"});
            let text = serde_json::json!({"epid": "notice", "format": 2, "moving": "left", "place": {"url": "/x"}, "by": by});
            (state.join(stack.parent().unwrap()).join("notice.json"), text)
        };
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, replaced(text.to_string().as_bytes(), place, &bytes, insert)).unwrap();
        let store = Store::new(Arc::new(FolderBlobs::new(&state)), WORLD.keys(), entropy())
            .noting(Arc::new(FolderBlobs::new(&seen)), None, |_| ());
        match runtime().block_on(store.read(&WORLD.location)) {
            Ok(read) => prop_assert!(read.is_some_and(|(state, _)| state == WORLD.whole(false)[0])),
            Err(error) => prop_assert!(note && matches!(error, StateError::Older { .. }), "{}", error),
        }
        if !note {
            // Never as if there were none.
            prop_assert!(runtime().block_on(store.stays(&WORLD.location)).is_err());
        }
    }
}

proptest! {
    // Each case may pay for Argon2id.
    #![proptest_config(ProptestConfig { cases: cases(24), ..ProptestConfig::default() })]

    #[test]
    fn any_file_of_sealed_keys_is_read_or_refused(changes in prop::collection::vec(change(), 1..4)) {
        let text = changed(std::str::from_utf8(&KEYS.1[0]).unwrap(), &changes);
        let [_, of_file] = opened(text.as_bytes());
        prop_assert!(matches!(of_file, Ok(true)));
    }
}

/// As many cases as `PROPTEST_CASES` asks for, or so many.
fn cases(usual: u32) -> u32 {
    std::env::var("PROPTEST_CASES")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(usual)
}

/// A project that has run: its state, and a plan in a file.
struct World {
    folder: tempfile::TempDir,
    state: Vec<(String, Vec<u8>)>,
    location: Location,
    sealed: String,
    plan: String,
}

impl World {
    fn keys(&self) -> KeyRing {
        KeyRing::new(self.folder.path().join(".epid/keys"))
    }
}

impl World {
    /// The state as it is before it is closed: there is only the snapshot before, and the journal.
    fn killed(&self) -> Vec<(String, Vec<u8>)> {
        let files = self.state.iter().filter(|(name, _)| !name.ends_with("/state"));
        files.cloned().collect()
    }

    /// What may be read of it: the state, and of one that was killed also that before its last frame.
    fn whole(&self, killed: bool) -> &'static [Snapshot] {
        static READ: LazyLock<[Vec<Snapshot>; 2]> = LazyLock::new(|| {
            let mut files = WORLD.killed();
            let read = |files: &[(String, Vec<u8>)]| {
                let folder = tempfile::tempdir().unwrap();
                laid(folder.path(), files);
                both(folder.path()).0.unwrap().unwrap()
            };
            let (closed, whole) = (read(&WORLD.state), read(&files));
            let last = files
                .iter_mut()
                .rfind(|(name, _)| name.contains("/journal/"))
                .unwrap();
            last.1.pop();
            [vec![closed], vec![whole, read(&files)]]
        });
        &READ[usize::from(killed)]
    }

    fn outputs(&self) -> Option<Map> {
        let folder = tempfile::tempdir().unwrap();
        laid(folder.path(), &self.state);
        both(folder.path()).1.unwrap()
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

fn laid(folder: &Path, files: &[(String, Vec<u8>)]) {
    for (name, bytes) in files {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
    }
}

/// The state and the outputs of the stack in a folder.
fn both(
    folder: &Path,
) -> (
    Result<Option<Snapshot>, StateError>,
    Result<Option<Map>, StateError>,
) {
    let store = Store::new(Arc::new(FolderBlobs::new(folder)), WORLD.keys(), entropy());
    runtime().block_on(async {
        let state = store.read(&WORLD.location).await;
        let outputs = store.outputs(&WORLD.location).await;
        (
            state.map(|read| read.map(|(state, _)| state)),
            outputs.map(|read| read.map(|outputs| outputs.values)),
        )
    })
}

fn replaced(text: &[u8], place: prop::sample::Index, bytes: &[u8], insert: bool) -> Vec<u8> {
    let at = place.index(text.len() + 1);
    let until = if insert {
        at
    } else {
        (at + bytes.len()).min(text.len())
    };
    [&text[..at], bytes, &text[until..]].concat()
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    fs::create_dir_all(root.join("stacks")).unwrap();
    fs::write(root.join("Epid.toml"), "name = \"p\"\n").unwrap();
    let stack = "[resources.a]\ntype = \"epid:data:Value\"\nproperties.value = [1, { x = \"y\" }]\n[resources.b]\ntype = \"epid:data:Value\"\nproperties.value = \"${a.value}\"\n[outputs]\nx = \"${b.value}\"\n";
    let run = |arguments: &[&str]| {
        let done = Command::new(env!("CARGO_BIN_EXE_epid"))
            .args(arguments)
            .current_dir(root)
            .output()
            .unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    };
    fs::write(root.join("stacks/s.toml"), stack).unwrap();
    run(&["up", "--sandbox", "--yes"]);
    fs::write(root.join("stacks/s.toml"), stack.replace("\"y\"", "\"z\"")).unwrap();
    run(&["preview", "--sandbox", "--save", "plan"]);
    let sealed = fs::read_to_string(root.join("plan")).unwrap();
    let keys = KeyRing::new(root.join(".epid/keys"));
    let saved = unsealed(&keys, sealed.trim()).unwrap();
    let saved: serde_json::Value = serde_json::from_slice(&saved).unwrap();
    let mut state = Vec::new();
    gather(&root.join(".epid/state"), &root.join(".epid/state"), &mut state);
    let store = Store::new(
        Arc::new(FolderBlobs::new(root.join(".epid/state"))),
        keys,
        entropy(),
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let location = runtime.block_on(store.list()).unwrap().remove(0);
    World {
        state,
        location,
        sealed,
        plan: saved["plan"].to_string(),
        folder,
    }
});

fn unsealed(keys: &KeyRing, text: &str) -> Result<Vec<u8>, StateError> {
    keys.key_of_document(text, "saved plan", &entropy())?.open(text)
}

fn gather(root: &Path, folder: &Path, found: &mut Vec<(String, Vec<u8>)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            gather(root, &path, found);
        } else {
            let name = path.strip_prefix(root).unwrap().display().to_string();
            found.push((name, fs::read(&path).unwrap()));
        }
    }
    found.sort();
}

#[test]
fn bombs_are_refused() {
    // A value that doubles with each resource, and one that nests.
    let mut doubling = String::new();
    let mut nesting = String::new();
    for n in 0..60 {
        let before = if n == 0 {
            "1".to_owned()
        } else {
            format!("\"${{r{}.value}}\"", n - 1)
        };
        let list = [before.as_str(); 8].join(", ");
        doubling.push_str(&format!(
            "[resources.r{n}]\ntype = \"epid:data:Value\"\nproperties.value = [{list}]\n"
        ));
        let (open, close) = ("[".repeat(60), "]".repeat(60));
        nesting.push_str(&format!(
            "[resources.r{n}]\ntype = \"epid:data:Value\"\nproperties.value = {open}{before}{close}\n"
        ));
    }
    let mut text =
        String::from("[resources.t0]\ntype = \"epid:data:Value\"\nproperties.value = \"xxxxxxxxxxxxxxxx\"\n");
    for n in 1..60 {
        let part = format!("${{t{}.value}}", n - 1).repeat(8);
        text.push_str(&format!(
            "[resources.t{n}]\ntype = \"epid:data:Value\"\nproperties.value = \"{part}\"\n"
        ));
    }
    for stack in [doubling, nesting, text] {
        taken(&[
            ("Epid.toml".to_owned(), b"name = \"p\"\n".to_vec()),
            ("stacks/s.toml".to_owned(), stack.into_bytes()),
        ]);
    }
    // Aliases that multiply, lists in lists, and a long line.
    let mut laughs = String::from("apiVersion: v1\nkind: X\na0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
    for n in 1..12 {
        laughs.push_str(&format!(
            "a{n}: &a{n} [{}]\n",
            vec![format!("*a{}", n - 1); 10].join(",")
        ));
    }
    for yaml in [
        laughs,
        format!("a: {}", "[".repeat(200_000)),
        "{".repeat(200_000),
        "- ".repeat(200_000),
        "a: ".repeat(50_000),
        "x".repeat(1_000_000),
    ] {
        assert!(epid_kubernetes::manifest::parse(&yaml).is_err());
    }
    for toml in [
        "[".repeat(200_000),
        format!("a = {}", "[".repeat(200_000)),
        format!("a = {}", "{a=".repeat(200_000)),
        "a.".repeat(200_000),
        format!("a = \"{}\"", "${".repeat(100_000)),
    ] {
        let (program, sources, problems) = parse_program(&toml, "p.toml");
        assert!(program.is_none());
        shown(&sources, &problems);
    }
    let json = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(serde_json::from_str::<Value>(&json).is_err());
    assert!(serde_json::from_str::<Plan>(&json).is_err());
}

/// The passphrase of [`KEYS`].
struct Known;

impl PassphraseSource for Known {
    fn known(&self, _: &str, _: &str, refused: usize) -> Result<Option<Passphrase>, StateError> {
        Ok(Passphrase::new("phrase".to_owned()).filter(|_| refused == 0))
    }

    fn chosen(&self, _: bool) -> Result<Option<Passphrase>, StateError> {
        self.known("", "", 0)
    }
}

fn ring(folder: &Path) -> KeyRing {
    let provider = Arc::new(PassphraseProvider::new(Arc::new(Known)));
    KeyRing::new(folder.join("keys")).with_sealed(folder.join("Epid.keys.toml"), vec![provider])
}

/// A sealed key and a key file: their ids, and what the two files hold.
static KEYS: LazyLock<([String; 2], [Vec<u8>; 2])> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let keys = ring(folder.path());
    let lock = keys.lock_rotation().unwrap();
    let drawn = |by: u8| -> Entropy {
        Arc::new(move |bytes: &mut [u8]| {
            bytes.fill(by);
            Ok(())
        })
    };
    let to = Some(PassphraseProvider::NAME);
    let sealed = keys.start_rotation(&lock, to, false, &drawn(1)).unwrap();
    let file = keys.mint(&drawn(2)).unwrap();
    let files = [folder.path().join("Epid.keys.toml"), keys.file(&file)].map(|path| fs::read(path).unwrap());
    ([sealed, file], files)
});

/// Whether both keys open where the file of sealed keys holds this.
fn opened(text: &[u8]) -> [Result<bool, StateError>; 2] {
    let ([sealed, file], files) = &*KEYS;
    let folder = tempfile::tempdir().unwrap();
    let keys = ring(folder.path());
    fs::create_dir(folder.path().join("keys")).unwrap();
    fs::write(folder.path().join("Epid.keys.toml"), text).unwrap();
    fs::write(keys.file(file), &files[1]).unwrap();
    drop((
        keys.ids(),
        keys.current(),
        keys.provider_of(sealed),
        keys.is_part(file),
    ));
    [keys.find(sealed), keys.find(file)]
}

#[test]
fn files_of_keys_that_are_damaged_are_refused() {
    let ([sealed, file], files) = &*KEYS;
    let text = String::from_utf8(files[0].clone()).unwrap();
    assert!(matches!(opened(&files[0]), [Ok(true), Ok(true)]));
    let record = &text[text.find("[keys.").unwrap()..];
    let cost = "m=65536,t=3,p=4";
    for bad in [
        format!("{text}{record}"),
        text.replace("format = 1", "format = 2"),
        text.replace("format = 1", "format = -1"),
        text.replace("format = 1", ""),
        text.replace(cost, "m=4294967295,t=3,p=4"),
        text.replace(cost, "m=1048577,t=3,p=4"),
        text.replace(cost, "m=65536,t=4000000000,p=4"),
        text.replace(cost, "m=65536,t=17,p=4"),
        text.replace(cost, "m=65536,t=3,p=65"),
        text.replace(cost, "m=0,t=0,p=0"),
        text.replace("passphrase", "kms"),
        text.replace(sealed, &"0".repeat(100_000)),
        "[".repeat(200_000),
        format!("format = 1\nkeys = {}", "{a=".repeat(100_000)),
    ] {
        assert_ne!(bad, text);
        let [of_record, of_file] = opened(bad.as_bytes());
        assert!(!matches!(of_record, Ok(true)), "{bad:.200}");
        // A key file needs no record.
        assert!(matches!(of_file, Ok(true)), "{bad:.200}");
    }
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("keys")).unwrap();
    let keys = ring(folder.path());
    let opens = |text: &[u8]| {
        fs::write(keys.file(file), text).unwrap();
        matches!(keys.find(file), Ok(true))
    };
    assert!(opens(&files[1]));
    // All but the line break at the end.
    for at in 0..files[1].len() - 1 {
        let mut bad = files[1].clone();
        bad[at] ^= 1;
        assert!(!opens(&bad), "byte {at} flipped");
        assert!(!opens(&files[1][..at]), "cut at byte {at}");
    }
}

/// Nothing is written with it.
fn entropy() -> Entropy {
    Arc::new(|_: &mut [u8]| Ok(()))
}
