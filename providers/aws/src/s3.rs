//! A narrow S3 client: objects of one bucket, read, listed, deleted, and written under a condition. On the SDK's own runtime,
//! with its credentials and endpoints, as [`ec2`](crate::ec2) is.
//!
//! Nothing is sent twice here: whether a write whose answer was lost took effect can only be told by reading back, and whoever
//! writes knows what to look for.

use std::fmt;

use aws_config::SdkConfig;
use aws_runtime::auth::SigningOptions;
use aws_smithy_runtime::client::orchestrator::operation::Operation;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse, OrchestratorError};
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::error::ErrorMetadata;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use epid_provider::{Failure, Outcome, Retry};
use percent_encoding::{AsciiSet, utf8_percent_encode};
use serde::Deserialize;

use crate::failure;
use crate::settings::{Account, Settings, configured_endpoint, object_timeouts};
use crate::wire::{UNRESERVED, USER_AGENT, domain, operation, root};

/// Of keys, the slash stays.
const PATH: &AsciiSet = &UNRESERVED.remove(b'/');

/// Which bucket, and how it is reached.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BucketPlace {
    /// Its name.
    pub bucket: String,
    /// Its region; else that of the environment or the profile.
    pub region: Option<String>,
    /// Another service than AWS that speaks S3: its URL. Buckets are in the path there.
    pub endpoint: Option<String>,
}

/// Under which condition an object is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Only<'a> {
    /// Always.
    Always,
    /// Where there is none.
    Absent,
    /// Where the one there is has this tag.
    Tagged(&'a str),
}

/// An object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// What it holds.
    pub bytes: Vec<u8>,
    /// The tag of this version of it.
    pub tag: String,
}

/// Why a request to a bucket did not succeed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum S3Error {
    /// The condition of a write does not hold, so nothing was written.
    #[error("somebody else wrote it")]
    Conflict,
    /// The answer was lost, or the service is busy: it may have taken effect or not, and trying again helps.
    #[error("{0}")]
    Unsettled(Failure),
    /// The service says no, and will say so again.
    #[error("{0}")]
    Refused(Failure),
}

#[derive(Debug, Clone)]
enum Action {
    Get,
    Put {
        bytes: Vec<u8>,
        condition: Option<(&'static str, String)>,
    },
    Delete,
    List {
        after: Option<String>,
    },
}

impl Action {
    /// As IAM policies spell it.
    fn name(&self) -> &'static str {
        match self {
            Self::Get => "s3:GetObject",
            Self::Put { .. } => "s3:PutObject",
            Self::Delete => "s3:DeleteObject",
            Self::List { .. } => "s3:ListBucket",
        }
    }
}

#[derive(Debug, Clone)]
struct Request {
    /// What stands before the key: `/bucket/`, or `/` where the host names it.
    base: String,
    /// The key; of a list, what keys begin with.
    key: String,
    action: Action,
}

#[derive(Debug)]
struct Answer {
    tag: Option<String>,
    status: u16,
    content_type: String,
    body: Vec<u8>,
}

#[derive(Debug, thiserror::Error)]
#[error("{meta}")]
struct Rejection {
    status: u16,
    meta: ErrorMetadata,
}

impl ProvideErrorMetadata for Rejection {
    fn meta(&self) -> &ErrorMetadata {
        &self.meta
    }
}

/// The objects of one bucket. Cheap to clone.
#[derive(Clone)]
pub struct Bucket {
    operation: Operation<Request, Answer, Rejection>,
    /// As in URLs for people: `s3://bucket`.
    name: String,
    base: String,
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Bucket").field(&self.name).finish()
    }
}

impl Bucket {
    /// The bucket at `place`, with credentials and endpoint from `settings`. Sends nothing yet.
    ///
    /// # Errors
    /// Where no region is configured.
    pub async fn connect(settings: &Settings, place: &BucketPlace) -> Result<Self, Failure> {
        let account = Account {
            region: place.region.clone(),
            ..Account::default()
        };
        let config = settings.load(&account).await?;
        Ok(Self::new(&config, place))
    }

