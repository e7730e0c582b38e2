//! What an API server's refusal, or its silence, means for an operation.

use epid_provider::{Failure, Outcome, Retry};
use serde_json::Value as Json;

/// What may answer instead of an API server.
const BETWEEN: &str = "a proxy or a captive portal may stand between this machine and the cluster: check the network and the endpoint";

/// Whether a request could change something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Doing {
    /// It reads.
    Read,
    /// It changes.
    Change,
}

/// A request that was not answered with what it asked for.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The server said no, with a `Status` (`Null` where the body was none).
    Said(Box<Said>),
    /// There was no whole answer.
    Silent {
        /// What the transport said.
        message: String,
        /// True where the request certainly never left.
        unsent: bool,
    },
    /// Something answered, but not what an API server would.
    Alien {
        /// What was asked, and what came.
        message: String,
    },
    /// It could not be asked.
    Unasked(Failure),
}

/// What a server said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: u16,
    pub(crate) status: Json,
    pub(crate) text: String,
    pub(crate) request_id: Option<String>,
}

/// A field that another manager holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Conflict {
    /// As the server spells it: `.spec.template.spec.containers[name="web"].image`.
    pub(crate) field: String,
    /// The other manager.
    pub(crate) manager: String,
    /// The subresource it wrote through: `scale`.
    pub(crate) subresource: Option<String>,
}

impl Said {
    pub(crate) fn reason(&self) -> &str {
        self.status["reason"].as_str().unwrap_or_default()
    }

    fn message(&self) -> String {
        match self.status["message"].as_str() {
            Some(message) if !message.is_empty() => message.to_owned(),
            _ => format!("the API server answered {}: {}", self.code, self.text.trim()),
        }
    }

    /// The fields that other managers hold, of a refused apply.
    pub(crate) fn conflicts(&self) -> Vec<Conflict> {
        let causes = self.status["details"]["causes"].as_array();
        causes
            .into_iter()
            .flatten()
            .filter(|cause| cause["reason"] == "FieldManagerConflict")
            .map(|cause| {
                let message = cause["message"].as_str().unwrap_or_default();
                let mut quoted = message.split('"').skip(1).step_by(2);
                Conflict {
                    field: cause["field"].as_str().unwrap_or_default().to_owned(),
                    manager: quoted.next().unwrap_or("unknown").to_owned(),
                    subresource: message
                        .contains("with subresource")
                        .then(|| quoted.next().unwrap_or_default().to_owned()),
                }
            })
            .collect()
    }

    /// True where the object is not there, the path being served.
    pub(crate) fn is_absent(&self) -> bool {
        self.code == 404
            && self.status["details"]["name"]
                .as_str()
                .is_some_and(|n| !n.is_empty())
    }

    /// True where the server serves no such path: the kind is not there. A proxy's page does not say that.
    pub(crate) fn is_unserved(&self) -> bool {
        let is_servers = !self.status.is_null() || self.text.trim() == "404 page not found";
        self.code == 404 && is_servers && !self.is_absent()
    }

    fn names_immutable_field(&self) -> bool {
        let message = self.message();
        self.code == 422
            && [
                "immutable",
                "may not change",
                "updates to statefulset spec",
                "may not update fields other than",
            ]
            .iter()
            .any(|phrase| message.contains(phrase))
    }
}

impl Refusal {
    /// What the server said, where it said something.
    pub(crate) fn said(&self) -> Option<&Said> {
        match self {
            Self::Said(said) => Some(said),
            _ => None,
        }
    }

    /// True where the object is not there.
    pub(crate) fn is_absent(&self) -> bool {
        self.said().is_some_and(Said::is_absent)
    }

    /// The failure of an operation.
    pub(crate) fn failure(self, doing: Doing) -> Failure {
        let lost = match doing {
            Doing::Read => Outcome::NotStarted,
            Doing::Change => Outcome::Unknown,
        };
        match self {
            Self::Unasked(failure) => failure,
            Self::Silent { message, unsent } => Failure::new(
                "Connection",
                format_args!("no answer from the API server: {message}"),
            )
            .with_outcome(if unsent { Outcome::NotStarted } else { lost })
            .with_retry(Retry::Yes),
            Self::Alien { message } => Failure::new("BadAnswer", message)
                .with_outcome(lost)
                .with_retry(Retry::Yes)
                .with_hint(BETWEEN),
            Self::Said(said) => {
                let failure = answered(&said, lost);
                match said.request_id {
                    Some(id) => failure.with_request_id(id),
                    None => failure,
                }
            }
        }
    }
}

