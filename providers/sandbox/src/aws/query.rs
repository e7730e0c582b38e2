//! Parameters of the `query` and `ec2` protocols: a form whose keys spell nested lists, `Filter.1.Value.2`.

use super::{ApiError, Tags};
use percent_encoding::percent_decode_str;
use std::collections::BTreeMap;

/// Parameters by their full dotted key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Params(BTreeMap<String, String>);

/// Decodes `a=b&c=d` with `+` and percent escapes, in order.
pub(crate) fn decode_form(form: &str) -> Vec<(String, String)> {
    let text = |raw: &str| {
        percent_decode_str(&raw.replace('+', " "))
            .decode_utf8_lossy()
            .into_owned()
    };
    form.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (text(key), text(value))
        })
        .collect()
}

impl Params {
    /// Decodes a form.
    pub(crate) fn decode(form: &str) -> Self {
        Self(decode_form(form).into_iter().collect())
    }

    /// The value at a full key, e.g. `CidrBlock`, `ConnectivityType` or `Ebs.Size`.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// The value at a key, or the service's `MissingParameter`.
    pub(crate) fn require(&self, key: &str) -> Result<&str, ApiError> {
        self.get(key).filter(|value| !value.is_empty()).ok_or_else(|| {
            ApiError::bad(
                "MissingParameter",
                format!("The request must contain the parameter {key}"),
            )
        })
    }

    /// A boolean; `None` when absent or neither `true` nor `false`.
    pub(crate) fn bool(&self, key: &str) -> Option<bool> {
        self.get(key)
            .and_then(|text| text.to_ascii_lowercase().parse().ok())
    }

    /// A whole number; `None` when absent or not one.
    pub(crate) fn number(&self, key: &str) -> Option<i64> {
        self.get(key).and_then(|text| text.parse().ok())
    }

    /// A list of scalars in numeric order: `VpcId` reads `VpcId.1`, `VpcId.2`, and `Key.member.1` too.
    pub(crate) fn list(&self, key: &str) -> Vec<&str> {
        self.items(key).iter().filter_map(|item| self.get(item)).collect()
    }

    /// A list of structures in numeric order: `Filter` reads `Filter.1.*`, `Filter.2.*` (or `.member.1.*`).
    pub(crate) fn structs(&self, key: &str) -> Vec<Self> {
        self.items(key).iter().map(|item| self.sub(item)).collect()
    }

    /// The structure at a key, its keys relative to it; empty when absent.
    pub(crate) fn sub(&self, key: &str) -> Self {
        let prefix = format!("{key}.");
        let inner = self
            .0
            .range(prefix.clone()..)
            .take_while(|(name, _)| name.starts_with(&prefix))
            .filter_map(|(name, value)| Some((name.strip_prefix(&prefix)?.to_owned(), value.clone())))
            .collect();
        Self(inner)
    }

    /// Whether there is no parameter at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Keys in alphabetical order.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// EC2's `TagSpecification.N` for one resource type, e.g. `vpc`. Both the singular and the plural key
    /// are read, because clients differ.
    pub(crate) fn tag_specification(&self, resource_type: &str) -> Tags {
        let mut specifications = self.structs("TagSpecification");
        specifications.extend(self.structs("TagSpecifications"));
        specifications
            .iter()
            .filter(|specification| specification.get("ResourceType") == Some(resource_type))
            .flat_map(|specification| specification.tags("Tag"))
            .collect()
    }

    /// A list of `Key`/`Value` structures: `Tag` for EC2, `Tags` for IAM (`Tags.member.N`).
    pub(crate) fn tags(&self, key: &str) -> Tags {
        self.structs(key)
            .iter()
            .filter_map(|tag| {
                Some((
                    tag.get("Key")?.to_owned(),
                    tag.get("Value").unwrap_or_default().to_owned(),
                ))
            })
            .collect()
    }

    /// The keys of the items of a list, in numeric order.
    fn items(&self, key: &str) -> Vec<String> {
        let member = format!("{key}.member");
        let base = if self.sub(&member).is_empty() {
            key
        } else {
            &member
        };
        let mut numbers: Vec<u32> = self
            .sub(base)
            .keys()
            .filter_map(|name| name.split('.').next()?.parse().ok())
            .collect();
        numbers.sort_unstable();
        numbers.dedup();
        numbers.iter().map(|number| format!("{base}.{number}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_lists_are_read_in_numeric_order() {
        let params = Params::decode(
            "Action=X&Filter.1.Name=vpc-id&Filter.1.Value.1=a&Filter.1.Value.10=c&Filter.1.Value.2=b+b%2F\
             &Tags.member.1.Key=k&Tags.member.1.Value=v&VpcId.2=two&VpcId.1=one&DryRun=true",
        );
        let filters = params.structs("Filter");
        assert_eq!(filters.len(), 1);
        assert_eq!(filters[0].list("Value"), ["a", "b b/", "c"]);
        assert_eq!(params.tags("Tags"), Tags::from([("k".into(), "v".into())]));
        assert_eq!(params.list("VpcId"), ["one", "two"]);
        assert_eq!(params.bool("DryRun"), Some(true));
        assert!(params.require("CidrBlock").is_err());
    }

    #[test]
    fn tag_specifications_are_chosen_by_resource_type() {
        let params = Params::decode(
            "TagSpecification.1.ResourceType=vpc&TagSpecification.1.Tag.1.Key=Name&TagSpecification.1.Tag.1.Value=n",
        );
        assert_eq!(
            params.tag_specification("vpc"),
            Tags::from([("Name".into(), "n".into())])
        );
        assert!(params.tag_specification("subnet").is_empty());
    }
}
