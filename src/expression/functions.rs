//! The functions of the language: plain values in, a plain value out.
//!
//! Beside those of CEL and its strings extension: `base64.encode(text)`, `base64.decode(text)`, `json.encode(value)`,
//! `json.decode(text)`, `contentHash(value)`, `cidrSubnet(base, newBits, n)`, `cidrHost(base, n)`. `type(value)` gives
//! epid's word for the type as a string: `string`, `integer`, `number`, `boolean`, `list`, `map`, `null`.

use std::ops::RangeInclusive;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use epid_provider::Value;
use epid_provider::check::nearest;
use sha2::{Digest as _, Sha256};

use super::network;
use super::outcome::{a, text_of};

/// A function.
pub(super) struct Function {
    pub(super) name: &'static str,
    /// How it may be written: `name(x)`.
    free: bool,
    /// How it may be written: `x.name()`.
    method: bool,
    /// How many values it takes; what it is called on is one.
    pub(super) arguments: RangeInclusive<usize>,
    /// It looks into lists and maps, so that what is unknown or secret in them counts.
    pub(super) deep: bool,
    pub(super) run: Run,
    /// How it is written.
    pub(super) usage: &'static str,
}

impl std::fmt::Debug for Function {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// How a function is computed.
pub(super) enum Run {
    /// From its values, which are known.
    Pure(fn(&[Value]) -> Result<Value, Fault>),
    /// `contentHash`, which needs the scope's key.
    ContentHash,
}

/// Why a function cannot be computed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// What is wrong, without any value.
    pub(super) message: String,
    /// The value it is wrong with; not shown where a secret is involved.
    pub(super) shown: Option<String>,
    /// What to do; not shown where a secret is involved.
    pub(super) hint: Option<String>,
}

impl Fault {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            shown: None,
            hint: None,
        }
    }

    pub(super) fn showing(mut self, shown: impl Into<String>) -> Self {
        self.shown = Some(shown.into());
        self
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

type Result<T, E = Fault> = std::result::Result<T, E>;

const fn free(
    name: &'static str,
    count: usize,
    run: fn(&[Value]) -> Result<Value>,
    usage: &'static str,
) -> Function {
    Function {
        name,
        free: true,
        method: false,
        arguments: count..=count,
        deep: true,
        run: Run::Pure(run),
        usage,
    }
}

const fn method(
    name: &'static str,
    arguments: RangeInclusive<usize>,
    run: fn(&[Value]) -> Result<Value>,
    usage: &'static str,
) -> Function {
    Function {
        name,
        free: false,
        method: true,
        arguments,
        deep: true,
        run: Run::Pure(run),
        usage,
    }
}

static FUNCTIONS: [Function; 27] = [
    Function {
        method: true,
        deep: false,
        ..free("size", 1, size, "size(x)")
    },
    Function {
        deep: false,
        ..free("type", 1, type_name, "type(x)")
    },
    free("string", 1, string, "string(x)"),
    free("int", 1, int, "int(x)"),
    free("double", 1, double, "double(x)"),
    free("bool", 1, boolean, "bool(x)"),
    method(
        "contains",
        2..=2,
        |v| Ok(Value::Bool(text(v, 0)?.contains(text(v, 1)?))),
        "text.contains(part)",
    ),
    method(
        "startsWith",
        2..=2,
        |v| Ok(Value::Bool(text(v, 0)?.starts_with(text(v, 1)?))),
        "text.startsWith(part)",
    ),
    method(
        "endsWith",
        2..=2,
        |v| Ok(Value::Bool(text(v, 0)?.ends_with(text(v, 1)?))),
        "text.endsWith(part)",
    ),
    Function {
        free: true,
        ..method("matches", 2..=2, matches, "text.matches(pattern)")
    },
    method(
        "lowerAscii",
        1..=1,
        |v| Ok(Value::from(text(v, 0)?.to_ascii_lowercase())),
        "text.lowerAscii()",
    ),
    method(
        "upperAscii",
        1..=1,
        |v| Ok(Value::from(text(v, 0)?.to_ascii_uppercase())),
        "text.upperAscii()",
    ),
    method(
        "trim",
        1..=1,
        |v| Ok(Value::str(text(v, 0)?.trim())),
        "text.trim()",
    ),
    method("split", 2..=3, split, "text.split(separator)"),
    method("join", 1..=2, join, "list.join(separator)"),
    method("replace", 3..=4, replace, "text.replace(old, new)"),
    method("substring", 2..=3, substring, "text.substring(start, end)"),
    method("charAt", 2..=2, char_at, "text.charAt(n)"),
    method("indexOf", 2..=3, index_of, "text.indexOf(part)"),
    method("lastIndexOf", 2..=2, last_index_of, "text.lastIndexOf(part)"),
    free(
        "base64.encode",
        1,
        |v| Ok(Value::from(STANDARD.encode(text(v, 0)?))),
        "base64.encode(text)",
    ),
    free("base64.decode", 1, base64_decode, "base64.decode(text)"),
    free(
        "json.encode",
        1,
        |v| Ok(Value::from(json(v.first().unwrap_or(&Value::Null)))),
        "json.encode(x)",
    ),
    free("json.decode", 1, json_decode, "json.decode(text)"),
    Function {
        run: Run::ContentHash,
        ..free("contentHash", 1, size, "contentHash(x)")
    },
    free(
        "cidrSubnet",
        3,
        |v| network::subnet(text(v, 0)?, integer(v, 1)?, integer(v, 2)?).map(Value::from),
        "cidrSubnet(base, newBits, n)",
    ),
    free(
        "cidrHost",
        2,
        |v| network::host(text(v, 0)?, integer(v, 1)?).map(Value::from),
        "cidrHost(base, n)",
    ),
];

/// The function written `name(…)`.
pub(super) fn free_function(name: &str) -> Option<&'static Function> {
    FUNCTIONS.iter().find(|f| f.free && f.name == name)
}

