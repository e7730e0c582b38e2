//! Tokens into a tree, by the strength with which operators bind.

use std::ops::Range;
use std::sync::Arc;

use epid_provider::Value;
use epid_provider::check::nearest;

use super::functions::{self, Function};
use super::lexer::{Lexer, Spanned, Token, error};
use super::parsed::{Access, ExpressionError, Reference};
use super::syntax::{Binary, Fold, Node, Syntax};

/// The longest text of an expression, in bytes.
pub(super) const MAX_BYTES: usize = 4096;

/// The deepest tree.
pub(super) const MAX_DEPTH: u8 = 64;

/// Parses an expression.
pub(super) fn parse(text: &str) -> Result<Node, Vec<ExpressionError>> {
    if text.len() > MAX_BYTES {
        return Err(vec![
            error(0..text.len(), "this expression is longer than 4 KiB")
                .hint("put parts of it into configuration or outputs"),
        ]);
    }
    let mut tokens = Vec::new();
    let mut errors = Vec::new();
    for item in Lexer::new(text, 0) {
        match item {
            Ok(token) => tokens.push(token),
            Err(e) => errors.push(e),
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let mut parser = Parser {
        tokens,
        next: 0,
        end: text.len(),
        level: 0,
        locals: Vec::new(),
        errors,
    };
    let node = parser.expression().and_then(|node| match parser.peek() {
        None => Ok(node),
        Some((token, range)) => Err(unexpected(token, range.clone())),
    });
    match node {
        Ok(node) if parser.errors.is_empty() => Ok(node),
        Ok(_) => Err(parser.errors),
        Err(e) => {
            parser.errors.push(e);
            Err(parser.errors)
        }
    }
}

type Parsed = Result<Node, ExpressionError>;

struct Parser {
    tokens: Vec<Spanned>,
    next: usize,
    end: usize,
    level: u8,
    locals: Vec<Arc<str>>,
    /// What is wrong and does not keep the rest from being read.
    errors: Vec<ExpressionError>,
}

fn unexpected(token: &Token, range: Range<usize>) -> ExpressionError {
    match token {
        Token::Int(_) | Token::Float(_) => error(range, "unexpected number"),
        Token::Text(_) => error(range, "unexpected text"),
        Token::Name(name) | Token::Quoted(name) => {
            let problem = error(range, format!("unexpected `{name}`"));
            match &**name {
                "and" => problem.hint("`&&` is “and”"),
                "or" => problem.hint("`||` is “or”"),
                "not" => problem.hint("`!` is “not”"),
                "if" | "else" | "then" => problem.hint("`condition ? a : b` chooses"),
                _ => problem,
            }
        }
        Token::Sign(sign) => error(range, format!("unexpected `{sign}`")),
    }
}

fn narrow(range: &Range<usize>) -> Range<u32> {
    let cut = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    cut(range.start)..cut(range.end)
}

fn wide(range: &Range<u32>) -> Range<usize> {
    range.start as usize..range.end as usize
}

impl Parser {
    fn peek(&self) -> Option<&Spanned> {
        self.tokens.get(self.next)
    }

    fn is_sign(&self, sign: &str) -> bool {
        matches!(self.peek(), Some((Token::Sign(s), _)) if *s == sign)
    }

    /// The place of the sign, where it comes next; it is read then.
    fn eat(&mut self, sign: &str) -> Option<Range<usize>> {
        if !self.is_sign(sign) {
            return None;
        }
        let range = self.peek().map(|(_, range)| range.clone());
        self.next += 1;
        range
    }

    fn expect(&mut self, sign: &str, to: &str) -> Result<Range<usize>, ExpressionError> {
        self.eat(sign).ok_or_else(|| {
            let problem = self.stuck();
            problem.hint(format!("`{sign}` {to}"))
        })
    }

    /// What is wrong where something else is expected.
    fn stuck(&self) -> ExpressionError {
        match self.peek() {
            Some((token, range)) => unexpected(token, range.clone()),
            None if self.tokens.is_empty() => error(0..self.end, "an expression is missing"),
            None => error(
                self.end.saturating_sub(1)..self.end,
                "the expression ends too early",
            ),
        }
    }

    fn node(&self, syntax: Syntax, range: Range<u32>) -> Parsed {
        let mut node = Node {
            syntax,
            range,
            depth: 1,
        };
        let below = node.children().iter().map(|n| n.depth).max().unwrap_or(0);
        if below >= MAX_DEPTH {
            return Err(too_deep(wide(&node.range)));
        }
        node.depth = below + 1;
        Ok(node)
    }

    fn expression(&mut self) -> Parsed {
        if self.level >= MAX_DEPTH {
            let range = self.peek().map_or(self.end..self.end, |(_, r)| r.clone());
            return Err(too_deep(range));
        }
        self.level += 1;
        let parsed = self.conditional();
        self.level -= 1;
        parsed
    }

    fn conditional(&mut self) -> Parsed {
        let condition = self.binary(1)?;
        if self.eat("?").is_none() {
            return Ok(condition);
        }
        let then = self.expression()?;
        self.expect(":", "comes between the two values of `?`")?;
        let otherwise = self.expression()?;
        let range = condition.range.start..otherwise.range.end;
        self.node(Syntax::Conditional(Box::new([condition, then, otherwise])), range)
    }

    fn operator(&self) -> Option<(Binary, u8)> {
        match self.peek()? {
            (Token::Sign(sign), _) => Binary::spelled(sign),
            (Token::Name(name), _) if &**name == "in" => Binary::spelled("in"),
            _ => None,
        }
    }

    fn binary(&mut self, least: u8) -> Parsed {
        let mut left = self.unary()?;
        while let Some((operator, power)) = self.operator().filter(|(_, power)| *power >= least) {
            self.next += 1;
            let right = self.binary(power + 1)?;
            let range = left.range.start..right.range.end;
            left = self.node(Syntax::Binary(operator, Box::new(left), Box::new(right)), range)?;
        }
        Ok(left)
    }

    fn unary(&mut self) -> Parsed {
        // A run of signs is read without recursion and applied from the inside out.
        let mut signs = Vec::new();
        loop {
            if let Some(range) = self.eat("!") {
                signs.push((true, range));
            } else if let Some(range) = self.eat("-") {
                signs.push((false, range));
            } else {
                break;
            }
        }
        let negated = signs.last().filter(|(not, _)| !not).map(|(_, r)| r.clone());
        let number = match (self.peek(), negated) {
            (Some((Token::Int(n), range)), Some(sign)) => Some((*n, sign.start..range.end)),
            _ => None,
        };
        let mut node = if let Some((n, range)) = number {
            self.next += 1;
            signs.pop();
            let n = 0_i64.checked_sub_unsigned(n);
            let n = n.ok_or_else(|| too_large(range.clone()))?;
            let literal = self.node(Syntax::Literal(Value::Int(n)), narrow(&range))?;
            self.postfix(literal)?
        } else {
            let primary = self.primary()?;
            self.postfix(primary)?
        };
        for (not, sign) in signs.into_iter().rev() {
            let range = narrow(&sign).start..node.range.end;
            let boxed = Box::new(node);
            let syntax = if not {
                Syntax::Not(boxed)
            } else {
                Syntax::Negate(boxed)
            };
            node = self.node(syntax, range)?;
        }
        Ok(node)
    }

    fn primary(&mut self) -> Parsed {
        let Some((token, range)) = self.peek().cloned() else {
            return Err(self.stuck());
        };
        let at = narrow(&range);
        let literal = |value| Syntax::Literal(value);
        let path = |root: Arc<str>| {
            Syntax::Path(Reference {
                root,
                path: Vec::new(),
                range: at.clone(),
            })
        };
        self.next += 1;
        let syntax = match token {
            Token::Int(n) => literal(Value::Int(
                i64::try_from(n).map_err(|_| too_large(range.clone()))?,
            )),
            Token::Float(n) => literal(Value::Float(n)),
            Token::Text(text) => literal(Value::Str(text)),
            Token::Quoted(name) => path(name),
            Token::Name(name) => match &*name {
                "true" => literal(Value::Bool(true)),
                "false" => literal(Value::Bool(false)),
                "null" => literal(Value::Null),
                "in" => return Err(unexpected(&Token::Name(name), range)),
                _ if self.is_sign("(") => return self.call(&name, range),
                _ => match self.locals.iter().rposition(|local| *local == name) {
                    Some(place) => Syntax::Local(place),
                    None => path(name),
                },
            },
            Token::Sign("(") => {
                let inner = self.expression()?;
                self.expect(")", "closes `(`")?;
                return Ok(inner);
            }
            Token::Sign("[") => {
                let (items, end) = self.items("]")?;
                return self.node(Syntax::List(items), at.start..end);
            }
            Token::Sign("{") => return self.map(at.start),
            token @ Token::Sign(_) => return Err(unexpected(&token, range)),
        };
        self.node(syntax, at)
    }

    /// Expressions with commas between them up to `closing`, and where that ends.
    fn items(&mut self, closing: &str) -> Result<(Vec<Node>, u32), ExpressionError> {
        let mut items = Vec::new();
        loop {
            if let Some(range) = self.eat(closing) {
                return Ok((items, narrow(&range).end));
            }
            items.push(self.expression()?);
            if self.eat(",").is_none() {
                let end = self.expect(closing, "or a comma comes next")?;
                return Ok((items, narrow(&end).end));
            }
        }
    }

    fn map(&mut self, start: u32) -> Parsed {
        let mut entries = Vec::new();
        loop {
            if let Some(range) = self.eat("}") {
                return self.node(Syntax::Map(entries), start..narrow(&range).end);
            }
            let key = self.expression()?;
            self.expect(":", "comes between a key and its value")?;
            entries.push((key, self.expression()?));
            if self.eat(",").is_none() {
                let end = self.expect("}", "or a comma comes next")?;
                return self.node(Syntax::Map(entries), start..narrow(&end).end);
            }
        }
    }

    /// What follows a value: `.name`, `[index]`, calls.
    fn postfix(&mut self, mut node: Node) -> Parsed {
        loop {
            if self.eat(".").is_some() {
                let (name, range) = match self.peek().cloned() {
                    Some((Token::Name(name) | Token::Quoted(name), range)) => (name, range),
                    _ => return Err(self.stuck().hint("a name comes after `.`; items are `[0]`")),
                };
                self.next += 1;
                node = if self.is_sign("(") {
                    self.method(node, &name, range)?
                } else {
                    self.step(node, Access::Key(name), narrow(&range).end)?
                };
            } else if self.eat("[").is_some() {
                let index = self.expression()?;
                let end = narrow(&self.expect("]", "closes `[`")?).end;
                node = match (&node.syntax, &index.syntax) {
                    (Syntax::Path(_), Syntax::Literal(Value::Str(key))) => {
                        let key = Access::Key(key.clone());
                        self.step(node, key, end)?
                    }
                    (Syntax::Path(_), Syntax::Literal(Value::Int(at))) => {
                        let at = Access::Index(*at);
                        self.step(node, at, end)?
                    }
                    _ => {
                        let range = node.range.start..end;
                        self.node(Syntax::Index(Box::new(node), Box::new(index)), range)?
                    }
                };
            } else {
                return Ok(node);
            }
        }
    }

    /// A static step: a path grows, anything else is selected from.
    fn step(&mut self, mut node: Node, access: Access, end: u32) -> Parsed {
        if let Syntax::Path(reference) = &mut node.syntax {
            reference.path.push(access);
            reference.range.end = end;
            node.range.end = end;
            return Ok(node);
        }
        let range = node.range.start..end;
        match access {
            Access::Key(name) => self.node(Syntax::Select(Box::new(node), name), range),
            Access::Index(at) => {
                let index = self.node(Syntax::Literal(Value::Int(at)), range.clone())?;
                self.node(Syntax::Index(Box::new(node), Box::new(index)), range)
            }
        }
    }

    /// `name(…)`.
    fn call(&mut self, name: &str, range: Range<usize>) -> Parsed {
        if name == "has" {
            return self.has(range.start);
        }
        self.eat("(");
        let (arguments, end) = self.items(")")?;
        self.function(
            functions::free_function(name),
            name,
            arguments,
            narrow(&range).start..end,
            range,
        )
    }

    /// `has(a.b)`.
    fn has(&mut self, start: usize) -> Parsed {
        self.eat("(");
        let (mut arguments, end) = self.items(")")?;
        let range = narrow(&(start..start)).start..end;
        let fits = |node: &Node| match &node.syntax {
            Syntax::Path(reference) => matches!(reference.path.last(), Some(Access::Key(_))),
            Syntax::Select(..) => true,
            _ => false,
        };
        match (arguments.pop(), arguments.is_empty()) {
            (Some(argument), true) if fits(&argument) => self.node(Syntax::Has(Box::new(argument)), range),
            _ => Err(error(wide(&range), "`has` takes one selection").hint("`has(config.name)`")),
        }
    }

    /// `receiver.name(…)`: a function of a namespace, a macro or a method.
    fn method(&mut self, receiver: Node, name: &str, range: Range<usize>) -> Parsed {
        let start = receiver.range.start;
        if let Syntax::Path(reference) = &receiver.syntax
            && reference.path.is_empty()
            && functions::is_namespace(&reference.root)
        {
            let whole = format!("{}.{name}", reference.root);
            let name_range = receiver.range.start as usize..range.end;
            self.eat("(");
            let (arguments, end) = self.items(")")?;
            return self.function(
                functions::free_function(&whole),
                &whole,
                arguments,
                start..end,
                name_range,
            );
        }
        if let Some(fold) = Fold::named(name) {
            return self.fold(fold, receiver, name, range);
        }
        self.eat("(");
        let (mut arguments, end) = self.items(")")?;
        arguments.insert(0, receiver);
        self.function(
            functions::method_function(name),
            name,
            arguments,
            start..end,
            range,
        )
    }

    /// A call, checked as far as it can be without values.
    fn function(
        &mut self,
        function: Option<&'static Function>,
        name: &str,
        arguments: Vec<Node>,
        range: Range<u32>,
        name_range: Range<usize>,
    ) -> Parsed {
        let Some(function) = function else {
            let problem = error(name_range, format!("there is no function `{name}`"));
            self.errors.push(match functions::suggestion(name) {
                Some(usage) => problem.hint(format!("did you mean `{usage}`?")),
                None => problem,
            });
            return self.node(Syntax::List(arguments), range);
        };
        if !function.arguments.contains(&arguments.len()) {
            let problem = error(
                wide(&range),
                format!("`{name}` is given the wrong number of values"),
            );
            self.errors
                .push(problem.hint(format!("write `{}`", function.usage)));
            return self.node(Syntax::List(arguments), range);
        }
        self.node(Syntax::Call(function, arguments), range)
    }

    /// `over.all(x, …)`.
    fn fold(&mut self, fold: Fold, over: Node, name: &str, range: Range<usize>) -> Parsed {
        self.eat("(");
        let usage = format!("write `list.{name}(x, …)`");
        let local = match self.peek().cloned() {
            Some((Token::Name(local), _)) if !matches!(&*local, "true" | "false" | "null" | "in") => local,
            _ => {
                return Err(error(range, format!("`{name}` names what it goes through first")).hint(usage));
            }
        };
        self.next += 1;
        self.expect(",", &format!("comes next: {usage}"))?;
        let place = self.locals.len();
        self.locals.push(local);
        let rest = self.items(")");
        self.locals.truncate(place);
        let (body, end) = rest?;
        let most = if fold == Fold::Map { 2 } else { 1 };
        if body.is_empty() || body.len() > most {
            let problem = error(range, format!("`{name}` is given the wrong number of values"));
            return Err(problem.hint(usage));
        }
        let range = over.range.start..end;
        let syntax = Syntax::Fold {
            fold,
            over: Box::new(over),
            body,
        };
        self.node(syntax, range)
    }
}

fn too_deep(range: Range<usize>) -> ExpressionError {
    error(
        range,
        format!("this expression is deeper than {MAX_DEPTH} levels"),
    )
    .hint("put parts of it into configuration or outputs")
}

fn too_large(range: Range<usize>) -> ExpressionError {
    error(range, "this number is too large for a whole number of 64 bits")
}

/// ``did you mean `name`?``, where one of the candidates is near.
pub(super) fn did_you_mean(word: &str, candidates: &[String]) -> Option<String> {
    nearest(word, candidates.iter().map(String::as_str)).map(|near| format!("did you mean `{near}`?"))
}
