//! How a cluster looks: the schema, and what DescribeCluster says in the shape of declared properties.

use aws_sdk_eks::types::{Cluster, ClusterStatus, EncryptionConfig, LogSetup, LogType, Logging};
use epid_provider::{Equality, Field, KindSchema, Object, Output, Type, Value};

use crate::given;
use crate::inputs::{list, map};
use crate::kind::named;
use crate::tags;

/// Every type of control plane log.
pub(super) const LOG_TYPES: [&str; 5] = ["api", "audit", "authenticator", "controllerManager", "scheduler"];
/// Who reaches a public endpoint where nothing is said.
pub(super) const EVERYBODY: &str = "0.0.0.0/0";

/// The schema.
pub(super) fn schema() -> KindSchema {
    let network = [
        Field::new("subnetIds", Type::set(Type::String))
            .required()
            .doc("Subnets of two zones or more for the control plane's interfaces; they stay in their VPC and zones."),
        Field::new("vpcId", Type::String).doc(
            "The VPC of the subnets. EKS finds it out by itself; where it is given, another one replaces the cluster, which cannot move.",
        ),
        Field::new("securityGroupIds", Type::set(Type::String))
            .doc("Further security groups of the control plane's interfaces: four at most."),
        Field::new("endpointPublicAccess", Type::Bool)
            .default(true)
            .doc("Whether the API server is reached from the internet."),
        Field::new("endpointPrivateAccess", Type::Bool)
            .default(false)
            .doc("Whether the API server is reached from inside the VPC."),
        Field::new("publicAccessCidrs", Type::set(Type::String))
            .default(list([EVERYBODY]))
            .doc("Who reaches the public endpoint."),
    ];
    let access = [
        Field::new(
            "authenticationMode",
            Type::one_of(&["API", "API_AND_CONFIG_MAP", "CONFIG_MAP"]),
        )
        .doc("Who is let in: by access entries, the ConfigMap aws-auth, or both. It goes towards API only; EKS takes CONFIG_MAP where it is not given."),
        Field::new("bootstrapClusterCreatorAdminPermissions", Type::Bool)
            .immutable()
            .write_only()
            .default(true)
            .doc("Whether who makes the cluster becomes its administrator without an entry of the program."),
    ];
    let pods = [
        Field::new("serviceIpv4Cidr", Type::String)
            .immutable()
            .doc("The addresses of Services."),
        Field::new("ipFamily", Type::one_of(&["ipv4", "ipv6"]))
            .immutable()
            .default("ipv4"),
    ];
    let logs = [
        Field::new("types", Type::set(Type::one_of(&LOG_TYPES))).required(),
        Field::new("enabled", Type::Bool).required(),
    ];
    let key = [Field::new("keyArn", Type::String).required().doc("The KMS key.")];
    let encryption = [
        Field::new("resources", Type::set(Type::String))
            .required()
            .doc("What is encrypted: `secrets`."),
        Field::new("provider", Type::object(key)).required(),
    ];
    let support = Type::one_of(&["EXTENDED", "STANDARD"]);
    let fields = [
        Field::new("name", Type::String)
            .required()
            .immutable()
            .exclusive()
            .doc("Its name, unique in the region: letters, digits, `-` and `_`, 100 at most."),
        Field::new("version", Type::String)
            .doc("The minor version of Kubernetes, such as 1.34; EKS's default when it is created, and kept, where it is not given. It goes up only."),
        Field::new("roleArn", Type::String)
            .required()
            .immutable()
            .doc("The role that the control plane works with."),
        Field::new("resourcesVpcConfig", Type::object(network)).required(),
        Field::new("accessConfig", Type::object(access)),
        Field::new("bootstrapSelfManagedAddons", Type::Bool)
            .immutable()
            .write_only()
            .default(true)
            .doc("Whether EKS installs vpc-cni, kube-proxy and coredns unmanaged; false where add-ons are declared."),
        Field::new("kubernetesNetworkConfig", Type::object(pods)).immutable(),
        Field::new(
            "logging",
            Type::object([Field::new("clusterLogging", Type::list(Type::object(logs)))]),
        )
        .equality(Equality::By(same_logging))
        .doc("Which logs of the control plane go to CloudWatch."),
        Field::new("encryptionConfig", Type::list(Type::object(encryption)))
            .equality(Equality::By(same_encryption))
            .doc("A KMS key of your own for Secrets: it can be added to a cluster and never taken away."),
        Field::new(
            "upgradePolicy",
            Type::object([Field::new("supportType", support).default("EXTENDED")]),
        )
        .doc("EXTENDED: stay on an old version, for money. STANDARD: be upgraded when standard support ends."),
        Field::new("deletionProtection", Type::Bool)
            .default(false)
            .doc("EKS refuses to delete the cluster as long as it is true."),
        Field::new(
            "zonalShiftConfig",
            Type::object([Field::new("enabled", Type::Bool).default(false)]),
        ),
        Field::new("tags", Type::map(Type::String)),
    ];
    let mut schema = KindSchema::new(
        named("aws:eks:Cluster"),
        "The control plane of a Kubernetes cluster.",
        Object::of(fields),
    );
    schema.outputs = vec![
        Output::new("arn", "Its ARN."),
        Output::new("endpoint", "Where its API server is reached."),
        Output::new(
            "certificateAuthority",
            "The API server's certificate authority: PEM in base64.",
        ),
        Output::new("oidcIssuer", "The issuer of service account tokens: https://…"),
        Output::new(
            "oidcIssuerHost",
            "The issuer without https://, as the condition keys of a trust policy name it.",
        ),
        Output::new(
            "clusterSecurityGroupId",
            "The security group that EKS makes; Fargate pods are in it.",
        ),
        Output::new("vpcId", "The VPC of its subnets."),
        Output::new("serviceIpv4Cidr", "The addresses of Services."),
        Output::new("version", "The minor version of Kubernetes that it runs.").changes_with(&["version"]),
        Output::new(
            "platformVersion",
            "The version of EKS's own parts, such as eks.4.",
        )
        .changes_with(&["version"]),
        Output::new("status", "ACTIVE once it is ready."),
    ];
    schema.mutex = Some(super::one_per_cluster("name"));
    schema.expected = super::seconds(600, 120, 180);
    schema.timeouts = super::seconds(2400, 10_800, 3600);
    schema
}

