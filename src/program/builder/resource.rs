//! Handles of providers and resources that were declared.

use std::cell::RefCell;
use std::panic::Location;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use epid_provider::{Path, Urn};

use super::State;
use super::expr::Expr;
use super::input::Input;
use crate::expression::{Located, Span, Template};
use crate::program::declaration::{Declaration, Options, PartAlias};
use crate::program::diagnostic::Diagnostic;
use crate::program::load::is_address;

/// A provider that was declared.
#[derive(Debug, Clone)]
pub struct Provider {
    state: Rc<RefCell<State>>,
    index: usize,
    name: Arc<str>,
}

/// A resource or component that was declared.
#[derive(Debug, Clone)]
pub struct Resource {
    state: Rc<RefCell<State>>,
    index: usize,
    name: Arc<str>,
}

/// Where something stands in the stack: a resource, or a text such as `curator/deployment`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address(Arc<str>);

impl From<&Resource> for Address {
    fn from(resource: &Resource) -> Self {
        Self(resource.name.clone())
    }
}

impl From<&str> for Address {
    fn from(text: &str) -> Self {
        Self(Arc::from(text))
    }
}

impl Provider {
    pub(super) fn new(state: Rc<RefCell<State>>, index: usize, name: &str) -> Self {
        Self {
            state,
            index,
            name: Arc::from(name),
        }
    }

    /// Sets a property.
    #[track_caller]
    pub fn set(self, property: &str, value: impl Into<Input>) -> Self {
        let value = value.into();
        {
            let mut state = self.state.borrow_mut();
            let span = state.place(Location::caller());
            let value = state.take(value, span);
            if let Some(declared) = state.program.providers.get_mut(self.index) {
                set(declared, property, value);
            }
        }
        self
    }
}

/// One property more, or another value of one that is there.
fn set(declared: &mut Declaration, property: &str, value: Located) {
    let Template::Map(entries) = &declared.properties.template else {
        return;
    };
    let mut entries = entries.to_vec();
    match entries.iter_mut().find(|(key, _)| &**key == property) {
        Some((_, old)) => *old = value,
        None => entries.push((Arc::from(property), value)),
    }
    declared.properties.template = Template::Map(entries.into());
}

impl Resource {
    pub(super) fn new(state: Rc<RefCell<State>>, index: usize, name: &str) -> Self {
        Self {
            state,
            index,
            name: Arc::from(name),
        }
    }

    /// The name it was declared with.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// All of it, for expressions. Of a resource with [`Resource::for_each`] it is the map of its instances.
    #[must_use]
    pub fn value(&self) -> Expr {
        Expr::path(&self.name)
    }

    /// A property or output of it, for expressions.
    #[must_use]
    pub fn get(&self, name: &str) -> Expr {
        self.value().get(name)
    }

    /// One of the instances that [`Resource::for_each`] makes, for expressions.
    #[must_use]
    pub fn instance(&self, key: &str) -> Expr {
        self.value().get(key)
    }

    /// Sets a property.
    #[track_caller]
    pub fn set(self, property: &str, value: impl Into<Input>) -> Self {
        let value = value.into();
        let location = Location::caller();
        self.change(location, |state, span| {
            let value = state.take(value, span);
            Box::new(move |declared| set(declared, property, value))
        })
    }

    /// One instance for each text of a list or entry of a map, known before the run.
    #[track_caller]
    pub fn for_each(self, instances: impl Into<Input>) -> Self {
        let instances = instances.into();
        let location = Location::caller();
        self.change(location, |state, span| {
            let instances = state.take(instances, span);
            Box::new(move |declared| declared.for_each = Some(instances))
        })
    }