    fn new(config: &SdkConfig, place: &BucketPlace) -> Self {
        let domain = domain(config.region().map(AsRef::as_ref).unwrap_or_default());
        let given = place
            .endpoint
            .clone()
            .or_else(|| configured_endpoint(config, "s3"));
        let name = &place.bucket;
        let (endpoint, base) = match given {
            Some(endpoint) => (endpoint, format!("/{name}/")),
            // The certificate of the service covers one label before its name.
            None if name.contains('.') => (format!("https://s3.{domain}"), format!("/{name}/")),
            None => (format!("https://{name}.s3.{domain}"), "/".to_owned()),
        };
        let mut signing = SigningOptions::default();
        // The three ways in which signatures for S3 differ from those of every other service.
        signing.double_uri_encode = false;
        signing.normalize_uri_path = false;
        signing.content_sha256_header = true;
        let operation = operation(config, "s3", &endpoint, signing, object_timeouts())
            .serializer(|request: Request| serialize(&request))
            .deserializer(deserialize)
            .build();
        Self {
            operation,
            name: place.bucket.clone(),
            base,
        }
    }

    async fn send(&self, key: &str, action: Action) -> Result<Answer, Refusal> {
        let name = action.name();
        let request = Request {
            base: self.base.clone(),
            key: key.to_owned(),
            action,
        };
        let mut answer = self.operation.invoke(request.clone()).await;
        // From the refusal the client knows how far this machine's clock is off, and signs the next with the service's.
        if let Err(error) = &answer
            && error.as_service_error().and_then(|r| r.code()) == Some("RequestTimeTooSkewed")
        {
            answer = self.operation.invoke(request).await;
        }
        answer.map_err(|error| {
            let rejection = error.as_service_error();
            Refusal {
                status: rejection.map_or(0, |rejection| rejection.status),
                code: rejection.and_then(|r| r.code()).unwrap_or_default().to_owned(),
                failure: failure::of_sdk(error, name),
            }
        })
    }

    /// The object at `key`, with the tag of this version of it; `None` where there is none.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub async fn get(&self, key: &str) -> Result<Option<Object>, S3Error> {
        match self.send(key, Action::Get).await {
            Ok(answer) => {
                let tag = answer.tag("s3:GetObject")?;
                Ok(Some(Object {
                    bytes: answer.body,
                    tag,
                }))
            }
            // A missing bucket has the same status, and so has what a proxy does not find.
            Err(refusal) if refusal.code == "NoSuchKey" => Ok(None),
            Err(refusal) => Err(refusal.settled()),
        }
    }

    /// Writes an object under a condition, and answers the tag of this version of it.
    ///
    /// # Errors
    /// [`S3Error::Conflict`] where the condition does not hold.
    pub async fn put(&self, key: &str, bytes: Vec<u8>, only: Only<'_>) -> Result<String, S3Error> {
        let condition = match only {
            Only::Always => None,
            Only::Absent => Some(("if-none-match", "*".to_owned())),
            Only::Tagged(tag) => Some(("if-match", tag.to_owned())),
        };
        let tagged = matches!(only, Only::Tagged(_));
        match self.send(key, Action::Put { bytes, condition }).await {
            Ok(answer) => answer.tag("s3:PutObject"),
            // 412 is the condition's. Where an object that must be there is not, the answer is 404.
            Err(refusal) if refusal.status == 412 => Err(S3Error::Conflict),
            Err(refusal) if tagged && refusal.code == "NoSuchKey" => Err(S3Error::Conflict),
            // Another write of the same key was under way. Who comes first is not decided yet.
            Err(refusal) if refusal.status == 409 && refusal.code != "BucketAlreadyExists" => {
                Err(S3Error::Unsettled(refusal.failure))
            }
            Err(refusal) => Err(refusal.settled()),
        }
    }

    /// Removes an object. One that is not there is removed already.
    ///
    /// # Errors
    /// Where it cannot be removed.
    pub async fn delete(&self, key: &str) -> Result<(), S3Error> {
        match self.send(key, Action::Delete).await {
            // Only with that the service says it; a portal's page comes with 200.
            Ok(answer) if answer.status == 204 => Ok(()),
            Ok(answer) => Err(answer.alien("s3:DeleteObject", "not the service's")),
            Err(refusal) if refusal.code == "NoSuchKey" => Ok(()),
            Err(refusal) => Err(refusal.settled()),
        }
    }

    /// All keys that begin with `prefix`, in order.
    ///
    /// # Errors
    /// Where they cannot be listed.
    pub async fn list(&self, prefix: &str) -> Result<Vec<String>, S3Error> {
        let (mut keys, mut after) = (Vec::new(), None);
        loop {
            let action = Action::List { after: after.take() };
            let answer = self.send(prefix, action).await.map_err(Refusal::settled)?;
            let text = String::from_utf8_lossy(&answer.body);
            // Serde alone would find an empty list in any page of HTML.
            let page = if root(&text).as_deref() == Some("ListBucketResult") {
                quick_xml::de::from_str(&text).map_err(|_| "not a whole ListBucketResult")
            } else {
                Err("no ListBucketResult")
            };
            let page: Page = page.map_err(|what| answer.alien("s3:ListBucket", what))?;
            keys.extend(page.contents.into_iter().map(|entry| entry.key));
            match page.next {
                Some(next) if page.truncated => after = Some(next),
                _ => break,
            }
        }
        keys.sort();
        Ok(keys)
    }

    /// Where an object is, for people.
    #[must_use]
    pub fn describe(&self, key: &str) -> String {
        format!("s3://{}/{key}", self.name)
    }
}

