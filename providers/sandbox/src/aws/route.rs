//! Which service, region and operation a request means, and the envelopes of the answers.

use super::{ApiError, Aws, Call, Params, Reply, ec2, eks, elbv2, iam, query, sts};
use crate::Timestamp;
use crate::cloud::Principal;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The services that are simulated, by the names under which requests are signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Service {
    Ec2,
    Eks,
    ElasticLoadBalancing,
    Iam,
    Sts,
}

impl Service {
    /// The signing name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ec2 => "ec2",
            Self::Eks => "eks",
            Self::ElasticLoadBalancing => "elasticloadbalancing",
            Self::Iam => "iam",
            Self::Sts => "sts",
        }
    }

    fn named(name: &str) -> Option<Self> {
        [
            Self::Ec2,
            Self::Eks,
            Self::ElasticLoadBalancing,
            Self::Iam,
            Self::Sts,
        ]
        .into_iter()
        .find(|service| service.name() == name)
    }

    fn namespace(self) -> &'static str {
        match self {
            Self::Ec2 => "http://ec2.amazonaws.com/doc/2016-11-15/",
            Self::ElasticLoadBalancing => "http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/",
            Self::Iam => "https://iam.amazonaws.com/doc/2010-05-08/",
            Self::Eks | Self::Sts => "https://sts.amazonaws.com/doc/2011-06-15/",
        }
    }
}

/// An AWS request, recognised.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Target {
    pub service: Service,
    pub region: String,
    pub operation: String,
    /// Who signed it; `None` for an unsigned request.
    pub access_key: Option<String>,
}

impl Target {
    /// Whether the operation may change the world.
    pub(crate) fn mutates(&self) -> bool {
        !["Describe", "Get", "List"]
            .iter()
            .any(|verb| self.operation.starts_with(verb))
    }
}

/// The signature's credential scope.
struct Scope {
    access_key: String,
    region: String,
    service: String,
}

fn scope(request: &http::Request<Bytes>) -> Option<Scope> {
    let authorization = request
        .headers()
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let credential = match authorization {
        Some(header) => header
            .split_once("Credential=")?
            .1
            .split([',', ' '])
            .next()?
            .to_owned(),
        None => query::decode_form(request.uri().query()?)
            .into_iter()
            .find_map(|(key, value)| (key == "X-Amz-Credential").then_some(value))?,
    };
    // The access key comes first and the scope is five parts long; keys hold no slash.
    let parts: Vec<&str> = credential.split('/').collect();
    match parts.as_slice() {
        [access_key, _date, region, service, _terminator] => Some(Scope {
            access_key: (*access_key).to_owned(),
            region: (*region).to_owned(),
            service: (*service).to_owned(),
        }),
        _ => None,
    }
}

/// The host a request is addressed to, without port.
pub(crate) fn host(request: &http::Request<Bytes>) -> Option<String> {
    let host = match request.uri().host() {
        Some(host) => host,
        None => request.headers().get(HOST)?.to_str().ok()?,
    };
    let host = host
        .rsplit_once(':')
        .filter(|(_, port)| port.parse::<u16>().is_ok())
        .map_or(host, |(h, _)| h);
    Some(host.to_ascii_lowercase())
}

/// Recognises an AWS request: by the scope of its signature, else by its host; `None` when it is neither.
///
/// # Errors
/// A service that is not simulated, or an operation that does not exist.
pub(crate) fn recognise(
    request: &http::Request<Bytes>,
    home_region: &str,
) -> Option<Result<Target, ApiError>> {
    let scope = scope(request);
    let host = host(request).unwrap_or_default();
    let of_host: Option<(String, String)> =
        host.strip_suffix(".amazonaws.com").and_then(|labels| {
            match labels.split('.').collect::<Vec<_>>().as_slice() {
                [service] => Some(((*service).to_owned(), home_region.to_owned())),
                [service, region] => Some(((*service).to_owned(), (*region).to_owned())),
                _ => None,
            }
        });
    let (name, region) = match (&scope, of_host) {
        (Some(scope), _) => (scope.service.clone(), scope.region.clone()),
        (None, Some(of_host)) => of_host,
        // Unsigned and on a custom endpoint: only STS has such operations.
        (None, None)
            if form(request)
                .get("Action")
                .is_some_and(|action| action.starts_with("AssumeRoleWith")) =>
        {
            ("sts".to_owned(), home_region.to_owned())
        }
        (None, None) => return None,
    };
    let Some(service) = Service::named(&name) else {
        return Some(Err(ApiError::not_simulated(&name, "(the whole service)")));
    };
    let operation = match service {
        Service::Eks => eks::operation(request.method(), &path_of(request)).map(str::to_owned),
        _ => form(request).get("Action").map(str::to_owned),
    };
    Some(match operation {
        Some(operation) => Ok(Target {
            service,
            region,
            operation,
            access_key: scope.map(|scope| scope.access_key),
        }),
        None if service == Service::Eks => Err(ApiError::not_simulated(
            "eks",
            &format!("{} {}", request.method(), request.uri().path()),
        )),
        None => Err(ApiError::bad("MissingAction", "Missing Action")),
    })
}

