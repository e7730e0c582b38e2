//! `aws:eks:Cluster`: the control plane of a Kubernetes cluster.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_eks::types::{
    AuthenticationMode, ClusterStatus, CreateAccessConfigRequest, IpFamily, KubernetesNetworkConfigRequest,
    SupportType, UpgradePolicyRequest, VpcConfigRequest, ZonalShiftConfigRequest,
};
use epid_provider::{
    Diff, Failure, KindSchema, Op, Path, Present, Problem, Record, Replace, Segment, Token, Urn, Value,
    async_trait,
};

use super::cluster_shape::{enabled_logs, encryption_request, logging_request, outputs, properties, schema};
use super::cluster_update::changes;
use super::{
    Wait, absent, busy, client_token, issues, read_tags, settle_tags, tags_of_create, taken, unless_absent,
    version, wait, with_issues,
};
use crate::clients::Clients;
use crate::given::{self, flag, text, texts};
use crate::named::{Named, Seen, Work, gone, sdk, there, token_of};
use crate::patience::{BUSY_PAUSE, PROPAGATION, PROPAGATION_PAUSE, Patience};
use crate::tags;

/// Between two looks at a cluster that comes or goes.
const LOOK: Duration = Duration::from_secs(15);
/// How often it must be seen gone: EKS may still answer for it in between.
const GONE: u32 = 2;

/// EKS's words for a role that it cannot assume, or does not know the policies of, yet.
const ROLE_NOT_READY: [&str; 6] = [
    "could not be assumed because",
    "Role could not be assumed",
    "Error in role params",
    "doesn't have the Amazon EKS Managed Policies",
    "IAM role's policy must include",
    "AWSServiceRoleForAmazonEKS",
];

/// For CreateCluster: the role may be new. A role that is wrong is refused in the same words, so it ends.
const ROLE: Patience<'static> = Patience {
    budget: PROPAGATION,
    pause: PROPAGATION_PAUSE,
    waits: &|failure: &Failure| {
        let waits = failure.code == "InvalidParameterException"
            && ROLE_NOT_READY.iter().any(|text| failure.message.contains(text));
        waits.then_some("waiting for EKS to be able to assume the role")
    },
};

/// For DeleteCluster.
const DELETE: Patience<'static> = Patience {
    budget: Duration::from_secs(3600),
    pause: BUSY_PAUSE,
    waits: &|failure: &Failure| busy(failure).filter(|_| !failure.message.contains("in status DELETING")),
};

/// The kind.
#[derive(Debug)]
pub(super) struct Cluster {
    schema: KindSchema,
}

impl Cluster {
    pub(super) fn new() -> Self {
        Self { schema: schema() }
    }
}

async fn describe(work: Work<'_>) -> Result<Option<aws_sdk_eks::types::Cluster>, Failure> {
    let answer = work.aws.eks.describe_cluster().name(work.id).send().await;
    let found = unless_absent(answer.map_err(sdk("eks:DescribeCluster")))?;
    found
        .map(|output| there("eks:DescribeCluster", "cluster", output.cluster))
        .transpose()
}

/// Why a cluster is not well.
fn health(cluster: &aws_sdk_eks::types::Cluster) -> String {
    let found = cluster
        .health
        .as_ref()
        .and_then(|health| health.issues.clone())
        .unwrap_or_default();
    issues(
        found
            .into_iter()
            .map(|issue| (issue.code.map(|code| code.as_str().to_owned()), issue.message)),
    )
}

/// Waits until a cluster is not on its way to something; gives it as it then is.
async fn settled(work: Work<'_>) -> Result<aws_sdk_eks::types::Cluster, Failure> {
    let begun = work.cx.now();
    let look = || async {
        let Some(cluster) = describe(work).await? else {
            // What was just made may take a moment to show.
            if work.cx.now().since(begun) < Duration::from_secs(30) {
                return Ok(Wait::On("CREATING".to_owned()));
            }
            return Err(gone(work.id));
        };
        match &cluster.status {
            Some(ClusterStatus::Creating | ClusterStatus::Pending) => Ok(Wait::On("CREATING".to_owned())),
            Some(ClusterStatus::Deleting) => Err(Failure::new(
                "Deleting",
                format_args!("cluster {} is being deleted", work.id),
            )),
            _ => Ok(Wait::Over(cluster)),
        }
    };
    wait(work.cx, &format!("cluster {}", work.id), LOOK, look).await
}

fn failed(cluster: &aws_sdk_eks::types::Cluster) -> bool {
    matches!(cluster.status, Some(ClusterStatus::Failed))
}

fn create_network(inputs: &Value) -> VpcConfigRequest {
    let network = given::at(inputs, "resourcesVpcConfig")
        .cloned()
        .unwrap_or_default();
    VpcConfigRequest::builder()
        .set_subnet_ids(texts(&network, "subnetIds"))
        .set_security_group_ids(texts(&network, "securityGroupIds"))
        .set_endpoint_public_access(flag(&network, "endpointPublicAccess"))
        .set_endpoint_private_access(flag(&network, "endpointPrivateAccess"))
        .set_public_access_cidrs(texts(&network, "publicAccessCidrs"))
        .build()
}

