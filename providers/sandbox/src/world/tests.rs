//! The world by itself: repeatable, indifferent to who looks, and consistent between its services.

use super::*;
use crate::cloud::{ListenerRequest, LoadBalancerKind, LoadBalancerRequest, Scheme, TargetGroupRequest};
use serde_json::{Value, json};

/// A world with a hand that asks it.
struct Hand {
    world: World,
    now: Timestamp,
    /// Look at everything between the steps.
    nosy: bool,
}

impl Hand {
    fn new(nosy: bool) -> Self {
        Self {
            world: World::new(7),
            now: Timestamp::from_millis(1_795_341_600_000),
            nosy,
        }
    }

    fn raw(
        &mut self,
        service: &str,
        method: &str,
        path: &str,
        kind: &str,
        body: String,
    ) -> http::Response<Bytes> {
        let request = http::Request::builder()
            .method(method)
            .uri(format!("https://{service}.us-east-1.amazonaws.com{path}"))
            .header(
                AUTHORIZATION,
                format!("AWS4-HMAC-SHA256 Credential=A/d/us-east-1/{service}/aws4_request, Signature=0"),
            )
            .header(CONTENT_TYPE, kind)
            .body(Bytes::from(body))
            .unwrap();
        match self.world.handle(self.now, &request).unwrap() {
            Answer::Done(response) => response,
            Answer::Watch(_) => panic!("a watch"),
        }
    }

    fn query(&mut self, service: &str, form: &str) -> String {
        let response = self.raw(
            service,
            "POST",
            "/",
            "application/x-www-form-urlencoded",
            form.to_owned(),
        );
        String::from_utf8(response.into_body().to_vec()).unwrap()
    }

    fn id(&mut self, form: &str, element: &str) -> String {
        let answer = self.query("ec2", form);
        self.wait(2);
        let start = answer
            .find(&format!("<{element}>"))
            .unwrap_or_else(|| panic!("{answer}"));
        answer[start + element.len() + 2..]
            .split('<')
            .next()
            .unwrap()
            .to_owned()
    }

    fn eks(&mut self, method: &str, path: &str, body: &Value) -> Value {
        let response = self.raw("eks", method, path, "application/json", body.to_string());
        serde_json::from_slice(response.body()).unwrap()
    }

    fn wait(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.now = self.now.after(Duration::from_secs(1));
            if self.nosy {
                self.eks("GET", "/clusters/demo", &Value::Null);
                self.query("ec2", "Action=DescribeSubnets");
            }
        }
    }

    fn role(&mut self, name: &str, service: &str, policy: &str) -> String {
        let trust = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}]});
        self.query(
            "iam",
            &format!("Action=CreateRole&RoleName={name}&AssumeRolePolicyDocument={trust}"),
        );
        self.query(
            "iam",
            &format!("Action=AttachRolePolicy&RoleName={name}&PolicyArn=arn:aws:iam::aws:policy/{policy}"),
        );
        format!("arn:aws:iam::000000000000:role/{name}")
    }

    /// VPC, gateway, two public subnets, and an active cluster in them.
    fn cluster(&mut self) -> (String, String) {
        let vpc = self.id("Action=CreateVpc&CidrBlock=192.168.0.0/16", "vpcId");
        let gateway = self.id("Action=CreateInternetGateway", "internetGatewayId");
        self.query(
            "ec2",
            &format!("Action=AttachInternetGateway&VpcId={vpc}&InternetGatewayId={gateway}"),
        );
        let table = self.id(&format!("Action=CreateRouteTable&VpcId={vpc}"), "routeTableId");
        self.query(
            "ec2",
            &format!(
                "Action=CreateRoute&RouteTableId={table}&DestinationCidrBlock=0.0.0.0/0&GatewayId={gateway}"
            ),
        );
        let mut subnets = Vec::new();
        for (place, zone) in ["a", "b"].into_iter().enumerate() {
            let tags = "TagSpecification.1.ResourceType=subnet&TagSpecification.1.Tag.1.Key=kubernetes.io/role/elb&TagSpecification.1.Tag.1.Value=1";
            let subnet = self.id(
                &format!("Action=CreateSubnet&VpcId={vpc}&CidrBlock=192.168.{place}.0/24&AvailabilityZone=us-east-1{zone}&{tags}"),
                "subnetId",
            );
            self.query(
                "ec2",
                &format!("Action=AssociateRouteTable&RouteTableId={table}&SubnetId={subnet}"),
            );
            subnets.push(subnet);
        }
        let role = self.role("cluster", "eks.amazonaws.com", "AmazonEKSClusterPolicy");
        self.wait(20);
        let request = json!({"name": "demo", "roleArn": role, "resourcesVpcConfig": {"subnetIds": subnets},
            "accessConfig": {"authenticationMode": "API"}, "bootstrapSelfManagedAddons": false});
        assert_eq!(
            self.eks("POST", "/clusters", &request)["cluster"]["status"],
            "CREATING"
        );
        self.wait(620);
        assert_eq!(
            self.eks("GET", "/clusters/demo", &Value::Null)["cluster"]["status"],
            "ACTIVE"
        );
        (vpc, gateway)
    }

    fn cloud(&mut self) -> ClusterCloud<'_> {
        ClusterCloud {
            aws: &mut self.world.aws,
            now: self.now,
            cluster: "demo",
            namespace: None,
        }
    }
}

