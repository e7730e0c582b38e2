//! `epid:aws:FargateCluster`.

use epid_provider::{Field, Kind, KindSchema, Path, Problem, Type, Value};

use super::written::{kind, list, map, schema, some, string, text, texts};
use crate::expression::Located;
use crate::program::{Child, Component, Expansion};

/// An EKS cluster whose pods run on Fargate: control plane, roles, access, profiles, DNS, OpenID Connect.
///
/// Authentication is by access entries alone, so that who may enter is in the program (EKS user guide, "Grant IAM
/// users access to Kubernetes with EKS access entries"). There are no security groups beside the one that EKS makes:
/// Fargate pods get that one. The coredns add-on is told to run on Fargate and made once a profile takes its pods.
#[derive(Debug)]
pub struct FargateCluster(KindSchema);

impl Default for FargateCluster {
    fn default() -> Self {
        let selector = [
            string("namespace", "Pods of this namespace; `*` and `?` match.").required(),
            Field::new("labels", Type::map(Type::String)).doc("Only pods with these labels."),
        ];
        let profile = [
            string("name", "Its name in the cluster.").required(),
            Field::new("selectors", Type::list(Type::object(selector)))
                .doc("Which pods run on Fargate, at most five.")
                .required(),
        ];
        let inputs = [
            string("name", "The cluster's name in its account and region.").required(),
            string(
                "version",
                "Kubernetes version such as `1.34`. Default: what EKS takes at creation; it stays.",
            ),
            Field::new("subnetIds", Type::list(Type::String))
                .doc("Subnets of the control plane, in at least two zones.")
                .required(),
            Field::new("podSubnetIds", Type::list(Type::String))
                .doc("Private subnets in which pods run.")
                .required(),
            string(
                "vpcId",
                "The VPC of the subnets. Where the program makes it too: with a new VPC the cluster is made anew, as it cannot move.",
            ),
            Field::new("profiles", Type::keyed(&["name"], profile)).doc(
                "Fargate profiles. Default: `fp-default` for the namespaces `default` and `kube-system`.",
            ),
            Field::new("admins", Type::list(Type::String))
                .doc("ARNs of IAM users and roles that may do everything, beside whoever runs epid."),
            Field::new("endpointPublicAccess", Type::Bool)
                .doc("Reached from the internet.")
                .default(true),
            Field::new("endpointPrivateAccess", Type::Bool)
                .doc("Reached from its VPC.")
                .default(true),
            Field::new("publicAccessCidrs", Type::list(Type::String))
                .doc("From where it is reached publicly."),
            Field::new(
                "logging",
                Type::list(Type::one_of(&[
                    "api",
                    "audit",
                    "authenticator",
                    "controllerManager",
                    "scheduler",
                ])),
            )
            .doc("Control plane logs that go to CloudWatch. Default: none."),
            Field::new("supportType", Type::one_of(&["STANDARD", "EXTENDED"]))
                .doc("STANDARD upgrades at the end of standard support; EXTENDED costs more from then on.")
                .default("STANDARD"),
            Field::new("deletionProtection", Type::Bool)
                .doc("EKS refuses to delete it.")
                .default(false),
            Field::new("tags", Type::map(Type::String)).doc("Tags of everything in it."),
        ];
        Self(schema(
            "epid:aws:FargateCluster",
            "An EKS cluster whose pods run on Fargate.",
            inputs,
            &[
                (
                    "cluster",
                    "What a `kubernetes` provider takes: name, region, endpoint, certificateAuthority, arn, oidcIssuer.",
                ),
                ("name", "Its name."),
                ("arn", "Its ARN."),
                ("endpoint", "Where its API server is."),
                ("version", "Its Kubernetes version."),
                ("oidcIssuer", "The issuer of service account tokens."),
                (
                    "oidcProviderArn",
                    "The IAM OpenID Connect provider of that issuer.",
                ),
                (
                    "securityGroupId",
                    "The security group that EKS made, which pods get.",
                ),
            ],
        ))
    }
}

/// A trust policy of one statement for a service.
fn service_trust(service: &str, actions: &[&str], condition: Option<Located>) -> Located {
    let statement = some(vec![
        ("Effect", Some("Allow".into())),
        ("Principal", Some(map([("Service", service.into())]))),
        ("Action", Some(texts(actions))),
        ("Condition", condition),
    ]);
    map([("Version", "2012-10-17".into()), ("Statement", list([statement]))])
}

impl Component for FargateCluster {
    fn kind(&self) -> &Kind {
        &self.0.kind
    }

    fn schema(&self) -> &KindSchema {
        &self.0
    }

