//! Bodies in Kubernetes' protobuf encoding, as the typed clients of Go and so `kubectl create deployment` send them, read
//! as the JSON that they stand for. Answers are always JSON, which those clients accept.
//!
//! What `kubectl` writes without having been told is left out, as its JSON would: an empty text, zero, a time that is not set.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Number, Value, json};
use std::collections::HashMap;
use std::sync::OnceLock;

/// The messages: grammar and origin in `tests/kube-lab/protobuf.py`.
const TABLE: &str = include_str!("protobuf.txt");
/// What every body begins with.
const MAGIC: &[u8] = b"k8s\0";
/// Objects nest some twenty deep.
const DEEPEST: u32 = 64;

#[derive(Clone, Copy)]
enum Multiple {
    One,
    /// Zero is said, and not just absent.
    Pointer,
    List,
    Map,
}

#[derive(Clone, Copy)]
struct Field {
    name: &'static str,
    multiple: Multiple,
    ty: &'static str,
}

type Messages = HashMap<&'static str, HashMap<u64, Field>>;

fn messages() -> &'static Messages {
    static READ: OnceLock<Messages> = OnceLock::new();
    READ.get_or_init(|| {
        let lines = TABLE.lines().filter(|line| !line.starts_with('#'));
        lines
            .filter_map(|line| {
                let mut words = line.split(' ');
                Some((words.next()?, words.filter_map(field).collect()))
            })
            .collect()
    })
}

fn field(word: &'static str) -> Option<(u64, Field)> {
    let mut parts = word.splitn(3, ':');
    let (number, name, ty) = (parts.next()?, parts.next()?, parts.next()?);
    let (multiple, ty) = if let Some(ty) = ty.strip_prefix('*') {
        (Multiple::Pointer, ty)
    } else if let Some(ty) = ty.strip_prefix("[]") {
        (Multiple::List, ty)
    } else if let Some(ty) = ty.strip_prefix("{}") {
        (Multiple::Map, ty)
    } else {
        (Multiple::One, ty)
    };
    Some((number.parse().ok()?, Field { name, multiple, ty }))
}

/// A value as it stands in a message.
#[derive(Clone, Copy)]
enum Wire<'a> {
    Number(u64),
    Double(f64),
    Bytes(&'a [u8]),
}

/// The rest of a message.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn take(&mut self, count: u64) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(usize::try_from(count).ok()?)?;
        self.0 = rest;
        Some(taken)
    }

    /// The next field; `None` at the end, `Some(None)` where it is no message.
    fn next(&mut self) -> Option<Option<(u64, Wire<'a>)>> {
        (!self.0.is_empty()).then(|| self.field())
    }

    fn field(&mut self) -> Option<(u64, Wire<'a>)> {
        let tag = self.varint()?;
        let wire = match tag & 7 {
            0 => Wire::Number(self.varint()?),
            1 => Wire::Double(f64::from_le_bytes(self.take(8)?.try_into().ok()?)),
            2 => {
                let length = self.varint()?;
                Wire::Bytes(self.take(length)?)
            }
            5 => Wire::Bytes(self.take(4)?),
            _ => return None,
        };
        Some((tag >> 3, wire))
    }
}

/// The object that a body holds; `None` where it is none, or of a kind that is not in the table.
pub(super) fn decode(body: &[u8]) -> Option<Value> {
    let mut envelope = Reader(body.strip_prefix(MAGIC)?);
    let (mut meta, mut raw) = (&[][..], &[][..]);
    while let Some(field) = envelope.next() {
        match field? {
            (1, Wire::Bytes(bytes)) => meta = bytes,
            (2, Wire::Bytes(bytes)) => raw = bytes,
            _ => {}
        }
    }
    let (mut version, mut kind) = (String::new(), String::new());
    let mut meta = Reader(meta);
    while let Some(field) = meta.next() {
        match field? {
            (1, Wire::Bytes(bytes)) => version = text(bytes)?,
            (2, Wire::Bytes(bytes)) => kind = text(bytes)?,
            _ => {}
        }
    }
    let (group, of_group) = version.split_once('/').unwrap_or(("core", &version));
    let room = group.split('.').next().unwrap_or_default();
    let name = match kind.as_str() {
        // Every group has it.
        "DeleteOptions" | "CreateOptions" | "UpdateOptions" | "PatchOptions" => format!("meta.v1.{kind}"),
        _ => format!("{room}.{of_group}.{kind}"),
    };
    let mut object = message(&name, raw, DEEPEST)?;
    object.insert("apiVersion".to_owned(), json!(version));
    object.insert("kind".to_owned(), json!(kind));
    Some(Value::Object(object))
}

