//! What becomes of each resource of the program, dependencies first.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use epid::graph::{Known, Node, View};
use epid::plan::Facts;
use epid::state::{Entry, RecordKey, Timeouts};
use epid_provider::{Desired, Key, Map, Output, Replace, Segment, Urn, Value};

use super::{Case, Made, Refusals, Refused, is_provider, needs, under};

/// What is decided of one resource.
pub(crate) struct Declared {
    pub(crate) made: Made,
    /// The live record it has, under this name or one it had before.
    pub(crate) record: Option<RecordKey>,
    /// Its name in the cloud, as far as that is known.
    pub(crate) key: Option<Key>,
    known: Known,
    inputs: Value,
}

impl Declared {
    /// A next generation is made, or may be.
    pub(crate) fn is_replaced(&self) -> bool {
        matches!(
            self.made,
            Made::CreateFirst | Made::DeleteFirst { .. } | Made::Reconnect
        ) || (self.made == Made::Create && self.record.is_some())
    }
}

pub(crate) type All = BTreeMap<Urn, Declared>;

pub(super) fn all(case: Case<'_>, refused: &mut Refusals) -> All {
    let mut all = All::new();
    for node in case.graph.nodes() {
        let one = declared(case, &all, node, refused);
        all.insert(node.urn.clone(), one);
    }
    let mut names: BTreeMap<(Option<String>, &Key), &Urn> = BTreeMap::new();
    for node in case.graph.nodes() {
        if let Some(key) = &all[&node.urn].key
            && names
                .insert((leads_to(case, &all, node), key), &node.urn)
                .is_some()
        {
            refused.insert((Refused::SameName, node.urn.path().to_owned()));
        }
    }
    all
}

/// The live record that a resource has.
fn record_of<'a>(case: Case<'a>, all: &All, node: &Node, inputs: &Value) -> Option<&'a Entry> {
    if let Some(live) = case.snapshot.live(&node.urn) {
        return Some(live);
    }
    let free = |entry: &&Entry| {
        case.graph.node(entry.urn()).is_none()
            && all.values().all(|other| other.record != Some(entry.key_of()))
    };
    let old = node
        .aliases
        .iter()
        .filter_map(|alias| case.snapshot.live(alias))
        .find(|entry| free(entry));
    let key = key(case, node, inputs);
    old.or_else(|| {
        let key = key?;
        case.entries().filter(free).find(|entry| {
            case.snapshot
                .live(entry.urn())
                .is_some_and(|live| live.key_of() == entry.key_of())
                && entry.record.kind.unversioned() == node.kind.unversioned()
                && entry.key.as_ref() == Some(&key)
                && case.realm(entry.provider.as_ref()) == led_to(case, all, node)
        })
    })
}

fn key(case: Case<'_>, node: &Node, inputs: &Value) -> Option<Key> {
    if is_provider(&node.kind) {
        return None;
    }
    case.providers.of(&node.kind)?.identity(&node.kind, inputs)
}

/// What the provider of a resource was connected to; where it was to nothing yet, its own name.
fn led_to(case: Case<'_>, all: &All, node: &Node) -> Option<String> {
    let provider = node.provider.as_ref()?;
    let recorded = case.realm(all[provider].record.as_ref());
    Some(recorded.unwrap_or_else(|| provider.as_str().to_owned()))
}

/// The same, of what it will be connected to: unknown where it is connected anew.
fn leads_to(case: Case<'_>, all: &All, node: &Node) -> Option<String> {
    let provider = node.provider.as_ref()?;
    if all[provider].made == Made::Reconnect {
        return Some(provider.as_str().to_owned());
    }
    led_to(case, all, node)
}

/// True where the record was made through what the resource will be called through.
fn is_connection(all: &All, node: &Node, entry: &Entry) -> bool {
    match (&node.provider, &entry.provider) {
        (None, None) => true,
        (Some(now), Some(then)) => {
            let now = &all[now];
            now.record.as_ref() == Some(then) && now.made != Made::Reconnect
        }
        _ => false,
    }
}