/// The enabled types of a declared or observed `logging`.
pub(super) fn enabled_logs(logging: &Value) -> Vec<String> {
    let setups = given::at(logging, "clusterLogging")
        .and_then(Value::as_list)
        .unwrap_or_default();
    let enabled = setups
        .iter()
        .filter(|setup| given::flag(setup.expose(), "enabled") == Some(true))
        .flat_map(|setup| given::texts(setup.expose(), "types").unwrap_or_default());
    let mut types: Vec<String> = enabled.collect();
    types.sort();
    types.dedup();
    types
}

fn same_logging(a: &Value, b: &Value) -> bool {
    enabled_logs(a) == enabled_logs(b)
}

/// Resources and key of each part of a declared or observed `encryptionConfig`.
fn encrypted(config: &Value) -> Vec<(Vec<String>, String)> {
    let part = |part: &Value| {
        let mut resources = given::texts(part, "resources").unwrap_or_default();
        resources.sort();
        let provider = given::at(part, "provider").cloned().unwrap_or_default();
        (resources, given::text(&provider, "keyArn").unwrap_or_default())
    };
    let mut parts: Vec<_> = config
        .as_list()
        .unwrap_or_default()
        .iter()
        .map(|p| part(p.expose()))
        .collect();
    parts.sort();
    parts
}

fn same_encryption(a: &Value, b: &Value) -> bool {
    encrypted(a) == encrypted(b)
}

