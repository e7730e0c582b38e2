//! Deployments, pods and what stops them, jobs, garbage, namespaces.

use super::{Lab, MERGE, WEB, config_map, deployment};
use serde_json::{Value, json};

const PODS: &str = "/api/v1/namespaces/default/pods";

fn condition(object: &Value, kind: &str) -> Value {
    object["status"]["conditions"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|condition| condition["type"] == kind)
        .cloned()
        .unwrap_or_default()
}

impl Lab {
    fn pods(&mut self) -> Vec<Value> {
        self.get(PODS)["items"].as_array().unwrap().clone()
    }

    /// Reason of the first pod's first container's waiting.
    fn waiting(&mut self) -> Value {
        self.pods()[0]["status"]["containerStatuses"][0]["state"]["waiting"]["reason"].clone()
    }

    fn told(&mut self, reason: &str) -> Vec<String> {
        let events = self.get("/api/v1/namespaces/default/events");
        let events = events["items"].as_array().unwrap().clone();
        events
            .iter()
            .filter(|event| event["reason"] == reason)
            .map(|event| event["message"].as_str().unwrap().to_owned())
            .collect()
    }
}

#[test]
fn a_deployment_becomes_available_on_fargate() {
    let mut lab = Lab::new();
    lab.apply(WEB, "epid", &deployment("nginx:1", 2));
    let begun = lab.get(WEB);
    assert_eq!(begun["status"]["observedGeneration"], 1);
    assert_eq!(condition(&begun, "Progressing")["reason"], "ReplicaSetUpdated");
    lab.pass(30);
    assert_eq!(condition(&lab.get(WEB), "Available")["status"], "False");
    lab.pass(30);
    let done = lab.get(WEB);
    assert_eq!(done["status"]["readyReplicas"], 2);
    assert_eq!(condition(&done, "Available")["status"], "True");
    assert_eq!(
        condition(&done, "Progressing")["reason"],
        "NewReplicaSetAvailable"
    );
    let pod = &lab.pods()[0];
    assert!(
        pod["spec"]["nodeName"]
            .as_str()
            .unwrap()
            .starts_with("fargate-ip-192-168-")
    );
    assert_eq!(
        pod["metadata"]["labels"]["eks.amazonaws.com/fargate-profile"],
        "fp"
    );
    assert_eq!(lab.get("/api/v1/nodes")["items"].as_array().unwrap().len(), 2);
    assert_eq!(lab.cluster.next_due(), None, "a settled cluster rests");
}

#[test]
fn a_rollout_never_falls_below_its_minimum() {
    let mut lab = Lab::new();
    lab.apply(WEB, "epid", &deployment("nginx:1", 4));
    lab.pass(60);
    lab.apply(WEB, "epid", &deployment("nginx:2", 4));
    for _ in 0..60 {
        lab.pass(5);
        let available = lab.get(WEB)["status"]["availableReplicas"].as_u64().unwrap();
        assert!(available >= 3, "{available} of 4");
        assert!(lab.pods().len() <= 5 + 4, "surge and those that are ending");
    }
    let done = lab.get(WEB);
    assert_eq!(
        (&done["status"]["replicas"], &done["status"]["updatedReplicas"]),
        (&json!(4), &json!(4))
    );
    assert_eq!(
        done["metadata"]["annotations"]["deployment.kubernetes.io/revision"],
        "2"
    );
    assert!(
        lab.pods()
            .iter()
            .all(|pod| pod["spec"]["containers"][0]["image"] == "nginx:2")
    );
    // Rolling back takes the old ReplicaSet again.
    lab.apply(WEB, "epid", &deployment("nginx:1", 4));
    lab.pass(200);
    let sets = lab.get("/apis/apps/v1/namespaces/default/replicasets");
    assert_eq!(sets["items"].as_array().unwrap().len(), 2);
    assert_eq!(
        lab.get(WEB)["metadata"]["annotations"]["deployment.kubernetes.io/revision"],
        "3"
    );
}

#[test]
fn a_pod_without_profile_stays_pending_until_it_is_made_anew() {
    let mut lab = Lab::new();
    lab.cloud.namespaces.clear();
    lab.apply(WEB, "epid", &deployment("nginx:1", 1));
    lab.pass(60);
    let pods = lab.pods();
    assert_eq!(pods[0]["status"]["phase"], "Pending");
    let scheduled = condition(&pods[0], "PodScheduled");
    assert_eq!(
        (&scheduled["reason"], &scheduled["message"]),
        (
            &json!("Unschedulable"),
            &json!("no nodes available to schedule pods")
        )
    );
    assert_eq!(
        lab.told("FailedScheduling"),
        ["no nodes available to schedule pods"]
    );
    lab.cloud.namespaces.push("default".to_owned());
    lab.pass(600);
    assert_eq!(
        lab.pods()[0]["status"]["phase"],
        "Pending",
        "its scheduler was chosen when it was made"
    );
    assert_eq!(
        condition(&lab.get(WEB), "Progressing")["reason"],
        "ProgressDeadlineExceeded"
    );
    let name = pods[0]["metadata"]["name"].as_str().unwrap().to_owned();
    lab.delete(&format!("{PODS}/{name}"));
    lab.pass(60);
    assert_eq!(lab.get(WEB)["status"]["readyReplicas"], 1);
}

