//! Objects other than workloads by their own status.

use serde_json::Value as Json;

use super::workloads::condition;
use super::{Cause, State};

/// The annotation that named an Ingress's class before `spec.ingressClassName`.
const OLD_INGRESS_CLASS: &str = "kubernetes.io/ingress.class";

pub(crate) fn namespace(live: &Json) -> State {
    match live["status"]["phase"].as_str() {
        Some("Terminating") => State::Failed(Cause::passing("it is being deleted")),
        Some("Active") => State::Ready,
        _ => State::waiting("waiting for the namespace to be active"),
    }
}

/// A load balancer has an address; every other Service works at once.
pub(crate) fn service(live: &Json) -> State {
    if live["spec"]["type"] != "LoadBalancer" || has_address(live) {
        State::Ready
    } else {
        State::waiting("waiting for the load balancer's address")
    }
}

/// An Ingress that names a class gets an address of its controller; another may never get one.
pub(crate) fn ingress(live: &Json) -> State {
    let named = live["spec"]["ingressClassName"].is_string()
        || live["metadata"]["annotations"][OLD_INGRESS_CLASS].is_string();
    if !named || has_address(live) {
        State::Ready
    } else {
        State::waiting("waiting for the load balancer's address")
    }
}

fn has_address(live: &Json) -> bool {
    let mut points = live["status"]["loadBalancer"]["ingress"]
        .as_array()
        .into_iter()
        .flatten();
    points.any(|point| point["hostname"].is_string() || point["ip"].is_string())
}

pub(crate) fn claim(live: &Json) -> State {
    match live["status"]["phase"].as_str() {
        Some("Bound") => State::Ready,
        Some("Lost") => State::Failed(Cause::passing("its volume is lost")),
        _ => State::waiting("waiting for a volume"),
    }
}

pub(crate) fn api_service(live: &Json) -> State {
    match condition(live, "Available") {
        Some(("True", ..)) => State::Ready,
        Some((_, reason, message)) => State::Waiting {
            progress: "waiting for the extension API server".to_owned(),
            cause: Some(Cause::passing(format!("{reason}: {message}"))),
        },
        None => State::waiting("waiting for the extension API server"),
    }
}

pub(crate) fn definition(live: &Json) -> State {
    if let Some(("False", reason, message)) = condition(live, "NamesAccepted") {
        let cause = Cause::lasting(format!("{reason}: {message}"), 5)
            .hint("another definition has these names: change `spec.names`");
        return State::Waiting {
            progress: "waiting for its names".to_owned(),
            cause: Some(cause),
        };
    }
    match condition(live, "Established") {
        Some(("True", ..)) => State::Ready,
        _ => State::waiting("waiting to be established"),
    }
}

/// The newest warning among events.
pub(crate) fn last_warning(events: &[Json]) -> Option<String> {
    let time = |event: &Json| {
        let text = |value: &Json| value.as_str().unwrap_or_default().to_owned();
        [
            text(&event["series"]["lastObservedTime"]),
            text(&event["lastTimestamp"]),
            text(&event["eventTime"]),
        ]
        .into_iter()
        .find(|t| !t.is_empty())
    };
    let newest = events
        .iter()
        .filter(|event| event["type"] == "Warning")
        .max_by_key(|event| time(event))?;
    let text = |key: &str| newest[key].as_str().unwrap_or_default();
    Some(format!("{}: {}", text("reason"), text("message")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn load_balancers_are_waited_for_and_other_services_are_not() {
        assert_eq!(service(&json!({"spec": {"type": "ClusterIP"}})), State::Ready);
        assert!(matches!(
            service(&json!({"spec": {"type": "LoadBalancer"}})),
            State::Waiting { .. }
        ));
        let addressed = json!({"spec": {"type": "LoadBalancer"}, "status": {"loadBalancer": {"ingress": [{"hostname": "h"}]}}});
        assert_eq!(service(&addressed), State::Ready);
    }

    #[test]
    fn an_ingress_without_class_is_not_waited_for() {
        assert_eq!(ingress(&json!({"spec": {}})), State::Ready);
        assert!(matches!(
            ingress(&json!({"spec": {"ingressClassName": "alb"}})),
            State::Waiting { .. }
        ));
        let old = json!({"metadata": {"annotations": {"kubernetes.io/ingress.class": "alb"}}});
        assert!(matches!(ingress(&old), State::Waiting { .. }));
    }

    #[test]
    fn the_newest_warning_counts() {
        let event = |ty: &str, at: &str, message: &str| json!({"type": ty, "lastTimestamp": at, "reason": "R", "message": message});
        let events = [
            event("Warning", "2026-01-01T00:00:02Z", "second"),
            event("Normal", "2026-01-01T00:00:03Z", "third"),
            event("Warning", "2026-01-01T00:00:01Z", "first"),
        ];
        assert_eq!(last_warning(&events).as_deref(), Some("R: second"));
        assert_eq!(last_warning(&[]), None);
    }

    #[test]
    fn a_definition_whose_names_are_taken_says_so() {
        let live = json!({"status": {"conditions": [{"type": "NamesAccepted", "status": "False", "reason": "ListKindConflict", "message": "taken"}]}});
        assert!(matches!(definition(&live), State::Waiting { cause: Some(_), .. }));
    }
}
