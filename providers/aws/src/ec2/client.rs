//! A narrow EC2 client: the `ec2` query protocol on the SDK's own runtime, for the few dozen calls that the kinds need.
//!
//! The SDK's crate for EC2 takes ten minutes and 7 GB to compile; this shares its credentials, signing, endpoints,
//! transport and clock, and decides itself what may be sent twice.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_config::SdkConfig;
use aws_runtime::auth::SigningOptions;
use aws_smithy_runtime::client::orchestrator::operation::Operation;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse, OrchestratorError};
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::error::ErrorMetadata;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use epid_provider::{Call, Failure, Outcome, Retry};
use percent_encoding::utf8_percent_encode;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::failure;
use crate::settings::{configured_endpoint, timeouts};
use crate::tags::Tags;
use crate::wait::Pace;
use crate::wire::{UNRESERVED, USER_AGENT, domain, operation, root};

/// The version of the API, <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/>.
const VERSION: &str = "2016-11-15";

/// One request: an action and its parameters.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    action: &'static str,
    form: Vec<(String, String)>,
    again: Again,
}

/// When a request may be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Again {
    /// Always: it reads, or has the same effect twice.
    Always,
    /// Only where the first provably did nothing.
    Undone,
}

impl Request {
    /// A request that may be sent twice: it reads, has the same effect twice, or says so in an error that its caller
    /// takes for success.
    pub(crate) fn repeatable(action: &'static str) -> Self {
        Self {
            action,
            form: Vec::new(),
            again: Again::Always,
        }
    }

    /// A create without client token: a second one would make a second thing.
    pub(crate) fn once(action: &'static str) -> Self {
        Self {
            again: Again::Undone,
            ..Self::repeatable(action)
        }
    }

    /// With a parameter.
    pub(crate) fn with(mut self, key: impl Into<String>, value: impl fmt::Display) -> Self {
        self.form.push((key.into(), value.to_string()));
        self
    }

    /// With a parameter, where there is a value.
    pub(crate) fn maybe(self, key: &str, value: Option<impl fmt::Display>) -> Self {
        match value {
            Some(value) => self.with(key, value),
            None => self,
        }
    }

    /// With a list: `Key.1`, `Key.2`, ….
    pub(crate) fn list<T: fmt::Display>(self, key: &str, values: impl IntoIterator<Item = T>) -> Self {
        let numbered = values.into_iter().enumerate();
        numbered.fold(self, |request, (at, value)| {
            request.with(format!("{key}.{}", at + 1), value)
        })
    }

    /// With the `number`-th filter, counted from 1.
    pub(crate) fn filter<T: fmt::Display>(
        self,
        number: usize,
        name: &str,
        values: impl IntoIterator<Item = T>,
    ) -> Self {
        self.with(format!("Filter.{number}.Name"), name)
            .list(&format!("Filter.{number}.Value"), values)
    }

    /// With tags in the create itself. `resource` is EC2's word for the type: `vpc`, `natgateway`, ….
    pub(crate) fn tagged(self, resource: &str, tags: &Tags) -> Self {
        let start = self.with("TagSpecification.1.ResourceType", resource);
        start.tags("TagSpecification.1.Tag", tags)
    }

    /// With tags: `key.1.Key`, `key.1.Value`, ….
    pub(crate) fn tags(self, key: &str, tags: &Tags) -> Self {
        tags.iter()
            .enumerate()
            .fold(self, |request, (at, (name, value))| {
                let at = at + 1;
                request
                    .with(format!("{key}.{at}.Key"), name)
                    .with(format!("{key}.{at}.Value"), value)
            })
    }

    fn body(&self) -> String {
        let mut body = format!("Action={}&Version={VERSION}", self.action);
        for (key, value) in &self.form {
            body.push('&');
            body.extend(utf8_percent_encode(key, UNRESERVED));
            body.push('=');
            body.extend(utf8_percent_encode(value, UNRESERVED));
        }
        body
    }
}

/// An answer that says no.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0)]
struct Rejection(ErrorMetadata);

impl ProvideErrorMetadata for Rejection {
    fn meta(&self) -> &ErrorMetadata {
        &self.0
    }
}

/// An answer that says yes.
#[derive(Debug)]
struct Answer {
    text: String,
    content_type: String,
}

/// The EC2 client of one region.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    operation: Operation<Request, Answer, Rejection>,
    /// Whether a request that changes something took effect, or may have.
    changed: Arc<AtomicBool>,
}

impl Client {
    /// A client with the credentials, endpoint, transport and clock of `config`.
    pub(crate) fn new(config: &SdkConfig) -> Self {
        let region = config.region().map(AsRef::as_ref).unwrap_or_default();
        let endpoint =
            configured_endpoint(config, "ec2").unwrap_or_else(|| format!("https://ec2.{}", domain(region)));
        let operation = operation(config, "ec2", &endpoint, SigningOptions::default(), timeouts())
            .serializer(|request: Request| serialize(&request))
            .deserializer(deserialize)
            .build();
        Self {
            operation,
            changed: Arc::default(),
        }
    }

    /// The same client, for one operation that is to tell what it changed.
    pub(crate) fn watched(&self) -> Self {
        Self {
            operation: self.operation.clone(),
            changed: Arc::default(),
        }
    }

    /// Whether a request of this operation changed something, or may have.
    pub(crate) fn has_changed(&self) -> bool {
        self.changed.load(Ordering::Relaxed)
    }