#[async_trait]
impl Named for Cluster {
    fn schema(&self) -> &KindSchema {
        &self.schema
    }

    fn check(&self, properties: &Value) -> Vec<Problem> {
        let root = Path::root();
        let mut found = Vec::new();
        if let Some(name) = text(properties, "name") {
            let plain = name.starts_with(|first: char| first.is_ascii_alphanumeric())
                && name
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
            if !plain || name.len() > 100 {
                found.push(
                    Problem::new(root.key("name"), format!("`{name}` cannot be a cluster's name"))
                        .with_hint("it begins with a letter or digit, goes on with those, `-` and `_`, and has 100 at most"),
                );
            }
        }
        if let Some(version) = text(properties, "version").filter(|version| version::minor(version).is_none())
        {
            found.push(
                Problem::new(
                    root.key("version"),
                    format!("`{version}` is not a version of EKS"),
                )
                .with_hint("a version is a minor one, in quotes: \"1.34\""),
            );
        }
        let network = given::at(properties, "resourcesVpcConfig")
            .cloned()
            .unwrap_or_default();
        let at = root.key("resourcesVpcConfig");
        let switched_off = |name: &str| flag(&network, name) == Some(false);
        let unset = given::at(&network, "endpointPrivateAccess").is_none();
        if switched_off("endpointPublicAccess") && (unset || switched_off("endpointPrivateAccess")) {
            found.push(
                Problem::new(at.clone(), "nobody could reach the API server")
                    .with_hint("set `endpointPrivateAccess` or `endpointPublicAccess` to true"),
            );
        }
        let limits = [
            ("subnetIds", 2, usize::MAX),
            ("securityGroupIds", 0, 4),
            ("publicAccessCidrs", 0, 40),
        ];
        for (name, least, most) in limits {
            let count = given::at(&network, name)
                .and_then(Value::as_list)
                .map(<[Value]>::len);
            if let Some(count) = count.filter(|count| !(least..=most).contains(count)) {
                let limit = if count < least {
                    format!("{least} or more")
                } else {
                    format!("{most} at most")
                };
                found.push(Problem::new(
                    at.key(name),
                    format!("`{name}` has {count} items; EKS takes {limit}"),
                ));
            }
        }
        found
    }

    fn id(&self, _aws: &Clients, inputs: &Value, _operation: Option<(&Urn, &Token)>) -> Option<String> {
        text(inputs, "name")
    }

    fn key(&self, inputs: &Value) -> Option<String> {
        text(inputs, "name")
    }

