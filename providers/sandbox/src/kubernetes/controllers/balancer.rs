//! The AWS load balancer controller: runs only while its pods do, with a usable role and its custom kinds.

use super::event::Note;
use super::replica::ready;
use super::{Arc, Cloud, Cluster, Id, Timestamp, Value, json, text};
use crate::cloud::{ListenerRequest, LoadBalancerKind, LoadBalancerRequest, Scheme, TargetGroupRequest};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;

const MANAGER: &str = "controller";
const FINALIZER: &str = "ingress.k8s.aws/resources";
const SERVICE_FINALIZER: &str = "service.k8s.aws/resources";
/// How often something under way is looked at.
const LOOK: Duration = Duration::from_secs(5);

/// What the controller remembers of one load balancer.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Balance {
    failures: u32,
    /// Not tried again before.
    next: Timestamp,
}

/// A running controller.
struct Running {
    role: String,
    namespace: String,
    account: String,
    ip_targets: bool,
}

/// The Ingresses or the Service behind one load balancer.
struct Stack {
    key: String,
    name: String,
    finalizer: String,
    members: Vec<(Id, Arc<Value>)>,
    ending: Vec<Id>,
}

fn argument<'a>(pod: &'a Value, name: &str) -> Option<&'a str> {
    json::list(pod, "/spec/containers")
        .iter()
        .flat_map(|container| {
            json::list(container, "/args")
                .iter()
                .chain(json::list(container, "/command"))
        })
        .filter_map(Value::as_str)
        .find_map(|argument| argument.strip_prefix(name)?.strip_prefix('='))
}

fn is_controller(pod: &Value) -> bool {
    json::list(pod, "/spec/containers")
        .iter()
        .any(|container| text(container, "/image").contains("aws-load-balancer-controller"))
}

fn annotation<'a>(object: &'a Value, prefix: &str, name: &str) -> &'a str {
    object["metadata"]["annotations"][format!("{prefix}{name}")]
        .as_str()
        .unwrap_or_default()
}

fn alb<'a>(object: &'a Value, name: &str) -> &'a str {
    annotation(object, "alb.ingress.kubernetes.io/", name)
}

fn nlb<'a>(object: &'a Value, name: &str) -> &'a str {
    annotation(object, "service.beta.kubernetes.io/aws-load-balancer-", name)
}