#[test]
fn what_fargate_cannot_run_is_said() {
    let mut lab = Lab::new();
    let mut host = deployment("nginx:1", 1);
    host["spec"]["template"]["spec"]["hostNetwork"] = json!(true);
    lab.apply(WEB, "epid", &host);
    lab.pass(60);
    assert_eq!(
        lab.told("FailedScheduling"),
        ["Pod not supported on Fargate: fields not supported: HostNetwork"]
    );
}

#[test]
fn images_that_cannot_be_pulled_back_off() {
    let mut lab = Lab::new();
    lab.apply(WEB, "epid", &deployment("nginx:missing", 1));
    lab.pass(45);
    assert_eq!(lab.waiting(), "ErrImagePull");
    lab.pass(15);
    assert_eq!(lab.waiting(), "ImagePullBackOff");
    assert!(
        lab.told("Failed")
            .iter()
            .any(|message| message.contains("not found"))
    );
    // Without a way out even good images are not pulled; with one they are, at the next attempt.
    lab.cloud.internet = false;
    lab.apply(WEB, "epid", &deployment("nginx:1", 1));
    lab.pass(90);
    assert!(
        lab.told("Failed")
            .iter()
            .any(|message| message.contains("i/o timeout"))
    );
    lab.cloud.internet = true;
    lab.pass(400);
    assert_eq!(lab.get(WEB)["status"]["readyReplicas"], 1);
}

#[test]
fn a_crashing_container_loops() {
    let mut lab = Lab::new();
    lab.apply(WEB, "epid", &deployment("nginx:crash", 1));
    lab.pass(45);
    assert_eq!(lab.waiting(), "CrashLoopBackOff");
    lab.pass(120);
    let pod = &lab.pods()[0];
    assert!(
        pod["status"]["containerStatuses"][0]["restartCount"]
            .as_i64()
            .unwrap()
            >= 2
    );
    assert_eq!(condition(pod, "Ready")["status"], "False");
    assert!(lab.get(WEB)["status"]["readyReplicas"].is_null());
}

#[test]
fn a_missing_secret_holds_a_pod_until_it_comes() {
    let mut lab = Lab::new();
    let mut needs = deployment("nginx:1", 1);
    needs["spec"]["template"]["spec"]["containers"][0]["envFrom"] = json!([{"secretRef": {"name": "s"}}]);
    lab.apply(WEB, "epid", &needs);
    lab.pass(60);
    assert_eq!(lab.waiting(), "CreateContainerConfigError");
    assert!(
        lab.told("Failed")
            .contains(&"Error: secret \"s\" not found".to_owned())
    );
    let secret =
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"k": "v"}});
    lab.post("/api/v1/namespaces/default/secrets", &secret);
    lab.pass(40);
    assert_eq!(lab.get(WEB)["status"]["readyReplicas"], 1);
}

#[test]
fn endpoints_follow_readiness() {
    let mut lab = Lab::new();
    lab.post(
        "/api/v1/namespaces/default/services",
        &json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
            "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}}),
    );
    lab.apply(WEB, "epid", &deployment("nginx:1", 1));
    lab.pass(60);
    let endpoints = lab.get("/api/v1/namespaces/default/endpoints/web");
    assert_eq!(endpoints["subsets"][0]["addresses"].as_array().unwrap().len(), 1);
    let slices = lab.get("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices");
    assert_eq!(slices["items"][0]["endpoints"][0]["conditions"]["ready"], true);
    lab.delete("/api/v1/namespaces/default/services/web");
    assert!(lab.gone("/api/v1/namespaces/default/endpoints/web"));
}

#[test]
fn dependents_go_with_their_owner_or_stay_as_asked() {
    let mut lab = Lab::new();
    lab.apply(WEB, "epid", &deployment("nginx:1", 1));
    lab.pass(60);
    let sets = "/apis/apps/v1/namespaces/default/replicasets";
    let (_, kept) = lab.ask(
        "DELETE",
        WEB,
        "application/json",
        &json!({"propagationPolicy": "Foreground", "dryRun": ["All"]}),
    );
    assert_eq!(kept["metadata"]["finalizers"], json!(["foregroundDeletion"]));
    lab.ask(
        "DELETE",
        WEB,
        "application/json",
        &json!({"propagationPolicy": "Foreground"}),
    );
    assert!(!lab.gone(WEB), "it waits for its pods");
    lab.pass(10);
    assert!(lab.gone(WEB));
    assert!(lab.pods().is_empty());
    assert!(lab.get("/api/v1/nodes")["items"].as_array().unwrap().is_empty());
    lab.apply(WEB, "epid", &deployment("nginx:1", 1));
    lab.pass(60);
    lab.ask(
        "DELETE",
        WEB,
        "application/json",
        &json!({"propagationPolicy": "Orphan"}),
    );
    lab.pass(10);
    assert!(lab.gone(WEB));
    let left = lab.get(sets)["items"].as_array().unwrap().clone();
    assert_eq!(left.len(), 1);
    assert!(
        left[0]["metadata"]["ownerReferences"]
            .as_array()
            .is_none_or(Vec::is_empty)
    );
}

