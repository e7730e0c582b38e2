//! Random programs of the kinds of the fake cloud, and edits of them: strategies of proptest, and what they come to as text.

use proptest::prelude::*;

/// One resource: numbers that [`render`] makes something of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    kind: u8,
    value: u8,
    shape: u8,
    /// Which earlier resources it refers to.
    refs: Vec<u8>,
    choice: Choice,
}

/// What else is said of a resource; nothing, where a program has to work.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Choice {
    protect: bool,
    retain: bool,
    delete_first: Option<bool>,
    /// Earlier resources that options name.
    deleted_with: Option<u8>,
    depends_on: Option<u8>,
    served_by: Option<u8>,
    ignore_value: bool,
    replace_on_value: bool,
    /// It is called `s3` in place of `r3`, and says so or not.
    renamed: bool,
    alias: bool,
    /// A child with effects outside its box.
    outside: bool,
    /// A named one that cannot go while something names it.
    held: bool,
    adopt: bool,
    import: bool,
    /// One of few names.
    name: Option<u8>,
    through: Through,
}

/// What a resource is called through.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Through {
    #[default]
    Main,
    /// Configured as the main one is.
    Alike,
    Other,
    /// The first cluster before it.
    Cluster,
}

/// Resources by position; `None` where there is none.
pub type Specs = Vec<Option<Spec>>;

fn spec(
    kind: impl Strategy<Value = u8>,
    choice: impl Strategy<Value = Choice>,
) -> impl Strategy<Value = Spec> {
    let refs = prop::collection::vec(any::<u8>(), 0..3);
    (kind, 0u8..4, 0u8..4, refs, choice).prop_map(|(kind, value, shape, refs, choice)| Spec {
        kind,
        value,
        shape,
        refs,
        choice,
    })
}

/// Fewer resources than `most`, that can work.
pub fn specs(most: usize) -> impl Strategy<Value = Specs> {
    prop::collection::vec(
        prop::option::weighted(0.85, spec(0u8..13, Just(Choice::default()))),
        1..most,
    )
}

/// Resources with all options, whether or not they can work.
pub fn specs_with_options(most: usize) -> impl Strategy<Value = Specs> {
    prop::collection::vec(
        prop::option::weighted(0.85, spec(named_often(), choice())),
        1..most,
    )
}

fn named_often() -> impl Strategy<Value = u8> {
    prop_oneof![4 => 0u8..13, 1 => Just(1u8)]
}

fn choice() -> impl Strategy<Value = Choice> {
    let rarely = || prop::bool::weighted(0.04);
    let one = || prop::option::weighted(0.08, any::<u8>());
    let name = prop::option::weighted(0.3, any::<u8>());
    let flags = (
        prop::bool::weighted(0.01),
        rarely(),
        rarely(),
        rarely(),
        rarely(),
        rarely(),
        rarely(),
        prop::bool::weighted(0.4),
    );
    let through = prop_oneof![
        20 => Just(Through::Main),
        1 => Just(Through::Alike),
        1 => Just(Through::Other),
        4 => Just(Through::Cluster),
    ];
    let first = prop::option::weighted(0.2, any::<bool>());
    (
        flags,
        (first, one(), one(), one(), name),
        (prop::bool::weighted(0.1), any::<bool>(), through),
    )
        .prop_map(
            |(
                flags,
                (delete_first, deleted_with, depends_on, served_by, name),
                (renamed, alias, through),
            )| {
                let (protect, retain, ignore_value, replace_on_value, outside, adopt, import, held) = flags;
                Choice {
                    protect,
                    retain,
                    delete_first,
                    deleted_with,
                    depends_on,
                    served_by,
                    ignore_value,
                    replace_on_value,
                    renamed,
                    alias,
                    outside,
                    held,
                    adopt,
                    import,
                    name,
                    through,
                }
            },
        )
}

/// So many resources, or up to a third more, that can work.
pub fn large_specs(least: usize) -> impl Strategy<Value = Specs> {
    prop::collection::vec(
        prop::option::weighted(0.95, spec(0u8..13, Just(Choice::default()))),
        least..least + least / 3,
    )
}