fn ingress() -> LoadBalancerRequest {
    LoadBalancerRequest {
        key: "ingress/default/web".to_owned(),
        name: "k8s-default-web-0123456789".to_owned(),
        kind: LoadBalancerKind::Application,
        scheme: Scheme::InternetFacing,
        subnets: Vec::new(),
        listeners: vec![ListenerRequest {
            port: 80,
            protocol: "HTTP".to_owned(),
            certificates: Vec::new(),
        }],
        target_groups: vec![TargetGroupRequest {
            name: "k8s-default-web-abc".to_owned(),
            port: 80,
            protocol: "HTTP".to_owned(),
            target_type: "ip".to_owned(),
            targets: vec![("192.168.0.9".to_owned(), 80)],
        }],
        inbound_cidrs: Vec::new(),
        tags: BTreeMap::new(),
    }
}

#[test]
fn a_world_is_the_same_whether_or_not_somebody_looks() {
    let build = |nosy| {
        let mut hand = Hand::new(nosy);
        hand.cluster();
        hand.wait(1);
        hand.world.advance(hand.now);
        serde_json::to_value(&hand.world).unwrap()
    };
    assert_eq!(build(false), build(true));
}

#[test]
fn a_load_balancer_occupies_the_network_until_it_is_gone() {
    let mut hand = Hand::new(false);
    let (vpc, gateway) = hand.cluster();
    let now = hand.now;
    let state = hand.cloud().ensure_load_balancer(now, &ingress()).unwrap();
    assert!(!state.active && state.dns_name.ends_with(".us-east-1.elb.amazonaws.com"));
    let describe = "Action=DescribeLoadBalancers&Names.member.1=k8s-default-web-0123456789";
    assert!(
        hand.query("elasticloadbalancing", describe)
            .contains("<Code>provisioning</Code>")
    );
    hand.wait(200);
    assert!(
        hand.query("elasticloadbalancing", describe)
            .contains("<Code>active</Code>")
    );
    let now = hand.now;
    assert!(
        hand.cloud().ensure_load_balancer(now, &ingress()).unwrap().active,
        "idempotent by key"
    );
    let health = format!("Action=DescribeTags&ResourceArns.member.1={}", state.arn);
    assert!(
        hand.query("elasticloadbalancing", &health)
            .contains("elbv2.k8s.aws/cluster")
    );
    let detach = format!("Action=DetachInternetGateway&VpcId={vpc}&InternetGatewayId={gateway}");
    let refused = hand.query("ec2", &detach);
    assert!(
        refused.contains("DependencyViolation") && refused.contains("mapped public address"),
        "{refused}"
    );
    let groups = format!("Action=DescribeSecurityGroups&Filter.1.Name=vpc-id&Filter.1.Value.1={vpc}");
    assert_eq!(hand.query("ec2", &groups).matches("<groupName>k8s-").count(), 2);
    let mut done = false;
    for _ in 0..30 {
        let now = hand.now;
        done = hand.cloud().delete_load_balancer(now, "ingress/default/web");
        if done {
            break;
        }
        hand.wait(5);
        hand.world.advance(hand.now);
    }
    assert!(done);
    assert!(
        hand.query("elasticloadbalancing", describe)
            .contains("LoadBalancerNotFound")
    );
    assert_eq!(hand.query("ec2", &groups).matches("<groupName>k8s-").count(), 0);
    assert!(!hand.query("ec2", &detach).contains("DependencyViolation"));
}

#[test]
fn an_application_load_balancer_needs_two_tagged_subnets() {
    let mut hand = Hand::new(false);
    hand.cluster();
    let now = hand.now;
    let internal = LoadBalancerRequest {
        scheme: Scheme::Internal,
        ..ingress()
    };
    let refused = hand.cloud().ensure_load_balancer(now, &internal).unwrap_err();
    assert!(
        refused.contains("0 match VPC and tags: [kubernetes.io/role/internal-elb]"),
        "{refused}"
    );
}

#[test]
fn a_cluster_whose_role_vanished_leaves_its_interfaces() {
    let mut hand = Hand::new(false);
    let (vpc, _) = hand.cluster();
    hand.eks("DELETE", "/clusters/demo", &Value::Null);
    hand.query(
        "iam",
        "Action=DetachRolePolicy&RoleName=cluster&PolicyArn=arn:aws:iam::aws:policy/AmazonEKSClusterPolicy",
    );
    hand.query("iam", "Action=DeleteRole&RoleName=cluster");
    hand.wait(200);
    assert_eq!(
        hand.eks("GET", "/clusters/demo", &Value::Null)["message"],
        "No cluster found for name: demo."
    );
    let interfaces = format!("Action=DescribeNetworkInterfaces&Filter.1.Name=vpc-id&Filter.1.Value.1={vpc}");
    assert_eq!(
        hand.query("ec2", &interfaces)
            .matches("<description>Amazon EKS demo")
            .count(),
        2
    );
}

#[test]
fn what_is_admitted_carries_no_credentials() {
    let hand = Hand::new(false);
    let request = http::Request::post("https://ec2.us-east-1.amazonaws.com/")
        .header(
            AUTHORIZATION,
            "AWS4-HMAC-SHA256 Credential=A/d/us-east-1/ec2/aws4_request, Signature=dead",
        )
        .header("x-amz-security-token", "secret")
        .body(Bytes::from_static(b"Action=CreateVpc"))
        .unwrap();
    let admitted = hand.world.admit(hand.now, hand.now, &request).unwrap();
    let text = serde_json::to_string(&admitted).unwrap();
    assert!(!text.contains("dead") && !text.contains("secret"), "{text}");
}
