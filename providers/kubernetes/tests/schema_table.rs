//! Makes `src/schema/table.txt` of the real server's OpenAPI documents, and checks that it is what the crate carries.
//!
//! ```text
//! EPID_KUBECONFIG=$(tests/kube-lab/up.sh) cargo test -p epid-kubernetes --test schema_table -- --ignored
//! ```
//!
//! With `EPID_UPDATE=1` the file is written instead of compared. The grammar stands in `src/schema/table.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::Value;

const TABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/schema/table.txt");
const REF: &str = "#/components/schemas/";
/// Left out of the groups: requests that are answered and not kept, and what only the cluster's own parts write.
const SKIPPED: [&str; 2] = ["authentication.k8s.io", "authorization.k8s.io"];
/// Fields of every object's metadata that only the server writes.
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

#[tokio::test]
#[ignore = "needs a control plane: EPID_KUBECONFIG"]
#[expect(
    clippy::disallowed_methods,
    reason = "the file is made here, of a server named by the environment"
)]
async fn the_table_is_that_of_the_real_server() {
    let path =
        std::env::var("EPID_KUBECONFIG").expect("EPID_KUBECONFIG names the kubeconfig of a control plane");
    let config = Kubeconfig::read_from(path).expect("the kubeconfig can be read");
    let config = kube::Config::from_custom_kubeconfig(config, &KubeConfigOptions::default())
        .await
        .expect("the kubeconfig is complete");
    let client = kube::Client::try_from(config).expect("the kubeconfig gives a client");
    let made = table(&documents(&client).await);
    if std::env::var_os("EPID_UPDATE").is_some() {
        std::fs::write(TABLE, &made).expect("the table can be written");
    }
    let carried = std::fs::read_to_string(TABLE).expect("the table can be read");
    if let Some((line, (carried, made))) = carried
        .lines()
        .zip(made.lines())
        .enumerate()
        .find(|(_, (carried, made))| carried != made)
    {
        panic!(
            "line {} of the table is `{carried}`, of the server `{made}`; EPID_UPDATE=1 writes it anew",
            line + 1
        );
    }
    assert_eq!(
        carried.len(),
        made.len(),
        "the table ends elsewhere; EPID_UPDATE=1 writes it anew"
    );
}

async fn get(client: &kube::Client, path: &str) -> Value {
    let request = http::Request::get(path)
        .body(Vec::new())
        .expect("a path makes a request");
    client
        .request(request)
        .await
        .unwrap_or_else(|error| panic!("{path}: {error}"))
}

async fn documents(client: &kube::Client) -> Vec<Value> {
    let index = get(client, "/openapi/v3").await;
    let mut documents = Vec::new();
    for path in index["paths"].as_object().expect("an index of paths").keys() {
        let version = match path.split('/').collect::<Vec<_>>()[..] {
            ["api", "v1"] => true,
            ["apis", group, _] => !SKIPPED.contains(&group),
            _ => false,
        };
        if version {
            documents.push(get(client, &format!("/openapi/v3/{path}")).await);
        }
    }
    documents
}