/// True where the provider of a record and that of the resource are two, and lead to one place or are configured alike.
fn is_alike(case: Case<'_>, all: &All, node: &Node, entry: &Entry) -> bool {
    let (Some(now), Some(then)) = (&node.provider, &entry.provider) else {
        return false;
    };
    let Some(then) = case.snapshot.get(then).filter(|then| then.urn() != now) else {
        return false;
    };
    if then.identity.is_some() && case.realm(Some(&then.key_of())) == leads_to(case, all, node) {
        return true;
    }
    let inputs = &all[now].inputs;
    let schema = case.providers.schema(&then.record.kind);
    schema.is_some_and(|schema| epid_provider::diff(&schema, &then.record.applied, inputs).is_empty())
}

fn declared(case: Case<'_>, all: &All, node: &Node, refused: &mut Refusals) -> Declared {
    let outside = !case.inside(&node.urn);
    let look = |urn: &Urn| all.get(urn).map(|d| d.known.clone());
    let view = View::new(case.graph.names(), node.each.as_ref(), &look, &|_: &[u8]| None);
    let inputs = match node.properties.template.evaluate(&view) {
        Ok(inputs) => inputs,
        Err(_) if outside => Value::unknown(&node.address),
        Err(errors) => panic!("{}: {errors:?}", node.address),
    };
    if outside {
        let live = record_of(case, all, node, &inputs);
        return Declared {
            made: Made::Outside,
            record: live.map(Entry::key_of),
            key: live.and_then(|live| live.key.clone()),
            known: live.map_or_else(|| unmade(node, &inputs), |live| recorded(node, live)),
            inputs,
        };
    }
    for needed in needs(node) {
        let record = all[needed]
            .record
            .as_ref()
            .and_then(|record| case.snapshot.get(record));
        if all[needed].made == Made::Outside && record.is_none_or(|r| !r.record.incomplete.is_empty()) {
            refused.insert((Refused::NeedsOutside, needed.path().to_owned()));
        }
    }
    let Some(entry) = record_of(case, all, node, &inputs) else {
        let made = match () {
            () if is_provider(&node.kind) => Made::Connect,
            () if node.schema.lookup => Made::Read,
            () if node.options.import.is_some() => Made::Import,
            () if node.options.adopt => Made::Adopt,
            () => Made::Create,
        };
        return Declared {
            made,
            record: None,
            key: key(case, node, &inputs),
            known: unmade(node, &inputs),
            inputs,
        };
    };
    if case.gone(entry) && !is_provider(&node.kind) {
        return Declared {
            made: Made::Create,
            record: Some(entry.key_of()),
            key: key(case, node, &inputs),
            known: unmade(node, &inputs),
            inputs,
        };
    }
    changed(case, all, node, entry, &inputs, refused)
}

/// How sure it is that something is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Must {
    No,
    Perhaps,
    Surely,
}