impl Answer {
    /// The tag, which every answer about an object has.
    fn tag(&self, action: &str) -> Result<String, S3Error> {
        let lacks = || self.alien(action, "not the service's: it has no ETag");
        self.tag.clone().ok_or_else(lacks)
    }

    /// That it is something else than it should be.
    fn alien(&self, action: &str, what: &str) -> S3Error {
        S3Error::Unsettled(failure::unreadable(action, what, &self.content_type))
    }
}

/// An answer that says no, or none.
struct Refusal {
    /// 0 where there was no answer.
    status: u16,
    code: String,
    failure: Failure,
}

impl Refusal {
    fn settled(self) -> S3Error {
        let again = self.failure.retry != Retry::No || self.failure.outcome == Outcome::Unknown;
        if again {
            S3Error::Unsettled(self.failure)
        } else {
            S3Error::Refused(self.failure)
        }
    }
}

fn serialize(request: &Request) -> Result<HttpRequest, BoxError> {
    let Request { base, key, action } = request;
    let path = |key: &str| format!("{base}{}", utf8_percent_encode(key, PATH));
    let start = http::Request::builder().header("user-agent", USER_AGENT);
    let request = match action {
        Action::Get => start.method("GET").uri(path(key)).body(SdkBody::empty()),
        Action::Delete => start.method("DELETE").uri(path(key)).body(SdkBody::empty()),
        Action::Put { bytes, condition } => {
            let start = start.method("PUT").uri(path(key));
            let start = match condition {
                Some((header, value)) => start.header(*header, value),
                None => start,
            };
            start
                .header("content-type", "application/octet-stream")
                .body(SdkBody::from(bytes.clone()))
        }
        Action::List { after } => {
            let encoded = |text: &str| utf8_percent_encode(text, UNRESERVED).to_string();
            let mut query = String::new();
            if let Some(after) = after {
                query.push_str(&format!("continuation-token={}&", encoded(after)));
            }
            query.push_str(&format!("list-type=2&prefix={}", encoded(key)));
            start
                .method("GET")
                .uri(format!("{base}?{query}"))
                .body(SdkBody::empty())
        }
    };
    Ok(HttpRequest::try_from(request?)?)
}

