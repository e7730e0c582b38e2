//! What names in expressions stand for, and where their values come from.

use std::collections::BTreeMap;
use std::sync::Arc;

use epid_provider::{KindSchema, Map, Output, Record, Segment, Urn, Value};
use serde::{Deserialize, Serialize};

use crate::expression::{Access, Digests, Reference, Scope, Template, TemplateError, resolve};

/// What every name of a stack stands for. Names are addresses: `curator`, `curator/deployment`, `subnet["a"]`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Names {
    /// Resources, components and groups by address.
    pub bindings: BTreeMap<Arc<str>, Binding>,
    /// The values of `config`.
    pub config: Map,
    /// The values of `stacks`: the outputs of each referenced stack.
    pub stacks: Map,
}

/// What one name stands for.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Binding {
    /// A resource.
    Resource(Urn),
    /// A component: the templates of its outputs, by name.
    Component(Template),
    /// The instances of a `forEach`: key to address.
    Group(BTreeMap<Arc<str>, Arc<str>>),
}

/// What is known of one resource while expressions are evaluated.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// The physical id; `Null` where there is none, `Unknown` before a create.
    pub id: Value,
    /// The inputs.
    pub inputs: Value,
    /// Defaults the provider chose.
    pub resolved: Value,
    /// The outputs.
    pub outputs: Value,
    /// The schema, for what may be asked.
    pub schema: Option<Arc<KindSchema>>,
    /// The address, where it is still to be made: what the provider will choose is unknown, not absent.
    pub pending: Option<Arc<str>>,
}

impl Known {
    /// What is known of a resource that is as it is recorded.
    #[must_use]
    pub fn recorded(record: &Record, schema: Option<Arc<KindSchema>>) -> Self {
        Self {
            id: Value::Str(record.id.clone()),
            inputs: record.applied.clone(),
            resolved: record.resolved.clone(),
            outputs: record.outputs.clone(),
            schema,
            pending: None,
        }
    }

    /// The value at a path: outputs over inputs over defaults; maps are merged.
    ///
    /// `None` where the kind has no such property.
    #[must_use]
    pub fn at(&self, path: &[Access]) -> Option<Value> {
        let mut found: Option<Value> = None;
        for layer in [&self.resolved, &self.inputs, &self.outputs] {
            if let Some(value) = resolve(layer, path).filter(|v| !v.is_null()) {
                found = Some(match found {
                    Some(below) => below.merged(&value),
                    None => value,
                });
            }
        }
        if found.is_some() {
            return found;
        }
        match path {
            [Access::Key(key)] if &**key == "id" => Some(self.id.clone()),
            [Access::Key(key), ..] => {
                let output =
                    |o: &Output| matches!(o.path.segments().first(), Some(Segment::Key(k)) if k == key);
                let askable = self.schema.as_ref().is_none_or(|schema| {
                    schema.inputs.open
                        || schema.inputs.field(key).is_some()
                        || schema.outputs.iter().any(output)
                });
                let absent = self
                    .pending
                    .as_ref()
                    .map_or(Value::Null, |address| Value::unknown(&format!("{address}.{key}")));
                askable.then_some(absent)
            }
            _ => Some(Value::Map(Map::default())),
        }
    }

    /// The properties a person can ask for, for suggestions.
    #[must_use]
    pub fn candidates(&self) -> Vec<String> {
        let Some(schema) = &self.schema else {
            return Vec::new();
        };
        let first = |o: &Output| match o.path.segments().first() {
            Some(Segment::Key(key)) => Some(key.to_string()),
            _ => None,
        };
        let inputs = schema.inputs.fields.iter().map(|f| f.name.to_string());
        inputs
            .chain(schema.outputs.iter().filter_map(first))
            .chain(["id".to_owned()])
            .collect()
    }
}

/// Answers the expressions of one node.
pub struct View<'a> {
    names: &'a Names,
    each: Option<&'a (Arc<str>, Value)>,
    known: &'a dyn Fn(&Urn) -> Option<Known>,
    digests: &'a dyn Digests,
}

impl<'a> View<'a> {
    /// A view with what is known of each resource, and of secrets by their digests.
    #[must_use]
    pub fn new(
        names: &'a Names,
        each: Option<&'a (Arc<str>, Value)>,
        known: &'a dyn Fn(&Urn) -> Option<Known>,
        digests: &'a dyn Digests,
    ) -> Self {
        Self {
            names,
            each,
            known,
            digests,
        }
    }

    /// What of a reference is secret as a whole, or its value: what can be told also where secrets are only digests.
    fn source(&self, reference: &Reference) -> Option<Value> {
        for length in 0..=reference.path.len() {
            let value = self
                .lookup(&reference.root, reference.path.get(..length)?)
                .ok()??;
            if matches!(value, Value::Secret(_) | Value::Opaque(_)) {
                return Some(value);
            }
        }
        self.lookup(&reference.root, &reference.path).ok()?
    }

