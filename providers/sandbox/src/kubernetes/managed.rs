//! Who owns which field: server-side apply, and the bookkeeping of every other write.

use super::failure::Refused;
use super::fields::FieldSet;
use super::json;
use super::resource::Resource;
use super::schema::Type;
use super::typed::{self, What};
use crate::Timestamp;
use serde_json::{Value, json};

/// Who writes, and how.
#[derive(Debug, Clone)]
pub(crate) struct Writer {
    /// Field manager.
    pub name: String,
    /// `status`, `scale` or empty.
    pub subresource: String,
    pub now: Timestamp,
    /// By server-side apply: the object already carries its owners.
    pub applied: bool,
    /// Answer as if, and change nothing.
    pub dry: bool,
}

/// One entry of `managedFields`.
#[derive(Debug, Clone, PartialEq)]
struct Entry {
    manager: String,
    apply: bool,
    api_version: String,
    subresource: String,
    time: String,
    set: FieldSet,
}

impl Entry {
    fn text(&self) -> String {
        let mut text = format!("{:?}", self.manager);
        if !self.subresource.is_empty() {
            text.push_str(&format!(" with subresource {:?}", self.subresource));
        }
        if !self.apply {
            text.push_str(&format!(" using {}", self.api_version));
        }
        text
    }

    fn is(&self, writer: &Writer, apply: bool, api_version: &str) -> bool {
        self.manager == writer.name
            && self.subresource == writer.subresource
            && self.apply == apply
            && (apply || self.api_version == api_version)
    }
}

fn decode(object: &Value) -> Vec<Entry> {
    json::list(object, "/metadata/managedFields")
        .iter()
        .map(|entry| Entry {
            manager: json::text(entry, "/manager").to_owned(),
            apply: entry["operation"] == "Apply",
            api_version: json::text(entry, "/apiVersion").to_owned(),
            subresource: json::text(entry, "/subresource").to_owned(),
            time: json::text(entry, "/time").to_owned(),
            set: FieldSet::parse(&entry["fieldsV1"]),
        })
        .collect()
}

fn encode(object: &mut Value, mut entries: Vec<Entry>) {
    entries.retain(|entry| !entry.set.is_empty());
    entries.sort_by(|a, b| {
        let key = |entry: &Entry| {
            (
                !entry.apply,
                entry.time.clone(),
                entry.manager.clone(),
                entry.subresource.clone(),
            )
        };
        key(a).cmp(&key(b))
    });
    let entries: Vec<Value> = entries
        .into_iter()
        .map(|entry| {
            let mut out = json!({
                "manager": entry.manager, "operation": if entry.apply { "Apply" } else { "Update" },
                "apiVersion": entry.api_version, "time": entry.time, "fieldsType": "FieldsV1", "fieldsV1": entry.set.json(),
            });
            if !entry.subresource.is_empty() {
                out["subresource"] = Value::from(entry.subresource);
            }
            out
        })
        .collect();
    if entries.is_empty() {
        json::remove(object, &["metadata", "managedFields"]);
    } else {
        json::put(object, &["metadata", "managedFields"], Value::Array(entries));
    }
}

/// Fields that nobody owns.
fn strip(set: &mut FieldSet) {
    set.member = false;
    set.without(&["f:apiVersion"]);
    set.without(&["f:kind"]);
    for name in [
        "name",
        "namespace",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "selfLink",
        "uid",
        "generation",
        "managedFields",
        "resourceVersion",
    ] {
        set.without(&["f:metadata", &format!("f:{name}")]);
    }
    if let Some(metadata) = set.below.get_mut("f:metadata") {
        metadata.member = false;
        if metadata.is_empty() {
            set.below.remove("f:metadata");
        }
    }
}

/// Leaves in a set what a request to this place may own.
fn confine(set: &mut FieldSet, resource: &Resource, subresource: &str) {
    strip(set);
    match subresource {
        "" if resource.status => set.without(&["f:status"]),
        "status" => {
            set.only(&["f:status"]);
        }
        "scale" => set.only(&["f:spec", "f:replicas"]),
        _ => {}
    }
}

/// Notes a write that is no apply. `old` is empty for a create.
pub(crate) fn note_update(resource: &Resource, old: Option<&Value>, new: &mut Value, writer: &Writer) {
    // An explicitly empty list clears the ownership, and nothing else.
    let cleared = old.is_some()
        && new["metadata"]["managedFields"]
            .as_array()
            .is_some_and(|list| list.is_empty() || list[..] == [json!({})]);
    let mut entries = match old {
        Some(_) if cleared => {
            json::remove(new, &["metadata", "managedFields"]);
            return;
        }
        Some(old) => decode(old),
        None => Vec::new(),
    };
    let empty = json!({});
    let difference = typed::compare(&resource.ty, Some(old.unwrap_or(&empty)), Some(new));
    let (mut touched, mut removed) = (difference.touched, difference.removed);
    if writer.subresource == "status" {
        touched.only(&["f:status"]);
        removed.only(&["f:status"]);
    }
    strip(&mut touched);
    strip(&mut removed);
    let api_version = resource.api_version();
    let mine = entries
        .iter()
        .position(|entry| entry.is(writer, false, &api_version));
    for (place, entry) in entries.iter_mut().enumerate() {
        entry.set.cut(&removed);
        if Some(place) != mine {
            entry.set.subtract(&touched);
        }
    }
    if !touched.is_empty() {
        let place = mine.unwrap_or_else(|| {
            entries.push(Entry {
                manager: writer.name.clone(),
                apply: false,
                api_version,
                subresource: writer.subresource.clone(),
                time: String::new(),
                set: FieldSet::default(),
            });
            entries.len() - 1
        });
        if let Some(entry) = entries.get_mut(place) {
            let before = entry.set.clone();
            entry.set.union(&touched);
            if entry.set != before || entry.time.is_empty() {
                entry.time = writer.now.rfc3339();
            }
        }
    }
    encode(new, entries);
}