/// The function written `x.name(…)`.
pub(super) fn method_function(name: &str) -> Option<&'static Function> {
    FUNCTIONS.iter().find(|f| f.method && f.name == name)
}

/// True for what stands before the point in the name of a function.
pub(super) fn is_namespace(name: &str) -> bool {
    matches!(name, "base64" | "json")
}

/// How the function that was probably meant is written.
pub(super) fn suggestion(name: &str) -> Option<&'static str> {
    let other_words = match name {
        "len" | "length" | "count" => Some("size"),
        "str" | "toString" => Some("string"),
        "lower" | "toLower" | "toLowerCase" => Some("lowerAscii"),
        "upper" | "toUpper" | "toUpperCase" => Some("upperAscii"),
        "float" | "number" => Some("double"),
        "uint" | "integer" => Some("int"),
        "jsonencode" | "toJson" | "toJSON" => Some("json.encode"),
        "fromJson" | "jsondecode" | "parseJson" => Some("json.decode"),
        "base64encode" => Some("base64.encode"),
        "base64decode" => Some("base64.decode"),
        "cidrsubnet" => Some("cidrSubnet"),
        "cidrhost" => Some("cidrHost"),
        _ => None,
    };
    let found = |name: &str| FUNCTIONS.iter().find(|f| f.name == name).map(|f| f.usage);
    const MACROS: [(&str, &str); 6] = [
        ("has", "has(x.name)"),
        ("all", "list.all(x, …)"),
        ("exists", "list.exists(x, …)"),
        ("exists_one", "list.exists_one(x, …)"),
        ("map", "list.map(x, …)"),
        ("filter", "list.filter(x, …)"),
    ];
    if let Some(word) = other_words {
        return found(word);
    }
    let names = FUNCTIONS
        .iter()
        .map(|f| f.name)
        .chain(MACROS.map(|(name, _)| name));
    let Some(near) = nearest(name, names) else {
        // Misspelt, and of another language at once.
        let near = nearest(
            name,
            [
                "toLower",
                "toUpper",
                "length",
                "jsonencode",
                "jsondecode",
                "toString",
            ],
        )?;
        return suggestion(near);
    };
    found(near).or_else(|| {
        MACROS
            .iter()
            .find(|(name, _)| *name == near)
            .map(|(_, usage)| *usage)
    })
}

/// JSON, maps in the order of their keys. The value holds neither secrets nor unknown parts.
pub(super) fn json(value: &Value) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// SHA-256 in lower-case hex.
pub(super) fn sha256(bytes: &[u8]) -> String {
    let digits = |b: u8| [b >> 4, b & 15].map(|n| char::from_digit(u32::from(n), 16).unwrap_or('0'));
    Sha256::digest(bytes).iter().flat_map(|b| digits(*b)).collect()
}

