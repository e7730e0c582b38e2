//! How Kubernetes and epid call things: API versions, ids, annotations, the field manager.

use std::fmt;
use std::sync::Arc;

use epid_provider::{Kind, Value};

/// The annotation that names the owning stack by its lineage.
pub(crate) const LINEAGE: &str = "epid.dev/lineage";
/// The annotation that names the owning resource.
pub(crate) const URN: &str = "epid.dev/urn";
/// The annotation with the token of the operation that applied the object last.
pub(crate) const TOKEN: &str = "epid.dev/token";
/// The annotation of a program by which nothing waits until the object works: `"true"`.
pub(crate) const SKIP_AWAIT: &str = "epid.dev/skipAwait";
/// The longest name a field manager may have.
const LONGEST_MANAGER: usize = 128;

/// API versions.
pub(crate) mod api_version {
    /// True for `v1`, `v1beta1`, `apps/v1`.
    pub(crate) fn is_one(text: &str) -> bool {
        match text.split_once('/') {
            Some((group, version)) => !group.is_empty() && !version.contains('/') && is_version(version),
            None => is_version(text),
        }
    }

    /// The group of an API version; empty for `v1`.
    pub(crate) fn group(text: &str) -> &str {
        text.split_once('/').map_or("", |(group, _)| group)
    }

    fn is_version(text: &str) -> bool {
        text.strip_prefix('v').is_some_and(|rest| {
            rest.starts_with(|c: char| c.is_ascii_digit()) && rest.bytes().all(|b| b.is_ascii_alphanumeric())
        })
    }
}

/// The field manager of a stack: `epid-LINEAGE`. It stays as long as the stack, so that what a program drops is removed.
pub(crate) fn field_manager(lineage: &str) -> String {
    let mut manager: String = format!("epid-{lineage}")
        .chars()
        .filter(|c| c.is_ascii_graphic())
        .collect();
    manager.truncate(LONGEST_MANAGER);
    manager
}

/// Where an object is: the text form is its physical id, `shop/web` or, for objects of the cluster, `shop`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Place {
    /// The namespace; `None` for objects of the cluster.
    pub(crate) namespace: Option<Arc<str>>,
    /// The object's name.
    pub(crate) name: Arc<str>,
}

impl Place {
    /// Reads an id; `fallback` is the namespace of a namespaced object whose id tells none.
    pub(crate) fn parse(id: &str, namespaced: bool, fallback: &str) -> Self {
        let (namespace, name) = match id.split_once('/') {
            Some((namespace, name)) => (Some(namespace), name),
            None => (None, id),
        };
        Self {
            namespace: namespaced.then(|| Arc::from(namespace.unwrap_or(fallback))),
            name: Arc::from(name),
        }
    }

    /// The id.
    pub(crate) fn id(&self) -> Arc<str> {
        Arc::from(self.to_string())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{namespace}/{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// The text at `metadata.KEY` of properties, where it is known.
pub(crate) fn metadata<'a>(properties: &'a Value, key: &str) -> Option<&'a str> {
    text(properties.get("metadata")?, key)
}

/// The text at a key of a map, where it is known and not empty.
pub(crate) fn text<'a>(map: &'a Value, key: &str) -> Option<&'a str> {
    map.expose().get(key)?.expose().as_str().filter(|t| !t.is_empty())
}

/// A kind as people write it in messages: `Deployment`, `Widget.example.com`.
pub(crate) fn short(kind: &Kind) -> String {
    match api_version::group(kind.module()) {
        group if group.contains('.') && crate::schema::served(kind).is_none() => {
            format!("{}.{group}", kind.name())
        }
        _ => kind.name().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn api_versions_are_told_from_groups() {
        for text in ["v1", "apps/v1", "elbv2.k8s.aws/v1beta1"] {
            assert!(api_version::is_one(text), "{text}");
        }
        for text in ["apps", "apps/", "/v1", "v", "a/b/v1", "vx"] {
            assert!(!api_version::is_one(text), "{text}");
        }
    }

    #[test]
    fn ids_come_back() {
        for (id, namespaced) in [("shop/web", true), ("shop", false)] {
            assert_eq!(Place::parse(id, namespaced, "default").to_string(), id);
        }
        assert_eq!(Place::parse("web", true, "shop").to_string(), "shop/web");
    }

    #[test]
    fn a_field_manager_fits() {
        assert_eq!(field_manager("01ab"), "epid-01ab");
        assert_eq!(field_manager(&"x".repeat(300)).len(), 128);
    }
}