/// `logging` in the API's shape: EKS wants to hear of every type.
pub(super) fn logging_request(enabled: &[String]) -> Logging {
    let types = |on: bool| {
        LOG_TYPES
            .into_iter()
            .filter(|kind| enabled.iter().any(|e| e == kind) == on)
            .map(LogType::from)
            .collect::<Vec<_>>()
    };
    let setups = [true, false]
        .into_iter()
        .filter(|on| !types(*on).is_empty())
        .map(|on| LogSetup::builder().set_types(Some(types(on))).enabled(on).build());
    Logging::builder()
        .set_cluster_logging(Some(setups.collect()))
        .build()
}

/// `encryptionConfig` in the API's shape.
#[expect(
    deprecated,
    reason = "EKS does not look at `resources` any more, and older regions ask for it"
)]
pub(super) fn encryption_request(config: &Value) -> Vec<EncryptionConfig> {
    let part = |(resources, key): (Vec<String>, String)| {
        let provider = aws_sdk_eks::types::Provider::builder().key_arn(key).build();
        EncryptionConfig::builder()
            .set_resources(Some(resources))
            .provider(provider)
            .build()
    };
    encrypted(config).into_iter().map(part).collect()
}

/// A list of texts that was read.
fn texts(items: Option<&Vec<String>>) -> Option<Value> {
    items.map(list)
}

fn string(text: Option<&String>) -> Option<Value> {
    text.map(|text| Value::str(text))
}

/// A cluster in the shape of declared properties.
#[expect(
    deprecated,
    reason = "EKS does not look at `resources` any more, and older regions ask for it"
)]
pub(super) fn properties(cluster: &Cluster) -> Value {
    let network = cluster.resources_vpc_config.as_ref().map(|network| {
        map([
            ("subnetIds", texts(network.subnet_ids.as_ref())),
            ("vpcId", string(network.vpc_id.as_ref())),
            ("securityGroupIds", texts(network.security_group_ids.as_ref())),
            (
                "endpointPublicAccess",
                Some(network.endpoint_public_access.into()),
            ),
            (
                "endpointPrivateAccess",
                Some(network.endpoint_private_access.into()),
            ),
            ("publicAccessCidrs", texts(network.public_access_cidrs.as_ref())),
        ])
    });
    let access = cluster.access_config.as_ref().and_then(|access| {
        let mode = access.authentication_mode.as_ref()?;
        Some(Value::map([("authenticationMode", Value::str(mode.as_str()))]))
    });
    let pods = cluster.kubernetes_network_config.as_ref().map(|pods| {
        map([
            ("serviceIpv4Cidr", string(pods.service_ipv4_cidr.as_ref())),
            (
                "ipFamily",
                pods.ip_family.as_ref().map(|family| Value::str(family.as_str())),
            ),
        ])
    });
    let logging = cluster
        .logging
        .as_ref()
        .and_then(|logging| logging.cluster_logging.as_ref())
        .map(|setups| {
            let setup = |setup: &LogSetup| {
                let types = setup
                    .types
                    .as_deref()
                    .unwrap_or_default()
                    .iter()
                    .map(LogType::as_str);
                map([
                    ("types", Some(list(types))),
                    ("enabled", setup.enabled.map(Value::from)),
                ])
            };
            Value::map([("clusterLogging", Value::list(setups.iter().map(setup)))])
        });
    let encryption = cluster
        .encryption_config
        .as_ref()
        .filter(|parts| !parts.is_empty())
        .map(|parts| {
            let key = |part: &EncryptionConfig| {
                let provider = part.provider.as_ref()?;
                Some(map([("keyArn", string(provider.key_arn.as_ref()))]))
            };
            let part = |part: &EncryptionConfig| {
                map([
                    ("resources", texts(part.resources.as_ref())),
                    ("provider", key(part)),
                ])
            };
            Value::list(parts.iter().map(part))
        });
    let support = cluster.upgrade_policy.as_ref().and_then(|policy| {
        let support = policy.support_type.as_ref()?;
        Some(Value::map([("supportType", Value::str(support.as_str()))]))
    });
    let shift = cluster.zonal_shift_config.as_ref().and_then(|shift| {
        let enabled = shift.enabled?;
        Some(Value::map([("enabled", Value::from(enabled))]))
    });
    map([
        ("name", string(cluster.name.as_ref())),
        ("version", string(cluster.version.as_ref())),
        ("roleArn", string(cluster.role_arn.as_ref())),
        ("resourcesVpcConfig", network),
        ("accessConfig", access),
        ("kubernetesNetworkConfig", pods),
        ("logging", logging),
        ("encryptionConfig", encryption),
        ("upgradePolicy", support),
        ("deletionProtection", cluster.deletion_protection.map(Value::from)),
        ("zonalShiftConfig", shift),
        (
            "tags",
            Some(tags::observed(&super::read_tags(cluster.tags.as_ref()))),
        ),
    ])
}

