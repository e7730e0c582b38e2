//! Components, `forEach` and `if` become plain instances.

mod early;
mod former;
mod walk;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use epid_provider::{Kind, Map, Value};

use super::component::Components;
use super::declaration::{Options, Program};
use super::diagnostic::Diagnostic;
use crate::expression::{Access, Located, Reference, Span, Template};

/// What an expansion depends on beyond the program.
#[derive(Debug, Clone, Copy)]
pub struct Setting<'a> {
    /// The project's name.
    pub project: &'a str,
    /// The stack's name.
    pub stack: &'a str,
    /// The configuration, typed, secrets marked.
    pub config: &'a Map,
    /// The components that exist.
    pub components: &'a Components,
}

/// A program without components, `forEach` and `if`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Expanded {
    /// Providers first, then resources in the order of declaration, children in place of their component.
    pub declarations: Vec<Instance>,
    /// The outputs of each component by its address: a [`Template::Map`]. What an `if` took out stands here as a
    /// literal `null`.
    pub components: BTreeMap<Arc<str>, Template>,
    /// What each `forEach` made, by the address without keys: key to address. Empty where it made nothing.
    pub groups: BTreeMap<Arc<str>, BTreeMap<Arc<str>, Arc<str>>>,
    /// The addresses of all resources.
    addresses: BTreeSet<Arc<str>>,
}

/// One resource or provider.
#[derive(Debug, Clone, PartialEq)]
pub struct Instance {
    /// Where it stands in the stack: `vpc`, `subnet["a"]`, `curator/deployment`. A provider and a resource may have
    /// the same.
    pub address: Arc<str>,
    /// Its kind.
    pub kind: Kind,
    /// Its properties: a [`Template::Map`] whose references are addresses, `config`, `stacks` and `each`.
    pub properties: Located,
    /// What the engine is to do about it; names in it are addresses.
    pub options: Options,
    /// What `each.key` and `each.value` are in it.
    pub each: Option<(Arc<str>, Value)>,
    /// True for a provider.
    pub is_provider: bool,
    /// The place of the name it was declared with: a child has its component's.
    pub span: Span,
    /// The place of its kind.
    pub kind_span: Span,
}

/// What a reference means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A resource: its address and the steps from it.
    Instance(Arc<str>, Vec<Access>),
    /// An output of a component: the component's address and the steps from it.
    Component(Arc<str>, Vec<Access>),
    /// A map of everything that a `forEach` made, by key: the address of each.
    Each(BTreeMap<Arc<str>, Arc<str>>),
}

impl Expanded {
    /// What a reference means: `subnet["a"].id` is `id` of the instance `subnet["a"]`. `None` for `config`, `stacks`,
    /// `each` and what does not exist.
    #[must_use]
    pub fn resolve(&self, reference: &Reference) -> Option<Target> {
        self.resolve_path(&reference.root, &reference.path)
    }

    /// [`Expanded::resolve`] of a root and the steps from it.
    #[must_use]
    pub fn resolve_path(&self, root: &str, path: &[Access]) -> Option<Target> {
        if let Some(found) = self.exact(root, path) {
            return Some(found);
        }
        let group = self.groups.get(root)?;
        match path {
            [] => Some(Target::Each(group.clone())),
            [Access::Key(key), rest @ ..] => self.exact(group.get(key)?, rest),
            [Access::Index(_), ..] => None,
        }
    }

    fn exact(&self, address: &str, path: &[Access]) -> Option<Target> {
        if let Some((address, _)) = self.components.get_key_value(address) {
            return Some(Target::Component(address.clone(), path.to_vec()));
        }
        let address = self.addresses.get(address)?;
        Some(Target::Instance(address.clone(), path.to_vec()))
    }

    /// The resources that an address in an option stands for: itself, its instances, everything in a component; in
    /// the order of their addresses.
    #[must_use]
    pub fn members(&self, address: &str) -> Vec<Arc<str>> {
        let below = |sign: char| {
            let prefix = format!("{address}{sign}");
            let from = self
                .addresses
                .range::<str, _>((Bound::Included(prefix.as_str()), Bound::Unbounded));
            from.take_while(move |a| a.starts_with(&prefix)).cloned()
        };
        let itself = self.addresses.get(address).cloned();
        itself.into_iter().chain(below('/')).chain(below('[')).collect()
    }
}

/// `subnet["a"]`. Keys that would need escapes are refused before.
pub(super) fn instance_address(name: &str, key: &str) -> String {
    format!("{name}[\"{key}\"]")
}

/// Expands a program: every component, nested ones too, every `forEach` and every `if`.
///
/// `forEach` and `if` take configuration and literals. A component's children inherit its `provider` (where it is of
/// the type they need), `protect`, `retainOnDelete`, `adopt`, `dependsOn`, `deletedWith` and `servedBy`; its aliases
/// move everything in it.
///
/// # Errors
/// Everything wrong with components, their properties, `forEach` and `if`.
pub fn expand(program: &Program, setting: &Setting<'_>) -> Result<Expanded, Vec<Diagnostic>> {
    match expand_what_can_be(program, setting) {
        (expanded, problems) if problems.is_empty() => Ok(expanded),
        (_, problems) => Err(problems),
    }
}

/// [`expand`] that goes on after mistakes: what could not be made stands among the components as an unknown value, so
/// that whoever looks further finds more mistakes and no echoes of these.
#[must_use]
pub fn expand_what_can_be(program: &Program, setting: &Setting<'_>) -> (Expanded, Vec<Diagnostic>) {
    walk::Walk::new(program, setting).run()
}
