//! Whether an object makes sense.

use super::failure::Cause;
use super::json::{int, list, text, texts};
use super::quantity;
use super::resource::Resource;
use super::schema::Type;
use super::selector::matches_labels;
use super::typed::{self, What};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must \
    start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
    '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and \
    end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
    '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const LABEL_1035: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic \
    character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is \
    '[a-z]([-a-z0-9]*[a-z0-9])?')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must \
    start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is \
    '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const LABEL_KEY: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
    alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
    '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const CONFIG_KEY: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or \
    'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";
const PORT: &str = "must be between 1 and 65535, inclusive";
/// Secrets and ConfigMaps hold at most this many bytes.
const LARGEST: usize = 1 << 20;

fn is_label(text: &str) -> bool {
    let plain = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit();
    text.starts_with(plain)
        && text.ends_with(plain)
        && text.chars().all(|letter| plain(letter) || letter == '-')
}

fn is_subdomain(text: &str) -> bool {
    text.split('.').all(is_label)
}

fn is_word(text: &str) -> bool {
    let plain = |letter: char| letter.is_ascii_alphanumeric();
    text.starts_with(plain)
        && text.ends_with(plain)
        && text.chars().all(|letter| plain(letter) || "-_.".contains(letter))
}

/// Everything wrong with an object.
pub(crate) fn object(resource: &Resource, object: &Value) -> Vec<Cause> {
    let mut causes = metadata(resource, object);
    causes.extend(schema(resource, object));
    if !causes.is_empty() {
        return causes;
    }
    match (resource.group.as_str(), resource.plural.as_str()) {
        ("", "pods") => pod(&object["spec"], "spec", &mut causes),
        ("apps", "deployments" | "replicasets" | "statefulsets" | "daemonsets") => {
            workload(object, &mut causes);
        }
        ("batch", "jobs") => job(&object["spec"], "spec", &mut causes),
        ("batch", "cronjobs") => {
            let fields = text(object, "/spec/schedule").split_whitespace().count();
            if fields != 5 && !text(object, "/spec/schedule").starts_with('@') {
                let why = format!(
                    "expected exactly 5 fields, found {fields}: [{}]",
                    text(object, "/spec/schedule")
                );
                causes.push(Cause::invalid("spec.schedule", &object["spec"]["schedule"], &why));
            }
            job(
                &object["spec"]["jobTemplate"]["spec"],
                "spec.jobTemplate.spec",
                &mut causes,
            );
        }
        ("", "services") => service(object, &mut causes),
        ("networking.k8s.io", "ingresses") => ingress(object, &mut causes),
        ("", "configmaps") => data(object, &["data", "binaryData"], &mut causes),
        ("", "secrets") => {
            data(object, &["data"], &mut causes);
            if object["type"] == "kubernetes.io/tls" {
                for key in ["tls.crt", "tls.key"] {
                    if object["data"].get(key).is_none() {
                        causes.push(Cause::required(format!("data[{key}]"), ""));
                    }
                }
            }
        }
        ("apiextensions.k8s.io", "customresourcedefinitions") => definition(object, &mut causes),
        ("", "persistentvolumeclaims") => {
            if list(object, "/spec/accessModes").is_empty() {
                causes.push(Cause::required(
                    "spec.accessModes",
                    "at least 1 access mode is required",
                ));
            }
            if object["spec"]["resources"]["requests"]["storage"].is_null() {
                causes.push(Cause::required("spec.resources[storage]", ""));
            }
        }
        _ => {}
    }
    causes
}

