//! Identity: what a resource is called in epid, what sort of thing it is, and what the cloud calls it.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The kind of a resource: `provider:module:Name`, such as `aws:eks:Cluster`, `kubernetes:apps/v1:Deployment` or
/// `epid:data:Value`.
///
/// The module of a Kubernetes kind is its `apiVersion` (`v1`, `apps/v1`).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Kind(Arc<str>);

/// A text is not a kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a kind: a kind is `provider:module:Name`, such as `aws:ec2:Vpc`")]
pub struct KindError(String);

impl Kind {
    /// Parses `provider:module:Name`.
    ///
    /// # Errors
    /// [`KindError`] where a part is missing, empty or holds a character outside `[A-Za-z0-9._/-]`.
    pub fn parse(text: &str) -> Result<Self, KindError> {
        let part = |p: &str| {
            !p.is_empty()
                && p.bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"._/-".contains(&b))
        };
        let parts: Vec<&str> = text.split(':').collect();
        if parts.len() == 3 && parts.iter().all(|p| part(p)) {
            Ok(Self(Arc::from(text)))
        } else {
            Err(KindError(text.to_owned()))
        }
    }

    fn part(&self, n: usize) -> &str {
        self.0.split(':').nth(n).unwrap_or_default()
    }

    /// The whole text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The provider that owns the kind: `aws`, `kubernetes`, `epid`.
    #[must_use]
    pub fn provider(&self) -> &str {
        self.part(0)
    }

    /// The module: `eks`, `apps/v1`.
    #[must_use]
    pub fn module(&self) -> &str {
        self.part(1)
    }

    /// The name: `Cluster`, `Deployment`.
    #[must_use]
    pub fn name(&self) -> &str {
        self.part(2)
    }

    /// The kind without an API version, as URNs hold it: `kubernetes:apps/v1:Deployment` is `kubernetes:apps:Deployment`,
    /// `kubernetes:v1:Secret` is `kubernetes:core:Secret`; every other kind is unchanged.
    #[must_use]
    pub fn unversioned(&self) -> String {
        if self.provider() != "kubernetes" {
            return self.0.to_string();
        }
        let group = match self.module().split_once('/') {
            Some((group, _)) => group,
            None if is_api_version(self.module()) => "core",
            None => self.module(),
        };
        format!("kubernetes:{group}:{}", self.name())
    }
}

fn is_api_version(module: &str) -> bool {
    module
        .strip_prefix('v')
        .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of a resource everywhere in epid: `urn:epid:PROJECT:STACK:KIND:PATH`.
///
/// KIND carries no API version ([`Kind::unversioned`]). PATH is the component path and the name, joined by `/`:
/// `curator/deployment`; instances of `forEach` end in `["key"]`. URNs order by text.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Urn(Arc<str>);

/// A text is not a URN.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a URN: a URN is `urn:epid:PROJECT:STACK:PROVIDER:MODULE:NAME:PATH`")]
pub struct UrnError(String);

impl Urn {
    /// Builds the URN of the resource at `path` of `stack` in `project`.
    #[must_use]
    pub fn new(project: &str, stack: &str, kind: &Kind, path: &str) -> Self {
        Self(Arc::from(format!(
            "urn:epid:{project}:{stack}:{}:{path}",
            kind.unversioned()
        )))
    }

    /// Parses the text of a URN.
    ///
    /// # Errors
    /// [`UrnError`] where the prefix or a part is missing.
    pub fn parse(text: &str) -> Result<Self, UrnError> {
        let parts: Vec<&str> = text.splitn(8, ':').collect();
        if parts.len() == 8 && parts[0] == "urn" && parts[1] == "epid" && parts.iter().all(|p| !p.is_empty())
        {
            Ok(Self(Arc::from(text)))
        } else {
            Err(UrnError(text.to_owned()))
        }
    }

    fn part(&self, n: usize) -> &str {
        self.0.splitn(8, ':').nth(n).unwrap_or_default()
    }

    /// The whole text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The project.
    #[must_use]
    pub fn project(&self) -> &str {
        self.part(2)
    }

    /// The stack.
    #[must_use]
    pub fn stack(&self) -> &str {
        self.part(3)
    }

    /// The kind without API version: `kubernetes:apps:Deployment`.
    #[must_use]
    pub fn kind(&self) -> &str {
        let start: usize = (0..4).map(|n| self.part(n).len() + 1).sum();
        let end = self.0.len() - self.path().len() - 1;
        self.0.get(start..end).unwrap_or_default()
    }

    /// The component path and name: `curator/deployment`.
    #[must_use]
    pub fn path(&self) -> &str {
        self.part(7)
    }

    /// The last element of the path: `deployment`.
    #[must_use]
    pub fn name(&self) -> &str {
        let path = self.path();
        let head = path.find('[').map_or(path, |at| path.get(..at).unwrap_or(path));
        path.get(head.rfind('/').map_or(0, |at| at + 1)..).unwrap_or(path)
    }
}

impl fmt::Display for Urn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Urn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What the cloud will call a resource: equal keys are one physical thing, whatever the URNs say.
///
/// The text is for comparison and for people; its shape belongs to the provider (Kubernetes:
/// `cluster-uid/group/Kind/namespace/name`; IAM: `aws:iam:Role/NAME`).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Key(Arc<str>);

impl Key {
    /// Wraps the text of a key.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(Arc::from(text))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

macro_rules! as_text {
    ($type:ty, $parse:expr) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(&self.0)
            }
        }
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
                $parse(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}
as_text!(Kind, Kind::parse);
as_text!(Urn, Urn::parse);
as_text!(Key, |text: &str| Ok::<_, std::convert::Infallible>(Key::new(
    text
)));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_urn_has_no_api_version() {
        let v1 = Kind::parse("kubernetes:networking.k8s.io/v1:Ingress").unwrap();
        let beta = Kind::parse("kubernetes:networking.k8s.io/v1beta1:Ingress").unwrap();
        assert_eq!(
            Urn::new("p", "dev", &v1, "web"),
            Urn::new("p", "dev", &beta, "web")
        );
        assert_eq!(
            Kind::parse("kubernetes:v1:Secret").unwrap().unversioned(),
            "kubernetes:core:Secret"
        );
    }

    #[test]
    fn parts_come_back() {
        let kind = Kind::parse("aws:eks:Cluster").unwrap();
        let urn = Urn::new("healthmapidha", "dev", &kind, r#"net/subnet["a/b:c"]"#);
        let urn = Urn::parse(urn.as_str()).unwrap();
        assert_eq!(
            (urn.project(), urn.stack(), urn.kind()),
            ("healthmapidha", "dev", "aws:eks:Cluster")
        );
        assert_eq!(
            (urn.path(), urn.name()),
            (r#"net/subnet["a/b:c"]"#, r#"subnet["a/b:c"]"#)
        );
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "",
            "aws",
            "aws:eks",
            "aws::Cluster",
            "aws:eks:Cluster:x",
            "aws:e ks:Cluster",
        ] {
            assert!(Kind::parse(text).is_err(), "{text}");
        }
        assert!(Urn::parse("urn:epid:p:s:a:b:C:").is_err());
    }
}
