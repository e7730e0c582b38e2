//! A client of the raw wire protocols, without any SDK.

#![expect(dead_code, reason = "every test file uses another part")]
#![expect(clippy::unwrap_used, reason = "a test that cannot ask has failed")]

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use epid_sandbox::{Clock, MemoryStore, Sandbox, SandboxError, Settings, Timestamp};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::time::Duration;

/// A sandbox with a client of it.
#[derive(Clone)]
pub(crate) struct Lab {
    pub(crate) sandbox: Sandbox,
}

/// A whole answer.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) kind: String,
    pub(crate) body: String,
}

impl Reply {
    /// The text of the first element of that name.
    pub(crate) fn text(&self, element: &str) -> String {
        self.texts(element)
            .into_iter()
            .next()
            .unwrap_or_else(|| panic!("no <{element}> in {}", self.body))
    }

    /// The texts of all elements of that name.
    pub(crate) fn texts(&self, element: &str) -> Vec<String> {
        let (open, close) = (format!("<{element}>"), format!("</{element}>"));
        self.body
            .split(&open)
            .skip(1)
            .map(|rest| rest.split(&close).next().unwrap_or_default().to_owned())
            .collect()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    pub(crate) fn ok(self) -> Self {
        assert!(self.status < 300, "{} {} {}", self.status, self.kind, self.body);
        self
    }

    /// The error code, whatever the protocol.
    pub(crate) fn code(&self) -> String {
        assert!(self.status >= 400, "no error: {}", self.body);
        if self.kind.is_empty() {
            self.text("Code")
        } else {
            self.kind.clone()
        }
    }
}

pub(crate) const REGION: &str = "us-east-1";

impl Lab {
    pub(crate) fn new() -> Self {
        Self::with(
            MemoryStore::default(),
            Settings {
                seed: 7,
                ..Settings::default()
            },
        )
    }

    pub(crate) fn with(store: MemoryStore, settings: Settings) -> Self {
        let clock = Clock::starting_at(Timestamp::parse("2026-11-22T10:00:00Z").unwrap());
        Self {
            sandbox: Sandbox::open(Box::new(store), clock, settings).unwrap(),
        }
    }

    pub(crate) async fn send(&self, request: http::Request<Bytes>) -> Result<Reply, SandboxError> {
        let response = self.sandbox.call(request).await?;
        let (head, body) = response.into_parts();
        let kind = head
            .headers
            .get("x-amzn-errortype")
            .map(|value| value.to_str().unwrap().to_owned());
        let body = body.collect().await.unwrap().to_bytes();
        let body = String::from_utf8(body.to_vec()).unwrap();
        Ok(Reply {
            status: head.status.as_u16(),
            kind: kind.unwrap_or_default(),
            body,
        })
    }

    /// A call in a query protocol; pairs are keys and values.
    pub(crate) async fn query(&self, service: &str, action: &str, pairs: &[(&str, &str)]) -> Reply {
        self.try_query(service, action, pairs).await.unwrap()
    }

    pub(crate) async fn try_query(
        &self,
        service: &str,
        action: &str,
        pairs: &[(&str, &str)],
    ) -> Result<Reply, SandboxError> {
        let escape = |text: &str| {
            percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
        };
        let mut form = format!("Action={action}&Version=x");
        for (key, value) in pairs {
            form.push_str(&format!("&{}={}", escape(key), escape(value)));
        }
        let request = http::Request::post(format!("https://{service}.{REGION}.amazonaws.com/"))
            .header("authorization", authorization(service))
            .header("content-type", "application/x-www-form-urlencoded; charset=utf-8")
            .body(Bytes::from(form))
            .unwrap();
        self.send(request).await
    }

    pub(crate) async fn ec2(&self, action: &str, pairs: &[(&str, &str)]) -> Reply {
        self.query("ec2", action, pairs).await
    }

    pub(crate) async fn iam(&self, action: &str, pairs: &[(&str, &str)]) -> Reply {
        self.query("iam", action, pairs).await
    }

    pub(crate) async fn eks(&self, method: &str, path: &str, body: Value) -> Reply {
        let body = if body.is_null() {
            Bytes::new()
        } else {
            Bytes::from(body.to_string())
        };
        let request = http::Request::builder()
            .method(method)
            .uri(format!("https://eks.{REGION}.amazonaws.com{path}"))
            .header("authorization", authorization("eks"))
            .header("content-type", "application/json")
            .body(body)
            .unwrap();
        self.send(request).await.unwrap()
    }

