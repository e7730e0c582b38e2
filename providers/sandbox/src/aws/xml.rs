//! A writer of the XML that the query protocols answer.

use super::Tags;
use std::fmt::{Display, Write};

/// XML under construction: a sequence of elements.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Xml(String);

impl Xml {
    /// Nothing yet.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Appends `<name>value</name>`, escaped.
    pub(crate) fn text(mut self, name: &str, value: impl Display) -> Self {
        self.0
            .push_str(&format!("<{name}>{}</{name}>", Escaped(&value.to_string())));
        self
    }

    /// Appends `<name>value</name>` if there is a value.
    pub(crate) fn optional(self, name: &str, value: Option<impl Display>) -> Self {
        match value {
            Some(value) => self.text(name, value),
            None => self,
        }
    }

    /// Appends `<name>` with the given content.
    #[expect(clippy::needless_pass_by_value, reason = "callers build the content in place")]
    pub(crate) fn node(mut self, name: &str, content: Self) -> Self {
        self.0.push_str(&format!("<{name}>{}</{name}>", content.0));
        self
    }

    /// Appends the elements of another sequence.
    pub(crate) fn append(mut self, content: &Self) -> Self {
        self.0.push_str(&content.0);
        self
    }

    /// Appends EC2's list: `<name><item>...</item>...</name>`.
    pub(crate) fn items<T>(
        self,
        name: &str,
        items: impl IntoIterator<Item = T>,
        each: impl FnMut(T) -> Self,
    ) -> Self {
        self.list(name, "item", items, each)
    }

    /// Appends IAM's and ELB's list: `<name><member>...</member>...</name>`.
    pub(crate) fn members<T>(
        self,
        name: &str,
        items: impl IntoIterator<Item = T>,
        each: impl FnMut(T) -> Self,
    ) -> Self {
        self.list(name, "member", items, each)
    }

    /// Appends a list of plain texts: `<name><item>text</item>...</name>`.
    pub(crate) fn texts<T: Display>(
        self,
        name: &str,
        item: &str,
        values: impl IntoIterator<Item = T>,
    ) -> Self {
        let content = values
            .into_iter()
            .fold(Self::new(), |list, value| list.text(item, value));
        self.node(name, content)
    }

    /// Appends EC2's `<tagSet>`.
    pub(crate) fn tag_set(self, tags: &Tags) -> Self {
        self.items("tagSet", tags, |(key, value)| {
            Self::new().text("key", key).text("value", value)
        })
    }

    /// Appends IAM's and ELB's `<Tags>`.
    pub(crate) fn tag_members(self, tags: &Tags) -> Self {
        self.members("Tags", tags, |(key, value)| {
            Self::new().text("Key", key).text("Value", value)
        })
    }

    /// The text so far.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    fn list<T>(
        self,
        name: &str,
        item: &str,
        items: impl IntoIterator<Item = T>,
        mut each: impl FnMut(T) -> Self,
    ) -> Self {
        let content = items
            .into_iter()
            .fold(Self::new(), |list, value| list.node(item, each(value)));
        self.node(name, content)
    }
}

struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for letter in self.0.chars() {
            match letter {
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '&' => f.write_str("&amp;")?,
                '"' => f.write_str("&quot;")?,
                '\r' => f.write_str("&#xD;")?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_nest_and_escape() {
        let xml = Xml::new()
            .text("vpcId", "a<&>")
            .optional("none", None::<&str>)
            .items("tagSet", [1, 2], |n| Xml::new().text("n", n));
        assert_eq!(
            xml.as_str(),
            "<vpcId>a&lt;&amp;&gt;</vpcId><tagSet><item><n>1</n></item><item><n>2</n></item></tagSet>"
        );
    }
}