/// The outputs of a cluster.
pub(super) fn outputs(cluster: &Cluster) -> Value {
    let network = cluster.resources_vpc_config.as_ref();
    let issuer = cluster
        .identity
        .as_ref()
        .and_then(|identity| identity.oidc.as_ref())
        .and_then(|oidc| oidc.issuer.as_ref());
    let host = issuer.map(|issuer| Value::str(issuer.strip_prefix("https://").unwrap_or(issuer)));
    let authority = cluster
        .certificate_authority
        .as_ref()
        .and_then(|authority| authority.data.as_ref());
    let pods = cluster.kubernetes_network_config.as_ref();
    map([
        ("arn", string(cluster.arn.as_ref())),
        ("endpoint", string(cluster.endpoint.as_ref())),
        ("certificateAuthority", string(authority)),
        ("oidcIssuer", string(issuer)),
        ("oidcIssuerHost", host),
        (
            "clusterSecurityGroupId",
            string(network.and_then(|network| network.cluster_security_group_id.as_ref())),
        ),
        (
            "vpcId",
            string(network.and_then(|network| network.vpc_id.as_ref())),
        ),
        (
            "serviceIpv4Cidr",
            string(pods.and_then(|pods| pods.service_ipv4_cidr.as_ref())),
        ),
        ("version", string(cluster.version.as_ref())),
        ("platformVersion", string(cluster.platform_version.as_ref())),
        (
            "status",
            cluster.status.as_ref().map(|status| Value::str(settled(status))),
        ),
    ])
}

/// An update on its way is no other status to what depends on the cluster.
fn settled(status: &ClusterStatus) -> &str {
    match status {
        ClusterStatus::Updating => "ACTIVE",
        other => other.as_str(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn logging_is_the_set_of_what_is_enabled() {
        let declared = json(r#"{"clusterLogging":[{"types":["audit","api"],"enabled":true}]}"#);
        let observed = json(
            r#"{"clusterLogging":[{"types":["api","audit"],"enabled":true},{"types":["authenticator","controllerManager","scheduler"],"enabled":false}]}"#,
        );
        assert!(same_logging(&declared, &observed));
        assert!(same_logging(
            &json("{}"),
            &json(r#"{"clusterLogging":[{"types":["api"],"enabled":false}]}"#)
        ));
        assert!(!same_logging(&declared, &json("{}")));
    }

    #[test]
    fn every_type_of_log_is_told() {
        let request = logging_request(&["audit".to_owned()]);
        let setups = request.cluster_logging.unwrap();
        let count: usize = setups
            .iter()
            .filter_map(|setup| setup.types.as_ref())
            .map(Vec::len)
            .sum();
        assert_eq!((setups.len(), count), (2, LOG_TYPES.len()));
        assert_eq!(
            logging_request(&LOG_TYPES.map(str::to_owned))
                .cluster_logging
                .unwrap()
                .len(),
            1
        );
    }
}
