//! Components, `forEach` and `if` become plain instances.

use std::collections::BTreeMap;
use std::sync::Arc;

use epid_provider::{Kind, Map, Value};

use super::component::Components;
use super::declaration::{Declaration, Options, Program};
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
    /// The outputs of each component by its address: a [`Template::Map`].
    pub components: BTreeMap<Arc<str>, Template>,
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
        if let [Access::Key(key), rest @ ..] = path
            && let Some(found) = self.exact(&instance_address(root, key), rest)
        {
            return Some(found);
        }
        let prefix = format!("{root}[");
        let instances = self
            .declarations
            .iter()
            .filter(|d| !d.is_provider)
            .map(|d| &d.address);
        let each: BTreeMap<Arc<str>, Arc<str>> = instances
            .chain(self.components.keys())
            .filter_map(|address| {
                let key = address.strip_prefix(&prefix)?.strip_suffix(']')?;
                let key: String = serde_json::from_str(key).ok()?;
                Some((Arc::from(key), address.clone()))
            })
            .collect();
        (!each.is_empty() && path.is_empty()).then_some(Target::Each(each))
    }

    fn exact(&self, address: &str, path: &[Access]) -> Option<Target> {
        if let Some((address, _)) = self.components.get_key_value(address) {
            return Some(Target::Component(address.clone(), path.to_vec()));
        }
        let found = self
            .declarations
            .iter()
            .find(|d| !d.is_provider && &*d.address == address)?;
        Some(Target::Instance(found.address.clone(), path.to_vec()))
    }

    /// The resources that an address in an option stands for: itself, its instances, everything in a component.
    #[must_use]
    pub fn members(&self, address: &str) -> Vec<Arc<str>> {
        self.declarations
            .iter()
            .filter(|d| !d.is_provider)
            .filter(|d| {
                d.address
                    .strip_prefix(address)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with(['[', '/']))
            })
            .map(|d| d.address.clone())
            .collect()
    }
}

/// `subnet["a"]`.
pub(super) fn instance_address(name: &str, key: &str) -> String {
    format!("{name}[{}]", Value::str(key))
}

/// Expands a program.
///
/// # Errors
/// Everything wrong with components, `forEach` and `if`.
pub fn expand(program: &Program, setting: &Setting<'_>) -> Result<Expanded, Vec<Diagnostic>> {
    let _ = setting;
    let instance = |declaration: &Declaration, is_provider| Instance {
        address: declaration.name.clone(),
        kind: declaration.kind.clone(),
        properties: declaration.properties.clone(),
        options: declaration.options.clone(),
        each: None,
        is_provider,
        span: declaration.span,
        kind_span: declaration.kind_span,
    };
    let providers = program.providers.iter().map(|d| instance(d, true));
    Ok(Expanded {
        declarations: providers
            .chain(program.resources.iter().map(|d| instance(d, false)))
            .collect(),
        components: BTreeMap::new(),
    })
}
