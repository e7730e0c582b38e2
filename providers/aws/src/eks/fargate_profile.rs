//! `aws:eks:FargateProfile`: which pods of a cluster run on Fargate. EKS makes and deletes one at a time per cluster, and
//! changes none.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_eks::types::{FargateProfile as Profile, FargateProfileSelector, FargateProfileStatus};
use epid_provider::{
    Equality, Failure, Field, KindSchema, Map, Object, Output, Path, Present, Problem, Segment, Token, Type,
    Urn, Value, async_trait,
};

use super::{
    BUSY, Wait, absent, busy, client_token, id_in_cluster, issues, parts, read_tags, settle_tags,
    tags_of_create, taken, unless_absent, wait, with_issues,
};
use crate::clients::Clients;
use crate::given::{self, text, texts};
use crate::inputs::{list, map};
use crate::kind::named;
use crate::named::{Named, Seen, Work, gone, sdk, there, token_of};
use crate::patience::{PROPAGATION, PROPAGATION_PAUSE, Patience};
use crate::tags;

/// Between two looks.
const LOOK: Duration = Duration::from_secs(5);
/// Selectors of a profile, and labels of a selector, at most (EKS user guide, "Service quotas").
const MOST: usize = 5;

fn role_not_ready(failure: &Failure) -> Option<&'static str> {
    let waits = failure.code == "InvalidParameterException"
        && failure
            .message
            .contains("Misconfigured PodExecutionRole Trust Policy");
    waits.then_some("waiting for EKS to be able to assume the pod execution role")
}

/// For CreateFargateProfile: the role may be new. A role that is wrong is refused in the same words, so it ends.
const ROLE: Patience<'static> = Patience {
    budget: PROPAGATION,
    pause: PROPAGATION_PAUSE,
    waits: &role_not_ready,
};

/// The kind.
#[derive(Debug)]
pub(super) struct FargateProfile {
    schema: KindSchema,
}

impl FargateProfile {
    pub(super) fn new() -> Self {
        let selector = [
            Field::new("namespace", Type::String)
                .required()
                .doc("The namespace of the pods; `*` and `?` stand for any characters."),
            Field::new("labels", Type::map(Type::String))
                .doc("Labels that the pods must have: five at most."),
        ];
        let fields = [
            Field::new("clusterName", Type::String).required().immutable(),
            Field::new("fargateProfileName", Type::String)
                .required()
                .immutable()
                .doc("Its name, unique in the cluster; of several that take a pod the alphabetically first does."),
            Field::new("podExecutionRoleArn", Type::String)
                .required()
                .immutable()
                .doc("The role that Fargate pulls images with; its path is `/`."),
            Field::new("selectors", Type::list(Type::object(selector)))
                .required()
                .immutable()
                .equality(Equality::By(same_selectors))
                .doc("Which pods it takes: one to five selectors, of which one must match."),
            Field::new("subnets", Type::set(Type::String))
                .immutable()
                .doc("Private subnets for the pods; all of the cluster's where it is not given."),
            Field::new("tags", Type::map(Type::String)),
        ];
        let mut schema = KindSchema::new(
            named("aws:eks:FargateProfile"),
            "Runs pods of some namespaces of an EKS cluster on Fargate.",
            Object::of(fields),
        );
        schema.outputs = vec![
            Output::new("arn", "Its ARN."),
            Output::new("status", "ACTIVE once it is ready."),
        ];
        schema.mutex = Some(super::one_per_cluster("clusterName"));
        schema.expected = super::seconds(130, 1, 120);
        schema.timeouts = super::seconds(3600, 600, 3600);
        Self { schema }
    }
}

/// Namespace and labels of each selector, in one order.
fn selectors(value: &Value) -> Vec<(String, Vec<(String, String)>)> {
    let one = |selector: &Value| {
        let labels = given::map(selector, "labels");
        let label = |(key, value): (&Arc<str>, &Value)| {
            (
                key.to_string(),
                value.expose().as_str().unwrap_or_default().to_owned(),
            )
        };
        (
            text(selector, "namespace").unwrap_or_default(),
            labels.iter().map(label).collect(),
        )
    };
    let mut all: Vec<_> = value
        .as_list()
        .unwrap_or_default()
        .iter()
        .map(|s| one(s.expose()))
        .collect();
    all.sort();
    all.dedup();
    all
}

fn same_selectors(a: &Value, b: &Value) -> bool {
    selectors(a) == selectors(b)
}

async fn describe(work: Work<'_>) -> Result<Option<Profile>, Failure> {
    let (cluster, name) = parts(work.id);
    let request = work
        .aws
        .eks
        .describe_fargate_profile()
        .cluster_name(cluster)
        .fargate_profile_name(name);
    let found = unless_absent(request.send().await.map_err(sdk("eks:DescribeFargateProfile")))?;
    found
        .map(|output| {
            there(
                "eks:DescribeFargateProfile",
                "fargateProfile",
                output.fargate_profile,
            )
        })
        .transpose()
}