fn form(request: &http::Request<Bytes>) -> Params {
    let mut text = request.uri().query().unwrap_or_default().to_owned();
    let is_form = request
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_none_or(|kind| kind.starts_with("application/x-www-form-urlencoded"));
    if is_form {
        text.push('&');
        text.push_str(&String::from_utf8_lossy(request.body()));
    }
    Params::decode(&text)
}

fn path_of(request: &http::Request<Bytes>) -> Vec<String> {
    request
        .uri()
        .path()
        .split('/')
        .filter(|segment| !segment.is_empty())
        .map(|segment| percent_decode_str(segment).decode_utf8_lossy().into_owned())
        .collect()
}

/// Carries out a recognised request and wraps its answer.
pub(crate) fn perform(
    aws: &mut Aws,
    now: Timestamp,
    target: &Target,
    caller: Principal,
    request: &http::Request<Bytes>,
    request_id: &str,
) -> http::Response<Bytes> {
    match call(target, caller, request).and_then(|call| dispatch(aws, now, target.service, &call)) {
        Ok(reply) => success(target, reply, request_id),
        Err(error) => failure(Some(target.service), &error, request_id),
    }
}

fn call(target: &Target, caller: Principal, request: &http::Request<Bytes>) -> Result<Call, ApiError> {
    let rest = target.service == Service::Eks;
    let json = match rest && !request.body().is_empty() {
        true => serde_json::from_slice(request.body())
            .map_err(|error| ApiError::bad("SerializationException", error.to_string()))?,
        false => Value::Null,
    };
    Ok(Call {
        operation: target.operation.clone(),
        params: if rest { Params::default() } else { form(request) },
        json,
        path: if rest { path_of(request) } else { Vec::new() },
        query: match rest {
            true => query::decode_form(request.uri().query().unwrap_or_default()),
            false => Vec::new(),
        },
        caller,
    })
}

fn dispatch(aws: &mut Aws, now: Timestamp, service: Service, call: &Call) -> Result<Reply, ApiError> {
    match service {
        Service::Ec2 => ec2::handle(aws, now, call),
        Service::Eks => eks::handle(aws, now, call),
        Service::ElasticLoadBalancing => elbv2::handle(aws, now, call),
        Service::Iam => iam::handle(aws, now, call),
        Service::Sts => sts::handle(aws, now, call),
    }
}

fn success(target: &Target, reply: Reply, request_id: &str) -> http::Response<Bytes> {
    let (operation, namespace) = (&target.operation, target.service.namespace());
    match reply {
        Reply::Json(value) => respond(200, "application/json", value.to_string(), request_id),
        Reply::Xml(xml) => {
            let content = xml.as_str();
            let body = match target.service {
                Service::Ec2 => format!(
                    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<{operation}Response xmlns=\"{namespace}\">\
                     <requestId>{request_id}</requestId>{content}</{operation}Response>"
                ),
                _ => format!(
                    "<{operation}Response xmlns=\"{namespace}\"><{operation}Result>{content}</{operation}Result>\
                     <ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata></{operation}Response>"
                ),
            };
            respond(200, "text/xml;charset=UTF-8", body, request_id)
        }
    }
}

