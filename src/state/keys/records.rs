//! Keys that a provider has sealed, in one file of the project that is committed: `Epid.keys.toml`.
#![expect(clippy::disallowed_methods, reason = "this room owns the file of keys")]

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};

use super::directory::{failed, is_id};
use super::provider::WrappedKey;
use crate::state::error::StateError;
use crate::state::files::{Access, replace};

const FORMAT: u32 = 1;
const COMMENT: &str = "\
# Keys of this project, each sealed by its provider. They open nothing without it: commit this file, so that whoever clones the
# project can open its secrets and states. `epid keys` writes it.

";

/// All that the file says. It is replaced as one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Records {
    format: u32,
    /// The key for what is sealed from now on, whoever keeps it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) current: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    keys: BTreeMap<String, Record>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    provider: String,
    parameters: String,
    sealed: String,
}

#[derive(Deserialize)]
struct Versioned {
    format: u32,
}

impl Records {
    /// What a file says; `None` where there is none.
    pub(super) fn read(file: &Path) -> Result<Option<Self>, StateError> {
        let text = match fs::read_to_string(file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            text => text.map_err(|e| failed("read", file, e))?,
        };
        let bad = |error: &toml::de::Error| StateError::BadKey {
            file: file.display().to_string(),
            what: error.message().to_owned(),
        };
        let Versioned { format } = toml::from_str(&text).map_err(|error| bad(&error))?;
        if format > FORMAT {
            return Err(StateError::Newer {
                file: file.display().to_string(),
                found: format,
                known: FORMAT,
            });
        }
        toml::from_str(&text).map(Some).map_err(|error| bad(&error))
    }

    pub(super) fn new() -> Self {
        Self {
            format: FORMAT,
            current: None,
            keys: BTreeMap::new(),
        }
    }

    /// Replaces the file: whoever reads it sees the old text or the new one.
    pub(super) fn write(&self, file: &Path) -> Result<(), StateError> {
        let text = toml::to_string(self).map_err(|error| StateError::Abandoned(error.to_string()))?;
        replace(file, format!("{COMMENT}{text}").as_bytes(), Access::Kept)
            .map_err(|e| failed("write", file, e))
    }

    /// The ids of the keys in it, in order.
    pub(super) fn ids(&self) -> impl Iterator<Item = &String> {
        self.keys.keys().filter(|id| is_id(id))
    }

    /// A key and the name of its provider.
    pub(super) fn get(&self, id: &str) -> Option<(&str, Option<WrappedKey>)> {
        let record = self.keys.get(id)?;
        let sealed = BASE64.decode(&record.sealed).ok();
        let wrapped = sealed.map(|sealed| WrappedKey {
            parameters: record.parameters.clone(),
            sealed,
        });
        Some((&record.provider, wrapped))
    }

    pub(super) fn set(&mut self, id: &str, provider: &str, wrapped: WrappedKey) {
        let record = Record {
            provider: provider.to_owned(),
            parameters: wrapped.parameters,
            sealed: BASE64.encode(wrapped.sealed),
        };
        self.keys.insert(id.to_owned(), record);
    }
}