    fn expand(&self, x: &mut Expansion<'_>) -> Vec<Problem> {
        let (profiles, admins) = match shape(x) {
            Ok(shape) => shape,
            Err(problems) => return problems,
        };
        let tags = x.property("tags");
        let caller = x.child("caller", kind("aws:sts:CallerIdentity"), map([]));
        let partition = format!("${{`{}`.partition}}", caller.address());
        let managed = |policy: &str| text(&format!("arn:{partition}:iam::aws:policy/{policy}"));

        let role = x.child(
            "role",
            kind("aws:iam:Role"),
            some(vec![
                (
                    "description",
                    Some("Lets the EKS control plane work in this account.".into()),
                ),
                (
                    "assumeRolePolicyDocument",
                    Some(service_trust(
                        "eks.amazonaws.com",
                        &["sts:AssumeRole", "sts:TagSession"],
                        None,
                    )),
                ),
                (
                    "managedPolicyArns",
                    Some(list([managed("AmazonEKSClusterPolicy")])),
                ),
                ("tags", tags.clone()),
            ]),
        );
        let cluster = x.child("cluster", kind("aws:eks:Cluster"), control_plane(x, &role));
        let cluster_name: Located = cluster.reference("name").into();

        let own = caller.reference("principalArn").into();
        let mut entries = vec![entry(x, "access", &cluster, own)];
        for (at, arn) in (1..).zip(&admins) {
            entries.push(entry(x, &format!("admin{at}"), &cluster, arn.as_str().into()));
        }

        let source = text(&format!(
            "arn:{partition}:eks:${{`{0}`.region}}:${{`{0}`.accountId}}:fargateprofile/${{`{1}`.name}}/*",
            caller.address(),
            cluster.address(),
        ));
        let pods = x.child(
            "podExecutionRole",
            kind("aws:iam:Role"),
            some(vec![
                (
                    "description",
                    Some("Lets Fargate pull images for pods of the cluster.".into()),
                ),
                (
                    "assumeRolePolicyDocument",
                    Some(service_trust(
                        "eks-fargate-pods.amazonaws.com",
                        &["sts:AssumeRole"],
                        Some(map([("ArnLike", map([("aws:SourceArn", source)]))])),
                    )),
                ),
                (
                    "managedPolicyArns",
                    Some(list([managed("AmazonEKSFargatePodExecutionRolePolicy")])),
                ),
                ("tags", tags.clone()),
            ]),
        );
        let made: Vec<Child> = profiles
            .iter()
            .map(|(name, selectors)| {
                let properties = some(vec![
                    ("clusterName", Some(cluster_name.clone())),
                    ("fargateProfileName", Some(name.as_str().into())),
                    ("podExecutionRoleArn", Some(pods.reference("arn").into())),
                    ("selectors", Some(selectors.clone().into())),
                    ("subnets", x.property("podSubnetIds")),
                    ("tags", tags.clone()),
                ]);
                x.child(
                    &format!("profile-{name}"),
                    kind("aws:eks:FargateProfile"),
                    properties,
                )
            })
            .collect();
        let dns = x.child(
            "coredns",
            kind("aws:eks:Addon"),
            some(vec![
                ("clusterName", Some(cluster_name.clone())),
                ("addonName", Some("coredns".into())),
                (
                    "configurationValues",
                    Some(map([("computeType", "Fargate".into())])),
                ),
                ("resolveConflicts", Some("OVERWRITE".into())),
                ("tags", tags.clone()),
            ]),
        );
        if let Some(options) = x.options(&dns) {
            // Pods made before a profile takes them wait for ever.
            options
                .depends_on
                .extend(made.iter().map(|p| p.address().clone()));
        }
        let oidc = x.child(
            "oidcProvider",
            kind("aws:iam:OpenIdConnectProvider"),
            some(vec![
                ("url", Some(cluster.reference("oidcIssuer").into())),
                ("clientIds", Some(texts(&["sts.amazonaws.com"]))),
                ("tags", tags),
            ]),
        );

        x.output(
            "cluster",
            map([
                ("name", cluster_name.clone()),
                ("region", caller.reference("region").into()),
                ("endpoint", cluster.reference("endpoint").into()),
                (
                    "certificateAuthority",
                    cluster.reference("certificateAuthority").into(),
                ),
                ("arn", cluster.reference("arn").into()),
                ("oidcIssuer", cluster.reference("oidcIssuer").into()),
                // Whoever talks to the API server needs these first and keeps them until it is done.
                (
                    "admins",
                    list(entries.iter().map(|e| e.reference("principalArn").into())),
                ),
                (
                    "profiles",
                    list(made.iter().map(|p| p.reference("fargateProfileName").into())),
                ),
            ]),
        );
        for name in ["arn", "endpoint", "version", "oidcIssuer"] {
            x.output(name, cluster.reference(name));
        }
        x.output("name", cluster_name);
        x.output("oidcProviderArn", oidc.reference("arn"));
        x.output("securityGroupId", cluster.reference("clusterSecurityGroupId"));
        Vec::new()
    }
}

