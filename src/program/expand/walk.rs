//! The walk through a program's declarations.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use epid_provider::check::check;
use epid_provider::{Problem, Value};

use super::early::{Each, Early, each_value};
use super::former::{aliases, keyed, path_of, within_part};
use super::{Expanded, Instance, Setting, instance_address};
use crate::expression::{Located, Span, Template, TemplateError};
use crate::program::component::{Component, Expansion};
use crate::program::declaration::{Declaration, Options, PartAlias, Program, Timeouts};
use crate::program::diagnostic::Diagnostic;

/// How deep components nest.
const MAX_DEPTH: usize = 16;

/// What comes before the type in the kind of a provider.
const PROVIDER: &str = "epid:provider:";

pub(super) struct Walk<'a> {
    program: &'a Program,
    setting: &'a Setting<'a>,
    names: BTreeSet<Arc<str>>,
    /// The type of each provider by its name.
    providers: BTreeMap<Arc<str>, Arc<str>>,
    /// The addresses of providers, whose names are apart.
    provider_addresses: BTreeSet<Arc<str>>,
    problems: Vec<Diagnostic>,
    made: Expanded,
}

/// Where a declaration stands.
struct Place {
    /// The component it is in.
    parent: Option<Arc<str>>,
    /// What that component was called before: paths or URNs.
    parent_aliases: Vec<Arc<str>>,
    /// What was said of what the parts of that component were called.
    part_aliases: Vec<PartAlias>,
    each: Each,
    depth: usize,
    is_provider: bool,
}

/// One instance of a declaration.
struct One<'d> {
    declaration: &'d Declaration,
    address: Arc<str>,
    aliases: Vec<Arc<str>>,
    part_aliases: Vec<PartAlias>,
    each: Each,
}

/// The place of what the program itself declares.
fn top(is_provider: bool) -> Place {
    Place {
        parent: None,
        parent_aliases: Vec::new(),
        part_aliases: Vec::new(),
        each: None,
        depth: 0,
        is_provider,
    }
}

impl<'a> Walk<'a> {
    pub(super) fn new(program: &'a Program, setting: &'a Setting<'a>) -> Self {
        let type_of = |d: &Declaration| d.kind.as_str().strip_prefix(PROVIDER).map(Arc::from);
        Self {
            program,
            setting,
            names: program.resources.iter().map(|d| d.name.clone()).collect(),
            providers: program
                .providers
                .iter()
                .filter_map(|d| Some((d.name.clone(), type_of(d)?)))
                .collect(),
            provider_addresses: BTreeSet::new(),
            problems: Vec::new(),
            made: Expanded::default(),
        }
    }

    pub(super) fn run(mut self) -> (Expanded, Vec<Diagnostic>) {
        let program = self.program;
        for declaration in &program.providers {
            self.declaration(declaration, &top(true));
        }
        for declaration in &program.resources {
            self.declaration(declaration, &top(false));
        }
        for name in &program.incomplete {
            if !self.made.addresses.contains(name) {
                self.lost(name);
            }
        }
        (self.made, self.problems)
    }

    /// Takes the place of what could not be made, so that references to it are not one more problem.
    fn lost(&mut self, address: &Arc<str>) {
        let unknown = Template::Literal(Value::unknown(address));
        self.made.components.insert(address.clone(), unknown);
    }

