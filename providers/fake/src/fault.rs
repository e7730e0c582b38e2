//! The script of faults: which call goes wrong, and how.

use std::time::Duration;

/// An entry point of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Api {
    /// `Provider::connect`.
    Connect,
    /// `Connection::observe`, once for each query.
    Observe,
    /// `Connection::create`.
    Create,
    /// `Connection::update`.
    Update,
    /// `Connection::delete`.
    Delete,
    /// `Connection::recover`.
    Recover,
}

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// The service says no; nothing happened and trying again does not help.
    Refuse,
    /// The service is unwell; nothing happened and trying again helps.
    Unwell,
    /// The service asks for fewer calls.
    Throttle,
    /// The call takes effect and its answer is lost.
    LoseAnswer,
    /// The first request of the call takes effect, its answer is lost, and nothing more is sent.
    LoseFirstAnswer,
    /// The request is lost, and nobody can tell.
    LoseRequest,
    /// The call stops halfway; what it made stays.
    Half,
    /// The call takes this much longer, on the call's clock.
    Delay(Duration),
    /// The call does not answer until it is cancelled; whether it took effect is `after`.
    Hang {
        /// True where it took effect first.
        after: bool,
    },
    /// The process dies: the world's crash hook is called and the call never returns.
    Crash {
        /// True where the call took effect first.
        after: bool,
    },
}

/// One line of the script.
#[derive(Debug, Clone)]
pub struct Fault {
    /// The name of the kind (`Item`); any where `None`.
    pub kind: Option<&'static str>,
    /// The entry point; any where `None`.
    pub api: Option<Api>,
    /// The path of the URN (`net/subnet`); any where `None`.
    pub path: Option<String>,
    /// Which of the matching calls, from 1; 0 means all of them.
    pub nth: u32,
    /// Whether all calls after that one are hit too.
    pub rest: bool,
    /// What goes wrong.
    pub effect: Effect,
    pub(crate) seen: u32,
}

impl Fault {
    /// `effect` on the first call.
    #[must_use]
    pub fn new(effect: Effect) -> Self {
        Self {
            kind: None,
            api: None,
            path: None,
            nth: 1,
            rest: false,
            effect,
            seen: 0,
        }
    }

    /// Only of this kind.
    #[must_use]
    pub fn kind(mut self, kind: &'static str) -> Self {
        self.kind = Some(kind);
        self
    }

    /// Only of this entry point.
    #[must_use]
    pub fn api(mut self, api: Api) -> Self {
        self.api = Some(api);
        self
    }

    /// Only of the resource at this path.
    #[must_use]
    pub fn path(mut self, path: &str) -> Self {
        self.path = Some(path.to_owned());
        self
    }

    /// On the `nth` matching call, from 1; 0 means all.
    #[must_use]
    pub fn nth(mut self, nth: u32) -> Self {
        self.nth = nth;
        self
    }

    /// On the `nth` matching call, from 1, and all after it.
    #[must_use]
    pub fn onwards(mut self, nth: u32) -> Self {
        (self.nth, self.rest) = (nth, true);
        self
    }

    /// Counts a call, and says whether it is hit.
    pub(crate) fn hits(&mut self, api: Api, kind: &str, path: &str) -> bool {
        let matches = self.kind.is_none_or(|k| k == kind)
            && self.api.is_none_or(|a| a == api)
            && self.path.as_deref().is_none_or(|p| p == path);
        if matches {
            self.seen += 1;
        }
        matches && (self.nth == 0 || self.nth == self.seen || self.rest && self.nth < self.seen)
    }
}
