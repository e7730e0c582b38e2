//! `aws:iam:Role`: a role with its trust policy, attached policies and inline policies.

use std::sync::Arc;
use std::time::Duration;

use epid_provider::{
    Equality, Failure, Field, KindSchema, Map, Object, Output, Path, Present, Problem, Token, Type, Urn,
    Value, async_trait,
};

use super::tags::{from_iam, to_iam};
use super::{
    FRESH, TRUST, absent, document, done_if_absent, is_empty, name, removed, sent, taken, unless_absent,
};
use crate::clients::Clients;
use crate::given::{self, text, texts};
use crate::inputs::int;
use crate::kind::named;
use crate::named::{LOOK, Named, Seen, Work, gone, sdk, there, token_of};
use crate::patience::Patience;
use crate::tags::{self, Tags};
use crate::wait::UNSEEN;

/// The longest name of a role (IAM API reference, CreateRole).
const LONGEST_NAME: usize = 64;

/// For DeleteRole: a detachment may not be known everywhere yet.
const EMPTIED: Patience<'static> = Patience {
    budget: Duration::from_secs(40),
    pause: Duration::from_secs(3),
    waits: &|failure: &Failure| match failure.code.as_str() {
        "DeleteConflict" | "ConcurrentModification" | "ServiceFailure" => {
            Some("waiting for IAM to forget what was attached")
        }
        _ => None,
    },
};

/// The kind.
#[derive(Debug)]
pub(super) struct Role {
    schema: KindSchema,
}

impl Role {
    pub(super) fn new() -> Self {
        let document = Equality::By(document::same);
        let fields = [
            Field::new("roleName", Type::String)
                .immutable()
                .exclusive()
                .doc("Its name, unique in the account; made of project, stack and resource name where it is not given."),
            Field::new("path", Type::String)
                .in_name()
                .immutable()
                .default("/")
                .doc("The path in its ARN. A pod execution role takes `/` only."),
            Field::new("description", Type::String),
            Field::new("assumeRolePolicyDocument", Type::Any)
                .required()
                .equality(document)
                .doc("Who may assume it: a policy document as a map or JSON text."),
            Field::new("managedPolicyArns", Type::set(Type::String))
                .doc("Policies attached to it. What others attach stays, and goes with the role."),
            Field::new("inlinePolicies", Type::map(Type::Any))
                .equality(document)
                .doc("Policies in the role itself: name to document."),
            Field::new("maxSessionDuration", Type::Int)
                .default(3600_i64)
                .doc("Seconds that a session may last: 3600 to 43200."),
            Field::new("permissionsBoundary", Type::String).doc("The ARN of the policy that bounds it."),
            Field::new("tags", Type::map(Type::String)),
        ];
        let mut schema = KindSchema::new(
            named("aws:iam:Role"),
            "An IAM role: what a service, a pod or a person may become.",
            Object::of(fields),
        );
        schema.outputs = vec![
            Output::new("arn", "Its ARN."),
            Output::new("roleName", "Its name, given or generated."),
            Output::new(
                "roleId",
                "Its unique id, such as AROA…; a role made again under the same name has another.",
            ),
        ];
        schema.timeouts = super::timeouts();
        Self { schema }
    }
}

/// What a role has beside its own description.
struct Attached {
    arns: Vec<String>,
    inline: Vec<(String, Value)>,
}

async fn attached_arns(work: Work<'_>) -> Result<Vec<String>, Failure> {
    let mut arns = Vec::new();
    let mut pages = work
        .aws
        .iam
        .list_attached_role_policies()
        .role_name(work.id)
        .into_paginator()
        .items()
        .send();
    while let Some(policy) = pages.next().await {
        arns.extend(policy.map_err(sdk("iam:ListAttachedRolePolicies"))?.policy_arn);
    }
    Ok(arns)
}

async fn inline_names(work: Work<'_>) -> Result<Vec<String>, Failure> {
    let mut names = Vec::new();
    let mut pages = work
        .aws
        .iam
        .list_role_policies()
        .role_name(work.id)
        .into_paginator()
        .items()
        .send();
    while let Some(policy) = pages.next().await {
        names.push(policy.map_err(sdk("iam:ListRolePolicies"))?);
    }
    Ok(names)
}