fn value(values: &[Value], at: usize) -> &Value {
    values.get(at).unwrap_or(&Value::Null)
}

fn wrong(takes: &str, found: &Value) -> Fault {
    Fault::new(format!("takes {takes}, not {}", a(found)))
}

fn text(values: &[Value], at: usize) -> Result<&str> {
    let value = value(values, at);
    value.as_str().ok_or_else(|| wrong("a string", value))
}

fn integer(values: &[Value], at: usize) -> Result<i64> {
    let value = value(values, at);
    value.as_int().ok_or_else(|| wrong("an integer", value))
}

/// A position in text; `None` where it was not given.
fn position(values: &[Value], at: usize, length: usize) -> Result<Option<usize>> {
    if values.len() <= at {
        return Ok(None);
    }
    let n = integer(values, at)?;
    let fits = usize::try_from(n).ok().filter(|n| *n <= length);
    let outside = || {
        Fault::new("the position is outside of the text")
            .showing(format!("{n}, the text has {length} characters"))
    };
    fits.map(Some).ok_or_else(outside)
}

fn count(n: usize) -> Value {
    Value::Int(i64::try_from(n).unwrap_or(i64::MAX))
}

fn size(values: &[Value]) -> Result<Value> {
    match value(values, 0) {
        Value::Str(text) => Ok(count(text.chars().count())),
        Value::List(items) => Ok(count(items.len())),
        Value::Map(map) => Ok(count(map.len())),
        other => Err(wrong("a string, a list or a map", other)),
    }
}

fn type_name(values: &[Value]) -> Result<Value> {
    Ok(Value::str(value(values, 0).type_name()))
}

fn string(values: &[Value]) -> Result<Value> {
    let value = value(values, 0);
    text_of(value).map(Value::Str).ok_or_else(|| {
        wrong("a string, a number or a boolean", value).hint("json.encode(…) makes text of lists and maps")
    })
}

fn int(values: &[Value]) -> Result<Value> {
    let outside =
        |n: f64| Fault::new("the number is too large for a whole number of 64 bits").showing(n.to_string());
    match value(values, 0) {
        Value::Int(n) => Ok(Value::Int(*n)),
        Value::Float(n) if n.abs() < 9.2e18 =>
        {
            #[expect(clippy::cast_possible_truncation, reason = "towards zero, and it fits")]
            Ok(Value::Int(*n as i64))
        }
        Value::Float(n) => Err(outside(*n)),
        Value::Str(text) => text
            .parse()
            .map(Value::Int)
            .map_err(|_| Fault::new("the text is not a whole number").showing(format!("`{text}`"))),
        other => Err(wrong("a number or a string", other)),
    }
}

fn double(values: &[Value]) -> Result<Value> {
    match value(values, 0) {
        #[expect(clippy::cast_precision_loss, reason = "that is what the person asks for")]
        Value::Int(n) => Ok(Value::Float(*n as f64)),
        Value::Float(n) => Ok(Value::Float(*n)),
        Value::Str(text) => {
            let parsed = text.parse::<f64>().ok().filter(|n| n.is_finite());
            let wrong = || Fault::new("the text is not a number").showing(format!("`{text}`"));
            parsed.map(Value::Float).ok_or_else(wrong)
        }
        other => Err(wrong("a number or a string", other)),
    }
}

fn boolean(values: &[Value]) -> Result<Value> {
    match value(values, 0) {
        Value::Bool(b) => Ok(Value::Bool(*b)),
        Value::Str(text) => match &**text {
            "true" | "True" | "TRUE" | "t" | "1" => Ok(Value::Bool(true)),
            "false" | "False" | "FALSE" | "f" | "0" => Ok(Value::Bool(false)),
            _ => Err(Fault::new("the text is neither `true` nor `false`").showing(format!("`{text}`"))),
        },
        other => Err(wrong("a boolean or a string", other)),
    }
}

fn matches(values: &[Value]) -> Result<Value> {
    let (text, pattern) = (text(values, 0)?, text(values, 1)?);
    let regex = regex_lite::RegexBuilder::new(pattern)
        .size_limit(1 << 20)
        .build()
        .map_err(|e| Fault::new("the pattern cannot be used").showing(format!("`{pattern}`, {e}")))?;
    Ok(Value::Bool(regex.is_match(text)))
}

