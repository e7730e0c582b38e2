//! The kinds of EKS: clusters, Fargate profiles, add-ons and access entries.
//!
//! Facts from the EKS API reference (2017-11-01) and user guide: creates and updates carry a client token, so that the
//! same request twice is one; a cluster works on one profile or update at a time and answers `ResourceInUseException` to
//! everything else; a change of the configuration is of one kind per request; IAM roles that are new are refused with
//! `InvalidParameterException` until EKS can assume them.

mod access_entry;
mod addon;
mod cluster;
mod cluster_shape;
mod cluster_update;
mod fargate_profile;
mod version;

use std::collections::HashMap;
use std::time::Duration;

use epid_provider::schema::Mutex;
use epid_provider::{Call, Durations, Failure, Retry, Value};

use crate::kind::ResourceKind;
use crate::named::{OfName, Work, sdk};
use crate::patience::{BUSY_PAUSE, Patience};
use crate::tags::{self, Tags};

/// Every kind of this module.
pub(crate) fn kinds() -> Vec<Box<dyn ResourceKind>> {
    vec![
        Box::new(OfName(cluster::Cluster::new())),
        Box::new(OfName(fargate_profile::FargateProfile::new())),
        Box::new(OfName(addon::Addon::new())),
        Box::new(OfName(access_entry::AccessEntry::new())),
    ]
}

/// One at a time per cluster.
fn one_per_cluster(property: &str) -> Mutex {
    Mutex {
        class: "eks-cluster".into(),
        property: property.into(),
    }
}

/// Durations in seconds.
fn seconds(create: u64, update: u64, delete: u64) -> Durations {
    Durations {
        create: Duration::from_secs(create),
        update: Duration::from_secs(update),
        delete: Duration::from_secs(delete),
    }
}

/// True for EKS's word that something does not exist.
fn absent(failure: &Failure) -> bool {
    failure.code == "ResourceNotFoundException"
        || failure.code == "ClientException" && failure.message.contains("No cluster found for name")
}

/// Nothing where EKS says that there is nothing.
fn unless_absent<T>(answer: Result<T, Failure>) -> Result<Option<T>, Failure> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(failure) if absent(&failure) => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// What waiting helps against while a cluster works on something else. The same code says that a name is taken, so the
/// message decides.
fn busy(failure: &Failure) -> Option<&'static str> {
    let says = |text: &str| failure.message.contains(text);
    let refused = match failure.code.as_str() {
        "ResourceInUseException" => {
            says("in progress") || says("in status") || says("is in ") || says("currently in")
        }
        "InvalidParameterException" | "InvalidRequestException" => says("currently in") && says(" state"),
        _ => false,
    };
    (refused && !says("in status ACTIVE")).then_some("waiting for another operation of the cluster to end")
}

/// For requests that a busy cluster refuses; until the call's deadline.
const BUSY: Patience<'static> = Patience {
    budget: Duration::from_secs(3600),
    pause: BUSY_PAUSE,
    waits: &busy,
};

/// A create's refusal because of its name, in the contract's word.
fn taken(failure: Failure) -> Failure {
    let says = |text: &str| failure.message.contains(text);
    if failure.code == "ResourceInUseException" && (says("already exists") || says("already in use")) {
        Failure {
            code: "AlreadyExists".to_owned(),
            ..failure
        }
    } else {
        failure
    }
}

/// The client token of one request of an operation: an operation may send several.
fn client_token(cx: &Call, request: &str) -> String {
    format!("{}-{request}", cx.token)
}

/// Where a wait stands.
enum Wait<T> {
    /// It is over.
    Over(T),
    /// It goes on; this is the status to show.
    On(String),
}

