//! The provider: its kinds, its configuration, and how it connects.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use epid_provider::{
    Call, Connection, Desired, Diff, Failure, Field, Key, Kind, KindSchema, Links, Object, Path, Present,
    Problem, Provider, Record, Resolved, Type, Value, check,
};

use crate::clients::Clients;
use crate::connection::{AwsConnection, find};
use crate::inputs::{text, texts};
use crate::kind::{Entry, named, table};
use crate::links;
use crate::settings::{Account, Role, Settings};
use crate::tags;

/// The AWS provider: kinds `aws:…`.
///
/// Its configuration takes `region`, `profile`, `assumeRole`, `allowedAccountIds` and `defaultTags`; what is left out
/// comes from the [`Settings`].
pub struct Aws {
    settings: Settings,
    table: Arc<[Entry]>,
    config: Arc<KindSchema>,
}

impl Aws {
    /// The provider in these surroundings.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            table: table().into(),
            config: Arc::new(config()),
        }
    }
}

impl fmt::Debug for Aws {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Aws")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

fn config() -> KindSchema {
    let role = [
        Field::new("roleArn", Type::String)
            .required()
            .doc("the ARN of the role"),
        Field::new("sessionName", Type::String).doc("the session's name in CloudTrail; default epid"),
        Field::new("externalId", Type::String).doc("the external id that the role's trust policy asks for"),
    ];
    let fields = [
        Field::new("region", Type::String).doc("the region; else AWS_REGION, else the profile's"),
        Field::new("profile", Type::String).doc("a profile of the AWS configuration files; else AWS_PROFILE"),
        Field::new("assumeRole", Type::object(role)).doc("a role to act as"),
        Field::new("allowedAccountIds", Type::set(Type::String))
            .doc("the accounts that may be touched; with any other, nothing is done"),
        Field::new("defaultTags", Type::map(Type::String))
            .doc("tags beneath those of each resource; they are set when it is created or updated"),
    ];
    KindSchema::new(
        named("epid:provider:aws"),
        "One region of one AWS account.",
        Object::of(fields),
    )
}

/// The account that a configuration names.
fn account(config: &Value) -> Account {
    let owned = |key: &str| text(config, key).map(str::to_owned);
    let role = config.get("assumeRole").and_then(|role| {
        let role = role.expose();
        Some(Role {
            arn: text(role, "roleArn")?.to_owned(),
            session_name: text(role, "sessionName").map(str::to_owned),
            external_id: text(role, "externalId").map(str::to_owned),
        })
    });
    Account {
        region: owned("region"),
        profile: owned("profile"),
        role,
    }
}

#[async_trait]
impl Provider for Aws {
    fn name(&self) -> &'static str {
        "aws"
    }

    fn kinds(&self) -> Vec<Kind> {
        self.table.iter().map(|entry| entry.schema.kind.clone()).collect()
    }

    fn schema(&self, kind: &Kind) -> Option<Arc<KindSchema>> {
        find(&self.table, kind).map(|entry| Arc::clone(&entry.schema))
    }

    fn config(&self) -> Arc<KindSchema> {
        Arc::clone(&self.config)
    }

    fn check(&self, desired: &Desired) -> Vec<Problem> {
        let Some(entry) = find(&self.table, &desired.kind) else {
            return Vec::new();
        };
        let mut problems = check(&entry.schema, &desired.properties);
        problems.extend(reserved_tags(&desired.properties));
        if problems.is_empty() {
            problems.extend(entry.kind.check(&desired.properties));
        }
        problems
    }

    fn diff(&self, record: &Record, desired: &Desired) -> Diff {
        find(&self.table, &desired.kind)
            .map(|entry| entry.kind.diff(&entry.schema, record, desired))
            .unwrap_or_default()
    }

    fn drift(&self, record: &Record, present: &Present) -> Diff {
        find(&self.table, &record.kind)
            .map(|entry| entry.kind.drift(&entry.schema, record, present))
            .unwrap_or_default()
    }

    fn identity(&self, kind: &Kind, inputs: &Value) -> Option<Key> {
        let name = find(&self.table, kind)?.kind.identity(inputs)?;
        Some(Key::new(&format!("{kind}/{name}")))
    }

    fn links(&self, desired: &Desired) -> Links {
        links::links(desired)
    }

    async fn connect(&self, cx: &Call, config: &Resolved) -> Result<Arc<dyn Connection>, Failure> {
        let config = config.reveal();
        cx.progress("asking AWS whose credentials these are");
        let sdk = self.settings.load(&account(&config)).await?;
        let defaults = tags::of_map(config.get("defaultTags"));
        let clients = Clients::connect(&sdk, defaults).await?;
        let allowed = texts(&config, "allowedAccountIds");
        if !allowed.is_empty() && !allowed.contains(&clients.account.as_str()) {
            let message = format!(
                "the credentials belong to account {}, but only {} may be touched (`allowedAccountIds`)",
                clients.account,
                allowed.join(", ")
            );
            let hint = "choose other credentials with AWS_PROFILE or the provider's `profile`";
            return Err(Failure::new("WrongAccount", message).with_hint(hint));
        }
        Ok(Arc::new(AwsConnection::new(clients, Arc::clone(&self.table))))
    }
}

/// Tags that are not the program's to set.
fn reserved_tags(properties: &Value) -> Vec<Problem> {
    let tags = properties
        .get("tags")
        .and_then(|tags| tags.expose().as_map().cloned());
    let Some(tags) = tags else {
        return Vec::new();
    };
    tags.keys()
        .filter(|key| key.starts_with("epid:") || key.to_ascii_lowercase().starts_with("aws:"))
        .map(|key| {
            let message = format!("the tag `{key}` is reserved: tags may not begin with `aws:` or `epid:`");
            Problem::new(Path::root().key("tags").key(key), message)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_says_what_it_is() {
        let aws = Aws::new(Settings::ordinary());
        for kind in aws.kinds() {
            let schema = aws.schema(&kind).unwrap();
            assert!(kind.as_str().starts_with("aws:"), "{kind}");
            assert!(!schema.doc.is_empty(), "{kind} has no sentence");
            assert!(schema.timeouts.create >= schema.expected.create, "{kind}");
        }
    }

    #[test]
    fn reserved_tags_are_refused() {
        let properties: Value =
            serde_json::from_str(r#"{"tags":{"aws:x":"1","epid:urn":"2","Name":"ok","AWS:y":"3"}}"#).unwrap();
        assert_eq!(reserved_tags(&properties).len(), 3);
    }
}