    /// Nothing where `condition` is false. It adds to what stands already.
    #[track_caller]
    pub fn when(self, condition: impl Into<Expr>) -> Self {
        let condition = condition.into();
        let location = Location::caller();
        let before = {
            let state = self.state.borrow();
            let declared = state.program.resources.get(self.index);
            declared.and_then(|d| match &d.when.as_ref()?.template {
                Template::Expression(e) => Some(super::cel(e.text())),
                _ => None,
            })
        };
        let condition = match before {
            Some(before) => before.and(condition),
            None => condition,
        };
        self.change(location, |state, span| {
            let condition = state.take(condition.into(), span);
            Box::new(move |declared| declared.when = Some(condition))
        })
    }

    /// Its provider. Without one it is the only one of its type.
    #[track_caller]
    pub fn provider(self, provider: &Provider) -> Self {
        let name = provider.name.clone();
        self.option("provider", Location::caller(), |o| o.provider = Some(name))
    }

    /// It waits for another one beyond those it refers to.
    #[track_caller]
    pub fn depends_on(self, other: impl Into<Address>) -> Self {
        self.address("dependsOn", Location::caller(), other.into(), |o| {
            &mut o.depends_on
        })
    }

    /// What must outlive it: a controller that cleans up after it.
    #[track_caller]
    pub fn served_by(self, other: impl Into<Address>) -> Self {
        self.address("servedBy", Location::caller(), other.into(), |o| &mut o.served_by)
    }

    /// What it dies with.
    #[track_caller]
    pub fn deleted_with(self, other: impl Into<Address>) -> Self {
        let location = Location::caller();
        match self.checked(other.into(), location) {
            Some(address) => self.option("deletedWith", location, |o| o.deleted_with = Some(address)),
            None => self,
        }
    }

    /// It may not be deleted or replaced.
    #[track_caller]
    pub fn protect(self) -> Self {
        self.option("protect", Location::caller(), |o| o.protect = true)
    }

    /// It is forgotten instead of deleted.
    #[track_caller]
    pub fn retain_on_delete(self) -> Self {
        self.option("retainOnDelete", Location::caller(), |o| {
            o.retain_on_delete = true;
        })
    }

    /// An existing thing of the same identity is taken over.
    #[track_caller]
    pub fn adopt(self) -> Self {
        self.option("adopt", Location::caller(), |o| o.adopt = true)
    }

    /// The physical id of an existing thing to take into the stack.
    #[track_caller]
    pub fn import(self, id: &str) -> Self {
        let id = Arc::from(id);
        self.option("import", Location::caller(), |o| o.import = Some(id))
    }

    /// Whether a replacement deletes first; otherwise the plan decides.
    #[track_caller]
    pub fn delete_before_replace(self, yes: bool) -> Self {
        self.option("deleteBeforeReplace", Location::caller(), |o| {
            o.delete_before_replace = Some(yes);
        })
    }

    /// Changes of a property are ignored: `spec.replicas`.
    #[track_caller]
    pub fn ignore_changes(self, path: &str) -> Self {
        self.path("ignoreChanges", Location::caller(), path, |o| {
            &mut o.ignore_changes
        })
    }

    /// Changes of a property replace it.
    #[track_caller]
    pub fn replace_on_changes(self, path: &str) -> Self {
        self.path("replaceOnChanges", Location::caller(), path, |o| {
            &mut o.replace_on_changes
        })
    }

    /// What it was called before: a name, an address or a URN.
    #[track_caller]
    pub fn alias(self, before: &str) -> Self {
        let location = Location::caller();
        if is_address(before) || Urn::parse(before).is_ok() {
            let before: Arc<str> = Arc::from(before);
            return self.item("aliases", location, before, |o| &mut o.aliases);
        }
        self.problem(location, format!("`{before}` is not an address or a URN"))
    }

    /// What one part of it was called before: an instance of [`Resource::for_each`] by its key, a child of a component by its
    /// name; `way` leads there, outermost first.
    #[track_caller]
    pub fn part_alias(self, way: &[&str], before: &str) -> Self {
        let location = Location::caller();
        if way.is_empty() {
            return self.alias(before);
        }
        if !is_address(before) && Urn::parse(before).is_err() {
            return self.problem(location, format!("`{before}` is not an address or a URN"));
        }
        let part = PartAlias {
            way: way.iter().copied().map(Arc::from).collect(),
            before: Arc::from(before),
        };
        self.option("aliases", location, |o| o.part_aliases.push(part))
    }