    fn declaration(&mut self, declaration: &Declaration, place: &Place) {
        let address: Arc<str> = match &place.parent {
            Some(parent) => format!("{parent}/{}", declaration.name).into(),
            None => declaration.name.clone(),
        };
        let mut aliases = aliases(declaration, place.parent.as_deref(), &place.parent_aliases);
        let (own, mut parts) = within_part(&place.part_aliases, &declaration.name);
        aliases.extend(own);
        parts.extend(declaration.options.part_aliases.iter().cloned());
        let Some(for_each) = &declaration.for_each else {
            let one = One {
                declaration,
                address,
                aliases,
                part_aliases: parts,
                each: place.each.clone(),
            };
            match self.condition(&one) {
                Some(true) => self.instance(one, place),
                None if !place.is_provider => self.lost(&one.address),
                Some(false) if self.is_new(&one, place) && !place.is_provider => {
                    self.made
                        .components
                        .insert(one.address, Template::Literal(Value::Null));
                }
                _ => {}
            }
            return;
        };
        let Some(keys) = self.keys(for_each, declaration, &address, &place.each) else {
            if !place.is_provider {
                self.lost(&address);
            }
            return;
        };
        self.refuse_unclear(&aliases, declaration, &address, &keys);
        let only = keys.len() == 1;
        let mut group = BTreeMap::new();
        for (key, value) in keys {
            let (own, parts) = within_part(&parts, &key);
            let of_all = aliases
                .iter()
                .flat_map(|alias| keyed(alias, &address, &key, only));
            let one = One {
                declaration,
                address: instance_address(&address, &key).into(),
                aliases: own.chain(of_all).collect(),
                part_aliases: parts,
                each: Some((key.clone(), value)),
            };
            if self.condition(&one) == Some(true) {
                group.insert(key, one.address.clone());
                self.instance(one, place);
            }
        }
        if !place.is_provider {
            self.made.groups.insert(address, group);
        }
    }

    /// Refuses former names of which it cannot be told whose they were.
    fn refuse_unclear(
        &mut self,
        aliases: &[Arc<str>],
        declaration: &Declaration,
        address: &str,
        keys: &[(Arc<str>, Value)],
    ) {
        let [(first, _), _, ..] = keys else { return };
        for alias in aliases {
            let alone = path_of(alias) == address;
            let has_key = alias.ends_with(']');
            let fits = |key: &str| alias.ends_with(&format!("[\"{key}\"]"));
            if !alone && (!has_key || keys.iter().any(|(key, _)| fits(key))) {
                continue;
            }
            let span = declaration.options.span("aliases").or(declaration.span);
            let message = format!(
                "`{address}` has {} instances, and `{alias}` may have been any",
                keys.len()
            );
            let problem = Diagnostic::error(span, message);
            let example = format!("aliases = {{ {first:?} = {:?} }}", path_of(alias));
            self.problems
                .push(problem.with_hint(format!("say which one it was: `{example}`")));
        }
    }

    /// Whether it is made at all; nothing where that cannot be said.
    fn condition(&mut self, one: &One<'_>) -> Option<bool> {
        let Some(when) = &one.declaration.when else {
            return Some(true);
        };
        let value = self.early(when, "if", one.declaration, &one.address, &one.each)?;
        let Value::Bool(made) = value else {
            let message = format!("`if` of `{}` takes a boolean, not {}", one.address, a(&value));
            self.problems
                .push(Diagnostic::error(when.span.or(one.declaration.span), message));
            return None;
        };
        Some(made)
    }

