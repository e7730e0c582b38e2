//! `epid:kubernetes:WebService`.

use epid_provider::{Field, Kind, KindSchema, Path, Problem, Type, Value};

use super::written::{joined, kind, list, map, schema, some, string, text, within};
use crate::expression::{Located, Template};
use crate::program::{Child, Component, Expansion};

/// A service that answers HTTP: a Deployment, a Service, a Secret for its environment, and an Ingress where it is
/// reached from outside the cluster.
///
/// The Secret's content is hashed, with a key, into the pods' template: a changed secret makes new pods.
#[derive(Debug)]
pub struct WebService(KindSchema);

impl Default for WebService {
    fn default() -> Self {
        let ingress = [
            string("class", "Its ingress class.").default("alb"),
            string("host", "Only requests for this host. Default: all."),
            string("path", "Only requests below this path.").default("/"),
            Field::new("scheme", Type::one_of(&["internet-facing", "internal"]))
                .doc("Who may reach it. A change makes a new load balancer with a new name.")
                .default("internet-facing"),
            Field::new("annotations", Type::map(Type::String)).doc("More annotations of the Ingress."),
        ];
        let inputs = [
            string("name", "The name of Deployment, Service, Secret and Ingress.").required(),
            string("namespace", "Its namespace.").default("default"),
            string("image", "The image with its tag or digest.").required(),
            Field::new("replicas", Type::Int)
                .doc("How many pods.")
                .default(1_i64),
            Field::new("containerPort", Type::Int)
                .doc("The port it listens on.")
                .default(8080_i64),
            Field::new("port", Type::Int)
                .doc("The port of the Service.")
                .default(80_i64),
            Field::new(
                "serviceType",
                Type::one_of(&["ClusterIP", "NodePort", "LoadBalancer"]),
            )
            .doc("The type of the Service.")
            .default("ClusterIP"),
            Field::new("labels", Type::map(Type::String)).doc(
                "Labels of everything; those written at first select its pods. Default: `app` with its name.",
            ),
            Field::new("env", Type::map(Type::Any)).doc("Environment variables in clear."),
            Field::new("secrets", Type::map(Type::String))
                .doc("Environment variables that are kept in a Secret with the service's name.")
                .secret(),
            Field::new("command", Type::list(Type::String)).doc("Instead of the image's entry point."),
            Field::new("args", Type::list(Type::String)).doc("Arguments of the entry point."),
            string(
                "healthPath",
                "A path that answers 200 when it is ready. Default: ready when it runs.",
            ),
            string("cpu", "CPU that each pod gets.").default("250m"),
            string("memory", "Memory that each pod gets, and may not exceed.").default("512Mi"),
            string("serviceAccountName", "The service account of its pods."),
            Field::new("podAnnotations", Type::map(Type::String)).doc("Annotations of its pods."),
            Field::new("ingress", Type::object(ingress)).doc(
                "Reached from outside the cluster. Default: it is not; an empty map takes all defaults.",
            ),
        ];
        Self(schema(
            "epid:kubernetes:WebService",
            "A Deployment with a Service, and where wanted a Secret and an Ingress.",
            inputs,
            &[
                ("name", "Its name."),
                (
                    "url",
                    "Where it is reached: from outside where it has an Ingress, else in the cluster.",
                ),
                ("hostname", "The host of `url`."),
                ("clusterIp", "The address of its Service."),
                ("secretName", "The name of its Secret, where it has one."),
            ],
        ))
    }
}

/// What is the same for everything in one service.
struct Making<'x, 'a> {
    x: &'x mut Expansion<'a>,
    name: Located,
    labels: Located,
}

impl Making<'_, '_> {
    fn or(&self, name: &str, default: impl Into<Located>) -> Located {
        self.x.property(name).unwrap_or_else(|| default.into())
    }

    fn metadata(&self, annotations: Option<Located>) -> Located {
        some(vec![
            ("name", Some(self.name.clone())),
            ("namespace", Some(self.or("namespace", "default"))),
            ("labels", Some(self.labels.clone())),
            ("annotations", annotations),
        ])
    }

    fn secret(&mut self) -> Option<Child> {
        let content = self.x.property("secrets").filter(|_| has(self.x, "secrets"))?;
        let metadata = self.metadata(None);
        let properties = map([
            ("metadata", metadata),
            ("type", "Opaque".into()),
            ("stringData", content),
        ]);
        Some(self.x.child("secret", kind("kubernetes:v1:Secret"), properties))
    }