fn text(bytes: &[u8]) -> Option<String> {
    String::from_utf8(bytes.to_vec()).ok()
}

fn message(name: &str, bytes: &[u8], depth: u32) -> Option<Map<String, Value>> {
    let fields = messages().get(name)?;
    let depth = depth.checked_sub(1)?;
    let mut object = Map::new();
    let mut reader = Reader(bytes);
    while let Some(next) = reader.next() {
        let (number, wire) = next?;
        // A field of a later version means nothing here.
        let Some(field) = fields.get(&number) else {
            continue;
        };
        match field.multiple {
            Multiple::Map => {
                let (key, value) = pair(field.ty, wire, depth)?;
                let map = object.entry(field.name).or_insert_with(|| json!({}));
                map.as_object_mut()?.insert(key, value);
            }
            Multiple::List => {
                let item = value(field.ty, wire, depth)?;
                let list = object.entry(field.name).or_insert_with(|| json!([]));
                list.as_array_mut()?.push(item);
            }
            Multiple::One | Multiple::Pointer => {
                let value = value(field.ty, wire, depth)?;
                match value {
                    Value::Object(inner) if field.name == "-" => object.extend(inner),
                    Value::Null => {}
                    value if matches!(field.multiple, Multiple::One) && is_zero(&value) => {}
                    value => drop(object.insert(field.name.to_owned(), value)),
                }
            }
        }
    }
    Some(object)
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::String(text) => text.is_empty(),
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::Bool(yes) => !yes,
        _ => false,
    }
}

fn pair(ty: &str, wire: Wire<'_>, depth: u32) -> Option<(String, Value)> {
    let Wire::Bytes(entry) = wire else { return None };
    let (mut key, mut held) = (String::new(), None);
    let mut reader = Reader(entry);
    while let Some(next) = reader.next() {
        match next? {
            (1, Wire::Bytes(bytes)) => key = text(bytes)?,
            (2, wire) => held = Some(value(ty, wire, depth)?),
            _ => {}
        }
    }
    let empty = || value(ty, Wire::Bytes(&[]), depth);
    Some((key, held.or_else(empty)?))
}

#[expect(
    clippy::cast_possible_wrap,
    reason = "a negative number is written as its two's complement"
)]
fn value(ty: &str, wire: Wire<'_>, depth: u32) -> Option<Value> {
    Some(match (ty, wire) {
        ("i", Wire::Number(number)) => json!(number as i64),
        ("B", Wire::Number(number)) => json!(number != 0),
        ("d", Wire::Double(number)) => Number::from_f64(number).map_or(Value::Null, Value::Number),
        ("s", Wire::Bytes(bytes)) => json!(text(bytes)?),
        ("b", Wire::Bytes(bytes)) => json!(STANDARD.encode(bytes)),
        ("T", Wire::Bytes(bytes)) => time(bytes)?,
        ("D", Wire::Bytes(bytes)) => json!(format!("{}s", numbers(bytes)?[0] as i64 / 1_000_000_000)),
        ("Q", Wire::Bytes(bytes)) => json!(first_text(bytes)?),
        ("I", Wire::Bytes(bytes)) => int_or_text(bytes)?,
        ("R", Wire::Bytes(bytes)) => serde_json::from_slice(first_bytes(bytes)?).unwrap_or(Value::Null),
        (ty, Wire::Bytes(bytes)) => {
            let name = ty.strip_prefix('@')?;
            let inner = message(name, bytes, depth)?;
            // In JSON these are the list itself.
            match name.ends_with(".ExtraValue") {
                true => inner.get("items").cloned().unwrap_or_else(|| json!([])),
                false => Value::Object(inner),
            }
        }
        _ => return None,
    })
}

