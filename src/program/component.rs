//! Declarations that stand for several.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use epid_provider::{Kind, KindSchema, Path, Problem, Value};

use super::declaration::{Declaration, Options};
use super::diagnostic::Diagnostic;
use crate::expression::{Located, SourceId, Span, Template};

/// A kind that expands into other kinds. Pure: it sees configuration and what was written, never outputs.
pub trait Component: Send + Sync {
    /// Its kind: `epid:kubernetes:WebService`.
    fn kind(&self) -> &Kind;

    /// What may be declared. The outputs are those it may name in [`Expansion::output`].
    fn schema(&self) -> &KindSchema;

    /// Names its children and outputs. Properties have passed the schema where they are known.
    ///
    /// What it answers is wrong with the properties; the paths are those of the component.
    fn expand(&self, x: &mut Expansion<'_>) -> Vec<Problem>;
}

/// The components that exist.
#[derive(Clone, Default)]
pub struct Components(BTreeMap<Kind, Arc<dyn Component>>);

impl Components {
    /// None.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// These and one more.
    #[must_use]
    pub fn with(mut self, component: impl Component + 'static) -> Self {
        self.0.insert(component.kind().clone(), Arc::new(component));
        self
    }

    /// The component of that kind.
    #[must_use]
    pub fn get(&self, kind: &Kind) -> Option<&dyn Component> {
        self.0.get(kind).map(|c| &**c)
    }

    /// All kinds in order.
    pub fn kinds(&self) -> impl Iterator<Item = &Kind> {
        self.0.keys()
    }
}

impl fmt::Debug for Components {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// A file that a component was told to read; the loader has read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its path, relative to the project.
    pub path: PathBuf,
    /// Its text.
    pub text: Arc<str>,
    /// Its number among the sources, for places in it.
    pub source: SourceId,
}

/// One instance of a component while it expands.
#[derive(Debug)]
pub struct Expansion<'a> {
    pub(super) address: Arc<str>,
    pub(super) project: &'a str,
    pub(super) stack: &'a str,
    pub(super) properties: &'a Located,
    pub(super) known: Value,
    pub(super) files: &'a BTreeMap<Arc<str>, Vec<File>>,
    pub(super) inherited: Options,
    pub(super) span: Span,
    pub(super) children: Vec<Declaration>,
    pub(super) outputs: Vec<(Arc<str>, Located)>,
    pub(super) reports: Vec<Diagnostic>,
}

/// A child that was declared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Child {
    address: Arc<str>,
    index: usize,
}

impl Child {
    /// Its address: that of the component, `/`, and its name.
    #[must_use]
    pub fn address(&self) -> &Arc<str> {
        &self.address
    }

    /// What stands at a dotted path of it: `metadata.name`. An empty path is all of it.
    #[must_use]
    pub fn reference(&self, path: &str) -> Template {
        let names: Vec<&str> = path.split('.').filter(|name| !name.is_empty()).collect();
        Template::reference(&self.address, &names)
    }
}

impl<'a> Expansion<'a> {
    /// The component's address: `curator`, `net["a"]`, `curator/inner`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The project's name.
    #[must_use]
    pub fn project(&self) -> &str {
        self.project
    }

    /// The stack's name.
    #[must_use]
    pub fn stack(&self) -> &str {
        self.stack
    }

    /// All properties as they were written.
    #[must_use]
    pub fn properties(&self) -> &Located {
        self.properties
    }

    /// All properties with configuration and `each` put in; what waits for resources is unknown.
    #[must_use]
    pub fn values(&self) -> &Value {
        &self.known
    }

    /// The options that its children inherit.
    #[must_use]
    pub fn inherited(&self) -> &Options {
        &self.inherited
    }

    /// The value of a property that shapes the expansion: `Null` where it was not given.
    ///
    /// # Errors
    /// A problem where it depends on something that only the run tells, or on a secret.
    pub fn known(&self, name: &str) -> Result<&Value, Problem> {
        let value = self.known.get(name).unwrap_or(&Value::Null);
        let problem = |what: &str| {
            Problem::new(
                Path::root().key(name),
                format!("`{name}` decides what is made, so it cannot {what}"),
            )
            .with_hint("use literals and plain configuration")
        };
        if value.has_secret() {
            Err(problem("be secret"))
        } else if value.has_unknown() {
            Err(problem("depend on what other resources tell"))
        } else {
            Ok(value)
        }
    }

    /// A property as it was written, to be handed on; its place comes with it.
    #[must_use]
    pub fn property(&self, name: &str) -> Option<Located> {
        self.properties.template.get(name).cloned()
    }

    /// Declares a child. What has no place of its own gets the component's.
    pub fn child(&mut self, name: &str, kind: Kind, properties: impl Into<Located>) -> Child {
        self.children.push(Declaration {
            name: Arc::from(name),
            kind,
            properties: properties.into(),
            options: self.inherited.clone(),
            for_each: None,
            when: None,
            span: self.span,
            kind_span: self.span,
        });
        Child {
            address: format!("{}/{name}", self.address).into(),
            index: self.children.len() - 1,
        }
    }

    /// Gives a child the places of its name and kind, where it was read from a file of its own.
    pub fn place(&mut self, child: &Child, span: Span, kind_span: Span) {
        if let Some(declared) = self.children.get_mut(child.index) {
            declared.span = span;
            declared.kind_span = kind_span;
        }
    }

    /// Reports what is wrong in a file that the component was told to read, at its place there. The rest goes on.
    pub fn report(&mut self, problem: Diagnostic) {
        self.reports.push(problem);
    }

    /// The options of a child: those it inherits, to be added to.
    pub fn options(&mut self, child: &Child) -> Option<&mut Options> {
        self.children.get_mut(child.index).map(|c| &mut c.options)
    }

    /// Names an output: `curator.url` is what `url` is given here.
    pub fn output(&mut self, name: &str, value: impl Into<Located>) {
        self.outputs.push((Arc::from(name), value.into()));
    }

    /// The files of a pattern that the program named; `None` where the loader has not read it.
    #[must_use]
    pub fn files(&self, pattern: &str) -> Option<&'a [File]> {
        self.files.get(pattern).map(Vec::as_slice)
    }
}
