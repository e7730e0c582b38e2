//! Changes of a cluster: what differs, and one request after the other, each until EKS is done with it.
//!
//! EKS takes one kind of change per UpdateClusterConfig, and one update at a time.

use std::time::Duration;

use aws_sdk_eks::operation::update_cluster_config::builders::UpdateClusterConfigFluentBuilder;
use aws_sdk_eks::types::{
    AuthenticationMode, SupportType, Update, UpdateAccessConfigRequest, UpdateStatus, UpgradePolicyRequest,
    VpcConfigRequest, ZonalShiftConfigRequest,
};
use epid_provider::{Failure, Value};

use super::cluster_shape::{EVERYBODY, enabled_logs, encryption_request, logging_request};
use super::{BUSY, Wait, client_token, version, wait};
use crate::given::{self, flag, text, texts};
use crate::named::{Work, sdk};

/// Between two looks at an update.
const LOOK: Duration = Duration::from_secs(10);

/// One kind of change.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Change {
    Version(String),
    Access(String),
    Encryption(Value),
    Logging(Vec<String>),
    Support(String),
    Endpoints {
        public: bool,
        private: bool,
        cidrs: Vec<String>,
    },
    Network {
        subnets: Vec<String>,
        groups: Vec<String>,
    },
    ZonalShift(bool),
    DeletionProtection(bool),
}

/// What differs between the cluster as it is and `inputs`, in the order to do it. What was never declared stays as it
/// is; what was `applied` and is not declared any more goes back to EKS's default.
///
/// # Errors
/// Where there is no way there; nothing is to be sent then.
pub(super) fn changes(seen: &Value, applied: &Value, inputs: &Value) -> Result<Vec<Change>, Failure> {
    let mut changes = Vec::new();
    if let Some(wanted) = text(inputs, "version") {
        let current = text(seen, "version").unwrap_or_default();
        let steps = version::steps(&current, &wanted).map_err(|why| {
            Failure::new("Version", why)
                .with_hint("declare the version that runs, or leave `version` out; for an older one, make another cluster")
        })?;
        changes.extend(steps.into_iter().map(Change::Version));
    }
    let part = |of: &Value, name: &str| given::at(of, name).cloned().unwrap_or_default();
    let mode = |of: &Value| text(&part(of, "accessConfig"), "authenticationMode");
    if let Some(wanted) = mode(inputs).filter(|wanted| mode(seen).as_ref() != Some(wanted)) {
        changes.push(Change::Access(wanted));
    }
    if given::at(seen, "encryptionConfig").is_none()
        && let Some(wanted) =
            given::at(inputs, "encryptionConfig").filter(|w| w.as_list().is_some_and(|l| !l.is_empty()))
    {
        changes.push(Change::Encryption(wanted.clone()));
    }
    let declared = |name: &str| given::at(inputs, name).is_some() || given::at(applied, name).is_some();
    if declared("logging") {
        let wanted = enabled_logs(&part(inputs, "logging"));
        if wanted != enabled_logs(&part(seen, "logging")) {
            changes.push(Change::Logging(wanted));
        }
    }
    if declared("upgradePolicy") {
        let support = |of: &Value| text(&part(of, "upgradePolicy"), "supportType");
        let wanted = support(inputs).unwrap_or_else(|| "EXTENDED".to_owned());
        if support(seen).as_ref() != Some(&wanted) {
            changes.push(Change::Support(wanted));
        }
    }
    changes.extend(network(
        &part(seen, "resourcesVpcConfig"),
        &part(applied, "resourcesVpcConfig"),
        &part(inputs, "resourcesVpcConfig"),
    ));
    let switch = |name: &str, within: Option<&str>| {
        let value = |of: &Value| match within {
            Some(key) => flag(&part(of, name), key),
            None => flag(of, name),
        };
        let wanted = value(inputs).unwrap_or(false);
        (declared(name) && value(seen).unwrap_or(false) != wanted).then_some(wanted)
    };
    changes.extend(switch("zonalShiftConfig", Some("enabled")).map(Change::ZonalShift));
    changes.extend(switch("deletionProtection", None).map(Change::DeletionProtection));
    Ok(changes)
}

