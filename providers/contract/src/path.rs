//! Property paths: where in a resource's properties something stands.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// One step of a [`Path`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Segment {
    /// A key of a map: `.image`, or `["eks.amazonaws.com/role-arn"]` where the key is no identifier.
    Key(Arc<str>),
    /// A position in a list, from 0: `[2]`.
    Index(usize),
    /// An element of a list known by its merge key: `[curator]`.
    Element(Arc<str>),
}

/// A path from the root of a resource's properties: `spec.template.spec.containers[curator].image`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Path(Vec<Segment>);

impl Path {
    /// The root itself.
    #[must_use]
    pub fn root() -> Self {
        Self::default()
    }

    /// The steps from the root.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.0
    }

    /// This path and one step more.
    #[must_use]
    pub fn join(&self, segment: Segment) -> Self {
        let mut path = self.0.clone();
        path.push(segment);
        Self(path)
    }

    /// This path and one map key more.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        self.join(Segment::Key(Arc::from(key)))
    }

    /// True where `self` is `other` or stands above it. A position matches an element only of the same spelling.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        other.0.starts_with(&self.0)
    }
}

impl FromIterator<Segment> for Path {
    fn from_iter<I: IntoIterator<Item = Segment>>(segments: I) -> Self {
        Self(segments.into_iter().collect())
    }
}

fn is_plain(key: &str) -> bool {
    !key.is_empty()
        && key
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b))
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Key(key) if is_plain(key) => write!(f, "{}{key}", if at == 0 { "" } else { "." })?,
                Segment::Key(key) => write!(f, "[{:?}]", &**key)?,
                Segment::Index(index) => write!(f, "[{index}]")?,
                Segment::Element(name) => write!(f, "[{name}]")?,
            }
        }
        Ok(())
    }
}

/// A text is not a path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a property path: write it as `spec.containers[web].image` or `metadata.labels[\"a/b\"]`"
)]
pub struct PathError(String);

impl FromStr for Path {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        let bad = || PathError(text.to_owned());
        let mut segments = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            if let Some(inner) = rest.strip_prefix("[\"") {
                let end = inner.find("\"]").ok_or_else(bad)?;
                segments.push(Segment::Key(Arc::from(&inner[..end])));
                rest = &inner[end + 2..];
            } else if let Some(inner) = rest.strip_prefix('[') {
                let end = inner.find(']').ok_or_else(bad)?;
                let name = &inner[..end];
                if name.is_empty() {
                    return Err(bad());
                }
                segments.push(
                    name.parse()
                        .map_or_else(|_| Segment::Element(Arc::from(name)), Segment::Index),
                );
                rest = &inner[end + 1..];
            } else {
                let key = rest.strip_prefix('.').unwrap_or(rest);
                let end = key.find(['.', '[']).unwrap_or(key.len());
                if !is_plain(&key[..end]) {
                    return Err(bad());
                }
                segments.push(Segment::Key(Arc::from(&key[..end])));
                rest = &key[end..];
            }
        }
        Ok(Self(segments))
    }
}

impl Serialize for Path {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Path {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_path_agree() {
        for text in [
            "",
            "spec.template",
            "a[2].b",
            "containers[web].image",
            r#"metadata.labels["a.b/c"]"#,
        ] {
            let path: Path = text.parse().unwrap();
            assert_eq!(path.to_string(), text);
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["a..b", "a[", "a[]", "a b", "[\"x"] {
            assert!(text.parse::<Path>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_parent_covers_its_children() {
        let parent: Path = "spec".parse().unwrap();
        assert!(parent.covers(&"spec.replicas".parse().unwrap()));
        assert!(!parent.covers(&"specs".parse().unwrap()));
    }
}