    fn binding(&self, binding: &Binding, path: &[Access]) -> Result<Option<Value>, String> {
        match binding {
            Binding::Resource(urn) => match (self.known)(urn) {
                Some(known) => Ok(known.at(path)),
                None => Ok(Some(Value::unknown(urn.path()))),
            },
            // What could not be made.
            Binding::Component(Template::Literal(value @ Value::Unknown(_))) => Ok(Some(value.clone())),
            Binding::Component(outputs) => {
                let evaluate = |template: &Template| template.evaluate(self).map_err(|e| first_message(&e));
                let Some((Access::Key(first), rest)) = path.split_first() else {
                    return evaluate(outputs).map(Some);
                };
                match outputs.get(first) {
                    Some(found) => Ok(resolve(&evaluate(&found.template)?, rest)),
                    None => Ok(None),
                }
            }
            Binding::Group(instances) => match path.split_first() {
                Some((Access::Key(key), rest)) => match instances.get(key) {
                    Some(address) => self.lookup(address, rest),
                    None => Ok(None),
                },
                _ => {
                    let all = instances.iter().map(|(key, address)| {
                        Ok((key.clone(), self.lookup(address, &[])?.unwrap_or_default()))
                    });
                    Ok(Some(Value::Map(all.collect::<Result<Map, String>>()?)))
                }
            },
        }
    }
}

fn first_message(errors: &[TemplateError]) -> String {
    errors.first().map(ToString::to_string).unwrap_or_default()
}

impl Scope for View<'_> {
    fn lookup(&self, root: &str, path: &[Access]) -> Result<Option<Value>, String> {
        match (root, self.each) {
            ("config", _) => Ok(resolve(&Value::Map(self.names.config.clone()), path)),
            ("stacks", _) => Ok(resolve(&Value::Map(self.names.stacks.clone()), path)),
            ("each", Some((key, value))) => match path.split_first() {
                Some((Access::Key(name), [])) if &**name == "key" => Ok(Some(Value::Str(key.clone()))),
                Some((Access::Key(name), rest)) if &**name == "value" => Ok(resolve(value, rest)),
                None => Ok(Some(Value::map([
                    ("key", Value::Str(key.clone())),
                    ("value", value.clone()),
                ]))),
                _ => Ok(None),
            },
            _ => match self.names.bindings.get(root) {
                Some(binding) => self.binding(binding, path),
                None => Ok(None),
            },
        }
    }

    fn candidates(&self, root: Option<&str>) -> Vec<String> {
        match root {
            None => self.names.bindings.keys().map(ToString::to_string).collect(),
            Some("config") => self.names.config.keys().map(ToString::to_string).collect(),
            Some("stacks") => self.names.stacks.keys().map(ToString::to_string).collect(),
            Some("each") => vec!["key".to_owned(), "value".to_owned()],
            Some(root) => match self.names.bindings.get(root) {
                Some(Binding::Resource(urn)) => (self.known)(urn).map(|k| k.candidates()).unwrap_or_default(),
                Some(Binding::Component(Template::Map(outputs))) => {
                    outputs.iter().map(|(k, _)| k.to_string()).collect()
                }
                Some(Binding::Group(instances)) => instances.keys().map(ToString::to_string).collect(),
                Some(Binding::Component(_)) | None => Vec::new(),
            },
        }
    }

    fn digest(&self, bytes: &[u8]) -> Option<String> {
        self.digests.digest(bytes)
    }

    fn derived(&self, template: &dyn Fn() -> (String, Vec<Reference>), value: Value) -> Value {
        if !self.digests.derives() {
            return value;
        }
        let (text, references) = template();
        let from: Option<Vec<Value>> = references
            .iter()
            .map(|reference| self.source(reference))
            .collect();
        match from {
            // Nothing is derived where it is passed on, from nothing secret, or from what is not known yet.
            Some(from)
                if from.iter().any(Value::has_secret)
                    && !from.iter().any(Value::has_unknown)
                    && from.first() != Some(&value) =>
            {
                self.digests.derived(&text, &from, value)
            }
            _ => value,
        }
    }
}

impl Names {
    /// The resources a reference leads to: one, or those behind a component's output or a group.
    #[must_use]
    pub fn resources(&self, reference: &Reference) -> Vec<Urn> {
        let mut found = Vec::new();
        self.follow(&reference.root, &reference.path, &mut found, 0);
        found.sort();
        found.dedup();
        found
    }

    fn follow(&self, root: &str, path: &[Access], found: &mut Vec<Urn>, depth: usize) {
        if depth > 64 {
            return;
        }
        match self.bindings.get(root) {
            Some(Binding::Resource(urn)) => found.push(urn.clone()),
            Some(Binding::Component(outputs)) => {
                let (mut part, mut rest) = (outputs, path);
                while let [Access::Key(key), more @ ..] = rest
                    && let Some(found) = part.get(key)
                {
                    (part, rest) = (&found.template, more);
                }
                let whole = matches!(part, Template::Expression(e) if e.references().len() == 1);
                for mention in part.references() {
                    let mut path = mention.reference.path;
                    if whole {
                        path.extend_from_slice(rest);
                    }
                    self.follow(&mention.reference.root, &path, found, depth + 1);
                }
            }
            Some(Binding::Group(instances)) => {
                let one = match path.first() {
                    Some(Access::Key(key)) => instances.get(key),
                    _ => None,
                };
                match one {
                    Some(address) => {
                        self.follow(address, path.get(1..).unwrap_or_default(), found, depth + 1);
                    }
                    None => {
                        for address in instances.values() {
                            self.follow(address, &[], found, depth + 1);
                        }
                    }
                }
            }
            None => {}
        }
    }