fn answered(said: &Said, lost: Outcome) -> Failure {
    let message = said.message();
    let code = match said.reason() {
        "" => format!("Http{}", said.code),
        reason => reason.to_owned(),
    };
    let failure = Failure::new(code, &message);
    match said.code {
        401 => failure.with_hint(
            "the cluster does not know these credentials: an EKS cluster needs an access entry for the role that runs epid",
        ),
        403 if message.contains("is being terminated") => failure
            .with_retry(Retry::Yes)
            .with_hint("its namespace is still being deleted; what is in it may be held by a finalizer"),
        403 if message.contains("exceeded quota") => {
            failure.with_hint("raise the ResourceQuota of the namespace, or ask for less")
        }
        403 => failure.with_hint("give the role that runs epid an access policy or RBAC rule for this"),
        404 if said.status.is_null() && !said.is_unserved() => failure.with_hint(BETWEEN),
        404 if said.is_unserved() => failure
            .with_retry(Retry::Yes)
            .with_hint("the cluster does not serve this kind: its CustomResourceDefinition or its API version is missing"),
        422 if said.names_immutable_field() => Failure { code: "Immutable".to_owned(), ..failure }.with_hint(
            "this field cannot be changed in place: name it in `replaceOnChanges` of the resource, and epid replaces the object",
        ),
        409 => failure.with_retry(Retry::Yes),
        429 => failure.with_retry(Retry::Throttled),
        500 if message.contains("failed calling webhook") => failure
            .with_retry(Retry::Yes)
            .with_hint("the service behind the admission webhook does not answer: let this resource depend on it"),
        503 => failure.with_retry(Retry::Yes),
        500.. => failure.with_outcome(lost).with_retry(Retry::Yes),
        _ => failure,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(code: u16, status: Json) -> Refusal {
        Refusal::Said(Box::new(Said {
            code,
            status,
            text: String::new(),
            request_id: Some("audit".to_owned()),
        }))
    }

    #[test]
    fn what_is_known_of_the_outcome_is_told() {
        let lost = |unsent| Refusal::Silent {
            message: "reset".to_owned(),
            unsent,
        };
        assert_eq!(lost(false).failure(Doing::Change).outcome, Outcome::Unknown);
        assert_eq!(lost(true).failure(Doing::Change).outcome, Outcome::NotStarted);
        assert_eq!(lost(false).failure(Doing::Read).outcome, Outcome::NotStarted);
        let of = |code, message: &str| {
            said(code, json!({"message": message, "reason": "R"})).failure(Doing::Change)
        };
        assert_eq!(of(504, "timeout").outcome, Outcome::Unknown);
        assert_eq!(
            of(500, "Internal error: failed calling webhook \"x\"").outcome,
            Outcome::NotStarted
        );
        assert_eq!(
            (of(429, "slow").retry, of(403, "no").retry),
            (Retry::Throttled, Retry::No)
        );
        assert_eq!(of(403, "no").request_id.as_deref(), Some("audit"));
    }

    #[test]
    fn an_immutable_field_says_what_to_do() {
        let failure = said(
            422,
            json!({"message": "spec.selector: Invalid value: field is immutable", "reason": "Invalid"}),
        )
        .failure(Doing::Change);
        assert_eq!(failure.code, "Immutable");
        assert!(failure.hint.unwrap().contains("replaceOnChanges"));
    }

    #[test]
    fn absence_is_told_from_a_kind_that_is_not_served() {
        assert!(
            said(
                404,
                json!({"reason": "NotFound", "details": {"name": "web", "kind": "deployments"}})
            )
            .is_absent()
        );
        let unserved = said(404, json!({"reason": "NotFound"}));
        assert!(!unserved.is_absent() && unserved.said().is_some_and(Said::is_unserved));
        let page = |text: &str| Said {
            code: 404,
            status: Json::Null,
            text: text.to_owned(),
            request_id: None,
        };
        assert!(page("404 page not found\n").is_unserved());
        let proxy = page("<html>Not Found</html>");
        assert!(!proxy.is_absent() && !proxy.is_unserved());
    }

    #[test]
    fn conflicts_are_read() {
        let refusal = said(
            409,
            json!({"reason": "Conflict", "details": {"causes": [
                {"reason": "FieldManagerConflict", "field": ".spec.replicas",
                 "message": "conflict with \"kube-controller-manager\" with subresource \"scale\" using apps/v1"},
                {"reason": "FieldManagerConflict", "field": ".data.a", "message": "conflict with \"kubectl\" using v1"}
            ]}}),
        );
        let conflicts = refusal.said().unwrap().conflicts();
        assert_eq!(conflicts[0].subresource.as_deref(), Some("scale"));
        assert_eq!(
            (conflicts[1].field.as_str(), conflicts[1].manager.as_str()),
            (".data.a", "kubectl")
        );
    }
}