    fn chosen(&self) -> &'static [&'static str] {
        &[
            "version",
            "accessConfig",
            "kubernetesNetworkConfig",
            "upgradePolicy",
        ]
    }

    fn diff(&self, record: &Record, desired: &Value) -> Diff {
        let mut diff = crate::named::diff_of(self, record, desired);
        let first = |segments: &[Segment]| matches!(segments.first(), Some(Segment::Key(key)) if &**key == "encryptionConfig");
        let had = given::at(&record.applied, "encryptionConfig")
            .is_some_and(|had| had.as_list().is_some_and(|l| !l.is_empty()));
        for change in &mut diff.changes {
            // A key can be added to a cluster, and then neither changed nor taken away.
            let key = first(change.path.segments()) && (had || change.op != Op::Add);
            // To say where a cluster is does not move it.
            let moves = change.op == Op::Change && change.path.to_string() == "resourcesVpcConfig.vpcId";
            if key || moves {
                change.replace = if change.after.has_unknown() {
                    Replace::IfChanged
                } else {
                    Replace::Yes
                };
            }
        }
        diff
    }

    async fn find(&self, work: Work<'_>, _applied: Option<&Value>) -> Result<Option<Seen>, Failure> {
        let Some(cluster) = describe(work).await? else {
            return Ok(None);
        };
        let there = read_tags(cluster.tags.as_ref());
        let unfinished = match &cluster.status {
            Some(ClusterStatus::Creating | ClusterStatus::Pending) => vec!["become ACTIVE".to_owned()],
            Some(ClusterStatus::Failed) => vec!["be made again after it failed".to_owned()],
            _ => Vec::new(),
        };
        Ok(Some(Seen {
            present: Present {
                id: Arc::from(work.id),
                properties: properties(&cluster),
                outputs: outputs(&cluster),
                owner: tags::owner(&there),
            },
            token: token_of(&there),
            unfinished,
            leaving: matches!(cluster.status, Some(ClusterStatus::Deleting)),
        }))
    }

    async fn make(&self, work: Work<'_>, inputs: &Value) -> Result<(), Failure> {
        let part = |name: &str| given::at(inputs, name);
        let access = part("accessConfig").map(|access| {
            CreateAccessConfigRequest::builder()
                .set_authentication_mode(
                    text(access, "authenticationMode").map(|mode| AuthenticationMode::from(mode.as_str())),
                )
                .set_bootstrap_cluster_creator_admin_permissions(flag(
                    access,
                    "bootstrapClusterCreatorAdminPermissions",
                ))
                .build()
        });
        let pods = part("kubernetesNetworkConfig").map(|pods| {
            KubernetesNetworkConfigRequest::builder()
                .set_service_ipv4_cidr(text(pods, "serviceIpv4Cidr"))
                .set_ip_family(text(pods, "ipFamily").map(|family| IpFamily::from(family.as_str())))
                .build()
        });
        let support = part("upgradePolicy")
            .and_then(|policy| text(policy, "supportType"))
            .map(|support| {
                UpgradePolicyRequest::builder()
                    .support_type(SupportType::from(support.as_str()))
                    .build()
            });
        let shift = part("zonalShiftConfig")
            .and_then(|shift| flag(shift, "enabled"))
            .map(|enabled| ZonalShiftConfigRequest::builder().enabled(enabled).build());
        let logging = part("logging").map(|logging| logging_request(&enabled_logs(logging)));
        let request = work
            .aws
            .eks
            .create_cluster()
            .name(work.id)
            .client_request_token(client_token(work.cx, "create"))
            .set_version(text(inputs, "version"))
            .set_role_arn(text(inputs, "roleArn"))
            .resources_vpc_config(create_network(inputs))
            .set_access_config(access)
            .set_bootstrap_self_managed_addons(flag(inputs, "bootstrapSelfManagedAddons"))
            .set_kubernetes_network_config(pods)
            .set_logging(logging)
            .set_encryption_config(part("encryptionConfig").map(encryption_request))
            .set_upgrade_policy(support)
            .set_zonal_shift_config(shift)
            .set_deletion_protection(flag(inputs, "deletionProtection"))
            .set_tags(Some(tags_of_create(work, inputs)));
        let send = || async { request.clone().send().await.map_err(sdk("eks:CreateCluster")) };
        ROLE.send(work.cx, send).await.map(|_| ()).map_err(|failure| {
            if (ROLE.waits)(&failure).is_some() {
                failure.with_hint(
                    "look whether `roleArn` is right, its trust policy names eks.amazonaws.com, and AmazonEKSClusterPolicy is attached",
                )
            } else {
                taken(failure)
            }
        })
    }

    fn afterwards(&self, _inputs: &Value) -> Vec<String> {
        vec!["become ACTIVE".to_owned()]
    }

    async fn settle(&self, work: Work<'_>, applied: &Value, inputs: &Value) -> Result<(), Failure> {
        let mut cluster = settled(work).await?;
        if failed(&cluster) && !applied.is_null() {
            // EKS cannot repair it, and nothing lives in it.
            work.cx.progress("deleting the cluster that failed");
            self.remove(work).await?;
            self.make(work, inputs).await?;
            cluster = settled(work).await?;
        }
        if failed(&cluster) {
            let message = format!(
                "cluster {} is {}",
                work.id,
                with_issues("FAILED", &health(&cluster))
            );
            return Err(Failure::new("ClusterFailed", message)
                .with_hint("remove the cause, then run the command again: it deletes the failed cluster and makes it anew"));
        }
        if applied.is_null() {
            return Ok(());
        }
        let there = read_tags(cluster.tags.as_ref());
        let changes = changes(&properties(&cluster), applied, inputs)?;
        if let Some(arn) = &cluster.arn {
            settle_tags(work, arn, &there, applied, inputs).await?;
        }
        for change in changes {
            change.carry_out(work).await?;
        }
        Ok(())
    }

    async fn remove(&self, work: Work<'_>) -> Result<(), Failure> {
        let request = work.aws.eks.delete_cluster().name(work.id);
        let send = || async { request.clone().send().await.map_err(sdk("eks:DeleteCluster")) };
        match DELETE.send(work.cx, send).await {
            Ok(_) => {}
            Err(failure) if absent(&failure) => return Ok(()),
            Err(failure) if failure.message.contains("in status DELETING") => {}
            Err(failure) if failure.message.contains("deletionProtection") => {
                return Err(failure
                    .with_hint("set `deletionProtection = false`, run `epid up`, then delete the cluster"));
            }
            Err(failure) if failure.message.contains("in status ACTIVE") => {
                return Err(
                    failure.with_hint("something outside this stack is in the cluster: remove that first")
                );
            }
            Err(failure) => return Err(failure),
        }
        work.changed();
        let missed = std::sync::atomic::AtomicU32::new(0);
        let look = || async {
            match describe(work).await? {
                None if missed.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1 >= GONE => {
                    Ok(Wait::Over(()))
                }
                Some(cluster) if failed(&cluster) => {
                    let message = format!(
                        "deleting cluster {}: {}",
                        work.id,
                        with_issues("FAILED", &health(&cluster))
                    );
                    Err(Failure::new("DeleteFailed", message))
                }
                _ => Ok(Wait::On("DELETING".to_owned())),
            }
        };
        wait(work.cx, &format!("cluster {}", work.id), LOOK, look).await
    }
}