    /// The keys of a `forEach` with their values.
    fn keys(
        &mut self,
        for_each: &Located,
        declaration: &Declaration,
        address: &str,
        each: &Each,
    ) -> Option<Vec<(Arc<str>, Value)>> {
        let value = self.early(for_each, "forEach", declaration, address, each)?;
        let before = self.problems.len();
        let span = |at: usize| {
            let item = match &for_each.template {
                Template::List(items) => items.get(at).map(|item| item.span),
                _ => None,
            };
            item.unwrap_or_default().or(for_each.span).or(declaration.span)
        };
        let mut keys: Vec<(Arc<str>, Value)> = Vec::new();
        match &value {
            Value::Map(map) => keys.extend(map.iter().map(|(k, v)| (k.clone(), v.clone()))),
            Value::List(items) => {
                let mut seen = BTreeSet::new();
                for (at, item) in items.iter().enumerate() {
                    let problem = match item {
                        Value::Str(key) if seen.insert(key.clone()) => {
                            keys.push((key.clone(), item.clone()));
                            continue;
                        }
                        Value::Str(key) => Diagnostic::error(
                            span(at),
                            format!("`forEach` of `{address}` holds `{key}` twice"),
                        ),
                        other => {
                            let message =
                                format!("`forEach` of `{address}` holds {}, not a string", a(other));
                            Diagnostic::error(span(at), message).with_hint("a map gives each value a key")
                        }
                    };
                    self.problems.push(problem);
                }
            }
            other => {
                let message = format!("`forEach` of `{address}` takes a list or a map, not {}", a(other));
                self.problems.push(Diagnostic::error(span(usize::MAX), message));
            }
        }
        for (at, (key, _)) in keys.iter().enumerate() {
            if key.is_empty() || key.contains(|c: char| c.is_control() || matches!(c, '"' | '\\' | '`')) {
                let message =
                    format!("{key:?} cannot be a key of `forEach`, because it becomes part of a name");
                let problem = Diagnostic::error(span(at), message);
                self.problems.push(
                    problem.with_hint(
                        "a key is not empty and holds no quotes, backslashes or control characters",
                    ),
                );
            }
        }
        (self.problems.len() == before).then_some(keys)
    }

    fn scope<'s>(&'s self, each: &'s Each) -> Early<'s> {
        Early {
            config: self.setting.config,
            each,
            names: &self.names,
        }
    }

    /// The value of `forEach` or `if`.
    fn early(
        &mut self,
        located: &Located,
        option: &str,
        declaration: &Declaration,
        address: &str,
        each: &Each,
    ) -> Option<Value> {
        let mut problems = Vec::new();
        let scope = self.scope(each);
        for mention in located.template.references() {
            let root = &mention.reference.root;
            if &**root == "stacks" || scope.declares(root) {
                let reference = &mention.reference;
                let message =
                    format!("`{option}` of `{address}` depends on `{reference}`, which only the run tells");
                let problem = Diagnostic::error(mention.span.or(located.span).or(declaration.span), message);
                problems.push(problem.with_hint(format!("`{option}` takes configuration and literals")));
            }
        }
        let span = located.span.or(declaration.span);
        let mut found = None;
        if problems.is_empty() {
            match located.template.evaluate(&scope) {
                Ok(value) if value.has_secret() => {
                    let message = format!("`{option}` of `{address}` depends on a secret");
                    let hint = "what is made shows, so it cannot be decided by a secret";
                    problems.push(Diagnostic::error(span, message).with_hint(hint));
                }
                // Configuration is unknown only where it is wrong, which was reported.
                Ok(value) if waits_for_config(&value) => {}
                Ok(value) if value.has_unknown() => {
                    let message = format!("`{option}` of `{address}` depends on what only the run tells");
                    problems.push(Diagnostic::error(span, message));
                }
                Ok(value) => found = Some(value),
                Err(errors) => problems.extend(errors.into_iter().map(|e| placed(e, span))),
            }
        }
        self.problems.extend(problems);
        found
    }

    /// False where something has its address already, which is reported.
    fn is_new(&mut self, one: &One<'_>, place: &Place) -> bool {
        let taken = if place.is_provider {
            self.provider_addresses.contains(&one.address)
        } else {
            self.made.addresses.contains(&one.address) || self.made.components.contains_key(&one.address)
        };
        if taken {
            let message = format!("`{}` is declared twice", one.address);
            self.problems
                .push(Diagnostic::error(one.declaration.span, message));
        }
        !taken
    }