fn changed(
    case: Case<'_>,
    all: &All,
    node: &Node,
    entry: &Entry,
    inputs: &Value,
    refused: &mut Refusals,
) -> Declared {
    let inputs = ignoring(node, entry, inputs);
    let provider = case.providers.of(&node.kind).unwrap();
    let desired = Desired {
        urn: node.urn.clone(),
        kind: node.kind.clone(),
        properties: inputs.clone(),
    };
    let diff = if is_provider(&node.kind) {
        epid_provider::diff(&node.schema, &entry.record.applied, &inputs)
    } else {
        provider.diff(&entry.record, &desired)
    };
    let mut own = Must::No;
    for change in &diff.changes {
        let chosen = node
            .options
            .replace_on_changes
            .iter()
            .any(|path| path.covers(&change.path));
        own = own.max(match change.replace {
            Replace::Yes => Must::Surely,
            _ if chosen && !change.after.has_unknown() => Must::Surely,
            Replace::IfChanged => Must::Perhaps,
            _ if chosen => Must::Perhaps,
            Replace::No => Must::No,
        });
    }
    if case
        .selection
        .replace
        .iter()
        .any(|selector| selector.matches(&node.urn))
    {
        own = Must::Surely;
    }
    let same = is_connection(all, node, entry) || is_alike(case, all, node, entry);
    let reconnected = node.provider.as_ref().filter(|p| all[*p].made == Made::Reconnect);
    // What it is in, stands on, or is called through.
    let upon: Vec<&Urn> = node
        .deleted_with
        .iter()
        .chain(&node.stands_on)
        .chain(reconnected)
        .collect();
    let replaced_with = |thing: &&Urn| all[*thing].is_replaced() && recorded_edge(all, entry, thing);
    let moved = !same && !reconnected.is_some_and(|p| recorded_edge(all, entry, p));
    let must = if moved || upon.iter().any(replaced_with) {
        own.max(Must::Perhaps)
    } else {
        own
    };
    let made = if is_provider(&node.kind) {
        match () {
            () if must != Must::No => Made::Reconnect,
            () if !diff.is_empty() => Made::Reconfigure,
            () if differs(node, entry, &inputs) => Made::Record,
            () => Made::Nothing,
        }
    } else if node.schema.lookup {
        match () {
            () if must != Must::No || !diff.is_empty() => Made::Read,
            () if differs(node, entry, &inputs) => Made::Record,
            () => Made::Nothing,
        }
    } else if must != Must::No {
        replaced(case, all, node, entry, &inputs, (same, own), refused)
    } else if !diff.is_empty() || !entry.record.incomplete.is_empty() {
        Made::Update
    } else if differs(node, entry, &inputs) {
        Made::Record
    } else {
        Made::Nothing
    };
    let known = match made {
        Made::CreateFirst | Made::DeleteFirst { .. } | Made::Read => unmade(node, &inputs),
        Made::Update | Made::Nothing | Made::Record => {
            let mut known = recorded(node, entry);
            known.inputs = inputs.clone();
            let keys: BTreeSet<&Arc<str>> = diff
                .changes
                .iter()
                .filter_map(|change| match change.path.segments().first() {
                    Some(Segment::Key(key)) => Some(key),
                    _ => None,
                })
                .collect();
            for output in &node.schema.outputs {
                let touched = output
                    .changes_with
                    .iter()
                    .any(|with| &**with == "*" || keys.contains(with));
                // What was left half made has not told everything yet.
                let told = entry
                    .record
                    .outputs
                    .get(&output.path.to_string())
                    .is_some_and(|v| !v.is_null());
                let half = !entry.record.incomplete.is_empty() && !told;
                if made == Made::Update && (half || touched) {
                    known.outputs = with_unknown(&known.outputs, node, output);
                }
            }
            known
        }
        _ => unmade(node, &inputs),
    };
    Declared {
        made,
        record: Some(entry.key_of()),
        key: key(case, node, &inputs),
        known,
        inputs,
    }
}

/// In which order it is replaced.
fn replaced(
    case: Case<'_>,
    all: &All,
    node: &Node,
    entry: &Entry,
    inputs: &Value,
    (same, own): (bool, Must),
    refused: &mut Refusals,
) -> Made {
    let one_name = same && entry.key.is_some() && key(case, node, inputs) == entry.key;
    let exclusive = node.schema.inputs.fields.iter().any(|field| {
        let value = |of: &Value| {
            of.get(&field.name)
                .filter(|v| !v.is_null() && !v.has_unknown())
                .cloned()
        };
        field.exclusive && same && value(inputs).is_some() && value(inputs) == value(&entry.record.applied)
    });
    let spread: Vec<&Urn> = under(node)
        .into_iter()
        .filter(|needed| goes_first(case, all, needed) && recorded_edge(all, entry, needed))
        .collect();
    // Somewhere else nothing of it is in the way.
    match node.options.delete_before_replace.filter(|first| same || !first) {
        Some(false) if one_name || exclusive || !spread.is_empty() => {
            refused.insert((Refused::MayNotGoFirst, node.urn.path().to_owned()));
            Made::CreateFirst
        }
        None if !(one_name || exclusive || !spread.is_empty()) => Made::CreateFirst,
        Some(false) => Made::CreateFirst,
        _ => Made::DeleteFirst {
            surely: own == Must::Surely || spread.iter().any(|needed| surely_first(case, all, needed)),
        },
    }
}

