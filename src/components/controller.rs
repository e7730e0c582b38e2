//! `epid:aws:LoadBalancerController`.

use epid_provider::{Field, Kind, KindSchema, Problem, Type};

use super::controller_crds::definitions;
use super::controller_policy::document;
use super::written::{expression, kind, list, map, schema, some, string, text, texts, within};
use crate::expression::{Located, Template};
use crate::program::{Child, Component, Expansion};

const NAME: &str = "aws-load-balancer-controller";
const IMAGE: &str = "public.ecr.aws/eks/aws-load-balancer-controller";
const VERSION: &str = "v3.5.0";
const CERTIFICATES: &str = "/tmp/k8s-webhook-server/serving-certs";

/// The AWS Load Balancer Controller: it makes a load balancer of each Ingress of class `alb`.
///
/// IAM policy and role for its service account, RBAC, its two required CRDs, a serving certificate, the Deployment
/// and the ingress class. Whatever an Ingress made is cleaned up by it, so everything that has an Ingress must go
/// before it does.
#[derive(Debug)]
pub struct LoadBalancerController(KindSchema);

impl Default for LoadBalancerController {
    fn default() -> Self {
        let inputs = [
            Field::new("cluster", Type::Any)
                .doc("The cluster, as `epid:aws:FargateCluster` tells it: name, region, oidcIssuer.")
                .required(),
            string("vpcId", "The VPC of the cluster.").required(),
            string(
                "oidcProviderArn",
                "The IAM OpenID Connect provider of the cluster's issuer.",
            )
            .required(),
            string("namespace", "Where it runs.").default("kube-system"),
            Field::new("replicas", Type::Int)
                .doc("How many pods.")
                .default(2_i64),
            string("image", "Its image without the tag.").default(IMAGE),
            string("version", "Its version: the image's tag.").default(VERSION),
            Field::new("tags", Type::map(Type::String)).doc("Tags of role and policy."),
        ];
        Self(schema(
            "epid:aws:LoadBalancerController",
            "The controller that makes AWS load balancers of Ingresses.",
            inputs,
            &[
                (
                    "ingressClass",
                    "The ingress class whose Ingresses get a load balancer.",
                ),
                ("roleArn", "The role of its service account."),
            ],
        ))
    }
}

/// One rule of a role: API groups, resources, verbs.
type Rule = (
    &'static [&'static str],
    &'static [&'static str],
    &'static [&'static str],
);

/// What it may do everywhere in the cluster.
const RULES: &[Rule] = &[
    (&[""], &["configmaps"], &["create", "delete", "get", "update"]),
    (
        &[""],
        &["endpoints", "namespaces", "nodes", "pods"],
        &["get", "list", "watch"],
    ),
    (&["", "events.k8s.io"], &["events"], &["create", "patch"]),
    (&[""], &["pods/status", "services/status"], &["patch", "update"]),
    (&[""], &["services"], &["get", "list", "patch", "update", "watch"]),
    (&[""], &["secrets"], &["get", "list", "watch"]),
    (
        &["discovery.k8s.io"],
        &["endpointslices"],
        &["get", "list", "watch"],
    ),
    (
        &["networking.k8s.io"],
        &["ingresses"],
        &["get", "list", "patch", "update", "watch"],
    ),
    (
        &["networking.k8s.io"],
        &["ingresses/status"],
        &["patch", "update"],
    ),
    (
        &["networking.k8s.io"],
        &["ingressclasses"],
        &["get", "list", "watch"],
    ),
    (
        &["elbv2.k8s.aws"],
        &["ingressclassparams"],
        &["get", "list", "watch"],
    ),
    (
        &["elbv2.k8s.aws"],
        &["targetgroupbindings"],
        &["create", "delete", "get", "list", "patch", "update", "watch"],
    ),
    (
        &["elbv2.k8s.aws"],
        &["targetgroupbindings/status"],
        &["patch", "update"],
    ),
];

fn rules(rules: &[Rule]) -> Located {
    list(rules.iter().map(|(groups, resources, verbs)| {
        map([
            ("apiGroups", texts(groups)),
            ("resources", texts(resources)),
            ("verbs", texts(verbs)),
        ])
    }))
}

/// Rules for choosing a leader among its pods.
fn leader_rules() -> Located {
    let one = |group: &str, resource: &str, verbs: &[&str], named: bool| {
        some(vec![
            ("apiGroups", Some(texts(&[group]))),
            ("resources", Some(texts(&[resource]))),
            (
                "resourceNames",
                named.then(|| texts(&["aws-load-balancer-controller-leader"])),
            ),
            ("verbs", Some(texts(verbs))),
        ])
    };
    let keep = &["get", "patch", "update"];
    list([
        one("", "configmaps", &["create"], false),
        one("", "configmaps", keep, true),
        one("coordination.k8s.io", "leases", &["create"], false),
        one("coordination.k8s.io", "leases", keep, true),
    ])
}