/// Endpoints and placement.
fn network(seen: &Value, applied: &Value, inputs: &Value) -> Vec<Change> {
    let mut changes = Vec::new();
    let declared = |name: &str| given::at(inputs, name).is_some() || given::at(applied, name).is_some();
    let switch = |name: &str, default: bool| {
        let there = flag(seen, name).unwrap_or(default);
        if declared(name) {
            (there, flag(inputs, name).unwrap_or(default))
        } else {
            (there, there)
        }
    };
    let set = |name: &str, default: &[&str]| {
        let sorted = |mut items: Vec<String>| {
            items.sort();
            items.dedup();
            items
        };
        let default = || default.iter().map(|text| (*text).to_owned()).collect();
        let there = sorted(texts(seen, name).unwrap_or_default());
        let wanted = if declared(name) {
            sorted(texts(inputs, name).unwrap_or_else(default))
        } else {
            there.clone()
        };
        (there, wanted)
    };
    let public = switch("endpointPublicAccess", true);
    let private = switch("endpointPrivateAccess", false);
    let cidrs = set("publicAccessCidrs", &[EVERYBODY]);
    if public.0 != public.1 || private.0 != private.1 || cidrs.0 != cidrs.1 {
        changes.push(Change::Endpoints {
            public: public.1,
            private: private.1,
            cidrs: cidrs.1,
        });
    }
    let subnets = set("subnetIds", &[]);
    let groups = set("securityGroupIds", &[]);
    if subnets.0 != subnets.1 || groups.0 != groups.1 {
        changes.push(Change::Network {
            subnets: subnets.1,
            groups: groups.1,
        });
    }
    changes
}

impl Change {
    /// What tells its request from the others of one operation.
    fn label(&self) -> String {
        match self {
            Self::Version(version) => format!("version-{version}"),
            Self::Access(_) => "access".to_owned(),
            Self::Encryption(_) => "encryption".to_owned(),
            Self::Logging(_) => "logging".to_owned(),
            Self::Support(_) => "support".to_owned(),
            Self::Endpoints { .. } => "endpoints".to_owned(),
            Self::Network { .. } => "network".to_owned(),
            Self::ZonalShift(_) => "zonal-shift".to_owned(),
            Self::DeletionProtection(_) => "deletion-protection".to_owned(),
        }
    }

    /// What people see while it runs.
    fn phrase(&self) -> String {
        match self {
            Self::Version(version) => format!("updating to Kubernetes {version}"),
            Self::Encryption(_) => "encrypting Secrets".to_owned(),
            other => format!("updating {}", other.label().replace('-', " ")),
        }
    }

    /// The change in a request of UpdateClusterConfig; the other two have requests of their own.
    fn fill(&self, request: UpdateClusterConfigFluentBuilder) -> UpdateClusterConfigFluentBuilder {
        match self {
            Self::Version(_) | Self::Encryption(_) => request,
            Self::Access(mode) => {
                let mode = AuthenticationMode::from(mode.as_str());
                request.access_config(
                    UpdateAccessConfigRequest::builder()
                        .authentication_mode(mode)
                        .build(),
                )
            }
            Self::Logging(enabled) => request.logging(logging_request(enabled)),
            Self::Support(support) => {
                let support = SupportType::from(support.as_str());
                request.upgrade_policy(UpgradePolicyRequest::builder().support_type(support).build())
            }
            Self::Endpoints {
                public,
                private,
                cidrs,
            } => {
                let cidrs = Some(cidrs.clone()).filter(|_| *public);
                request.resources_vpc_config(
                    VpcConfigRequest::builder()
                        .endpoint_public_access(*public)
                        .endpoint_private_access(*private)
                        .set_public_access_cidrs(cidrs)
                        .build(),
                )
            }
            Self::Network { subnets, groups } => request.resources_vpc_config(
                VpcConfigRequest::builder()
                    .set_subnet_ids(Some(subnets.clone()))
                    .set_security_group_ids(Some(groups.clone()))
                    .build(),
            ),
            Self::ZonalShift(enabled) => {
                request.zonal_shift_config(ZonalShiftConfigRequest::builder().enabled(*enabled).build())
            }
            Self::DeletionProtection(enabled) => request.deletion_protection(*enabled),
        }
    }

    /// Sends it; `None` where the answer names no update to follow.
    async fn send(&self, work: Work<'_>) -> Result<Option<Update>, Failure> {
        let eks = &work.aws.eks;
        let token = client_token(work.cx, &self.label());
        match self {
            Self::Version(version) => {
                let request = eks
                    .update_cluster_version()
                    .name(work.id)
                    .version(version)
                    .client_request_token(token);
                let send = || async {
                    request
                        .clone()
                        .send()
                        .await
                        .map_err(sdk("eks:UpdateClusterVersion"))
                };
                Ok(BUSY.send(work.cx, send).await?.update)
            }
            Self::Encryption(config) => {
                let request = eks
                    .associate_encryption_config()
                    .cluster_name(work.id)
                    .set_encryption_config(Some(encryption_request(config)))
                    .client_request_token(token);
                let send = || async {
                    request
                        .clone()
                        .send()
                        .await
                        .map_err(sdk("eks:AssociateEncryptionConfig"))
                };
                Ok(BUSY.send(work.cx, send).await?.update)
            }
            other => {
                let request = eks
                    .update_cluster_config()
                    .name(work.id)
                    .client_request_token(token);
                let request = other.fill(request);
                let send = || async {
                    request
                        .clone()
                        .send()
                        .await
                        .map_err(sdk("eks:UpdateClusterConfig"))
                };
                Ok(BUSY.send(work.cx, send).await?.update)
            }
        }
    }

