//! What the OpenAPI documents do not say: which fields cannot change, and how long operations take.
//!
//! Immutable fields: the update validation of each group in kubernetes/kubernetes (`pkg/apis/*/validation`), as told in
//! the API reference. A change there means another object.

use std::time::Duration;

use epid_provider::Durations;

/// The paths of a kind that cannot change; `[]` enters the elements of a list.
pub(super) fn immutable(api_version: &str, kind: &str) -> &'static [&'static str] {
    let group = api_version.rsplit_once('/').map_or("", |(group, _)| group);
    match (group, kind) {
        ("apps", "Deployment" | "DaemonSet" | "ReplicaSet") => &["spec.selector"],
        ("apps", "StatefulSet") => &[
            "spec.podManagementPolicy",
            "spec.selector",
            "spec.serviceName",
            "spec.volumeClaimTemplates",
        ],
        ("batch", "Job") => &[
            "spec.backoffLimitPerIndex",
            "spec.completionMode",
            "spec.completions",
            "spec.managedBy",
            "spec.manualSelector",
            "spec.podFailurePolicy",
            "spec.selector",
            "spec.successPolicy",
            "spec.template",
        ],
        ("", "Service") => &["spec.clusterIP"],
        ("", "Secret") => &["type"],
        ("", "PersistentVolumeClaim") => &[
            "spec.accessModes",
            "spec.dataSource",
            "spec.dataSourceRef",
            "spec.selector",
            "spec.storageClassName",
            "spec.volumeMode",
            "spec.volumeName",
        ],
        ("", "PersistentVolume") => &[
            "spec.csi",
            "spec.hostPath",
            "spec.local",
            "spec.nfs",
            "spec.volumeMode",
        ],
        ("storage.k8s.io", "StorageClass") => {
            &["parameters", "provisioner", "reclaimPolicy", "volumeBindingMode"]
        }
        ("storage.k8s.io", "VolumeAttributesClass") => &["driverName", "parameters"],
        ("storage.k8s.io", "VolumeAttachment") | ("certificates.k8s.io", "CertificateSigningRequest") => {
            &["spec"]
        }
        ("resource.k8s.io", "ResourceClaim" | "ResourceClaimTemplate") => &["spec"],
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => &["roleRef"],
        ("networking.k8s.io", "IngressClass") => &["spec.controller"],
        ("scheduling.k8s.io", "PriorityClass") => &["preemptionPolicy", "value"],
        ("node.k8s.io", "RuntimeClass") => &["handler"],
        ("discovery.k8s.io", "EndpointSlice") => &["addressType"],
        ("apiextensions.k8s.io", "CustomResourceDefinition") => {
            &["spec.group", "spec.names.kind", "spec.names.plural", "spec.scope"]
        }
        ("apps", "ControllerRevision") => &["data"],
        _ => &[],
    }
}

/// The fields of a Pod's `spec` that may change in place; all others are immutable.
pub(super) const MUTABLE_IN_PODS: [&str; 7] = [
    "activeDeadlineSeconds",
    "containers",
    "ephemeralContainers",
    "initContainers",
    "schedulingGates",
    "terminationGracePeriodSeconds",
    "tolerations",
];

/// How long operations usually take, and how long they may take.
pub(super) fn durations(kind: &str) -> (Durations, Durations) {
    let of = |create: u64, update: u64, delete: u64| Durations {
        create: Duration::from_secs(create),
        update: Duration::from_secs(update),
        delete: Duration::from_secs(delete),
    };
    match kind {
        "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" | "Pod" => {
            (of(30, 30, 20), of(600, 600, 600))
        }
        "Job" => (of(60, 60, 20), of(1200, 1200, 600)),
        "Ingress" => (of(60, 10, 30), of(600, 600, 600)),
        "Service" => (of(5, 5, 10), of(600, 600, 600)),
        "PersistentVolumeClaim" => (of(10, 10, 15), of(600, 600, 600)),
        "Namespace" => (of(1, 1, 20), of(120, 120, 900)),
        "CustomResourceDefinition" | "APIService" => (of(3, 3, 5), of(300, 300, 600)),
        _ => (of(1, 1, 1), of(120, 120, 600)),
    }
}
