//! Programs in Rust: the same [`Program`] that TOML makes, with the same checks.
//!
//! What one declaration passes to the next is an [`Expr`], never a value: a program stays data, and no Rust code runs
//! between two resources. Each declaration knows the Rust file, line and column that made it.
//!
//! ```
//! use epid::program::builder::ProgramBuilder;
//! use epid::text;
//!
//! let (program, _, problems) = ProgramBuilder::build(|program| {
//!     let environment = program.config("environment").string();
//!     let cluster = program
//!         .provider("cluster", "kubernetes")
//!         .set("cluster", program.stack("platform").get("cluster"));
//!     let curator = program
//!         .resource("curator", "epid:kubernetes:WebService")
//!         .set("name", text!("curator-{}", environment))
//!         .provider(&cluster)
//!         .protect();
//!     program.output("url", curator.get("url"));
//! });
//! assert!(problems.is_empty());
//! assert_eq!(program.resources.len(), 1);
//! ```

use std::cell::RefCell;
use std::panic::Location;
use std::rc::Rc;
use std::sync::Arc;

use epid_provider::{Kind, Value};

use super::declaration::{ConfigDeclaration, ConfigType, Declaration, Options, OutputDeclaration, Program};
use super::diagnostic::{Diagnostic, Sources};
use super::load::name_problem;
use crate::expression::{Located, Span, Template};

mod expr;
mod input;
mod resource;
#[cfg(test)]
mod tests;

pub use expr::{Expr, cel, each_key, each_value};
pub use input::{Fields, Input, fields, holes, list, one, text};
pub use resource::{Address, Provider, Resource};

/// Builds a program.
#[derive(Debug, Clone, Default)]
pub struct ProgramBuilder {
    state: Rc<RefCell<State>>,
}

/// What has been built so far. Every handle shares it; no borrow outlives a call.
#[derive(Debug, Default)]
struct State {
    program: Program,
    sources: Sources,
    problems: Vec<Diagnostic>,
    conditions: Vec<Expr>,
}

impl State {
    /// The place of a call: line and column in a source without text.
    fn place(&mut self, location: &Location<'_>) -> Span {
        let path = std::path::Path::new(location.file());
        let source = match self.sources.find(path) {
            Some(source) => source,
            None => self.sources.add(path, None),
        };
        Span {
            source,
            start: location.line(),
            end: location.column(),
        }
    }

    /// Reports a name that cannot be one or is taken.
    fn check_name(&mut self, what: &str, name: &str, taken: bool, span: Span) {
        if let Some((message, hint)) = name_problem(name, what == "resource") {
            self.problems
                .push(Diagnostic::error(span, message).with_hint(hint));
        } else if taken {
            let problem = Diagnostic::error(span, format!("the {what} `{name}` is declared twice"));
            self.problems.push(problem);
        }
    }

    /// An input at its place; what is wrong with it is reported there.
    fn take(&mut self, input: Input, span: Span) -> Located {
        for (message, hint, at) in input.problems {
            let place = at.map_or(span, |location| self.place(location));
            let problem = Diagnostic::error(place, message);
            self.problems.push(Diagnostic { hint, ..problem });
        }
        Located {
            span: input.located.span.or(span),
            key_span: input.located.key_span.or(span),
            template: input.located.template,
        }
    }

    fn kind(&mut self, text: &str, message: String, span: Span) -> Kind {
        let parsed = Kind::parse(text);
        if parsed.is_err() {
            self.problems.push(
                Diagnostic::error(span, message)
                    .with_hint("a kind is `provider:module:Name`, such as `aws:ec2:Vpc`"),
            );
        }
        // A program with problems is never run, so what stands in place of the kind does not matter.
        parsed
            .or_else(|_| Kind::parse("epid:unknown:Kind"))
            .unwrap_or_else(|_| unreachable!("it is a kind"))
    }
}

impl ProgramBuilder {
    /// A program without anything.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The program that `define` builds, the Rust files its places point into, and everything wrong with it.
    pub fn build(define: impl FnOnce(&Self)) -> (Program, Sources, Vec<Diagnostic>) {
        let builder = Self::new();
        define(&builder);
        builder.finish()
    }

    /// What has been built. The builder is empty afterwards, and so are the handles it gave.
    #[must_use]
    pub fn finish(&self) -> (Program, Sources, Vec<Diagnostic>) {
        let state = std::mem::take(&mut *self.state.borrow_mut());
        (state.program, state.sources, state.problems)
    }

    /// Declares configuration, whose type is to follow: `program.config("environment").string()`.
    #[track_caller]
    pub fn config(&self, name: &str) -> Config {
        let mut state = self.state.borrow_mut();
        let span = state.place(Location::caller());
        let taken = state.program.config.iter().any(|c| &*c.name == name);
        state.check_name("configuration", name, taken, span);
        Config {
            state: self.state.clone(),
            declared: ConfigDeclaration {
                name: Arc::from(name),
                ty: ConfigType::String,
                default: None,
                secret: false,
                description: Arc::default(),
                span,
            },
        }
    }

    /// The outputs of another stack, by the name that stack files have for it under `[references]`.
    #[must_use]
    pub fn stack(&self, name: &str) -> Expr {
        Expr::path("stacks").get(name)
    }

