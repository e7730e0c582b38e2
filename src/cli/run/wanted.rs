//! What is to be imported, as it was asked for, and everything wrong with that: each problem at its line.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

use epid_provider::Urn;
use epid_provider::check::nearest;

use crate::cli::error::Error;
use crate::cli::ui::plain;
use crate::expression::Span;
use crate::graph::{Node, ResourceGraph, provider_type};
use crate::plan::quoted;
use crate::program::{Diagnostic, Sources};
use crate::state::{Entry, Snapshot};

/// A resource as it was named, and the id of what it is.
pub(super) struct Wanted {
    resource: String,
    pub(super) id: Arc<str>,
    /// The line that says so; none for the command line.
    span: Span,
}

impl Wanted {
    /// What the command line says.
    pub(super) fn one(resource: &str, id: &str) -> Self {
        Self {
            resource: resource.to_owned(),
            id: Arc::from(id),
            span: Span::NONE,
        }
    }
}

/// What is wrong, as far as it was found.
pub(super) struct Problems {
    found: Vec<Diagnostic>,
    sources: Sources,
}

impl Problems {
    pub(super) fn new(sources: &Sources) -> Self {
        Self {
            found: Vec::new(),
            sources: sources.clone(),
        }
    }

    fn add(&mut self, span: Span, message: impl Into<String>, hint: impl Into<String>) {
        self.found.push(Diagnostic::error(span, message).with_hint(hint));
    }

    /// Of an id that was asked for.
    pub(super) fn of(&mut self, wanted: &Wanted, message: impl Into<String>, hint: impl Into<String>) {
        self.add(wanted.span, message, hint);
    }

    /// Goes on where nothing is wrong.
    ///
    /// # Errors
    /// All that was found, in the order of the lines.
    pub(super) fn none(&self) -> Result<(), Error> {
        if self.found.is_empty() {
            return Ok(());
        }
        let mut found = self.found.clone();
        found.sort_by_key(|problem| problem.span);
        Err(Error::Input(found, self.sources.clone()))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }
}

/// The lines of a file.
#[expect(clippy::disallowed_methods, reason = "the file was named on the command line")]
pub(super) fn listed(folder: &Path, file: &Path, problems: &mut Problems) -> Result<Vec<Wanted>, Error> {
    let text = std::fs::read_to_string(folder.join(file))
        .map_err(|error| Error::invalid(format!("{} cannot be read: {error}", file.display())))?;
    let source = problems.sources.add(file, Some(Arc::from(text.as_str())));
    let mut wanted = Vec::new();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let said = line.trim();
        let begins = start + (line.len() - line.trim_start().len());
        let span = Span::new(source, begins..begins + said.len());
        start += line.len();
        if said.is_empty() || said.starts_with('#') {
            continue;
        }
        match parted(said) {
            Some((resource, id)) => wanted.push(Wanted {
                span,
                ..Wanted::one(resource, id)
            }),
            None => problems.add(
                span,
                "a line is `RESOURCE = ID`",
                "such as `network/vpc = vpc-0123`",
            ),
        }
    }
    if wanted.is_empty() && problems.is_empty() {
        let message = format!("{} names nothing to import", file.display());
        return Err(Error::invalid(message).hint("one line for each: `network/vpc = vpc-0123`"));
    }
    Ok(wanted)
}

/// Both sides of the first `=` that is in no key of a `forEach`.
fn parted(line: &str) -> Option<(&str, &str)> {
    let mut quoted = false;
    let at = line.char_indices().find(|(_, c)| {
        quoted ^= *c == '"';
        *c == '=' && !quoted
    });
    let (resource, id) = line.split_at_checked(at?.0)?;
    let (resource, id) = (resource.trim(), id.get(1..)?.trim());
    (!resource.is_empty() && !id.is_empty()).then_some((resource, id))
}

