//! What can be said before the run: configuration and `each`.

use std::collections::BTreeSet;
use std::sync::Arc;

use epid_provider::{Map, Value};

use crate::expression::{Access, Reference, Scope, resolve};

/// What `each.key` and `each.value` are.
pub(super) type Each = Option<(Arc<str>, Value)>;

/// The value of `each` at a path.
pub(super) fn each_value((key, value): &(Arc<str>, Value), path: &[Access]) -> Option<Value> {
    match path.split_first() {
        Some((Access::Key(name), [])) if &**name == "key" => Some(Value::Str(key.clone())),
        Some((Access::Key(name), rest)) if &**name == "value" => resolve(value, rest),
        None => Some(Value::map([
            ("key", Value::Str(key.clone())),
            ("value", value.clone()),
        ])),
        _ => None,
    }
}

/// Configuration and `each` have values, declared names are unknown.
pub(super) struct Early<'a> {
    pub(super) config: &'a Map,
    pub(super) each: &'a Each,
    /// The names that the program declares.
    pub(super) names: &'a BTreeSet<Arc<str>>,
}

impl Early<'_> {
    /// True for what the program declares: a name, or an address that begins with one.
    pub(super) fn declares(&self, root: &str) -> bool {
        let end = root.find(['/', '[']).unwrap_or(root.len());
        self.names.contains(root.get(..end).unwrap_or(root))
    }
}

impl Scope for Early<'_> {
    fn lookup(&self, root: &str, path: &[Access]) -> Result<Option<Value>, String> {
        match (root, self.each) {
            ("config", _) => Ok(resolve(&Value::Map(self.config.clone()), path)),
            ("each", Some(each)) => Ok(each_value(each, path)),
            _ if root == "stacks" || self.declares(root) => {
                let reference = Reference {
                    root: Arc::from(root),
                    path: path.to_vec(),
                    range: 0..0,
                };
                Ok(Some(Value::unknown(&reference.to_string())))
            }
            _ => Ok(None),
        }
    }

    fn candidates(&self, root: Option<&str>) -> Vec<String> {
        match root {
            None => self.names.iter().map(ToString::to_string).collect(),
            Some("config") => self.config.keys().map(ToString::to_string).collect(),
            Some("each") => vec!["key".to_owned(), "value".to_owned()],
            Some(_) => Vec::new(),
        }
    }
}