fn health(profile: &Profile) -> String {
    let found = profile
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

/// Waits until a profile is not on its way to something; gives it as it then is.
async fn settled(work: Work<'_>) -> Result<Profile, Failure> {
    let begun = work.cx.now();
    let look = || async {
        let Some(profile) = describe(work).await? else {
            if work.cx.now().since(begun) < Duration::from_secs(30) {
                return Ok(Wait::On("CREATING".to_owned()));
            }
            return Err(gone(work.id));
        };
        match &profile.status {
            Some(FargateProfileStatus::Creating) => Ok(Wait::On("CREATING".to_owned())),
            Some(FargateProfileStatus::Deleting) => Err(Failure::new(
                "Deleting",
                format_args!("Fargate profile {} is being deleted", work.id),
            )),
            _ => Ok(Wait::Over(profile)),
        }
    };
    wait(work.cx, &format!("Fargate profile {}", work.id), LOOK, look).await
}

fn failed(profile: &Profile) -> bool {
    matches!(profile.status, Some(FargateProfileStatus::CreateFailed))
}

fn properties(profile: &Profile) -> Value {
    let string = |text: Option<&String>| text.map(|text| Value::str(text));
    let selector = |selector: &FargateProfileSelector| {
        let mut labels: Vec<(&str, Value)> = Vec::new();
        for (key, value) in selector.labels.iter().flatten() {
            labels.push((key, Value::str(value)));
        }
        let labels = (!labels.is_empty()).then(|| Value::map(labels));
        map([
            ("namespace", string(selector.namespace.as_ref())),
            ("labels", labels),
        ])
    };
    let selectors = profile
        .selectors
        .as_deref()
        .unwrap_or_default()
        .iter()
        .map(selector);
    map([
        ("clusterName", string(profile.cluster_name.as_ref())),
        (
            "fargateProfileName",
            string(profile.fargate_profile_name.as_ref()),
        ),
        (
            "podExecutionRoleArn",
            string(profile.pod_execution_role_arn.as_ref()),
        ),
        ("selectors", Some(Value::list(selectors))),
        ("subnets", profile.subnets.as_ref().map(list)),
        ("tags", Some(tags::observed(&read_tags(profile.tags.as_ref())))),
    ])
}

#[async_trait]
impl Named for FargateProfile {
    fn schema(&self) -> &KindSchema {
        &self.schema
    }

    fn check(&self, properties: &Value) -> Vec<Problem> {
        let root = Path::root();
        let mut found = Vec::new();
        if text(properties, "fargateProfileName").is_some_and(|name| name.starts_with("eks-")) {
            let at = root.key("fargateProfileName");
            found.push(Problem::new(at, "a profile's name may not begin with `eks-`"));
        }
        let at = root.key("selectors");
        let selectors = given::at(properties, "selectors").and_then(Value::as_list);
        if let Some(count) = selectors
            .map(<[Value]>::len)
            .filter(|count| !(1..=MOST).contains(count))
        {
            let message = format!("`selectors` has {count} items; a profile takes one to {MOST}");
            found.push(Problem::new(at.clone(), message));
        }
        for (index, selector) in selectors.unwrap_or_default().iter().enumerate() {
            let count = given::map(selector.expose(), "labels").len();
            if count > MOST {
                let at = at.join(Segment::Index(index)).key("labels");
                found.push(Problem::new(
                    at,
                    format!("a selector takes {MOST} labels at most, not {count}"),
                ));
            }
        }
        found
    }

    fn id(&self, _aws: &Clients, inputs: &Value, _operation: Option<(&Urn, &Token)>) -> Option<String> {
        id_in_cluster(inputs, "fargateProfileName")
    }

    fn key(&self, inputs: &Value) -> Option<String> {
        id_in_cluster(inputs, "fargateProfileName")
    }

    fn chosen(&self) -> &'static [&'static str] {
        &["subnets"]
    }

    async fn find(&self, work: Work<'_>, _applied: Option<&Value>) -> Result<Option<Seen>, Failure> {
        let Some(profile) = describe(work).await? else {
            return Ok(None);
        };
        let there = read_tags(profile.tags.as_ref());
        let unfinished = match &profile.status {
            Some(FargateProfileStatus::Creating) => vec!["become ACTIVE".to_owned()],
            Some(FargateProfileStatus::CreateFailed) => vec!["be made again after it failed".to_owned()],
            _ => Vec::new(),
        };
        let outputs = map([
            ("arn", profile.fargate_profile_arn.as_deref().map(Value::str)),
            (
                "status",
                profile.status.as_ref().map(|status| Value::str(status.as_str())),
            ),
        ]);
        Ok(Some(Seen {
            present: Present {
                id: Arc::from(work.id),
                properties: properties(&profile),
                outputs,
                owner: tags::owner(&there),
            },
            token: token_of(&there),
            unfinished,
            leaving: matches!(profile.status, Some(FargateProfileStatus::Deleting)),
        }))
    }

    async fn make(&self, work: Work<'_>, inputs: &Value) -> Result<(), Failure> {
        let (cluster, name) = parts(work.id);
        let selector = |selector: &Value| {
            let labels = given::map(selector, "labels");
            let label = |(key, value): (&Arc<str>, &Value)| {
                (
                    key.to_string(),
                    value.expose().as_str().unwrap_or_default().to_owned(),
                )
            };
            FargateProfileSelector::builder()
                .set_namespace(text(selector, "namespace"))
                .set_labels((!labels.is_empty()).then(|| Map::iter(&labels).map(label).collect()))
                .build()
        };
        let selectors = given::at(inputs, "selectors")
            .and_then(Value::as_list)
            .unwrap_or_default();
        let request = work
            .aws
            .eks
            .create_fargate_profile()
            .cluster_name(cluster)
            .fargate_profile_name(name)
            .client_request_token(client_token(work.cx, "create"))
            .set_pod_execution_role_arn(text(inputs, "podExecutionRoleArn"))
            .set_selectors(Some(selectors.iter().map(|s| selector(s.expose())).collect()))
            .set_subnets(texts(inputs, "subnets"))
            .set_tags(Some(tags_of_create(work, inputs)));
        let once = || async {
            request
                .clone()
                .send()
                .await
                .map_err(sdk("eks:CreateFargateProfile"))
        };
        // The two kinds of waiting have budgets of their own: a busy cluster must not use up the role's.
        let send = || ROLE.send(work.cx, once);
        BUSY.send(work.cx, send).await.map(|_| ()).map_err(|failure| {
            if role_not_ready(&failure).is_some() {
                failure.with_hint(
                    "look whether `podExecutionRoleArn` is right, its trust policy names eks-fargate-pods.amazonaws.com, and AmazonEKSFargatePodExecutionRolePolicy is attached",
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
        let mut profile = settled(work).await?;
        if failed(&profile) && !applied.is_null() {
            work.cx.progress("deleting the profile that failed");
            self.remove(work).await?;
            self.make(work, inputs).await?;
            profile = settled(work).await?;
        }
        if failed(&profile) {
            let status = with_issues("CREATE_FAILED", &health(&profile));
            let message = format!("Fargate profile {} is {status}", work.id);
            return Err(Failure::new("ProfileFailed", message)
                .with_hint("remove the cause, then run the command again: it makes the profile anew"));
        }
        match &profile.fargate_profile_arn {
            Some(arn) if !applied.is_null() => {
                settle_tags(work, arn, &read_tags(profile.tags.as_ref()), applied, inputs).await
            }
            _ => Ok(()),
        }
    }

    async fn remove(&self, work: Work<'_>) -> Result<(), Failure> {
        let (cluster, name) = parts(work.id);
        let what = format!("Fargate profile {}", work.id);
        let request = work
            .aws
            .eks
            .delete_fargate_profile()
            .cluster_name(cluster)
            .fargate_profile_name(name);
        // The cluster may be busy with the deletion of this very profile, which an earlier call began.
        let begin = || async {
            let Some(profile) = describe(work).await? else {
                return Ok(Wait::Over(false));
            };
            if profile.status == Some(FargateProfileStatus::Deleting) {
                return Ok(Wait::Over(true));
            }
            match request
                .clone()
                .send()
                .await
                .map_err(sdk("eks:DeleteFargateProfile"))
            {
                Ok(_) => Ok(Wait::Over(true)),
                Err(failure) if absent(&failure) => Ok(Wait::Over(false)),
                Err(failure) => match busy(&failure) {
                    Some(phrase) => Ok(Wait::On(phrase.to_owned())),
                    None => Err(failure),
                },
            }
        };
        if !wait(work.cx, &what, super::BUSY_PAUSE, begin).await? {
            return Ok(());
        }
        work.changed();
        let look = || async {
            match describe(work).await? {
                None => Ok(Wait::Over(())),
                Some(profile) if profile.status == Some(FargateProfileStatus::DeleteFailed) => {
                    let message = format!(
                        "deleting {what}: {}",
                        with_issues("DELETE_FAILED", &health(&profile))
                    );
                    Err(Failure::new("DeleteFailed", message))
                }
                Some(_) => Ok(Wait::On("DELETING".to_owned())),
            }
        };
        wait(work.cx, &what, LOOK, look).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_have_no_order_and_no_labels_are_none() {
        let json = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        let a = json(r#"[{"namespace":"b","labels":{"x":"1","y":"2"}},{"namespace":"a","labels":{}}]"#);
        let b = json(r#"[{"namespace":"a"},{"namespace":"b","labels":{"y":"2","x":"1"}}]"#);
        assert!(same_selectors(&a, &b));
        assert!(!same_selectors(&a, &json(r#"[{"namespace":"a"}]"#)));
    }
}
