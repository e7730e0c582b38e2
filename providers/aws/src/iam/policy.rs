//! `aws:iam:Policy`: a managed policy of the account. A change of the document is a new default version; the oldest goes
//! where there are five.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_iam::types::PolicyVersion;
use epid_provider::{
    Equality, Failure, Field, KindSchema, Object, Output, Path, Present, Problem, Token, Type, Urn, Value,
    async_trait,
};

use super::tags::{from_iam, to_iam};
use super::{FRESH, document, done_if_absent, is_empty, name, removed, sent, taken, unless_absent};
use crate::clients::Clients;
use crate::given::text;
use crate::kind::named;
use crate::named::{Named, Seen, Work, gone, sdk, there, token_of};
use crate::patience::Patience;
use crate::tags;

/// The longest name of a policy (IAM API reference, CreatePolicy).
const LONGEST_NAME: usize = 128;
/// Versions that a policy may have at once (IAM user guide, "IAM and AWS STS quotas").
const MOST_VERSIONS: usize = 5;

/// For DeletePolicy: a detachment may not be known everywhere yet.
const DETACHED: Patience<'static> = Patience {
    budget: Duration::from_secs(40),
    pause: Duration::from_secs(3),
    waits: &|failure: &Failure| match failure.code.as_str() {
        "DeleteConflict" | "ConcurrentModification" | "ServiceFailure" => {
            Some("waiting for IAM to forget what it was attached to")
        }
        _ => None,
    },
};

/// For CreatePolicyVersion: the policy, and what was deleted to make room, may not be known everywhere yet.
const VERSION: Patience<'static> = Patience {
    waits: &|failure: &Failure| match failure.code.as_str() {
        // Of what was read as not the default, or as fewer than there are.
        "DeleteConflict" | "LimitExceeded" => Some("waiting for IAM to show the policy's versions"),
        _ => (FRESH.waits)(failure),
    },
    ..FRESH
};

/// The kind.
#[derive(Debug)]
pub(super) struct Policy {
    schema: KindSchema,
}

impl Policy {
    pub(super) fn new() -> Self {
        let fields = [
            Field::new("policyName", Type::String)
                .immutable()
                .exclusive()
                .doc("Its name, unique in the account; made of project, stack and resource name where it is not given."),
            Field::new("path", Type::String).immutable().in_name().default("/").doc("The path in its ARN."),
            Field::new("description", Type::String)
                .immutable()
                .doc("IAM cannot change it: another one replaces the policy."),
            Field::new("policyDocument", Type::Any)
                .required()
                .equality(Equality::By(document::same))
                .doc("What is allowed: a policy document as a map or JSON text, at most 6144 characters without spaces."),
            Field::new("tags", Type::map(Type::String)),
        ];
        let mut schema = KindSchema::new(
            named("aws:iam:Policy"),
            "A managed IAM policy of this account.",
            Object::of(fields),
        );
        schema.outputs = vec![
            Output::new("arn", "Its ARN."),
            Output::new("policyName", "Its name, given or generated."),
            Output::new("policyId", "Its unique id, such as ANPA…"),
        ];
        // By what it is attached to (IAM API reference, DeletePolicy).
        schema.held = true;
        schema.timeouts = super::timeouts();
        Self { schema }
    }
}

async fn read(work: Work<'_>) -> Result<Option<aws_sdk_iam::types::Policy>, Failure> {
    let answer = work.aws.iam.get_policy().policy_arn(work.id).send().await;
    let found = unless_absent(answer.map_err(sdk("iam:GetPolicy")))?;
    found
        .map(|output| there("iam:GetPolicy", "Policy", output.policy))
        .transpose()
}

async fn default_document(work: Work<'_>, policy: &aws_sdk_iam::types::Policy) -> Result<Value, Failure> {
    let request = work
        .aws
        .iam
        .get_policy_version()
        .policy_arn(work.id)
        .version_id(policy.default_version_id.as_deref().unwrap_or("v1"));
    let version = request
        .send()
        .await
        .map_err(sdk("iam:GetPolicyVersion"))?
        .policy_version;
    let text = version.and_then(|version| version.document);
    Ok(text.as_deref().map_or(Value::Null, document::from_wire))
}

