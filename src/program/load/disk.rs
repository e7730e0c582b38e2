//! The only place of this room that opens files.

use std::fs;
use std::io::{ErrorKind, Read};
use std::path::{Component, Path, PathBuf};

/// The largest file that is read.
pub(super) const LIMIT: u64 = 16 * 1024 * 1024;

/// Why a file cannot be read, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unreadable {
    /// What is wrong, to follow the file's name: `is not there`.
    pub(super) why: String,
    /// Line and column, where it is about one.
    pub(super) at: Option<(u32, u32)>,
    /// What to do.
    pub(super) hint: Option<&'static str>,
    /// True where there is no such file.
    pub(super) missing: bool,
}

fn refused(why: impl Into<String>, hint: Option<&'static str>) -> Unreadable {
    Unreadable {
        why: why.into(),
        at: None,
        hint,
        missing: false,
    }
}

/// Reads a text file of at most [`LIMIT`] bytes, without a byte order mark.
pub(super) fn read(path: &Path) -> Result<String, Unreadable> {
    // A pipe would hang and a folder would confuse, so what is no file is not opened.
    let metadata = fs::metadata(path).map_err(|e| io(&e))?;
    if metadata.is_dir() {
        return Err(refused("is a folder, not a file", None));
    }
    if !metadata.is_file() {
        return Err(refused("is not an ordinary file", None));
    }
    let too_large = || {
        refused(
            format!("is larger than {} MiB", LIMIT / 1024 / 1024),
            Some("split it, or keep data outside of programs"),
        )
    };
    if metadata.len() > LIMIT {
        return Err(too_large());
    }
    #[expect(clippy::disallowed_methods, reason = "this is the loader")]
    let file = fs::File::open(path).map_err(|e| io(&e))?;
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or_default());
    file.take(LIMIT + 1).read_to_end(&mut bytes).map_err(|e| io(&e))?;
    if bytes.len() as u64 > LIMIT {
        return Err(too_large());
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let before = error.as_bytes().get(..good).unwrap_or_default();
        let start = before.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        let line = before.iter().filter(|b| **b == b'\n').count() + 1;
        let column = String::from_utf8_lossy(before.get(start..).unwrap_or_default())
            .chars()
            .count()
            + 1;
        let cut = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Unreadable {
            at: Some((cut(line), cut(column))),
            ..match error.as_bytes() {
                [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => refused("is UTF-16", Some("save it as UTF-8")),
                _ => refused("is not UTF-8", Some("save it as UTF-8")),
            }
        }
    })?;
    Ok(match text.strip_prefix('\u{feff}') {
        Some(rest) => rest.to_owned(),
        None => text,
    })
}

fn io(error: &std::io::Error) -> Unreadable {
    match error.kind() {
        ErrorKind::NotFound => Unreadable {
            missing: true,
            ..refused("is not there", None)
        },
        ErrorKind::PermissionDenied => refused("may not be read", Some("check its permissions")),
        _ => refused(format!("cannot be read: {error}"), None),
    }
}

/// The names in a folder, sorted, each with whether it is a real folder (a link to one is not). What is not UTF-8 is
/// spelled with replacement characters.
pub(super) fn list(path: &Path) -> Result<Vec<(String, bool)>, Unreadable> {
    let mut names = Vec::new();
    for entry in fs::read_dir(path).map_err(|e| io(&e))? {
        let entry = entry.map_err(|e| io(&e))?;
        let folder = entry.file_type().is_ok_and(|t| t.is_dir());
        names.push((entry.file_name().to_string_lossy().into_owned(), folder));
    }
    names.sort();
    Ok(names)
}

/// True where a file stands at `path`, whatever it is.
pub(super) fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// True where `path` is a folder or a link to one.
pub(super) fn is_folder(path: &Path) -> bool {
    path.is_dir()
}

/// `path` without `.` and with `..` taken back where it can be, so that one file has one name.
pub(super) fn tidy(path: &Path) -> PathBuf {
    let mut tidy = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if matches!(tidy.components().next_back(), Some(Component::Normal(_))) => {
                tidy.pop();
            }
            other => tidy.push(other),
        }
    }
    tidy
}