#[test]
fn a_namespace_ends_when_it_is_empty() {
    let mut lab = Lab::new();
    lab.post(
        "/api/v1/namespaces",
        &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team"}}),
    );
    let maps = "/api/v1/namespaces/team/configmaps";
    let mut map = config_map("m", &json!({}));
    map["metadata"]["finalizers"] = json!(["example.com/hold"]);
    lab.post(maps, &map);
    lab.delete("/api/v1/namespaces/team");
    lab.pass(10);
    let ending = lab.get("/api/v1/namespaces/team");
    assert_eq!(ending["status"]["phase"], "Terminating");
    assert_eq!(
        condition(&ending, "NamespaceFinalizersRemaining")["status"],
        "True"
    );
    let (code, status) = lab.ask("POST", maps, "application/json", &config_map("n", &json!({})));
    assert_eq!(code, 403);
    assert_eq!(
        status["message"],
        "configmaps \"n\" is forbidden: unable to create new content in namespace team because it is being terminated"
    );
    assert_eq!(status["details"]["causes"][0]["reason"], "NamespaceTerminating");
    lab.ask(
        "PATCH",
        &format!("{maps}/m"),
        MERGE,
        &json!({"metadata": {"finalizers": null}}),
    );
    lab.pass(1);
    assert!(lab.gone("/api/v1/namespaces/team"));
}

#[test]
fn jobs_complete_or_give_up() {
    let mut lab = Lab::new();
    let job = |name: &str, image: &str| {
        json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name},
            "spec": {"backoffLimit": 1, "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": image}]}}}})
    };
    let jobs = "/apis/batch/v1/namespaces/default/jobs";
    lab.post(jobs, &job("good", "busybox:1"));
    lab.post(jobs, &job("bad", "busybox:crash"));
    lab.pass(200);
    let good = lab.get(&format!("{jobs}/good"));
    assert_eq!(
        (
            condition(&good, "Complete")["status"].clone(),
            &good["status"]["succeeded"]
        ),
        (json!("True"), &json!(1))
    );
    let bad = lab.get(&format!("{jobs}/bad"));
    assert_eq!(condition(&bad, "Failed")["reason"], "BackoffLimitExceeded");
    let (code, status) = lab.ask(
        "PATCH",
        &format!("{jobs}/good"),
        MERGE,
        &json!({"spec": {"template": {"spec": {"dnsPolicy": "Default"}}}}),
    );
    assert_eq!(code, 422);
    assert!(
        status["message"]
            .as_str()
            .unwrap()
            .ends_with("field is immutable")
    );
}

#[test]
fn stateful_pods_come_one_after_the_other() {
    let mut lab = Lab::new();
    let path = "/apis/apps/v1/namespaces/default/statefulsets/db";
    let mut set = deployment("postgres:1", 2);
    set["kind"] = json!("StatefulSet");
    set["metadata"]["name"] = json!("db");
    set["spec"]["serviceName"] = json!("db");
    lab.apply(path, "epid", &set);
    lab.pass(40);
    assert_eq!(lab.pods().len(), 1);
    lab.pass(80);
    let names: Vec<String> = lab
        .pods()
        .iter()
        .map(|pod| pod["metadata"]["name"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(names, ["db-0", "db-1"]);
    assert_eq!(lab.get(path)["status"]["readyReplicas"], 2);
    let (code, _) = lab.ask("PATCH", path, MERGE, &json!({"spec": {"serviceName": "other"}}));
    assert_eq!(code, 422);
}

#[test]
fn coredns_is_healthy_on_fargate_only_where_it_may_run_there() {
    let mut lab = Lab::new();
    lab.cluster.install_addon(lab.now, "coredns", &json!({}));
    lab.pass(120);
    assert!(!lab.cluster.addon_healthy("coredns"), "annotated for EC2");
    lab.cluster
        .install_addon(lab.now, "coredns", &json!({"computeType": "Fargate"}));
    lab.pass(120);
    assert!(lab.cluster.addon_healthy("coredns"));
    assert!(lab.cluster.addon_healthy("vpc-cni"));
    lab.cluster.remove_addon(lab.now, "coredns");
    lab.pass(10);
    assert!(lab.gone("/apis/apps/v1/namespaces/kube-system/deployments/coredns"));
}

#[test]
fn a_snapshot_goes_on_where_it_was() {
    let mut lab = Lab::new();
    lab.apply(WEB, "epid", &deployment("nginx:1", 2));
    lab.pass(20);
    let mut other = lab.clone();
    other.cluster = serde_json::from_str(&serde_json::to_string(&lab.cluster).unwrap()).unwrap();
    lab.pass(100);
    other.pass(100);
    assert_eq!(
        serde_json::to_value(&lab.cluster).unwrap(),
        serde_json::to_value(&other.cluster).unwrap()
    );
}
