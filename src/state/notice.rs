//! What a place says of the states of a project that are about to leave it, about to arrive, or have left.
//!
//! A notice is one file for each project and world. Where there is one, nobody but the migration that it tells of opens a state
//! there: whoever opens one looks after taking its lock, and whoever puts a notice takes all locks afterwards, so one of the two
//! sees the other.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::blobs::{Guard, Lock};
use super::error::StateError;
use super::format::document;
use super::location::{Holder, Location};
use super::names;
use super::snapshot::FORMAT;
use super::store::Store;

// No stack's folder is called so: in those a dot is written otherwise.
const NOTICE: &str = "notice.json";
const LOCK: &str = "notice.lock";
const KIND: &str = "notice";

/// Where states are kept, as `epid state migrate` takes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Place {
    /// `s3://BUCKET/PREFIX`, or the path of a folder.
    pub url: String,
    /// Another service than AWS that speaks S3: its URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
}

impl Place {
    /// As it is written on the command line.
    #[must_use]
    pub fn words(&self) -> String {
        match &self.endpoint {
            Some(endpoint) => format!("--to {} --endpoint {endpoint}", self.url),
            None => format!("--to {}", self.url),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.endpoint {
            Some(endpoint) => write!(f, "{} at {endpoint}", self.url),
            None => f.write_str(&self.url),
        }
    }
}

/// How far a migration is, as one of its two places tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Moving {
    /// The states are here, and are being copied to the other place.
    Leaving,
    /// The states are being copied here from the other place, where they still are.
    Arriving,
    /// The states are in the other place.
    Left,
}

/// A notice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Notice {
    epid: String,
    format: u32,
    /// How far the migration is.
    pub moving: Moving,
    /// The other place.
    pub place: Place,
    /// Who began it.
    pub by: Holder,
}

impl Notice {
    pub(super) fn new(moving: Moving, place: &Place, by: &Holder) -> Self {
        Self {
            epid: KIND.to_owned(),
            format: FORMAT,
            moving,
            place: place.clone(),
            by: by.clone(),
        }
    }
}

impl Store {
    /// Makes sure that the states of a stack's project are here, and not moved or about to be.
    ///
    /// # Errors
    /// [`StateError::Elsewhere`], [`StateError::Corrupt`], [`StateError::Io`].
    pub async fn stays(&self, location: &Location) -> Result<(), StateError> {
        if self.is_moving {
            return Ok(());
        }
        match self.notice(location).await? {
            Some(notice) => Err(self.elsewhere(location, notice)),
            None => Ok(()),
        }
    }

    pub(super) fn describe_notice(&self, of: &Location) -> String {
        self.blobs.describe(&names::beside(of, NOTICE))
    }

    pub(super) fn elsewhere(&self, of: &Location, notice: Notice) -> StateError {
        let file = self.describe_notice(of);
        let beside = names::beside(of, NOTICE);
        let here = file.strip_suffix(&*beside).unwrap_or(&file).trim_end_matches('/');
        StateError::Elsewhere {
            project: of.project.clone(),
            here: here.to_owned(),
            file,
            notice: Box::new(notice),
        }
    }

    /// The notice of the project and world of a location.
    pub(super) async fn notice(&self, of: &Location) -> Result<Option<Notice>, StateError> {
        let name = names::beside(of, NOTICE);
        let Some(bytes) = self.blobs.get(&name).await? else {
            return Ok(None);
        };
        let notice = document::head(&[&bytes[..], b"\n"].concat(), KIND);
        notice.map(Some).map_err(|damage| {
            damage.of(
                self.blobs.describe(&name),
                "find out where the states of this project are, then remove it",
            )
        })
    }

    pub(super) async fn put_notice(&self, of: &Location, notice: &Notice) -> Result<(), StateError> {
        let text = serde_json::to_vec(notice).map_err(|error| StateError::Abandoned(error.to_string()))?;
        Ok(self.blobs.put(&names::beside(of, NOTICE), text).await?)
    }

    pub(super) async fn remove_notice(&self, of: &Location) -> Result<(), StateError> {
        Ok(self.blobs.delete(&names::beside(of, NOTICE)).await?)
    }

    /// Takes the lock under which the notice of a project is written.
    pub(super) async fn lock_notice(
        &self,
        of: &Location,
        holder: &Holder,
    ) -> Result<Arc<dyn Guard>, StateError> {
        let tenure = match self.blobs.lock(&names::beside(of, LOCK), holder).await? {
            Lock::Taken(guard) => return Ok(guard),
            Lock::Held(tenure) => tenure,
        };
        let (holder, until) = match tenure {
            Some(tenure) => (Some(tenure.holder), Some(tenure.until)),
            None => (self.notice(of).await?.map(|notice| notice.by), None),
        };
        Err(StateError::Locked {
            location: of.clone(),
            holder: holder.map(Box::new),
            until,
        })
    }
}
