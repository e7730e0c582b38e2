//! The sandbox while `epid sandbox serve` holds it: a note beside the world says who serves it and where, so that other
//! commands reach it there.
#![expect(
    clippy::disallowed_methods,
    reason = "the note is a file for other processes, written and read here only"
)]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::Error;
use super::world::folder;

/// Who serves a sandbox, and where.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Served {
    /// The process.
    pub(crate) pid: u32,
    /// The world's name.
    pub(crate) world: String,
    /// Where AWS answers.
    pub(crate) aws: SocketAddr,
}

fn note(folder: &Path) -> PathBuf {
    folder.join("served.json")
}

/// The sandbox of the project at `root`, where another process serves it now. A note that outlived its process counts for
/// nothing: the lock on the world ends with the process.
pub(crate) fn found(root: &Path) -> Option<Served> {
    let text = std::fs::read(note(&folder(root))).ok()?;
    let served: Served = serde_json::from_slice(&text).ok()?;
    epid_sandbox::store::is_held(&folder(root)).then_some(served)
}

impl Served {
    /// Leaves the note.
    pub(crate) fn tell(&self, root: &Path) -> Result<(), Error> {
        let text = serde_json::to_vec(self).map_err(|error| Error::failed(error.to_string()))?;
        let path = note(&folder(root));
        std::fs::write(&path, text)
            .map_err(|error| Error::failed(format!("{} cannot be written: {error}", path.display())))
    }
}

/// Takes the note away.
pub(crate) fn forget(folder: &Path) {
    // Without its process it counts for nothing anyway.
    drop(std::fs::remove_file(note(folder)));
}
