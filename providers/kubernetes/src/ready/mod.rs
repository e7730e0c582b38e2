//! When an object works, and what is in its way: seen every second or so until it works, certainly will not, or the time
//! is over. A program turns the waiting off by the annotation `epid.dev/skipAwait: "true"`.

mod objects;
mod pods;
mod workloads;

use std::time::Duration;

use epid_provider::{Call, Failure, Retry, Timestamp};
use serde_json::Value as Json;

use crate::api::{Expected, encoded};
use crate::connection::{Cluster, Target};
use crate::name::SKIP_AWAIT;
use crate::refusal::Doing;
use crate::wire;

/// The first and the longest wait between two looks.
const LOOK: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(3));
/// Events are asked for only after so long: most objects work before.
const PATIENCE: Duration = Duration::from_secs(5);

/// How an object is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum State {
    /// It works.
    Ready,
    /// Not yet.
    Waiting {
        /// For people: `1 of 2 pods ready`.
        progress: String,
        /// What is in its way, where that is known.
        cause: Option<Cause>,
    },
    /// It will not work without somebody's doing.
    Failed(Cause),
}

/// What is in an object's way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cause {
    /// What, with the words of the cluster.
    pub(crate) message: String,
    /// What to do about it.
    pub(crate) hint: Option<String>,
    /// It is given up when the cause stays for so long; `None`: it may go by itself.
    pub(crate) patience: Option<Duration>,
}

impl Cause {
    /// Something that may go by itself.
    pub(crate) fn passing(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: None,
            patience: None,
        }
    }

    /// Something that is given up on after `seconds`.
    pub(crate) fn lasting(message: impl Into<String>, seconds: u64) -> Self {
        Self {
            patience: Some(Duration::from_secs(seconds)),
            ..Self::passing(message)
        }
    }

    /// With what to do about it.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl State {
    pub(crate) fn waiting(progress: impl Into<String>) -> Self {
        Self::Waiting {
            progress: progress.into(),
            cause: None,
        }
    }
}

/// True where the object works now.
pub(crate) async fn is_ready(
    cluster: &Cluster,
    cx: &Call,
    target: &Target,
    live: &Json,
) -> Result<bool, Failure> {
    let look = Look {
        cluster,
        cx,
        target,
        waited: Duration::ZERO,
    };
    Ok(look.state(live).await? == State::Ready)
}

/// Waits until the object works; the live object then.
pub(crate) async fn wait(
    cluster: &Cluster,
    cx: &Call,
    target: &Target,
    mut live: Json,
) -> Result<Json, Failure> {
    let begun = cx.now();
    let mut wait = LOOK.0;
    let mut last = String::from("its state is not known yet");
    let mut hint: Option<String> = None;
    let mut first_seen: Option<(String, Timestamp)> = None;
    loop {
        let look = Look {
            cluster,
            cx,
            target,
            waited: cx.now().since(begun),
        };
        match look.state(&live).await {
            Ok(State::Ready) => return Ok(live),
            Ok(State::Failed(cause)) => return Err(failed(target, cause)),
            Ok(State::Waiting { progress, cause }) => {
                last.clone_from(&progress);
                if let Some(cause) = &cause {
                    last = format!("{progress}: {}", cause.message);
                    hint.clone_from(&cause.hint);
                }
                cx.progress(&last);
                match cause {
                    Some(cause) => {
                        let key = cause.hint.clone().unwrap_or_else(|| cause.message.clone());
                        let since = match &first_seen {
                            Some((seen, since)) if *seen == key => *since,
                            _ => cx.now(),
                        };
                        if cause
                            .patience
                            .is_some_and(|patience| cx.now().since(since) >= patience)
                        {
                            return Err(failed(target, cause));
                        }
                        first_seen = Some((key, since));
                    }
                    None => first_seen = None,
                }
            }
            Err(failure) if failure.retry == Retry::No => return Err(failure),
            Err(failure) => cx.progress(&failure.message),
        }
        if let Err(stopped) = cx.sleep(wait).await {
            if stopped.code != "Deadline" {
                return Err(stopped);
            }
            let waited = cx.now().since(begun);
            let failure = Failure::deadline(format_args!("{} is not ready: {last};", target.told()), waited);
            return Err(match hint {
                Some(hint) => failure.with_hint(hint),
                None => failure,
            });
        }
        wait = (wait * 3 / 2).min(LOOK.1);
        match cluster.live(cx, target).await {
            Ok(Some(now)) if wire::metadata(&now, "uid") == wire::metadata(&live, "uid") => live = now,
            Ok(_) => {
                return Err(Failure::new(
                    "NotFound",
                    format_args!("{} was deleted while it was waited for", target.told()),
                ));
            }
            Err(failure) if failure.retry == Retry::No => return Err(failure),
            Err(failure) => cx.progress(&failure.message),
        }
    }
}