    fn instance(&mut self, one: One<'_>, place: &Place) {
        if !self.is_new(&one, place) {
            return;
        }
        let setting = self.setting;
        let component = setting.components.get(&one.declaration.kind);
        if let (Some(component), false) = (component, place.is_provider) {
            self.component(component, one, place);
            return;
        }
        let declaration = one.declaration;
        if let Some(part) = one.part_aliases.first() {
            let part = part.way.first().map(|part| &**part).unwrap_or_default();
            let message = format!(
                "`aliases` names the part `{part}` of `{}`, which has none",
                one.address
            );
            let span = declaration.options.span("aliases").or(declaration.span);
            self.problems.push(
                Diagnostic::error(span, message)
                    .with_hint("keys of its `forEach` and children of a component are parts; of anything else name the whole"),
            );
        }
        if place.is_provider {
            self.provider_addresses.insert(one.address.clone());
        } else {
            self.made.addresses.insert(one.address.clone());
        }
        self.made.declarations.push(Instance {
            address: one.address,
            kind: declaration.kind.clone(),
            properties: declaration.properties.clone(),
            options: Options {
                aliases: one.aliases,
                part_aliases: Vec::new(),
                ..declaration.options.clone()
            },
            each: one.each,
            is_provider: place.is_provider,
            span: declaration.span,
            kind_span: declaration.kind_span,
        });
    }

    fn component(&mut self, component: &dyn Component, one: One<'_>, place: &Place) {
        let declaration = one.declaration;
        // Its name is taken whatever comes, so that references to it are not one more problem.
        self.lost(&one.address);
        if place.depth >= MAX_DEPTH {
            let message = format!(
                "components nest deeper than {MAX_DEPTH} levels at `{}`",
                one.address
            );
            self.problems.push(Diagnostic::error(declaration.span, message));
            return;
        }
        self.refuse_options(declaration, &one.address);
        let Some(known) = self.known(component, &one) else {
            return;
        };
        let inherited = inherited(&declaration.options);
        let mut expansion = Expansion {
            address: one.address.clone(),
            project: self.setting.project,
            stack: self.setting.stack,
            properties: &declaration.properties,
            known,
            files: &self.program.files,
            inherited: inherited.clone(),
            span: declaration.span,
            children: Vec::new(),
            outputs: Vec::new(),
            reports: Vec::new(),
        };
        let problems = component.expand(&mut expansion);
        let guessed = waits_for_config(expansion.values());
        let Expansion {
            children,
            outputs,
            reports,
            ..
        } = expansion;
        self.problems.extend(reports);
        if !problems.is_empty() {
            if guessed {
                return;
            }
            self.problems.extend(problems.into_iter().map(|p| at(p, &one)));
            return;
        }
        let inner = Place {
            parent: Some(one.address.clone()),
            parent_aliases: one.aliases.clone(),
            part_aliases: one.part_aliases.clone(),
            each: one.each.clone(),
            depth: place.depth + 1,
            is_provider: false,
        };
        for mut child in children {
            self.fit_provider(&mut child, &inherited);
            if is_name(&child.name) {
                self.declaration(&child, &inner);
            } else {
                let message = format!(
                    "{} names a child {:?}, which is no name",
                    declaration.kind, child.name
                );
                self.problems.push(Diagnostic::error(declaration.span, message));
            }
        }
        let outputs = Template::Map(outputs.into());
        let outputs = match &one.each {
            Some(each) => outputs.with_values("each", &|path| each_value(each, path)),
            None => Ok(outputs),
        };
        match outputs {
            Ok(outputs) => {
                self.made.components.insert(one.address, outputs);
            }
            Err(errors) => {
                let all: Vec<String> = errors.into_iter().map(|e| e.message).collect();
                let message = format!("outputs of `{}`: {}", one.address, all.join("; "));
                self.problems.push(Diagnostic::error(declaration.span, message));
            }
        }
    }

    /// The properties of a component with configuration put in; nothing where they do not pass its schema.
    fn known(&mut self, component: &dyn Component, one: &One<'_>) -> Option<Value> {
        let scope = self.scope(&one.each);
        let span = one.declaration.properties.span.or(one.declaration.span);
        let problems: Vec<Diagnostic> = match one.declaration.properties.template.evaluate(&scope) {
            Ok(value) => {
                let problems = check(component.schema(), &value);
                if problems.is_empty() {
                    return Some(component.schema().mark_inputs(&value));
                }
                problems.into_iter().map(|p| at(p, one)).collect()
            }
            Err(errors) => errors.into_iter().map(|e| placed(e, span)).collect(),
        };
        self.problems.extend(problems);
        None
    }