    /// Sends it and waits until EKS is done.
    pub(super) async fn carry_out(&self, work: Work<'_>) -> Result<(), Failure> {
        work.cx.progress(&self.phrase());
        let update = match self.send(work).await {
            Ok(update) => update,
            // Somebody else was faster; the cluster is as it is to be.
            Err(failure) if no_change(&failure) => return Ok(()),
            Err(failure) => return Err(failure),
        };
        work.changed();
        let Some(id) = update.and_then(|update| update.id) else {
            return Ok(());
        };
        follow(work, work.id, None, &id, &self.phrase()).await
    }
}

fn no_change(failure: &Failure) -> bool {
    let says = |text: &str| failure.message.contains(text);
    failure.code == "InvalidParameterException"
        && (says("already at the desired configuration") || says("No changes"))
}

/// Waits until an update of a cluster or add-on is done.
///
/// # Errors
/// Where it failed: with what EKS says of it.
pub(super) async fn follow(
    work: Work<'_>,
    cluster: &str,
    addon: Option<&str>,
    id: &str,
    phrase: &str,
) -> Result<(), Failure> {
    let request = work
        .aws
        .eks
        .describe_update()
        .name(cluster)
        .update_id(id)
        .set_addon_name(addon.map(str::to_owned));
    let look = || async {
        let update = request
            .clone()
            .send()
            .await
            .map_err(sdk("eks:DescribeUpdate"))?
            .update;
        let status = update.as_ref().and_then(|update| update.status.clone());
        match status {
            Some(UpdateStatus::Successful) => Ok(Wait::Over(())),
            Some(failed @ (UpdateStatus::Failed | UpdateStatus::Cancelled)) => {
                let errors = update.and_then(|update| update.errors).unwrap_or_default();
                let why = super::issues(errors.into_iter().map(|error| {
                    (
                        error.error_code.map(|code| code.as_str().to_owned()),
                        error.error_message,
                    )
                }));
                let message = format!(
                    "{phrase}: update {id} is {}",
                    super::with_issues(failed.as_str(), &why)
                );
                Err(Failure::new("UpdateFailed", message))
            }
            _ => Ok(Wait::On(phrase.to_owned())),
        }
    };
    wait(work.cx, phrase, LOOK, look).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    const SEEN: &str = r#"{"name":"c","version":"1.33","resourcesVpcConfig":{"subnetIds":["a","b"],"securityGroupIds":[],
        "endpointPublicAccess":true,"endpointPrivateAccess":false,"publicAccessCidrs":["0.0.0.0/0"]},
        "accessConfig":{"authenticationMode":"API"},"logging":{"clusterLogging":[{"types":["api"],"enabled":true}]},
        "upgradePolicy":{"supportType":"EXTENDED"},"deletionProtection":false}"#;

    fn of(applied: &str, inputs: &str) -> Vec<Change> {
        changes(&json(SEEN), &json(applied), &json(inputs)).unwrap()
    }

    #[test]
    fn each_kind_of_change_is_a_request_of_its_own() {
        let inputs = r#"{"name":"c","version":"1.35","resourcesVpcConfig":{"subnetIds":["b","c","a"],"endpointPrivateAccess":true},
            "accessConfig":{"authenticationMode":"API"},"logging":{},"upgradePolicy":{"supportType":"STANDARD"},"deletionProtection":true}"#;
        assert_eq!(
            of("{}", inputs),
            [
                Change::Version("1.34".into()),
                Change::Version("1.35".into()),
                Change::Logging(vec![]),
                Change::Support("STANDARD".into()),
                Change::Endpoints {
                    public: true,
                    private: true,
                    cidrs: vec!["0.0.0.0/0".into()]
                },
                Change::Network {
                    subnets: vec!["a".into(), "b".into(), "c".into()],
                    groups: vec![]
                },
                Change::DeletionProtection(true),
            ]
        );
    }

    #[test]
    fn what_was_never_declared_stays() {
        assert_eq!(
            of(
                "{}",
                r#"{"name":"c","resourcesVpcConfig":{"subnetIds":["b","a"]}}"#
            ),
            []
        );
    }

    #[test]
    fn what_is_not_declared_any_more_goes_back_to_the_default() {
        let applied = r#"{"logging":{"clusterLogging":[{"types":["api"],"enabled":true}]},"version":"1.33"}"#;
        assert_eq!(
            of(applied, r#"{"resourcesVpcConfig":{"subnetIds":["a","b"]}}"#),
            [Change::Logging(vec![])]
        );
    }

    #[test]
    fn there_is_no_way_back() {
        let failure = changes(&json(SEEN), &Value::Null, &json(r#"{"version":"1.32"}"#)).unwrap_err();
        assert!(failure.message.contains("does not go back to 1.32"), "{failure}");
    }
}
