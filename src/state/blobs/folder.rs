//! Blobs as files of a local folder.
#![expect(clippy::disallowed_methods, reason = "this room owns the files of the state")]

use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;

use super::{BlobError, Blobs, Guard, Lock, Log};
use crate::state::Holder;
use crate::state::files::{Access, create, make_parent, replace, sweep, sync_above, sync_parent};

/// What Git is told of a folder, with the reason.
const IGNORED: &str = "\
# Keys, states and notes of this clone. Nothing in here belongs into the repository: a team shares states in a bucket
# (`epid state migrate --to s3://...`), and keys in Epid.keys.toml (`epid keys rotate --to passphrase`) or by another way.
# epid writes this file where there is none, and never over another one.
*
";

/// A local folder. It is made with the first write, private to its owner.
///
/// A write goes to a file of its own, is synced and takes the name at once. Locks are the kernel's and end with the process.
#[derive(Debug, Clone)]
pub struct FolderBlobs {
    root: Arc<Path>,
    /// A folder around it that Git is to leave alone.
    ignored: Option<Arc<Path>>,
}

impl FolderBlobs {
    /// The blobs below `root`, which need not exist yet.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            root: Arc::from(root.into()),
            ignored: None,
        }
    }

    /// The same; with the first write Git is told to leave `folder` alone, unless it has been told something about it.
    #[must_use]
    pub fn ignored_with(mut self, folder: impl Into<PathBuf>) -> Self {
        self.ignored = Some(Arc::from(folder.into()));
        self
    }

    fn path(&self, action: &'static str, name: &str) -> Result<PathBuf, BlobError> {
        let fits = |segment: &str| {
            !segment.is_empty()
                && !segment.starts_with('.')
                && segment
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"%._-".contains(&b))
        };
        if name.split('/').all(fits) {
            Ok(name
                .split('/')
                .fold(self.root.to_path_buf(), |path, part| path.join(part)))
        } else {
            let source = io::Error::new(io::ErrorKind::InvalidInput, "this is no name of a blob");
            Err(BlobError {
                action,
                file: format!("{name:?}"),
                source: Arc::new(source),
            })
        }
    }

    /// Does file work where it may block.
    async fn work<R: Send + 'static>(
        &self,
        action: &'static str,
        name: &str,
        work: impl FnOnce(&Path) -> io::Result<R> + Send + 'static,
    ) -> Result<R, BlobError> {
        let path = self.path(action, name)?;
        blocking(action, path, work).await
    }
}

async fn blocking<R: Send + 'static>(
    action: &'static str,
    path: PathBuf,
    work: impl FnOnce(&Path) -> io::Result<R> + Send + 'static,
) -> Result<R, BlobError> {
    let file = path.display().to_string();
    let done = tokio::task::spawn_blocking(move || work(&path))
        .await
        .unwrap_or_else(|died| Err(io::Error::other(died)));
    done.map_err(|error| BlobError {
        action,
        file,
        source: Arc::new(error),
    })
}

#[async_trait]
impl Blobs for FolderBlobs {
    fn describe(&self, name: &str) -> String {
        self.root.join(name).display().to_string()
    }

    async fn get(&self, name: &str) -> Result<Option<Vec<u8>>, BlobError> {
        self.work("read", name, |path| absent_is_none(fs::read(path)))
            .await
    }

    async fn put(&self, name: &str, bytes: Vec<u8>) -> Result<(), BlobError> {
        let ignored = self.ignored.clone();
        self.work("write", name, move |path| {
            if let Some(folder) = ignored {
                ignore(&folder)?;
            }
            make_parent(path)?;
            replace(path, &bytes, Access::Owner)
        })
        .await
    }

    async fn put_new(&self, name: &str, bytes: Vec<u8>) -> Result<bool, BlobError> {
        self.work("write", name, move |path| create(path, &bytes)).await
    }

