//! Where states are kept: in the project's folder, or in a bucket.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::Error;
use crate::program::Backend as Settings;
use crate::state::blobs::{Blobs, FolderBlobs};
use crate::state::{Place, is_sandbox};

/// Where the states of a project are.
pub(crate) struct Backend {
    /// Those in the project's folder: of the sandbox always, which is there too.
    pub(crate) here: Arc<dyn Blobs>,
    /// All of them.
    pub(crate) all: Arc<dyn Blobs>,
    /// Some are reached over a network.
    pub(crate) remote: bool,
    /// Where those in the project's folder are.
    near: Place,
    /// Where the others are.
    far: Place,
}

impl Backend {
    /// Where the states of a world are.
    pub(crate) fn place(&self, world: &str) -> &Place {
        if is_sandbox(world) { &self.near } else { &self.far }
    }
}

/// Where the states of the project in `root` are, which says so in `settings`.
pub(crate) fn of(root: &Path, settings: Option<&Settings>) -> Result<Backend, Error> {
    let near = match settings {
        Some(local) if &*local.kind == "local" => local.settings.get("path"),
        _ => None,
    };
    let path = near.map_or_else(|| default(root), |path| root.join(&**path));
    let near = Place {
        url: resolved(&path).display().to_string(),
        endpoint: None,
    };
    let here = Arc::new(FolderBlobs::new(path));
    match settings {
        Some(bucket) if &*bucket.kind != "local" => remote(here, near, bucket),
        _ => Ok(Backend {
            here: here.clone(),
            all: here,
            remote: false,
            far: near.clone(),
            near,
        }),
    }
}

/// Where the states of a project are that says nothing.
pub(crate) fn default(root: &Path) -> PathBuf {
    root.join(".epid").join("state")
}

/// A path without links and steps up, as far as it exists.
pub(crate) fn resolved(path: &Path) -> PathBuf {
    let found = path.ancestors().find_map(|ancestor| {
        let real = ancestor.canonicalize().ok()?;
        Some(
            real.join(path.strip_prefix(ancestor).ok()?)
                .components()
                .collect(),
        )
    });
    found.unwrap_or_else(|| path.to_path_buf())
}

#[cfg(not(feature = "aws"))]
fn remote(_: Arc<dyn Blobs>, _: Place, _: &Settings) -> Result<Backend, Error> {
    Err(Error::invalid("this epid was built without S3").hint("build it with `--features aws`"))
}

#[cfg(feature = "aws")]
fn remote(here: Arc<dyn Blobs>, near: Place, backend: &Settings) -> Result<Backend, Error> {
    use super::surroundings;
    use crate::state::blobs::BucketBlobs;

    let setting = |name: &str| backend.settings.get(name).map(ToString::to_string);
    let place = epid_aws::s3::BucketPlace {
        bucket: setting("bucket").unwrap_or_default(),
        region: setting("region"),
        endpoint: setting("endpoint"),
    };
    let mut prefix = setting("prefix").unwrap_or_default();
    prefix = prefix.trim_matches('/').to_owned();
    let far = Place {
        url: format!("s3://{}/{prefix}", place.bucket)
            .trim_end_matches('/')
            .to_owned(),
        endpoint: place.endpoint.clone(),
    };
    if !prefix.is_empty() {
        prefix.push('/');
    }
    let objects = s3::Objects::new(place);
    let bucket = BucketBlobs::new(
        Arc::new(objects),
        &prefix,
        Arc::new(surroundings::wall),
        surroundings::randomness(),
    );
    Ok(Backend {
        here: here.clone(),
        all: Arc::new(super::split::Split {
            here,
            there: Arc::new(bucket),
        }),
        remote: true,
        near,
        far,
    })
}

#[cfg(feature = "aws")]
mod s3 {
    //! The AWS provider's bucket as the state wants one.

    use std::io;

    use async_trait::async_trait;
    use epid_aws::s3::{Bucket, BucketPlace, Only, S3Error};
    use epid_provider::Failure;
    use tokio::sync::OnceCell;

    use crate::state::blobs::{Condition, Object, ObjectError, ObjectStore};

    /// A bucket that is connected to with the first request.
    #[derive(Debug)]
    pub(super) struct Objects {
        place: BucketPlace,
        bucket: OnceCell<Bucket>,
    }

    impl Objects {
        pub(super) fn new(place: BucketPlace) -> Self {
            Self {
                place,
                bucket: OnceCell::new(),
            }
        }

        async fn bucket(&self) -> Result<&Bucket, ObjectError> {
            let settings = epid_aws::Settings::ordinary();
            let connect = || Bucket::connect(&settings, &self.place);
            let connected = self.bucket.get_or_try_init(connect).await;
            connected.map_err(|failure| ObjectError::Refused(told(&failure)))
        }
    }

    /// A failure with what to do about it.
    fn told(failure: &Failure) -> io::Error {
        io::Error::other(match &failure.hint {
            Some(hint) => format!("{}; {hint}", failure.message),
            None => failure.message.clone(),
        })
    }

    fn error(error: S3Error) -> ObjectError {
        match error {
            S3Error::Conflict => ObjectError::Conflict,
            S3Error::Unsettled(failure) => ObjectError::Unsettled(told(&failure)),
            S3Error::Refused(failure) => ObjectError::Refused(told(&failure)),
        }
    }

    #[async_trait]
    impl ObjectStore for Objects {
        fn describe(&self, key: &str) -> String {
            format!("s3://{}/{key}", self.place.bucket)
        }

        async fn get(&self, key: &str) -> Result<Option<Object>, ObjectError> {
            let found = self.bucket().await?.get(key).await.map_err(error)?;
            Ok(found.map(|object| Object {
                bytes: object.bytes,
                tag: object.tag,
            }))
        }

        async fn put(&self, key: &str, bytes: Vec<u8>, condition: &Condition) -> Result<String, ObjectError> {
            let only = match condition {
                Condition::Always => Only::Always,
                Condition::Absent => Only::Absent,
                Condition::Tagged(tag) => Only::Tagged(tag),
            };
            self.bucket().await?.put(key, bytes, only).await.map_err(error)
        }

        async fn list(&self, prefix: &str) -> Result<Vec<String>, ObjectError> {
            self.bucket().await?.list(prefix).await.map_err(error)
        }

        async fn delete(&self, key: &str) -> Result<(), ObjectError> {
            self.bucket().await?.delete(key).await.map_err(error)
        }
    }
}