fn metadata(resource: &Resource, object: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let name = text(object, "/metadata/name");
    let group = resource.group.as_str();
    if name.is_empty() {
        causes.push(Cause::required(
            "metadata.name",
            "name or generateName is required",
        ));
    } else {
        let (good, why, most) = match (group, resource.plural.as_str()) {
            ("", "namespaces") => (is_label(name), LABEL, 63),
            ("", "services") => (
                is_label(name) && name.starts_with(|letter: char| letter.is_ascii_lowercase()),
                LABEL_1035,
                63,
            ),
            ("rbac.authorization.k8s.io", _) => (
                !name.contains(['/', '%']) && name != "." && name != "..",
                "may not contain '/'",
                usize::MAX,
            ),
            _ => (is_subdomain(name), SUBDOMAIN, 253),
        };
        if name.len() > most {
            let why = format!("must be no more than {most} characters");
            causes.push(Cause::invalid("metadata.name", &json!(name), &why));
        } else if !good {
            causes.push(Cause::invalid("metadata.name", &json!(name), why));
        }
    }
    labels(&object["metadata"]["labels"], "metadata.labels", &mut causes);
    let annotations = object["metadata"]["annotations"].as_object();
    let size: usize = annotations
        .into_iter()
        .flatten()
        .map(|(key, value)| key.len() + value.as_str().map_or(0, str::len))
        .sum();
    if size > 256 << 10 {
        causes.push(Cause::invalid(
            "metadata.annotations",
            &json!(""),
            "Too long: may not be more than 262144 bytes",
        ));
    }
    for key in annotations.into_iter().flatten().map(|(key, _)| key) {
        key_of(key, "metadata.annotations", &mut causes);
    }
    for finalizer in list(object, "/metadata/finalizers") {
        let finalizer = finalizer.as_str().unwrap_or_default();
        let known = ["orphan", "foregroundDeletion", "kubernetes"].contains(&finalizer);
        if !known && !finalizer.contains('/') {
            causes.push(Cause::invalid(
                "metadata.finalizers",
                &json!(finalizer),
                "name is neither a standard finalizer name nor is it fully qualified",
            ));
        }
    }
    for (place, owner) in list(object, "/metadata/ownerReferences").iter().enumerate() {
        if text(owner, "/uid").is_empty() {
            causes.push(Cause::invalid(
                format!("metadata.ownerReferences[{place}].uid"),
                &json!(""),
                "must not be empty",
            ));
        }
    }
    causes
}

fn key_of(key: &str, field: &str, causes: &mut Vec<Cause>) {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    if !is_word(name) || name.len() > 63 || prefix.is_some_and(|prefix| !is_subdomain(&prefix.to_lowercase()))
    {
        causes.push(Cause::invalid(field, &json!(key), LABEL_KEY));
    }
}

fn labels(labels: &Value, field: &str, causes: &mut Vec<Cause>) {
    for (key, value) in labels.as_object().into_iter().flatten() {
        key_of(key, field, causes);
        let value = value.as_str().unwrap_or_default();
        if value.len() > 63 {
            causes.push(Cause::invalid(
                field,
                &json!(value),
                "must be no more than 63 bytes",
            ));
        } else if !value.is_empty() && !is_word(value) {
            causes.push(Cause::invalid(field, &json!(value), LABEL_VALUE));
        }
    }
}

/// What the schema itself says: required fields, choices, types of custom objects.
fn schema(resource: &Resource, object: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    for mistake in typed::check(&resource.ty, object) {
        match mistake.what {
            What::Missing if mistake.path == "spec.serviceName" && resource.plural == "statefulsets" => {}
            What::Missing => causes.push(Cause::required(mistake.path, "")),
            What::Mistyped { typed, got, .. } if resource.custom => {
                let expected = match typed {
                    "numeric (int or float)" => "integer",
                    "list" => "array",
                    "map" => "object",
                    other => other,
                };
                let why = format!("{} in body must be of type {expected}: {got:?}", mistake.path);
                causes.push(Cause::invalid(mistake.path, &json!(got), &why));
            }
            _ => {}
        }
    }
    choices(&resource.ty, object, "", &mut causes);
    causes
}

fn choices(ty: &Type, value: &Value, path: &str, causes: &mut Vec<Cause>) {
    match (ty, value) {
        // Resource quotas and others take names with a domain where the schema lists the known ones.
        (Type::Choice(allowed), Value::String(text))
            if !allowed.iter().any(|allowed| allowed == text) && !text.contains('/') && !text.is_empty() =>
        {
            let allowed: Vec<&str> = allowed.iter().map(String::as_str).collect();
            causes.push(Cause::unsupported(path, value, &allowed));
        }
        (Type::Quantity, Value::String(text)) if quantity::milli(text).is_none() => {
            let why =
                "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";
            causes.push(Cause::invalid(path, value, why));
        }
        (Type::List(item, _), Value::Array(items)) => {
            for (place, value) in items.iter().enumerate() {
                choices(item, value, &format!("{path}[{place}]"), causes);
            }
        }
        (Type::Map(item, _), Value::Object(map)) => {
            for (key, value) in map {
                choices(item, value, &format!("{path}[{key}]"), causes);
            }
        }
        (Type::Named(_) | Type::Object(_), Value::Object(map)) => {
            for (key, value) in map {
                let path = if path.is_empty() {
                    key.clone()
                } else {
                    format!("{path}.{key}")
                };
                choices(ty.at(key), value, &path, causes);
            }
        }
        _ => {}
    }
}