    async fn list(&self, folder: &str) -> Result<Vec<String>, BlobError> {
        let path = match folder.trim_end_matches('/') {
            "" => self.root.to_path_buf(),
            folder => self.path("list", folder)?,
        };
        let root = self.root.clone();
        blocking("list", path, move |path| {
            let mut names = Vec::new();
            walk(&root, path, &mut names)?;
            names.sort();
            Ok(names)
        })
        .await
    }

    async fn delete(&self, name: &str) -> Result<(), BlobError> {
        self.work("delete", name, |path| {
            if absent_is_none(fs::remove_file(path))?.is_some() {
                sync_parent(path)?;
            }
            Ok(())
        })
        .await
    }

    async fn start_log(&self, name: &str, first: Vec<u8>) -> Result<Option<Box<dyn Log>>, BlobError> {
        let started = self.work("write", name, move |path| {
            if !create(path, &first)? {
                return Ok(None);
            }
            let file = File::options().append(true).open(path)?;
            Ok(Some(FolderLog {
                path: path.to_path_buf(),
                file: Some(file),
            }))
        });
        Ok(started.await?.map(|log| Box::new(log) as Box<dyn Log>))
    }

    async fn fence(&self, _: &str) -> Result<(), BlobError> {
        // A kernel's lock cannot be taken from who holds it.
        Ok(())
    }

    async fn settle(&self, name: &str) -> Result<(), BlobError> {
        self.work("write", name, |path| {
            if let Some(file) = absent_is_none(File::options().write(true).open(path))? {
                file.sync_all()?;
            }
            // Its writer may have died before its name was durable, or that of a folder.
            sync_above(path)
        })
        .await
    }

    async fn sweep(&self, folder: &str) -> Result<(), BlobError> {
        self.work("tidy", folder, |path| sweep(path, None)).await
    }

    async fn lock(&self, name: &str, _: &Holder) -> Result<Lock, BlobError> {
        let locked = self.work("lock", name, |path| {
            make_parent(path)?;
            let file = File::options()
                .create(true)
                .truncate(false)
                .write(true)
                .open(path)?;
            match file.try_lock() {
                Ok(()) => Ok(Some(FolderGuard { _file: file })),
                Err(TryLockError::WouldBlock) => Ok(None),
                Err(TryLockError::Error(error)) => Err(error),
            }
        });
        Ok(match locked.await? {
            Some(guard) => Lock::Taken(Arc::new(guard)),
            None => Lock::Held(None),
        })
    }
}

/// The lock is the open file's: it ends when the file is closed, however that comes.
#[derive(Debug)]
struct FolderGuard {
    _file: File,
}

impl Guard for FolderGuard {}

#[derive(Debug)]
struct FolderLog {
    path: PathBuf,
    /// Gone after a failure: what the file holds then is not known.
    file: Option<File>,
}

#[async_trait]
impl Log for FolderLog {
    async fn append(&mut self, bytes: Vec<u8>) -> Result<(), BlobError> {
        let file = self.file.take();
        let appended = blocking("write", self.path.clone(), move |_| {
            let mut file = file.ok_or_else(|| io::Error::other("an earlier write failed"))?;
            file.write_all(&bytes)?;
            file.sync_data()?;
            Ok(file)
        });
        self.file = Some(appended.await?);
        Ok(())
    }
}

/// Tells Git to leave a folder alone, unless it has been told something about it. The folder is made where there is none.
///
/// # Errors
/// Where the folder, or the `.gitignore` in it, cannot be written.
pub fn ignore(folder: &Path) -> io::Result<()> {
    let file = folder.join(".gitignore");
    if file.exists() {
        return Ok(());
    }
    create(&file, IGNORED.as_bytes()).map(drop)
}

fn absent_is_none<R>(result: io::Result<R>) -> io::Result<Option<R>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        result => result.map(Some),
    }
}

