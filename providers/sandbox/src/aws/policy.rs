//! Evaluation of IAM policy documents: who may assume a role, and what a role may do.

use serde_json::Value;
use std::collections::BTreeMap;

/// Condition keys and values of a request, e.g. `aws:SourceArn`.
pub(crate) type Conditions = BTreeMap<String, String>;

/// Whether a trust policy lets the principal (`("Service", "eks.amazonaws.com")`, `("Federated", arn)`,
/// `("AWS", arn)`) perform the action. Unknown condition operators and absent keys deny.
pub(crate) fn trusts(document: &Value, principal: (&str, &str), action: &str, context: &Conditions) -> bool {
    decide(document, action, |statement| {
        let named = match &statement["Principal"] {
            Value::String(all) => all == "*",
            principals => strings(&principals[principal.0]).any(|name| name == principal.1 || name == "*"),
        };
        named && conditions_hold(&statement["Condition"], context)
    })
}

/// Whether a permission document allows the action on something. Resources and conditions are not looked at.
pub(crate) fn allows(document: &Value, action: &str) -> bool {
    decide(document, action, |_| true)
}

fn decide(document: &Value, action: &str, applies: impl Fn(&Value) -> bool) -> bool {
    let matching: Vec<&Value> = one_or_many(&document["Statement"])
        .filter(|statement| strings(&statement["Action"]).any(|pattern| like_action(pattern, action)))
        .filter(|statement| applies(statement))
        .collect();
    matching.iter().any(|statement| statement["Effect"] == "Allow")
        && !matching.iter().any(|statement| statement["Effect"] == "Deny")
}

fn conditions_hold(conditions: &Value, context: &Conditions) -> bool {
    let Some(operators) = conditions.as_object() else {
        return true;
    };
    operators.iter().all(|(operator, keys)| {
        keys.as_object().into_iter().flatten().all(|(key, wanted)| {
            let Some(actual) = context
                .iter()
                .find_map(|(name, value)| name.eq_ignore_ascii_case(key).then_some(value))
            else {
                return false;
            };
            match operator.as_str() {
                "StringEquals" => strings(wanted).any(|text| text == actual),
                "StringLike" | "ArnLike" | "ArnEquals" => {
                    strings(wanted).any(|pattern| like(pattern, actual))
                }
                _ => false,
            }
        })
    })
}

fn one_or_many(value: &Value) -> impl Iterator<Item = &Value> {
    match value {
        Value::Array(many) => many.as_slice(),
        Value::Null => &[],
        one => std::slice::from_ref(one),
    }
    .iter()
}

fn strings(value: &Value) -> impl Iterator<Item = &str> {
    one_or_many(value).filter_map(Value::as_str)
}

fn like_action(pattern: &str, action: &str) -> bool {
    like(&pattern.to_ascii_lowercase(), &action.to_ascii_lowercase())
}

/// Whether `text` matches `pattern`, where `*` is any run of characters and `?` is one.
pub(crate) fn like(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    // One row of the usual dynamic programme: `row[j]` tells whether the pattern so far matches `text[..j]`.
    let mut row = vec![false; text.len() + 1];
    if let Some(empty) = row.first_mut() {
        *empty = true;
    }
    for symbol in pattern {
        let mut next = Vec::with_capacity(row.len());
        let mut previous = None;
        for (place, matched) in row.iter().enumerate() {
            let before = place.checked_sub(1);
            let diagonal = before
                .and_then(|before| row.get(before))
                .copied()
                .unwrap_or(false);
            next.push(match symbol {
                '*' => *matched || previous.unwrap_or(false),
                '?' => diagonal,
                letter => diagonal && before.and_then(|before| text.get(before)) == Some(&letter),
            });
            previous = next.last().copied();
        }
        row = next;
    }
    row.last().copied().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn patterns() {
        assert!(like("*", "") && like("a*c", "abbc") && like("a?c", "abc") && like("ns-*", "ns-prod"));
        assert!(!like("a?c", "ac") && !like("a*c", "abcd") && !like("", "a"));
    }

    #[test]
    fn trust_needs_principal_action_and_conditions() {
        let document = json!({"Statement": {"Effect": "Allow", "Principal": {"Service": ["eks.amazonaws.com"]},
            "Action": ["sts:AssumeRole"], "Condition": {"ArnLike": {"aws:SourceArn": "arn:aws:eks:*:1:fargateprofile/demo/*"}}}});
        let source = |arn: &str| Conditions::from([("aws:SourceArn".to_owned(), arn.to_owned())]);
        let good = source("arn:aws:eks:r:1:fargateprofile/demo/x");
        assert!(trusts(
            &document,
            ("Service", "eks.amazonaws.com"),
            "sts:AssumeRole",
            &good
        ));
        assert!(!trusts(
            &document,
            ("Service", "ec2.amazonaws.com"),
            "sts:AssumeRole",
            &good
        ));
        assert!(!trusts(
            &document,
            ("Service", "eks.amazonaws.com"),
            "sts:TagSession",
            &good
        ));
        assert!(!trusts(
            &document,
            ("Service", "eks.amazonaws.com"),
            "sts:AssumeRole",
            &source("arn:other")
        ));
        assert!(!trusts(
            &document,
            ("Service", "eks.amazonaws.com"),
            "sts:AssumeRole",
            &Conditions::new()
        ));
    }

    #[test]
    fn a_deny_wins() {
        let document = json!({"Statement": [{"Effect": "Allow", "Action": "ec2:*", "Resource": "*"},
            {"Effect": "Deny", "Action": "ec2:Delete*", "Resource": "*"}]});
        assert!(allows(&document, "ec2:CreateVpc"));
        assert!(!allows(&document, "ec2:DeleteVpc"));
        assert!(!allows(&document, "iam:GetRole"));
    }
}
