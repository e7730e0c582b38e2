//! IAM policy documents: what is wrong with one before it is sent, when two mean the same, and how they travel.
//!
//! A document is a map in the shape of the policy grammar, or the JSON text of one. IAM gives documents back
//! percent-encoded and keeps the order it was sent, but users, consoles and IAM itself write the same policy in several
//! ways; comparing the texts would show changes that are none.

use std::sync::Arc;

use epid_provider::{Path, Problem, Value};
use percent_encoding::percent_decode_str;

/// The document as the JSON text that a request takes. Secrets must have been revealed.
///
/// # Errors
/// A sentence where the value is neither a map nor a JSON text.
pub(crate) fn to_text(document: &Value) -> Result<String, String> {
    match document {
        Value::Str(text) => match serde_json::from_str::<Value>(text) {
            Ok(Value::Map(_)) => Ok(text.to_string()),
            Ok(other) => Err(format!("a policy document is a map, not a {}", other.type_name())),
            Err(error) => Err(format!("the policy document is not JSON: {error}")),
        },
        Value::Map(_) => serde_json::to_string(document).map_err(|error| error.to_string()),
        other => Err(format!(
            "a policy document is a map or JSON text, not a {}",
            other.type_name()
        )),
    }
}

/// A document as IAM sends it: percent-encoded JSON. What cannot be read stays a text.
pub(crate) fn from_wire(text: &str) -> Value {
    let decoded = percent_decode_str(text).decode_utf8_lossy();
    match serde_json::from_str::<Value>(&decoded) {
        Ok(map @ Value::Map(_)) => map,
        _ => Value::str(&decoded),
    }
}

/// Characters of a managed policy at most, white space apart (IAM user guide, "IAM and AWS STS quotas").
pub(crate) const MOST_MANAGED: usize = 6144;

/// The characters that count towards IAM's quotas: white space between tokens does not. Zero where it is not known yet.
pub(crate) fn size(document: &Value) -> usize {
    if document.has_unknown() || document.has_secret() {
        return 0;
    }
    to_text(document.expose()).map_or(0, |text| text.chars().filter(|c| !c.is_whitespace()).count())
}

/// Everything that can be told to be wrong with a document without asking IAM. What is unknown passes.
pub(crate) fn problems(document: &Value, at: &Path, trust: bool) -> Vec<Problem> {
    let problem = |message: String| vec![Problem::new(at.clone(), message)];
    let parsed = match document.expose() {
        Value::Null | Value::Unknown(_) | Value::Opaque(_) => return Vec::new(),
        Value::Map(_) => document.expose().clone(),
        Value::Str(text) => match serde_json::from_str::<Value>(text) {
            Ok(map @ Value::Map(_)) => map,
            Ok(_) | Err(_) => {
                return problem(format!("`{at}` is not the JSON text of a policy document"));
            }
        },
        other => {
            return problem(format!(
                "`{at}` takes a policy document (a map or its JSON text), not a {}",
                other.type_name()
            ));
        }
    };
    let mut found = Vec::new();
    let known = ["Id", "Statement", "Version"];
    for key in parsed.as_map().into_iter().flat_map(epid_provider::Map::keys) {
        if !known.contains(&&**key) {
            let mut wrong = Problem::new(
                at.key(key),
                format!("unknown element `{key}` of the policy document"),
            );
            if let Some(near) = epid_provider::check::nearest(key, known) {
                wrong = wrong.with_hint(format!("did you mean `{near}`?"));
            }
            found.push(wrong);
        }
    }
    match parsed.get("Statement").map(Value::expose) {
        None => found.push(Problem::new(
            at.clone(),
            format!("the policy document in `{at}` has no `Statement`"),
        )),
        Some(Value::List(statements)) => {
            for (index, statement) in statements.iter().enumerate() {
                let at = at.key("Statement").join(epid_provider::Segment::Index(index));
                statement_problems(statement.expose(), &at, trust, &mut found);
            }
        }
        Some(statement) => statement_problems(statement, &at.key("Statement"), trust, &mut found),
    }
    found
}

const STATEMENT: [&str; 9] = [
    "Action",
    "Condition",
    "Effect",
    "NotAction",
    "NotPrincipal",
    "NotResource",
    "Principal",
    "Resource",
    "Sid",
];

