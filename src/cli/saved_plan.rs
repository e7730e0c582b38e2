//! Plans in files. A plan holds the values it was made with, secrets among them, so the file is encrypted with a key of the
//! project.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::error::Error;
use super::surroundings;
use super::workspace::Workspace;
use crate::plan::Plan;

/// What the sealed text is.
const KIND: &str = "saved plan";

/// A plan, and what else it was made from.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SavedPlan {
    /// The plan.
    pub(crate) plan: Plan,
    /// The digests of the outputs that it used, by the stack that offers them; `None` where that had none.
    pub(crate) references: BTreeMap<String, Option<String>>,
}

/// Only the version, for plans of another shape.
#[derive(Deserialize)]
struct Versioned {
    plan: Version,
}

#[derive(Deserialize)]
struct Version {
    format: u32,
}

/// Writes a plan.
#[expect(clippy::disallowed_methods, reason = "the file was named on the command line")]
pub(crate) fn save(workspace: &Workspace, saved: &SavedPlan, path: &Path) -> Result<(), Error> {
    let text = epid_provider::with_secrets(|| serde_json::to_vec(saved))
        .map_err(|error| Error::failed(format!("the plan cannot be written: {error}")))?;
    let key = workspace.keys.document_key(KIND, &surroundings::randomness())?;
    std::fs::write(path, key.seal(&text)? + "\n")
        .map_err(|error| Error::failed(format!("{} cannot be written: {error}", path.display())))
}

/// Reads a plan.
#[expect(clippy::disallowed_methods, reason = "the file was named on the command line")]
pub(crate) fn open(workspace: &Workspace, path: &Path) -> Result<SavedPlan, Error> {
    let unreadable = |why: &dyn std::fmt::Display| {
        Error::invalid(format!(
            "{} is no plan that this epid can read: {why}",
            path.display()
        ))
        .hint("make one with `epid preview --save FILE`")
    };
    let sealed = std::fs::read_to_string(path).map_err(|error| {
        Error::invalid(format!("{} cannot be read: {error}", path.display()))
            .hint("make one with `epid preview --save FILE`")
    })?;
    let sealed = sealed.trim();
    let key = workspace
        .keys
        .key_of_document(sealed, KIND, &surroundings::randomness());
    let text = key
        .and_then(|key| key.open(sealed))
        .map_err(|error| unreadable(&error))?;
    let Versioned {
        plan: Version { format },
    } = serde_json::from_slice(&text).map_err(|error| unreadable(&error))?;
    if format != Plan::FORMAT {
        let known = Plan::FORMAT;
        return Err(unreadable(&format!(
            "its format is {format}, this epid reads {known}"
        )));
    }
    epid_provider::with_secrets(|| serde_json::from_slice(&text)).map_err(|error| unreadable(&error))
}