fn failed(target: &Target, cause: Cause) -> Failure {
    let failure = Failure::new(
        "NotReady",
        format_args!("{} is not ready: {}", target.told(), cause.message),
    );
    match cause.hint {
        Some(hint) => failure.with_hint(hint),
        None => failure,
    }
}

/// One look at an object, and at what explains it.
struct Look<'a> {
    cluster: &'a Cluster,
    cx: &'a Call,
    target: &'a Target,
    waited: Duration,
}

impl Look<'_> {
    async fn state(&self, live: &Json) -> Result<State, Failure> {
        if live["metadata"]["annotations"][SKIP_AWAIT] == "true" {
            return Ok(State::Ready);
        }
        let api_version = &*self.target.route.api_version;
        match (api_version, self.target.kind.name()) {
            ("apps/v1", "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet") | ("batch/v1", "Job") => {
                self.workload(live).await
            }
            ("v1", "Pod") => Ok(pods::of_one(live)),
            ("v1", "Namespace") => Ok(objects::namespace(live)),
            ("v1", "Service") => Ok(self.explained(live, objects::service(live)).await),
            ("networking.k8s.io/v1", "Ingress") => self.ingress(live).await,
            ("v1", "PersistentVolumeClaim") => self.claim(live).await,
            ("apiregistration.k8s.io/v1", "APIService") => Ok(objects::api_service(live)),
            ("apiextensions.k8s.io/v1", "CustomResourceDefinition") => self.definition(live).await,
            _ => Ok(State::Ready),
        }
    }

    async fn workload(&self, live: &Json) -> Result<State, Failure> {
        let state = workloads::state(self.target.kind.name(), live);
        let State::Waiting {
            progress,
            cause: None,
        } = state
        else {
            return Ok(state);
        };
        let mut pods = self.pods(live).await?;
        if self.target.kind.name() == "Deployment" {
            let hash = self.newest_hash(live).await?;
            pods.retain(|pod| {
                hash.is_none() || pod["metadata"]["labels"]["pod-template-hash"].as_str() == hash.as_deref()
            });
        } else if let Some(revision) = live["status"]["updateRevision"].as_str() {
            pods.retain(|pod| pod["metadata"]["labels"]["controller-revision-hash"] == revision);
        }
        let mut cause = pods::cause(&pods);
        if cause.is_none()
            && self.waited >= PATIENCE
            && let Some(pod) = pods.iter().find(|pod| pods::is_pending(pod))
        {
            cause = self
                .warning(pod)
                .await
                .map(|text| Cause::passing(format!("pod {}: {text}", wire::metadata(pod, "name"))));
        }
        if cause.is_none() && pods.is_empty() && self.waited >= PATIENCE {
            cause = self.warning(live).await.map(Cause::passing);
        }
        Ok(State::Waiting { progress, cause })
    }

    /// The pods that a workload selects and that are not leaving.
    async fn pods(&self, live: &Json) -> Result<Vec<Json>, Failure> {
        let selector = workloads::selector(live);
        if selector.is_empty() {
            return Ok(Vec::new());
        }
        let collection = format!("/api/v1/namespaces/{}/pods", wire::metadata(live, "namespace"));
        let query = format!("labelSelector={}", encoded(&selector));
        let mut pods = self.list(&collection, &query).await?;
        pods.retain(|pod| pod["metadata"]["deletionTimestamp"].is_null());
        Ok(pods)
    }

    /// The `pod-template-hash` of a Deployment's newest ReplicaSet.
    async fn newest_hash(&self, live: &Json) -> Result<Option<String>, Failure> {
        const REVISION: &str = "deployment.kubernetes.io/revision";
        let collection = format!(
            "/apis/apps/v1/namespaces/{}/replicasets",
            wire::metadata(live, "namespace")
        );
        let sets = self
            .list(
                &collection,
                &format!("labelSelector={}", encoded(&workloads::selector(live))),
            )
            .await?;
        let uid = wire::metadata(live, "uid");
        let revision = &live["metadata"]["annotations"][REVISION];
        let newest = sets.iter().find(|set| {
            let owned = set["metadata"]["ownerReferences"]
                .as_array()
                .into_iter()
                .flatten()
                .any(|o| o["uid"] == uid);
            owned && &set["metadata"]["annotations"][REVISION] == revision
        });
        Ok(newest
            .and_then(|set| set["metadata"]["labels"]["pod-template-hash"].as_str())
            .map(str::to_owned))
    }

    async fn ingress(&self, live: &Json) -> Result<State, Failure> {
        let state = self.explained(live, objects::ingress(live)).await;
        let State::Waiting {
            progress,
            cause: None,
        } = &state
        else {
            return Ok(state);
        };
        let class = live["spec"]["ingressClassName"].as_str();
        if let (Some(class), true) = (class, self.waited >= PATIENCE)
            && self
                .absent(&format!("/apis/networking.k8s.io/v1/ingressclasses/{class}"))
                .await?
        {
            let cause = Cause::lasting(format!("there is no IngressClass `{class}`"), 60)
                .hint("install the ingress controller, or let this resource depend on it");
            return Ok(State::Waiting {
                progress: progress.clone(),
                cause: Some(cause),
            });
        }
        Ok(state)
    }

    async fn claim(&self, live: &Json) -> Result<State, Failure> {
        let state = objects::claim(live);
        let State::Waiting { progress, .. } = &state else {
            return Ok(state);
        };
        let Some(class) = live["spec"]["storageClassName"]
            .as_str()
            .filter(|class| !class.is_empty())
        else {
            return Ok(state);
        };
        match self
            .cluster
            .api
            .get(
                self.cx,
                &format!("/apis/storage.k8s.io/v1/storageclasses/{class}"),
                Expected::Object("storage.k8s.io/v1", "StorageClass"),
            )
            .await
        {
            // It binds once a pod wants it.
            Ok(class) if class["volumeBindingMode"] == "WaitForFirstConsumer" => Ok(State::Ready),
            Ok(_) => Ok(self.explained(live, state).await),
            Err(refusal) if refusal.is_absent() => {
                let cause = Cause::lasting(format!("there is no StorageClass `{class}`"), 30)
                    .hint("name one that the cluster has, or declare it");
                Ok(State::Waiting {
                    progress: progress.clone(),
                    cause: Some(cause),
                })
            }
            Err(refusal) => Err(refusal.failure(Doing::Read)),
        }
    }

    /// A definition is done when its kind is also served: only then can objects of it be made.
    async fn definition(&self, live: &Json) -> Result<State, Failure> {
        let state = objects::definition(live);
        if state != State::Ready {
            return Ok(state);
        }
        let group = live["spec"]["group"].as_str().unwrap_or_default();
        let served = live["spec"]["versions"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|v| v["served"] == true);
        let Some(version) = served.and_then(|v| v["name"].as_str()) else {
            return Ok(State::Ready);
        };
        let plural = &live["spec"]["names"]["plural"];
        let listed = match self
            .cluster
            .api
            .get(
                self.cx,
                &format!("/apis/{group}/{version}"),
                Expected::Kind("APIResourceList"),
            )
            .await
        {
            Ok(list) => list["resources"]
                .as_array()
                .into_iter()
                .flatten()
                .any(|r| &r["name"] == plural),
            Err(refusal) if refusal.said().is_some_and(|said| matches!(said.code, 404 | 503)) => false,
            Err(refusal) => return Err(refusal.failure(Doing::Read)),
        };
        self.cluster.api.forget_group(group);
        Ok(if listed {
            State::Ready
        } else {
            State::waiting("established, not served yet")
        })
    }

    /// A state with the last warning about the object, once it takes long.
    async fn explained(&self, live: &Json, state: State) -> State {
        match state {
            State::Waiting {
                progress,
                cause: None,
            } if self.waited >= PATIENCE => {
                let cause = self.warning(live).await.map(Cause::passing);
                State::Waiting { progress, cause }
            }
            state => state,
        }
    }

    /// The last warning about an object; events are a help, so a failure to read them is none.
    async fn warning(&self, object: &Json) -> Option<String> {
        let collection = format!(
            "/api/v1/namespaces/{}/events",
            wire::metadata(object, "namespace")
        );
        let selector = format!("involvedObject.uid={}", wire::metadata(object, "uid"));
        let query = format!("fieldSelector={}", encoded(&selector));
        let events = self.list(&collection, &query).await.ok()?;
        objects::last_warning(&events)
    }

    async fn list(&self, collection: &str, query: &str) -> Result<Vec<Json>, Failure> {
        self.cluster
            .api
            .list(self.cx, collection, query)
            .await
            .map_err(|refusal| refusal.failure(Doing::Read))
    }

    async fn absent(&self, path: &str) -> Result<bool, Failure> {
        match self.cluster.api.get(self.cx, path, Expected::Any).await {
            Ok(_) => Ok(false),
            Err(refusal) if refusal.is_absent() => Ok(true),
            Err(refusal) => Err(refusal.failure(Doing::Read)),
        }
    }
}
