//! For tests of the query services: an account, a clock that the test moves, and calls in form encoding.

use super::{ApiError, Aws, Call, Params, Reply};
use crate::Timestamp;
use crate::cloud::Principal;
use std::time::Duration;

type Handle = fn(&mut Aws, Timestamp, &Call) -> Result<Reply, ApiError>;

pub(crate) struct Trial {
    pub aws: Aws,
    pub now: Timestamp,
    handle: Handle,
}

impl Trial {
    /// An empty account, and the service that answers.
    pub(crate) fn new(handle: Handle) -> Self {
        let now = Timestamp::parse("2026-11-22T10:00:00Z").unwrap();
        Self {
            aws: Aws::new(1, "000000000000", "us-east-1"),
            now,
            handle,
        }
    }

    pub(crate) fn wait(&mut self, seconds: u64) {
        self.now = self.now.after(Duration::from_secs(seconds));
    }

    /// The answer's elements as text.
    pub(crate) fn call(&mut self, operation: &str, form: &str) -> Result<String, ApiError> {
        let caller = Principal {
            arn: "arn:aws:iam::000000000000:user/sandbox".to_owned(),
            user_id: "AIDASANDBOX".to_owned(),
            account: "000000000000".to_owned(),
        };
        let call = Call {
            operation: operation.to_owned(),
            params: Params::decode(form),
            json: serde_json::Value::Null,
            path: Vec::new(),
            query: Vec::new(),
            caller,
        };
        match (self.handle)(&mut self.aws, self.now, &call)? {
            Reply::Xml(xml) => Ok(xml.as_str().to_owned()),
            Reply::Json(json) => panic!("a query service answered JSON: {json}"),
        }
    }

    pub(crate) fn ok(&mut self, operation: &str, form: &str) -> String {
        self.call(operation, form)
            .unwrap_or_else(|error| panic!("{operation} {form}: {error:?}"))
    }

    /// The text of the first `element` in the answer.
    pub(crate) fn get(&mut self, operation: &str, form: &str, element: &str) -> String {
        let answer = self.ok(operation, form);
        texts(&answer, element)
            .into_iter()
            .next()
            .unwrap_or_else(|| panic!("no {element} in {answer}"))
    }

    /// The error's code.
    pub(crate) fn code(&mut self, operation: &str, form: &str) -> String {
        self.call(operation, form)
            .map_or_else(|error| error.code, |answer| format!("succeeded: {answer}"))
    }
}

/// The text of every `element` in the answer.
pub(crate) fn texts(answer: &str, element: &str) -> Vec<String> {
    let open = format!("<{element}>");
    answer
        .split(&open)
        .skip(1)
        .filter_map(|rest| Some(rest.split_once('<')?.0.to_owned()))
        .collect()
}