/// The properties of the cluster itself.
fn control_plane(x: &Expansion<'_>, role: &Child) -> Located {
    let or = |name: &str, default: Located| x.property(name).unwrap_or(default);
    let network = some(vec![
        ("subnetIds", x.property("subnetIds")),
        ("vpcId", x.property("vpcId")),
        (
            "endpointPublicAccess",
            Some(or("endpointPublicAccess", true.into())),
        ),
        (
            "endpointPrivateAccess",
            Some(or("endpointPrivateAccess", true.into())),
        ),
        ("publicAccessCidrs", x.property("publicAccessCidrs")),
    ]);
    let access = map([
        ("authenticationMode", "API".into()),
        ("bootstrapClusterCreatorAdminPermissions", false.into()),
    ]);
    let logging = |types: Located| {
        map([(
            "clusterLogging",
            list([map([("types", types), ("enabled", true.into())])]),
        )])
    };
    some(vec![
        ("name", x.property("name")),
        ("version", x.property("version")),
        ("roleArn", Some(role.reference("arn").into())),
        ("resourcesVpcConfig", Some(network)),
        ("accessConfig", Some(access)),
        ("bootstrapSelfManagedAddons", Some(false.into())),
        ("logging", x.property("logging").map(logging)),
        (
            "upgradePolicy",
            Some(map([("supportType", or("supportType", "STANDARD".into()))])),
        ),
        ("deletionProtection", Some(or("deletionProtection", false.into()))),
        ("tags", x.property("tags")),
    ])
}

/// Lets a principal do everything in the cluster.
fn entry(x: &mut Expansion<'_>, name: &str, cluster: &Child, principal: Located) -> Child {
    let policy = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy";
    let policies = list([map([
        ("policyArn", policy.into()),
        ("accessScope", map([("type", "cluster".into())])),
    ])]);
    let properties = map([
        ("clusterName", cluster.reference("name").into()),
        ("principalArn", principal),
        ("accessPolicies", policies),
    ]);
    x.child(name, kind("aws:eks:AccessEntry"), properties)
}

type Shape = (Vec<(String, Value)>, Vec<String>);

/// Profiles and administrators: what decides how many children there are.
fn shape(x: &Expansion<'_>) -> Result<Shape, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut known = |name: &str| match x.known(name) {
        Ok(value) => value.clone(),
        Err(problem) => {
            problems.push(problem);
            Value::Null
        }
    };
    let (profiles, admins) = (known("profiles"), known("admins"));
    let default = || {
        let namespace = |name: &str| Value::map([("namespace", Value::str(name))]);
        let selectors = Value::list([namespace("default"), namespace("kube-system")]);
        vec![("fp-default".to_owned(), selectors)]
    };
    let profiles = profiles.as_list().map_or_else(default, |profiles| {
        let text = |p: &Value| {
            p.get("name")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let selectors = |p: &Value| p.get("selectors").cloned().unwrap_or(Value::Null);
        profiles.iter().map(|p| (text(p), selectors(p))).collect()
    });
    for (at, (name, _)) in profiles.iter().enumerate() {
        let path = Path::root()
            .key("profiles")
            .join(epid_provider::Segment::Index(at))
            .key("name");
        if name.starts_with("eks-") {
            problems.push(Problem::new(path, "a profile's name may not begin with `eks-`"));
        } else if profiles.iter().take(at).any(|(other, _)| other == name) {
            problems.push(Problem::new(path, format!("there is another profile `{name}`")));
        }
    }
    if profiles.is_empty() {
        problems.push(
            Problem::new(Path::root().key("profiles"), "without a profile no pod runs")
                .with_hint("leave `profiles` out for one of the namespaces `default` and `kube-system`"),
        );
    }
    let admins = admins.as_list().unwrap_or_default();
    let admins = admins
        .iter()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect();
    if problems.is_empty() {
        Ok((profiles, admins))
    } else {
        Err(problems)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trust_policy_names_service_and_actions() {
        let trust = service_trust("eks.amazonaws.com", &["sts:AssumeRole"], None);
        assert_eq!(
            trust.template.to_program_value().to_string(),
            r#"{Statement: [{Action: ["sts:AssumeRole"], Effect: "Allow", Principal: {Service: "eks.amazonaws.com"}}], Version: "2012-10-17"}"#
        );
    }
}