fn not_negative(object: &Value, field: &str, causes: &mut Vec<Cause>) {
    let path = format!("/{}", field.replace('.', "/"));
    if let Some(number) = int(object, &path).filter(|number| *number < 0) {
        causes.push(Cause::invalid(
            field,
            &json!(number),
            "must be greater than or equal to 0",
        ));
    }
}

fn workload(object: &Value, causes: &mut Vec<Cause>) {
    for field in [
        "spec.replicas",
        "spec.minReadySeconds",
        "spec.revisionHistoryLimit",
        "spec.progressDeadlineSeconds",
    ] {
        not_negative(object, field, causes);
    }
    let selector = &object["spec"]["selector"];
    let empty = |field: &str| selector[field].as_object().is_none_or(serde_json::Map::is_empty);
    if empty("matchLabels") && list(selector, "/matchExpressions").is_empty() {
        causes.push(Cause::invalid(
            "spec.selector",
            selector,
            "empty selector is invalid for deployment",
        ));
    } else if !matches_labels(selector, &texts(object, "/spec/template/metadata/labels")) {
        causes.push(Cause::invalid(
            "spec.template.metadata.labels",
            &object["spec"]["template"]["metadata"]["labels"],
            "`selector` does not match template `labels`",
        ));
    }
    if object["spec"]["strategy"]["type"] == "Recreate"
        && !object["spec"]["strategy"]["rollingUpdate"].is_null()
    {
        causes.push(Cause::forbidden(
            "spec.strategy.rollingUpdate",
            "may not be specified when strategy `type` is 'Recreate'",
        ));
    }
    template(&object["spec"]["template"], "spec.template", causes);
    let policy = &object["spec"]["template"]["spec"]["restartPolicy"];
    if policy != "Always" {
        causes.push(Cause::unsupported(
            "spec.template.spec.restartPolicy",
            policy,
            &["Always"],
        ));
    }
}

fn template(template: &Value, field: &str, causes: &mut Vec<Cause>) {
    labels(
        &template["metadata"]["labels"],
        &format!("{field}.metadata.labels"),
        causes,
    );
    pod(&template["spec"], &format!("{field}.spec"), causes);
}

fn job(spec: &Value, field: &str, causes: &mut Vec<Cause>) {
    for name in [
        "parallelism",
        "completions",
        "backoffLimit",
        "ttlSecondsAfterFinished",
    ] {
        if let Some(number) = int(spec, &format!("/{name}")).filter(|number| *number < 0) {
            causes.push(Cause::invalid(
                format!("{field}.{name}"),
                &json!(number),
                "must be greater than or equal to 0",
            ));
        }
    }
    template(&spec["template"], &format!("{field}.template"), causes);
    let policy = &spec["template"]["spec"]["restartPolicy"];
    if policy == "Always" {
        causes.push(Cause::unsupported(
            format!("{field}.template.spec.restartPolicy"),
            policy,
            &["OnFailure", "Never"],
        ));
    }
}

fn pod(spec: &Value, field: &str, causes: &mut Vec<Cause>) {
    let containers = list(spec, "/containers");
    if containers.is_empty() {
        causes.push(Cause::required(format!("{field}.containers"), ""));
    }
    let mut volumes = BTreeSet::new();
    for (place, volume) in list(spec, "/volumes").iter().enumerate() {
        let name = text(volume, "/name");
        let at = format!("{field}.volumes[{place}].name");
        if !is_label(name) {
            causes.push(Cause::invalid(at, &json!(name), LABEL));
        } else if !volumes.insert(name) {
            causes.push(Cause::duplicate(at, &json!(name)));
        }
    }
    let mut names = BTreeSet::new();
    for kind in ["initContainers", "containers"] {
        for (place, container) in list(spec, &format!("/{kind}")).iter().enumerate() {
            let at = format!("{field}.{kind}[{place}]");
            let name = text(container, "/name");
            if name.is_empty() {
                causes.push(Cause::required(format!("{at}.name"), ""));
            } else if !is_label(name) || name.len() > 63 {
                causes.push(Cause::invalid(format!("{at}.name"), &json!(name), LABEL));
            } else if !names.insert(name) {
                causes.push(Cause::duplicate(format!("{at}.name"), &json!(name)));
            }
            check_container(container, &at, &volumes, causes);
        }
    }
}

