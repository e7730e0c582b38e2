//! OpenAPI documents: no prose, and only what clients read of them. `kubectl` asks whether PATCH takes
//! `fieldValidation`, and how lists merge.

use super::failure::respond;
use super::resource::Resource;
use super::schema::{Listing, Type};
use bytes::Bytes;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Nothing but a valid document: clients that still ask for version 2 fall back on what they know.
pub(crate) fn v2() -> http::Response<Bytes> {
    respond(
        200,
        &json!({"swagger": "2.0", "info": {"title": "Kubernetes", "version": "v1"}, "paths": {}, "definitions": {}}),
    )
}

/// The document of one group and version.
pub(crate) fn v3(kinds: &[Arc<Resource>], group: &str, version: &str) -> Value {
    let (mut paths, mut schemas) = (Map::new(), Map::new());
    for kind in kinds
        .iter()
        .filter(|kind| kind.group == group && kind.version == version)
    {
        let root = if group.is_empty() {
            format!("/api/{version}")
        } else {
            format!("/apis/{group}/{version}")
        };
        let base = if kind.namespaced {
            format!("{root}/namespaces/{{namespace}}/{}", kind.plural)
        } else {
            format!("{root}/{}", kind.plural)
        };
        let gvk = json!({"group": group, "version": version, "kind": kind.kind});
        let parameters: Vec<Value> = ["dryRun", "fieldManager", "fieldValidation"]
            .into_iter()
            .chain(["force"])
            .map(|name| json!({"name": name, "in": "query", "schema": {"type": "string"}}))
            .collect();
        let operation = |action: &str| {
            json!({"parameters": parameters, "responses": {}, "x-kubernetes-action": action,
                "x-kubernetes-group-version-kind": gvk})
        };
        paths.insert(
            format!("{base}/{{name}}"),
            json!({"patch": operation("patch"), "put": operation("put")}),
        );
        paths.insert(base, json!({"post": operation("post")}));
        let name = format!(
            "{}.{version}.{}",
            if group.is_empty() {
                "io.k8s.api.core"
            } else {
                group
            },
            kind.kind
        );
        let mut schema = describe(&kind.ty, &mut schemas);
        if let Some(reference) = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
            schema = schemas.get(reference).cloned().unwrap_or_default();
        }
        schema["x-kubernetes-group-version-kind"] = json!([gvk]);
        schemas.insert(name, schema);
    }
    json!({"openapi": "3.0.0", "info": {"title": "Kubernetes", "version": "unversioned"}, "paths": paths,
        "components": {"schemas": schemas}})
}

fn describe(ty: &Type, schemas: &mut Map<String, Value>) -> Value {
    match ty {
        Type::Any => json!({"type": "object"}),
        Type::Text => json!({"type": "string"}),
        Type::Choice(values) => json!({"type": "string", "enum": values}),
        Type::Integer => json!({"type": "integer"}),
        Type::Number => json!({"type": "number"}),
        Type::Boolean => json!({"type": "boolean"}),
        Type::Bytes => json!({"type": "string", "format": "byte"}),
        Type::Quantity => json!({"type": "string"}),
        Type::IntOrText => json!({"type": "string", "format": "int-or-string"}),
        Type::List(item, listing) => {
            let mut list = json!({"type": "array", "items": describe(item, schemas)});
            match listing {
                Listing::Atomic => list["x-kubernetes-list-type"] = Value::from("atomic"),
                Listing::Set => list["x-kubernetes-list-type"] = Value::from("set"),
                Listing::Keyed(keys) => {
                    list["x-kubernetes-list-type"] = Value::from("map");
                    list["x-kubernetes-list-map-keys"] = json!(keys);
                    list["x-kubernetes-patch-strategy"] = Value::from("merge");
                    list["x-kubernetes-patch-merge-key"] = json!(keys.first());
                }
            }
            list
        }
        Type::Map(item, _) => json!({"type": "object", "additionalProperties": describe(item, schemas)}),
        Type::Named(name) => {
            if !schemas.contains_key(name) {
                schemas.insert(name.clone(), Value::Null);
                let schema = properties(ty, schemas);
                schemas.insert(name.clone(), schema);
            }
            json!({"$ref": format!("#/components/schemas/{name}")})
        }
        Type::Object(_) => properties(ty, schemas),
    }
}

fn properties(ty: &Type, schemas: &mut Map<String, Value>) -> Value {
    let (mut fields, mut required) = (Map::new(), Vec::new());
    for (name, field) in ty.object().into_iter().flat_map(|object| &object.fields) {
        fields.insert(name.clone(), describe(&field.ty, schemas));
        if field.required {
            required.push(name.as_str());
        }
    }
    let mut schema = json!({"type": "object", "properties": fields});
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}