/// What is the same for everything in one controller.
struct Making<'x, 'a> {
    x: &'x mut Expansion<'a>,
    namespace: Located,
    /// The namespace as text within text.
    namespace_text: String,
    /// The `cluster` property as an expression, to take parts of.
    cluster: Option<Located>,
}

impl Making<'_, '_> {
    fn part(&self, name: &str) -> Option<Located> {
        let cluster = self.cluster.as_ref()?;
        match &cluster.template {
            Template::Expression(e) => Some(text(&format!("${{({}).{name}}}", e.text()))),
            Template::Literal(value) => value.get(name).map(|v| v.clone().into()),
            other => other.get(name).cloned(),
        }
    }

    fn labels() -> Located {
        map([
            ("app.kubernetes.io/name", NAME.into()),
            ("app.kubernetes.io/component", "controller".into()),
        ])
    }

    fn metadata(&self, name: &str, namespaced: bool) -> Located {
        some(vec![
            ("name", Some(name.into())),
            ("namespace", namespaced.then(|| self.namespace.clone())),
            ("labels", Some(Self::labels())),
        ])
    }

    fn make<const N: usize>(&mut self, name: &str, of: &str, properties: [(&str, Located); N]) -> Child {
        self.x.child(name, kind(of), map(properties))
    }

    fn after(&mut self, child: &Child, others: &[&Child]) {
        if let Some(options) = self.x.options(child) {
            options
                .depends_on
                .extend(others.iter().map(|o| o.address().clone()));
        }
    }

    fn binding(&mut self, name: &str, cluster_wide: bool, object: &str, role: &Child) -> Child {
        let (of, role_kind) = if cluster_wide {
            ("ClusterRoleBinding", "ClusterRole")
        } else {
            ("RoleBinding", "Role")
        };
        let subject = map([
            ("kind", "ServiceAccount".into()),
            ("name", NAME.into()),
            ("namespace", self.namespace.clone()),
        ]);
        let role = map([
            ("apiGroup", "rbac.authorization.k8s.io".into()),
            ("kind", role_kind.into()),
            ("name", role.reference("metadata.name").into()),
        ]);
        let metadata = self.metadata(object, !cluster_wide);
        self.make(
            name,
            &format!("kubernetes:rbac.authorization.k8s.io/v1:{of}"),
            [
                ("metadata", metadata),
                ("subjects", list([subject])),
                ("roleRef", role),
            ],
        )
    }
}

impl Component for LoadBalancerController {
    fn kind(&self) -> &Kind {
        &self.0.kind
    }

    fn schema(&self) -> &KindSchema {
        &self.0
    }

    fn expand(&self, x: &mut Expansion<'_>) -> Vec<Problem> {
        let namespace = match x.known("namespace") {
            Ok(value) => value.as_str().unwrap_or("kube-system").to_owned(),
            Err(problem) => return vec![problem],
        };
        let mut m = Making {
            namespace: namespace.as_str().into(),
            namespace_text: namespace,
            cluster: x.property("cluster"),
            x,
        };
        let (role, account) = identity(&mut m);
        let crds: Vec<Child> = definitions()
            .into_iter()
            .map(|(name, properties)| {
                let of = kind("kubernetes:apiextensions.k8s.io/v1:CustomResourceDefinition");
                m.x.child(name, of, properties)
            })
            .collect();
        let mut first = rbac(&mut m);
        let (certificate, secret, service) = serving(&mut m);
        first.extend(crds.iter().cloned());
        first.push(service);
        let deployment = deployment(&mut m, &account, &secret, &certificate);
        m.after(&deployment, &first.iter().collect::<Vec<_>>());

        let params = m.make(
            "ingressClassParams",
            "kubernetes:elbv2.k8s.aws/v1beta1:IngressClassParams",
            [("metadata", map([("name", "alb".into())]))],
        );
        m.after(&params, &crds.iter().collect::<Vec<_>>());
        let parameters = map([
            ("apiGroup", "elbv2.k8s.aws".into()),
            ("kind", "IngressClassParams".into()),
            ("name", params.reference("metadata.name").into()),
        ]);
        let class = m.make(
            "ingressClass",
            "kubernetes:networking.k8s.io/v1:IngressClass",
            [
                (
                    "metadata",
                    map([("name", "alb".into()), ("labels", Making::labels())]),
                ),
                (
                    "spec",
                    map([
                        ("controller", "ingress.k8s.aws/alb".into()),
                        ("parameters", parameters),
                    ]),
                ),
            ],
        );
        // An Ingress that names the class has a controller that answers.
        m.after(&class, &[&deployment]);
        m.x.output("ingressClass", class.reference("metadata.name"));
        m.x.output("roleArn", role.reference("arn"));
        Vec::new()
    }
}