/// The answer to a request that names no operation of the simulated ones, in a protocol that its sender reads.
pub(crate) fn refusal(request: &http::Request<Bytes>, error: &ApiError) -> http::Response<Bytes> {
    const ID: &str = "refused";
    let of_scope = scope(request).map(|scope| scope.service);
    if let Some(service) = of_scope.as_deref().and_then(Service::named) {
        return failure(Some(service), error, ID);
    }
    let kind = request.headers().get(CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let form = kind.starts_with("application/x-www-form-urlencoded");
    // The few that are neither forms nor JSON.
    let xml = matches!(of_scope.as_deref(), Some("s3" | "route53" | "cloudfront"));
    if form || xml {
        return failure(None, error, ID);
    }
    let kind = match kind.starts_with("application/x-amz-json") {
        true => "application/x-amz-json-1.1",
        false => "application/json",
    };
    let body = json!({"__type": error.code, "message": error.message}).to_string();
    let mut response = respond(error.status, kind, body, ID);
    if let Ok(code) = HeaderValue::from_str(&error.code) {
        response.headers_mut().insert("x-amzn-errortype", code);
    }
    response
}

/// Wraps an error in the service's protocol; without a service, in the query protocol's.
pub(crate) fn failure(service: Option<Service>, error: &ApiError, request_id: &str) -> http::Response<Bytes> {
    let ApiError {
        status,
        code,
        message,
        members,
    } = error;
    match service {
        Some(Service::Eks) => {
            let mut body = members.clone();
            body.insert("message".to_owned(), json!(message));
            let mut response = respond(
                *status,
                "application/json",
                Value::Object(body).to_string(),
                request_id,
            );
            if let Ok(code) = HeaderValue::from_str(code) {
                response.headers_mut().insert("x-amzn-errortype", code);
            }
            response
        }
        Some(Service::Ec2) => {
            let error = super::Xml::new().text("Code", code).text("Message", message);
            let body = format!(
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Errors><Error>{}</Error></Errors>\
                 <RequestID>{request_id}</RequestID></Response>",
                error.as_str()
            );
            respond(*status, "text/xml;charset=UTF-8", body, request_id)
        }
        _ => {
            let fault = if *status < 500 { "Sender" } else { "Receiver" };
            let error = super::Xml::new()
                .text("Type", fault)
                .text("Code", code)
                .text("Message", message);
            let namespace = service.unwrap_or(Service::Sts).namespace();
            let body = format!(
                "<ErrorResponse xmlns=\"{namespace}\"><Error>{}</Error><RequestId>{request_id}</RequestId></ErrorResponse>",
                error.as_str()
            );
            respond(*status, "text/xml", body, request_id)
        }
    }
}

fn respond(status: u16, content_type: &'static str, body: String, request_id: &str) -> http::Response<Bytes> {
    let mut response = http::Response::new(Bytes::from(body));
    *response.status_mut() =
        http::StatusCode::from_u16(status).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    if let Ok(id) = HeaderValue::from_str(request_id) {
        response.headers_mut().insert("x-amzn-requestid", id);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(uri: &str, authorization: Option<&str>, body: &str) -> http::Request<Bytes> {
        let mut builder = http::Request::builder().method("POST").uri(uri);
        if let Some(value) = authorization {
            builder = builder.header(AUTHORIZATION, value);
        }
        builder.body(Bytes::from(body.to_owned())).unwrap()
    }

    #[test]
    fn the_signature_names_service_and_region_on_any_endpoint() {
        let signed = "AWS4-HMAC-SHA256 Credential=AKIA/20261122/eu-west-1/ec2/aws4_request, SignedHeaders=host, Signature=0";
        let target = recognise(
            &request("http://127.0.0.1:4566/", Some(signed), "Action=CreateVpc"),
            "us-east-1",
        );
        let target = target.unwrap().unwrap();
        assert_eq!(
            (target.service, target.region.as_str()),
            (Service::Ec2, "eu-west-1")
        );
        assert_eq!(
            (target.operation.as_str(), target.access_key.as_deref()),
            ("CreateVpc", Some("AKIA"))
        );
        assert!(target.mutates());
    }

    #[test]
    fn the_host_names_the_service_of_unsigned_requests() {
        let target = recognise(
            &request("https://iam.amazonaws.com/", None, "Action=GetRole"),
            "us-east-1",
        );
        assert_eq!(target.unwrap().unwrap().service, Service::Iam);
        assert!(recognise(&request("https://example.org/", None, ""), "us-east-1").is_none());
        let unknown = recognise(
            &request("https://sqs.us-east-1.amazonaws.com/", None, ""),
            "us-east-1",
        );
        assert_eq!(unknown.unwrap().unwrap_err().code, "NotSimulated");
    }

    #[test]
    fn each_protocol_has_its_own_error_shape() {
        let error = ApiError::bad("Oops", "a < b").with("clusterName", "demo");
        let text =
            |service| String::from_utf8(failure(Some(service), &error, "id").into_body().to_vec()).unwrap();
        assert!(
            text(Service::Ec2)
                .contains("<Response><Errors><Error><Code>Oops</Code><Message>a &lt; b</Message>")
        );
        assert!(text(Service::Iam).contains("<ErrorResponse"));
        assert_eq!(text(Service::Eks), r#"{"clusterName":"demo","message":"a < b"}"#);
        assert_eq!(
            failure(Some(Service::Eks), &error, "id").headers()["x-amzn-errortype"],
            "Oops"
        );
    }
}