fn statement_problems(statement: &Value, at: &Path, trust: bool, found: &mut Vec<Problem>) {
    let Value::Map(elements) = statement else {
        if !matches!(statement, Value::Unknown(_) | Value::Opaque(_)) {
            found.push(Problem::new(
                at.clone(),
                format!("`{at}` is not a statement but a {}", statement.type_name()),
            ));
        }
        return;
    };
    for key in elements.keys().filter(|key| !STATEMENT.contains(&&***key)) {
        let mut wrong = Problem::new(
            at.key(key),
            format!("unknown element `{key}` of the statement `{at}`"),
        );
        if let Some(near) = epid_provider::check::nearest(key, STATEMENT) {
            wrong = wrong.with_hint(format!("did you mean `{near}`?"));
        }
        found.push(wrong);
    }
    match elements.get("Effect").map(Value::expose) {
        Some(Value::Str(effect)) if !["Allow", "Deny"].contains(&&**effect) => found.push(
            Problem::new(at.key("Effect"), format!("`{effect}` is not an effect"))
                .with_hint("`Effect` is `Allow` or `Deny`"),
        ),
        None => found.push(Problem::new(
            at.clone(),
            format!("the statement `{at}` has no `Effect`"),
        )),
        _ => {}
    }
    let has = |name: &str| elements.get(name).is_some();
    if !has("Action") && !has("NotAction") {
        found.push(Problem::new(
            at.clone(),
            format!("the statement `{at}` has no `Action`"),
        ));
    }
    let (needed, refused) = if trust {
        ("Principal", "Resource")
    } else {
        ("Resource", "Principal")
    };
    if !has(needed) && !has(&format!("Not{needed}")) {
        found.push(Problem::new(
            at.clone(),
            format!("the statement `{at}` has no `{needed}`"),
        ));
    }
    if has(refused) || has(&format!("Not{refused}")) {
        let what = if trust {
            "a trust policy"
        } else {
            "a policy of permissions"
        };
        found.push(Problem::new(
            at.clone(),
            format!("the statement `{at}` has a `{refused}`, which {what} cannot have"),
        ));
    }
}

/// Whether two documents mean the same: the order of statements, keys and list items, repetition, a single value or a
/// list of one, the case of actions and condition keys, and an account's number or its root ARN make no difference.
///
/// Rules: the IAM user guide, "IAM JSON policy elements reference" and "Grammar of the IAM JSON policy language".
pub(crate) fn same(a: &Value, b: &Value) -> bool {
    canonical(a) == canonical(b)
}

fn canonical(document: &Value) -> Value {
    let parsed = match document.expose() {
        Value::Str(text) => serde_json::from_str(text).unwrap_or_else(|_| document.expose().clone()),
        other => other.clone(),
    };
    let Value::Map(elements) = &parsed else {
        return parsed;
    };
    let mut entries: Vec<(Arc<str>, Value)> = Vec::new();
    for (key, value) in elements.iter() {
        match (&**key, value.expose()) {
            (_, Value::Null) => {}
            ("Statement", value) => entries.push((key.clone(), set(value, &statement))),
            (_, value) => entries.push((key.clone(), value.clone())),
        }
    }
    if elements.get("Statement").is_some() && elements.get("Version").is_none() {
        entries.push((Arc::from("Version"), Value::str("2008-10-17")));
    }
    Value::map(entries)
}

fn statement(value: &Value) -> Value {
    let Some(elements) = value.as_map() else {
        return value.clone();
    };
    Value::map(elements.iter().filter_map(|(key, value)| {
        let value = value.expose();
        let canonical = match &**key {
            "Action" | "NotAction" => set(value, &lower),
            "Resource" | "NotResource" => set(value, &scalar),
            "Principal" | "NotPrincipal" => principals(value),
            "Condition" => conditions(value),
            "Sid" if value.as_str() == Some("") => return None,
            _ => value.clone(),
        };
        let empty = canonical.is_null() || canonical.as_map().is_some_and(epid_provider::Map::is_empty);
        (!empty).then(|| (key.clone(), canonical))
    }))
}

/// `"*"` is `{"AWS": "*"}`, and an account is its root.
fn principals(value: &Value) -> Value {
    match value {
        Value::Str(all) => Value::map([("AWS", Value::list([Value::Str(all.clone())]))]),
        Value::Map(kinds) => Value::map(kinds.iter().map(|(kind, names)| {
            let name = |name: &Value| match name.as_str().and_then(root_account) {
                Some(account) if &**kind == "AWS" => Value::str(account),
                _ => scalar(name),
            };
            (kind.clone(), set(names.expose(), &name))
        })),
        other => other.clone(),
    }
}

