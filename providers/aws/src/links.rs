//! What AWS ties together by name alone.

use std::sync::Arc;

use epid_provider::{Bond, Desired, Links, Requirement};

use crate::given::text;

/// The links of a resource. An EKS cluster of the same name is another one: what was in it is made anew with it. Add-ons and
/// access entries vanish with their cluster; Fargate profiles keep it from being deleted
/// (<https://docs.aws.amazon.com/eks/latest/userguide/delete-cluster.html>).
pub(crate) fn links(desired: &Desired) -> Links {
    let mut links = Links::default();
    if desired.kind.module() != "eks" {
        return links;
    }
    let named =
        |property: &str| text(&desired.properties, property).map(|name| Arc::from(format!("cluster/{name}")));
    let bond = match desired.kind.name() {
        "Cluster" => {
            links.provides.extend(named("name"));
            return links;
        }
        "FargateProfile" => Bond::Upon,
        _ => Bond::Inside,
    };
    let cluster = named("clusterName").map(|what| Requirement { what, bond });
    links.requires.extend(cluster);
    links
}
