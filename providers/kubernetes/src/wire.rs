//! Properties to manifests that can be applied, and live objects to properties and outputs.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use epid_provider::{Call, Kind, Owner, Path, Resolved, Segment, Urn, Value};
use serde_json::{Map, Value as Json, json};

use crate::name::{LINEAGE, Place, TOKEN, URN};
use crate::schema;

/// Metadata that only the server writes.
const SERVER_METADATA: [&str; 8] = [
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "generation",
    "managedFields",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// The manifest that an apply sends: the inputs in clear, named, with the annotations of their owner.
pub(crate) fn manifest(kind: &Kind, api_version: &str, place: &Place, inputs: &Resolved, cx: &Call) -> Json {
    let mut object = match to_json(&inputs.reveal()) {
        Json::Object(map) => map,
        _ => Map::new(),
    };
    object.insert("apiVersion".to_owned(), json!(api_version));
    object.insert("kind".to_owned(), json!(kind.name()));
    if is_secret(kind) {
        fold_string_data(&mut object);
    }
    let metadata = entry(&mut object, "metadata");
    metadata.insert("name".to_owned(), json!(place.name));
    if let Some(namespace) = &place.namespace {
        metadata.insert("namespace".to_owned(), json!(namespace));
    }
    let annotations = entry(metadata, "annotations");
    annotations.insert(LINEAGE.to_owned(), json!(cx.lineage));
    annotations.insert(URN.to_owned(), json!(cx.urn.as_str()));
    annotations.insert(TOKEN.to_owned(), json!(cx.token.as_str()));
    Json::Object(object)
}

/// The map at a key, made where there is none.
fn entry<'a>(object: &'a mut Map<String, Json>, key: &str) -> &'a mut Map<String, Json> {
    let slot = object.entry(key.to_owned()).or_insert(Json::Null);
    if !slot.is_object() {
        *slot = Json::Object(Map::new());
    }
    match slot {
        Json::Object(map) => map,
        _ => unreachable!("it was just made a map"),
    }
}

fn is_secret(kind: &Kind) -> bool {
    kind.module() == "v1" && kind.name() == "Secret"
}

/// Sends `stringData` as `data`: the server would do the same, but keep a field owner of something that is not there.
fn fold_string_data(object: &mut Map<String, Json>) {
    if let Some(Json::Object(clear)) = object.remove("stringData") {
        let data = entry(object, "data");
        for (key, value) in clear {
            if let Json::String(text) = value {
                data.insert(key, json!(STANDARD.encode(text)));
            }
        }
    }
}

/// A value in which everything is known and in clear as JSON; nulls in maps are left out.
pub(crate) fn to_json(value: &Value) -> Json {
    match value {
        Value::Bool(b) => json!(b),
        Value::Int(n) => json!(n),
        Value::Float(n) => json!(n),
        Value::Str(text) => json!(text),
        Value::List(items) => items.iter().map(to_json).collect(),
        Value::Map(map) => map
            .iter()
            .filter(|(_, v)| !v.is_null())
            .map(|(k, v)| (k.to_string(), to_json(v)))
            .collect(),
        Value::Null | Value::Unknown(_) | Value::Secret(_) | Value::Opaque(_) => Json::Null,
    }
}

/// JSON as a value.
pub(crate) fn from_json(json: &Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(b) => Value::Bool(*b),
        Json::Number(n) => n
            .as_i64()
            .map_or_else(|| Value::Float(n.as_f64().unwrap_or_default()), Value::Int),
        Json::String(text) => Value::str(text),
        Json::Array(items) => Value::list(items.iter().map(from_json)),
        Json::Object(map) => Value::map(map.iter().map(|(k, v)| (k.as_str(), from_json(v)))),
    }
}

