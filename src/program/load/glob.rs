//! Patterns of files: `*` and `?` within a name, `**` for any number of folders.

use std::path::{Path, PathBuf};

use super::disk;

/// No pattern finds more files than this.
pub(super) const MOST: usize = 10_000;

/// Why a pattern finds nothing that can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum GlobError {
    /// It is no pattern: why.
    Pattern(&'static str),
    /// It finds more than [`MOST`] files or looks at ten times as many.
    TooMany,
    /// A folder cannot be listed: its path and why.
    Folder(PathBuf, String),
}

/// The files that `pattern` finds beneath `root`, relative to it, in the order of their names.
///
/// `**` does not follow links to folders, so a loop of links ends; hidden files and folders are found only by a name
/// that starts with a dot itself.
pub(super) fn find(root: &Path, pattern: &str) -> Result<Vec<PathBuf>, GlobError> {
    let path = Path::new(pattern);
    if pattern.trim().is_empty() {
        return Err(GlobError::Pattern("it is empty"));
    }
    if path.is_absolute() || path.has_root() {
        return Err(GlobError::Pattern("it must be relative to the project's folder"));
    }
    let mut parts: Vec<&str> = pattern
        .split('/')
        .filter(|p| !p.is_empty() && *p != ".")
        .collect();
    parts.dedup_by(|a, b| *a == "**" && *b == "**");
    if parts.iter().any(|p| p.contains("**") && *p != "**") {
        return Err(GlobError::Pattern("`**` must stand alone between slashes"));
    }
    if parts.last() == Some(&"**") {
        return Err(GlobError::Pattern("`**` finds folders; end it with `**/*`"));
    }
    let mut search = Search {
        root,
        found: Vec::new(),
        looked: 0,
    };
    search.walk(&PathBuf::new(), &parts)?;
    search.found.sort();
    search.found.dedup();
    Ok(search.found)
}

struct Search<'a> {
    root: &'a Path,
    found: Vec<PathBuf>,
    looked: usize,
}

impl Search<'_> {
    fn walk(&mut self, at: &Path, parts: &[&str]) -> Result<(), GlobError> {
        let Some((part, rest)) = parts.split_first() else {
            return Ok(());
        };
        if *part == "**" {
            self.walk(at, rest)?;
            for (name, folder) in self.list(at)? {
                if folder && !name.starts_with('.') {
                    self.walk(&at.join(name), parts)?;
                }
            }
            return Ok(());
        }
        if !part.contains(['*', '?']) {
            let next = disk::tidy(&at.join(part));
            if rest.is_empty() {
                if disk::exists(&self.root.join(&next)) {
                    self.add(next)?;
                }
            } else if disk::is_folder(&self.root.join(&next)) {
                self.walk(&next, rest)?;
            }
            return Ok(());
        }
        for (name, folder) in self.list(at)? {
            if !matches(part, &name) {
                continue;
            }
            let next = at.join(&name);
            if !rest.is_empty() {
                if folder || disk::is_folder(&self.root.join(&next)) {
                    self.walk(&next, rest)?;
                }
            } else if !folder {
                self.add(next)?;
            }
        }
        Ok(())
    }

    fn add(&mut self, path: PathBuf) -> Result<(), GlobError> {
        self.found.push(path);
        if self.found.len() > MOST {
            return Err(GlobError::TooMany);
        }
        Ok(())
    }

    fn list(&mut self, at: &Path) -> Result<Vec<(String, bool)>, GlobError> {
        let names =
            disk::list(&self.root.join(at)).map_err(|e| GlobError::Folder(at.to_path_buf(), e.why))?;
        self.looked += names.len() + 1;
        if self.looked > 10 * MOST {
            return Err(GlobError::TooMany);
        }
        Ok(names)
    }
}

/// True where a name fits one part of a pattern. Linear in name times pattern, whatever they are.
fn matches(part: &str, name: &str) -> bool {
    if name.starts_with('.') && !part.starts_with('.') {
        return false;
    }
    let (part, name): (Vec<char>, Vec<char>) = (part.chars().collect(), name.chars().collect());
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        if p < part.len() && part[p] == '*' {
            star = Some((p, n));
            p += 1;
        } else if p < part.len() && (part[p] == '?' || part[p] == name[n]) {
            p += 1;
            n += 1;
        } else if let Some((star_part, star_name)) = star {
            star = Some((star_part, star_name + 1));
            p = star_part + 1;
            n = star_name + 1;
        } else {
            return false;
        }
    }
    part[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_patterns() {
        for (part, name) in [
            ("*.yaml", "a.yaml"),
            ("a*b*c", "aXbYc"),
            ("*", "x"),
            ("a?c", "aéc"),
            (".*", ".a"),
        ] {
            assert!(matches(part, name), "{part} {name}");
        }
        for (part, name) in [("*.yaml", "a.yml"), ("*", ".a"), ("a*b", "acbd"), ("?", "")] {
            assert!(!matches(part, name), "{part} {name}");
        }
    }

    #[test]
    fn a_hostile_pattern_ends() {
        assert!(!matches(
            &"*a".repeat(200),
            &"a".repeat(5000).replace("aaaaaaaaaa", "b")
        ));
    }

    #[test]
    fn files_are_found_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for file in [
            "k8s/b.yaml",
            "k8s/a.yaml",
            "k8s/x/c.yaml",
            "k8s/x/y/d.yaml",
            "k8s/.hidden/e.yaml",
            "f.yml",
        ] {
            std::fs::create_dir_all(root.join(file).parent().unwrap()).unwrap();
            #[expect(clippy::disallowed_methods, reason = "a test makes its files")]
            std::fs::write(root.join(file), "").unwrap();
        }
        #[cfg(unix)]
        std::os::unix::fs::symlink(root, root.join("k8s/x/loop")).unwrap();
        let find = |pattern: &str| -> Vec<String> {
            let found = find(root, pattern).unwrap();
            found.iter().map(|p| p.display().to_string()).collect()
        };
        assert_eq!(find("k8s/*.yaml"), ["k8s/a.yaml", "k8s/b.yaml"]);
        assert_eq!(
            find("k8s/**/*.yaml"),
            ["k8s/a.yaml", "k8s/b.yaml", "k8s/x/c.yaml", "k8s/x/y/d.yaml"]
        );
        assert_eq!(find("**/y/*"), ["k8s/x/y/d.yaml"]);
        assert_eq!(find("./k8s/../f.yml"), ["f.yml"]);
        assert!(find("nothing/*.yaml").is_empty());
        for bad in ["", "/etc/*", "a**/b", "k8s/**"] {
            assert!(
                matches!(super::find(root, bad), Err(GlobError::Pattern(_))),
                "{bad}"
            );
        }
    }
}