/// The account of `arn:aws:iam::ACCOUNT:root`.
fn root_account(arn: &str) -> Option<&str> {
    let (head, account) = arn.strip_suffix(":root")?.rsplit_once("::")?;
    (head.starts_with("arn:") && head.ends_with(":iam")).then_some(account)
}

fn conditions(value: &Value) -> Value {
    let Some(operators) = value.as_map() else {
        return value.clone();
    };
    Value::map(operators.iter().map(|(operator, keys)| {
        let keys = keys.expose().as_map().map_or_else(
            || keys.clone(),
            |keys| {
                Value::map(
                    keys.iter()
                        .map(|(key, values)| (key.to_lowercase(), set(values.expose(), &scalar))),
                )
            },
        );
        (operator.clone(), keys)
    }))
}

/// A value or a list of them as a sorted list without repetition.
fn set(value: &Value, item: &dyn Fn(&Value) -> Value) -> Value {
    let items: Vec<Value> = match value {
        Value::List(items) => items.iter().map(|v| item(v.expose())).collect(),
        single => vec![item(single)],
    };
    let mut keyed: Vec<(String, Value)> = items.into_iter().map(|v| (v.to_string(), v)).collect();
    keyed.sort_by(|(a, _), (b, _)| a.cmp(b));
    keyed.dedup_by(|(a, _), (b, _)| a == b);
    Value::list(keyed.into_iter().map(|(_, v)| v))
}

/// IAM compares numbers and truth values as their texts.
fn scalar(value: &Value) -> Value {
    match value {
        Value::Bool(_) | Value::Int(_) | Value::Float(_) => Value::from(value.to_string()),
        other => other.clone(),
    }
}

