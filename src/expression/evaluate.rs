//! A tree and a scope into a value.
//!
//! Unknown and secret are part of it: what depends on something unknown is unknown, what went through something
//! secret is secret, and parts that are neither stay as they are.

use std::cmp::Ordering;
use std::ops::Range;
use std::sync::Arc;

use epid_provider::Value;

use super::functions::{Fault, Function, Run};
use super::parsed::{Access, ExpressionError, Reference};
use super::parser::did_you_mean;
use super::scope::Scope;
use super::syntax::{Binary, Fold, Node, Syntax};

/// What one evaluation may cost, in nodes visited and bytes or items made.
const BUDGET: usize = 8_000_000;

/// What cannot be computed.
pub(super) struct Failure {
    pub(super) error: ExpressionError,
    /// It fails whatever the other side of `&&` or `||` is: a name that does not exist.
    certain: bool,
}

type Outcome = Result<Value, Failure>;

pub(super) struct Evaluator<'s> {
    scope: &'s dyn Scope,
    /// The values of names bound by macros, outermost first.
    locals: Vec<Value>,
    left: usize,
}

/// A value without its mark, and whether it had one.
pub(super) fn open(value: &Value) -> (Value, bool) {
    match value {
        Value::Secret(inner) => ((**inner).clone(), true),
        Value::Opaque(_) => (Value::unknown(""), true),
        other => (other.clone(), false),
    }
}

/// A value without any marks in it.
pub(super) fn bare(value: &Value) -> Value {
    value.replaced(&mut |v| match v {
        Value::Secret(inner) => Some(bare(inner)),
        _ => None,
    })
}

/// `value`, marked where something secret led to it.
pub(super) fn mark(value: Value, secret: bool) -> Value {
    match value {
        value if !secret => value,
        Value::Secret(_) | Value::Opaque(_) => value,
        value if value.has_secret() => bare(&value).into_secret(),
        value => value.into_secret(),
    }
}

/// The first unknown in a value; a digest stands for one.
fn first_unknown(value: &Value) -> Option<Value> {
    match value {
        Value::Unknown(_) => Some(value.clone()),
        Value::Opaque(_) => Some(Value::unknown("")),
        Value::Secret(inner) => first_unknown(inner),
        Value::List(items) => items.iter().find_map(first_unknown),
        Value::Map(map) => map.iter().find_map(|(_, v)| first_unknown(v)),
        _ => None,
    }
}

fn fail(range: &Range<u32>, message: impl Into<String>) -> Failure {
    Failure {
        error: ExpressionError {
            range: range.clone(),
            message: message.into(),
            hint: None,
        },
        certain: false,
    }
}

impl Failure {
    fn hint(mut self, hint: Option<String>) -> Self {
        self.error.hint = hint;
        self
    }

    fn certain(mut self) -> Self {
        self.certain = true;
        self
    }
}

/// The value of a path, straight from the scope.
pub(super) fn look_up(scope: &dyn Scope, root: &str, path: &[Access], range: &Range<u32>) -> Outcome {
    match scope.lookup(root, path) {
        Ok(Some(value)) => Ok(value),
        Ok(None) => Err(absent(scope, root, path, range)),
        Err(message) => Err(fail(range, message).certain()),
    }
}

