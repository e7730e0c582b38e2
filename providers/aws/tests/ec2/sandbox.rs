//! EC2's kinds against the simulated service, in the process and in virtual time.

use std::time::Duration;

use epid_provider::{Intent, Observed, Operation, Outcome, Query, Recovered, Retry, Token, Value};
use epid_sandbox::FaultScript;
use epid_sandbox::faults::{Fault, Rule, When};

use crate::network::Ground;
use crate::rig::{Lag, Rig, call_for, filled, resolved, urn, value};

const VPC: &str = "aws:ec2:Vpc";
const NETWORK: &str = r#"{"cidrBlock":"10.0.0.0/16"}"#;

/// Faults of EC2's operations.
pub(crate) fn script(rules: &[(&str, When, Fault)]) -> FaultScript {
    let rule = |(operation, when, fault): &(&str, When, Fault)| Rule {
        service: "ec2".to_owned(),
        operation: (*operation).to_owned(),
        when: *when,
        fault: *fault,
    };
    FaultScript {
        seed: 7,
        rules: rules.iter().map(rule).collect(),
    }
}

fn kind(name: &str) -> epid_provider::Kind {
    epid_provider::Kind::parse(name).expect("a kind")
}

#[tokio::test(start_paused = true)]
async fn every_kind_conforms() {
    let rig = Rig::sandbox().await;
    let ground = Ground::make(&rig).await;
    let problems = ground.problems(&rig, &ground.cases()).await;
    assert_eq!(problems, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn every_kind_conforms_where_the_service_throttles_and_stumbles() {
    let rig = Rig::faulty(script(&[
        ("Describe*", When::Permille(60), Fault::ServerError(503)),
        ("Describe*", When::Permille(60), Fault::Reset),
        ("Modify*", When::Permille(60), Fault::LoseAnswer),
        ("*ute*", When::Permille(60), Fault::LoseAnswer),
        ("A*Gateway", When::Permille(60), Fault::LoseAnswer),
        ("*", When::Permille(60), Fault::Throttle),
    ]))
    .await;
    let ground = Ground::make(&rig).await;
    let problems = ground.problems(&rig, &ground.cases()).await;
    assert_eq!(problems, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_create_whose_answer_is_lost_is_found_and_not_made_twice() {
    for (operation, name, inputs) in [
        ("CreateVpc", VPC, NETWORK),
        (
            "CreateSubnet",
            "aws:ec2:Subnet",
            r#"{"vpcId":"$vpc","cidrBlock":"10.0.0.0/24"}"#,
        ),
        ("CreateInternetGateway", "aws:ec2:InternetGateway", "{}"),
        ("AllocateAddress", "aws:ec2:Eip", "{}"),
        (
            "CreateSecurityGroup",
            "aws:ec2:SecurityGroup",
            r#"{"vpcId":"$vpc"}"#,
        ),
    ] {
        let when = if name == VPC { When::Nth(2) } else { When::Nth(1) };
        let rig = Rig::faulty(script(&[(operation, when, Fault::LoseAnswer)])).await;
        let vpc = rig.made(VPC, "vpc", value(NETWORK)).await;
        let inputs = filled(inputs, &[("vpc", &vpc.id)]);
        let cx = rig.call(&urn(name, "lost"));
        let intent = rig.intent(&cx, name, &inputs);
        let failure = rig
            .connection
            .create(&cx, &kind(name), &resolved(&inputs))
            .await
            .unwrap_err();
        assert_eq!(failure.outcome, Outcome::Unknown, "{name}: {failure}");
        match rig.connection.recover(&cx, &intent).await.unwrap() {
            Recovered::Done(made) => assert!(!made.id.is_empty()),
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_delete_is_not_fooled_by_a_service_that_does_not_know_yet_what_was_made() {
    let rig = Rig::faulty(script(&[("DeleteVpc", When::Permille(700), Fault::Stale(8_000))])).await;
    let vpc = rig.made(VPC, "vpc", value(NETWORK)).await;
    let cx = rig.call(&urn(VPC, "vpc"));
    rig.connection.delete(&cx, &vpc).await.unwrap();
    cx.sleep(Duration::from_secs(30)).await.unwrap();
    let query = Query::Record(Box::new(vpc));
    let seen = rig.connection.observe(&cx, &[query]).await;
    assert!(matches!(seen.as_slice(), [Ok(Observed::Absent)]), "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn a_create_that_never_arrived_counts_as_not_done_only_after_a_while() {
    let rig = Rig::faulty(script(&[("CreateVpc", When::Nth(1), Fault::Reset)])).await;
    let cx = rig.call(&urn(VPC, "never"));
    let intent = rig.intent(&cx, VPC, &value(NETWORK));
    let failure = rig
        .connection
        .create(&cx, &kind(VPC), &intent.inputs)
        .await
        .unwrap_err();
    assert_eq!((&failure.outcome, failure.retry), (&Outcome::Unknown, Retry::Yes));
    let begun = cx.now();
    assert_eq!(
        rig.connection.recover(&cx, &intent).await.unwrap(),
        Recovered::NotDone
    );
    assert!(cx.now().since(begun) >= Duration::from_secs(55));
}

#[tokio::test(start_paused = true)]
async fn a_half_made_resource_is_noted_and_finished_by_an_update() {
    let rig = Rig::faulty(script(&[(
        "ModifyVpcAttribute",
        When::First(8),
        Fault::ServerError(500),
    )]))
    .await;
    let inputs = value(r#"{"cidrBlock":"10.0.0.0/16","enableDnsHostnames":true}"#);
    let failure = rig.create(VPC, "half", inputs.clone()).await.unwrap_err();
    let Outcome::Partial(partial) = failure.outcome else {
        panic!("{failure:?}");
    };
    assert_eq!(rig.runtime.notes.lock().unwrap().as_slice(), [(*partial).clone()]);
    let record = epid_provider::Record {
        urn: urn(VPC, "half"),
        kind: kind(VPC),
        id: partial.id.clone(),
        applied: inputs.clone(),
        resolved: Value::default(),
        outputs: partial.outputs.clone(),
        incomplete: partial.incomplete.clone(),
        attempted: Vec::new(),
    };
    assert_eq!(rig.drift(&record).await, ["enableDnsHostnames"]);
    let cx = rig.call(&record.urn);
    let intent = Intent {
        partial: Some(*partial),
        ..rig.intent(&cx, VPC, &inputs)
    };
    let recovered = rig.connection.recover(&cx, &intent).await.unwrap();
    assert!(matches!(recovered, Recovered::Partial(_)), "{recovered:?}");
    let record = rig.update(&record, inputs).await.unwrap();
    assert_eq!(rig.drift(&record).await, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_lost_update_is_repeated_by_recover() {
    let rig = Rig::sandbox().await;
    let record = rig.made(VPC, "vpc", value(NETWORK)).await;
    let inputs = value(r#"{"cidrBlock":"10.0.0.0/16","tags":{"Name":"new"}}"#);
    let cx = rig.call(&record.urn);
    let intent = Intent {
        operation: Operation::Update,
        record: Some(record.clone()),
        ..rig.intent(&cx, VPC, &inputs)
    };
    let recovered = rig.connection.recover(&cx, &intent).await.unwrap();
    assert!(matches!(recovered, Recovered::Done(_)), "{recovered:?}");
    let present = rig.look(&record).await.unwrap();
    let tags = present.properties.get("tags").cloned().unwrap();
    assert_eq!(tags, value(r#"{"Name":"new","team":"platform"}"#));
    assert_eq!(present.owner.unwrap().urn, Some(record.urn.clone()));
    rig.delete(&record).await.unwrap();
    assert_eq!(
        rig.connection.recover(&cx, &intent).await.unwrap(),
        Recovered::Deleted
    );
}

#[tokio::test(start_paused = true)]
async fn one_that_is_gone_does_not_hide_the_others() {
    let rig = Rig::sandbox().await;
    let here = rig.made(VPC, "here", value(NETWORK)).await;
    let gone = rig.made(VPC, "gone", value(NETWORK)).await;
    rig.delete(&gone).await.unwrap();
    let queries = [&gone, &here].map(|record| Query::Record(Box::new(record.clone())));
    let malformed = Query::Id {
        urn: urn(VPC, "x"),
        kind: kind(VPC),
        id: "nonsense".into(),
    };
    let queries: Vec<Query> = queries.into_iter().chain([malformed]).collect();
    let answers = rig.connection.observe(&rig.call(&here.urn), &queries).await;
    let found: Vec<bool> = answers
        .into_iter()
        .map(|answer| matches!(answer.unwrap(), Observed::Present(_)))
        .collect();
    assert_eq!(found, [false, true, false]);
}

#[tokio::test(start_paused = true)]
async fn a_network_in_use_is_waited_for_and_its_holder_named() {
    let rig = Rig::sandbox().await;
    let ground = Ground::make(&rig).await;
    let subnet = ground.fill(r#""$subnetA""#);
    let vpc = ground.fill(r#""$vpc""#);
    for (name, id) in [("aws:ec2:Subnet", subnet), (VPC, vpc)] {
        let urn = urn(name, "held");
        let record = epid_provider::Record {
            urn: urn.clone(),
            kind: kind(name),
            id: id.as_str().unwrap().into(),
            applied: Value::default(),
            resolved: Value::default(),
            outputs: Value::default(),
            incomplete: Vec::new(),
            attempted: Vec::new(),
        };
        let token = Token::from_bytes([9; 16]);
        let cx = call_for(&rig.runtime, &urn, &token, Duration::from_secs(90));
        let failure = rig.connection.delete(&cx, &record).await.unwrap_err();
        assert_eq!(failure.code, "DependencyViolation", "{failure}");
        assert!(failure.message.contains("is still used by eni-"), "{failure}");
        assert!(failure.hint.is_some());
        assert_eq!(cx.remaining(), Duration::ZERO);
    }
}

#[tokio::test(start_paused = true)]
async fn what_goes_together_can_be_deleted_in_any_order_at_once() {
    let rig = Rig::sandbox().await;
    let vpc = rig.made(VPC, "vpc", value(NETWORK)).await;
    let of = |json: &str| filled(json, &[("vpc", &vpc.id)]);
    let subnet = r#"{"vpcId":"$vpc","cidrBlock":"10.0.0.0/24"}"#;
    let subnet = rig.made("aws:ec2:Subnet", "subnet", of(subnet)).await;
    let gateway = rig
        .made("aws:ec2:InternetGateway", "way", of(r#"{"vpcId":"$vpc"}"#))
        .await;
    let address = rig.made("aws:ec2:Eip", "address", value("{}")).await;
    let json = r#"{"subnetId":"$subnet","allocationId":"$address"}"#;
    let json = filled(json, &[("subnet", &subnet.id), ("address", &address.id)]);
    let nat = rig.made("aws:ec2:NatGateway", "nat", json).await;
    let all = [&vpc, &gateway, &address, &subnet, &nat].map(|record| rig.delete(record));
    for answer in futures::future::join_all(all).await {
        answer.unwrap();
    }
    let phrases = rig.phrases();
    assert!(
        phrases
            .iter()
            .any(|p| p.contains("mapped public address") || p.contains("still used by"))
    );
}

#[tokio::test(start_paused = true)]
async fn who_holds_a_group_is_told() {
    let rig = Rig::sandbox().await;
    let vpc = rig.made(VPC, "vpc", value(NETWORK)).await;
    let kind = "aws:ec2:SecurityGroup";
    let plain = filled(r#"{"vpcId":"$vpc"}"#, &[("vpc", &vpc.id)]);
    let web = rig.made(kind, "web", plain).await;
    let json = r#"{"vpcId":"$vpc","ingress":[{"ipProtocol":"-1","referencedGroupId":"$web"}]}"#;
    let db = rig
        .made(kind, "db", filled(json, &[("vpc", &vpc.id), ("web", &web.id)]))
        .await;
    let cx = call_for(
        &rig.runtime,
        &web.urn,
        &Token::from_bytes([7; 16]),
        Duration::from_secs(60),
    );
    let failure = rig.connection.delete(&cx, &web).await.unwrap_err();
    let said = format!("{} is still used by a rule of {}", web.id, db.id);
    assert!(failure.message.contains(&said), "{failure}");
}

#[tokio::test(start_paused = true)]
async fn a_nat_gateway_that_fails_says_why_and_leaves_nothing() {
    let rig = Rig::sandbox().await;
    let vpc = rig.made(VPC, "vpc", value(NETWORK)).await;
    let subnet = filled(
        r#"{"vpcId":"$vpc","cidrBlock":"10.0.0.0/24"}"#,
        &[("vpc", &vpc.id)],
    );
    let subnet = rig.made("aws:ec2:Subnet", "subnet", subnet).await;
    let address = rig.made("aws:ec2:Eip", "address", value("{}")).await;
    let json = r#"{"subnetId":"$subnet","allocationId":"$address"}"#;
    let inputs = filled(json, &[("subnet", &subnet.id), ("address", &address.id)]);
    let cx = rig.call(&urn("aws:ec2:NatGateway", "nat"));
    let intent = rig.intent(&cx, "aws:ec2:NatGateway", &inputs);
    let failure = rig
        .connection
        .create(&cx, &intent.kind, &intent.inputs)
        .await
        .unwrap_err();
    assert_eq!(
        (failure.code.as_str(), &failure.outcome),
        ("Gateway.NotAttached", &Outcome::NotStarted)
    );
    assert!(failure.hint.is_some_and(|hint| hint.contains("internet gateway")));
    assert_eq!(
        rig.connection.recover(&cx, &intent).await.unwrap(),
        Recovered::NotDone
    );
    let gateway = filled(r#"{"vpcId":"$vpc"}"#, &[("vpc", &vpc.id)]);
    rig.made("aws:ec2:InternetGateway", "way", gateway).await;
    rig.made("aws:ec2:NatGateway", "nat", inputs).await;
}

#[tokio::test(start_paused = true)]
async fn a_subnet_moves_from_one_route_table_to_another() {
    let rig = Rig::sandbox().await;
    let ground = Ground::make(&rig).await;
    let with = ground.fill(r#"{"vpcId":"$vpc","subnetIds":["$subnetB"]}"#);
    let without = ground.fill(r#"{"vpcId":"$vpc","subnetIds":[]}"#);
    let first = rig.made("aws:ec2:RouteTable", "first", with.clone()).await;
    let second = rig.made("aws:ec2:RouteTable", "second", with).await;
    let moved = ground.fill(r#""subnetIds[$subnetB]""#);
    assert_eq!(rig.drift(&first).await, [moved.as_str().unwrap()]);
    let first = rig.update(&first, without).await.unwrap();
    assert_eq!(rig.drift(&first).await, Vec::<String>::new());
    assert_eq!(rig.drift(&second).await, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn what_others_put_in_stays_unless_a_group_is_exclusive() {
    let rig = Rig::sandbox().await;
    let vpc = rig.made(VPC, "vpc", value(NETWORK)).await;
    let group = |rest: &str| filled(&format!(r#"{{"vpcId":"$vpc"{rest}}}"#), &[("vpc", &vpc.id)]);
    let ours = r#","ingress":[{"ipProtocol":"tcp","fromPort":1,"toPort":1,"self":true}]"#;
    let both = r#","ingress":[{"ipProtocol":"tcp","fromPort":1,"toPort":1,"self":true},
                              {"ipProtocol":"tcp","fromPort":2,"toPort":2,"self":true}]"#;
    let kind = "aws:ec2:SecurityGroup";
    let record = rig.made(kind, "group", group(ours)).await;
    assert!(
        record
            .resolved
            .get("groupName")
            .is_some_and(|name| !name.is_null())
    );
    // Somebody else, whose record has another rule.
    rig.update(&record, group(both)).await.unwrap();
    assert_eq!(rig.drift(&record).await, Vec::<String>::new());
    let record = rig.update(&record, group(ours)).await.unwrap();
    let rules = |present: epid_provider::Present| match present.properties.get("ingress") {
        Some(Value::List(rules)) => rules.len(),
        _ => 0,
    };
    assert_eq!(rules(rig.look(&record).await.unwrap()), 2);
    let exclusive = group(&format!(r#"{ours},"exclusive":true"#));
    let asked = epid_provider::Record {
        applied: exclusive.clone(),
        ..record.clone()
    };
    assert_eq!(
        rig.drift(&asked).await,
        ["ingress[tcp/2/2/true]", "egress[-1/0.0.0.0/0]"]
    );
    let record = rig.update(&record, exclusive).await.unwrap();
    assert_eq!(rules(rig.look(&record).await.unwrap()), 1);
}

#[tokio::test(start_paused = true)]
async fn zones_come_in_a_lasting_order_without_those_that_eks_refuses() {
    let rig = Rig::sandbox().await;
    let look = |json: &str| Query::Inputs {
        urn: urn("aws:ec2:AvailabilityZones", "zones"),
        kind: kind("aws:ec2:AvailabilityZones"),
        inputs: resolved(&value(json)),
    };
    let all = rig.observe(look("{}")).await.unwrap().unwrap();
    let ids = all.outputs.get("zoneIds").cloned().unwrap().to_string();
    assert!(ids.contains("use1-az3"), "{ids}");
    let two = rig
        .observe(look(r#"{"forEks":true,"count":3}"#))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        two.outputs.get("zoneIds").cloned().unwrap().to_string(),
        r#"["use1-az1", "use1-az2", "use1-az4"]"#
    );
    let failure = rig.observe(look(r#"{"count":9}"#)).await.unwrap_err();
    assert_eq!(failure.code, "TooFewZones");
}

#[tokio::test(start_paused = true)]
async fn what_ec2_would_refuse_or_store_otherwise_is_told_before_anything_runs() {
    let rig = Rig::sandbox().await;
    for (name, json, said) in [
        (VPC, r#"{"cidrBlock":"10.0.0.0/8"}"#, "between /16 and /28"),
        (
            VPC,
            r#"{"cidrBlock":"10.0.0.0/16","tags":{"epid:urn":"x"}}"#,
            "reserved",
        ),
        (
            "aws:ec2:NatGateway",
            r#"{"subnetId":"s"}"#,
            "needs an `allocationId`",
        ),
        (
            "aws:ec2:RouteTable",
            r#"{"vpcId":"v","routes":[{"destinationCidrBlock":"0.0.0.0/0"}]}"#,
            "exactly one thing",
        ),
        (
            "aws:ec2:SecurityGroup",
            r#"{"vpcId":"v","ingress":[{"ipProtocol":"tcp","cidrIpv4":"0.0.0.0/0"}]}"#,
            "needs `fromPort`",
        ),
    ] {
        let problems = rig.problems(name, value(json));
        assert!(problems.iter().any(|p| p.contains(said)), "{name}: {problems:?}");
    }
    let later = Value::map([
        ("subnetId", Value::unknown("subnet.subnetId")),
        ("allocationId", Value::unknown("address.allocationId")),
    ]);
    assert_eq!(rig.problems("aws:ec2:NatGateway", later), Vec::<String>::new());
}

/// An update that fails after its first request: what it did is known to be half done, and undone by the next.
#[tokio::test(start_paused = true)]
async fn what_a_half_done_update_opened_is_closed_by_the_next() {
    let rig = Rig::faulty(script(&[("CreateTags", When::First(8), Fault::Throttle)])).await;
    let vpc = rig.made(VPC, "vpc", value(NETWORK)).await;
    let of = |json: &str| filled(json, &[("vpc", &vpc.id)]);
    let kind = "aws:ec2:SecurityGroup";
    let before = of(r#"{"vpcId":"$vpc"}"#);
    let tried = of(r#"{"vpcId":"$vpc","tags":{"Name":"open"},
            "ingress":[{"ipProtocol":"tcp","fromPort":22,"toPort":22,"cidrIpv4":"0.0.0.0/0"}]}"#);
    let record = rig.made(kind, "group", before.clone()).await;
    let failure = rig.update(&record, tried.clone()).await.unwrap_err();
    let Outcome::Partial(partial) = failure.outcome else {
        panic!("{failure:?}");
    };
    assert_eq!((&partial.id, partial.incomplete.len()), (&record.id, 1));
    let ingress = async || {
        rig.look(&record)
            .await
            .unwrap()
            .properties
            .get("ingress")
            .cloned()
    };
    assert_ne!(ingress().await, Some(value("[]")));
    let half = epid_provider::Record {
        incomplete: partial.incomplete,
        attempted: vec![tried],
        ..record.clone()
    };
    rig.update(&half, before).await.unwrap();
    assert_eq!(ingress().await, Some(value("[]")));
}

/// The first send was throttled for long, and the answer of the last one was lost: what it made shows a moment later.
#[tokio::test(start_paused = true)]
async fn a_lost_create_is_looked_for_from_when_its_loss_is_known() {
    let lag = Lag::default();
    let rig = Rig::lagging(script(&[]), lag.clone()).await;
    let cx = rig.call(&urn(VPC, "late"));
    let intent = rig.intent(&cx, VPC, &value(NETWORK));
    cx.sleep(Duration::from_secs(90)).await.unwrap();
    let made = rig
        .connection
        .create(&cx, &kind(VPC), &intent.inputs)
        .await
        .unwrap();
    lag.hide("DescribeVpcs", 2);
    match rig.connection.recover(&cx, &intent).await.unwrap() {
        Recovered::Done(found) => assert_eq!(found.id, made.id),
        other => panic!("{other:?}"),
    }
}

/// One read that lags is no proof: nothing is taken for gone by it.
#[tokio::test(start_paused = true)]
async fn what_one_read_does_not_see_is_not_gone() {
    let lag = Lag::default();
    let rig = Rig::lagging(script(&[]), lag.clone()).await;
    let ground = Ground::make(&rig).await;
    let address = rig.made("aws:ec2:Eip", "own", value("{}")).await;
    for (describe, name, json) in [
        ("DescribeVpcs", VPC, NETWORK.to_owned()),
        (
            "DescribeRouteTables",
            "aws:ec2:RouteTable",
            r#"{"vpcId":"$vpc","subnetIds":["$subnetB"]}"#.to_owned(),
        ),
        (
            "DescribeInternetGateways",
            "aws:ec2:InternetGateway",
            r#"{"vpcId":"$emptyVpc"}"#.to_owned(),
        ),
        (
            "DescribeNatGateways",
            "aws:ec2:NatGateway",
            format!(r#"{{"subnetId":"$subnetA","allocationId":"{}"}}"#, address.id),
        ),
    ] {
        let inputs = ground.fill(&json);
        let record = rig.made(name, "seen", inputs.clone()).await;
        lag.hide(describe, 2);
        assert!(rig.look(&record).await.is_some(), "{name}");
        for operation in [Operation::Update, Operation::Delete] {
            let cx = rig.call(&record.urn);
            let intent = Intent {
                operation,
                record: Some(record.clone()),
                ..rig.intent(&cx, name, &inputs)
            };
            lag.hide(describe, 2);
            let recovered = rig.connection.recover(&cx, &intent).await.unwrap();
            assert_ne!(recovered, Recovered::Deleted, "{name} {operation:?}");
        }
        lag.hide(describe, 2);
        rig.delete(&record).await.unwrap();
        assert_eq!(rig.look(&record).await, None, "{name}");
        rig.delete(&record).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_update_that_is_refused_when_repeated_is_half_done() {
    let rig = Rig::sandbox().await;
    let record = rig.made(VPC, "vpc", value(NETWORK)).await;
    let cx = rig.call(&record.urn);
    let refused = value(r#"{"cidrBlock":"10.0.0.0/16","tags":{"aws:x":"y"}}"#);
    let intent = Intent {
        operation: Operation::Update,
        record: Some(record.clone()),
        ..rig.intent(&cx, VPC, &refused)
    };
    let recovered = rig.connection.recover(&cx, &intent).await.unwrap();
    assert!(matches!(recovered, Recovered::Partial(_)), "{recovered:?}");
}

/// The answer of the create was lost; the one sent again is refused, and reads do not see the first yet.
#[tokio::test(start_paused = true)]
async fn a_group_that_reads_do_not_see_yet_is_still_ones_own() {
    let lag = Lag::default();
    let rig = Rig::lagging(script(&[]), lag.clone()).await;
    let vpc = rig.made(VPC, "vpc", value(NETWORK)).await;
    let inputs = filled(r#"{"vpcId":"$vpc","groupName":"web"}"#, &[("vpc", &vpc.id)]);
    let group = kind("aws:ec2:SecurityGroup");
    let cx = rig.call(&urn(group.as_str(), "web"));
    let first = rig
        .connection
        .create(&cx, &group, &resolved(&inputs))
        .await
        .unwrap();
    lag.hide("DescribeSecurityGroups", 3);
    let again = rig
        .connection
        .create(&cx, &group, &resolved(&inputs))
        .await
        .unwrap();
    assert_eq!(first.id, again.id);
    let failure = rig.create(group.as_str(), "other", inputs).await.unwrap_err();
    assert_eq!(failure.code, "AlreadyExists");
}