fn lower(value: &Value) -> Value {
    value
        .as_str()
        .map_or_else(|| value.clone(), |text| Value::from(text.to_lowercase()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn json(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    const TRUST: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow",
        "Principal":{"Federated":"arn:aws:iam::000000000000:oidc-provider/oidc.eks.us-east-1.amazonaws.com/id/A"},
        "Action":"sts:AssumeRoleWithWebIdentity",
        "Condition":{"StringEquals":{"oidc.eks.us-east-1.amazonaws.com/id/A:sub":"system:serviceaccount:kube-system:lbc"}}}]}"#;

    #[test]
    fn one_value_is_a_list_of_one_and_text_is_a_map() {
        let lists = r#"{"Statement":{"Action":["STS:AssumeRoleWithWebIdentity"],"Effect":"Allow","Sid":"",
            "Condition":{"StringEquals":{"oidc.eks.us-east-1.amazonaws.com/ID/A:sub":["system:serviceaccount:kube-system:lbc"]}},
            "Principal":{"Federated":["arn:aws:iam::000000000000:oidc-provider/oidc.eks.us-east-1.amazonaws.com/id/A"]}},"Version":"2012-10-17"}"#;
        assert!(same(&json(TRUST), &json(lists)));
        assert!(same(&Value::str(TRUST), &json(lists)));
    }

    #[test]
    fn order_and_repetition_mean_nothing() {
        let a = r#"{"Version":"2012-10-17","Statement":[
            {"Effect":"Allow","Action":["s3:GetObject","s3:PutObject"],"Resource":"*"},
            {"Effect":"Deny","Action":"ec2:*","Resource":["b","a"]}]}"#;
        let b = r#"{"Version":"2012-10-17","Statement":[
            {"Effect":"Deny","Action":"ec2:*","Resource":["a","b","a"]},
            {"Effect":"Allow","Action":["s3:putobject","s3:getobject"],"Resource":["*"],"Condition":{}}]}"#;
        assert!(same(&json(a), &json(b)));
    }

    #[test]
    fn what_means_something_is_a_difference() {
        let base = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::Bucket/*"}]}"#;
        for (from, to) in [
            ("Allow", "Deny"),
            ("GetObject", "GetObjectAcl"),
            ("Bucket", "bucket"),
            ("2012-10-17", "2008-10-17"),
            ("\"Action\"", "\"NotAction\""),
        ] {
            assert!(
                !same(&json(base), &json(&base.replace(from, to))),
                "{from} -> {to}"
            );
        }
    }

    #[test]
    fn an_account_is_its_root_and_a_bare_star_is_every_aws_principal() {
        let with = |principal: &str| {
            json(&format!(
                r#"{{"Statement":[{{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{principal}}}]}}"#
            ))
        };
        assert!(same(
            &with(r#"{"AWS":"000000000000"}"#),
            &with(r#"{"AWS":["arn:aws:iam::000000000000:root"]}"#)
        ));
        assert!(same(&with(r#""*""#), &with(r#"{"AWS":"*"}"#)));
        assert!(!same(
            &with(r#"{"AWS":"000000000000"}"#),
            &with(r#"{"Service":"000000000000"}"#)
        ));
    }

    #[test]
    fn numbers_and_truth_values_in_conditions_are_texts() {
        let with = |value: &str| {
            json(&format!(
                r#"{{"Statement":[{{"Effect":"Allow","Action":"a:b","Resource":"*","Condition":{{"Bool":{{"aws:SecureTransport":{value}}}}}}}]}}"#
            ))
        };
        assert!(same(&with("true"), &with(r#"["true"]"#)));
        assert!(!same(&with("true"), &with(r#""false""#)));
    }

    #[test]
    fn mistakes_are_found_all_at_once() {
        let document = json(
            r#"{"version":"2012-10-17","Statement":[{"Effect":"allow","Actions":"s3:*","Resource":"*"},
                {"Effect":"Allow","Action":"s3:*","Principal":"*"}]}"#,
        );
        let at = Path::root().key("policyDocument");
        let found: Vec<String> = problems(&document, &at, false)
            .into_iter()
            .map(|p| format!("{}: {}", p.path, p.message))
            .collect();
        assert_eq!(
            found,
            [
                "policyDocument.version: unknown element `version` of the policy document",
                "policyDocument.Statement[0].Actions: unknown element `Actions` of the statement `policyDocument.Statement[0]`",
                "policyDocument.Statement[0].Effect: `allow` is not an effect",
                "policyDocument.Statement[0]: the statement `policyDocument.Statement[0]` has no `Action`",
                "policyDocument.Statement[1]: the statement `policyDocument.Statement[1]` has no `Resource`",
                "policyDocument.Statement[1]: the statement `policyDocument.Statement[1]` has a `Principal`, which a policy of permissions cannot have",
            ]
        );
        assert!(problems(&Value::unknown("x"), &at, false).is_empty());
        assert!(problems(&json(TRUST), &at, true).is_empty());
        assert_eq!(problems(&Value::str("{"), &at, true).len(), 1);
    }

    #[test]
    fn the_wire_form_comes_back_as_a_map() {
        let encoded =
            percent_encoding::utf8_percent_encode(TRUST, percent_encoding::NON_ALPHANUMERIC).to_string();
        assert_eq!(from_wire(&encoded), json(TRUST));
        assert_eq!(from_wire("nonsense%20"), Value::str("nonsense "));
    }

    fn any_statement() -> impl Strategy<Value = Value> {
        let action = prop::collection::vec("[a-z]{1,3}:[A-Z][a-z]{0,3}", 1..4);
        let resource = prop::collection::vec("[a-zA-Z]{1,4}", 1..4);
        (action, resource, any::<bool>()).prop_map(|(actions, resources, allow)| {
            Value::map([
                ("Effect", Value::str(if allow { "Allow" } else { "Deny" })),
                ("Action", Value::list(actions.into_iter().map(Value::from))),
                ("Resource", Value::list(resources.into_iter().map(Value::from))),
            ])
        })
    }

    fn reversed(value: &Value) -> Value {
        value.replaced(&mut |v| match v {
            Value::List(items) if items.len() == 1 => items.first().filter(|v| v.as_str().is_some()).cloned(),
            Value::List(items) => Some(Value::list(items.iter().rev().map(reversed))),
            _ => None,
        })
    }

    proptest! {
        #[test]
        fn another_spelling_is_the_same_document(statements in prop::collection::vec(any_statement(), 1..5)) {
            let document = Value::map([("Version", Value::str("2012-10-17")), ("Statement", Value::list(statements))]);
            prop_assert!(same(&document, &reversed(&document)));
            let text = to_text(&document).unwrap();
            prop_assert!(same(&document, &Value::from(text)));
        }
    }
}