    /// How long a create may take.
    #[track_caller]
    pub fn create_timeout(self, time: Duration) -> Self {
        self.option("timeouts.create", Location::caller(), |o| {
            o.timeouts.create = Some(time);
        })
    }

    /// How long an update may take.
    #[track_caller]
    pub fn update_timeout(self, time: Duration) -> Self {
        self.option("timeouts.update", Location::caller(), |o| {
            o.timeouts.update = Some(time);
        })
    }

    /// How long a delete may take.
    #[track_caller]
    pub fn delete_timeout(self, time: Duration) -> Self {
        self.option("timeouts.delete", Location::caller(), |o| {
            o.timeouts.delete = Some(time);
        })
    }

    fn change<'c>(
        self,
        location: &Location<'_>,
        prepare: impl FnOnce(&mut State, Span) -> Box<dyn FnOnce(&mut Declaration) + 'c>,
    ) -> Self {
        {
            let mut state = self.state.borrow_mut();
            let span = state.place(location);
            let change = prepare(&mut state, span);
            if let Some(declared) = state.program.resources.get_mut(self.index) {
                change(declared);
            }
        }
        self
    }

    fn option(self, option: &str, location: &Location<'_>, change: impl FnOnce(&mut Options)) -> Self {
        self.change(location, |_, span| {
            Box::new(move |declared| {
                declared.options.spans.insert(Arc::from(option), span);
                if let Some((whole, _)) = option.split_once('.') {
                    declared.options.spans.entry(Arc::from(whole)).or_insert(span);
                }
                change(&mut declared.options);
            })
        })
    }

    /// One item more of an option that is a list.
    fn item<T>(
        self,
        option: &str,
        location: &Location<'_>,
        item: T,
        items: impl FnOnce(&mut Options) -> &mut Vec<T>,
    ) -> Self {
        self.change(location, |_, span| {
            Box::new(move |declared| {
                let items = items(&mut declared.options);
                items.push(item);
                let at = items.len() - 1;
                let spans = &mut declared.options.spans;
                spans.insert(format!("{option}[{at}]").into(), span);
                spans.entry(Arc::from(option)).or_insert(span);
            })
        })
    }

    fn address(
        self,
        option: &str,
        location: &Location<'_>,
        address: Address,
        items: impl FnOnce(&mut Options) -> &mut Vec<Arc<str>>,
    ) -> Self {
        match self.checked(address, location) {
            Some(address) => self.item(option, location, address, items),
            None => self,
        }
    }

    /// The text of an address; anything else is reported.
    fn checked(&self, address: Address, location: &Location<'_>) -> Option<Arc<str>> {
        if is_address(&address.0) {
            return Some(address.0);
        }
        let mut state = self.state.borrow_mut();
        let span = state.place(location);
        let problem = Diagnostic::error(span, format!("`{}` is not the address of a resource", address.0));
        state
            .problems
            .push(problem.with_hint("an address is `name`, `name[\"key\"]` or `component/child`"));
        None
    }

    fn path(
        self,
        option: &str,
        location: &Location<'_>,
        path: &str,
        items: impl FnOnce(&mut Options) -> &mut Vec<Path>,
    ) -> Self {
        match path.parse::<Path>() {
            Ok(path) if !path.segments().is_empty() => self.item(option, location, path, items),
            Ok(_) => self.problem(location, format!("`{option}` holds an empty path")),
            Err(error) => self.problem(location, error.to_string()),
        }
    }

    fn problem(self, location: &Location<'_>, message: String) -> Self {
        {
            let mut state = self.state.borrow_mut();
            let span = state.place(location);
            state.problems.push(Diagnostic::error(span, message));
        }
        self
    }
}