    /// A request to a cluster's API server with a fresh presigned token.
    pub(crate) async fn kube(
        &self,
        endpoint: &str,
        method: &str,
        path: &str,
        kind: &str,
        body: &Value,
    ) -> Result<Reply, SandboxError> {
        let body = if body.is_null() {
            Bytes::new()
        } else {
            Bytes::from(body.to_string())
        };
        let request = http::Request::builder()
            .method(method)
            .uri(format!("{endpoint}{path}"))
            .header("authorization", format!("Bearer {}", self.token()))
            .header("content-type", kind)
            .header("accept", "application/json")
            .header("user-agent", "raw/1")
            .body(body)
            .unwrap();
        self.send(request).await
    }

    pub(crate) async fn get(&self, endpoint: &str, path: &str) -> Reply {
        self.kube(endpoint, "GET", path, "application/json", &Value::Null)
            .await
            .unwrap()
    }

    /// Server-side apply.
    pub(crate) async fn apply(&self, endpoint: &str, path: &str, object: &Value) -> Reply {
        let path = format!("{path}?fieldManager=raw&force=true");
        self.kube(endpoint, "PATCH", &path, "application/apply-patch+yaml", object)
            .await
            .unwrap()
    }

    pub(crate) fn token(&self) -> String {
        let date = self.sandbox.clock().wall().rfc3339().replace(['-', ':'], "");
        let url = format!(
            "https://sts.{REGION}.amazonaws.com/?Action=GetCallerIdentity&Version=2011-06-15&X-Amz-Algorithm=AWS4-HMAC-SHA256\
             &X-Amz-Credential=AKIATEST%2F20261122%2F{REGION}%2Fsts%2Faws4_request&X-Amz-Date={date}&X-Amz-Expires=60\
             &X-Amz-SignedHeaders=host%3Bx-k8s-aws-id&X-Amz-Signature=00"
        );
        format!("k8s-aws-v1.{}", URL_SAFE_NO_PAD.encode(url))
    }

    pub(crate) async fn pause(&self, seconds: u64) {
        self.sandbox.clock().sleep(Duration::from_secs(seconds)).await;
    }

    /// Asks until the answer pleases, at most an hour of virtual time.
    pub(crate) async fn until(&self, ask: impl AsyncFn() -> Reply, good: impl Fn(&Reply) -> bool) -> Reply {
        for _ in 0..360 {
            let reply = ask().await;
            if good(&reply) {
                return reply;
            }
            self.pause(10).await;
        }
        panic!("never came: {:?}", ask().await);
    }
}

fn authorization(service: &str) -> String {
    format!(
        "AWS4-HMAC-SHA256 Credential=AKIATEST/20261122/{REGION}/{service}/aws4_request, SignedHeaders=host, Signature=00"
    )
}

/// What a cluster needs around it.
#[derive(Debug, Clone)]
pub(crate) struct Network {
    pub(crate) vpc: String,
    pub(crate) public: Vec<String>,
    pub(crate) private: Vec<String>,
    pub(crate) gateway: String,
    pub(crate) nat: String,
    pub(crate) address: String,
    pub(crate) tables: Vec<String>,
    pub(crate) associations: Vec<String>,
}

impl Lab {
    /// VPC, two public and two private subnets, internet gateway, NAT gateway, routes.
    pub(crate) async fn network(&self) -> Network {
        let vpc = self
            .ec2("CreateVpc", &[("CidrBlock", "192.168.0.0/16")])
            .await
            .ok()
            .text("vpcId");
        for attribute in ["EnableDnsSupport.Value", "EnableDnsHostnames.Value"] {
            self.ec2("ModifyVpcAttribute", &[("VpcId", &vpc), (attribute, "true")])
                .await
                .ok();
        }
        let zones = self
            .ec2("DescribeAvailabilityZones", &[])
            .await
            .ok()
            .texts("zoneName");
        let gateway = self
            .ec2("CreateInternetGateway", &[])
            .await
            .ok()
            .text("internetGatewayId");
        self.ec2(
            "AttachInternetGateway",
            &[("VpcId", &vpc), ("InternetGatewayId", &gateway)],
        )
        .await
        .ok();
        let mut subnets = Vec::new();
        for (place, role) in ["elb", "elb", "internal-elb", "internal-elb"]
            .into_iter()
            .enumerate()
        {
            let pairs = [
                ("VpcId", vpc.as_str()),
                ("CidrBlock", &format!("192.168.{}.0/19", place * 32)),
                ("AvailabilityZone", &zones[place % 2]),
                ("TagSpecification.1.ResourceType", "subnet"),
                (
                    "TagSpecification.1.Tag.1.Key",
                    &format!("kubernetes.io/role/{role}"),
                ),
                ("TagSpecification.1.Tag.1.Value", "1"),
            ];
            subnets.push(self.ec2("CreateSubnet", &pairs).await.ok().text("subnetId"));
        }
        let (public, private) = (subnets[..2].to_vec(), subnets[2..].to_vec());
        let mut tables = Vec::new();
        let mut associations = Vec::new();
        for group in [&public, &private] {
            let table = self
                .ec2("CreateRouteTable", &[("VpcId", &vpc)])
                .await
                .ok()
                .text("routeTableId");
            for subnet in group {
                let pairs = [("RouteTableId", table.as_str()), ("SubnetId", subnet)];
                associations.push(
                    self.ec2("AssociateRouteTable", &pairs)
                        .await
                        .ok()
                        .text("associationId"),
                );
            }
            tables.push(table);
        }
        let everywhere = ("DestinationCidrBlock", "0.0.0.0/0");
        self.ec2(
            "CreateRoute",
            &[("RouteTableId", &tables[0]), everywhere, ("GatewayId", &gateway)],
        )
        .await
        .ok();
        let address = self
            .ec2("AllocateAddress", &[("Domain", "vpc")])
            .await
            .ok()
            .text("allocationId");
        let pairs = [("SubnetId", public[0].as_str()), ("AllocationId", &address)];
        let nat = self
            .ec2("CreateNatGateway", &pairs)
            .await
            .ok()
            .text("natGatewayId");
        self.until(
            async || self.ec2("DescribeNatGateways", &[("NatGatewayId.1", &nat)]).await,
            |reply| {
                reply
                    .texts("state")
                    .first()
                    .is_some_and(|state| state == "available")
            },
        )
        .await;
        self.ec2(
            "CreateRoute",
            &[("RouteTableId", &tables[1]), everywhere, ("NatGatewayId", &nat)],
        )
        .await
        .ok();
        Network {
            vpc,
            public,
            private,
            gateway,
            nat,
            address,
            tables,
            associations,
        }
    }