fn walk(root: &Path, directory: &Path, names: &mut Vec<String>) -> io::Result<()> {
    let Some(entries) = absent_is_none(fs::read_dir(directory))? else {
        return Ok(());
    };
    for entry in entries {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name());
        if name.to_string_lossy().starts_with('.') {
            continue;
        }
        if entry.file_type()?.is_dir() {
            walk(root, &path, names)?;
        } else if let Ok(relative) = path.strip_prefix(root) {
            let parts: Vec<_> = relative.iter().map(|part| part.to_string_lossy()).collect();
            names.push(parts.join("/"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn blobs_come_back_and_nothing_temporary_stays() {
        let directory = tempfile::tempdir().unwrap();
        let blobs = FolderBlobs::new(directory.path().join("state"));
        assert_eq!(blobs.get("a/b").await.unwrap(), None);
        assert!(blobs.list("").await.unwrap().is_empty());
        blobs.put("a/b", b"1".to_vec()).await.unwrap();
        blobs.put("a/b", b"2".to_vec()).await.unwrap();
        assert!(!blobs.put_new("a/b", b"3".to_vec()).await.unwrap());
        assert!(blobs.put_new("a/c/d", b"3".to_vec()).await.unwrap());
        assert_eq!(blobs.get("a/b").await.unwrap(), Some(b"2".to_vec()));
        assert_eq!(blobs.list("").await.unwrap(), ["a/b", "a/c/d"]);
        assert_eq!(blobs.list("a/c/").await.unwrap(), ["a/c/d"]);
        let files: Vec<_> = fs::read_dir(directory.path().join("state/a")).unwrap().collect();
        assert_eq!(files.len(), 2, "{files:?}");
        blobs.delete("a/b").await.unwrap();
        blobs.delete("a/b").await.unwrap();
        assert_eq!(blobs.get("a/b").await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_log_grows_and_its_name_is_taken_once() {
        let directory = tempfile::tempdir().unwrap();
        let blobs = FolderBlobs::new(directory.path());
        let mut log = blobs
            .start_log("a/log", b"head,".to_vec())
            .await
            .unwrap()
            .unwrap();
        assert!(
            blobs
                .start_log("a/log", b"other".to_vec())
                .await
                .unwrap()
                .is_none()
        );
        log.append(b"one,".to_vec()).await.unwrap();
        log.append(b"two".to_vec()).await.unwrap();
        assert_eq!(blobs.get("a/log").await.unwrap(), Some(b"head,one,two".to_vec()));
    }

    #[tokio::test]
    async fn a_lock_is_held_once_and_ends_with_its_guard() {
        let directory = tempfile::tempdir().unwrap();
        let (a, b) = (
            FolderBlobs::new(directory.path()),
            FolderBlobs::new(directory.path()),
        );
        let who = crate::state::tests::holder();
        let guard = a.lock("x/lock", &who).await.unwrap().taken();
        assert!(guard.is_some());
        assert!(b.lock("x/lock", &who).await.unwrap().taken().is_none());
        drop(guard);
        assert!(b.lock("x/lock", &who).await.unwrap().taken().is_some());
    }

    #[tokio::test]
    async fn hostile_names_lead_nowhere() {
        let directory = tempfile::tempdir().unwrap();
        let blobs = FolderBlobs::new(directory.path().join("inside"));
        for name in [
            "../x",
            "a/../../x",
            "/etc/x",
            "a//b",
            "",
            ".",
            "a/.b",
            "a\\b",
            "A",
            "a\0",
        ] {
            assert!(blobs.put(name, Vec::new()).await.is_err(), "{name:?}");
        }
        assert!(fs::read_dir(directory.path()).unwrap().next().is_none());
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn state_is_private_to_its_owner() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let blobs = FolderBlobs::new(directory.path().join("state"));
        blobs.put("a/b", b"1".to_vec()).await.unwrap();
        let mode = |path: &str| {
            fs::metadata(directory.path().join(path))
                .unwrap()
                .permissions()
                .mode()
                & 0o777
        };
        assert_eq!(
            (mode("state"), mode("state/a"), mode("state/a/b")),
            (0o700, 0o700, 0o600)
        );
    }
}