/// Why there is nothing at a path.
fn absent(scope: &dyn Scope, root: &str, path: &[Access], range: &Range<u32>) -> Failure {
    let name = |path: &[Access]| {
        Reference {
            root: Arc::from(root),
            path: path.to_vec(),
            range: 0..0,
        }
        .to_string()
    };
    let found = path.iter().enumerate().rev().find_map(|(at, access)| {
        let above = path.get(..at)?;
        let value = scope.lookup(root, above).ok().flatten()?;
        Some((above, value, access))
    });
    let Some((above, value, access)) = found else {
        let problem = fail(range, format!("`{}` is not declared", name(&[]))).certain();
        let mut all = scope.candidates(None);
        all.extend(["config", "stacks"].map(str::to_owned));
        let hint = match root {
            "each" => Some("`each` is there where `forEach` is set".to_owned()),
            _ => did_you_mean(root, &all),
        };
        return problem.hint(hint);
    };
    let owner = name(above);
    let (inner, secret) = open(&value);
    let problem = match (&inner, access) {
        (Value::List(items), Access::Index(at)) => {
            if secret {
                fail(range, format!("`{owner}` has no such item"))
            } else {
                fail(
                    range,
                    format!("`{owner}` has {} items, there is no [{at}]", items.len()),
                )
            }
        }
        (Value::Map(_) | Value::Unknown(_), Access::Key(key)) => {
            let mut candidates = if above.is_empty() && !secret {
                scope.candidates(Some(root))
            } else {
                Vec::new()
            };
            if !secret && let Value::Map(map) = &inner {
                candidates.extend(map.keys().map(ToString::to_string));
            }
            let hint = match (did_you_mean(key, &candidates), root, above) {
                (None, "config", []) => Some(format!("declare it: [config.{key}]")),
                (None, "stacks", []) => Some("name the stack under [references]".to_owned()),
                (hint, ..) => hint,
            };
            fail(range, format!("`{owner}` has no `{key}`")).hint(hint)
        }
        (_, Access::Key(key)) => fail(range, format!("`{owner}` is {}, which has no `{key}`", a(&inner))),
        (_, Access::Index(_)) => fail(range, format!("`{owner}` is {}, not a list", a(&inner))),
    };
    problem.certain()
}

/// `a string`, `an integer`.
pub(super) fn a(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Int(_) | Value::Unknown(_) => format!("an {}", value.type_name()),
        other => format!("a {}", other.type_name()),
    }
}

/// What has been seen of the parts of `&&`, `||`, `all` or `exists`.
struct Logic {
    /// The value that decides.
    decides: bool,
    decided_in_secret: bool,
    secret: bool,
    unknown: Option<Value>,
    failure: Option<Failure>,
}

impl Logic {
    fn new(decides: bool) -> Self {
        Self {
            decides,
            decided_in_secret: false,
            secret: false,
            unknown: None,
            failure: None,
        }
    }

    /// Takes one part; true where it decides everything.
    fn take(&mut self, part: Outcome, range: &Range<u32>, what: &str) -> Result<bool, Failure> {
        match part.map(|value| open(&value)) {
            Ok((Value::Bool(b), secret)) if b == self.decides => {
                self.decided_in_secret |= secret;
                return Ok(!secret);
            }
            Ok((Value::Bool(_), secret)) => self.secret |= secret,
            Ok((unknown @ Value::Unknown(_), secret)) => {
                self.secret |= secret;
                self.unknown = self.unknown.take().or(Some(unknown));
            }
            Ok((other, _)) => {
                let problem = fail(range, format!("{what} takes booleans, not {}", a(&other)));
                self.failure = self.failure.take().or(Some(problem));
            }
            Err(failure) if failure.certain => return Err(failure),
            Err(failure) => self.failure = self.failure.take().or(Some(failure)),
        }
        Ok(false)
    }