fn table(documents: &[Value]) -> String {
    let mut types: BTreeMap<&str, &Value> = BTreeMap::new();
    let mut kinds: BTreeSet<(String, String, String, char, &str)> = BTreeSet::new();
    for document in documents {
        let schemas = document["components"]["schemas"].as_object().expect("schemas");
        types.extend(schemas.iter().map(|(name, schema)| (name.as_str(), schema)));
        kinds.extend(
            document["paths"]
                .as_object()
                .expect("paths")
                .iter()
                .filter_map(|(path, of)| kind(path, of)),
        );
    }
    let mut last: BTreeMap<&str, usize> = BTreeMap::new();
    for name in types.keys() {
        *last.entry(name.rsplit('.').next().unwrap_or(name)).or_default() += 1;
    }
    let names: BTreeMap<&str, String> = types
        .keys()
        .map(|name| {
            let short = name.rsplit('.').next().unwrap_or(name);
            let mut parts: Vec<&str> = name.rsplitn(4, '.').take(3).collect();
            parts.reverse();
            (
                *name,
                if last[short] == 1 {
                    short.to_owned()
                } else {
                    parts.join(".")
                },
            )
        })
        .collect();
    let writer = Writer {
        types: &types,
        names: &names,
    };

    let mut text = String::from(
        "# Made by tests/schema_table.rs from the OpenAPI documents of Kubernetes 1.36; the grammar stands in table.rs.\n",
    );
    let mut open: Vec<&str> = Vec::new();
    for (version, kind, plural, scope, name) in &kinds {
        let short = &names[name];
        let named = if short == kind {
            String::new()
        } else {
            format!(" {short}")
        };
        writeln!(text, "+{version} {kind} {plural} {scope}{named}").expect("text grows");
        open.push(name);
    }
    let mut written: BTreeMap<&str, String> = BTreeMap::new();
    let roots: BTreeSet<&str> = open.iter().copied().collect();
    while let Some(name) = open.pop() {
        let short = names[name].as_str();
        if written.contains_key(short) {
            continue;
        }
        let mut block = format!("{short}\n");
        let schema = types[name];
        let required: Vec<&str> = schema["required"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        for (field, of) in schema["properties"].as_object().into_iter().flatten() {
            let skipped = if short == "ObjectMeta" {
                SERVER_METADATA.contains(&field.as_str())
            } else {
                roots.contains(name) && ["apiVersion", "kind", "status"].contains(&field.as_str())
            };
            if skipped {
                continue;
            }
            let bang = if required.contains(&field.as_str()) {
                "!"
            } else {
                ""
            };
            let default = match &of["default"] {
                Value::String(text) if !text.is_empty() && !text.contains(' ') => format!(" ={text}"),
                Value::Bool(true) => " =true".to_owned(),
                Value::Number(number) if number.as_i64() != Some(0) => format!(" ={number}"),
                _ => String::new(),
            };
            writeln!(block, " {field}{bang} {}{default}", writer.ty(of, &mut open)).expect("text grows");
        }
        written.insert(short, block);
    }
    text.extend(written.into_values());
    text
}

/// The kind served at a path of the form `.../PLURAL/{name}` that can be applied.
fn kind<'a>(path: &str, of: &'a Value) -> Option<(String, String, String, char, &'a str)> {
    let patch = &of["patch"];
    let steps: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let scope = match steps[..] {
        ["api", "v1", _, "{name}"] | ["apis", _, _, _, "{name}"] => 'c',
        ["api", "v1", "namespaces", _, _, "{name}"] | ["apis", _, _, "namespaces", _, _, "{name}"] => 'n',
        _ => return None,
    };
    let gvk = &patch["x-kubernetes-group-version-kind"];
    let (group, version) = (gvk["group"].as_str()?, gvk["version"].as_str()?);
    let api_version = if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    };
    let schema = patch["responses"]["200"]["content"]["application/json"]["schema"]["$ref"].as_str()?;
    let plural = steps.get(steps.len() - 2)?;
    Some((
        api_version,
        gvk["kind"].as_str()?.to_owned(),
        (*plural).to_owned(),
        scope,
        schema.strip_prefix(REF)?,
    ))
}

struct Writer<'a> {
    types: &'a BTreeMap<&'a str, &'a Value>,
    names: &'a BTreeMap<&'a str, String>,
}

impl<'a> Writer<'a> {
    fn ty(&self, schema: &'a Value, open: &mut Vec<&'a str>) -> String {
        let reference = schema["$ref"]
            .as_str()
            .or_else(|| schema["allOf"][0]["$ref"].as_str());
        if let Some(name) = reference.and_then(|r| r.strip_prefix(REF)) {
            return self.named(name, open);
        }
        match schema["type"].as_str() {
            Some("array") => {
                let item = self.ty(&schema["items"], open);
                let keys = schema["x-kubernetes-list-map-keys"].as_array();
                match (schema["x-kubernetes-list-type"].as_str(), keys) {
                    (Some("map"), Some(keys)) => {
                        let keys: Vec<&str> = keys.iter().filter_map(Value::as_str).collect();
                        format!("[{}]{item}", keys.join(","))
                    }
                    (Some("set"), _) => format!("[=]{item}"),
                    _ => format!("[]{item}"),
                }
            }
            Some("object") => match schema.get("additionalProperties") {
                Some(Value::Object(_)) => format!("{{}}{}", self.ty(&schema["additionalProperties"], open)),
                _ => "*".to_owned(),
            },
            Some("string") => match (schema["format"].as_str(), schema["enum"].as_array()) {
                (Some("byte"), _) => "B".to_owned(),
                (Some("int-or-string"), _) => "x".to_owned(),
                (_, Some(values)) => {
                    let values: Vec<&str> = values
                        .iter()
                        .filter_map(Value::as_str)
                        .filter(|v| !v.is_empty())
                        .collect();
                    format!("|{}", values.join("|"))
                }
                _ => "s".to_owned(),
            },
            Some("integer") => "i".to_owned(),
            Some("number") => "n".to_owned(),
            Some("boolean") => "b".to_owned(),
            _ => "*".to_owned(),
        }
    }

    /// A type that is a plain text or number in manifests is written as such.
    fn named(&self, name: &'a str, open: &mut Vec<&'a str>) -> String {
        let schema = self.types[name];
        match name.rsplit('.').next() {
            Some("Quantity") => "q".to_owned(),
            Some("IntOrString") => "x".to_owned(),
            Some("JSONSchemaProps") => "*".to_owned(),
            _ if schema["properties"].is_object() => {
                open.push(name);
                format!("@{}", self.names[name])
            }
            _ => self.ty(schema, open),
        }
    }
}
