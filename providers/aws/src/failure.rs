//! What an SDK error means: was it done, does trying again help, and what can the person do.

use std::error::Error;
use std::fmt::Write;

use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_runtime_api::client::dns::ResolveDnsError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use aws_types::request_id::RequestId;
use epid_provider::{Failure, Outcome, Retry};

/// Codes with which a service asks for fewer calls; IAM's quota error `LimitExceeded` is not among them.
const THROTTLES: &[&str] = &[
    "BandwidthLimitExceeded",
    "EC2ThrottledException",
    "LimitExceededException",
    "PriorRequestNotComplete",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestThrottledException",
    "SlowDown",
    "Throttling",
    "ThrottledException",
    "ThrottlingException",
    "TooManyRequestsException",
];
/// What may answer instead of a service.
const BETWEEN: &str = "a proxy or a captive portal may stand between this machine and the service: check the network and the endpoint";
/// Codes of credentials that were good once.
const EXPIRED: &[&str] = &["ExpiredToken", "ExpiredTokenException"];
/// Codes of credentials that AWS does not know.
const UNKNOWN_CALLER: &[&str] = &[
    "AuthFailure",
    "InvalidClientTokenId",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
];
/// Codes of a caller who may not do it.
const DENIED: &[&str] = &[
    "AccessDenied",
    "AccessDeniedException",
    "NotAuthorized",
    "UnauthorizedOperation",
];

/// The failure that an SDK error is. `action` is what was asked, as IAM policies spell it: `ec2:CreateVpc`.
///
/// The outcome is that of a change; for a read it does not matter.
#[expect(
    clippy::needless_pass_by_value,
    reason = "it stands in `map_err`, which gives the error away"
)]
pub(crate) fn of_sdk<E>(error: SdkError<E, HttpResponse>, action: &str) -> Failure
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    let answer = error.raw_response();
    let status = answer.map_or(0, |answer| answer.status().as_u16());
    if let Some(service) = error.as_service_error() {
        let meta = service.meta();
        let (code, message) = (
            meta.code().unwrap_or_default(),
            meta.message().unwrap_or_default(),
        );
        let failure = match answer {
            Some(answer) if code.is_empty() && message.is_empty() => no_refusal(action, answer),
            _ => refused(action, status, code, message),
        };
        let failure = match answer {
            Some(answer) if is_of_clock(&failure) => failure.with_hint(clock_hint(code, message, answer)),
            _ => failure,
        };
        return Failure {
            request_id: meta.request_id().map(str::to_owned),
            ..failure
        };
    }
    if let Some(credentials) = source::<CredentialsError>(&error) {
        return no_credentials(credentials);
    }
    let lost = |code: &str| {
        Failure::new(code, format_args!("{action}: {}", chain(&error)))
            .with_outcome(Outcome::Unknown)
            .with_retry(Retry::Yes)
    };
    match &error {
        SdkError::ConstructionFailure(_) => {
            Failure::new("Request", format_args!("{action}: {}", chain(&error)))
        }
        SdkError::TimeoutError(_) => lost("Timeout"),
        SdkError::DispatchFailure(dispatch) if dispatch.is_user() => {
            Failure::new("Request", format_args!("{action}: {}", chain(&error)))
        }
        SdkError::DispatchFailure(_) if never_left(&error) => lost("Unreachable")
            .with_outcome(Outcome::NotStarted)
            .with_hint("check the network, the region and AWS_ENDPOINT_URL"),
        SdkError::DispatchFailure(dispatch) if dispatch.is_timeout() => lost("Timeout"),
        SdkError::DispatchFailure(_) => lost("ConnectionLost"),
        _ => match answer {
            Some(answer) if !answer.status().is_success() => no_refusal(action, answer),
            Some(answer) => {
                unreadable(action, "not the service's", content_type(answer)).with_retry(Retry::Yes)
            }
            None => lost("BadAnswer"),
        },
    }
}

/// The failure that an answer is which says that it was done, but is `what`: whether it was done, nobody can tell.
pub(crate) fn unreadable(action: &str, what: &str, content_type: &str) -> Failure {
    let message = format_args!("the answer to {action} cannot be read: it is {what} ({content_type})");
    Failure::new("BadAnswer", message)
        .with_outcome(Outcome::Unknown)
        .with_hint(BETWEEN)
}