/// A change of one resource: another value, another shape, none, or something else altogether.
#[derive(Debug, Clone)]
pub enum Edit {
    /// Another value at that place.
    Value(u8, u8),
    /// Another shape at that place: whatever has one is replaced.
    Shape(u8, u8),
    /// Nothing at that place.
    Remove(u8),
    /// Something else at that place.
    Put(u8, Spec),
    /// Other options at that place.
    Choose(u8, Choice),
    /// Another name at that place.
    Name(u8, u8),
    /// Two places take each other's names.
    SwapNames(u8, u8),
}

/// A change that can work.
pub fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        4 => (any::<u8>(), 0u8..4).prop_map(|(at, value)| Edit::Value(at, value)),
        4 => (any::<u8>(), 0u8..4).prop_map(|(at, shape)| Edit::Shape(at, shape)),
        2 => any::<u8>().prop_map(Edit::Remove),
        2 => (any::<u8>(), spec(0u8..13, Just(Choice::default()))).prop_map(|(at, spec)| Edit::Put(at, spec)),
    ]
}

/// A change of whatever can be said of a resource, whether or not it can work.
pub fn edit_with_options() -> impl Strategy<Value = Edit> {
    prop_oneof![
        4 => edit(),
        1 => (any::<u8>(), spec(named_often(), choice())).prop_map(|(at, spec)| Edit::Put(at, spec)),
        3 => (any::<u8>(), choice()).prop_map(|(at, choice)| Edit::Choose(at, choice)),
        2 => (any::<u8>(), any::<u8>()).prop_map(|(at, name)| Edit::Name(at, name)),
        1 => (any::<u8>(), any::<u8>()).prop_map(|(one, other)| Edit::SwapNames(one, other)),
    ]
}

/// Resources after such changes.
#[must_use]
pub fn edited(specs: &Specs, edits: &[Edit]) -> Specs {
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
            Edit::SwapNames(one, other) => {
                for (at, name) in [(one, other), (other, one)] {
                    if let Some(spec) = &mut specs[usize::from(*at) % count] {
                        spec.choice.name = u8::try_from(usize::from(*name) % count).ok();
                        spec.choice.held = false;
                    }
                }
            }
            Edit::Name(at, name) => {
                if let Some(spec) = &mut specs[usize::from(*at) % count] {
                    spec.choice.name = Some(*name);
                }
            }
            Edit::Choose(at, choice) => {
                if let Some(spec) = &mut specs[usize::from(*at) % count] {
                    spec.choice = choice.clone();
                }
            }
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
#[must_use]
pub fn wanted(specs: &Specs) -> Vec<(String, &'static str)> {
    let all = (0..specs.len()).filter(|at| specs[*at].is_some());
    all.filter_map(|at| match kind_of(specs, at) {
        "Lookup" | "Value" => None,
        "Named" => Some((format!("r{at}"), named(specs, at))),
        kind => Some((format!("r{at}"), kind)),
    })
    .collect()
}

/// The kind of a named one in the cloud.
fn named(specs: &Specs, at: usize) -> &'static str {
    if is_held(specs, at) { "Group" } else { "Item" }
}

fn is_held(specs: &Specs, at: usize) -> bool {
    kind_of(specs, at) == "Named" && specs[at].as_ref().is_some_and(|spec| spec.choice.held)
}

/// True for kinds that others may need: while something needs it, a thing cannot go.
fn is_used(kind: &str) -> bool {
    matches!(kind, "Item" | "Tagged" | "Stepwise" | "Defaulted")
}

/// What a spec refers to, and by which number.
///
/// What others need does not refer to anything that may have to be deleted before it is made again: it would have to go
/// first too, while what needs it still does. No order of steps can do that, and of what is held the planner says so.
fn referred(specs: &Specs, at: usize) -> Vec<(u8, usize)> {
    let Some(spec) = &specs[at] else { return Vec::new() };
    let used = is_used(kind_of(specs, at));
    let earlier = spec.refs.iter().filter_map(|reference| {
        let j = usize::from(*reference)
            .checked_rem(at)
            .filter(|j| specs[*j].is_some())?;
        (!used || is_held(specs, j) || !goes_first(specs, j)).then_some((*reference, j))
    });
    earlier.collect()
}

