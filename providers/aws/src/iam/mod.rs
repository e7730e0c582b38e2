//! IAM kinds: roles, policies and OpenID Connect providers.
//!
//! Facts from the IAM API reference (2010-05-08) and user guide: names are unique in the account whatever their case and
//! path, documents are given back percent-encoded, a policy has at most five versions, a role's name has at most 64
//! characters and a policy's 128. IAM shows a write to other readers and services only after a while.

pub(crate) mod document;
mod name;
mod oidc_provider;
mod policy;
mod role;
mod tags;

use std::time::Duration;

use epid_provider::{Call, Durations, Failure, Value};

use crate::kind::ResourceKind;
use crate::named::OfName;
use crate::patience::Patience;
use crate::wait::UNSEEN;

/// Every kind of this module.
pub(crate) fn kinds() -> Vec<Box<dyn ResourceKind>> {
    vec![
        Box::new(OfName(role::Role::new())),
        Box::new(OfName(policy::Policy::new())),
        Box::new(OfName(oidc_provider::OidcProvider::new())),
    ]
}

/// Five minutes for everything: what IAM has to make known first may take two.
fn timeouts() -> Durations {
    let most = Duration::from_secs(300);
    Durations {
        create: most,
        update: most,
        delete: most,
    }
}

/// True for an empty list or map.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::List(items) => items.is_empty(),
        Value::Map(map) => map.is_empty(),
        _ => false,
    }
}

/// True for IAM's word that something does not exist.
fn absent(failure: &Failure) -> bool {
    failure.code == "NoSuchEntity"
}

/// Nothing where IAM says that there is nothing.
fn unless_absent<T>(answer: Result<T, Failure>) -> Result<Option<T>, Failure> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(failure) if absent(&failure) => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// Nothing to do where what is to go is gone.
fn done_if_absent<T>(answer: Result<T, Failure>) -> Result<(), Failure> {
    unless_absent(answer).map(|_| ())
}

/// Sends the request that removes something. That it is gone already counts only where it is said for a while, as the request
/// may not know what was made a moment ago.
async fn removed<T, F>(cx: &Call, request: impl FnMut() -> F + Send) -> Result<(), Failure>
where
    T: Send,
    F: Future<Output = Result<T, Failure>> + Send,
{
    const UNKNOWN: Patience<'static> = Patience {
        budget: UNSEEN,
        pause: Duration::from_secs(3),
        waits: &|failure: &Failure| absent(failure).then_some("making sure that it is gone"),
    };
    done_if_absent(UNKNOWN.send(cx, request).await)
}

/// A create's refusal because of its name, in the contract's word.
fn taken(failure: Failure) -> Failure {
    if failure.code == "EntityAlreadyExists" {
        Failure {
            code: "AlreadyExists".to_owned(),
            ..failure
        }
    } else {
        failure
    }
}

/// For requests that name what was made a moment ago, or that meet another change of the same thing.
const FRESH: Patience<'static> = Patience {
    budget: Duration::from_secs(40),
    pause: Duration::from_secs(3),
    waits: &|failure: &Failure| match failure.code.as_str() {
        "NoSuchEntity" | "NotFound" => Some("waiting for IAM to know what was just made"),
        "ConcurrentModification" | "ServiceFailure" => Some("waiting for another change in IAM"),
        _ => None,
    },
};

/// For requests with a trust policy: its principals may be new.
const TRUST: Patience<'static> = Patience {
    budget: crate::patience::PROPAGATION,
    pause: crate::patience::PROPAGATION_PAUSE,
    waits: &|failure: &Failure| {
        let principal =
            failure.code == "MalformedPolicyDocument" && failure.message.contains("Invalid principal");
        principal.then_some("waiting for IAM to know the principals of the trust policy")
    },
};

/// A document of the inputs as the text to send.
fn sent(inputs: &Value, field: &str) -> Result<String, Failure> {
    let value = inputs.get(field).unwrap_or(&Value::Null);
    document::to_text(value).map_err(|why| Failure::new("InvalidInput", format_args!("`{field}`: {why}")))
}