/// Every version, newest first.
async fn versions(work: Work<'_>) -> Result<Vec<PolicyVersion>, Failure> {
    let mut versions = Vec::new();
    let mut pages = work
        .aws
        .iam
        .list_policy_versions()
        .policy_arn(work.id)
        .into_paginator()
        .items()
        .send();
    while let Some(version) = pages.next().await {
        versions.push(version.map_err(sdk("iam:ListPolicyVersions"))?);
    }
    let number = |version: &PolicyVersion| -> u64 {
        let id = version.version_id.as_deref().unwrap_or_default();
        id.trim_start_matches('v').parse().unwrap_or_default()
    };
    versions.sort_by_key(|version| std::cmp::Reverse(number(version)));
    Ok(versions)
}

async fn delete_version(work: Work<'_>, version: &PolicyVersion) -> Result<(), Failure> {
    let request = work
        .aws
        .iam
        .delete_policy_version()
        .policy_arn(work.id)
        .version_id(version.version_id.as_deref().unwrap_or_default());
    done_if_absent(request.send().await.map_err(sdk("iam:DeletePolicyVersion")))?;
    work.changed();
    Ok(())
}

/// Makes a document the default version. Where there are as many as there may be, the oldest goes: they are looked up
/// each time, as a read may not show all of them yet.
async fn add_version(work: Work<'_>, document: &str) -> Result<(), Failure> {
    let versions = versions(work).await?;
    if versions.len() >= MOST_VERSIONS
        && let Some(oldest) = versions.iter().rev().find(|version| !version.is_default_version)
    {
        delete_version(work, oldest).await?;
    }
    let request = work
        .aws
        .iam
        .create_policy_version()
        .policy_arn(work.id)
        .policy_document(document)
        .set_as_default(true);
    request.send().await.map_err(sdk("iam:CreatePolicyVersion"))?;
    work.changed();
    Ok(())
}

#[async_trait]
impl Named for Policy {
    fn schema(&self) -> &KindSchema {
        &self.schema
    }

    fn check(&self, properties: &Value) -> Vec<Problem> {
        let at = Path::root().key("policyDocument");
        let document = properties.get("policyDocument").unwrap_or(&Value::Null);
        let mut found = name::problems(properties, "policyName", LONGEST_NAME);
        found.extend(document::problems(document, &at, false));
        let size = document::size(document);
        if size > document::MOST_MANAGED {
            let message = format!(
                "the policy has {size} characters without spaces, and IAM takes {}",
                document::MOST_MANAGED
            );
            found.push(Problem::new(at, message).with_hint("split it into two policies"));
        }
        found
    }

    fn id(&self, aws: &Clients, inputs: &Value, operation: Option<(&Urn, &Token)>) -> Option<String> {
        let made_up = operation.map(|(urn, token)| name::generated(urn, token, LONGEST_NAME));
        let name = text(inputs, "policyName").or(made_up)?;
        let path = text(inputs, "path").unwrap_or_else(|| "/".to_owned());
        Some(format!(
            "arn:{}:iam::{}:policy{path}{name}",
            aws.partition, aws.account
        ))
    }

    fn key(&self, inputs: &Value) -> Option<String> {
        let name = text(inputs, "policyName")?.to_lowercase();
        Some(name)
    }