/// Everything attached, or only what `applied` is interested in.
async fn attached(work: Work<'_>, applied: Option<&Value>) -> Result<Attached, Failure> {
    let wanted = |field: &str| applied.is_none_or(|applied| applied.get(field).is_some());
    let arns = if wanted("managedPolicyArns") {
        attached_arns(work).await?
    } else {
        Vec::new()
    };
    let mut inline = Vec::new();
    if wanted("inlinePolicies") {
        for name in inline_names(work).await? {
            let request = work
                .aws
                .iam
                .get_role_policy()
                .role_name(work.id)
                .policy_name(&name);
            if let Some(policy) = unless_absent(request.send().await.map_err(sdk("iam:GetRolePolicy")))? {
                inline.push((name, document::from_wire(&policy.policy_document)));
            }
        }
    }
    Ok(Attached { arns, inline })
}

async fn read(work: Work<'_>) -> Result<Option<aws_sdk_iam::types::Role>, Failure> {
    let answer = work.aws.iam.get_role().role_name(work.id).send().await;
    let found = unless_absent(answer.map_err(sdk("iam:GetRole")))?;
    // What is missing in one, the SDK makes empty.
    let whole = |role: &aws_sdk_iam::types::Role| !role.arn.is_empty();
    found
        .map(|output| there("iam:GetRole", "Role", output.role.filter(whole)))
        .transpose()
}

fn outputs(role: &aws_sdk_iam::types::Role) -> Value {
    Value::map([
        ("arn", Value::str(&role.arn)),
        ("roleName", Value::str(&role.role_name)),
        ("roleId", Value::str(&role.role_id)),
    ])
}

fn properties(
    role: &aws_sdk_iam::types::Role,
    attached: Attached,
    own: Option<&Value>,
    tags: &Tags,
) -> Value {
    let trust = role
        .assume_role_policy_document
        .as_deref()
        .map(document::from_wire);
    let boundary = role
        .permissions_boundary
        .as_ref()
        .and_then(|boundary| boundary.permissions_boundary_arn.as_deref());
    // What others attached is theirs: it is shown where the role is imported, and is no drift of an owned one.
    let owned = own.map(|own| texts(own, "managedPolicyArns").unwrap_or_default());
    let arns = attached
        .arns
        .into_iter()
        .filter(|arn| owned.as_ref().is_none_or(|owned| owned.contains(arn)));
    let entries = [
        ("roleName", Some(Value::str(&role.role_name))),
        ("path", Some(Value::str(&role.path))),
        ("description", role.description.as_deref().map(Value::str)),
        ("assumeRolePolicyDocument", trust),
        ("managedPolicyArns", Some(Value::list(arns.map(Value::from)))),
        ("inlinePolicies", Some(Value::map(attached.inline))),
        (
            "maxSessionDuration",
            role.max_session_duration
                .map(|seconds| Value::Int(i64::from(seconds))),
        ),
        ("permissionsBoundary", boundary.map(Value::str)),
        ("tags", Some(tags::observed(tags))),
    ];
    Value::map(entries.into_iter().filter_map(|(key, value)| {
        let value = value?;
        // An empty map or list says the same as none, unless it was declared.
        let declared = own.is_some_and(|own| own.get(key).is_some());
        (!is_empty(&value) || declared).then_some((key, value))
    }))
}

#[async_trait]
impl Named for Role {
    fn schema(&self) -> &KindSchema {
        &self.schema
    }

    fn check(&self, properties: &Value) -> Vec<Problem> {
        let root = Path::root();
        let field = |name: &str| properties.get(name).unwrap_or(&Value::Null);
        let mut found = name::problems(properties, "roleName", LONGEST_NAME);
        let at = root.key("assumeRolePolicyDocument");
        found.extend(document::problems(field("assumeRolePolicyDocument"), &at, true));
        let inline = field("inlinePolicies").expose().as_map();
        for (policy, document) in inline.into_iter().flat_map(Map::iter) {
            let at = root.key("inlinePolicies").key(policy);
            found.extend(document::problems(document, &at, false));
        }
        if let Some(seconds) = int(properties, "maxSessionDuration").filter(|s| !(3600..=43_200).contains(s))
        {
            found.push(Problem::new(
                root.key("maxSessionDuration"),
                format!("`maxSessionDuration` is 3600 to 43200 seconds, not {seconds}"),
            ));
        }
        found
    }

