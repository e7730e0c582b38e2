//! The two CRDs that the load balancer controller needs: names, scope, columns and the fields its users set
//! (<https://kubernetes-sigs.github.io/aws-load-balancer-controller/latest/guide/targetgroupbinding/spec/>,
//! <https://kubernetes-sigs.github.io/aws-load-balancer-controller/latest/guide/ingress/ingress_class/>).
//! Fields beyond the checked ones are kept as they are.

use super::written::{list, map, texts};
use crate::expression::Located;

/// What one CRD is.
struct Definition {
    kind: &'static str,
    plural: &'static str,
    singular: &'static str,
    namespaced: bool,
    /// Fields of `spec`: name and JSON schema type, or the values it may have.
    fields: &'static [(&'static str, Field)],
    required: &'static [&'static str],
    /// Printer columns: name, type, path.
    columns: &'static [(&'static str, &'static str, &'static str)],
}

enum Field {
    Type(&'static str),
    OneOf(&'static [&'static str]),
    Open,
}

const TARGET_GROUP_BINDING: Definition = Definition {
    kind: "TargetGroupBinding",
    plural: "targetgroupbindings",
    singular: "targetgroupbinding",
    namespaced: true,
    fields: &[
        ("targetGroupARN", Field::Type("string")),
        ("targetGroupName", Field::Type("string")),
        ("targetType", Field::OneOf(&["instance", "ip", "alb"])),
        ("ipAddressType", Field::OneOf(&["ipv4", "ipv6"])),
        ("vpcID", Field::Type("string")),
        ("multiClusterTargetGroup", Field::Type("boolean")),
        ("serviceRef", Field::Open),
        ("networking", Field::Open),
        ("nodeSelector", Field::Open),
    ],
    required: &["serviceRef"],
    columns: &[
        ("SERVICE-NAME", "string", ".spec.serviceRef.name"),
        ("SERVICE-PORT", "string", ".spec.serviceRef.port"),
        ("TARGET-TYPE", "string", ".spec.targetType"),
        ("AGE", "date", ".metadata.creationTimestamp"),
    ],
};

const INGRESS_CLASS_PARAMS: Definition = Definition {
    kind: "IngressClassParams",
    plural: "ingressclassparams",
    singular: "ingressclassparams",
    namespaced: false,
    fields: &[
        ("scheme", Field::OneOf(&["internal", "internet-facing"])),
        ("targetType", Field::OneOf(&["instance", "ip"])),
        (
            "ipAddressType",
            Field::OneOf(&["ipv4", "dualstack", "dualstack-without-public-ipv4"]),
        ),
        ("sslPolicy", Field::Type("string")),
        ("group", Field::Open),
        ("namespaceSelector", Field::Open),
        ("subnets", Field::Open),
    ],
    required: &[],
    columns: &[
        ("GROUP-NAME", "string", ".spec.group.name"),
        ("SCHEME", "string", ".spec.scheme"),
        ("AGE", "date", ".metadata.creationTimestamp"),
    ],
};

/// Names of the children and the properties of the CRDs.
pub(super) fn definitions() -> [(&'static str, Located); 2] {
    [
        ("targetGroupBindings", properties(&TARGET_GROUP_BINDING)),
        ("ingressClassParamsDefinition", properties(&INGRESS_CLASS_PARAMS)),
    ]
}

fn field(field: &Field) -> Located {
    match field {
        Field::Type(name) => map([("type", (*name).into())]),
        Field::OneOf(values) => map([("type", "string".into()), ("enum", texts(values))]),
        Field::Open => open([]),
    }
}

/// An object that keeps fields beyond those named.
fn open<const N: usize>(fields: [(&str, Located); N]) -> Located {
    let mut entries = vec![
        ("type", Located::from("object")),
        ("x-kubernetes-preserve-unknown-fields", true.into()),
    ];
    if N > 0 {
        entries.push(("properties", map(fields)));
    }
    crate::expression::Template::object(entries).into()
}

fn properties(of: &Definition) -> Located {
    let fields = of.fields.iter().map(|(name, ty)| (*name, field(ty)));
    let mut spec = vec![
        ("type", Located::from("object")),
        ("x-kubernetes-preserve-unknown-fields", true.into()),
        ("properties", crate::expression::Template::object(fields).into()),
    ];
    if !of.required.is_empty() {
        spec.push(("required", texts(of.required)));
    }
    let columns = of.columns.iter().map(|(name, ty, path)| {
        map([
            ("name", (*name).into()),
            ("type", (*ty).into()),
            ("jsonPath", (*path).into()),
        ])
    });
    let version = map([
        ("name", "v1beta1".into()),
        ("served", true.into()),
        ("storage", true.into()),
        ("additionalPrinterColumns", list(columns)),
        ("subresources", map([("status", map([]))])),
        (
            "schema",
            map([(
                "openAPIV3Schema",
                map([
                    ("type", "object".into()),
                    (
                        "properties",
                        map([
                            ("spec", crate::expression::Template::object(spec).into()),
                            ("status", open([])),
                        ]),
                    ),
                ]),
            )]),
        ),
    ]);
    let scope = if of.namespaced { "Namespaced" } else { "Cluster" };
    map([
        (
            "metadata",
            map([("name", format!("{}.elbv2.k8s.aws", of.plural).as_str().into())]),
        ),
        (
            "spec",
            map([
                ("group", "elbv2.k8s.aws".into()),
                ("scope", scope.into()),
                (
                    "names",
                    map([
                        ("kind", of.kind.into()),
                        ("listKind", format!("{}List", of.kind).as_str().into()),
                        ("plural", of.plural.into()),
                        ("singular", of.singular.into()),
                    ]),
                ),
                ("versions", list([version])),
            ]),
        ),
    ])
}
