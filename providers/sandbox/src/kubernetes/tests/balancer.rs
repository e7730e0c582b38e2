//! The AWS load balancer controller.

use super::{Lab, WEB, deployment};
use serde_json::{Value, json};

const INGRESS: &str = "/apis/networking.k8s.io/v1/namespaces/default/ingresses/web";
const CONTROLLER: &str = "/apis/apps/v1/namespaces/kube-system/deployments/aws-load-balancer-controller";

fn ingress(target_type: &str) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": {"name": "web", "annotations": {
            "alb.ingress.kubernetes.io/scheme": "internet-facing", "alb.ingress.kubernetes.io/target-type": target_type}},
        "spec": {"ingressClassName": "alb", "rules": [{"http": {"paths": [
            {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "web", "port": {"number": 80}}}}]}}]},
    })
}

fn definition(plural: &str, kind: &str, scope: &str) -> Value {
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.elbv2.k8s.aws")},
        "spec": {"group": "elbv2.k8s.aws", "scope": scope, "names": {"plural": plural, "kind": kind},
            "versions": [{"name": "v1beta1", "served": true, "storage": true, "schema": {"openAPIV3Schema":
                {"type": "object", "properties": {"spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}}}]}})
}

impl Lab {
    /// An application, the controller's class, and the controller itself.
    fn with_controller(definitions: bool) -> Self {
        let mut lab = Self::new();
        lab.apply(WEB, "epid", &deployment("nginx:1", 1));
        lab.post(
            "/api/v1/namespaces/default/services",
            &json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
                "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}}),
        );
        lab.post(
            "/apis/networking.k8s.io/v1/ingressclasses",
            &json!({"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": {"name": "alb"},
                "spec": {"controller": "ingress.k8s.aws/alb"}}),
        );
        if definitions {
            lab.define();
        }
        lab.post(
            "/api/v1/namespaces/kube-system/serviceaccounts",
            &json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "lbc",
                "annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::000000000000:role/lbc"}}}),
        );
        let mut controller = deployment("public.ecr.aws/eks/aws-load-balancer-controller:v3.5.0", 1);
        controller["metadata"] = json!({"name": "aws-load-balancer-controller"});
        let spec = &mut controller["spec"]["template"]["spec"];
        spec["serviceAccountName"] = json!("lbc");
        spec["containers"][0]["args"] = json!([
            "--cluster-name=demo",
            "--aws-vpc-id=vpc-1",
            "--aws-region=us-east-1"
        ]);
        lab.apply(CONTROLLER, "epid", &controller);
        lab
    }

    fn define(&mut self) {
        let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        self.post(
            path,
            &definition("targetgroupbindings", "TargetGroupBinding", "Namespaced"),
        );
        self.post(
            path,
            &definition("ingressclassparams", "IngressClassParams", "Cluster"),
        );
    }

    fn hostname(&mut self) -> Value {
        self.get(INGRESS)["status"]["loadBalancer"]["ingress"][0]["hostname"].clone()
    }

    fn complaints(&mut self) -> Vec<String> {
        let events = self.get("/api/v1/namespaces/default/events");
        let events = events["items"].as_array().unwrap().clone();
        events
            .iter()
            .filter(|event| event["involvedObject"]["kind"] == "Ingress" && event["type"] == "Warning")
            .map(|event| event["message"].as_str().unwrap().to_owned())
            .collect()
    }
}

#[test]
fn an_ingress_gets_a_load_balancer_and_gives_it_back() {
    let mut lab = Lab::with_controller(true);
    lab.pass(60);
    lab.apply(INGRESS, "epid", &ingress("ip"));
    lab.pass(60);
    assert_eq!(
        lab.get(INGRESS)["metadata"]["finalizers"],
        json!(["ingress.k8s.aws/resources"])
    );
    assert!(lab.hostname().is_null(), "still provisioning");
    lab.pass(120);
    let hostname = lab.hostname();
    assert!(
        hostname.as_str().unwrap().starts_with("k8s-default-web-"),
        "{hostname}"
    );
    let (_, request) = lab.cloud.balancers["ingress/default/web"].clone();
    assert_eq!(request.target_groups[0].targets.len(), 1);
    assert_eq!(request.listeners[0].port, 80);
    let bindings = "/apis/elbv2.k8s.aws/v1beta1/namespaces/default/targetgroupbindings";
    assert_eq!(
        lab.get(bindings)["items"][0]["spec"]["serviceRef"],
        json!({"name": "web", "port": 80})
    );
    let settled = lab.get(INGRESS)["metadata"]["resourceVersion"].clone();
    let again = lab.apply(INGRESS, "epid", &ingress("ip"));
    assert_eq!(again["metadata"]["resourceVersion"], settled);
    lab.delete(INGRESS);
    lab.pass(20);
    assert!(!lab.gone(INGRESS), "the load balancer is not deleted yet");
    lab.pass(60);
    assert!(lab.gone(INGRESS));
    assert!(lab.cloud.balancers.is_empty());
    assert!(lab.get(bindings)["items"].as_array().unwrap().is_empty());
}

#[test]
fn without_the_controller_the_finalizer_stays() {
    let mut lab = Lab::with_controller(true);
    lab.pass(60);
    lab.apply(INGRESS, "epid", &ingress("ip"));
    lab.pass(240);
    lab.delete(CONTROLLER);
    lab.pass(30);
    lab.delete(INGRESS);
    lab.pass(3600);
    let stuck = lab.get(INGRESS);
    assert!(stuck["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(lab.cloud.balancers.len(), 1, "and the load balancer too");
}

#[test]
fn the_controller_crashes_until_its_kinds_exist() {
    let mut lab = Lab::with_controller(false);
    lab.apply(INGRESS, "epid", &ingress("ip"));
    lab.pass(120);
    let pods = lab.get("/api/v1/namespaces/kube-system/pods");
    let state = &pods["items"][0]["status"]["containerStatuses"][0]["state"];
    assert_eq!(state["waiting"]["reason"], "CrashLoopBackOff");
    lab.define();
    lab.pass(600);
    assert!(lab.hostname().is_string());
}

#[test]
fn a_role_that_cannot_be_assumed_is_told_and_tried_again() {
    let mut lab = Lab::with_controller(true);
    lab.cloud.role = Err("WebIdentityErr: AccessDenied".to_owned());
    lab.pass(60);
    lab.apply(INGRESS, "epid", &ingress("ip"));
    lab.pass(60);
    assert!(
        lab.complaints()
            .iter()
            .any(|message| message.contains("WebIdentityErr"))
    );
    lab.cloud.role = Ok(());
    lab.pass(600);
    assert!(lab.hostname().is_string());
}

#[test]
fn instance_targets_need_node_ports_and_nodes() {
    let mut lab = Lab::with_controller(true);
    lab.pass(60);
    lab.apply(INGRESS, "epid", &ingress("instance"));
    lab.pass(60);
    assert!(
        lab.complaints()
            .iter()
            .any(|message| message.contains("must be of type 'NodePort'"))
    );
    assert!(lab.cloud.balancers.is_empty());
}

#[test]
fn a_webhook_without_a_ready_pod_refuses() {
    let mut lab = Lab::with_controller(true);
    let hook = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "aws-load-balancer-webhook"}, "webhooks": [{
            "name": "vingress.elbv2.k8s.aws", "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "clientConfig": {"service": {"name": "hook", "namespace": "kube-system", "path": "/validate"}},
            "rules": [{"apiGroups": ["networking.k8s.io"], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"],
                "resources": ["ingresses"]}]}]});
    lab.post(
        "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations",
        &hook,
    );
    lab.post(
        "/api/v1/namespaces/kube-system/services",
        &json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "hook"},
            "spec": {"selector": {"app": "web"}, "ports": [{"port": 443, "targetPort": 80}]}}),
    );
    let (code, status) = lab.try_apply(INGRESS, "epid", &ingress("ip"));
    assert_eq!(code, 500);
    assert!(
        status["message"]
            .as_str()
            .unwrap()
            .ends_with("no endpoints available for service \"hook\"")
    );
    lab.pass(60);
    lab.apply(INGRESS, "epid", &ingress("ip"));
}
