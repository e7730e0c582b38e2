//! Tags: those of the program, and those by which epid knows its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use epid_provider::{Call, Owner, Urn, Value};

/// The lineage of the owning stack.
pub(crate) const LINEAGE: &str = "epid:lineage";
/// The owning resource.
pub(crate) const URN: &str = "epid:urn";
/// The operation that made it.
pub(crate) const TOKEN: &str = "epid:token";
/// The longest value of a tag.
const LONGEST: usize = 256;

/// Tags by key.
pub(crate) type Tags = BTreeMap<String, String>;

/// The tags of inputs: the property `tags`, where it is a map of text.
pub(crate) fn declared(inputs: &Value) -> Tags {
    of_map(inputs.get("tags"))
}

/// The texts of a map.
pub(crate) fn of_map(map: Option<&Value>) -> Tags {
    let Some(map) = map.and_then(|map| map.expose().as_map()) else {
        return Tags::new();
    };
    let text = |value: &Value| value.expose().as_str().map(str::to_owned);
    map.iter()
        .filter_map(|(key, value)| Some((key.to_string(), text(value)?)))
        .collect()
}

/// The tags of a create: `defaults`, those of the inputs over them, and those of epid.
pub(crate) fn of_create(cx: &Call, defaults: &Tags, inputs: &Value) -> Tags {
    let mut tags = defaults.clone();
    tags.extend(declared(inputs));
    tags.extend(of_epid(cx));
    tags.insert(TOKEN.to_owned(), cx.token.to_string());
    tags
}

/// The tags that say whose a resource is.
pub(crate) fn of_epid(cx: &Call) -> Tags {
    let mut tags = Tags::from([(LINEAGE.to_owned(), cx.lineage.to_string())]);
    let urn = escape(cx.urn.as_str());
    if urn.len() <= LONGEST {
        tags.insert(URN.to_owned(), urn);
    }
    tags
}

/// What a resource's tags are to become, from what is `there`: tags of the inputs, of the defaults and of epid are
/// set; a tag that was `applied` and is declared no more goes; everybody else's stay. What differs from `applied` is asked for
/// whatever is said to be there: that may be of the past. Nothing was `applied` to what was just made, with its tags.
pub(crate) fn change(
    cx: &Call,
    defaults: &Tags,
    applied: &Value,
    inputs: &Value,
    there: &Tags,
) -> (Tags, Vec<String>) {
    let is_new = applied.is_null();
    let (applied, inputs) = (declared(applied), declared(inputs));
    let mut wanted = defaults.clone();
    wanted.extend(inputs.clone());
    wanted.extend(of_epid(cx));
    let gone = applied
        .keys()
        .filter(|key| !wanted.contains_key(*key))
        .cloned()
        .collect();
    let is_changed = |key: &String| {
        inputs
            .get(key)
            .is_some_and(|value| applied.get(key) != Some(value))
    };
    wanted.retain(|key, value| there.get(key) != Some(value) || (!is_new && is_changed(key)));
    (wanted, gone)
}

/// The tags that a program may have declared: without those of AWS and of epid.
pub(crate) fn observed(there: &Tags) -> Value {
    let ours = |key: &str| key.starts_with("aws:") || key.starts_with("epid:");
    Value::map(
        there
            .iter()
            .filter(|(key, _)| !ours(key))
            .map(|(key, value)| (key.as_str(), Value::str(value))),
    )
}

/// Whose a resource is, by its tags.
pub(crate) fn owner(there: &Tags) -> Option<Owner> {
    let lineage = Arc::from(there.get(LINEAGE)?.as_str());
    let urn = there.get(URN).and_then(|text| Urn::parse(&unescape(text)).ok());
    Some(Owner { lineage, urn })
}

/// Spells `text` with what every service takes in a tag's value (IAM: letters, digits, space, `_.:/=+-@`): other
/// bytes, and `+` itself, become `+XX`.
fn escape(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'.' | b':' | b'/' | b'=' | b'-' | b'@' => {
                char::from(byte).to_string()
            }
            other => format!("+{other:02X}"),
        })
        .collect()
}

fn unescape(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('+') {
        let (before, escaped) = rest.split_at(at);
        bytes.extend(before.bytes());
        let digits = escaped
            .get(1..3)
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match digits {
            Some(byte) => {
                bytes.push(byte);
                rest = escaped.get(3..).unwrap_or_default();
            }
            None => {
                bytes.push(b'+');
                rest = escaped.get(1..).unwrap_or_default();
            }
        }
    }
    bytes.extend(rest.bytes());
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_text_survives_as_a_tag(text in ".*") {
            let spelled = escape(&text);
            prop_assert!(spelled.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.:/=+-@".contains(&b)));
            prop_assert_eq!(unescape(&spelled), text);
        }

        #[test]
        fn no_tag_of_others_breaks_the_reader(text in ".*") {
            let _read = unescape(&text);
        }
    }

    #[test]
    fn tags_of_aws_and_epid_are_not_the_programs() {
        let there: Tags = [
            ("aws:x", "1"),
            (LINEAGE, "l"),
            (URN, "urn:epid:p:s:aws:ec2:Vpc:a+5B+22k+22+5D"),
            ("Name", "n"),
        ]
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .into();
        assert_eq!(observed(&there), Value::map([("Name", Value::str("n"))]));
        let owner = owner(&there).unwrap();
        assert_eq!(owner.urn.unwrap().path(), r#"a["k"]"#);
    }
}