fn split(values: &[Value]) -> Result<Value> {
    let (whole, separator) = (text(values, 0)?, text(values, 1)?);
    let limit = if values.len() > 2 { integer(values, 2)? } else { -1 };
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    if limit == 0 {
        return Ok(Value::list([]));
    }
    if !separator.is_empty() {
        return Ok(Value::list(whole.splitn(limit, separator).map(Value::str)));
    }
    let mut parts = Vec::new();
    let mut rest = whole;
    while let Some(c) = rest.chars().next() {
        let (head, tail) = rest.split_at(if parts.len() + 1 == limit {
            rest.len()
        } else {
            c.len_utf8()
        });
        parts.push(Value::str(head));
        rest = tail;
    }
    Ok(Value::list(parts))
}

fn join(values: &[Value]) -> Result<Value> {
    let list = value(values, 0);
    let items = list.as_list().ok_or_else(|| wrong("a list", list))?;
    let separator = if values.len() > 1 { text(values, 1)? } else { "" };
    let texts: Result<Vec<&str>> = items
        .iter()
        .map(|item| item.as_str().ok_or_else(|| wrong("a list of strings", item)))
        .collect();
    Ok(Value::from(texts?.join(separator)))
}

fn replace(values: &[Value]) -> Result<Value> {
    let (whole, old, new) = (text(values, 0)?, text(values, 1)?, text(values, 2)?);
    let limit = if values.len() > 3 { integer(values, 3)? } else { -1 };
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let times = if old.is_empty() {
        whole.len() + 1
    } else {
        whole.len() / old.len()
    };
    if times.min(limit).saturating_mul(new.len()) > 4 << 20 {
        return Err(Fault::new("the result is too long"));
    }
    Ok(Value::from(whole.replacen(old, new, limit)))
}

fn substring(values: &[Value]) -> Result<Value> {
    let characters: Vec<char> = text(values, 0)?.chars().collect();
    let start = position(values, 1, characters.len())?.unwrap_or(0);
    let end = position(values, 2, characters.len())?.unwrap_or(characters.len());
    let part = characters.get(start..end);
    let part = part
        .ok_or_else(|| Fault::new("the end comes before the start").showing(format!("{start} and {end}")))?;
    Ok(Value::from(part.iter().collect::<String>()))
}

fn char_at(values: &[Value]) -> Result<Value> {
    let characters: Vec<char> = text(values, 0)?.chars().collect();
    let at = position(values, 1, characters.len())?.unwrap_or(0);
    Ok(Value::from(
        characters.get(at).map(char::to_string).unwrap_or_default(),
    ))
}

/// The number of the character at a byte; -1 where there is none.
fn character(whole: &str, byte: Option<usize>) -> Value {
    let before = |byte: usize| whole.get(..byte).map(|b| count(b.chars().count()));
    byte.and_then(before).unwrap_or(Value::Int(-1))
}

fn index_of(values: &[Value]) -> Result<Value> {
    let (whole, part) = (text(values, 0)?, text(values, 1)?);
    let length = whole.chars().count();
    let start = position(values, 2, length)?.unwrap_or(0);
    let byte = whole
        .char_indices()
        .nth(start)
        .map_or(whole.len(), |(byte, _)| byte);
    let found = whole
        .get(byte..)
        .and_then(|rest| rest.find(part))
        .map(|at| at + byte);
    Ok(character(whole, found))
}

fn last_index_of(values: &[Value]) -> Result<Value> {
    let (whole, part) = (text(values, 0)?, text(values, 1)?);
    Ok(character(whole, whole.rfind(part)))
}

fn base64_decode(values: &[Value]) -> Result<Value> {
    let encoded = text(values, 0)?;
    let bytes = STANDARD
        .decode(encoded)
        .map_err(|e| Fault::new("the text is not base64").showing(e.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|_| Fault::new("the content is not text"))?;
    Ok(Value::from(text))
}

fn json_decode(values: &[Value]) -> Result<Value> {
    let parsed: std::result::Result<Value, serde_json::Error> = serde_json::from_str(text(values, 0)?);
    match parsed {
        Ok(value) if value.has_unknown() => Err(Fault::new("`$unknown` cannot be a key")),
        Ok(value) => Ok(value),
        Err(e) => Err(Fault::new("the text is not JSON").showing(format!(
            "line {}, column {}",
            e.line(),
            e.column()
        ))),
    }
}