/// A live object in the shape of declared properties.
pub(crate) fn properties(kind: &Kind, live: &Json) -> Value {
    let mut object = live.as_object().cloned().unwrap_or_default();
    for key in ["apiVersion", "kind", "status"] {
        object.remove(key);
    }
    if let Some(Json::Object(metadata)) = object.get_mut("metadata") {
        for key in SERVER_METADATA {
            metadata.remove(key);
        }
        if let Some(Json::Object(annotations)) = metadata.get_mut("annotations") {
            for key in [LINEAGE, URN, TOKEN] {
                annotations.remove(key);
            }
            if annotations.is_empty() {
                metadata.remove("annotations");
            }
        }
    }
    let value = from_json(&Json::Object(object));
    match schema::schema(kind) {
        Some(schema) => schema.mark_inputs(&value),
        None => value,
    }
}

/// What an object gives to others: its identity, its status, and of a Service its addresses and ports.
pub(crate) fn outputs(kind: &Kind, live: &Json) -> Value {
    let metadata = ["name", "namespace", "uid"]
        .into_iter()
        .filter(|key| live["metadata"][*key].is_string())
        .map(|key| (key, from_json(&live["metadata"][key])));
    let mut outputs = vec![("metadata", Value::map(metadata))];
    if let status @ Json::Object(_) = &live["status"] {
        outputs.push(("status", from_json(status)));
    }
    if kind.module() == "v1" && kind.name() == "Service" {
        let spec = ["clusterIP", "clusterIPs", "ports"]
            .into_iter()
            .filter(|key| !live["spec"][*key].is_null())
            .map(|key| (key, from_json(&live["spec"][key])));
        outputs.push(("spec", Value::map(spec)));
    }
    Value::map(outputs)
}

/// Who owns an object by its annotations.
pub(crate) fn owner(live: &Json) -> Option<Owner> {
    let annotation = |key: &str| live["metadata"]["annotations"][key].as_str();
    Some(Owner {
        lineage: Arc::from(annotation(LINEAGE)?),
        urn: annotation(URN).and_then(|urn| Urn::parse(urn).ok()),
    })
}

/// The text at `metadata.KEY`; empty where there is none.
pub(crate) fn metadata<'a>(live: &'a Json, key: &str) -> &'a str {
    live["metadata"][key].as_str().unwrap_or_default()
}

/// The path of a field as server-side apply spells it, such as `.spec.containers[name="web"].image`, found in a
/// manifest; `None` where the manifest has no such field. The walk goes by the manifest's own keys, which may hold dots.
pub(crate) fn field_path(manifest: &Json, field: &str) -> Option<Path> {
    let mut segments = Vec::new();
    find(manifest, field, &mut segments).map(|()| segments.into_iter().collect())
}

fn find(json: &Json, rest: &str, path: &mut Vec<Segment>) -> Option<()> {
    if rest.is_empty() {
        return Some(());
    }
    if let (Json::Object(map), Some(rest)) = (json, rest.strip_prefix('.')) {
        return map.iter().find_map(|(key, inner)| {
            let after = rest.strip_prefix(key.as_str())?;
            if !(after.is_empty() || after.starts_with(['.', '['])) {
                return None;
            }
            path.push(Segment::Key(Arc::from(key.as_str())));
            let found = find(inner, after, path);
            if found.is_none() {
                path.pop();
            }
            found
        });
    }
    if let (Json::Array(items), Some((keys, rest))) =
        (json, rest.strip_prefix('[').and_then(|r| r.split_once(']')))
    {
        let (at, item) = items
            .iter()
            .enumerate()
            .find(|(_, item)| is_element(item, keys))?;
        let names: Vec<String> = parts(keys)
            .map(|(_, value)| value.trim_matches('"').to_owned())
            .collect();
        path.push(match item {
            Json::Object(_) => Segment::Element(Arc::from(names.join("/"))),
            _ => Segment::Index(at),
        });
        return find(item, rest, path);
    }
    None
}

fn parts(keys: &str) -> impl Iterator<Item = (&str, &str)> {
    keys.split(',').filter_map(|part| part.split_once('='))
}

