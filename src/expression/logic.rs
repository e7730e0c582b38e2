//! `&&`, `||`, `all` and `exists`: what decides them although other parts are unknown or fail.

use std::ops::Range;

use epid_provider::Value;

use super::outcome::{Failure, Outcome, a, fail, mark, open};

/// What has been seen of the parts of `&&`, `||`, `all` or `exists`.
pub(super) struct Logic {
    /// The value that decides.
    pub(super) decides: bool,
    decided_in_secret: bool,
    pub(super) secret: bool,
    unknown: Option<Value>,
    failure: Option<Failure>,
}

impl Logic {
    pub(super) fn new(decides: bool) -> Self {
        Self {
            decides,
            decided_in_secret: false,
            secret: false,
            unknown: None,
            failure: None,
        }
    }

    /// Takes one part; true where it decides everything.
    pub(super) fn take(&mut self, part: Outcome, range: &Range<u32>, what: &str) -> Result<bool, Failure> {
        match part.map(|value| open(&value)) {
            Ok((Value::Bool(b), secret)) if b == self.decides => {
                self.decided_in_secret |= secret;
                return Ok(!secret);
            }
            Ok((Value::Bool(_), secret)) => self.secret |= secret,
            Ok((unknown @ Value::Unknown(_), secret)) => {
                self.secret |= secret;
                self.unknown = self.unknown.take().or(Some(unknown));
            }
            Ok((other, _)) => {
                let problem = fail(range, format!("{what} takes booleans, not {}", a(&other)));
                self.failure = self.failure.take().or(Some(problem));
            }
            Err(failure) if failure.certain => return Err(failure),
            Err(failure) => self.failure = self.failure.take().or(Some(failure)),
        }
        Ok(false)
    }

    pub(super) fn finish(self) -> Outcome {
        if self.decided_in_secret {
            return Ok(Value::Bool(self.decides).into_secret());
        }
        if let Some(unknown) = self.unknown {
            return Ok(mark(unknown, self.secret));
        }
        match self.failure {
            Some(failure) => Err(failure),
            None => Ok(mark(Value::Bool(!self.decides), self.secret)),
        }
    }
}
