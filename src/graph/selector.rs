//! Resources by address or URN, as people name them on the command line.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use epid_provider::Urn;

/// Names a resource, a component with all its children, or all instances of a `forEach`: `curator`,
/// `network/subnet["a"]`, a whole URN. A `*` stands for any text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector(Arc<str>);

impl Selector {
    /// True where it names `urn`, or something `urn` is part of.
    #[must_use]
    pub fn matches(&self, urn: &Urn) -> bool {
        let text = if self.0.starts_with("urn:") {
            urn.as_str()
        } else {
            urn.path()
        };
        let ends = text
            .match_indices(['/', '['])
            .map(|(at, _)| at)
            .chain([text.len()]);
        ends.into_iter()
            .any(|end| text.get(..end).is_some_and(|part| glob(&self.0, part)))
    }
}

/// Each piece of the pattern where it comes first: what stands between stars may be found in any order of tries otherwise,
/// and a name of a thousand letters would take for ever.
fn glob(pattern: &str, text: &str) -> bool {
    let mut pieces = pattern.split('*');
    let head = pieces.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(head) else {
        return false;
    };
    let Some(tail) = pieces.next_back() else {
        return rest.is_empty();
    };
    for piece in pieces {
        match rest.find(piece) {
            Some(at) => rest = rest.get(at + piece.len()..).unwrap_or_default(),
            None => return false,
        }
    }
    rest.ends_with(tail)
}

impl FromStr for Selector {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err(
                "a resource is named by its address, such as `curator/deployment`, or its URN".into(),
            );
        }
        if text.matches('*').count() > 4 {
            return Err("at most four `*` in one name".into());
        }
        Ok(Self(Arc::from(text)))
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use epid_provider::Kind;

    use super::*;

    #[test]
    fn a_component_names_all_its_children() {
        let kind = Kind::parse("aws:ec2:Subnet").unwrap();
        let urn = Urn::new("p", "s", &kind, r#"network/public["a"]"#);
        let matches = |text: &str| text.parse::<Selector>().unwrap().matches(&urn);
        assert!(matches("network") && matches("network/public") && matches(r#"network/public["a"]"#));
        assert!(matches("*/public") && matches(urn.as_str()));
        assert!(!matches("net") && !matches("network/pub") && !matches("public"));
    }
}