fn goes_first(specs: &Specs, at: usize) -> bool {
    matches!(kind_of(specs, at), "Named" | "Subnet" | "Profile")
        || referred(specs, at).iter().any(|(_, j)| goes_first(specs, *j))
}

/// What a resource is called.
fn name_of(specs: &Specs, at: usize) -> String {
    let renamed = specs[at].as_ref().is_some_and(|spec| spec.choice.renamed);
    format!("{}{at}", if renamed { "s" } else { "r" })
}

/// The program in JSON: `name: {type, properties, options}` for each resource; a type without a colon is a kind of the fake
/// cloud. Providers are the same in `$providers`.
#[must_use]
pub fn render(specs: &Specs) -> String {
    let mut parts: Vec<String> = Vec::new();
    for (at, spec) in specs.iter().enumerate() {
        let Some(spec) = spec else { continue };
        parts.push(format!("\"{}\": {}", name_of(specs, at), body(specs, at, spec)));
    }
    if are_providers_named(specs) {
        let account = |name: &str| format!("{{\"properties\": {{\"account\": \"{name}\"}}}}");
        let mut providers = vec![
            // Where it is reached may change, and no resource with it.
            format!(
                "\"main\": {{\"properties\": {{\"account\": \"main\", \"endpoint\": \"e{}\"}}}}",
                specs
                    .iter()
                    .flatten()
                    .map(|spec| spec.value)
                    .next()
                    .unwrap_or_default()
            ),
            format!("\"alike\": {}", account("main")),
            format!("\"other\": {}", account("other")),
        ];
        if let Some(cluster) = first_cluster(specs) {
            let id = format!("${{{}.id}}", name_of(specs, cluster));
            providers.push(format!(
                "\"inner\": {{\"properties\": {{\"cluster\": \"{id}\"}}}}"
            ));
        }
        parts.push(format!("\"$providers\": {{{}}}", providers.join(",")));
    }
    format!("{{{}}}", parts.join(","))
}

fn first_cluster(specs: &Specs) -> Option<usize> {
    (0..specs.len()).find(|at| kind_of(specs, *at) == "Cluster")
}

/// Where one is called through something else than the only provider, each says through which.
fn are_providers_named(specs: &Specs) -> bool {
    specs
        .iter()
        .flatten()
        .any(|spec| spec.choice.through != Through::Main)
}

fn provider_of(specs: &Specs, at: usize) -> &'static str {
    let parent = match kind_of(specs, at) {
        "Subnet" => "Network",
        "Child" => "Box",
        "Profile" => "Cluster",
        _ => "",
    };
    if let Some(parent) = parent_of(specs, at, parent) {
        return provider_of(specs, parent);
    }
    let through = specs[at].as_ref().map(|spec| spec.choice.through);
    match through.unwrap_or_default() {
        Through::Main => "main",
        Through::Alike => "alike",
        Through::Other => "other",
        Through::Cluster if first_cluster(specs).is_some_and(|cluster| cluster < at) => "inner",
        Through::Cluster => "main",
    }
}

