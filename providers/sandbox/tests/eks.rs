//! EKS by raw requests: validation, lifecycles, serialisation, error texts.

mod support;

use serde_json::{Value, json};
use support::{Lab, cluster_request, profile_request, service_trust};

fn message(reply: &support::Reply) -> String {
    reply.json()["message"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test(start_paused = true)]
async fn a_cluster_takes_ten_minutes_and_then_has_endpoint_and_issuer() {
    let lab = Lab::new();
    let network = lab.network().await;
    let role = lab
        .role(
            "cluster",
            &service_trust("eks.amazonaws.com"),
            &["AmazonEKSClusterPolicy"],
        )
        .await;
    let early = lab
        .eks("POST", "/clusters", cluster_request(&role, &network))
        .await;
    assert_eq!(early.code(), "InvalidParameterException");
    assert!(message(&early).contains("could not be assumed"), "{}", early.body);
    lab.pause(10).await;
    let created = lab
        .eks("POST", "/clusters", cluster_request(&role, &network))
        .await
        .ok()
        .json()["cluster"]
        .clone();
    assert_eq!(created["status"], "CREATING");
    assert!(created.get("endpoint").is_none() && created.get("identity").is_none());
    let again = lab
        .eks("POST", "/clusters", cluster_request(&role, &network))
        .await
        .ok()
        .json()["cluster"]
        .clone();
    assert_eq!(
        again["createdAt"], created["createdAt"],
        "the token makes the second call return the first cluster"
    );
    let mut other = cluster_request(&role, &network);
    other["clientRequestToken"] = json!("token-2");
    let conflict = lab.eks("POST", "/clusters", other).await;
    assert_eq!(
        (conflict.status, conflict.code().as_str()),
        (409, "ResourceInUseException")
    );
    lab.pause(500).await;
    assert_eq!(
        lab.eks("GET", "/clusters/demo", Value::Null).await.json()["cluster"]["status"],
        "CREATING"
    );
    lab.pause(100).await;
    let active = lab.eks("GET", "/clusters/demo", Value::Null).await.json()["cluster"].clone();
    assert_eq!(active["status"], "ACTIVE");
    assert!(
        active["endpoint"]
            .as_str()
            .unwrap()
            .ends_with(".gr7.us-east-1.eks.amazonaws.com")
    );
    let issuer = active["identity"]["oidc"]["issuer"].as_str().unwrap();
    assert!(issuer.starts_with("https://oidc.eks.us-east-1.amazonaws.com/id/"));
    let group = active["resourcesVpcConfig"]["clusterSecurityGroupId"]
        .as_str()
        .unwrap();
    let described = lab
        .ec2("DescribeSecurityGroups", &[("GroupId.1", group)])
        .await
        .ok();
    assert!(described.text("groupName").starts_with("eks-cluster-sg-demo-"));
    assert_eq!(
        lab.ec2("DeleteSubnet", &[("SubnetId", &network.private[0])])
            .await
            .code(),
        "DependencyViolation"
    );
}

#[tokio::test(start_paused = true)]
async fn a_cluster_needs_two_zones_that_eks_supports() {
    let lab = Lab::new();
    let network = lab.network().await;
    let role = lab
        .role(
            "cluster",
            &service_trust("eks.amazonaws.com"),
            &["AmazonEKSClusterPolicy"],
        )
        .await;
    lab.pause(10).await;
    let with_subnets = |subnets: Value| {
        let mut request = cluster_request(&role, &network);
        request["resourcesVpcConfig"]["subnetIds"] = subnets;
        request
    };
    let one_zone = lab
        .eks("POST", "/clusters", with_subnets(json!([network.public[0]])))
        .await;
    assert!(
        message(&one_zone).contains("at least two different AZs"),
        "{}",
        one_zone.body
    );
    let unknown = lab
        .eks("POST", "/clusters", with_subnets(json!(["subnet-0"])))
        .await;
    assert_eq!(
        message(&unknown).split(" (").next(),
        Some("The subnet ID 'subnet-0' does not exist")
    );
    let pairs = [
        ("VpcId", network.vpc.as_str()),
        ("CidrBlock", "192.168.192.0/24"),
        ("AvailabilityZoneId", "use1-az3"),
    ];
    let bad = lab.ec2("CreateSubnet", &pairs).await.ok().text("subnetId");
    let refused = lab
        .eks(
            "POST",
            "/clusters",
            with_subnets(json!([network.public[0], network.public[1], bad])),
        )
        .await;
    assert_eq!(refused.code(), "UnsupportedAvailabilityZoneException");
    assert!(!refused.json()["validZones"].as_array().unwrap().is_empty());
    let mut old = cluster_request(&role, &network);
    old["version"] = json!("1.16");
    assert_eq!(
        message(&lab.eks("POST", "/clusters", old).await),
        "unsupported Kubernetes version 1.16"
    );
    let missing = lab.eks("GET", "/clusters/other", Value::Null).await;
    assert_eq!(
        (missing.status, missing.code().as_str()),
        (404, "ResourceNotFoundException")
    );
    assert_eq!(message(&missing), "No cluster found for name: other.");
}

#[tokio::test(start_paused = true)]
async fn profiles_and_updates_come_one_at_a_time() {
    let lab = Lab::new();
    let network = lab.network().await;
    lab.cluster(&network).await;
    let trust = service_trust("eks-fargate-pods.amazonaws.com");
    let role = lab
        .role("pods", &trust, &["AmazonEKSFargatePodExecutionRolePolicy"])
        .await;
    let wrong_trust = lab.role("wrong", &service_trust("ec2.amazonaws.com"), &[]).await;
    lab.pause(10).await;
    let path = "/clusters/demo/fargate-profiles";
    let refused = lab
        .eks(
            "POST",
            path,
            profile_request("fp", &wrong_trust, &network.private),
        )
        .await;
    assert!(
        message(&refused).starts_with("Misconfigured PodExecutionRole Trust Policy"),
        "{}",
        refused.body
    );
    let public = lab
        .eks("POST", path, profile_request("fp", &role, &network.public))
        .await;
    assert!(
        message(&public).contains("not a private subnet"),
        "{}",
        public.body
    );
    let reserved = lab
        .eks("POST", path, profile_request("eks-x", &role, &network.private))
        .await;
    assert_eq!(reserved.code(), "InvalidParameterException");
    lab.eks("POST", path, profile_request("a", &role, &network.private))
        .await
        .ok();
    let second = lab
        .eks("POST", path, profile_request("b", &role, &network.private))
        .await;
    assert_eq!(second.code(), "ResourceInUseException");
    assert_eq!(
        message(&second),
        "Cannot create Fargate Profile b because cluster demo currently has Fargate profile a in status CREATING"
    );
    let update = lab
        .eks(
            "POST",
            "/clusters/demo/update-config",
            json!({"deletionProtection": true}),
        )
        .await;
    assert_eq!(update.code(), "ResourceInUseException");
    lab.pause(130).await;
    let both = json!({"deletionProtection": true, "upgradePolicy": {"supportType": "STANDARD"}});
    let refused = lab.eks("POST", "/clusters/demo/update-config", both).await;
    assert_eq!(message(&refused), "Only one type of update can be allowed.");
    let started = lab
        .eks(
            "POST",
            "/clusters/demo/update-config",
            json!({"deletionProtection": true}),
        )
        .await
        .ok();
    let id = started.json()["update"]["id"].as_str().unwrap().to_owned();
    assert_eq!(
        lab.eks("GET", "/clusters/demo", Value::Null).await.json()["cluster"]["status"],
        "UPDATING"
    );
    let busy = lab
        .eks("POST", path, profile_request("b", &role, &network.private))
        .await;
    assert!(
        message(&busy).contains(&format!("currently has update {id} in progress")),
        "{}",
        busy.body
    );
    lab.until(
        async || {
            lab.eks("GET", &format!("/clusters/demo/updates/{id}"), Value::Null)
                .await
        },
        |reply| reply.json()["update"]["status"] == "Successful",
    )
    .await;
    let same = lab
        .eks(
            "POST",
            "/clusters/demo/update-config",
            json!({"deletionProtection": true}),
        )
        .await;
    assert!(message(&same).starts_with("No changes needed"), "{}", same.body);
    let protected = lab.eks("DELETE", "/clusters/demo", Value::Null).await;
    assert_eq!(protected.code(), "InvalidRequestException");
    lab.eks(
        "POST",
        "/clusters/demo/update-config",
        json!({"deletionProtection": false}),
    )
    .await
    .ok();
    lab.pause(130).await;
    let occupied = lab.eks("DELETE", "/clusters/demo", Value::Null).await;
    assert_eq!(occupied.code(), "ResourceInUseException");
    lab.eks("DELETE", &format!("{path}/a"), Value::Null).await.ok();
    let deleting = lab
        .eks("POST", path, profile_request("b", &role, &network.private))
        .await;
    assert!(message(&deleting).ends_with("currently has Fargate profile a in status DELETING"));
    lab.pause(130).await;
    let gone = lab.eks("GET", &format!("{path}/a"), Value::Null).await;
    assert_eq!(message(&gone), "No Fargate Profile found with name: a.");
    lab.eks("DELETE", "/clusters/demo", Value::Null).await.ok();
    lab.pause(190).await;
    assert_eq!(lab.eks("GET", "/clusters/demo", Value::Null).await.status, 404);
    lab.ec2("DeleteSubnet", &[("SubnetId", &network.private[0])])
        .await
        .ok();
}

#[tokio::test(start_paused = true)]
async fn versions_rise_by_one_minor() {
    let lab = Lab::new();
    let network = lab.network().await;
    lab.cluster(&network).await;
    let up = async |version: &str| {
        lab.eks("POST", "/clusters/demo/updates", json!({"version": version}))
            .await
    };
    assert!(message(&up("1.33").await).starts_with("Unsupported Kubernetes minor version update"));
    assert_eq!(message(&up("1.36").await), "unsupported Kubernetes version 1.36");
    up("1.35").await.ok();
    assert_eq!(up("1.35").await.code(), "ResourceInUseException");
    lab.pause(610).await;
    let cluster = lab.eks("GET", "/clusters/demo", Value::Null).await.json()["cluster"].clone();
    assert_eq!(
        (&cluster["version"], &cluster["status"]),
        (&json!("1.35"), &json!("ACTIVE"))
    );
}

#[tokio::test(start_paused = true)]
async fn lists_come_in_pages_and_tags_by_arn() {
    let lab = Lab::new();
    let network = lab.network().await;
    let cluster = lab.cluster(&network).await;
    let first = lab
        .eks("GET", "/addons/supported-versions?maxResults=1", Value::Null)
        .await
        .ok()
        .json();
    assert_eq!(first["addons"].as_array().unwrap().len(), 1);
    let path = format!(
        "/addons/supported-versions?maxResults=10&nextToken={}",
        first["nextToken"].as_str().unwrap()
    );
    let rest = lab.eks("GET", &path, Value::Null).await.ok().json();
    assert!(rest.get("nextToken").is_none());
    assert_ne!(rest["addons"][0], first["addons"][0]);
    let arn = cluster["arn"].as_str().unwrap().replace('/', "%2F");
    lab.eks(
        "POST",
        &format!("/tags/{arn}"),
        json!({"tags": {"a": "1", "b": "2"}}),
    )
    .await
    .ok();
    lab.eks("DELETE", &format!("/tags/{arn}?tagKeys=a"), Value::Null)
        .await
        .ok();
    let tags = lab
        .eks("GET", &format!("/tags/{arn}"), Value::Null)
        .await
        .ok()
        .json();
    assert_eq!(tags, json!({"tags": {"b": "2"}}));
}