    /// Options that say nothing about a component.
    fn refuse_options(&mut self, declaration: &Declaration, address: &str) {
        let o = &declaration.options;
        let given = [
            ("import", o.import.is_some()),
            ("ignoreChanges", !o.ignore_changes.is_empty()),
            ("replaceOnChanges", !o.replace_on_changes.is_empty()),
            ("deleteBeforeReplace", o.delete_before_replace.is_some()),
            ("timeouts", o.timeouts != Timeouts::default()),
        ];
        for (option, _) in given.iter().filter(|(_, given)| *given) {
            let span = o.span(option).or(declaration.span);
            let message =
                format!("`{option}` cannot be said of `{address}`, because it stands for several resources");
            self.problems.push(Diagnostic::error(span, message));
        }
    }

    /// Takes an inherited provider back where it is of another type than the child needs.
    fn fit_provider(&self, child: &mut Declaration, inherited: &Options) {
        let needs = child.kind.provider();
        let name = child.options.provider.as_ref();
        let of = name.and_then(|name| self.providers.get(base(name)));
        if name == inherited.provider.as_ref() && needs != "epid" && of.is_some_and(|of| **of != *needs) {
            child.options.provider = None;
        }
    }
}

/// The name before the key: `aws` of `aws["eu"]`.
fn base(address: &str) -> &str {
    address.split('[').next().unwrap_or(address)
}

fn inherited(options: &Options) -> Options {
    let passed = |option: &str| {
        let name = option.split('[').next().unwrap_or(option);
        matches!(
            name,
            "provider" | "protect" | "retainOnDelete" | "adopt" | "dependsOn" | "deletedWith" | "servedBy"
        )
    };
    Options {
        depends_on: options.depends_on.clone(),
        provider: options.provider.clone(),
        protect: options.protect,
        retain_on_delete: options.retain_on_delete,
        adopt: options.adopt,
        deleted_with: options.deleted_with.clone(),
        served_by: options.served_by.clone(),
        spans: options
            .spans
            .iter()
            .filter(|(option, _)| passed(option))
            .map(|(option, span)| (option.clone(), *span))
            .collect(),
        ..Options::default()
    }
}

/// True for what can stand in an address.
fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| c.is_control() || matches!(c, '"' | '\\' | '`' | '[' | ']'))
}

/// True where configuration is missing in a value.
fn waits_for_config(value: &Value) -> bool {
    value.any(&|v| matches!(v, Value::Unknown(unknown) if unknown.from.starts_with("config.")))
}

/// `a string`, `an integer`.
fn a(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Int(_) => "an integer".to_owned(),
        other => format!("a {}", other.type_name()),
    }
}

fn placed(error: TemplateError, span: Span) -> Diagnostic {
    Diagnostic {
        hint: error.hint,
        ..Diagnostic::error(error.span.or(span), error.message)
    }
}

/// A problem of a component's properties, at its place in the source.
fn at(problem: Problem, one: &One<'_>) -> Diagnostic {
    let properties = &one.declaration.properties;
    let found = properties.nearest(&problem.path);
    let exact = properties.template.at(&problem.path).is_some();
    let mut span = found.span;
    if exact && problem.message.starts_with("unknown property") {
        span = found.key_span.or(span);
    }
    let whole = problem.path.segments().is_empty();
    if whole || span.is_none() {
        span = one.declaration.span;
    }
    let message = if whole {
        format!("{} (`{}`)", problem.message, one.address)
    } else {
        problem.message
    };
    Diagnostic {
        hint: problem.hint,
        ..Diagnostic::error(span, message)
    }
}
