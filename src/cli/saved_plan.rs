//! Plans in files. A plan holds the values it was made with, secrets among them, so the file is encrypted with a key of the
//! project.

use std::path::Path;

use epid_provider::Value;

use super::error::Error;
use super::surroundings;
use super::workspace::Workspace;
use crate::plan::Plan;

/// What the sealed text is bound to.
const PURPOSE: &str = "saved plan";

/// Writes a plan.
#[expect(clippy::disallowed_methods, reason = "the file was named on the command line")]
pub(crate) fn save(workspace: &Workspace, plan: &Plan, path: &Path) -> Result<(), Error> {
    let text = epid_provider::with_secrets(|| serde_json::to_string(plan))
        .map_err(|error| Error::failed(format!("the plan cannot be written: {error}")))?;
    let ids = workspace.keys.ids()?;
    let id = match ids.first() {
        Some(id) => id.clone(),
        None => workspace.keys.mint(&surroundings::randomness())?,
    };
    let sealed = workspace
        .keys
        .seal_config(&id, PURPOSE, &Value::from(text), &surroundings::randomness())?;
    std::fs::write(path, sealed + "\n")
        .map_err(|error| Error::failed(format!("{} cannot be written: {error}", path.display())))
}

/// Reads a plan.
#[expect(clippy::disallowed_methods, reason = "the file was named on the command line")]
pub(crate) fn open(workspace: &Workspace, path: &Path) -> Result<Plan, Error> {
    let unreadable = |why: &dyn std::fmt::Display| {
        Error::invalid(format!(
            "{} is no plan that this epid can read: {why}",
            path.display()
        ))
        .hint("make one with `epid preview --save FILE`")
    };
    let sealed = std::fs::read_to_string(path).map_err(|error| unreadable(&error))?;
    let value = workspace.keys.unseal_config(PURPOSE, sealed.trim())?;
    let text = value.as_str().ok_or_else(|| unreadable(&"it holds no text"))?;
    let plan: Plan =
        epid_provider::with_secrets(|| serde_json::from_str(text)).map_err(|e| unreadable(&e))?;
    if plan.format == Plan::FORMAT {
        Ok(plan)
    } else {
        Err(unreadable(&format!(
            "its format is {}, this epid reads {}",
            plan.format,
            Plan::FORMAT
        )))
    }
}
