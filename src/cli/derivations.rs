//! What secrets come to, for whoever may not see them.
//!
//! A run that opens secrets writes down, for every value that is derived from secrets, how it was derived and the digest of what
//! it came to. Who has only the state part of a key finds there what an expression comes to whose secrets are digests: as long
//! as neither the expression nor a secret has changed, it has been written down.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::sync::Arc;

use epid_provider::{Map, Value};

use super::workspace::Recorded;
use crate::expression::{Digests, derived_marks};
use crate::state::StackKeys;

type Derived = BTreeMap<Arc<str>, Value>;

/// What is known of the secrets of a stack.
#[derive(Debug, Default)]
pub struct Derivations {
    /// `None` where the stack has no state yet.
    keys: Option<StackKeys>,
    known: Arc<Derived>,
    /// What was derived, where that is to be written down.
    noted: Option<RefCell<Derived>>,
    keyless: Cell<bool>,
}

impl Derivations {
    /// What is recorded.
    pub(crate) fn of(recorded: &Recorded) -> Self {
        Self {
            keys: recorded.keys.clone(),
            known: recorded.snapshot.derived.clone(),
            ..Self::default()
        }
    }

    /// Takes down what is derived from the secrets of a state with these keys.
    #[must_use]
    pub fn noting(keys: &StackKeys) -> Self {
        Self {
            keys: Some(keys.clone()),
            noted: Some(RefCell::default()),
            ..Self::default()
        }
    }

    /// What was derived so far, by the name of its derivation, with digests in place of secrets.
    #[must_use]
    pub fn noted(self) -> Derived {
        self.noted.map(RefCell::into_inner).unwrap_or_default()
    }

    /// True where secrets are their digests.
    pub(crate) fn opens_nothing(&self) -> bool {
        self.keys.as_ref().is_some_and(|keys| !keys.opens_secrets())
    }

    /// True where something could not be told because there is no key yet.
    pub(crate) fn lacked_key(&self) -> bool {
        self.keyless.get()
    }

    /// A secret of a stack file. `opened` is `None` where its key is not here: then it is what it was known to be, or a digest
    /// that equals no other.
    pub(crate) fn sealed(&self, sealed: &str, opened: Option<Value>) -> Value {
        let changed = || Value::Opaque(format!("of {sealed}").into());
        let value = opened.unwrap_or_else(changed);
        self.derived("sealed", &[Value::str(sealed)], value)
    }

    /// Outputs of another stack; `digests` are the same with digests in place of secrets.
    pub(crate) fn outputs(&self, values: Map, digests: &Map) -> Value {
        let values = Value::Map(values);
        if !self.derives() || !values.has_secret() {
            return values;
        }
        self.output(&values, &Value::Map(digests.clone()))
    }

    fn output(&self, value: &Value, digest: &Value) -> Value {
        match (value, digest) {
            (_, Value::Opaque(_)) => self.derived("output", std::slice::from_ref(digest), value.clone()),
            (Value::Map(map), Value::Map(digests)) => Value::map(map.iter().map(|(key, inner)| {
                let digest = digests.get(key).unwrap_or(&Value::Null);
                (key.clone(), self.output(inner, digest))
            })),
            (Value::List(items), Value::List(digests)) => Value::list(
                items
                    .iter()
                    .zip(digests.iter())
                    .map(|(inner, digest)| self.output(inner, digest)),
            ),
            _ => value.clone(),
        }
    }

    /// Values of which some count as secret and are given in clear.
    pub(crate) fn marked(&self, value: Value) -> Value {
        let Value::Secret(inner) = &value else {
            return value;
        };
        let inner = (**inner).clone();
        derived_marks(self, &inner, value)
    }
}

impl Digests for Derivations {
    fn digest(&self, bytes: &[u8]) -> Option<String> {
        self.keyless.set(self.keyless.get() || self.keys.is_none());
        self.keys.as_ref()?.digest_bytes(bytes)
    }

    fn derives(&self) -> bool {
        self.noted.is_some() || self.opens_nothing()
    }

    fn derived(&self, how: &str, from: &[Value], value: Value) -> Value {
        let Some(keys) = self.keys.as_ref().filter(|_| self.derives()) else {
            return value;
        };
        let name = keys.name_of_derivation(how, from);
        let Some(noted) = &self.noted else {
            return self.known.get(&*name).cloned().unwrap_or(value);
        };
        if !value.has_unknown() {
            let digests = keys.with_digests(&value);
            noted.borrow_mut().insert(Arc::from(name), digests);
        }
        value
    }
}
