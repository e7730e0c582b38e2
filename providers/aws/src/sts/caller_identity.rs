//! `aws:sts:CallerIdentity`: a lookup of whose credentials a connection has.

use std::sync::Arc;

use epid_provider::{
    Failure, Intent, KindSchema, Object, Observed, Output, Present, Query, Record, Recorded, Recovered,
    Value, async_trait,
};

use crate::kind::{Cx, ResourceKind, named};
use crate::named::sdk;

/// The kind.
#[derive(Debug)]
pub(super) struct CallerIdentity;

/// A session of a role: `arn:aws:sts::ACCOUNT:assumed-role/ROLE/SESSION` is of `ROLE`.
fn role_of_session(arn: &str) -> Option<&str> {
    arn.split_once(":assumed-role/")?.1.split('/').next()
}

/// The IAM principal behind an ARN of STS: a user is one, a session's role has to be looked up, because the session
/// does not tell the role's path.
async fn principal(cx: Cx<'_>, arn: &str) -> Result<String, Failure> {
    let Some(role) = role_of_session(arn) else {
        return Ok(arn.to_owned());
    };
    let answer = cx.clients.iam.get_role().role_name(role).send().await;
    match answer.map_err(sdk("iam:GetRole")) {
        Ok(found) => Ok(found.role.map(|role| role.arn).unwrap_or_default()),
        // Most roles have no path, and not everybody may read roles. Those of IAM Identity Center do have one.
        Err(failure) if ["AccessDenied", "NoSuchEntity"].contains(&failure.code.as_str()) => {
            let (partition, account) = (&cx.clients.partition, &cx.clients.account);
            if role.starts_with("AWSReservedSSO_") {
                let message = format!("cannot tell the path of role {role}: {}", failure.message);
                return Err(Failure { message, ..failure });
            }
            Ok(format!("arn:{partition}:iam::{account}:role/{role}"))
        }
        Err(failure) => Err(failure),
    }
}

async fn read(cx: Cx<'_>) -> Result<Observed, Failure> {
    let caller = cx
        .clients
        .sts
        .get_caller_identity()
        .send()
        .await
        .map_err(sdk("sts:GetCallerIdentity"))?;
    let arn = caller.arn().unwrap_or_default();
    let principal = principal(cx, arn).await?;
    let outputs = [
        ("accountId", caller.account().unwrap_or(&cx.clients.account)),
        ("partition", &cx.clients.partition),
        ("region", &cx.clients.region),
        ("arn", arn),
        ("userId", caller.user_id().unwrap_or_default()),
        ("principalArn", &principal),
    ];
    Ok(Observed::Present(Box::new(Present {
        id: Arc::from(arn),
        properties: Value::map::<&str>([]),
        outputs: Value::map(outputs.map(|(name, value)| (name, Value::str(value)))),
        owner: None,
    })))
}

fn only_read() -> Failure {
    Failure::new("Lookup", "a caller identity is looked up, not made")
}

#[async_trait]
impl ResourceKind for CallerIdentity {
    fn schema(&self) -> KindSchema {
        let mut schema = KindSchema::new(
            named("aws:sts:CallerIdentity"),
            "Whose credentials are used: a lookup.",
            Object::default(),
        );
        schema.lookup = true;
        schema.outputs = [
            ("accountId", "The account's twelve digits."),
            ("partition", "The second part of ARNs, such as aws or aws-cn."),
            ("region", "The region of the connection."),
            ("arn", "Who it is: a user, or a session of a role."),
            ("userId", "The unique id of who it is."),
            (
                "principalArn",
                "The user, or the role of the session with its path: what an access entry of EKS takes.",
            ),
        ]
        .map(|(name, doc)| Output::new(name, doc))
        .into();
        schema
    }

    async fn observe(&self, cx: Cx<'_>, queries: &[&Query]) -> Vec<Result<Observed, Failure>> {
        let answer = read(cx).await;
        vec![answer; queries.len()]
    }

    async fn create(&self, _cx: Cx<'_>, _inputs: &Value) -> Result<Recorded, Failure> {
        Err(only_read())
    }

    async fn update(&self, _cx: Cx<'_>, _record: &Record, _inputs: &Value) -> Result<Recorded, Failure> {
        Err(only_read())
    }

    async fn delete(&self, _cx: Cx<'_>, _record: &Record) -> Result<(), Failure> {
        Ok(())
    }

    async fn find_created(&self, _cx: Cx<'_>, _intent: &Intent) -> Result<Option<Present>, Failure> {
        Ok(None)
    }

    async fn recover(&self, _cx: Cx<'_>, _intent: &Intent) -> Result<Recovered, Failure> {
        Ok(Recovered::NotDone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_of_its_role() {
        assert_eq!(
            role_of_session("arn:aws:sts::000000000000:assumed-role/Deploy/ci-42"),
            Some("Deploy")
        );
        assert_eq!(role_of_session("arn:aws:iam::000000000000:user/ops/jo"), None);
    }
}
