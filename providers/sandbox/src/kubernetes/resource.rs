//! The kinds that are served: the built-in ones, and those of established CustomResourceDefinitions.

use super::json::{list, text};
use super::schema::{self, Type};
use super::store::{Id, Store};
use serde_json::Value;
use std::sync::{Arc, OnceLock};

/// One kind at one version.
#[derive(Debug, Clone)]
pub(crate) struct Resource {
    pub group: String,
    pub version: String,
    pub kind: String,
    pub plural: String,
    pub singular: String,
    pub short: Vec<String>,
    pub categories: Vec<String>,
    pub namespaced: bool,
    /// Has a subresource `status`.
    pub status: bool,
    /// Has a subresource `scale`.
    pub scale: bool,
    pub ty: Type,
    /// Defined by a CustomResourceDefinition.
    pub custom: bool,
    /// `additionalPrinterColumns` of a custom kind.
    pub columns: Vec<Value>,
}

impl Resource {
    pub(crate) fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.clone()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// Key of one object of the kind.
    pub(crate) fn id(&self, namespace: &str, name: &str) -> Id {
        Id::new(&self.group, &self.plural, namespace, name)
    }
}

/// Plurals with their short names.
const SHORT: [(&str, &str); 26] = [
    ("componentstatuses", "cs"),
    ("configmaps", "cm"),
    ("endpoints", "ep"),
    ("events", "ev"),
    ("limitranges", "limits"),
    ("namespaces", "ns"),
    ("nodes", "no"),
    ("persistentvolumeclaims", "pvc"),
    ("persistentvolumes", "pv"),
    ("pods", "po"),
    ("replicationcontrollers", "rc"),
    ("resourcequotas", "quota"),
    ("serviceaccounts", "sa"),
    ("services", "svc"),
    ("customresourcedefinitions", "crd crds"),
    ("daemonsets", "ds"),
    ("deployments", "deploy"),
    ("replicasets", "rs"),
    ("statefulsets", "sts"),
    ("horizontalpodautoscalers", "hpa"),
    ("cronjobs", "cj"),
    ("certificatesigningrequests", "csr"),
    ("ingresses", "ing"),
    ("networkpolicies", "netpol"),
    ("poddisruptionbudgets", "pdb"),
    ("storageclasses", "sc"),
];
/// What `kubectl get all` shows.
const ALL: [&str; 10] = [
    "cronjobs",
    "daemonsets",
    "deployments",
    "horizontalpodautoscalers",
    "jobs",
    "pods",
    "replicasets",
    "replicationcontrollers",
    "services",
    "statefulsets",
];
/// Kinds of the table with a status.
const STATUS: [&str; 26] = [
    "apiservices",
    "certificatesigningrequests",
    "cronjobs",
    "customresourcedefinitions",
    "daemonsets",
    "deployments",
    "flowschemas",
    "horizontalpodautoscalers",
    "ingresses",
    "jobs",
    "namespaces",
    "nodes",
    "persistentvolumeclaims",
    "persistentvolumes",
    "poddisruptionbudgets",
    "pods",
    "prioritylevelconfigurations",
    "replicasets",
    "replicationcontrollers",
    "resourceclaims",
    "resourcequotas",
    "servicecidrs",
    "services",
    "statefulsets",
    "validatingadmissionpolicies",
    "volumeattachments",
];
const SCALE: [&str; 4] = [
    "deployments",
    "replicasets",
    "replicationcontrollers",
    "statefulsets",
];

