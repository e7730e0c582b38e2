//! A tree and a scope into a value.
//!
//! Unknown and secret are part of it: what depends on something unknown is unknown, what went through something
//! secret is secret, and parts that are neither stay as they are.

use std::cmp::Ordering;
use std::ops::Range;
use std::sync::Arc;

use epid_provider::Value;

use super::arithmetic::{compare_mixed, computed, overflow};
use super::functions::{Fault, Function, Run};
use super::logic::Logic;
use super::lookup::{look_up, step};
use super::outcome::{Failure, Outcome, a, bare, fail, first_unknown, mark, open};
use super::parsed::Access;
use super::scope::Scope;
use super::syntax::{Binary, Fold, Node, Syntax};

/// What one evaluation may cost, in nodes visited and bytes or items made.
const BUDGET: usize = 8_000_000;

pub(super) struct Evaluator<'s> {
    scope: &'s dyn Scope,
    /// The values of names bound by macros, outermost first.
    locals: Vec<Value>,
    left: usize,
}

impl<'s> Evaluator<'s> {
    pub(super) fn new(scope: &'s dyn Scope) -> Self {
        Self {
            scope,
            locals: Vec::new(),
            left: BUDGET,
        }
    }

    fn spend(&mut self, cost: usize, range: &Range<u32>) -> Result<(), Failure> {
        match self.left.checked_sub(cost) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => Err(fail(range, "this expression makes too much to be computed").certain()),
        }
    }

    pub(super) fn value(&mut self, node: &Node) -> Outcome {
        self.spend(1, &node.range)?;
        match &node.syntax {
            Syntax::Literal(value) => Ok(value.clone()),
            Syntax::Path(reference) => look_up(self.scope, &reference.root, &reference.path, &node.range),
            Syntax::Local(place) => Ok(self.locals.get(*place).cloned().unwrap_or_default()),
            Syntax::Select(..) | Syntax::Index(..) => self.access(node),
            Syntax::List(items) => {
                let items: Result<Vec<Value>, Failure> = items.iter().map(|item| self.value(item)).collect();
                Ok(Value::list(items?))
            }
            Syntax::Map(entries) => self.map(entries),
            Syntax::Not(of) => {
                let (value, secret) = open(&self.value(of)?);
                match value {
                    Value::Bool(b) => Ok(mark(Value::Bool(!b), secret)),
                    Value::Unknown(_) => Ok(mark(value, secret)),
                    other => Err(fail(&of.range, format!("`!` takes a boolean, not {}", a(&other)))),
                }
            }
            Syntax::Negate(of) => {
                let (value, secret) = open(&self.value(of)?);
                match value {
                    Value::Int(n) => match n.checked_neg() {
                        Some(n) => Ok(mark(Value::Int(n), secret)),
                        None => Err(overflow(&node.range)),
                    },
                    Value::Float(n) => Ok(mark(Value::Float(-n), secret)),
                    Value::Unknown(_) => Ok(mark(value, secret)),
                    other => Err(fail(&of.range, format!("`-` takes a number, not {}", a(&other)))),
                }
            }
            Syntax::Binary(operator, left, right) => self.binary(*operator, left, right, &node.range),
            Syntax::Conditional(parts) => {
                let [condition, then, otherwise] = &**parts;
                let (value, secret) = open(&self.value(condition)?);
                match value {
                    Value::Bool(b) => {
                        let value = self.value(if b { then } else { otherwise })?;
                        Ok(mark(value, secret))
                    }
                    Value::Unknown(_) => Ok(mark(value, secret)),
                    other => {
                        let message = format!("the condition of `?` is {}, not a boolean", a(&other));
                        Err(fail(&condition.range, message))
                    }
                }
            }
            Syntax::Has(of) => self.has(of),
            Syntax::Fold { fold, over, body } => self.fold(*fold, over, body, &node.range),
            Syntax::Call(function, arguments) => self.call(function, arguments, &node.range),
        }
    }

    fn map(&mut self, entries: &[(Node, Node)]) -> Outcome {
        let mut made: Vec<(Arc<str>, Value)> = Vec::with_capacity(entries.len());
        let mut secret = false;
        let mut unknown = None;
        for (key_node, node) in entries {
            let (key, hidden) = open(&self.value(key_node)?);
            let value = self.value(node)?;
            secret |= hidden;
            match key {
                Value::Str(key) if made.iter().any(|(k, _)| *k == key) => {
                    let what = if hidden {
                        String::new()
                    } else {
                        format!(" `{key}`")
                    };
                    return Err(fail(&key_node.range, format!("the key{what} stands here twice")));
                }
                Value::Str(key) => made.push((key, value)),
                Value::Unknown(_) => unknown = unknown.or(Some(key)),
                other => {
                    let problem = fail(&key_node.range, format!("a key is a string, not {}", a(&other)));
                    return Err(problem.hint(Some("string(…) converts it".to_owned())));
                }
            }
        }
        Ok(mark(unknown.unwrap_or_else(|| Value::map(made)), secret))
    }

    /// Selections and indices. What stands on a path asks the scope for the whole path at once.
    fn access(&mut self, node: &Node) -> Outcome {
        enum Step<'n> {
            Name(&'n Arc<str>),
            Index(&'n Node),
        }
        let mut steps: Vec<(&Node, Step<'_>)> = Vec::new();
        let mut base = node;
        loop {
            match &base.syntax {
                Syntax::Select(of, name) => {
                    steps.push((base, Step::Name(name)));
                    base = of;
                }
                Syntax::Index(of, index) => {
                    steps.push((base, Step::Index(index)));
                    base = of;
                }
                _ => break,
            }
        }
        let mut accesses: Vec<(Access, &Node)> = Vec::with_capacity(steps.len());
        let mut secret = false;
        let mut unknown = None;
        for (at, taken) in steps.into_iter().rev() {
            let access = match taken {
                Step::Index(index) => {
                    let (key, hidden) = open(&self.value(index)?);
                    secret |= hidden;
                    match key {
                        Value::Str(key) => Access::Key(key),
                        Value::Int(n) => Access::Index(n),
                        Value::Unknown(_) => {
                            unknown = unknown.or(Some(key));
                            continue;
                        }
                        other => {
                            let message = format!("an index is a string or an integer, not {}", a(&other));
                            return Err(fail(&index.range, message));
                        }
                    }
                }
                Step::Name(name) => Access::Key(name.clone()),
            };
            accesses.push((access, at));
        }
        if let Some(unknown) = unknown {
            return Ok(mark(unknown, secret));
        }
        if let (Syntax::Path(reference), false) = (&base.syntax, secret) {
            let mut path = reference.path.clone();
            path.extend(accesses.into_iter().map(|(access, _)| access));
            return look_up(self.scope, &reference.root, &path, &node.range);
        }
        let mut value = self.value(base)?;
        for (access, at) in accesses {
            value = step(&value, &access, &at.range, secret)?;
        }
        Ok(mark(value, secret))
    }

    fn has(&mut self, of: &Node) -> Outcome {
        let present = |value: &Value| match open(value) {
            (unknown @ Value::Unknown(_), secret) => mark(unknown, secret),
            (value, secret) => mark(Value::Bool(!value.is_null()), secret),
        };
        match &of.syntax {
            Syntax::Path(reference) => match self.scope.lookup(&reference.root, &reference.path) {
                Ok(Some(value)) => Ok(present(&value)),
                Ok(None) => {
                    let above = reference.path.split_last().map(|(_, above)| above);
                    look_up(self.scope, &reference.root, above.unwrap_or_default(), &of.range)?;
                    Ok(Value::Bool(false))
                }
                Err(message) => Err(fail(&of.range, message).certain()),
            },
            Syntax::Select(inner, name) => {
                let (value, secret) = open(&self.value(inner)?);
                match &value {
                    Value::Map(map) => Ok(mark(map.get(name).map_or(Value::Bool(false), present), secret)),
                    Value::Unknown(_) => Ok(mark(value, secret)),
                    other => Err(fail(
                        &inner.range,
                        format!("`has` looks into maps, not into {}", a(other)),
                    )),
                }
            }
            _ => Ok(Value::Bool(true)),
        }
    }

    fn binary(&mut self, operator: Binary, left: &Node, right: &Node, range: &Range<u32>) -> Outcome {
        if let Binary::And | Binary::Or = operator {
            let what = format!("`{}`", operator.sign());
            let mut logic = Logic::new(operator == Binary::Or);
            for part in [left, right] {
                let outcome = self.value(part);
                if logic.take(outcome, &part.range, &what)? {
                    return Ok(Value::Bool(logic.decides));
                }
            }
            return logic.finish();
        }
        let (left, right) = (self.value(left)?, self.value(right)?);
        match operator {
            Binary::Equal | Binary::Unequal => {
                let equal = self.equal(&left, &right, range)?;
                let secret = left.has_secret() || right.has_secret();
                let unknown = || {
                    first_unknown(&left)
                        .or_else(|| first_unknown(&right))
                        .unwrap_or_default()
                };
                let value = equal.map_or_else(unknown, |e| Value::Bool(e == (operator == Binary::Equal)));
                Ok(mark(value, secret))
            }
            Binary::In => self.contained(&left, &right, range),
            _ => self.computed(operator, &left, &right, range),
        }
    }

    /// Whether two values are the same; `None` where that depends on what is unknown.
    fn equal(&mut self, a: &Value, b: &Value, range: &Range<u32>) -> Result<Option<bool>, Failure> {
        self.spend(1, range)?;
        Ok(match (a.expose(), b.expose()) {
            (Value::Unknown(_) | Value::Opaque(_), _) | (_, Value::Unknown(_) | Value::Opaque(_)) => None,
            (Value::Int(a), Value::Float(b)) | (Value::Float(b), Value::Int(a)) => {
                Some(compare_mixed(*a, *b) == Some(Ordering::Equal))
            }
            (Value::List(a), Value::List(b)) => {
                if a.len() != b.len() {
                    return Ok(Some(false));
                }
                let pairs: Vec<_> = a.iter().zip(b.iter()).collect();
                self.all_equal(&pairs, range)?
            }
            (Value::Map(a), Value::Map(b)) => {
                if a.len() != b.len() || a.keys().ne(b.keys()) {
                    return Ok(Some(false));
                }
                let pairs: Vec<_> = a.iter().zip(b.iter()).map(|((_, a), (_, b))| (a, b)).collect();
                self.all_equal(&pairs, range)?
            }
            (a, b) => Some(a == b),
        })
    }

    fn all_equal(&mut self, pairs: &[(&Value, &Value)], range: &Range<u32>) -> Result<Option<bool>, Failure> {
        let mut known = true;
        for (a, b) in pairs {
            match self.equal(a, b, range)? {
                Some(true) => {}
                Some(false) => return Ok(Some(false)),
                None => known = false,
            }
        }
        Ok(known.then_some(true))
    }

    fn contained(&mut self, item: &Value, within: &Value, range: &Range<u32>) -> Outcome {
        let (inner, _) = open(within);
        let secret = item.has_secret() || within.has_secret();
        match &inner {
            Value::Unknown(_) => Ok(mark(inner, secret)),
            Value::List(items) => {
                let mut unknown = None;
                for candidate in items.iter() {
                    match self.equal(item, candidate, range)? {
                        Some(true) => return Ok(mark(Value::Bool(true), secret)),
                        Some(false) => {}
                        None => {
                            unknown = unknown
                                .or_else(|| first_unknown(item))
                                .or(first_unknown(candidate));
                        }
                    }
                }
                Ok(mark(unknown.unwrap_or(Value::Bool(false)), secret))
            }
            Value::Map(map) => {
                let (key, hidden) = open(item);
                let hidden = hidden || matches!(within, Value::Secret(_));
                match key {
                    Value::Str(key) => Ok(mark(Value::Bool(map.get(&key).is_some()), hidden)),
                    Value::Unknown(_) => Ok(mark(key, hidden)),
                    _ => Ok(mark(Value::Bool(false), hidden)),
                }
            }
            Value::Str(_) => {
                let problem = fail(range, "`in` looks into lists and maps, not into a string");
                Err(problem.hint(Some("write `text.contains(…)`".to_owned())))
            }
            other => Err(fail(
                range,
                format!("`in` looks into lists and maps, not into {}", a(other)),
            )),
        }
    }

    /// Arithmetic, concatenation and order.
    fn computed(&mut self, operator: Binary, left: &Value, right: &Value, range: &Range<u32>) -> Outcome {
        let ((left, left_secret), (right, right_secret)) = (open(left), open(right));
        let secret = left_secret || right_secret;
        for side in [&left, &right] {
            match side {
                Value::Unknown(_) => return Ok(mark(side.clone(), secret)),
                Value::Str(text) => self.spend(text.len(), range)?,
                Value::List(items) => self.spend(items.len(), range)?,
                _ => {}
            }
        }
        Ok(mark(computed(operator, &left, &right, range)?, secret))
    }

    fn fold(&mut self, fold: Fold, over: &Node, body: &[Node], range: &Range<u32>) -> Outcome {
        let (value, secret) = open(&self.value(over)?);
        let items: Vec<Value> = match &value {
            Value::Unknown(_) => return Ok(mark(value, secret)),
            Value::List(items) => items.to_vec(),
            Value::Map(map) => map.keys().map(|key| Value::Str(key.clone())).collect(),
            other => {
                let message = format!("a macro goes through a list or a map, not through {}", a(other));
                return Err(fail(&over.range, message));
            }
        };
        self.spend(items.len(), range)?;
        let mut each = Each {
            made: Vec::new(),
            hits: 0,
            secret,
            unknown: None,
        };
        let logic = match fold {
            Fold::All => Some(Logic::new(false)),
            Fold::Exists => Some(Logic::new(true)),
            Fold::ExistsOne | Fold::Map | Fold::Filter => None,
        };
        match logic {
            Some(logic) => self.decide(logic, &items, secret, body),
            None => {
                self.gather(&mut each, fold, &items, body)?;
                each.finish(fold)
            }
        }
    }

    fn with_local(&mut self, value: Value, node: &Node) -> Outcome {
        let place = self.locals.len();
        self.locals.push(value);
        let outcome = self.value(node);
        self.locals.truncate(place);
        outcome
    }

    fn decide(&mut self, mut logic: Logic, items: &[Value], secret: bool, body: &[Node]) -> Outcome {
        let what = if logic.decides { "`exists`" } else { "`all`" };
        for item in items {
            for test in body {
                let outcome = self.with_local(mark(item.clone(), secret), test);
                if logic.take(outcome, &test.range, what)? {
                    return Ok(mark(Value::Bool(logic.decides), secret));
                }
            }
        }
        logic.secret |= secret;
        logic.finish()
    }

    fn gather(&mut self, each: &mut Each, fold: Fold, items: &[Value], body: &[Node]) -> Result<(), Failure> {
        let (test, make) = match (fold, body) {
            (Fold::Map, [make]) => (None, Some(make)),
            (Fold::Map, [test, make]) => (Some(test), Some(make)),
            (_, [test, ..]) => (Some(test), None),
            (_, []) => (None, None),
        };
        let secret = each.secret;
        for item in items {
            let item = mark(item.clone(), secret);
            if let Some(test) = test {
                let (value, hidden) = open(&self.with_local(item.clone(), test)?);
                each.secret |= hidden;
                match value {
                    Value::Bool(true) => each.hits += 1,
                    Value::Bool(false) => continue,
                    Value::Unknown(_) => {
                        each.unknown = each.unknown.take().or(Some(value));
                        continue;
                    }
                    other => {
                        let message = format!("a test is a boolean, not {}", a(&other));
                        return Err(fail(&test.range, message));
                    }
                }
            }
            each.made.push(match make {
                Some(make) => self.with_local(item, make)?,
                None => item,
            });
        }
        Ok(())
    }

    fn call(&mut self, function: &Function, arguments: &[Node], range: &Range<u32>) -> Outcome {
        let values: Result<Vec<Value>, Failure> = arguments.iter().map(|node| self.value(node)).collect();
        let values = values?;
        let run = match function.run {
            Run::Pure(run) => run,
            Run::ContentHash => return Ok(self.content_hash(values.first().unwrap_or(&Value::Null))),
        };
        let shallow = |v: &Value| matches!(v, Value::Secret(_) | Value::Opaque(_));
        let (secret, unknown, plain): (bool, Option<Value>, Vec<Value>) = if function.deep {
            let plain = values.iter().map(bare).collect();
            let secret = values.iter().any(Value::has_secret);
            (secret, values.iter().find_map(first_unknown), plain)
        } else {
            let plain: Vec<Value> = values.iter().map(|v| open(v).0).collect();
            let unknown = plain.iter().find(|v| matches!(v, Value::Unknown(_))).cloned();
            (values.iter().any(shallow), unknown, plain)
        };
        if let Some(unknown) = unknown {
            return Ok(mark(unknown, secret));
        }
        match run(&plain) {
            Ok(value) => {
                let made = match &value {
                    Value::Str(text) => text.len(),
                    Value::List(items) => items.len(),
                    _ => 0,
                };
                self.spend(made, range)?;
                Ok(mark(value, secret))
            }
            Err(Fault { message, shown, hint }) => {
                let shown = shown
                    .filter(|_| !secret)
                    .map_or(String::new(), |s| format!(": {s}"));
                let problem = fail(range, format!("`{}`: {message}{shown}", function.name));
                Err(problem.hint(hint.filter(|_| !secret)))
            }
        }
    }

    /// The hash of content; keyed where the content is secret, so that it need not be secret itself.
    fn content_hash(&self, value: &Value) -> Value {
        if let Some(unknown) = first_unknown(value) {
            return unknown;
        }
        let text = super::functions::json(&bare(value));
        if value.has_secret() {
            let digest = self.scope.digest(&[b"contentHash\0", text.as_bytes()].concat());
            digest.map_or_else(|| Value::unknown(""), |hex| hash_text(&hex))
        } else {
            hash_text(&super::functions::sha256(text.as_bytes()))
        }
    }
}

/// The digits of a hash that names carry.
fn hash_text(hex: &str) -> Value {
    Value::str(hex.get(..10).unwrap_or(hex))
}

/// What `map`, `filter` and `exists_one` have found.
struct Each {
    made: Vec<Value>,
    hits: usize,
    secret: bool,
    unknown: Option<Value>,
}

impl Each {
    fn finish(&mut self, fold: Fold) -> Outcome {
        let value = match (fold, self.unknown.take()) {
            (Fold::ExistsOne, Some(_)) if self.hits > 1 => Value::Bool(false),
            (_, Some(unknown)) => unknown,
            (Fold::ExistsOne, None) => Value::Bool(self.hits == 1),
            (_, None) => Value::list(std::mem::take(&mut self.made)),
        };
        Ok(mark(value, self.secret))
    }
}
