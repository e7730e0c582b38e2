//! The providers a run can use, by name.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use epid_provider::{Failure, Kind, KindSchema, Provider};

/// The kind prefix of provider nodes: a provider of type `aws` has the kind `epid:provider:aws`.
pub const PROVIDER_KIND: &str = "epid:provider:";

/// The providers a run can use, by the first part of their kinds.
#[derive(Clone, Default)]
pub struct Providers(BTreeMap<String, Arc<dyn Provider>>);

impl Providers {
    /// Adds a provider under its own name.
    pub fn add(&mut self, provider: Arc<dyn Provider>) {
        self.0.insert(provider.name().to_owned(), provider);
    }

    /// The provider that owns a kind; for a provider node's kind, the provider itself.
    #[must_use]
    pub fn of(&self, kind: &Kind) -> Option<&Arc<dyn Provider>> {
        let name = provider_type(kind).unwrap_or_else(|| kind.provider());
        self.0.get(name)
    }

    /// The provider of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<dyn Provider>> {
        self.0.get(name)
    }

    /// The schema of a kind; for a provider node's kind, that of its configuration.
    #[must_use]
    pub fn schema(&self, kind: &Kind) -> Option<Arc<KindSchema>> {
        let provider = self.of(kind)?;
        if provider_type(kind).is_some() {
            Some(provider.config())
        } else {
            provider.schema(kind)
        }
    }

    /// All providers, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Arc<dyn Provider>)> {
        self.0.iter().map(|(name, provider)| (name.as_str(), provider))
    }

    /// Every kind that can be named, for suggestions.
    #[must_use]
    pub fn kinds(&self) -> Vec<Kind> {
        self.0.values().flat_map(|p| p.kinds()).collect()
    }
}

/// The provider type of a provider node's kind: `aws` of `epid:provider:aws`.
#[must_use]
pub fn provider_type(kind: &Kind) -> Option<&str> {
    kind.as_str().strip_prefix(PROVIDER_KIND)
}

impl fmt::Debug for Providers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// What is refused where a provider leads somewhere else than where its resources were made.
pub(crate) fn elsewhere(recorded: &str, now: &str) -> Failure {
    Failure::new(
        "OtherIdentity",
        format_args!("is connected to {now}, but its resources were made in {recorded}"),
    )
    .with_hint("use the credentials and the configuration of the recorded one, or declare another provider")
}