    fn finish(self) -> Outcome {
        if self.decided_in_secret {
            return Ok(Value::Bool(self.decides).into_secret());
        }
        if let Some(unknown) = self.unknown {
            return Ok(mark(unknown, self.secret));
        }
        match self.failure {
            Some(failure) => Err(failure),
            None => Ok(mark(Value::Bool(!self.decides), self.secret)),
        }
    }
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
        let mut steps: Vec<(&Node, Option<&Node>, Option<&Arc<str>>)> = Vec::new();
        let mut base = node;
        loop {
            match &base.syntax {
                Syntax::Select(of, name) => {
                    steps.push((base, None, Some(name)));
                    base = of;
                }
                Syntax::Index(of, index) => {
                    steps.push((base, Some(index), None));
                    base = of;
                }
                _ => break,
            }
        }
        let mut accesses: Vec<(Access, &Node)> = Vec::with_capacity(steps.len());
        let mut secret = false;
        let mut unknown = None;
        for (at, index, name) in steps.into_iter().rev() {
            let access = match (index, name) {
                (Some(index), _) => {
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
                (None, name) => Access::Key(name.cloned().unwrap_or_default()),
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
                                .or(first_unknown(candidate))
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
        let ((l, left_secret), (r, right_secret)) = (open(left), open(right));
        let secret = left_secret || right_secret;
        if let Value::Unknown(_) = l {
            return Ok(mark(l, secret));
        }
        if let Value::Unknown(_) = r {
            return Ok(mark(r, secret));
        }
        let value = match (&l, &r) {
            (Value::Int(a), Value::Int(b)) => whole(operator, *a, *b, range)?,
            (Value::Float(a), Value::Float(b)) => float(operator, *a, *b, range)?,
            (Value::Int(a), Value::Float(b)) => {
                compared(operator, compare_mixed(*a, *b)).ok_or_else(|| mismatch(operator, &l, &r, range))?
            }
            (Value::Float(a), Value::Int(b)) => {
                let order = compare_mixed(*b, *a).map(Ordering::reverse);
                compared(operator, order).ok_or_else(|| mismatch(operator, &l, &r, range))?
            }
            (Value::Str(a), Value::Str(b)) if operator == Binary::Add => {
                self.spend(a.len() + b.len(), range)?;
                Value::from(format!("{a}{b}"))
            }
            (Value::List(a), Value::List(b)) if operator == Binary::Add => {
                self.spend(a.len() + b.len(), range)?;
                Value::list(a.iter().chain(b.iter()).cloned())
            }
            (Value::Str(a), Value::Str(b)) => {
                compared(operator, Some(a.cmp(b))).ok_or_else(|| mismatch(operator, &l, &r, range))?
            }
            (Value::Bool(a), Value::Bool(b)) => {
                compared(operator, Some(a.cmp(b))).ok_or_else(|| mismatch(operator, &l, &r, range))?
            }
            _ => return Err(mismatch(operator, &l, &r, range)),
        };
        Ok(mark(value, secret))
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

/// One step into a value that is not on a path of the scope.
fn step(value: &Value, access: &Access, range: &Range<u32>, hide: bool) -> Outcome {
    match (value, access) {
        (Value::Unknown(_), _) => Ok(value.clone()),
        (Value::Opaque(_), _) => Ok(Value::unknown("").into_secret()),
        (Value::Secret(inner), _) => Ok(mark(step(inner, access, range, true)?, true)),
        (Value::Map(map), Access::Key(key)) => map.get(key).cloned().ok_or_else(|| {
            if hide {
                return fail(range, "the map has no such key");
            }
            let candidates: Vec<String> = map.keys().map(ToString::to_string).collect();
            fail(range, format!("the map has no `{key}`")).hint(did_you_mean(key, &candidates))
        }),
        (Value::List(items), Access::Index(at)) => usize::try_from(*at)
            .ok()
            .and_then(|at| items.get(at).cloned())
            .ok_or_else(|| {
                if hide {
                    return fail(range, "the list has no such item");
                }
                fail(
                    range,
                    format!("the list has {} items, there is no [{at}]", items.len()),
                )
            }),
        (Value::List(_), Access::Key(_)) => Err(fail(range, "the index of a list is an integer")),
        (Value::Map(_), Access::Index(_)) => Err(fail(range, "the key of a map is a string")),
        (other, Access::Key(key)) if !hide => Err(fail(range, format!("{} has no `{key}`", a(other)))),
        (other, _) => Err(fail(range, format!("{} has no items", a(other)))),
    }
}

fn overflow(range: &Range<u32>) -> Failure {
    fail(range, "the result is too large for a whole number of 64 bits")
}

fn mismatch(operator: Binary, left: &Value, right: &Value, range: &Range<u32>) -> Failure {
    let takes = match operator {
        Binary::Add => "two integers, two numbers, two strings or two lists",
        Binary::Remainder => "two integers",
        Binary::Subtract | Binary::Multiply | Binary::Divide => "two integers or two numbers",
        _ => "two numbers, two strings or two booleans",
    };
    let message = format!(
        "`{}` takes {takes}, not {} and {}",
        operator.sign(),
        a(left),
        a(right)
    );
    fail(range, message).hint(match (left, right) {
        (Value::Int(_), Value::Float(_)) | (Value::Float(_), Value::Int(_)) => {
            Some("double(…) makes a number of an integer".to_owned())
        }
        (Value::Str(_), Value::Int(_) | Value::Float(_) | Value::Bool(_))
        | (Value::Int(_) | Value::Float(_) | Value::Bool(_), Value::Str(_)) => {
            Some("string(…) makes a string of it".to_owned())
        }
        _ => None,
    })
}

fn whole(operator: Binary, a: i64, b: i64, range: &Range<u32>) -> Outcome {
    let zero = || fail(range, "division by zero");
    let result = match operator {
        Binary::Add => a.checked_add(b),
        Binary::Subtract => a.checked_sub(b),
        Binary::Multiply => a.checked_mul(b),
        Binary::Divide if b == 0 => return Err(zero()),
        Binary::Divide => a.checked_div(b),
        Binary::Remainder if b == 0 => return Err(zero()),
        Binary::Remainder => a.checked_rem(b),
        _ => {
            let value = compared(operator, Some(a.cmp(&b)));
            return value.ok_or_else(|| overflow(range));
        }
    };
    result.map(Value::Int).ok_or_else(|| overflow(range))
}

fn float(operator: Binary, a: f64, b: f64, range: &Range<u32>) -> Outcome {
    let result = match operator {
        Binary::Add => a + b,
        Binary::Subtract => a - b,
        Binary::Multiply => a * b,
        Binary::Divide if b == 0.0 => return Err(fail(range, "division by zero")),
        Binary::Divide => a / b,
        _ => {
            let value = compared(operator, a.partial_cmp(&b));
            return value.ok_or_else(|| mismatch(operator, &Value::Float(a), &Value::Float(b), range));
        }
    };
    if result.is_finite() {
        Ok(Value::Float(result))
    } else {
        Err(fail(range, "the result is too large for a number"))
    }
}

/// What a comparison says; `None` where the operator is none.
fn compared(operator: Binary, order: Option<Ordering>) -> Option<Value> {
    let order = order?;
    let holds = match operator {
        Binary::Less => order.is_lt(),
        Binary::AtMost => order.is_le(),
        Binary::More => order.is_gt(),
        Binary::AtLeast => order.is_ge(),
        _ => return None,
    };
    Some(Value::Bool(holds))
}

/// An integer against a number, exactly.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the number has been found to lie within the integers"
)]
fn compare_mixed(a: i64, b: f64) -> Option<Ordering> {
    const BEYOND: f64 = 9_223_372_036_854_775_808.0;
    if b.is_nan() {
        return None;
    }
    if b >= BEYOND {
        return Some(Ordering::Less);
    }
    if b < -BEYOND {
        return Some(Ordering::Greater);
    }
    let whole = b.trunc();
    let rest = 0.0_f64.partial_cmp(&(b - whole))?;
    Some(a.cmp(&(whole as i64)).then(rest))
}

/// Text of a value that stands within text; `None` for what has none.
pub(super) fn text_of(value: &Value) -> Option<Arc<str>> {
    match value {
        Value::Str(text) => Some(text.clone()),
        Value::Bool(b) => Some(Arc::from(if *b { "true" } else { "false" })),
        Value::Int(n) => Some(Arc::from(n.to_string())),
        Value::Float(n) => Some(Arc::from(n.to_string())),
        _ => None,
    }
}