/// True where the old one of it goes before the new one is made: itself, or what a connection leads to.
pub(super) fn goes_first(case: Case<'_>, all: &All, urn: &Urn) -> bool {
    match all[urn].made {
        Made::DeleteFirst { .. } => true,
        Made::Reconnect => cluster(case, all, urn).is_some_and(|cluster| goes_first(case, all, cluster)),
        _ => false,
    }
}

pub(super) fn surely_first(case: Case<'_>, all: &All, urn: &Urn) -> bool {
    match all[urn].made {
        Made::DeleteFirst { surely } => surely,
        Made::Reconnect => cluster(case, all, urn).is_some_and(|cluster| surely_first(case, all, cluster)),
        _ => false,
    }
}

/// What a provider connects to, and did before.
fn cluster<'a>(case: Case<'a>, all: &All, provider: &Urn) -> Option<&'a Urn> {
    let record = case.snapshot.get(all[provider].record.as_ref()?)?;
    let cluster = case.graph.node(provider)?.deleted_with.as_ref()?;
    recorded_edge(all, record, cluster).then_some(cluster)
}

/// True where the record has an edge to a resource, under whatever name that was recorded.
pub(super) fn recorded_edge(all: &All, entry: &Entry, to: &Urn) -> bool {
    let before = all[to].record.as_ref().map(|record| &record.urn);
    let provider = entry.provider.as_ref().map(|provider| &provider.urn);
    entry
        .edges()
        .chain(provider)
        .any(|edge| edge == to || Some(edge) == before)
}

/// The inputs, where the program's say over ignored paths is not heard. The tests ignore whole properties only.
fn ignoring(node: &Node, entry: &Entry, inputs: &Value) -> Value {
    let mut map = inputs.as_map().cloned().unwrap_or_default();
    for path in &node.options.ignore_changes {
        if let [Segment::Key(key)] = path.segments() {
            map = match entry.record.applied.get(key) {
                Some(applied) => map.with(key, applied.clone()),
                None => map.without(key),
            };
        }
    }
    Value::Map(map)
}

/// True where the record does not say what the program says, though nothing has to be sent.
fn differs(node: &Node, entry: &Entry, inputs: &Value) -> bool {
    let dependencies = needs(node).into_iter().cloned().collect();
    let t = node.options.timeouts;
    let facts = Facts {
        dependencies,
        deleted_with: node.deleted_with.clone(),
        served_by: node.served_by.clone(),
        outside: node.outside,
        protect: node.options.protect,
        retain_on_delete: node.options.retain_on_delete,
        ignore_changes: node.options.ignore_changes.clone(),
        delete_before_replace: node.options.delete_before_replace,
        replace_on_changes: node.options.replace_on_changes.clone(),
        timeouts: Timeouts {
            create: t.create,
            update: t.update,
            delete: t.delete,
        },
    };
    facts != Facts::of(entry)
        || *entry.urn() != node.urn
        || entry.provider.as_ref().map(|p| &p.urn) != node.provider.as_ref()
        || entry.record.applied != *inputs
}

fn recorded(node: &Node, entry: &Entry) -> Known {
    Known::recorded(&entry.record, Some(node.schema.clone()))
}

fn unmade(node: &Node, inputs: &Value) -> Known {
    let nothing = Value::Map(Map::default());
    let outputs = node.schema.outputs.iter();
    Known {
        id: Value::unknown(&format!("{}.id", node.address)),
        inputs: inputs.clone(),
        resolved: Value::Null,
        outputs: outputs.fold(nothing, |all, output| with_unknown(&all, node, output)),
        schema: Some(node.schema.clone()),
        pending: Some(node.address.clone()),
    }
}

/// The tests' kinds have outputs at the top only.
fn with_unknown(outputs: &Value, node: &Node, output: &Output) -> Value {
    let unknown = Value::unknown(&format!("{}.{}", node.address, output.path));
    let map = outputs.as_map().cloned().unwrap_or_default();
    Value::Map(map.with(&output.path.to_string(), unknown))
}