/// The numbers of a message's first two fields.
fn numbers(bytes: &[u8]) -> Option<[u64; 2]> {
    let mut found = [0; 2];
    let mut reader = Reader(bytes);
    while let Some(next) = reader.next() {
        match next? {
            (1, Wire::Number(number)) => found[0] = number,
            (2, Wire::Number(number)) => found[1] = number,
            _ => {}
        }
    }
    Some(found)
}

fn time(bytes: &[u8]) -> Option<Value> {
    let [seconds, nanos] = numbers(bytes)?;
    // A time that is not set: the year 1, or nothing at all.
    let Ok(millis) = u64::try_from((seconds as i64).checked_mul(1000)?) else {
        return Some(Value::Null);
    };
    let at = crate::Timestamp::from_millis(millis.checked_add(nanos / 1_000_000)?);
    Some(match (seconds, nanos) {
        (0, 0) => Value::Null,
        (_, 0) => json!(at.rfc3339()),
        _ => json!(at.rfc3339_micros()),
    })
}

fn first_bytes(bytes: &[u8]) -> Option<&[u8]> {
    let mut reader = Reader(bytes);
    while let Some(next) = reader.next() {
        if let (1, Wire::Bytes(bytes)) = next? {
            return Some(bytes);
        }
    }
    Some(&[])
}

fn first_text(bytes: &[u8]) -> Option<String> {
    text(first_bytes(bytes)?)
}

fn int_or_text(bytes: &[u8]) -> Option<Value> {
    let (mut is_text, mut number, mut word) = (false, 0, String::new());
    let mut reader = Reader(bytes);
    while let Some(next) = reader.next() {
        match next? {
            (1, Wire::Number(ty)) => is_text = ty == 1,
            (2, Wire::Number(value)) => number = value,
            (3, Wire::Bytes(bytes)) => word = text(bytes)?,
            _ => {}
        }
    }
    Some(if is_text {
        json!(word)
    } else {
        json!(number as i64)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(number: u8, content: &[u8]) -> Vec<u8> {
        let mut out = vec![number << 3 | 2, u8::try_from(content.len()).unwrap()];
        out.extend(content);
        out
    }

    fn body(version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
        let meta = [bytes(1, version.as_bytes()), bytes(2, kind.as_bytes())].concat();
        [MAGIC.to_vec(), bytes(1, &meta), bytes(2, raw)].concat()
    }

    #[test]
    fn every_message_that_is_named_is_there() {
        for (name, fields) in messages() {
            for field in fields.values() {
                if let Some(inner) = field.ty.strip_prefix('@') {
                    assert!(messages().contains_key(inner), "{name} names {inner}");
                }
            }
        }
    }

    #[test]
    fn objects_are_read_as_their_json() {
        let label = [bytes(1, b"app"), bytes(2, b"web")].concat();
        let metadata = [bytes(1, b"web"), bytes(3, b""), bytes(8, b""), bytes(11, &label)].concat();
        // port 80, targetPort "http", nodePort 0
        let port = [
            vec![3 << 3, 80],
            bytes(4, &[vec![8, 1], bytes(3, b"http")].concat()),
            vec![5 << 3, 0],
        ]
        .concat();
        let raw = [bytes(1, &metadata), bytes(2, &bytes(1, &port))].concat();
        assert_eq!(
            decode(&body("v1", "Service", &raw)).unwrap(),
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "labels": {"app": "web"}},
                "spec": {"ports": [{"port": 80, "targetPort": "http"}]}})
        );
        let replicas = bytes(2, &[vec![8, 0], vec![5 << 3, 0]].concat());
        assert_eq!(
            decode(&body("apps/v1", "Deployment", &replicas)).unwrap()["spec"],
            json!({"replicas": 0}),
            "zero replicas are said, zero minReadySeconds are not"
        );
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for wrong in [
            &b""[..],
            b"{}",
            b"k8s\0",
            &body("v1", "Nothing", b""),
            &body("v1", "Pod", &[0x0a, 0x7f]),
        ] {
            assert_eq!(decode(wrong), None);
        }
    }
}
