//! `aws:eks:Addon`: software in a cluster that EKS installs and keeps.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_eks::types::{Addon as Found, AddonStatus, ResolveConflicts};
use epid_provider::{
    Equality, Failure, Field, KindSchema, Object, Output, Path, Present, Problem, Token, Type, Urn, Value,
    async_trait,
};

use super::cluster_update::follow;
use super::{
    BUSY, Wait, absent, busy, client_token, id_in_cluster, issues, parts, read_tags, settle_tags,
    tags_of_create, taken, unless_absent, wait, with_issues,
};
use crate::clients::Clients;
use crate::given::{self, text};
use crate::inputs::map;
use crate::kind::named;
use crate::named::{Named, Seen, Work, gone, sdk, there, token_of};
use crate::tags;

/// Between two looks.
const LOOK: Duration = Duration::from_secs(5);
/// Configuration values that configure nothing.
const NOTHING: &str = "{}";

/// The kind.
#[derive(Debug)]
pub(super) struct Addon {
    schema: KindSchema,
}

impl Addon {
    pub(super) fn new() -> Self {
        let fields = [
            Field::new("clusterName", Type::String).required().immutable(),
            Field::new("addonName", Type::String)
                .required()
                .immutable()
                .doc("Its name in EKS's catalogue: coredns, vpc-cni, metrics-server, …"),
            Field::new("addonVersion", Type::String)
                .doc("Its version, such as v1.12.4-eksbuild.2; EKS's default when it is created, and kept, where it is not given."),
            Field::new("configurationValues", Type::Any)
                .equality(Equality::By(same_values))
                .doc("Its configuration, by the add-on's own schema: a map or JSON text."),
            Field::new("resolveConflicts", Type::one_of(&["NONE", "OVERWRITE", "PRESERVE"]))
                .write_only()
                .default("NONE")
                .doc("What happens to settings that somebody else changed in the cluster."),
            Field::new("serviceAccountRoleArn", Type::String).doc("The role of its service account."),
            Field::new("tags", Type::map(Type::String)),
        ];
        let mut schema = KindSchema::new(
            named("aws:eks:Addon"),
            "Software in an EKS cluster that EKS installs and keeps, such as coredns.",
            Object::of(fields),
        );
        schema.outputs = vec![
            Output::new("arn", "Its ARN."),
            Output::new("version", "The version that is installed.").changes_with(&["addonVersion"]),
            Output::new("status", "ACTIVE once it is ready."),
        ];
        schema.expected = super::seconds(60, 60, 40);
        schema.timeouts = super::seconds(1500, 1500, 1200);
        Self { schema }
    }
}

/// Configuration values as a value; absent and empty ones are an empty map.
fn values(value: &Value) -> Value {
    let empty = || Value::map::<&str>([]);
    match value {
        Value::Null => empty(),
        Value::Str(text) if text.trim().is_empty() => empty(),
        Value::Str(text) => serde_json::from_str(text).unwrap_or_else(|_| value.clone()),
        other => other.clone(),
    }
}

fn same_values(a: &Value, b: &Value) -> bool {
    values(a) == values(b)
}

/// Configuration values as the text to send; `None` where none are declared.
fn values_text(inputs: &Value) -> Result<Option<String>, Failure> {
    match given::at(inputs, "configurationValues") {
        None => Ok(None),
        Some(Value::Str(text)) => Ok(Some(text.to_string())),
        Some(other) => serde_json::to_string(other)
            .map(Some)
            .map_err(|error| Failure::new("InvalidInput", format_args!("`configurationValues`: {error}"))),
    }
}

async fn describe(work: Work<'_>) -> Result<Option<Found>, Failure> {
    let (cluster, name) = parts(work.id);
    let request = work
        .aws
        .eks
        .describe_addon()
        .cluster_name(cluster)
        .addon_name(name);
    let found = unless_absent(request.send().await.map_err(sdk("eks:DescribeAddon")))?;
    found
        .map(|output| there("eks:DescribeAddon", "addon", output.addon))
        .transpose()
}

