//! How a file is written so that a crash leaves the old one or the new one: aside, synced, and then given its name.
#![expect(
    clippy::disallowed_methods,
    reason = "this room owns the files of the state and its keys"
)]

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Who may read a file that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Its owner.
    Owner,
    /// Whoever could read the one before; where there was none, whom the system lets.
    Kept,
}

/// In the name of a file that is not yet what it will be, `.NAME.epid-PROCESS-NUMBER`.
const MARK: &str = ".epid-";

/// A file that is not yet what it will be; removed where it never comes to that.
struct Temporary(PathBuf);

impl Temporary {
    fn write(target: &Path, bytes: &[u8], access: Access) -> io::Result<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        let path = target.with_file_name(format!(".{name}{MARK}{}-{count}", std::process::id()));
        let mut options = File::options();
        options.write(true).create_new(true);
        #[cfg(unix)]
        if access == Access::Owner {
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        }
        // Where the process before had the same number, and died.
        drop(fs::remove_file(&path));
        let mut file = options.open(&path)?;
        let temporary = Self(path);
        if access == Access::Kept
            && let Ok(before) = fs::metadata(target)
        {
            file.set_permissions(before.permissions())?;
        }
        file.write_all(bytes)?;
        file.sync_all()?;
        Ok(temporary)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // After a rename it is gone already.
        drop(fs::remove_file(&self.0));
    }
}

/// Writes a file, in place of the one there is, at once. Its folder is there.
pub(crate) fn replace(path: &Path, bytes: &[u8], access: Access) -> io::Result<()> {
    let temporary = Temporary::write(path, bytes, access)?;
    fs::rename(&temporary.0, path)?;
    sync_parent(path)
}

/// Writes a file that was not there, at once and for its owner only; false where it was. Makes its folder.
pub(super) fn create(path: &Path, bytes: &[u8]) -> io::Result<bool> {
    make_parent(path)?;
    let temporary = Temporary::write(path, bytes, Access::Owner)?;
    match fs::hard_link(&temporary.0, path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
        Err(_) if path.exists() => return Ok(false),
        // File systems without links. Nobody else makes this file: the caller holds the lock of the stack, or drew the name.
        Err(_) => fs::rename(&temporary.0, path)?,
    }
    sync_parent(path)?;
    Ok(true)
}

/// Removes what writers left in a folder that died before it had its name: of the file `of`, or of any. Only for who holds the lock
/// under which those files are written, so that no writer of them lives.
pub(crate) fn sweep(folder: &Path, of: Option<&OsStr>) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let target = name.to_str().and_then(target_of);
        let meant = target.is_some_and(|target| of.is_none_or(|of| of == target));
        if meant && entry.file_type()?.is_file() {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// The name that a temporary file was to get.
fn target_of(temporary: &str) -> Option<&str> {
    let (target, made) = temporary.strip_prefix('.')?.rsplit_once(MARK)?;
    let (process, count) = made.split_once('-')?;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    (!target.is_empty() && is_number(process) && is_number(count)).then_some(target)
}

/// Makes the folder of a file, for its owner only.
pub(super) fn make_parent(path: &Path) -> io::Result<()> {
    let Some(parent) = path.parent().filter(|parent| !parent.is_dir()) else {
        return Ok(());
    };
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(parent)?;
    // The new folder's own name must survive a crash too.
    sync_above(parent)
}

/// Makes the name of a file durable, and those of the folders it is in, as far as the state's go.
pub(super) fn sync_above(path: &Path) -> io::Result<()> {
    path.ancestors()
        .skip(1)
        .take(5)
        .filter(|a| a.is_dir())
        .try_for_each(sync_directory)
}

/// Makes the name of a file durable, or that it has none any more.
pub(super) fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        // A path of one part is in the current folder.
        Some(parent) if parent.as_os_str().is_empty() => sync_directory(Path::new(".")),
        Some(parent) => sync_directory(parent),
        None => Ok(()),
    }
}

/// Makes names in a directory durable; only Unix has that.
fn sync_directory(directory: &Path) -> io::Result<()> {
    if cfg!(unix) {
        File::open(directory)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_dead_left_is_swept_up_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let dead = Temporary::write(&folder.path().join("dev.toml"), b"1", Access::Owner).unwrap();
        std::mem::forget(dead);
        let others = [
            "dev.toml",
            ".dev.toml",
            ".dev.toml.epid",
            ".dev.toml.epid-",
            ".dev.toml.epid-7",
            ".dev.toml.epid-7-",
            ".dev.toml.epid-7-b",
            ".dev.toml.7.0",
            ".dev.toml.swp",
            "dev.toml.epid-7-0",
            ".epid-7-0",
            ".prod.toml.epid-7-0",
        ];
        for name in others {
            fs::write(folder.path().join(name), "").unwrap();
        }
        fs::create_dir(folder.path().join(".dev.toml.epid-8-0")).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), others.len() + 2);
        sweep(folder.path(), Some(OsStr::new("dev.toml"))).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), others.len() + 1);
        for name in others {
            assert!(folder.path().join(name).exists(), "{name}");
        }
        // Of any file: that of prod.toml too.
        sweep(folder.path(), None).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), others.len());
        sweep(&folder.path().join("none"), None).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn a_file_is_replaced_as_one_for_whom_it_is_for_and_nothing_stays_beside_it() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.toml");
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        replace(&path, b"1", Access::Owner).unwrap();
        assert_eq!(mode(), 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        replace(&path, b"2", Access::Kept).unwrap();
        assert_eq!((fs::read(&path).unwrap(), mode()), (b"2".to_vec(), 0o640));
        replace(&path, b"3", Access::Owner).unwrap();
        assert_eq!((fs::read(&path).unwrap(), mode()), (b"3".to_vec(), 0o600));
        // What cannot take the name leaves the old one, and nothing aside.
        fs::create_dir(folder.path().join("b")).unwrap();
        assert!(replace(&folder.path().join("b"), b"4", Access::Owner).is_err());
        assert!(replace(&folder.path().join("none/c"), b"4", Access::Owner).is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