/// Merges an applied object into the live one (`null` when there is none). The result carries the new owners.
pub(crate) fn apply(
    resource: &Resource,
    live: Option<&Value>,
    applied: &Value,
    writer: &Writer,
    force: bool,
) -> Result<Value, Refused> {
    let mut applied = applied.clone();
    check_applied(resource, &applied)?;
    if resource.status {
        match writer.subresource.as_str() {
            "" => {
                json::remove(&mut applied, &["status"]);
            }
            "status" => {
                json::remove(&mut applied, &["spec"]);
            }
            _ => {}
        }
    }
    let ty: &Type = &resource.ty;
    let empty = json!({});
    let live = live.unwrap_or(&empty);
    let mut entries = decode(live);
    let api_version = resource.api_version();
    let mut wanted = typed::fields(ty, &applied, false);
    confine(&mut wanted, resource, &writer.subresource);
    let mut merged = typed::merge(ty, Some(live), &applied);
    let mine = entries
        .iter()
        .position(|entry| entry.is(writer, true, &api_version));
    let last = mine
        .and_then(|place| entries.get(place))
        .map(|entry| entry.set.clone());

    let touched = typed::compare(ty, Some(live), Some(&merged)).touched;
    let mut conflicts = Vec::new();
    for (place, entry) in entries.iter_mut().enumerate() {
        if Some(place) == mine {
            continue;
        }
        let contested = entry.set.intersection(&touched);
        if contested.is_empty() {
            continue;
        }
        if force {
            entry.set.subtract(&contested);
        } else {
            let text = entry.text();
            conflicts.extend(contested.paths().into_iter().map(|path| (text.clone(), path)));
        }
    }
    if !conflicts.is_empty() {
        conflicts.sort();
        return Err(Refused::apply_conflict(&conflicts));
    }
    if let Some(last) = last {
        let mut gone = last;
        gone.subtract(&wanted);
        let mut kept = wanted.clone();
        for (place, entry) in entries.iter().enumerate() {
            if Some(place) != mine {
                kept.union(&entry.set);
            }
        }
        typed::prune(ty, &mut merged, &gone, &kept);
    }
    json::drop_nulls(&mut merged);
    let place = mine.unwrap_or_else(|| {
        entries.push(Entry {
            manager: writer.name.clone(),
            apply: true,
            api_version: api_version.clone(),
            subresource: writer.subresource.clone(),
            time: String::new(),
            set: FieldSet::default(),
        });
        entries.len() - 1
    });
    if let Some(entry) = entries.get_mut(place) {
        if entry.set != wanted || entry.api_version != api_version || entry.time.is_empty() {
            entry.time = writer.now.rfc3339();
        }
        entry.set = wanted;
        entry.api_version = api_version;
    }
    encode(&mut merged, entries);
    Ok(merged)
}

/// What the server finds wrong with an applied object before it merges.
fn check_applied(resource: &Resource, applied: &Value) -> Result<(), Refused> {
    if !json::list(applied, "/metadata/managedFields").is_empty() {
        return Err(Refused::bad("metadata.managedFields must be nil"));
    }
    let mistakes: Vec<String> = typed::check(&resource.ty, applied)
        .into_iter()
        .filter_map(|mistake| {
            let path = mistake.typed_path;
            match mistake.what {
                What::Unknown if resource.custom => None,
                What::Unknown => Some(format!("{path}: field not declared in schema")),
                What::Mistyped { typed, got, .. } => Some(format!("{path}: expected {typed}, got {got}")),
                What::Keys(why) => Some(format!("{path}: {why}")),
                What::Missing => None,
            }
        })
        .collect();
    if mistakes.is_empty() {
        return Ok(());
    }
    let name = json::text(applied, "/metadata/name");
    let namespace = json::text(applied, "/metadata/namespace");
    let what = if namespace.is_empty() {
        format!("/{name}")
    } else {
        format!("{namespace}/{name}")
    };
    let text = match &mistakes[..] {
        [one] => one.clone(),
        many => format!("errors:\n  {}", many.join("\n  ")),
    };
    Err(Refused::plain(format!(
        "failed to create typed patch object ({what}; {}, Kind={}): {text}",
        resource.api_version(),
        resource.kind
    )))
}