/// Policy, role and service account.
fn identity(m: &mut Making<'_, '_>) -> (Child, Child) {
    let caller = m.x.child("caller", kind("aws:sts:CallerIdentity"), map([]));
    let of = |name: &str| format!("`{}`.{name}", caller.address());
    let tags = m.x.property("tags");
    let vpc = within(m.x.property("vpcId").as_ref());
    let policy = m.x.child(
        "policy",
        kind("aws:iam:Policy"),
        some(vec![
            (
                "description",
                Some("What the AWS Load Balancer Controller may do.".into()),
            ),
            (
                "policyDocument",
                Some(document(&of("partition"), &of("region"), &of("accountId"), &vpc)),
            ),
            ("tags", tags.clone()),
        ]),
    );
    let issuer = expression(m.part("oidcIssuer").as_ref());
    let host = format!("{issuer}.replace(\"https://\", \"\")");
    let subject = format!("system:serviceaccount:{}:{NAME}", m.namespace_text);
    let trust = map([
        ("Version", "2012-10-17".into()),
        (
            "Statement",
            list([map([
                ("Effect", "Allow".into()),
                (
                    "Principal",
                    some(vec![("Federated", m.x.property("oidcProviderArn"))]),
                ),
                ("Action", "sts:AssumeRoleWithWebIdentity".into()),
                ("Condition", condition(&host, &subject)),
            ])]),
        ),
    ]);
    let role = m.x.child(
        "role",
        kind("aws:iam:Role"),
        some(vec![
            (
                "description",
                Some("The AWS Load Balancer Controller's service account.".into()),
            ),
            ("assumeRolePolicyDocument", Some(trust)),
            ("managedPolicyArns", Some(list([policy.reference("arn").into()]))),
            ("tags", tags),
        ]),
    );
    let metadata = some(vec![
        ("name", Some(NAME.into())),
        ("namespace", Some(m.namespace.clone())),
        ("labels", Some(Making::labels())),
        (
            "annotations",
            Some(map([(
                "eks.amazonaws.com/role-arn",
                role.reference("arn").into(),
            )])),
        ),
    ]);
    let account = m.make(
        "serviceAccount",
        "kubernetes:v1:ServiceAccount",
        [("metadata", metadata)],
    );
    (role, account)
}

/// The condition of the trust policy: only this service account. Its keys hold the issuer, which is known only once
/// there is a cluster, so the map is an expression.
fn condition(host: &str, subject: &str) -> Located {
    text(&format!(
        "${{{{\"StringEquals\": {{{host} + \":sub\": \"{subject}\", {host} + \":aud\": \"sts.amazonaws.com\"}}}}}}"
    ))
}

fn rbac(m: &mut Making<'_, '_>) -> Vec<Child> {
    let everywhere = format!("{NAME}-role");
    let election = format!("{NAME}-leader-election-role");
    let metadata = m.metadata(&everywhere, false);
    let cluster_role = m.make(
        "clusterRole",
        "kubernetes:rbac.authorization.k8s.io/v1:ClusterRole",
        [("metadata", metadata), ("rules", rules(RULES))],
    );
    let cluster_binding = m.binding(
        "clusterRoleBinding",
        true,
        &format!("{NAME}-rolebinding"),
        &cluster_role,
    );
    let metadata = m.metadata(&election, true);
    let role = m.make(
        "leaderRole",
        "kubernetes:rbac.authorization.k8s.io/v1:Role",
        [("metadata", metadata), ("rules", leader_rules())],
    );
    let binding = m.binding(
        "leaderRoleBinding",
        false,
        &format!("{NAME}-leader-election-rolebinding"),
        &role,
    );
    vec![cluster_role, cluster_binding, role, binding]
}

/// The certificate its webhook server serves with, the Secret that holds it and the Service in front.
fn serving(m: &mut Making<'_, '_>) -> (Child, Child, Child) {
    let service = "aws-load-balancer-webhook-service";
    let host = format!("{service}.{}", m.namespace_text);
    let names = [
        host.clone(),
        format!("{host}.svc"),
        format!("{host}.svc.cluster.local"),
    ];
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let certificate = m.make(
        "certificate",
        "epid:tls:SelfSignedCertificate",
        [
            ("commonName", format!("{host}.svc").as_str().into()),
            ("dnsNames", texts(&names)),
        ],
    );
    let metadata = m.metadata("aws-load-balancer-tls", true);
    let encoded = |output: &str| {
        text(&format!(
            "${{base64.encode(`{}`.{output})}}",
            certificate.address()
        ))
    };
    let secret = m.make(
        "secret",
        "kubernetes:v1:Secret",
        [
            ("metadata", metadata),
            ("type", "kubernetes.io/tls".into()),
            (
                "data",
                map([
                    ("ca.crt", encoded("certificate")),
                    ("tls.crt", encoded("certificate")),
                    ("tls.key", encoded("privateKey")),
                ]),
            ),
        ],
    );
    let metadata = m.metadata(service, true);
    let port = map([
        ("name", "webhook-server".into()),
        ("port", 443_i64.into()),
        ("targetPort", "webhook-server".into()),
    ]);
    let service = m.make(
        "webhookService",
        "kubernetes:v1:Service",
        [
            ("metadata", metadata),
            (
                "spec",
                map([("selector", Making::labels()), ("ports", list([port]))]),
            ),
        ],
    );
    (certificate, secret, service)
}

