//! An API server in memory, with its controllers.
//!
//! Text of requests -> [`request`] -> [`discovery`] or [`api`] -> [`write`](mod@write) ([`defaults`], [`admission`],
//! [`validate`], [`immutable`], [`managed`]) -> [`store`] -> [`watch`]. The [`controllers`] write through the
//! same door as clients. Shapes come from [`schema`]; nothing here knows one kind's fields but `defaults`,
//! `validate`, `immutable`, `columns` and the controllers.
//!
//! Pure: time and the cloud are handed in; names and addresses are drawn from a seed.

mod admission;
mod api;
mod call;
mod columns;
mod controllers;
mod defaults;
mod discovery;
mod failure;
mod fields;
mod immutable;
mod json;
mod managed;
mod openapi;
mod patch;
mod protobuf;
mod quantity;
mod request;
mod resource;
mod schema;
mod selector;
mod store;
#[cfg(test)]
mod tests;
mod typed;
mod validate;
mod watch;
mod write;

use crate::cloud::{Cloud, Principal};
use crate::{Answer, Timestamp};
use bytes::Bytes;
use request::Request;
use serde::{Deserialize, Serialize};
use store::Store;

pub use watch::Watch;

/// A cluster: its objects and controllers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Cluster {
    version: String,
    seed: u64,
    drawn: u64,
    store: Store,
    controllers: controllers::State,
}

impl Cluster {
    /// A new cluster of the given minor version, e.g. `1.34`.
    pub fn new(seed: u64, version: &str, now: Timestamp) -> Self {
        let mut cluster = Self {
            version: version.to_owned(),
            seed,
            drawn: 0,
            store: Store::default(),
            controllers: controllers::State::default(),
        };
        cluster.begin(now);
        cluster
    }

    /// Answers one request.
    pub fn handle(
        &mut self,
        now: Timestamp,
        who: &Principal,
        request: &http::Request<Bytes>,
        cloud: &mut dyn Cloud,
    ) -> Answer {
        let request = Request::read(request);
        if let Some(answer) = self.directory(&request) {
            return match request.method.as_str() {
                "GET" | "HEAD" => answer,
                _ => Answer::Done(failure::Refused::method().response()),
            };
        }
        let Some(place) = request.place() else {
            return discovery::nothing_here(&request);
        };
        if let Some(answer) = self.review(who, &request, &place, cloud) {
            return answer;
        }
        match self.objects(now, who, &request, &place, cloud) {
            Ok(answer) => answer,
            Err(refused) => Answer::Done(refused.response()),
        }
    }

    /// Runs the controllers up to `now`.
    pub fn advance(&mut self, now: Timestamp, cloud: &mut dyn Cloud) {
        self.reconcile(now, cloud);
    }

    /// When [`Cluster::advance`] has something to do next.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.controllers.next_due()
    }

    /// New event lines since the watch was polled last; `None` once it is over.
    pub fn poll_watch(&self, now: Timestamp, watch: &mut Watch) -> Option<Vec<Bytes>> {
        watch.poll(self, now)
    }

    /// Changes the control plane's minor version, e.g. to `1.35`.
    pub fn set_version(&mut self, version: &str) {
        version.clone_into(&mut self.version);
    }

    /// The next number of the seed's sequence.
    fn draw(&mut self) -> u64 {
        self.drawn += 1;
        crate::aws::splitmix(
            self.seed
                .wrapping_add(self.drawn.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
        )
    }
}