/// The declared resources that are meant, each with what was said of it.
pub(super) fn resolve<'w>(
    graph: &ResourceGraph,
    snapshot: &Snapshot,
    wanted: &'w [Wanted],
    problems: &mut Problems,
) -> HashMap<Urn, &'w Wanted> {
    let mut found: HashMap<Urn, &Wanted> = HashMap::new();
    let mut of: BTreeMap<(&str, &str), &Urn> = BTreeMap::new();
    let mut named: BTreeSet<&Urn> = BTreeSet::new();
    let mut declared: HashMap<&str, &Node> = HashMap::new();
    for node in graph.nodes() {
        for name in [&*node.address, node.urn.as_str()] {
            declared.entry(name).or_insert(node);
        }
    }
    let mut recorded: HashMap<&str, Vec<&Entry>> = HashMap::new();
    for entry in snapshot.entries.values() {
        recorded.entry(&entry.record.id).or_default().push(entry);
    }
    for one in wanted {
        let (name, id) = (plain(&one.resource), plain(&one.id));
        let Some(node) = declared.get(&*one.resource) else {
            let near = nearest(&one.resource, graph.nodes().map(|node| &*node.address));
            let hint = near.map_or_else(
                || "declare it first, as it should be".to_owned(),
                |near| format!("did you mean `{near}`?"),
            );
            problems.of(one, format!("the program declares no `{name}`"), hint);
            continue;
        };
        if provider_type(&node.kind).is_some() || node.schema.lookup {
            problems.of(
                one,
                format!("`{name}` is nothing that could be imported"),
                "providers and lookups are recorded by `epid up`",
            );
            continue;
        }
        if !named.insert(&node.urn) {
            let before = found.get(&node.urn).is_some_and(|before| before.id == one.id);
            let text = if before { "named twice" } else { "given two ids" };
            problems.of(
                one,
                format!("`{name}` is {text}"),
                "one resource is one thing: leave one line",
            );
            continue;
        }
        if let Some(entry) = snapshot.live(&node.urn) {
            let hint = if entry.record.id == one.id {
                "there is nothing to import: leave it out"
            } else {
                "`epid state rm` forgets that, and leaves it in the cloud"
            };
            let recorded = &entry.record.id;
            problems.of(one, format!("`{name}` is recorded already, as {recorded}"), hint);
            continue;
        }
        let mut others = recorded.get(&*one.id).into_iter().flatten();
        if let Some(other) = others.find(|entry| is_behind(node, entry)) {
            let path = other.urn().path();
            let kind = &other.record.kind;
            if *other.urn().kind() == *node.kind.unversioned() {
                problems.of(
                    one,
                    format!("{id} is recorded already, as `{path}`"),
                    format!(
                        "`epid state mv {} {}` gives the record another name",
                        quoted(path),
                        quoted(&one.resource)
                    ),
                );
                continue;
            }
            // Names of different kinds may be equal; ids that a cloud gives are not.
            if one.id.starts_with("arn:") {
                let message = format!(
                    "{id} is of another kind: it is `{path}`, a {kind}, and `{name}` is a {}",
                    node.kind
                );
                problems.of(one, message, "check which id belongs to which resource");
                continue;
            }
        }
        if let Some(other) = of.insert((node.kind.as_str(), &one.id), &node.urn) {
            let message = format!("{id} cannot be both `{}` and `{name}`", other.path());
            problems.of(one, message, "one thing is one resource: leave one line");
            continue;
        }
        found.insert(node.urn.clone(), one);
    }
    found
}

/// Made by the provider that a declared resource is called through, so that equal ids are one thing.
fn is_behind(node: &Node, entry: &Entry) -> bool {
    entry.provider.as_ref().map(|key| &key.urn) == node.provider.as_ref()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_parts_at_its_first_equals_sign_outside_of_keys() {
        assert_eq!(parted("a = vpc-1"), Some(("a", "vpc-1")));
        assert_eq!(parted(r#"a["x=y"]=k=v"#), Some((r#"a["x=y"]"#, "k=v")));
        for bad in ["a", "a =", "= b", "", r#"a["x=y"]"#] {
            assert_eq!(parted(bad), None, "{bad}");
        }
    }
}
