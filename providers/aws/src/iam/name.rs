//! Names that epid makes up where a program gives none.

use epid_provider::{Path, Problem, Token, Urn, Value};

use crate::given::text;

/// Digits of the operation's token at the end of a generated name: enough that no two creates of a stack collide.
const DIGITS: usize = 8;

/// A name made of project, stack, path and the operation's token, at most `longest` characters, of letters, digits,
/// `-` and `_` only. The same operation always makes the same name.
pub(crate) fn generated(urn: &Urn, token: &Token, longest: usize) -> String {
    name(
        &[urn.project(), urn.stack(), urn.path()],
        token.short(DIGITS),
        longest,
    )
}

/// What is wrong with a name that a program gives (IAM API reference: `[\w+=,.@-]+`).
pub(crate) fn problems(properties: &Value, field: &str, longest: usize) -> Vec<Problem> {
    let Some(name) = text(properties, field) else {
        return Vec::new();
    };
    let at = Path::root().key(field);
    let mut found = Vec::new();
    if name.is_empty() || name.chars().count() > longest {
        found.push(Problem::new(
            at.clone(),
            format!(
                "`{field}` has 1 to {longest} characters, not {}",
                name.chars().count()
            ),
        ));
    }
    if let Some(wrong) = name
        .chars()
        .find(|c| !c.is_ascii_alphanumeric() && !"_+=,.@-".contains(*c))
    {
        found.push(
            Problem::new(at, format!("`{field}` cannot hold {wrong:?}"))
                .with_hint("letters, digits and `_+=,.@-` are allowed"),
        );
    }
    found
}

fn name(parts: &[&str], suffix: &str, longest: usize) -> String {
    let mut stem = String::new();
    for part in parts {
        for letter in part.chars() {
            match letter {
                'a'..='z' | 'A'..='Z' | '0'..='9' | '_' => stem.push(letter),
                _ if stem.ends_with('-') || stem.is_empty() => {}
                _ => stem.push('-'),
            }
        }
        if !stem.ends_with('-') {
            stem.push('-');
        }
    }
    // The end of a path says more than its beginning, but the beginning sorts: both are kept where one must go.
    let room = longest.saturating_sub(suffix.len() + 1);
    let stem = stem.trim_matches('-');
    let stem = if stem.len() <= room {
        stem.to_owned()
    } else {
        let head = room / 2;
        let tail = room.saturating_sub(head + 1);
        let (head, tail) = (stem.get(..head), stem.get(stem.len() - tail..));
        format!(
            "{}-{}",
            head.unwrap_or_default().trim_end_matches('-'),
            tail.unwrap_or_default().trim_start_matches('-')
        )
    };
    if stem.is_empty() {
        suffix.to_owned()
    } else {
        format!("{stem}-{suffix}")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_says_where_it_is_from() {
        assert_eq!(
            name(&["health", "dev", "cluster/role"], "0123abcd", 64),
            "health-dev-cluster-role-0123abcd"
        );
        assert_eq!(
            name(&["p", "s", r#"role["a b"]"#], "0123abcd", 64),
            "p-s-role-a-b-0123abcd"
        );
        let long = name(
            &[
                "healthmapidha",
                "production",
                "platform/loadBalancerController/role",
            ],
            "0123abcd",
            64,
        );
        assert!(long.starts_with("healthmapidha-production-") && long.ends_with("Controller-role-0123abcd"));
    }

    proptest! {
        #[test]
        fn every_name_is_short_and_plain(path in "\\PC{0,90}", longest in 20usize..128) {
            let made = name(&["project", "stack", &path], "0123abcd", longest);
            prop_assert!(made.len() <= longest && made.ends_with("0123abcd"), "{}", made);
            prop_assert!(made.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)), "{}", made);
        }
    }
}