fn check_container(container: &Value, at: &str, volumes: &BTreeSet<&str>, causes: &mut Vec<Cause>) {
    let image = text(container, "/image");
    if image.is_empty() {
        causes.push(Cause::required(format!("{at}.image"), ""));
    } else if image.trim() != image {
        causes.push(Cause::invalid(
            format!("{at}.image"),
            &json!(image),
            "must not have leading or trailing whitespace",
        ));
    }
    for (place, port) in list(container, "/ports").iter().enumerate() {
        if !(1..=65535).contains(&int(port, "/containerPort").unwrap_or(0)) {
            let at = format!("{at}.ports[{place}].containerPort");
            causes.push(Cause::invalid(at, &port["containerPort"], PORT));
        }
    }
    let mut paths = BTreeSet::new();
    for (place, mount) in list(container, "/volumeMounts").iter().enumerate() {
        let (name, path) = (text(mount, "/name"), text(mount, "/mountPath"));
        if !volumes.contains(name) {
            causes.push(Cause::not_found(
                format!("{at}.volumeMounts[{place}].name"),
                &json!(name),
            ));
        }
        if path.is_empty() {
            causes.push(Cause::required(
                format!("{at}.volumeMounts[{place}].mountPath"),
                "",
            ));
        } else if !paths.insert(path) {
            causes.push(Cause::invalid(
                format!("{at}.volumeMounts[{place}].mountPath"),
                &json!(path),
                "must be unique",
            ));
        }
    }
    for (place, variable) in list(container, "/env").iter().enumerate() {
        if text(variable, "/name").is_empty() {
            causes.push(Cause::required(format!("{at}.env[{place}].name"), ""));
        }
        if !text(variable, "/value").is_empty() && variable["valueFrom"].is_object() {
            causes.push(Cause::invalid(
                format!("{at}.env[{place}].valueFrom"),
                &json!(""),
                "may not be specified when `value` is not empty",
            ));
        }
    }
    let limits = &container["resources"]["limits"];
    for (name, request) in container["resources"]["requests"]
        .as_object()
        .into_iter()
        .flatten()
    {
        let (asked, most) = (
            request.as_str().and_then(quantity::milli),
            limits[name].as_str().and_then(quantity::milli),
        );
        if let (Some(asked), Some(most)) = (asked, most)
            && asked > most
        {
            let limit = limits[name].as_str().unwrap_or_default();
            let why = format!("must be less than or equal to {name} limit of {limit}");
            causes.push(Cause::invalid(format!("{at}.resources.requests"), request, &why));
        }
    }
}

fn service(object: &Value, causes: &mut Vec<Cause>) {
    let kind = text(object, "/spec/type");
    let ports = list(object, "/spec/ports");
    let headless = text(object, "/spec/clusterIP") == "None";
    if ports.is_empty() && kind != "ExternalName" && !headless {
        causes.push(Cause::required("spec.ports", ""));
    }
    if kind == "ExternalName" && text(object, "/spec/externalName").is_empty() {
        causes.push(Cause::required("spec.externalName", ""));
    }
    if headless && (kind == "NodePort" || kind == "LoadBalancer") {
        causes.push(Cause::invalid(
            "spec.clusterIPs[0]",
            &json!("None"),
            "may not be set to 'None' for LoadBalancer services",
        ));
    }
    labels(&object["spec"]["selector"], "spec.selector", causes);
    let (mut names, mut seen) = (BTreeSet::new(), BTreeSet::new());
    for (place, port) in ports.iter().enumerate() {
        let at = format!("spec.ports[{place}]");
        let number = int(port, "/port").unwrap_or(0);
        if !(1..=65535).contains(&number) {
            causes.push(Cause::invalid(format!("{at}.port"), &json!(number), PORT));
        }
        if let Some(target) = int(port, "/targetPort").filter(|target| !(1..=65535).contains(target)) {
            causes.push(Cause::invalid(format!("{at}.targetPort"), &json!(target), PORT));
        }
        let name = text(port, "/name");
        if name.is_empty() && ports.len() > 1 {
            causes.push(Cause::required(format!("{at}.name"), ""));
        } else if !name.is_empty() && !is_label(name) {
            causes.push(Cause::invalid(format!("{at}.name"), &json!(name), LABEL));
        } else if !name.is_empty() && !names.insert(name) {
            causes.push(Cause::duplicate(format!("{at}.name"), &json!(name)));
        }
        if !seen.insert((number, text(port, "/protocol"))) {
            let same = json!({"port": number, "protocol": port["protocol"]});
            causes.push(Cause::duplicate(at.clone(), &same));
        }
        if kind == "ClusterIP" && int(port, "/nodePort").is_some_and(|port| port != 0) {
            causes.push(Cause::forbidden(
                format!("{at}.nodePort"),
                "may not be used when `type` is 'ClusterIP'",
            ));
        }
    }
}

