//! Random programs, as far as they can work at all.

use std::fmt::Write as _;

use proptest::prelude::*;

/// One resource: numbers that [`render`] makes something of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Spec {
    kind: u8,
    value: u8,
    shape: u8,
    /// Which earlier resources it refers to.
    refs: Vec<u8>,
}

/// Resources by position; `None` where there is none.
pub(crate) type Specs = Vec<Option<Spec>>;

fn spec() -> impl Strategy<Value = Spec> {
    let refs = prop::collection::vec(any::<u8>(), 0..3);
    (0u8..13, 0u8..4, 0u8..4, refs).prop_map(|(kind, value, shape, refs)| Spec {
        kind,
        value,
        shape,
        refs,
    })
}

pub(crate) fn specs(most: usize) -> impl Strategy<Value = Specs> {
    prop::collection::vec(prop::option::weighted(0.85, spec()), 1..most)
}

/// A change of one resource: another value, another shape, none, or something else altogether.
#[derive(Debug, Clone)]
pub(crate) enum Edit {
    Value(u8, u8),
    Shape(u8, u8),
    Remove(u8),
    Put(u8, Spec),
}

pub(crate) fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        4 => (any::<u8>(), 0u8..4).prop_map(|(at, value)| Edit::Value(at, value)),
        4 => (any::<u8>(), 0u8..4).prop_map(|(at, shape)| Edit::Shape(at, shape)),
        2 => any::<u8>().prop_map(Edit::Remove),
        2 => (any::<u8>(), spec()).prop_map(|(at, spec)| Edit::Put(at, spec)),
    ]
}

pub(crate) fn edited(specs: &Specs, edits: &[Edit]) -> Specs {
    let mut specs = specs.clone();
    let count = specs.len();
    for edit in edits {
        match edit {
            Edit::Value(at, value) => {
                if let Some(spec) = &mut specs[usize::from(*at) % count] {
                    spec.value = *value;
                }
            }
            Edit::Shape(at, shape) => {
                if let Some(spec) = &mut specs[usize::from(*at) % count] {
                    spec.shape = *shape;
                }
            }
            Edit::Remove(at) => specs[usize::from(*at) % count] = None,
            Edit::Put(at, spec) => specs[usize::from(*at) % count] = Some(spec.clone()),
        }
    }
    specs
}

const KINDS: [&str; 13] = [
    "Item",
    "Named",
    "Tagged",
    "Stepwise",
    "Defaulted",
    "Network",
    "Subnet",
    "Box",
    "Child",
    "Cluster",
    "Profile",
    "Lookup",
    "Value",
];

/// The kind that a spec comes to: what needs a parent and has none becomes one itself.
fn kind_of(specs: &Specs, at: usize) -> &'static str {
    let Some(spec) = &specs[at] else { return "" };
    let kind = KINDS[usize::from(spec.kind) % KINDS.len()];
    let parent = match kind {
        "Subnet" => "Network",
        "Child" => "Box",
        "Profile" => "Cluster",
        other => return other,
    };
    if parent_of(specs, at, parent).is_some() {
        kind
    } else {
        parent
    }
}

fn parent_of(specs: &Specs, at: usize, parent: &str) -> Option<usize> {
    (0..at).find(|j| specs[*j].is_some() && kind_of(specs, *j) == parent)
}

/// The things that have to exist: path and kind in the cloud.
pub(crate) fn wanted(specs: &Specs) -> Vec<(String, &'static str)> {
    let all = (0..specs.len()).filter(|at| specs[*at].is_some());
    all.filter_map(|at| match kind_of(specs, at) {
        "Lookup" | "Value" => None,
        "Named" => Some((format!("r{at}"), "Item")),
        kind => Some((format!("r{at}"), kind)),
    })
    .collect()
}

/// True for kinds that others may need: while something needs it, a thing cannot go.
fn is_used(kind: &str) -> bool {
    matches!(kind, "Item" | "Tagged" | "Stepwise" | "Defaulted")
}