fn deployment(m: &mut Making<'_, '_>, account: &Child, secret: &Child, certificate: &Child) -> Child {
    let or = |m: &Making<'_, '_>, name: &str, default: Located| m.x.property(name).unwrap_or(default);
    let arguments = list([
        text(&format!("--cluster-name={}", within(m.part("name").as_ref()))),
        text(&format!("--aws-region={}", within(m.part("region").as_ref()))),
        text(&format!(
            "--aws-vpc-id={}",
            within(m.x.property("vpcId").as_ref())
        )),
        "--ingress-class=alb".into(),
        "--default-target-type=ip".into(),
        "--enable-shield=false".into(),
        "--enable-waf=false".into(),
        "--enable-wafv2=false".into(),
    ]);
    let probe = |path: &str, delay: i64| {
        map([
            (
                "httpGet",
                map([
                    ("path", path.into()),
                    ("port", 61779_i64.into()),
                    ("scheme", "HTTP".into()),
                ]),
            ),
            ("initialDelaySeconds", delay.into()),
            ("timeoutSeconds", 10_i64.into()),
        ])
    };
    let port = |name: &str, number: i64| {
        map([
            ("name", name.into()),
            ("containerPort", number.into()),
            ("protocol", "TCP".into()),
        ])
    };
    let image = text(&format!(
        "{}:{}",
        within(Some(&or(m, "image", IMAGE.into()))),
        within(Some(&or(m, "version", VERSION.into())))
    ));
    let container = map([
        ("name", NAME.into()),
        ("image", image),
        ("args", arguments),
        (
            "ports",
            list([port("webhook-server", 9443), port("metrics-server", 8080)]),
        ),
        ("livenessProbe", probe("/healthz", 30)),
        ("readinessProbe", probe("/readyz", 10)),
        (
            "resources",
            map([
                (
                    "requests",
                    map([("cpu", "200m".into()), ("memory", "400Mi".into())]),
                ),
                ("limits", map([("memory", "400Mi".into())])),
            ]),
        ),
        (
            "securityContext",
            map([
                ("allowPrivilegeEscalation", false.into()),
                ("readOnlyRootFilesystem", true.into()),
                ("runAsNonRoot", true.into()),
            ]),
        ),
        (
            "volumeMounts",
            list([map([
                ("name", "cert".into()),
                ("mountPath", CERTIFICATES.into()),
                ("readOnly", true.into()),
            ])]),
        ),
    ]);
    let volume = map([
        ("name", "cert".into()),
        (
            "secret",
            map([("secretName", secret.reference("metadata.name").into())]),
        ),
    ]);
    // A changed certificate or role reaches a running pod only when it is made anew.
    let annotations = map([
        (
            "epid.dev/certificate",
            text(&format!(
                "${{contentHash(`{}`.certificate)}}",
                certificate.address()
            )),
        ),
        (
            "epid.dev/service-account",
            text(&format!(
                "${{contentHash(`{}`.metadata.annotations)}}",
                account.address()
            )),
        ),
    ]);
    let template = map([
        (
            "metadata",
            map([("labels", Making::labels()), ("annotations", annotations)]),
        ),
        (
            "spec",
            map([
                ("serviceAccountName", account.reference("metadata.name").into()),
                ("priorityClassName", "system-cluster-critical".into()),
                ("securityContext", map([("fsGroup", 65534_i64.into())])),
                ("terminationGracePeriodSeconds", 10_i64.into()),
                ("containers", list([container])),
                ("volumes", list([volume])),
            ]),
        ),
    ]);
    let metadata = m.metadata(NAME, true);
    let replicas = or(m, "replicas", 2_i64.into());
    m.make(
        "deployment",
        "kubernetes:apps/v1:Deployment",
        [
            ("metadata", metadata),
            (
                "spec",
                map([
                    ("replicas", replicas),
                    ("selector", map([("matchLabels", Making::labels())])),
                    ("template", template),
                ]),
            ),
        ],
    )
}