    fn container(&self, secret: Option<&Child>) -> Located {
        let x = &self.x;
        let port = self.or("containerPort", 8080_i64);
        let probe = x.property("healthPath").map(|path| {
            map([
                ("httpGet", map([("path", path), ("port", "http".into())])),
                ("periodSeconds", 5_i64.into()),
            ])
        });
        let from = secret.map(|secret| {
            let name = secret.reference("metadata.name").into();
            list([map([("secretRef", map([("name", name)]))])])
        });
        let (cpu, memory) = (self.or("cpu", "250m"), self.or("memory", "512Mi"));
        some(vec![
            ("name", Some(self.name.clone())),
            ("image", x.property("image")),
            ("command", x.property("command")),
            ("args", x.property("args")),
            (
                "ports",
                Some(list([map([("name", "http".into()), ("containerPort", port)])])),
            ),
            ("env", environment(x)),
            ("envFrom", from),
            ("readinessProbe", probe),
            (
                "resources",
                Some(map([
                    ("requests", map([("cpu", cpu), ("memory", memory.clone())])),
                    ("limits", map([("memory", memory)])),
                ])),
            ),
        ])
    }

    fn deployment(&mut self, secret: Option<&Child>) -> Child {
        let mut annotations = Vec::new();
        if let Some(secret) = secret {
            let hash = text(&format!("${{contentHash(`{}`.stringData)}}", secret.address()));
            annotations.push(("epid.dev/secret".to_owned(), hash));
        }
        let more = self.x.property("podAnnotations");
        let annotations =
            (!annotations.is_empty() || more.is_some()).then(|| joined(annotations, more.as_ref()));
        let pod = some(vec![
            ("containers", Some(list([self.container(secret)]))),
            ("serviceAccountName", self.x.property("serviceAccountName")),
        ]);
        let template = map([
            (
                "metadata",
                some(vec![
                    ("labels", Some(self.labels.clone())),
                    ("annotations", annotations),
                ]),
            ),
            ("spec", pod),
        ]);
        let properties = map([
            ("metadata", self.metadata(None)),
            (
                "spec",
                map([
                    ("replicas", self.or("replicas", 1_i64)),
                    ("selector", map([("matchLabels", self.labels.clone())])),
                    ("template", template),
                ]),
            ),
        ]);
        self.x
            .child("deployment", kind("kubernetes:apps/v1:Deployment"), properties)
    }

    fn service(&mut self) -> Child {
        let port = map([
            ("name", "http".into()),
            ("port", self.or("port", 80_i64)),
            ("targetPort", "http".into()),
        ]);
        let properties = map([
            ("metadata", self.metadata(None)),
            (
                "spec",
                map([
                    ("type", self.or("serviceType", "ClusterIP")),
                    ("selector", self.labels.clone()),
                    ("ports", list([port])),
                ]),
            ),
        ]);
        self.x.child("service", kind("kubernetes:v1:Service"), properties)
    }

    fn ingress(&mut self, wanted: &Located, service: &Child, deployment: &Child) -> Child {
        let of = |name: &str| wanted.template.get(name).cloned();
        let class = of("class").unwrap_or_else(|| "alb".into());
        let mut annotations = Vec::new();
        if !matches!(&class.template, Template::Literal(v) if v.as_str() != Some("alb")) {
            let key = |name: &str| format!("alb.ingress.kubernetes.io/{name}");
            annotations.push((
                key("scheme"),
                of("scheme").unwrap_or_else(|| "internet-facing".into()),
            ));
            // Fargate pods are no instances: the load balancer sends to their addresses.
            annotations.push((key("target-type"), "ip".into()));
            if let Some(path) = self.x.property("healthPath") {
                annotations.push((key("healthcheck-path"), path));
            }
        }
        let annotations = joined(annotations, of("annotations").as_ref());
        let backend = map([(
            "service",
            map([
                ("name", service.reference("metadata.name").into()),
                ("port", map([("name", "http".into())])),
            ]),
        )]);
        let path = map([
            ("path", of("path").unwrap_or_else(|| "/".into())),
            ("pathType", "Prefix".into()),
            ("backend", backend),
        ]);
        let rule = some(vec![
            ("host", of("host")),
            ("http", Some(map([("paths", list([path]))]))),
        ]);
        let properties = map([
            ("metadata", self.metadata(Some(annotations))),
            (
                "spec",
                map([("ingressClassName", class), ("rules", list([rule]))]),
            ),
        ]);
        let child = self.x.child(
            "ingress",
            kind("kubernetes:networking.k8s.io/v1:Ingress"),
            properties,
        );
        if let Some(options) = self.x.options(&child) {
            // The load balancer finds pods that answer when it begins to look for them.
            options.depends_on.push(deployment.address().clone());
        }
        child
    }
}