fn words(text: &str) -> Vec<String> {
    text.split(',')
        .map(str::trim)
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Letters and digits of a name, at most so many.
fn short(name: &str, most: usize) -> String {
    name.chars()
        .filter(char::is_ascii_alphanumeric)
        .take(most)
        .collect()
}

/// Ten letters that stand for a text.
fn digest(text: &str) -> String {
    let bits = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{:010x}", bits & 0xff_ffff_ffff)
}

impl Cluster {
    /// Why a pod of the controller ends as soon as it starts, if it does.
    pub(super) fn controller_crash(&self, pod: &Value) -> Option<String> {
        if !is_controller(pod) {
            return None;
        }
        let fargate = text(pod, "/spec/schedulerName") == "fargate-scheduler";
        if argument(pod, "--cluster-name").is_none_or(str::is_empty) {
            return Some("Kubernetes cluster name must be specified".to_owned());
        }
        if fargate && argument(pod, "--aws-region").is_none() {
            return Some("failed to introspect region from EC2Metadata, specify --aws-region instead if EC2Metadata is unavailable".to_owned());
        }
        if fargate && argument(pod, "--aws-vpc-id").is_none() {
            return Some("failed to fetch VPC ID from instance metadata".to_owned());
        }
        [
            "targetgroupbindings.elbv2.k8s.aws",
            "ingressclassparams.elbv2.k8s.aws",
        ]
        .into_iter()
        .find(|name| {
            let definition = self.store.get(&crate::kubernetes::resource::definition_id(name));
            definition
                .is_none_or(|definition| !crate::kubernetes::resource::condition(definition, "Established"))
        })
        .map(|name| format!("no matches for kind of {name}"))
    }

    /// The controller, if a ready pod of it could do its work.
    fn controller(&self, cloud: &dyn Cloud) -> Option<Running> {
        let (id, pod) = self
            .store
            .list("", "pods", None)
            .find(|(_, pod)| is_controller(pod) && ready(pod) && self.controller_crash(pod).is_none())?;
        let fits = argument(pod, "--cluster-name") == Some(cloud.cluster_name())
            && argument(pod, "--aws-vpc-id").is_none_or(|vpc| vpc == cloud.vpc_id())
            && argument(pod, "--aws-region").is_none_or(|region| region == cloud.region());
        let role = json::list(pod, "/spec/containers")
            .iter()
            .flat_map(|container| json::list(container, "/env"))
            .find(|variable| variable["name"] == "AWS_ROLE_ARN")
            .map(|variable| text(variable, "/value").to_owned());
        fits.then(|| Running {
            role: role.unwrap_or_default(),
            namespace: id.namespace.clone(),
            account: text(pod, "/spec/serviceAccountName").to_owned(),
            ip_targets: argument(pod, "--default-target-type") == Some("ip"),
        })
    }

    /// One round of the controller.
    pub(super) fn balance(&mut self, now: Timestamp, cloud: &mut dyn Cloud) {
        let Some(running) = self.controller(cloud) else {
            return;
        };
        let mut stacks = self.ingress_stacks();
        stacks.extend(self.service_stacks());
        for stack in stacks {
            let balance = self
                .controllers
                .balances
                .entry(stack.key.clone())
                .or_default()
                .clone();
            if now < balance.next {
                self.controllers.wake(balance.next);
                continue;
            }
            let done = self.balance_stack(now, cloud, &running, &stack);
            let entry = self.controllers.balances.entry(stack.key.clone()).or_default();
            let next = match done {
                Ok(true) => {
                    *entry = Balance::default();
                    continue;
                }
                Ok(false) => {
                    entry.failures = 0;
                    now.after(LOOK)
                }
                Err((reason, why)) => {
                    entry.failures = (entry.failures + 1).min(7);
                    let next = now.after(LOOK * (1 << (entry.failures - 1)));
                    for (_, member) in &stack.members {
                        let note = Note {
                            from: if stack.finalizer == SERVICE_FINALIZER {
                                "service"
                            } else {
                                "ingress"
                            },
                            warning: true,
                            reason,
                            message: why.clone(),
                        };
                        self.note(now, cloud, member, &note);
                    }
                    next
                }
            };
            if let Some(entry) = self.controllers.balances.get_mut(&stack.key) {
                entry.next = next;
            }
            self.controllers.wake(next);
        }
    }

    /// Ingresses by the load balancer that they share.
    fn ingress_stacks(&self) -> Vec<Stack> {
        let mut stacks: BTreeMap<String, Stack> = BTreeMap::new();
        for (id, ingress) in self.every("networking.k8s.io", "ingresses") {
            let group = alb(&ingress, "group.name");
            let held = json::list(&ingress, "/metadata/finalizers")
                .iter()
                .filter_map(Value::as_str)
                .find(|finalizer| *finalizer == FINALIZER || finalizer.starts_with("group.ingress.k8s.aws/"));
            let ending = !ingress["metadata"]["deletionTimestamp"].is_null() || !self.is_alb(&ingress);
            if ending && held.is_none() {
                continue;
            }
            let group = match held.filter(|_| ending) {
                Some(held) => held.strip_prefix("group.ingress.k8s.aws/").unwrap_or_default(),
                None => group,
            };
            let (key, finalizer) = if group.is_empty() {
                (
                    format!("ingress/{}/{}", id.namespace, id.name),
                    FINALIZER.to_owned(),
                )
            } else {
                (
                    format!("ingress/{group}"),
                    format!("group.ingress.k8s.aws/{group}"),
                )
            };
            let own = alb(&ingress, "load-balancer-name");
            let name = if !own.is_empty() {
                own.to_owned()
            } else if group.is_empty() {
                format!(
                    "k8s-{}-{}-{}",
                    short(&id.namespace, 8),
                    short(&id.name, 8),
                    digest(&key)
                )
            } else {
                format!("k8s-{}-{}", short(group, 17), digest(&key))
            };
            let stack = stacks.entry(key.clone()).or_insert_with(|| Stack {
                key,
                name,
                finalizer,
                members: Vec::new(),
                ending: Vec::new(),
            });
            if ending {
                stack.ending.push(id);
            } else {
                stack.members.push((id, ingress));
            }
        }
        stacks.into_values().collect()
    }

    fn is_alb(&self, ingress: &Value) -> bool {
        let class = text(ingress, "/spec/ingressClassName");
        if class.is_empty() {
            return annotation(ingress, "kubernetes.io/", "ingress.class") == "alb";
        }
        self.store
            .get(&Id::new("networking.k8s.io", "ingressclasses", "", class))
            .is_some_and(|class| class["spec"]["controller"] == "ingress.k8s.aws/alb")
    }

    fn service_stacks(&self) -> Vec<Stack> {
        self.every("", "services")
            .into_iter()
            .filter_map(|(id, service)| {
                let held = json::list(&service, "/metadata/finalizers")
                    .iter()
                    .any(|held| held == SERVICE_FINALIZER);
                let wanted = service["spec"]["type"] == "LoadBalancer"
                    && (service["spec"]["loadBalancerClass"] == "service.k8s.aws/nlb"
                        || ["external", "nlb-ip"].contains(&nlb(&service, "type")));
                let ending = !service["metadata"]["deletionTimestamp"].is_null() || !wanted;
                if ending && !held {
                    return None;
                }
                let key = format!("service/{}/{}", id.namespace, id.name);
                let own = nlb(&service, "name");
                let name = if own.is_empty() {
                    format!(
                        "k8s-{}-{}-{}",
                        short(&id.namespace, 8),
                        short(&id.name, 8),
                        digest(&key)
                    )
                } else {
                    own.to_owned()
                };
                let mut stack = Stack {
                    key,
                    name,
                    finalizer: SERVICE_FINALIZER.to_owned(),
                    members: Vec::new(),
                    ending: Vec::new(),
                };
                if ending {
                    stack.ending.push(id);
                } else {
                    stack.members.push((id, service));
                }
                Some(stack)
            })
            .collect()
    }

    /// True when nothing is left to do; false when something is under way.
    fn balance_stack(
        &mut self,
        now: Timestamp,
        cloud: &mut dyn Cloud,
        running: &Running,
        stack: &Stack,
    ) -> Result<bool, (&'static str, String)> {
        let denied = |why: String| ("FailedDeployModel", format!("Failed deploy model due to {why}"));
        if stack.members.is_empty() {
            if running.role.is_empty() {
                return Ok(false);
            }
            cloud
                .role_usable(now, &running.role, &running.namespace, &running.account)
                .map_err(denied)?;
            self.drop_bindings(now, cloud, &stack.key, &[]);
            if !cloud.delete_load_balancer(now, &stack.key) {
                return Ok(false);
            }
            for id in &stack.ending {
                self.release(now, cloud, id, &stack.finalizer);
            }
            return Ok(true);
        }
        for (id, _) in &stack.members {
            let finalizer = stack.finalizer.clone();
            self.edit_as(now, cloud, MANAGER, id, "", |object| {
                let mut held = json::list(object, "/metadata/finalizers").to_vec();
                if !held.iter().any(|held| *held == finalizer.as_str()) {
                    held.push(json!(finalizer));
                    object["metadata"]["finalizers"] = Value::Array(held);
                }
            });
        }
        let request = if stack.finalizer == SERVICE_FINALIZER {
            self.network_request(stack)
        } else {
            self.application_request(stack, running.ip_targets)
        };
        let request =
            request.map_err(|why| ("FailedBuildModel", format!("Failed build model due to {why}")))?;
        if running.role.is_empty() {
            return Err(denied(
                "operation error Elastic Load Balancing v2: DescribeLoadBalancers, get identity: get credentials: failed to \
                 refresh cached credentials, no EC2 IMDS role found"
                    .to_owned(),
            ));
        }
        cloud
            .role_usable(now, &running.role, &running.namespace, &running.account)
            .map_err(denied)?;
        let state = cloud.ensure_load_balancer(now, &request).map_err(denied)?;
        self.bind_targets(now, cloud, stack, &request);
        for id in &stack.ending {
            self.release(now, cloud, id, &stack.finalizer);
        }
        if !state.active {
            return Ok(false);
        }
        for (id, member) in &stack.members {
            let hostname = json!([{"hostname": state.dns_name}]);
            let changed = self.edit_as(now, cloud, MANAGER, id, "status", |object| {
                object["status"]["loadBalancer"] = json!({"ingress": hostname});
            });
            if changed {
                let note = Note {
                    from: if stack.finalizer == SERVICE_FINALIZER {
                        "service"
                    } else {
                        "ingress"
                    },
                    warning: false,
                    reason: "SuccessfullyReconciled",
                    message: "Successfully reconciled".to_owned(),
                };
                self.note(now, cloud, member, &note);
            }
        }
        Ok(true)
    }

    fn release(&mut self, now: Timestamp, cloud: &mut dyn Cloud, id: &Id, finalizer: &str) {
        self.edit_as(now, cloud, MANAGER, id, "", |object| {
            if let Some(held) = object["metadata"]["finalizers"].as_array_mut() {
                held.retain(|held| held != finalizer);
            }
        });
    }

    fn application_request(&self, stack: &Stack, ip_targets: bool) -> Result<LoadBalancerRequest, String> {
        let first = stack.members.first().map_or(&Value::Null, |(_, ingress)| ingress);
        let each = |name: &str| {
            stack
                .members
                .iter()
                .map(|(_, ingress)| alb(ingress, name))
                .find(|value| !value.is_empty())
        };
        let scheme = scheme(each("scheme").unwrap_or_default())?;
        let certificates = words(each("certificate-arn").unwrap_or_default());
        let mut listeners = Vec::new();
        match each("listen-ports") {
            Some(ports) => {
                let parsed: Vec<BTreeMap<String, u16>> = serde_json::from_str(ports).map_err(|error| {
                    format!("failed to parse listen-ports configuration: `{ports}`: {error}")
                })?;
                for (protocol, port) in parsed.into_iter().flatten() {
                    if protocol != "HTTP" && protocol != "HTTPS" {
                        return Err(format!("listen protocol must be HTTP or HTTPS: {protocol}"));
                    }
                    listeners.push(listener(port, &protocol, &certificates));
                }
            }
            None if certificates.is_empty() => listeners.push(listener(80, "HTTP", &[])),
            None => listeners.push(listener(443, "HTTPS", &certificates)),
        }
        if listeners
            .iter()
            .any(|listener| listener.protocol == "HTTPS" && listener.certificates.is_empty())
        {
            let host = text(first, "/spec/rules/0/host");
            return Err(format!("no certificate found for host: {host}"));
        }
        let mut target_groups = BTreeMap::new();
        for (id, ingress) in &stack.members {
            let backends = json::list(ingress, "/spec/rules")
                .iter()
                .flat_map(|rule| json::list(rule, "/http/paths"))
                .map(|path| &path["backend"])
                .chain(std::iter::once(&ingress["spec"]["defaultBackend"]));
            for backend in backends {
                let service = &backend["service"];
                let name = text(service, "/name");
                // An action of the controller itself, e.g. a redirect, has no service.
                if name.is_empty() || service["port"]["name"] == "use-annotation" {
                    continue;
                }
                let target_type = match alb(ingress, "target-type") {
                    "" if ip_targets => "ip",
                    "" => "instance",
                    other => other,
                };
                let context = format!("ingress: {}/{}", id.namespace, id.name);
                let group = self
                    .target_group(&id.namespace, name, &service["port"], target_type, "HTTP")
                    .map_err(|why| format!("{context}: {why}"))?;
                target_groups.insert(group.name.clone(), group);
            }
        }
        Ok(LoadBalancerRequest {
            key: stack.key.clone(),
            name: stack.name.clone(),
            kind: LoadBalancerKind::Application,
            scheme,
            subnets: words(each("subnets").unwrap_or_default()),
            listeners,
            target_groups: target_groups.into_values().collect(),
            inbound_cidrs: words(each("inbound-cidrs").unwrap_or_default()),
            tags: BTreeMap::from([(
                "ingress.k8s.aws/stack".to_owned(),
                stack.key.trim_start_matches("ingress/").to_owned(),
            )]),
        })
    }

    fn network_request(&self, stack: &Stack) -> Result<LoadBalancerRequest, String> {
        let Some((id, service)) = stack.members.first() else {
            return Err("no service".to_owned());
        };
        let target_type = if nlb(service, "nlb-target-type") == "ip" || nlb(service, "type") == "nlb-ip" {
            "ip"
        } else {
            "instance"
        };
        let certificates = words(nlb(service, "ssl-cert"));
        let (mut listeners, mut target_groups) = (Vec::new(), Vec::new());
        for port in json::list(service, "/spec/ports") {
            let number = json::int(port, "/port")
                .and_then(|port| u16::try_from(port).ok())
                .unwrap_or(80);
            let protocol = if certificates.is_empty() { "TCP" } else { "TLS" };
            listeners.push(listener(number, protocol, &certificates));
            target_groups.push(self.target_group(
                &id.namespace,
                &id.name,
                &json!({"number": number}),
                target_type,
                "TCP",
            )?);
        }
        Ok(LoadBalancerRequest {
            key: stack.key.clone(),
            name: stack.name.clone(),
            kind: LoadBalancerKind::Network,
            scheme: scheme(nlb(service, "scheme"))?,
            subnets: words(nlb(service, "subnets")),
            listeners,
            target_groups,
            inbound_cidrs: json::list(service, "/spec/loadBalancerSourceRanges")
                .iter()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect(),
            tags: BTreeMap::from([(
                "service.k8s.aws/stack".to_owned(),
                format!("{}/{}", id.namespace, id.name),
            )]),
        })
    }

    fn target_group(
        &self,
        namespace: &str,
        name: &str,
        port: &Value,
        target_type: &str,
        protocol: &str,
    ) -> Result<TargetGroupRequest, String> {
        let service = self
            .store
            .get(&Id::new("", "services", namespace, name))
            .cloned()
            .ok_or_else(|| format!("services \"{name}\" not found"))?;
        let ports = json::list(&service, "/spec/ports");
        let found = ports
            .iter()
            .find(|known| {
                (port["number"].is_number() && known["port"] == port["number"])
                    || (port["name"].is_string() && known["name"] == port["name"])
            })
            .ok_or_else(|| {
                let wanted = port["number"]
                    .as_i64()
                    .map_or_else(|| text(port, "/name").to_owned(), |number| number.to_string());
                format!("unable to find port {wanted} on service {namespace}/{name}")
            })?;
        let (good, _) = self.selected_pods(&service);
        let nodes = || good.iter().map(|pod| text(pod, "/spec/nodeName"));
        match target_type {
            "ip" => {}
            "instance" if json::int(found, "/nodePort").is_none() => {
                return Err(
                    "TargetGroup port is empty. When using Instance targets, your service must be of type 'NodePort' or \
                     'LoadBalancer'"
                        .to_owned(),
                );
            }
            "instance" => {
                if let Some(node) = nodes().find(|node| node.starts_with("fargate-")) {
                    return Err(format!(
                        "providerID is invalid for EC2 instances, node: {node}; Fargate needs target-type ip"
                    ));
                }
            }
            other => return Err(format!("unknown targetType: {other}")),
        }
        let number = |port: i64| u16::try_from(port).unwrap_or(0);
        let targets = good
            .iter()
            .filter_map(|pod| {
                let port = super::endpoints::target(found, pod)?;
                Some((text(pod, "/status/podIP").to_owned(), number(port)))
            })
            .collect();
        let key = format!("{namespace}/{name}:{port}");
        Ok(TargetGroupRequest {
            name: format!("k8s-{}-{}-{}", short(namespace, 8), short(name, 8), digest(&key)),
            port: found["targetPort"].as_i64().map_or(1, number),
            protocol: protocol.to_owned(),
            target_type: target_type.to_owned(),
            targets,
        })
    }

    /// A TargetGroupBinding per target group, as the controller keeps them.
    fn bind_targets(
        &mut self,
        now: Timestamp,
        cloud: &mut dyn Cloud,
        stack: &Stack,
        request: &LoadBalancerRequest,
    ) {
        let namespace = stack
            .members
            .first()
            .map(|(id, _)| id.namespace.clone())
            .unwrap_or_default();
        let kept: Vec<String> = request
            .target_groups
            .iter()
            .map(|group| group.name.clone())
            .collect();
        for group in &request.target_groups {
            let id = Id::new("elbv2.k8s.aws", "targetgroupbindings", &namespace, &group.name);
            if self.store.get(&id).is_some() {
                continue;
            }
            let region = cloud.region().to_owned();
            let arn = format!(
                "arn:aws:elasticloadbalancing:{region}:000000000000:targetgroup/{}/{}",
                group.name,
                digest(&group.name)
            );
            let service = self
                .store
                .list("", "services", Some(&namespace))
                .find(|(id, _)| group.name.contains(&format!("-{}-", short(&id.name, 8))))
                .map(|(id, service)| (id.name.clone(), service["spec"]["ports"][0]["port"].clone()));
            let (service, port) = service.unwrap_or_default();
            let binding = json!({
                "apiVersion": "elbv2.k8s.aws/v1beta1", "kind": "TargetGroupBinding",
                "metadata": {"name": group.name, "namespace": namespace, "finalizers": ["elbv2.k8s.aws/resources"],
                    "annotations": {"elbv2.k8s.aws/stack": stack.key}},
                "spec": {"targetGroupARN": arn, "targetType": group.target_type, "serviceRef": {"name": service, "port": port}},
            });
            self.make(now, cloud, MANAGER, binding);
        }
        self.drop_bindings(now, cloud, &stack.key, &kept);
    }

    fn drop_bindings(&mut self, now: Timestamp, cloud: &mut dyn Cloud, key: &str, kept: &[String]) {
        for (id, binding) in self.every("elbv2.k8s.aws", "targetgroupbindings") {
            let ours = binding["metadata"]["annotations"]["elbv2.k8s.aws/stack"] == key;
            if ours && !kept.contains(&id.name) {
                self.discard(now, &id, "Background");
                self.release(now, cloud, &id, "elbv2.k8s.aws/resources");
            }
        }
    }
}

fn scheme(text: &str) -> Result<Scheme, String> {
    match text {
        "internet-facing" => Ok(Scheme::InternetFacing),
        "" | "internal" => Ok(Scheme::Internal),
        other => Err(format!("unknown scheme: {other}")),
    }
}

fn listener(port: u16, protocol: &str, certificates: &[String]) -> ListenerRequest {
    let secure = protocol == "HTTPS" || protocol == "TLS";
    ListenerRequest {
        port,
        protocol: protocol.to_owned(),
        certificates: if secure { certificates.to_vec() } else { Vec::new() },
    }
}