/// The failure that an answer is from which the service leaves out what it always says.
pub(crate) fn without(action: &str, member: &str) -> Failure {
    let message = format_args!("the answer to {action} cannot be read: it has no `{member}`");
    Failure::new("BadAnswer", message)
        .with_outcome(Outcome::Unknown)
        .with_hint(BETWEEN)
}

/// The failure that an error is which the service does not word like this.
fn no_refusal(action: &str, answer: &HttpResponse) -> Failure {
    let status = answer.status().as_u16();
    let message = format_args!(
        "{action} failed with HTTP status {status}, and the answer does not say why as AWS does ({})",
        content_type(answer)
    );
    let failure = Failure::new(format!("Http{status}"), message).with_hint(BETWEEN);
    again(status, "", failure)
}

/// What an answer says that it is, for people.
pub(crate) fn content_type(answer: &HttpResponse) -> &str {
    let given = answer.headers().get("content-type").map(str::trim);
    given
        .filter(|kind| !kind.is_empty())
        .unwrap_or("without a content type")
}

/// The failure that a service's error answer is.
fn refused(action: &str, status: u16, code: &str, message: &str) -> Failure {
    let code = if code.is_empty() { "ServiceError" } else { code };
    let message = readable(message);
    let said = if message.is_empty() {
        "(no message)"
    } else {
        message
    };
    let failure = Failure::new(code, format_args!("{action}: {code}: {said}"));
    let failure = again(status, code, failure);
    match hint(action, code).filter(|_| failure.retry == Retry::No) {
        Some(hint) => failure.with_hint(hint),
        None => failure,
    }
}

/// With what an error's status and code say of the outcome, and of trying again.
fn again(status: u16, code: &str, failure: Failure) -> Failure {
    if THROTTLES.contains(&code) || status == 429 || (code == "ServiceUnavailable" && status == 503) {
        failure.with_retry(Retry::Throttled)
    } else if status >= 500 || status == 408 || code == "RequestTimeout" || code == "RequestTimeoutException"
    {
        failure.with_retry(Retry::Yes).with_outcome(Outcome::Unknown)
    } else {
        failure
    }
}

/// Whether a failure says that the request was signed by a clock that is off, <https://docs.aws.amazon.com/IAM/latest/UserGuide/signature-v4-troubleshooting.html>.
pub(crate) fn is_of_clock(failure: &Failure) -> bool {
    let says = |text: &str| failure.message.contains(text);
    match failure.code.as_str() {
        "RequestTimeTooSkewed" | "RequestExpired" | "RequestInTheFuture" => true,
        "SignatureDoesNotMatch" | "InvalidSignatureException" => {
            says("Signature expired") || says("Signature not yet current")
        }
        _ => false,
    }
}

/// What to do where a clock is off, and by how much, as far as the answer tells.
fn clock_hint(code: &str, message: &str, answer: &HttpResponse) -> String {
    let off = match (off_by(message), answer.headers().get("date")) {
        (Some(off), _) => format!(" by {off}"),
        (None, Some(date)) => format!(" (the service says that it is {date})"),
        (None, None) => String::new(),
    };
    let clock = format!(
        "this machine's clock is off{off}: set it, best by NTP (`timedatectl set-ntp true`), then repeat"
    );
    // EC2 says the same of credentials that were given for a time.
    if code == "RequestExpired" {
        return format!("the credentials have expired: log in again (`aws sso login`); or {clock}");
    }
    clock
}

/// How far a signature's time is from the service's, where a message names both: the first is that of the signature, the one
/// in parentheses that of the service.
fn off_by(message: &str) -> Option<String> {
    let time = |text: &str| {
        let (date, clock) = (text.get(..8)?, text.get(9..15)?);
        let part = |text: &str, at: usize| text.get(at..at + 2).map(str::to_owned);
        let text = format!(
            "{}-{}-{}T{}:{}:{}Z",
            date.get(..4)?,
            part(date, 4)?,
            part(date, 6)?,
            part(clock, 0)?,
            part(clock, 2)?,
            part(clock, 4)?
        );
        Some(DateTime::from_str(&text, Format::DateTime).ok()?.secs())
    };
    let signed = time(message.split_once(": ")?.1)?;
    let server = time(message.split_once('(')?.1)?;
    let minutes = server.abs_diff(signed).div_ceil(60);
    let way = if signed < server { "behind" } else { "ahead" };
    Some(format!("{minutes} minutes ({way})"))
}

