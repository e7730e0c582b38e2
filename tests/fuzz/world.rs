//! A project that has run: its state, and a plan in a file.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, LazyLock};

use epid::state::blobs::FolderBlobs;
use epid::state::{
    Entropy, Holder, JournalEntry, KeyRing, Location, Opening, Run, RunResult, Session, Snapshot, StateError,
    Store,
};
use epid_provider::{Map, Timestamp, Value};

/// The project.
pub(crate) struct World {
    folder: tempfile::TempDir,
    pub(crate) state: Vec<(String, Vec<u8>)>,
    pub(crate) location: Location,
    pub(crate) sealed: String,
    pub(crate) plan: String,
}

impl World {
    pub(crate) fn keys(&self) -> KeyRing {
        KeyRing::new(self.folder.path().join(".epid/keys"))
    }

    /// The state as it is before it is closed: there is only the snapshot before, and the journal.
    pub(crate) fn killed(&self) -> Vec<(String, Vec<u8>)> {
        let files = self.state.iter().filter(|(name, _)| !name.ends_with("/state"));
        files.cloned().collect()
    }

    /// What may be read of it: the state, and of one that was killed also that before its last frame.
    pub(crate) fn whole(&self, killed: bool) -> &'static [Snapshot] {
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

    pub(crate) fn outputs(&self) -> Option<Map> {
        let folder = tempfile::tempdir().unwrap();
        laid(folder.path(), &self.state);
        both(folder.path()).1.unwrap()
    }
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

pub(crate) fn laid(folder: &Path, files: &[(String, Vec<u8>)]) {
    for (name, bytes) in files {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
    }
}

/// The state and the outputs of the stack in a folder.
pub(crate) fn both(
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

pub(crate) static WORLD: LazyLock<World> = LazyLock::new(|| {
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
    let location = runtime().block_on(store.list()).unwrap().remove(0);
    World {
        state,
        location,
        sealed,
        plan: saved["plan"].to_string(),
        folder,
    }
});

pub(crate) fn unsealed(keys: &KeyRing, text: &str) -> Result<Vec<u8>, StateError> {
    keys.key_of_document(text, "saved plan", &entropy())?.open(text)
}

pub(crate) fn gather(root: &Path, folder: &Path, found: &mut Vec<(String, Vec<u8>)>) {
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

/// Nothing is written with it.
pub(crate) fn entropy() -> Entropy {
    Arc::new(|_: &mut [u8]| Ok(()))
}

pub(crate) fn holder() -> Holder {
    Holder {
        pid: 1,
        user: "u".into(),
        host: "h".into(),
        since: Timestamp(1_000),
        command: "epid up".into(),
        job: None,
    }
}

pub(crate) fn started() -> Run {
    Run {
        who: "u@h".into(),
        command: "epid up".into(),
        at: Timestamp(1_000),
        version: "0.1.0".into(),
        plan: None,
        commit: None,
    }
}

pub(crate) fn random() -> Entropy {
    Arc::new(|bytes: &mut [u8]| {
        bytes.iter_mut().for_each(|byte| *byte = fastrand::u8(..));
        Ok(())
    })
}

/// States in a folder that can be written, with their keys, and with notes of how far they were.
pub(crate) fn writable(folder: &Path) -> Store {
    kept(folder, "state")
}

/// The same, kept in a part of the folder.
pub(crate) fn kept(folder: &Path, part: &str) -> Store {
    let blobs = Arc::new(FolderBlobs::new(folder.join(part)));
    Store::new(blobs, KeyRing::new(folder.join("keys")), random()).noting(
        Arc::new(FolderBlobs::new(folder.join("seen"))),
        None,
        |_| (),
    )
}

/// Lets a stack have so many runs, with an output each; the stack begins with the first.
pub(crate) async fn ran(store: &Store, location: &Location, runs: u64) {
    for run in 0..runs {
        let session = Session::open(store, location, Opening::new(holder()).create())
            .await
            .unwrap();
        let outputs = [("x", Value::str(&format!("{}-{run}", location.stack)))];
        let (result, at) = (RunResult::Done, Timestamp(2_000));
        for entry in [
            JournalEntry::Run(started()),
            JournalEntry::Outputs(outputs.into_iter().collect()),
            JournalEntry::Close { result, at },
        ] {
            session.append(entry).map(drop).unwrap();
        }
        session.publish_outputs().await.unwrap();
        session.close().await.unwrap();
    }
}