    fn id(&self, _aws: &Clients, inputs: &Value, operation: Option<(&Urn, &Token)>) -> Option<String> {
        let made_up = operation.map(|(urn, token)| name::generated(urn, token, LONGEST_NAME));
        text(inputs, "roleName").or(made_up)
    }

    fn key(&self, inputs: &Value) -> Option<String> {
        // Names differ in more than case (IAM API reference, CreateRole).
        let name = text(inputs, "roleName")?.to_lowercase();
        Some(name)
    }

    fn chosen(&self) -> &'static [&'static str] {
        &["roleName"]
    }

    async fn find(&self, work: Work<'_>, applied: Option<&Value>) -> Result<Option<Seen>, Failure> {
        let Some(role) = read(work).await? else {
            return Ok(None);
        };
        let attached = match attached(work, applied).await {
            Err(failure) if absent(&failure) => return Ok(None),
            other => other?,
        };
        let tags = from_iam(role.tags.as_deref());
        let present = Present {
            id: Arc::from(role.role_name.as_str()),
            properties: properties(&role, attached, applied, &tags),
            outputs: outputs(&role),
            owner: tags::owner(&tags),
        };
        Ok(Some(Seen {
            present,
            token: token_of(&tags),
            unfinished: Vec::new(),
            leaving: false,
        }))
    }

    async fn make(&self, work: Work<'_>, inputs: &Value) -> Result<(), Failure> {
        let request = work
            .aws
            .iam
            .create_role()
            .role_name(work.id)
            .assume_role_policy_document(sent(inputs, "assumeRolePolicyDocument")?)
            .set_path(text(inputs, "path"))
            .set_description(text(inputs, "description"))
            .set_max_session_duration(seconds(inputs))
            .set_permissions_boundary(text(inputs, "permissionsBoundary"))
            .set_tags(Some(to_iam(tags::of_create(
                work.cx,
                &work.aws.default_tags,
                inputs,
            ))?));
        let send = || async { request.clone().send().await.map_err(sdk("iam:CreateRole")) };
        TRUST.send(work.cx, send).await.map(|_| ()).map_err(taken)
    }

    fn afterwards(&self, inputs: &Value) -> Vec<String> {
        let count = |field| texts(inputs, field).map_or(0, |list| list.len());
        let inline = given::map(inputs, "inlinePolicies").len();
        if count("managedPolicyArns") + inline == 0 {
            Vec::new()
        } else {
            vec!["attach its policies".to_owned()]
        }
    }

    async fn settle(&self, work: Work<'_>, applied: &Value, inputs: &Value) -> Result<(), Failure> {
        let look = || async { read(work).await?.ok_or_else(|| gone(work.id)) };
        let seen = if applied.is_null() {
            FRESH.send(work.cx, look).await
        } else {
            look().await
        }?;
        self.settle_role(work, &seen, applied, inputs).await?;
        self.settle_policies(work, applied, inputs).await?;
        let there = from_iam(seen.tags.as_deref());
        let (set, unset) = tags::change(work.cx, &work.aws.default_tags, applied, inputs, &there);
        if !set.is_empty() {
            let request = work
                .aws
                .iam
                .tag_role()
                .role_name(work.id)
                .set_tags(Some(to_iam(set)?));
            request.send().await.map_err(sdk("iam:TagRole"))?;
            work.changed();
        }
        if !unset.is_empty() {
            let request = work
                .aws
                .iam
                .untag_role()
                .role_name(work.id)
                .set_tag_keys(Some(unset));
            request.send().await.map_err(sdk("iam:UntagRole"))?;
            work.changed();
        }
        Ok(())
    }

    async fn remove(&self, work: Work<'_>) -> Result<(), Failure> {
        // What is attached is looked up each time: a read may not show it yet.
        let send = || remove_emptied(work);
        removed(work.cx, || EMPTIED.send(work.cx, send))
            .await
            .map_err(|failure| {
                if failure.code == "DeleteConflict" {
                    failure.with_hint("the role is still in an instance profile, or somebody attaches policies to it: end that, then run the command again")
                } else {
                    failure
                }
            })
    }
}