fn health(addon: &Found) -> String {
    let found = addon
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

/// Waits until an add-on is not on its way to something; until it is well too, where `well`. DEGRADED is on the way: an
/// add-on with pods is, until they run.
async fn settled(work: Work<'_>, well: bool) -> Result<Found, Failure> {
    let begun = work.cx.now();
    let what = format!("add-on {}", work.id);
    let look = || async {
        let Some(addon) = describe(work).await? else {
            if work.cx.now().since(begun) < Duration::from_secs(30) {
                return Ok(Wait::On("CREATING".to_owned()));
            }
            return Err(gone(work.id));
        };
        let status = addon.status.clone().unwrap_or(AddonStatus::Active);
        match status {
            AddonStatus::Creating | AddonStatus::Updating => Ok(Wait::On(status.as_str().to_owned())),
            AddonStatus::Degraded if well => Ok(Wait::On(with_issues("DEGRADED", &health(&addon)))),
            AddonStatus::Deleting => Err(Failure::new("Deleting", format_args!("{what} is being deleted"))),
            _ => Ok(Wait::Over(addon)),
        }
    };
    wait(work.cx, &what, LOOK, look).await
}

/// Waits until an add-on is ACTIVE.
async fn active(work: Work<'_>) -> Result<(), Failure> {
    let addon = settled(work, true).await?;
    match &addon.status {
        Some(broken @ (AddonStatus::CreateFailed | AddonStatus::UpdateFailed)) => {
            let status = with_issues(broken.as_str(), &health(&addon));
            let message = format!("add-on {} is {status}", work.id);
            Err(Failure::new("AddonFailed", message)
                .with_hint("remove the cause, then run the command again"))
        }
        _ => Ok(()),
    }
}

fn properties(addon: &Found) -> Value {
    let string = |text: Option<&String>| text.map(|text| Value::str(text));
    let configuration = addon
        .configuration_values
        .as_deref()
        .map(|text| values(&Value::str(text)));
    let configuration = configuration.filter(|values| values.as_map().is_none_or(|map| !map.is_empty()));
    map([
        ("clusterName", string(addon.cluster_name.as_ref())),
        ("addonName", string(addon.addon_name.as_ref())),
        ("addonVersion", string(addon.addon_version.as_ref())),
        ("configurationValues", configuration),
        (
            "serviceAccountRoleArn",
            string(addon.service_account_role_arn.as_ref()),
        ),
        ("tags", Some(tags::observed(&read_tags(addon.tags.as_ref())))),
    ])
}

#[async_trait]
impl Named for Addon {
    fn schema(&self) -> &KindSchema {
        &self.schema
    }

    fn check(&self, properties: &Value) -> Vec<Problem> {
        let wrong = match given::at(properties, "configurationValues") {
            None | Some(Value::Map(_) | Value::Unknown(_) | Value::Opaque(_)) => None,
            Some(Value::Str(text)) => serde_json::from_str::<Value>(text)
                .err()
                .map(|error| format!("`configurationValues` is not JSON: {error}")),
            Some(other) => Some(format!(
                "`configurationValues` takes a map or JSON text, not a {}",
                other.type_name()
            )),
        };
        let at = Path::root().key("configurationValues");
        wrong
            .map(|message| Problem::new(at, message))
            .into_iter()
            .collect()
    }

    fn id(&self, _aws: &Clients, inputs: &Value, _operation: Option<(&Urn, &Token)>) -> Option<String> {
        id_in_cluster(inputs, "addonName")
    }

    fn key(&self, inputs: &Value) -> Option<String> {
        id_in_cluster(inputs, "addonName")
    }

    fn chosen(&self) -> &'static [&'static str] {
        &["addonVersion"]
    }

    async fn find(&self, work: Work<'_>, _applied: Option<&Value>) -> Result<Option<Seen>, Failure> {
        let Some(addon) = describe(work).await? else {
            return Ok(None);
        };
        let there = read_tags(addon.tags.as_ref());
        let unfinished = match &addon.status {
            Some(AddonStatus::Creating | AddonStatus::Degraded | AddonStatus::Updating) => {
                vec!["become ACTIVE".to_owned()]
            }
            Some(AddonStatus::CreateFailed) => vec!["be made again after it failed".to_owned()],
            Some(AddonStatus::UpdateFailed) => vec!["be updated again after it failed".to_owned()],
            _ => Vec::new(),
        };
        let outputs = map([
            ("arn", addon.addon_arn.as_deref().map(Value::str)),
            ("version", addon.addon_version.as_deref().map(Value::str)),
            (
                "status",
                addon.status.as_ref().map(|status| Value::str(status.as_str())),
            ),
        ]);
        Ok(Some(Seen {
            present: Present {
                id: Arc::from(work.id),
                properties: properties(&addon),
                outputs,
                owner: tags::owner(&there),
            },
            token: token_of(&there),
            unfinished,
            leaving: matches!(addon.status, Some(AddonStatus::Deleting)),
        }))
    }

    async fn make(&self, work: Work<'_>, inputs: &Value) -> Result<(), Failure> {
        let (cluster, name) = parts(work.id);
        // PRESERVE is for updates only (EKS API reference, CreateAddon).
        let conflicts = text(inputs, "resolveConflicts").map(|wanted| match wanted.as_str() {
            "OVERWRITE" => ResolveConflicts::Overwrite,
            _ => ResolveConflicts::None,
        });
        let request = work
            .aws
            .eks
            .create_addon()
            .cluster_name(cluster)
            .addon_name(name)
            .client_request_token(client_token(work.cx, "create"))
            .set_addon_version(text(inputs, "addonVersion"))
            .set_configuration_values(values_text(inputs)?)
            .set_resolve_conflicts(conflicts)
            .set_service_account_role_arn(text(inputs, "serviceAccountRoleArn"))
            .set_tags(Some(tags_of_create(work, inputs)));
        let send = || async { request.clone().send().await.map_err(sdk("eks:CreateAddon")) };
        BUSY.send(work.cx, send).await.map(|_| ()).map_err(taken)
    }

    fn afterwards(&self, _inputs: &Value) -> Vec<String> {
        vec!["become ACTIVE".to_owned()]
    }

    async fn settle(&self, work: Work<'_>, applied: &Value, inputs: &Value) -> Result<(), Failure> {
        if applied.is_null() {
            return active(work).await;
        }
        let (cluster, name) = parts(work.id);
        let addon = settled(work, false).await?;
        if addon.status == Some(AddonStatus::CreateFailed) {
            work.cx.progress("deleting the add-on that failed");
            self.remove(work).await?;
            self.make(work, inputs).await?;
            return active(work).await;
        }
        let there = properties(&addon);
        let version = text(inputs, "addonVersion")
            .filter(|wanted| text(&there, "addonVersion").as_ref() != Some(wanted));
        let declared =
            |field: &str| given::at(inputs, field).is_some() || given::at(applied, field).is_some();
        let value = |of: &Value, field: &str| given::at(of, field).cloned().unwrap_or_default();
        let configuration = if declared("configurationValues")
            && !same_values(
                &value(inputs, "configurationValues"),
                &value(&there, "configurationValues"),
            ) {
            Some(values_text(inputs)?.unwrap_or_else(|| NOTHING.to_owned()))
        } else {
            None
        };
        let role = text(inputs, "serviceAccountRoleArn");
        let role = (declared("serviceAccountRoleArn") && role != text(&there, "serviceAccountRoleArn"))
            .then(|| role.unwrap_or_default());
        let failed = addon.status == Some(AddonStatus::UpdateFailed);
        if failed || version.is_some() || configuration.is_some() || role.is_some() {
            let conflicts = text(inputs, "resolveConflicts");
            let request = work
                .aws
                .eks
                .update_addon()
                .cluster_name(cluster)
                .addon_name(name)
                .client_request_token(client_token(work.cx, "update"))
                .set_addon_version(version)
                .set_configuration_values(configuration)
                .set_service_account_role_arn(role)
                .set_resolve_conflicts(conflicts.map(|wanted| ResolveConflicts::from(wanted.as_str())));
            let send = || async { request.clone().send().await.map_err(sdk("eks:UpdateAddon")) };
            let update = BUSY.send(work.cx, send).await?.update;
            work.changed();
            if let Some(id) = update.and_then(|update| update.id) {
                follow(work, cluster, Some(name), &id, "updating the add-on").await?;
            }
        }
        if let Some(arn) = &addon.addon_arn {
            settle_tags(work, arn, &read_tags(addon.tags.as_ref()), applied, inputs).await?;
        }
        active(work).await
    }

    async fn remove(&self, work: Work<'_>) -> Result<(), Failure> {
        let (cluster, name) = parts(work.id);
        let what = format!("add-on {}", work.id);
        let request = work.aws.eks.delete_addon().cluster_name(cluster).addon_name(name);
        let begin = || async {
            let Some(addon) = describe(work).await? else {
                return Ok(Wait::Over(false));
            };
            if addon.status == Some(AddonStatus::Deleting) {
                return Ok(Wait::Over(true));
            }
            match request.clone().send().await.map_err(sdk("eks:DeleteAddon")) {
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
                Some(addon) if addon.status == Some(AddonStatus::DeleteFailed) => {
                    let message = format!(
                        "deleting {what}: {}",
                        with_issues("DELETE_FAILED", &health(&addon))
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
    fn configuration_is_the_same_as_map_or_text_and_none_is_empty() {
        let text = Value::str(r#"{"computeType": "Fargate"}"#);
        let map = Value::map([("computeType", Value::str("Fargate"))]);
        assert!(same_values(&text, &map));
        assert!(same_values(&Value::Null, &Value::str("{}")) && same_values(&Value::str(" "), &Value::Null));
        assert!(!same_values(&Value::Null, &map));
    }
}