/// The options, in the JSON of [`render`].
fn options(specs: &Specs, at: usize, choice: &Choice) -> String {
    let mut options: Vec<String> = Vec::new();
    let kind = kind_of(specs, at);
    let real = !matches!(kind, "Lookup" | "Value");
    if are_providers_named(specs) && kind != "Value" {
        options.push(format!("\"provider\": \"{}\"", provider_of(specs, at)));
    }
    let mut flag = |name: &str, on: bool| {
        if on && real {
            options.push(format!("\"{name}\": true"));
        }
    };
    flag("protect", choice.protect);
    flag("retainOnDelete", choice.retain);
    flag("adopt", choice.adopt && kind != "Value");
    if let Some(first) = choice.delete_first.filter(|_| real) {
        options.push(format!("\"deleteBeforeReplace\": {first}"));
    }
    let earlier = |one: Option<u8>| {
        let at = usize::from(one?).checked_rem(at)?;
        specs[at].is_some().then_some(at)
    };
    let named = |at: usize| name_of(specs, at);
    // What is in something is in the same cloud.
    if let Some(other) = earlier(choice.deleted_with)
        && !matches!(kind_of(specs, other), "Lookup" | "Value")
        && provider_of(specs, other) == provider_of(specs, at)
    {
        options.push(format!("\"deletedWith\": \"{}\"", named(other)));
    }
    if let Some(other) = earlier(choice.depends_on) {
        options.push(format!("\"dependsOn\": [\"{}\"]", named(other)));
    }
    if let Some(other) = earlier(choice.served_by) {
        options.push(format!("\"servedBy\": [\"{}\"]", named(other)));
    }
    if choice.ignore_value {
        options.push("\"ignoreChanges\": [\"value\"]".to_owned());
    }
    if choice.replace_on_value {
        options.push("\"replaceOnChanges\": [\"value\"]".to_owned());
    }
    if choice.alias {
        let other = if choice.renamed { "r" } else { "s" };
        options.push(format!("\"aliases\": [\"{other}{at}\"]"));
    }
    if choice.import && kind == "Named" && !choice.held {
        options.push("\"import\": \"item-1\"".to_owned());
    }
    if options.is_empty() {
        String::new()
    } else {
        format!(", \"options\": {{{}}}", options.join(","))
    }
}

fn body(specs: &Specs, at: usize, spec: &Spec) -> String {
    let kind = kind_of(specs, at);
    let mut references = Vec::new();
    let mut uses = Vec::new();
    for (reference, j) in referred(specs, at) {
        match kind_of(specs, j) {
            "Lookup" => references.push(format!("${{{}.found}}", name_of(specs, j))),
            "Value" => references.push(format!("${{{}.value}}", name_of(specs, j))),
            to => {
                let output = ["version", "endpoint", "id"][usize::from(reference) / 7 % 3];
                let name = name_of(specs, j);
                references.push(format!("${{{name}.{output}}}"));
                if is_used(to) {
                    uses.push(format!("\"${{{name}.id}}\""));
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
        "Named" => {
            let name = spec.choice.name.map_or(at, |name| usize::from(name) % 4);
            let properties = properties(format!("\"name\": \"n{name}\", {free}"));
            (named(specs, at), properties)
        }
        "Network" => (kind, properties(format!("\"range\": \"10.{}\"", spec.shape))),
        "Subnet" => {
            let parent = name_of(specs, parent_of(specs, at, "Network").unwrap_or_default());
            let text =
                format!("\"network\": \"${{{parent}.id}}\", \"range\": \"{at}\", \"value\": \"{value}\"");
            (kind, properties(text))
        }
        "Box" => {
            let name = spec.choice.name.map_or(at, |name| usize::from(name) % 4);
            let text = format!("\"name\": \"b{name}-{}\", \"value\": \"{value}\"", spec.shape);
            (kind, properties(text))
        }
        "Child" => {
            let parent = name_of(specs, parent_of(specs, at, "Box").unwrap_or_default());
            let outside = if spec.choice.outside {
                ", \"outside\": true"
            } else {
                ""
            };
            let text = format!(
                "\"box\": \"${{{parent}.name}}\", \"name\": \"c{at}\", \"value\": \"{value}\"{outside}"
            );
            (kind, properties(text))
        }
        "Cluster" => {
            let text = format!("\"name\": \"k{at}-{}\", \"version\": \"{value}\"", spec.shape);
            (kind, properties(text))
        }
        "Profile" => {
            let parent = name_of(specs, parent_of(specs, at, "Cluster").unwrap_or_default());
            let text = format!("\"cluster\": \"${{{parent}.name}}\", \"name\": \"p{at}\"");
            (kind, properties(text))
        }
        "Lookup" => (kind, properties(format!("\"fact\": \"f{}\"", spec.value))),
        "Value" => {
            let text = format!("\"value\": \"{value}\", \"triggers\": \"{shape}\"");
            ("epid:data:Value", properties(text))
        }
        _ => (kind, properties(free)),
    };
    let options = options(specs, at, &spec.choice);
    format!("{{\"type\": \"{kind}\", \"properties\": {properties}{options}}}")
}