    /// True at or below something that was declared and could not be made.
    pub(super) fn is_lost(&self, address: &str) -> bool {
        let ends = address
            .match_indices(['/', '['])
            .map(|(at, _)| at)
            .chain([address.len()]);
        ends.filter_map(|end| self.bindings.get(address.get(..end)?))
            .any(|binding| matches!(binding, Binding::Component(Template::Literal(Value::Unknown(_)))))
    }

    /// Every resource at or below an address: the resource itself, a component's children, a group's instances.
    #[must_use]
    pub fn beneath(&self, address: &str) -> Vec<Urn> {
        let below = |candidate: &str| {
            candidate
                .strip_prefix(address)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '[']))
        };
        let range = self
            .bindings
            .range::<str, _>((std::ops::Bound::Included(address), std::ops::Bound::Unbounded));
        range
            .take_while(|(name, _)| name.starts_with(address))
            .filter(|(name, _)| below(name))
            .filter_map(|(_, b)| {
                if let Binding::Resource(urn) = b {
                    Some(urn.clone())
                } else {
                    None
                }
            })
            .collect()
    }
}

/// What is known of a resource before it is made.
pub(crate) fn unmade(address: &str, inputs: Value, schema: &Arc<KindSchema>) -> Known {
    let mut outputs = Value::Map(Map::default());
    for output in &schema.outputs {
        outputs = overlay(&outputs, output.path.segments(), &unknown(address, output));
    }
    Known {
        id: Value::unknown(&format!("{address}.id")),
        inputs,
        resolved: Value::Null,
        outputs,
        schema: Some(schema.clone()),
        pending: Some(Arc::from(address)),
    }
}

/// `value` with `new` at `path`; maps are made on the way, lists are entered by position only.
pub(crate) fn overlay(value: &Value, path: &[Segment], new: &Value) -> Value {
    let Some((first, rest)) = path.split_first() else {
        return new.clone();
    };
    match (value, first) {
        (Value::Secret(inner), _) => overlay(inner, path, new).into_secret(),
        (Value::Map(map), Segment::Key(key)) => {
            let below = overlay(map.get(key).unwrap_or(&Value::Null), rest, new);
            Value::Map(if below.is_null() {
                map.without(key)
            } else {
                map.with(key, below)
            })
        }
        (Value::Null, Segment::Key(key)) if !new.is_null() => {
            Value::map([(key.clone(), overlay(&Value::Null, rest, new))])
        }
        (Value::List(items), Segment::Index(index)) if *index < items.len() => {
            Value::list(items.iter().enumerate().map(|(at, item)| {
                if at == *index {
                    overlay(item, rest, new)
                } else {
                    item.clone()
                }
            }))
        }
        (Value::List(items), Segment::Element(name)) => {
            let at = element(items, name);
            let mut items: Vec<Value> = items.to_vec();
            match at.and_then(|at| items.get_mut(at)) {
                Some(item) => *item = overlay(item, rest, new),
                None if rest.is_empty() => items.push(new.clone()),
                None => {}
            }
            // What is put back to nothing leaves the list.
            Value::list(items.into_iter().filter(|item| !item.is_null()))
        }
        _ => value.clone(),
    }
}

/// The value at a path; `Null` where there is none.
pub(crate) fn at(value: &Value, path: &[Segment]) -> Value {
    let Some((first, rest)) = path.split_first() else {
        return value.clone();
    };
    let below = match (value.expose(), first) {
        (Value::Map(map), Segment::Key(key)) => map.get(key),
        (Value::List(items), Segment::Index(index)) => items.get(*index),
        (Value::List(items), Segment::Element(name)) => element(items, name).and_then(|at| items.get(at)),
        _ => None,
    };
    below.map(|below| at(below, rest)).unwrap_or_default()
}

/// The place of the element of that name: a text, or a map that is called so.
fn element(items: &[Value], name: &str) -> Option<usize> {
    let is = |value: &Value| value.expose().as_str() == Some(name);
    let by = |keys: &[&str]| {
        let named = |item: &Value| keys.iter().any(|key| item.expose().get(key).is_some_and(is));
        items.iter().position(named)
    };
    let any = |item: &Value| {
        item.expose()
            .as_map()
            .is_some_and(|map| map.iter().any(|(_, value)| is(value)))
    };
    by(&["name", "key", "id"])
        .or_else(|| items.iter().position(is))
        .or_else(|| items.iter().position(any))
}

/// An output that is not known yet.
pub(crate) fn unknown(address: &str, output: &Output) -> Value {
    let value = Value::unknown(&format!("{address}.{}", output.path));
    if output.secret { value.into_secret() } else { value }
}