    /// A role trusted by a service, with managed policies; returns its ARN.
    pub(crate) async fn role(&self, name: &str, trust: &Value, policies: &[&str]) -> String {
        let pairs = [
            ("RoleName", name),
            ("AssumeRolePolicyDocument", &trust.to_string()),
        ];
        let arn = self.iam("CreateRole", &pairs).await.ok().text("Arn");
        for policy in policies {
            let policy = if policy.starts_with("arn:") {
                (*policy).to_owned()
            } else {
                format!("arn:aws:iam::aws:policy/{policy}")
            };
            self.iam("AttachRolePolicy", &[("RoleName", name), ("PolicyArn", &policy)])
                .await
                .ok();
        }
        arn
    }

    /// Role, cluster `demo`, waited until ACTIVE and reachable; returns its description.
    pub(crate) async fn cluster(&self, network: &Network) -> Value {
        let arn = self
            .role(
                "cluster",
                &service_trust("eks.amazonaws.com"),
                &["AmazonEKSClusterPolicy"],
            )
            .await;
        self.pause(10).await;
        self.eks("POST", "/clusters", cluster_request(&arn, network))
            .await
            .ok();
        self.active_cluster().await
    }

    pub(crate) async fn active_cluster(&self) -> Value {
        let reply = self
            .until(
                async || self.eks("GET", "/clusters/demo", Value::Null).await,
                |reply| reply.json()["cluster"]["status"] == "ACTIVE",
            )
            .await;
        self.pause(20).await;
        reply.json()["cluster"].clone()
    }

    /// Role and profile for `default` and `kube-system`, waited until ACTIVE.
    pub(crate) async fn profile(&self, network: &Network) {
        let trust = service_trust("eks-fargate-pods.amazonaws.com");
        let arn = self
            .role("pods", &trust, &["AmazonEKSFargatePodExecutionRolePolicy"])
            .await;
        self.pause(10).await;
        self.eks(
            "POST",
            "/clusters/demo/fargate-profiles",
            profile_request("fp", &arn, &network.private),
        )
        .await
        .ok();
        self.until(
            async || {
                self.eks("GET", "/clusters/demo/fargate-profiles/fp", Value::Null)
                    .await
            },
            |reply| reply.json()["fargateProfile"]["status"] == "ACTIVE",
        )
        .await;
    }
}

pub(crate) fn service_trust(service: &str) -> Value {
    json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}]})
}

pub(crate) fn cluster_request(role: &str, network: &Network) -> Value {
    let subnets: Vec<&String> = network.public.iter().chain(&network.private).collect();
    json!({
        "name": "demo", "version": "1.34", "roleArn": role, "clientRequestToken": "token-1",
        "resourcesVpcConfig": {"subnetIds": subnets},
        "accessConfig": {"authenticationMode": "API"},
        "bootstrapSelfManagedAddons": false,
    })
}

pub(crate) fn profile_request(name: &str, role: &str, subnets: &[String]) -> Value {
    json!({"fargateProfileName": name, "podExecutionRoleArn": role, "subnets": subnets,
        "selectors": [{"namespace": "default"}, {"namespace": "kube-system"}]})
}