/// Looks again and again until it is over. A read that fails for a moment ends no wait of ten minutes.
async fn wait<T, F>(
    cx: &Call,
    what: &str,
    pause: Duration,
    mut look: impl FnMut() -> F + Send,
) -> Result<T, Failure>
where
    T: Send,
    F: Future<Output = Result<Wait<T>, Failure>> + Send,
{
    let begun = cx.now();
    loop {
        let status = match look().await {
            Ok(Wait::Over(found)) => return Ok(found),
            Ok(Wait::On(status)) => status,
            Err(failure) if failure.retry != Retry::No => format!("cannot be read now ({})", failure.code),
            Err(failure) => return Err(failure),
        };
        cx.progress(&status);
        if let Err(stopped) = cx.sleep(pause).await {
            return Err(if stopped.code == "Deadline" {
                let message = format_args!("{what} is still {status}");
                Failure::deadline(message, cx.now().since(begun)).with_hint(
                    "run the command again to go on waiting; the option `timeouts` gives it more time",
                )
            } else {
                stopped
            });
        }
    }
}

/// Health issues as one sentence; empty where there are none.
fn issues(issues: impl IntoIterator<Item = (Option<String>, Option<String>)>) -> String {
    let one = |(code, message): (Option<String>, Option<String>)| match (code, message) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (code, message) => code.or(message).unwrap_or_default(),
    };
    issues.into_iter().map(one).collect::<Vec<_>>().join("; ")
}

/// `status`, and why.
fn with_issues(status: &str, issues: &str) -> String {
    if issues.is_empty() {
        status.to_owned()
    } else {
        format!("{status} ({issues})")
    }
}

/// The tags of a create.
fn tags_of_create(work: Work<'_>, inputs: &Value) -> HashMap<String, String> {
    tags::of_create(work.cx, &work.aws.default_tags, inputs)
        .into_iter()
        .collect()
}

/// Tags that were read.
fn read_tags(tags: Option<&HashMap<String, String>>) -> Tags {
    tags.into_iter()
        .flatten()
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

/// Brings the tags of `arn` to what they are to be.
async fn settle_tags(
    work: Work<'_>,
    arn: &str,
    there: &Tags,
    applied: &Value,
    inputs: &Value,
) -> Result<(), Failure> {
    let (set, unset) = tags::change(work.cx, &work.aws.default_tags, applied, inputs, there);
    let eks = &work.aws.eks;
    if !set.is_empty() {
        let request = eks
            .tag_resource()
            .resource_arn(arn)
            .set_tags(Some(set.into_iter().collect()));
        request.send().await.map_err(sdk("eks:TagResource"))?;
        work.changed();
    }
    if !unset.is_empty() {
        let request = eks.untag_resource().resource_arn(arn).set_tag_keys(Some(unset));
        request.send().await.map_err(sdk("eks:UntagResource"))?;
        work.changed();
    }
    Ok(())
}

/// The parts of an id `CLUSTER/NAME`. Names of clusters have no slash; ARNs, which are names of access entries, do.
fn parts(id: &str) -> (&str, &str) {
    id.split_once('/').unwrap_or((id, ""))
}

/// The id of what belongs to a cluster.
fn id_in_cluster(inputs: &Value, name: &str) -> Option<String> {
    let cluster = crate::inputs::text(inputs, "clusterName")?;
    Some(format!("{cluster}/{}", crate::inputs::text(inputs, name)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_says_whether_waiting_helps() {
        let of = |code: &str, message: &str| busy(&Failure::new(code, message)).is_some();
        let code = "ResourceInUseException";
        for message in [
            "Cannot create Fargate Profile b because cluster c currently has Fargate profile a in status CREATING",
            "Cannot VersionUpdate because cluster c currently has update 1-2 in progress",
            "Addon coredns cannot be updated as it is currently in CREATING state",
            "Cluster 'c' is in CREATING status; it cannot be deleted now",
        ] {
            assert!(of(code, message), "{message}");
        }
        for message in [
            "Cluster already exists with name: c",
            "A Fargate Profile already exists with this name in this cluster.",
            "Cannot delete because cluster c currently has Fargate profile a in status ACTIVE",
        ] {
            assert!(!of(code, message), "{message}");
        }
        assert!(!of("InvalidParameterException", "subnets should not be empty"));
    }

    #[test]
    fn an_arn_may_stand_in_an_id() {
        assert_eq!(
            parts("demo/arn:aws:iam::000000000000:role/team/dev"),
            ("demo", "arn:aws:iam::000000000000:role/team/dev")
        );
    }
}