impl Component for WebService {
    fn kind(&self) -> &Kind {
        &self.0.kind
    }

    fn schema(&self) -> &KindSchema {
        &self.0
    }

    fn expand(&self, x: &mut Expansion<'_>) -> Vec<Problem> {
        let problems = shape(x);
        if !problems.is_empty() {
            return problems;
        }
        let name = x.property("name").unwrap_or_else(|| x.address().into());
        let labels = x
            .property("labels")
            .unwrap_or_else(|| map([("app", name.clone())]));
        let ingress = has(x, "ingress").then(|| x.property("ingress")).flatten();
        let mut m = Making { x, name, labels };
        let secret = m.secret();
        let deployment = m.deployment(secret.as_ref());
        let service = m.service();
        let (host, path) = if let Some(wanted) = ingress {
            let made = m.ingress(&wanted, &service, &deployment);
            let host = text(&format!(
                "${{`{}`.status.loadBalancer.ingress[0].hostname}}",
                made.address()
            ));
            let path = wanted.template.get("path").cloned();
            (wanted.template.get("host").cloned().unwrap_or(host), path)
        } else {
            let namespace = within(Some(&m.or("namespace", "default")));
            let name = within(Some(&m.name));
            (text(&format!("{name}.{namespace}.svc.cluster.local")), None)
        };
        let path = path.map_or_else(|| "/".to_owned(), |p| within(Some(&p)));
        m.x.output("url", text(&format!("http://{}{path}", within(Some(&host)))));
        m.x.output("hostname", host);
        m.x.output("name", deployment.reference("metadata.name"));
        m.x.output("clusterIp", service.reference("spec.clusterIP"));
        if let Some(secret) = secret {
            m.x.output("secretName", secret.reference("metadata.name"));
        }
        Vec::new()
    }
}

/// True where the property was given and is no empty nothing.
fn has(x: &Expansion<'_>, name: &str) -> bool {
    x.property(name).is_some() && x.values().get(name).is_some_and(|v| !v.expose().is_null())
}

fn environment(x: &Expansion<'_>) -> Option<Located> {
    let pair = |name: &str, value: Located| map([("name", name.into()), ("value", value)]);
    match x.property("env")?.template {
        Template::Map(entries) => Some(list(entries.iter().map(|(name, value)| {
            let value = match &value.template {
                // The environment holds texts; `8080` is meant as one.
                Template::Literal(Value::Int(n)) => n.to_string().as_str().into(),
                Template::Literal(Value::Bool(b)) => b.to_string().as_str().into(),
                Template::Literal(Value::Float(n)) => n.to_string().as_str().into(),
                Template::Expression(e) => text(&format!("${{string({})}}", e.text())),
                _ => value.clone(),
            };
            pair(name, value)
        }))),
        Template::Literal(value) => Some(list(value.as_map().into_iter().flat_map(|m| {
            m.iter().map(|(name, value)| {
                let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                pair(name, Template::text(&text).into())
            })
        }))),
        _ => None,
    }
}

/// What decides the children must be known.
fn shape(x: &Expansion<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    if let Some(ingress) = x.property("ingress")
        && !matches!(ingress.template, Template::Map(_) | Template::Literal(_))
    {
        problems.push(
            Problem::new(Path::root().key("ingress"), "`ingress` must be written as a map")
                .with_hint("expressions may stand in its entries"),
        );
    }
    if let Some(env) = x.property("env")
        && !matches!(env.template, Template::Map(_) | Template::Literal(_))
    {
        problems.push(
            Problem::new(Path::root().key("env"), "`env` must be written as a map")
                .with_hint("expressions may stand in its entries"),
        );
    }
    problems
}