/// What a spec refers to, and by which number.
///
/// What others need does not refer to anything that may have to be deleted before it is made again: it would have to go
/// first too, while what needs it still does. No order of steps can do that.
fn referred(specs: &Specs, at: usize) -> Vec<(u8, usize)> {
    let Some(spec) = &specs[at] else { return Vec::new() };
    let used = is_used(kind_of(specs, at));
    let earlier = spec.refs.iter().filter_map(|reference| {
        let j = usize::from(*reference)
            .checked_rem(at)
            .filter(|j| specs[*j].is_some())?;
        (!used || !goes_first(specs, j)).then_some((*reference, j))
    });
    earlier.collect()
}

fn goes_first(specs: &Specs, at: usize) -> bool {
    matches!(kind_of(specs, at), "Named" | "Subnet" | "Profile")
        || referred(specs, at).iter().any(|(_, j)| goes_first(specs, *j))
}

/// The program, in the JSON of [`crate::stack::program`].
pub(crate) fn render(specs: &Specs) -> String {
    let mut text = String::from("{");
    for (at, spec) in specs.iter().enumerate() {
        let Some(spec) = spec else { continue };
        if text.len() > 1 {
            text.push(',');
        }
        write!(text, "\"r{at}\": {}", body(specs, at, spec)).unwrap();
    }
    text.push('}');
    text
}

fn body(specs: &Specs, at: usize, spec: &Spec) -> String {
    let kind = kind_of(specs, at);
    let mut references = Vec::new();
    let mut uses = Vec::new();
    for (reference, j) in referred(specs, at) {
        match kind_of(specs, j) {
            "Lookup" => references.push(format!("${{r{j}.found}}")),
            "Value" => references.push(format!("${{r{j}.value}}")),
            to => {
                let output = ["version", "endpoint", "id"][usize::from(reference) / 7 % 3];
                references.push(format!("${{r{j}.{output}}}"));
                if is_used(to) {
                    uses.push(format!("\"${{r{j}.id}}\""));
                }
            }
        }
    }
    uses.sort();
    uses.dedup();
    let uses = if uses.is_empty() {
        String::new()
    } else {
        format!(", \"uses\": [{}]", uses.join(","))
    };
    let value = match (references.first(), spec.value) {
        (Some(reference), 1..) => format!("v{} {reference}", spec.value),
        _ => format!("v{}", spec.value),
    };
    // A shape that refers to something may be replaced, or not.
    let shape = match (references.last(), spec.shape) {
        (Some(reference), 3) => format!("s {reference}"),
        _ => format!("s{}", spec.shape),
    };
    let free = format!("\"value\": \"{value}\", \"shape\": \"{shape}\"{uses}");
    let properties = |text: String| format!("{{{text}}}");
    let (kind, properties) = match kind {
        "Named" => ("Item", properties(format!("\"name\": \"n{at}\", {free}"))),
        "Network" => (kind, properties(format!("\"range\": \"10.{}\"", spec.shape))),
        "Subnet" => {
            let parent = parent_of(specs, at, "Network").unwrap_or_default();
            let text =
                format!("\"network\": \"${{r{parent}.id}}\", \"range\": \"{at}\", \"value\": \"{value}\"");
            (kind, properties(text))
        }
        "Box" => (
            kind,
            properties(format!(
                "\"name\": \"b{at}-{}\", \"value\": \"{value}\"",
                spec.shape
            )),
        ),
        "Child" => {
            let parent = parent_of(specs, at, "Box").unwrap_or_default();
            let text =
                format!("\"box\": \"${{r{parent}.name}}\", \"name\": \"c{at}\", \"value\": \"{value}\"");
            (kind, properties(text))
        }
        "Cluster" => {
            let text = format!("\"name\": \"k{at}-{}\", \"version\": \"{value}\"", spec.shape);
            (kind, properties(text))
        }
        "Profile" => {
            let parent = parent_of(specs, at, "Cluster").unwrap_or_default();
            (
                kind,
                properties(format!(
                    "\"cluster\": \"${{r{parent}.name}}\", \"name\": \"p{at}\""
                )),
            )
        }
        "Lookup" => (kind, properties(format!("\"fact\": \"f{}\"", spec.value))),
        "Value" => {
            let text = format!("\"value\": \"{value}\", \"triggers\": \"{shape}\"");
            ("epid:data:Value", properties(text))
        }
        _ => (kind, properties(free)),
    };
    format!("{{\"type\": \"{kind}\", \"properties\": {properties}}}")
}
