//! Kubernetes for epid: any kind a cluster serves, by server-side apply, waited for until it works.
//!
//! | module | what it knows |
//! |---|---|
//! | [`settings`] | what the embedding program gives: credentials of clusters, files, the transport |
//! | `schema` | the built-in kinds, out of a table made of the real server's OpenAPI documents; pure |
//! | `name` | kinds, ids and annotations as Kubernetes spells them; pure |
//! | `check`, `links`, `drift` | mistakes, edges without reference, what others changed; pure |
//! | [`manifest`] | YAML manifests to objects; pure |
//! | `provider` | the [`Kubernetes`] provider: all of the above behind the contract |
//! | `connect` | a configuration to a client |
//! | `api`, `refusal` | requests, discovery, and what answers mean |
//! | `wire` | properties to manifests, and back |
//! | `connection`, `apply`, `remove`, `observe` | what the engine asks of a cluster |
//! | `ready` | when an object works, and what is in its way |
//!
//! The crate knows no AWS: the token of an EKS cluster comes from a [`TokenSource`] of the embedding program. There is
//! no ambient kubeconfig: a provider names its cluster. It reads no environment and no clock but that of
//! [`epid_provider::Call`].
//!
//! **Ownership.** Every object carries the annotations `epid.dev/lineage` (the stack that owns it), `epid.dev/urn` (the
//! resource) and `epid.dev/token` (the operation that applied it last). The field manager is `epid-LINEAGE`. Objects of
//! others are never merged into: a create of what exists fails unless the resource says `adopt`.
//!
//! **Where a connection leads.** To a cluster, known by the UID of its kube-system namespace, and to the namespace of
//! objects that name none. A provider that is given another namespace is refused, as one that is given another cluster is:
//! give the objects a `metadata.namespace`, or declare another provider.

pub mod manifest;
pub mod settings;

mod api;
mod apply;
mod check;
mod connect;
mod connection;
mod drift;
mod links;
mod name;
mod observe;
mod provider;
mod ready;
mod refusal;
mod remove;
mod schema;
mod wire;

pub use provider::Kubernetes;
pub use settings::{BearerToken, Cluster, Settings, TokenSource, Transport};