/// The built-in kinds.
pub(crate) fn builtin() -> &'static [Arc<Resource>] {
    static KINDS: OnceLock<Vec<Arc<Resource>>> = OnceLock::new();
    KINDS.get_or_init(|| {
        schema::table()
            .kinds
            .iter()
            .map(|kind| {
                let (group, version) = split(&kind.api_version);
                let plural = kind.plural.as_str();
                let short = SHORT
                    .iter()
                    .find(|(name, _)| *name == plural)
                    .map_or("", |(_, short)| short);
                let categories: &[&str] = match plural {
                    plural if ALL.contains(&plural) => &["all"],
                    "customresourcedefinitions" | "apiservices" => &["api-extensions"],
                    _ => &[],
                };
                Arc::new(Resource {
                    group: group.to_owned(),
                    version: version.to_owned(),
                    kind: kind.kind.clone(),
                    plural: plural.to_owned(),
                    singular: kind.kind.to_lowercase(),
                    short: short.split_whitespace().map(str::to_owned).collect(),
                    categories: categories.iter().map(|name| (*name).to_owned()).collect(),
                    namespaced: kind.namespaced,
                    status: STATUS.contains(&plural),
                    scale: SCALE.contains(&plural),
                    ty: Type::Named(kind.object.clone()),
                    custom: false,
                    columns: Vec::new(),
                })
            })
            .collect()
    })
}

/// Group and version of an `apiVersion`.
pub(crate) fn split(api_version: &str) -> (&str, &str) {
    api_version.split_once('/').unwrap_or(("", api_version))
}

/// The kind served at a path.
pub(crate) fn find(store: &Store, group: &str, version: &str, plural: &str) -> Option<Arc<Resource>> {
    let matches = |resource: &&Arc<Resource>| {
        resource.group == group && resource.version == version && resource.plural == plural
    };
    if let Some(resource) = builtin().iter().find(matches) {
        return Some(Arc::clone(resource));
    }
    let definition = store.get(&definition_id(&format!("{plural}.{group}")))?;
    of_definition(definition)
        .into_iter()
        .map(Arc::new)
        .find(|resource| matches(&resource))
}

/// The kind that an object says to be.
pub(crate) fn by_kind(store: &Store, api_version: &str, kind: &str) -> Option<Arc<Resource>> {
    let (group, version) = split(api_version);
    served(store)
        .into_iter()
        .find(|resource| resource.group == group && resource.version == version && resource.kind == kind)
}

/// The first version of a stored kind.
pub(crate) fn by_id(store: &Store, id: &Id) -> Option<Arc<Resource>> {
    let matches = |resource: &&Arc<Resource>| resource.group == id.group && resource.plural == id.plural;
    if let Some(resource) = builtin().iter().find(matches) {
        return Some(Arc::clone(resource));
    }
    let definition = store.get(&definition_id(&format!("{}.{}", id.plural, id.group)))?;
    of_definition(definition).into_iter().map(Arc::new).next()
}

/// Every kind that is served now.
pub(crate) fn served(store: &Store) -> Vec<Arc<Resource>> {
    let custom = store
        .list("apiextensions.k8s.io", "customresourcedefinitions", None)
        .flat_map(|(_, definition)| of_definition(definition))
        .map(Arc::new);
    builtin().iter().cloned().chain(custom).collect()
}

/// The key of a CustomResourceDefinition.
pub(crate) fn definition_id(name: &str) -> Id {
    Id::new("apiextensions.k8s.io", "customresourcedefinitions", "", name)
}

/// Whether a condition of an object is `True`.
pub(crate) fn condition(object: &Value, kind: &str) -> bool {
    list(object, "/status/conditions")
        .iter()
        .any(|condition| condition["type"] == kind && condition["status"] == "True")
}

fn of_definition(definition: &Value) -> Vec<Resource> {
    if !condition(definition, "Established") {
        return Vec::new();
    }
    let names = &definition["spec"]["names"];
    let words = |field: &str| -> Vec<String> {
        names[field]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect()
    };
    list(definition, "/spec/versions")
        .iter()
        .filter(|version| version["served"] == true)
        .map(|version| Resource {
            group: text(definition, "/spec/group").to_owned(),
            version: text(version, "/name").to_owned(),
            kind: text(names, "/kind").to_owned(),
            plural: text(names, "/plural").to_owned(),
            singular: text(names, "/singular").to_owned(),
            short: words("shortNames"),
            categories: words("categories"),
            namespaced: definition["spec"]["scope"] == "Namespaced",
            status: version["subresources"]["status"].is_object(),
            scale: false,
            ty: schema::of_definition(&version["schema"]["openAPIV3Schema"]),
            custom: true,
            columns: list(version, "/additionalPrinterColumns").to_vec(),
        })
        .collect()
}