    /// Declares a provider of a type, such as `aws` or `kubernetes`.
    #[track_caller]
    pub fn provider(&self, name: &str, ty: &str) -> Provider {
        let mut state = self.state.borrow_mut();
        let span = state.place(Location::caller());
        let taken = state.program.providers.iter().any(|p| &*p.name == name);
        state.check_name("provider", name, taken, span);
        let kind = state.kind(
            &format!("epid:provider:{ty}"),
            format!("`{ty}` is not a type of provider"),
            span,
        );
        state.program.providers.push(declaration(name, kind, span));
        Provider::new(self.state.clone(), state.program.providers.len() - 1, name)
    }

    /// Declares a resource or component of a kind, such as `aws:ec2:Vpc`.
    #[track_caller]
    pub fn resource(&self, name: &str, kind: &str) -> Resource {
        let mut state = self.state.borrow_mut();
        let span = state.place(Location::caller());
        let taken = state.program.resources.iter().any(|r| &*r.name == name);
        state.check_name("resource", name, taken, span);
        let kind = state.kind(kind, format!("`{kind}` is not a kind"), span);
        let mut declared = declaration(name, kind, span);
        let condition = state.conditions.iter().cloned().reduce(Expr::and);
        declared.when = condition.map(|c| state.take(c.into(), span));
        state.program.resources.push(declared);
        Resource::new(self.state.clone(), state.program.resources.len() - 1, name)
    }

    /// Declares what `define` declares only where `condition` is true. It is known before the run: configuration
    /// decides, not what resources tell.
    pub fn when(&self, condition: impl Into<Expr>, define: impl FnOnce(&Self)) {
        self.state.borrow_mut().conditions.push(condition.into());
        define(self);
        self.state.borrow_mut().conditions.pop();
    }

    /// Declares an output.
    #[track_caller]
    pub fn output(&self, name: &str, value: impl Into<Input>) -> Output {
        let value = value.into();
        let mut state = self.state.borrow_mut();
        let span = state.place(Location::caller());
        let taken = state.program.outputs.iter().any(|o| &*o.name == name);
        state.check_name("output", name, taken, span);
        let value = state.take(value, span);
        state.program.outputs.push(OutputDeclaration {
            name: Arc::from(name),
            value,
            secret: false,
            description: Arc::default(),
            span,
        });
        Output {
            state: self.state.clone(),
            index: state.program.outputs.len() - 1,
        }
    }
}

fn declaration(name: &str, kind: Kind, span: Span) -> Declaration {
    Declaration {
        name: Arc::from(name),
        kind,
        properties: Located {
            span,
            ..Located::built(Template::Map(Arc::from([])))
        },
        options: Options::default(),
        for_each: None,
        when: None,
        span,
        kind_span: span,
    }
}

/// Configuration whose type is to follow.
#[derive(Debug)]
#[must_use = "configuration is declared by its type: `.string()`"]
pub struct Config {
    state: Rc<RefCell<State>>,
    declared: ConfigDeclaration,
}

impl Config {
    /// The value where a stack gives none; without one a stack must.
    pub fn default(mut self, value: impl Into<Value>) -> Self {
        self.declared.default = Some(value.into());
        self
    }

    /// It is a secret: a stack gives it sealed.
    pub fn secret(mut self) -> Self {
        self.declared.secret = true;
        self
    }

    /// One sentence for people.
    pub fn describe(mut self, text: &str) -> Self {
        self.declared.description = Arc::from(text);
        self
    }

    /// It is a text.
    pub fn string(self) -> Expr {
        self.of(ConfigType::String)
    }

    /// It is a whole number.
    pub fn integer(self) -> Expr {
        self.of(ConfigType::Integer)
    }

    /// It is a number.
    pub fn number(self) -> Expr {
        self.of(ConfigType::Number)
    }

    /// It is `true` or `false`.
    pub fn boolean(self) -> Expr {
        self.of(ConfigType::Boolean)
    }

    /// It is a list.
    pub fn list(self) -> Expr {
        self.of(ConfigType::List)
    }

    /// It is a map.
    pub fn map(self) -> Expr {
        self.of(ConfigType::Map)
    }

    fn of(mut self, ty: ConfigType) -> Expr {
        self.declared.ty = ty;
        let name = self.declared.name.clone();
        let mut state = self.state.borrow_mut();
        if let Some(default) = &self.declared.default {
            let span = self.declared.span;
            if self.declared.secret {
                let problem = Diagnostic::error(span, format!("the secret `{name}` stands here in clear"));
                state
                    .problems
                    .push(problem.with_hint("seal it in the stack file, under [secrets]"));
            }
            if !ty.takes(default) {
                let found = default.type_name();
                state.problems.push(Diagnostic::error(
                    span,
                    format!("`{name}` is of type {ty}, but its default is of type {found}"),
                ));
            }
        }
        state.program.config.push(self.declared);
        Expr::path("config").get(&name)
    }
}

/// An output that was declared.
#[derive(Debug)]
pub struct Output {
    state: Rc<RefCell<State>>,
    index: usize,
}

impl Output {
    /// It is a secret whatever its value is.
    pub fn secret(self) -> Self {
        self.change(|o| o.secret = true)
    }

    /// One sentence for people.
    pub fn describe(self, text: &str) -> Self {
        self.change(|o| o.description = Arc::from(text))
    }

    fn change(self, change: impl FnOnce(&mut OutputDeclaration)) -> Self {
        if let Some(output) = self.state.borrow_mut().program.outputs.get_mut(self.index) {
            change(output);
        }
        self
    }
}