fn ingress(object: &Value, causes: &mut Vec<Cause>) {
    if list(object, "/spec/rules").is_empty() && object["spec"]["defaultBackend"].is_null() {
        causes.push(Cause::invalid(
            "spec",
            &object["spec"],
            "either `defaultBackend` or `rules` must be specified",
        ));
    }
    for (place, rule) in list(object, "/spec/rules").iter().enumerate() {
        let host = text(rule, "/host");
        if !host.is_empty() && !is_subdomain(host.strip_prefix("*.").unwrap_or(host)) {
            causes.push(Cause::invalid(
                format!("spec.rules[{place}].host"),
                &json!(host),
                SUBDOMAIN,
            ));
        }
        for (number, path) in list(rule, "/http/paths").iter().enumerate() {
            let at = format!("spec.rules[{place}].http.paths[{number}]");
            let exact = text(path, "/pathType") != "ImplementationSpecific";
            if exact && !text(path, "/path").starts_with('/') {
                causes.push(Cause::invalid(
                    format!("{at}.path"),
                    &path["path"],
                    "must be an absolute path",
                ));
            }
            backend(&path["backend"], &format!("{at}.backend"), causes);
        }
    }
    if object["spec"]["defaultBackend"].is_object() {
        backend(&object["spec"]["defaultBackend"], "spec.defaultBackend", causes);
    }
}

fn backend(backend: &Value, at: &str, causes: &mut Vec<Cause>) {
    let service = &backend["service"];
    if !service.is_object() {
        if !backend["resource"].is_object() {
            causes.push(Cause::required(at, "either service or resource is required"));
        }
        return;
    }
    if text(service, "/name").is_empty() {
        causes.push(Cause::required(format!("{at}.service.name"), ""));
    }
    let port = &service["port"];
    if text(port, "/name").is_empty() && int(port, "/number").is_none_or(|number| number == 0) {
        causes.push(Cause::required(
            format!("{at}.service.port"),
            "port name or number is required",
        ));
    }
}

fn data(object: &Value, fields: &[&str], causes: &mut Vec<Cause>) {
    let mut size = 0;
    for field in fields {
        for (key, value) in object[*field].as_object().into_iter().flatten() {
            let good = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
            if key.is_empty()
                || key.len() > 253
                || !key.chars().all(good)
                || key == "."
                || key.starts_with("..")
            {
                causes.push(Cause::invalid(format!("{field}[{key}]"), &json!(key), CONFIG_KEY));
            }
            let length = value.as_str().map_or(0, str::len);
            size += if *field == "data" && object["kind"] == "ConfigMap" {
                length
            } else {
                length / 4 * 3
            };
        }
    }
    if size > LARGEST {
        causes.push(Cause::invalid(
            "data",
            &json!(""),
            "Too long: may not be more than 1048576 bytes",
        ));
    }
}

fn definition(object: &Value, causes: &mut Vec<Cause>) {
    let (plural, group) = (text(object, "/spec/names/plural"), text(object, "/spec/group"));
    let name = text(object, "/metadata/name");
    if name != format!("{plural}.{group}") {
        causes.push(Cause::invalid(
            "metadata.name",
            &json!(name),
            "must be spec.names.plural+\".\"+spec.group",
        ));
    }
    let protected = group == "k8s.io"
        || group == "kubernetes.io"
        || group.ends_with(".k8s.io")
        || group.ends_with(".kubernetes.io");
    let approval = "api-approved.kubernetes.io";
    if protected && object["metadata"]["annotations"][approval].is_null() {
        causes.push(Cause::required(
            format!("metadata.annotations[{approval}]"),
            "protected groups must have approval annotation \"api-approved.kubernetes.io\", see \
             https://github.com/kubernetes/enhancements/pull/1111",
        ));
    }
    let scope = &object["spec"]["scope"];
    if scope != "Namespaced" && scope != "Cluster" {
        causes.push(Cause::unsupported(
            "spec.scope",
            scope,
            &["Cluster", "Namespaced"],
        ));
    }
    let versions = list(object, "/spec/versions");
    if versions
        .iter()
        .filter(|version| version["storage"] == true)
        .count()
        != 1
    {
        causes.push(Cause::invalid(
            "spec.versions",
            &object["spec"]["versions"],
            "must have exactly one version marked as storage version",
        ));
    }
    for (place, version) in versions.iter().enumerate() {
        if !version["schema"]["openAPIV3Schema"].is_object() {
            let at = format!("spec.versions[{place}].schema.openAPIV3Schema");
            causes.push(Cause::required(at, "schemas are required"));
        }
    }
}