    /// Sends a request, again as often as that is safe, and reads its answer.
    ///
    /// # Errors
    /// What EC2 said; `Unknown` where the answer of a request was lost that must not be sent twice.
    pub(crate) async fn call<T: DeserializeOwned>(&self, cx: &Call, request: Request) -> Result<T, Failure> {
        let action = format!("ec2:{}", request.action);
        let mut was_corrected = false;
        let mut pace = Pace::of_retries();
        loop {
            let answer = self.operation.invoke(request.clone()).await;
            let answer = answer.map_err(|error| failure::of_sdk(error, &action));
            let took_effect = match &answer {
                Ok(_) => true,
                Err(failure) => failure.outcome != Outcome::NotStarted,
            };
            if took_effect && !request.action.starts_with("Describe") {
                self.changed.store(true, Ordering::Relaxed);
            }
            let failure = match answer {
                Ok(answer) => return read(answer, request.action),
                Err(failure) => failure,
            };
            // From the refusal the client knows how far this machine's clock is off, and signs the next with the service's.
            if failure::is_of_clock(&failure) && !std::mem::replace(&mut was_corrected, true) {
                continue;
            }
            let again = failure.retry != Retry::No
                && (request.again == Again::Always || failure.outcome == Outcome::NotStarted);
            if !again || !pace.retry(cx, &failure).await? {
                return Err(failure);
            }
        }
    }
}

fn serialize(request: &Request) -> Result<HttpRequest, BoxError> {
    let request = http::Request::post("/")
        .header("content-type", "application/x-www-form-urlencoded; charset=utf-8")
        .header("user-agent", USER_AGENT)
        .body(SdkBody::from(request.body()))?;
    Ok(HttpRequest::try_from(request)?)
}

fn deserialize(response: &HttpResponse) -> Result<Answer, OrchestratorError<Rejection>> {
    let body = response.body().bytes().unwrap_or_default();
    let text = String::from_utf8_lossy(body).into_owned();
    if response.status().is_success() {
        return Ok(Answer {
            text,
            content_type: failure::content_type(response).to_owned(),
        });
    }
    let errors: ErrorAnswer = quick_xml::de::from_str(&text).unwrap_or_default();
    let error = errors.errors.error.into_iter().next().unwrap_or_default();
    let meta = ErrorMetadata::builder()
        .code(error.code)
        .message(error.message)
        .custom("aws_request_id", errors.request_id)
        .build();
    Err(OrchestratorError::operation(Rejection(meta)))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ErrorAnswer {
    #[serde(rename = "Errors")]
    errors: Errors,
    #[serde(rename = "RequestID")]
    request_id: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Errors {
    #[serde(rename = "Error")]
    error: Vec<ErrorItem>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ErrorItem {
    #[serde(rename = "Code")]
    code: String,
    #[serde(rename = "Message")]
    message: String,
}

/// Reads the answer of a successful request. Serde alone would find an empty list in any page of HTML.
fn read<T: DeserializeOwned>(answer: Answer, action: &str) -> Result<T, Failure> {
    let Answer { text, content_type } = answer;
    let expected = format!("{action}Response");
    let read = if root(&text).as_deref() == Some(expected.as_str()) {
        quick_xml::de::from_str(&text).map_err(|_| format!("not a whole {expected}"))
    } else {
        Err(format!("no {expected}"))
    };
    read.map_err(|what| failure::unreadable(&format!("ec2:{action}"), &what, &content_type))
}

/// An answer of which nothing is needed.
#[derive(Debug, Deserialize)]
pub(crate) struct Done {}

/// A list as EC2 writes it: `<item>` elements.
#[derive(Debug, Clone, Deserialize)]
#[serde(bound = "T: Deserialize<'de>", default)]
pub(crate) struct Items<T> {
    /// The elements.
    #[serde(rename = "item")]
    pub(crate) list: Vec<T>,
}

impl<T> Default for Items<T> {
    fn default() -> Self {
        Self { list: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_spelled_as_the_ec2_protocol_does() {
        let tags = Tags::from([("Name".to_owned(), "a b&c".to_owned())]);
        let request = Request::once("CreateVpc")
            .with("CidrBlock", "10.0.0.0/16")
            .maybe("InstanceTenancy", None::<&str>)
            .tagged("vpc", &tags)
            .filter(1, "vpc-id", ["v1", "v2"]);
        assert_eq!(
            request.body(),
            "Action=CreateVpc&Version=2016-11-15&CidrBlock=10.0.0.0%2F16\
             &TagSpecification.1.ResourceType=vpc&TagSpecification.1.Tag.1.Key=Name\
             &TagSpecification.1.Tag.1.Value=a%20b%26c\
             &Filter.1.Name=vpc-id&Filter.1.Value.1=v1&Filter.1.Value.2=v2"
        );
    }

    #[test]
    fn an_error_answer_is_read() {
        let answer: ErrorAnswer = quick_xml::de::from_str(
            "<?xml version=\"1.0\"?><Response><Errors><Error><Code>InvalidVpcID.NotFound</Code>\
             <Message>no &lt;vpc&gt;</Message></Error></Errors><RequestID>r</RequestID></Response>",
        )
        .unwrap();
        assert_eq!(answer.errors.error[0].code, "InvalidVpcID.NotFound");
        assert_eq!(answer.errors.error[0].message, "no <vpc>");
        assert_eq!(answer.request_id, "r");
        assert!(quick_xml::de::from_str::<ErrorAnswer>("oops").is_err());
    }
}