async fn remove_emptied(work: Work<'_>) -> Result<(), Failure> {
    // DeleteRole demands that nothing is attached, whoever attached it.
    let arns = unless_absent(attached_arns(work).await)?;
    let names = unless_absent(inline_names(work).await)?;
    for arn in arns.into_iter().flatten() {
        let request = work
            .aws
            .iam
            .detach_role_policy()
            .role_name(work.id)
            .policy_arn(arn);
        done_if_absent(request.send().await.map_err(sdk("iam:DetachRolePolicy")))?;
        work.changed();
    }
    for name in names.into_iter().flatten() {
        let request = work
            .aws
            .iam
            .delete_role_policy()
            .role_name(work.id)
            .policy_name(name);
        done_if_absent(request.send().await.map_err(sdk("iam:DeleteRolePolicy")))?;
        work.changed();
    }
    // Also where no read sees it: only the answer to this says that it is gone.
    let request = work.aws.iam.delete_role().role_name(work.id);
    request.send().await.map_err(sdk("iam:DeleteRole")).map(drop)
}

fn bounded_by(role: &aws_sdk_iam::types::Role) -> Option<&str> {
    let boundary = role.permissions_boundary.as_ref();
    boundary.and_then(|boundary| boundary.permissions_boundary_arn.as_deref())
}

/// The boundaries that epid set, or may have.
fn boundaries(work: Work<'_>) -> Vec<String> {
    let sent = work
        .record
        .into_iter()
        .flat_map(|record| std::iter::once(&record.applied).chain(&record.attempted));
    sent.filter_map(|inputs| text(inputs, "permissionsBoundary"))
        .collect()
}

/// Takes the boundary away that epid set. One that somebody else put in its place stays: it is theirs where that is read for
/// a while, as a read may be of before epid's.
async fn unbind(work: Work<'_>, seen: &aws_sdk_iam::types::Role) -> Result<(), Failure> {
    let ours = boundaries(work);
    let is_theirs = |role: &aws_sdk_iam::types::Role| {
        bounded_by(role).is_some_and(|arn| !ours.iter().any(|own| own == arn))
    };
    let first = work.cx.now();
    let mut theirs = is_theirs(seen);
    while theirs {
        if work.cx.now().since(first) >= UNSEEN {
            return Ok(());
        }
        work.cx.progress("looking whose the boundary is");
        work.cx.sleep(LOOK).await?;
        theirs = read(work).await?.is_none_or(|role| is_theirs(&role));
    }
    let request = work.aws.iam.delete_role_permissions_boundary().role_name(work.id);
    let send = || async {
        let answer = request.clone().send().await;
        answer.map_err(sdk("iam:DeleteRolePermissionsBoundary"))
    };
    removed(work.cx, send).await?;
    work.changed();
    Ok(())
}

fn seconds(inputs: &Value) -> Option<i32> {
    int(inputs, "maxSessionDuration").and_then(|seconds| i32::try_from(seconds).ok())
}