fn is_element(item: &Json, keys: &str) -> bool {
    match item {
        Json::Object(map) => {
            keys.contains('=')
                && parts(keys).all(|(key, value)| {
                    // A part that the manifest leaves to its default matches any.
                    map.get(key).is_none_or(|given| means(given, value))
                })
        }
        item => means(item, keys.trim_start_matches('=')),
    }
}

/// True where JSON text is that value.
fn means(value: &Json, text: &str) -> bool {
    serde_json::from_str::<Json>(text).is_ok_and(|told| told == *value)
}

/// Takes a field, found by [`field_path`]'s spelling, out of a manifest.
pub(crate) fn remove_field(manifest: &mut Json, field: &str) {
    if let (Json::Object(map), Some(rest)) = (&mut *manifest, field.strip_prefix('.')) {
        let keys: Vec<String> = map.keys().cloned().collect();
        for key in keys {
            match rest.strip_prefix(key.as_str()) {
                Some("") => drop(map.remove(&key)),
                Some(after) if after.starts_with(['.', '[']) => {
                    if let Some(inner) = map.get_mut(&key) {
                        remove_field(inner, after);
                    }
                }
                _ => {}
            }
        }
    } else if let (Json::Array(items), Some((keys, rest))) = (
        &mut *manifest,
        field.strip_prefix('[').and_then(|r| r.split_once(']')),
    ) {
        if rest.is_empty() {
            items.retain(|item| !is_element(item, keys));
        } else {
            items
                .iter_mut()
                .filter(|item| is_element(item, keys))
                .for_each(|item| remove_field(item, rest));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(text: &str) -> Kind {
        Kind::parse(text).unwrap()
    }

    #[test]
    fn fields_are_found_and_removed_by_the_servers_spelling() {
        let mut manifest = json!({
            "metadata": {"annotations": {"epid.dev/lineage": "x", "a.b": "1"}},
            "spec": {"replicas": 2, "ports": [{"port": 80}], "containers": [{"name": "web", "image": "i"}]}
        });
        for (field, path) in [
            (".spec.replicas", "spec.replicas"),
            (
                ".spec.containers[name=\"web\"].image",
                "spec.containers[web].image",
            ),
            (
                ".spec.ports[port=80,protocol=\"TCP\"].port",
                "spec.ports[80/TCP].port",
            ),
            (
                ".metadata.annotations.epid.dev/lineage",
                r#"metadata.annotations["epid.dev/lineage"]"#,
            ),
        ] {
            assert_eq!(field_path(&manifest, field).unwrap().to_string(), path);
            remove_field(&mut manifest, field);
            assert_eq!(field_path(&manifest, field), None, "{field}");
        }
        assert_eq!(manifest["metadata"]["annotations"], json!({"a.b": "1"}));
        assert_eq!(field_path(&manifest, ".spec.absent"), None);
    }

    #[test]
    fn string_data_goes_as_data() {
        let mut object = json!({"data": {"a": "eA=="}, "stringData": {"b": "y"}})
            .as_object()
            .unwrap()
            .clone();
        fold_string_data(&mut object);
        assert_eq!(Json::Object(object), json!({"data": {"a": "eA==", "b": "eQ=="}}));
    }

    #[test]
    fn what_the_server_and_epid_write_is_no_property() {
        let live = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "1"}, "status": {},
            "metadata": {"name": "n", "namespace": "s", "uid": "u", "resourceVersion": "1",
                         "annotations": {LINEAGE: "l", URN: "urn:epid:p:s:kubernetes:core:ConfigMap:c", TOKEN: "t"}}
        });
        let seen = properties(&kind("kubernetes:v1:ConfigMap"), &live);
        assert_eq!(
            seen,
            from_json(&json!({"data": {"a": "1"}, "metadata": {"name": "n", "namespace": "s"}}))
        );
        let owner = owner(&live).unwrap();
        assert_eq!((&*owner.lineage, owner.urn.unwrap().path()), ("l", "c"));
        let outputs = outputs(&kind("kubernetes:v1:ConfigMap"), &live);
        assert_eq!(
            outputs.get("metadata").unwrap().get("uid"),
            Some(&Value::str("u"))
        );
    }
}