fn deserialize(response: &HttpResponse) -> Result<Answer, OrchestratorError<Rejection>> {
    let body = response.body().bytes().unwrap_or_default();
    if response.status().is_success() {
        let header = |name| response.headers().get(name);
        return Ok(Answer {
            tag: header("etag").map(str::to_owned),
            status: response.status().as_u16(),
            content_type: failure::content_type(response).to_owned(),
            body: body.to_vec(),
        });
    }
    let error: ErrorAnswer = quick_xml::de::from_str(&String::from_utf8_lossy(body)).unwrap_or_default();
    let meta = ErrorMetadata::builder()
        .code(error.code)
        .message(error.message)
        .custom("aws_request_id", error.request_id)
        .build();
    Err(OrchestratorError::operation(Rejection {
        status: response.status().as_u16(),
        meta,
    }))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ErrorAnswer {
    #[serde(rename = "Code")]
    code: String,
    #[serde(rename = "Message")]
    message: String,
    #[serde(rename = "RequestId")]
    request_id: String,
}

#[derive(Debug, Deserialize)]
struct Page {
    #[serde(rename = "Contents", default)]
    contents: Vec<Listed>,
    #[serde(rename = "IsTruncated", default)]
    truncated: bool,
    #[serde(rename = "NextContinuationToken")]
    next: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Listed {
    #[serde(rename = "Key")]
    key: String,
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::time::SystemTime;

    use bytes::Bytes;
    use http_body_util::Full;

    use super::*;

    type Seen = Arc<Mutex<Vec<http::Request<Bytes>>>>;

    /// A bucket that gives every request the same answer, and the requests it got.
    async fn bucket(place: &BucketPlace, status: u16, body: &'static str) -> (Bucket, Seen) {
        let seen = Seen::default();
        let log = seen.clone();
        let handler = move |request: http::Request<Bytes>| {
            log.lock().unwrap().push(request);
            let answer = http::Response::builder().status(status).header("etag", "\"e1\"");
            std::future::ready(Ok::<_, std::io::Error>(answer.body(Full::from(body)).unwrap()))
        };
        let settings = Settings::simulated(handler, || SystemTime::UNIX_EPOCH);
        (Bucket::connect(&settings, place).await.unwrap(), seen)
    }

    fn place(endpoint: Option<&str>) -> BucketPlace {
        BucketPlace {
            bucket: "states".to_owned(),
            region: Some("eu-west-1".to_owned()),
            endpoint: endpoint.map(str::to_owned),
        }
    }

    #[tokio::test]
    async fn writes_carry_their_condition_and_the_hash_of_what_they_write() {
        let (bucket, seen) = bucket(&place(None), 200, "").await;
        let tag = bucket
            .put("a/b%3a~1", b"hello".to_vec(), Only::Absent)
            .await
            .unwrap();
        assert_eq!(tag, "\"e1\"");
        bucket.put("k", Vec::new(), Only::Tagged("\"e0\"")).await.unwrap();
        let seen = seen.lock().unwrap();
        assert_eq!(
            seen[0].uri().to_string(),
            "https://states.s3.eu-west-1.amazonaws.com/a/b%253a~1"
        );
        let header = |at: usize, name: &str| {
            seen[at]
                .headers()
                .get(name)
                .map(|v| v.to_str().unwrap().to_owned())
        };
        assert_eq!(header(0, "if-none-match").as_deref(), Some("*"));
        assert_eq!(header(1, "if-match").as_deref(), Some("\"e0\""));
        assert_eq!(
            header(0, "x-amz-content-sha256").as_deref(),
            Some("2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824")
        );
        let signed = header(0, "authorization").unwrap();
        assert!(signed.contains("/eu-west-1/s3/aws4_request"), "{signed}");
        assert!(signed.contains("if-none-match"), "{signed}");
    }

    #[tokio::test]
    async fn another_service_has_the_bucket_in_its_path_and_lists_page_by_page() {
        let page = "<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>p/b</Key><Size>1</Size></Contents>\
                    <Contents><Key>p/a</Key></Contents></ListBucketResult>";
        let (bucket, seen) = bucket(&place(Some("http://127.0.0.1:9000")), 200, page).await;
        assert_eq!(bucket.list("p/").await.unwrap(), ["p/a", "p/b"]);
        assert_eq!(
            seen.lock().unwrap()[0].uri().to_string(),
            "http://127.0.0.1:9000/states/?list-type=2&prefix=p%2F"
        );
    }

    /// A captive portal's: neither is the state empty, nor is it written or removed.
    #[tokio::test]
    async fn what_is_not_the_services_says_nothing_of_objects() {
        const PAGE: &str = "<html><head><title>Log in</title></head><body/></html>";
        for status in [200, 404] {
            let handler = move |_request| {
                let answer = http::Response::builder()
                    .status(status)
                    .header("content-type", "text/html");
                std::future::ready(answer.body(Full::from(PAGE)))
            };
            let settings = Settings::simulated(handler, || SystemTime::UNIX_EPOCH);
            let bucket = Bucket::connect(&settings, &place(None)).await.unwrap();
            let answers = [
                bucket.list("p/").await.map(drop),
                bucket.get("k").await.map(drop),
                bucket.put("k", Vec::new(), Only::Absent).await.map(drop),
                bucket.put("k", Vec::new(), Only::Tagged("t")).await.map(drop),
                bucket.delete("k").await,
            ];
            for (at, answer) in answers.into_iter().enumerate() {
                let error = answer.expect_err(&format!("{status}: {at}"));
                assert!(!matches!(error, S3Error::Conflict), "{status}: {at}");
                assert!(error.to_string().contains("text/html"), "{error}");
                let unsettled = matches!(error, S3Error::Unsettled(_));
                assert_eq!(unsettled, status == 200, "{at}: {error}");
            }
        }
    }

    /// An hour behind: the first refusal says so, and what is sent next is signed with the service's time.
    #[tokio::test]
    async fn a_clock_that_is_off_is_corrected() {
        let seen = Seen::default();
        let log = seen.clone();
        let handler = move |request: http::Request<Bytes>| {
            let is_first = log.lock().unwrap().is_empty();
            log.lock().unwrap().push(request);
            let (status, body) = match is_first {
                true => (403, "<Error><Code>RequestTimeTooSkewed</Code></Error>"),
                false => (200, ""),
            };
            let answer = http::Response::builder().status(status).header("etag", "\"e1\"");
            let answer = answer.header("date", "Thu, 01 Jan 1970 01:00:00 GMT");
            std::future::ready(answer.body(Full::from(body)))
        };
        let settings = Settings::simulated(handler, || SystemTime::UNIX_EPOCH);
        let bucket = Bucket::connect(&settings, &place(None)).await.unwrap();
        bucket.put("k", Vec::new(), Only::Always).await.unwrap();
        let dates: Vec<_> = seen
            .lock()
            .unwrap()
            .iter()
            .map(|request| request.headers()["x-amz-date"].to_str().unwrap().to_owned())
            .collect();
        assert_eq!(dates, ["19700101T000000Z", "19700101T010000Z"]);
    }

    #[tokio::test]
    async fn what_an_answer_means() {
        let code = |code: &str| -> &'static str {
            Box::leak(format!("<Error><Code>{code}</Code><Message>m</Message></Error>").into_boxed_str())
        };
        let put = async |status, body| {
            let (bucket, _) = bucket(&place(None), status, body).await;
            bucket.put("k", Vec::new(), Only::Tagged("t")).await.unwrap_err()
        };
        assert!(matches!(
            put(412, code("PreconditionFailed")).await,
            S3Error::Conflict
        ));
        assert!(matches!(put(404, code("NoSuchKey")).await, S3Error::Conflict));
        assert!(matches!(
            put(409, code("ConditionalRequestConflict")).await,
            S3Error::Unsettled(_)
        ));
        assert!(matches!(put(503, code("SlowDown")).await, S3Error::Unsettled(_)));
        assert!(matches!(
            put(500, code("InternalError")).await,
            S3Error::Unsettled(_)
        ));
        assert!(matches!(
            put(404, code("NoSuchBucket")).await,
            S3Error::Refused(_)
        ));
        assert!(matches!(
            put(403, code("AccessDenied")).await,
            S3Error::Refused(_)
        ));
        let (missing, _) = bucket(&place(None), 404, code("NoSuchKey")).await;
        assert_eq!(missing.get("k").await.unwrap(), None);
        let (no_bucket, _) = bucket(&place(None), 404, code("NoSuchBucket")).await;
        assert!(no_bucket.get("k").await.is_err());
    }
}