impl Role {
    /// Trust policy, description, duration and boundary.
    async fn settle_role(
        &self,
        work: Work<'_>,
        seen: &aws_sdk_iam::types::Role,
        applied: &Value,
        inputs: &Value,
    ) -> Result<(), Failure> {
        let iam = &work.aws.iam;
        // CreateRole has sent all of this.
        let differs = |field: &str| !applied.is_null() && work.is_new(applied, inputs, field);
        let trust = seen
            .assume_role_policy_document
            .as_deref()
            .map(document::from_wire);
        let wanted = inputs.get("assumeRolePolicyDocument").unwrap_or(&Value::Null);
        if differs("assumeRolePolicyDocument") || !trust.is_some_and(|trust| document::same(&trust, wanted)) {
            let request = iam
                .update_assume_role_policy()
                .role_name(work.id)
                .policy_document(sent(inputs, "assumeRolePolicyDocument")?);
            let send = || async {
                request
                    .clone()
                    .send()
                    .await
                    .map_err(sdk("iam:UpdateAssumeRolePolicy"))
            };
            TRUST.send(work.cx, send).await?;
            work.changed();
        }
        // What was never declared stays as it is; what is not declared any more goes back to IAM's default.
        let description = match (text(inputs, "description"), text(applied, "description")) {
            (None, None) => seen.description.clone(),
            (wanted, _) => wanted,
        };
        let duration = match (seconds(inputs), seconds(applied)) {
            (None, None) => seen.max_session_duration,
            (wanted, _) => Some(wanted.unwrap_or(3600)),
        };
        let plain = |text: &Option<String>| text.clone().unwrap_or_default();
        let is_changed = differs("description") || differs("maxSessionDuration");
        if is_changed
            || plain(&description) != plain(&seen.description)
            || duration != seen.max_session_duration
        {
            let request = iam
                .update_role()
                .role_name(work.id)
                .description(plain(&description))
                .set_max_session_duration(duration);
            request.send().await.map_err(sdk("iam:UpdateRole"))?;
            work.changed();
        }
        let boundary = bounded_by(seen);
        match text(inputs, "permissionsBoundary") {
            Some(wanted) if differs("permissionsBoundary") || boundary != Some(wanted.as_str()) => {
                let request = iam
                    .put_role_permissions_boundary()
                    .role_name(work.id)
                    .permissions_boundary(wanted);
                request
                    .send()
                    .await
                    .map_err(sdk("iam:PutRolePermissionsBoundary"))?;
                work.changed();
            }
            None if !boundaries(work).is_empty() => unbind(work, seen).await?,
            _ => {}
        }
        Ok(())
    }

    /// Attached and inline policies: first what is new, then what goes, so that the role never has less than both. Reads only
    /// tell what somebody else took away.
    async fn settle_policies(&self, work: Work<'_>, applied: &Value, inputs: &Value) -> Result<(), Failure> {
        let iam = &work.aws.iam;
        let wanted = texts(inputs, "managedPolicyArns").unwrap_or_default();
        let before = texts(applied, "managedPolicyArns").unwrap_or_default();
        let inline = given::map(inputs, "inlinePolicies");
        let inline_before = given::map(applied, "inlinePolicies");
        if wanted.is_empty() && before.is_empty() && inline.is_empty() && inline_before.is_empty() {
            return Ok(());
        }
        let there = attached(work, None).await?;
        let unsure = work.is_unsure();
        let is_due = |arn: &&String| unsure || !before.contains(arn) || !there.arns.contains(arn);
        for arn in wanted.iter().filter(is_due) {
            let request = iam.attach_role_policy().role_name(work.id).policy_arn(arn);
            let send = || async { request.clone().send().await.map_err(sdk("iam:AttachRolePolicy")) };
            FRESH.send(work.cx, send).await?;
            work.changed();
        }
        for (policy, wanted) in inline.iter() {
            let seen = there.inline.iter().find(|(name, _)| **name == **policy);
            let is_new = unsure || inline_before.get(policy) != Some(wanted);
            if !is_new && seen.is_some_and(|(_, seen)| document::same(seen, wanted)) {
                continue;
            }
            let sent = document::to_text(wanted).map_err(|why| {
                Failure::new("InvalidInput", format_args!("`inlinePolicies.{policy}`: {why}"))
            })?;
            let request = iam
                .put_role_policy()
                .role_name(work.id)
                .policy_name(&**policy)
                .policy_document(sent);
            let send = || async { request.clone().send().await.map_err(sdk("iam:PutRolePolicy")) };
            FRESH.send(work.cx, send).await?;
            work.changed();
        }
        for arn in before.iter().filter(|arn| !wanted.contains(arn)) {
            let request = iam.detach_role_policy().role_name(work.id).policy_arn(arn);
            let send = || async { request.clone().send().await.map_err(sdk("iam:DetachRolePolicy")) };
            removed(work.cx, send).await?;
            work.changed();
        }
        for policy in inline_before.keys().filter(|policy| inline.get(policy).is_none()) {
            let request = iam.delete_role_policy().role_name(work.id).policy_name(&**policy);
            let send = || async { request.clone().send().await.map_err(sdk("iam:DeleteRolePolicy")) };
            removed(work.cx, send).await?;
            work.changed();
        }
        Ok(())
    }
}
