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
    matches(pattern, action, |a, b| a.eq_ignore_ascii_case(&b))
}

/// Whether `text` matches `pattern`, where `*` is any run of characters and `?` is one.
pub(crate) fn like(pattern: &str, text: &str) -> bool {
    matches(pattern, text, |a, b| a == b)
}

/// Each `*` takes as little as it can; where that turns out too little, only the last one takes more.
fn matches(pattern: &str, text: &str, same: impl Fn(char, char) -> bool) -> bool {
    let (mut pattern, mut text) = (pattern.chars(), text.chars());
    let mut last = None;
    loop {
        let (mut symbols, mut letters) = (pattern.clone(), text.clone());
        let fits = match (symbols.next(), letters.next()) {
            (Some('*'), _) => {
                last = Some((symbols.clone(), text.clone()));
                pattern = symbols;
                continue;
            }
            (None, None) => return true,
            (Some('?'), Some(_)) => true,
            (Some(symbol), Some(letter)) => same(symbol, letter),
            (None, Some(_)) => false,
            (Some(_), None) => return false,
        };
        if fits {
            (pattern, text) = (symbols, letters);
            continue;
        }
        let Some((after, from)) = &mut last else {
            return false;
        };
        if from.next().is_none() {
            return false;
        }
        (pattern, text) = (after.clone(), from.clone());
    }
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

    /// By the definition: what is left of a pattern matches what is left of a text.
    fn plainly(pattern: &[char], text: &[char]) -> bool {
        match pattern {
            [] => text.is_empty(),
            ['*', rest @ ..] => (0..=text.len()).any(|taken| plainly(rest, &text[taken..])),
            ['?', rest @ ..] => !text.is_empty() && plainly(rest, &text[1..]),
            [letter, rest @ ..] => text.first() == Some(letter) && plainly(rest, &text[1..]),
        }
    }

    proptest::proptest! {
        #[test]
        fn patterns_match_what_they_say(pattern in "[ab?*]{0,8}", text in "[ab]{0,9}") {
            let chars = |text: &str| text.chars().collect::<Vec<char>>();
            assert_eq!(like(&pattern, &text), plainly(&chars(&pattern), &chars(&text)));
        }
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