    fn chosen(&self) -> &'static [&'static str] {
        &["policyName"]
    }

    async fn find(&self, work: Work<'_>, _applied: Option<&Value>) -> Result<Option<Seen>, Failure> {
        let Some(policy) = read(work).await? else {
            return Ok(None);
        };
        let Some(document) = unless_absent(default_document(work, &policy).await)? else {
            return Ok(None);
        };
        let tags = from_iam(policy.tags.as_deref());
        let optional = |text: &Option<String>| text.as_deref().map(Value::str);
        let properties = [
            ("policyName", optional(&policy.policy_name)),
            ("path", optional(&policy.path)),
            ("description", optional(&policy.description)),
            ("policyDocument", Some(document)),
            ("tags", Some(tags::observed(&tags)).filter(|tags| !is_empty(tags))),
        ];
        let outputs = [
            ("arn", optional(&policy.arn)),
            ("policyName", optional(&policy.policy_name)),
            ("policyId", optional(&policy.policy_id)),
        ];
        let known = |entries: Vec<(&'static str, Option<Value>)>| {
            Value::map(entries.into_iter().filter_map(|(key, value)| Some((key, value?))))
        };
        Ok(Some(Seen {
            present: Present {
                id: Arc::from(work.id),
                properties: known(properties.into()),
                outputs: known(outputs.into()),
                owner: tags::owner(&tags),
            },
            token: token_of(&tags),
            unfinished: Vec::new(),
            leaving: false,
        }))
    }

    async fn make(&self, work: Work<'_>, inputs: &Value) -> Result<(), Failure> {
        let name = work.id.rsplit('/').next().unwrap_or(work.id);
        let request = work
            .aws
            .iam
            .create_policy()
            .policy_name(name)
            .policy_document(sent(inputs, "policyDocument")?)
            .set_path(text(inputs, "path"))
            .set_description(text(inputs, "description"))
            .set_tags(Some(to_iam(tags::of_create(
                work.cx,
                &work.aws.default_tags,
                inputs,
            ))?));
        request
            .send()
            .await
            .map_err(sdk("iam:CreatePolicy"))
            .map(|_| ())
            .map_err(taken)
    }

    fn afterwards(&self, _inputs: &Value) -> Vec<String> {
        Vec::new()
    }

    async fn settle(&self, work: Work<'_>, applied: &Value, inputs: &Value) -> Result<(), Failure> {
        if applied.is_null() {
            // CreatePolicy has done everything; nothing that differs can have been somebody's intention.
            return Ok(());
        }
        let policy = read(work).await?.ok_or_else(|| gone(work.id))?;
        let wanted = inputs.get("policyDocument").unwrap_or(&Value::Null);
        // A read may be of before the last version: what was not recorded as wanted is sent whatever it says.
        let recorded = applied.get("policyDocument").unwrap_or(&Value::Null);
        let is_new = work.is_unsure() || !document::same(recorded, wanted);
        if is_new || !document::same(&default_document(work, &policy).await?, wanted) {
            let document = sent(inputs, "policyDocument")?;
            let send = || add_version(work, &document);
            VERSION.send(work.cx, send).await?;
        }
        let there = from_iam(policy.tags.as_deref());
        let (set, unset) = tags::change(work.cx, &work.aws.default_tags, applied, inputs, &there);
        if !set.is_empty() {
            let request = work
                .aws
                .iam
                .tag_policy()
                .policy_arn(work.id)
                .set_tags(Some(to_iam(set)?));
            request.send().await.map_err(sdk("iam:TagPolicy"))?;
            work.changed();
        }
        if !unset.is_empty() {
            let request = work
                .aws
                .iam
                .untag_policy()
                .policy_arn(work.id)
                .set_tag_keys(Some(unset));
            request.send().await.map_err(sdk("iam:UntagPolicy"))?;
            work.changed();
        }
        Ok(())
    }

    async fn remove(&self, work: Work<'_>) -> Result<(), Failure> {
        // Its versions are looked up each time: a read may not show them yet.
        let send = || remove_with_versions(work);
        removed(work.cx, || DETACHED.send(work.cx, send))
            .await
            .map_err(|failure| {
                if failure.code == "DeleteConflict" {
                    failure.with_hint("something outside this stack has the policy attached: detach it there, then run the command again")
                } else {
                    failure
                }
            })
    }
}

async fn remove_with_versions(work: Work<'_>) -> Result<(), Failure> {
    // DeletePolicy demands that the default version is the only one.
    let versions = unless_absent(versions(work).await)?;
    for version in versions
        .iter()
        .flatten()
        .filter(|version| !version.is_default_version)
    {
        delete_version(work, version).await?;
    }
    // Also where no read sees it: only the answer to this says that it is gone.
    let request = work.aws.iam.delete_policy().policy_arn(work.id);
    request.send().await.map_err(sdk("iam:DeletePolicy")).map(drop)
}