/// No credentials could be found or made.
pub(crate) fn no_credentials(error: &CredentialsError) -> Failure {
    let (message, hint) = match error {
        CredentialsError::CredentialsNotLoaded(_) => (
            "no AWS credentials were found".to_owned(),
            "log in with `aws sso login`, or set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        ),
        CredentialsError::InvalidConfiguration(_) => (
            format!("the AWS configuration cannot be used: {}", chain(error)),
            "correct the profile in ~/.aws/config, or choose another with AWS_PROFILE",
        ),
        _ => (
            format!("the AWS credentials cannot be used: {}", chain(error)),
            "log in again (`aws sso login`), then repeat the command",
        ),
    };
    Failure::new("NoCredentials", message).with_hint(hint)
}

fn hint(action: &str, code: &str) -> Option<String> {
    if EXPIRED.contains(&code) {
        return Some("the credentials have expired: log in again (`aws sso login`), then repeat".to_owned());
    }
    if UNKNOWN_CALLER.contains(&code) {
        return Some(
            "AWS does not accept these credentials: check the access key, the profile and this machine's clock"
                .to_owned(),
        );
    }
    if DENIED.contains(&code) {
        return Some(format!(
            "the identity that runs epid needs `{action}` in an IAM policy, and no boundary or SCP against it"
        ));
    }
    if code == "OptInRequired" || code == "PendingVerification" {
        return Some("the account is not set up for this service or region yet".to_owned());
    }
    let quota = code.ends_with("LimitExceeded")
        || code == "LimitExceeded"
        || code == "ResourceLimitExceededException";
    quota.then(|| {
        "a quota of the account is used up: delete what is not needed, or ask for more in Service Quotas"
            .to_owned()
    })
}

/// Without the sealed part that EC2 appends for `sts:DecodeAuthorizationMessage`.
fn readable(message: &str) -> &str {
    message
        .split(" Encoded authorization failure message:")
        .next()
        .unwrap_or(message)
        .trim()
}

/// The first error of type `T` among an error and its sources.
fn source<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut at = Some(error);
    while let Some(error) = at {
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        at = error.source();
    }
    None
}

/// Whether the request provably never reached the service: no name, no connection.
fn never_left(error: &(dyn Error + 'static)) -> bool {
    if source::<ResolveDnsError>(error).is_some() {
        return true;
    }
    if let Some(io) = source::<std::io::Error>(error)
        && matches!(
            io.kind(),
            std::io::ErrorKind::ConnectionRefused
                | std::io::ErrorKind::HostUnreachable
                | std::io::ErrorKind::NetworkUnreachable
                | std::io::ErrorKind::AddrNotAvailable
        )
    {
        return true;
    }
    // The connector does not say it in a type; hyper words it so.
    chain(error).contains("client error (Connect)")
}

/// An error and its sources, each said once.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut at = error.source();
    while let Some(error) = at {
        let said = error.to_string();
        if !text.contains(&said) {
            // Writing to a string cannot fail.
            let _written = write!(text, ": {said}");
        }
        at = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_say_whether_it_was_done_and_whether_to_try_again() {
        let of = |status, code: &str| {
            let failure = refused("ec2:CreateVpc", status, code, "m");
            (failure.outcome, failure.retry)
        };
        assert_eq!(of(400, "InvalidParameterValue"), (Outcome::NotStarted, Retry::No));
        assert_eq!(
            of(503, "RequestLimitExceeded"),
            (Outcome::NotStarted, Retry::Throttled)
        );
        assert_eq!(of(400, "Throttling"), (Outcome::NotStarted, Retry::Throttled));
        assert_eq!(of(500, "InternalError"), (Outcome::Unknown, Retry::Yes));
        assert_eq!(of(400, "RequestTimeout"), (Outcome::Unknown, Retry::Yes));
        assert_eq!(of(409, "LimitExceeded"), (Outcome::NotStarted, Retry::No));
    }

    #[test]
    fn hints_name_the_next_step_and_sealed_messages_are_cut() {
        let failure = refused(
            "ec2:CreateVpc",
            403,
            "UnauthorizedOperation",
            "You are not authorized. Encoded authorization failure message: aBcD",
        );
        assert_eq!(
            failure.message,
            "ec2:CreateVpc: UnauthorizedOperation: You are not authorized."
        );
        assert!(failure.hint.is_some_and(|hint| hint.contains("`ec2:CreateVpc`")));
        let expired = refused("sts:GetCallerIdentity", 403, "ExpiredToken", "");
        assert!(expired.hint.is_some_and(|hint| hint.contains("log in again")));
    }
}
