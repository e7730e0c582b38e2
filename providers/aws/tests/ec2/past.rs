//! Things that change while EC2 knows only the past: what it shows, and what it knows of when it is asked for something.

use std::time::Duration;

use epid_provider::{Record, Value};
use epid_sandbox::faults::{Fault, When};

use crate::network::Ground;
use crate::rig::{Lag, Rig, filled, value};
use crate::sandbox::script;

const TABLE: &str = "aws:ec2:RouteTable";
const VPC: &str = "aws:ec2:Vpc";
/// How far back EC2 looks.
const LAG: Fault = Fault::Stale(5_000);

/// A network whose EC2 answers from the past where `faults` say so.
async fn lagging(faults: &[(&str, When, Fault)]) -> (Rig, Ground) {
    let rig = Rig::faulty(script(faults)).await;
    let ground = Ground::make(&rig).await;
    (rig, ground)
}

/// What is there once EC2 has forgotten nothing and learned everything.
async fn there(rig: &Rig, record: &Record) -> [Option<Value>; 2] {
    let cx = rig.call(&record.urn);
    cx.sleep(Duration::from_secs(30)).await.unwrap();
    let properties = rig.look(record).await.unwrap().properties;
    ["routes", "subnetIds"].map(|name| properties.get(name).cloned())
}

#[tokio::test(start_paused = true)]
async fn a_table_becomes_what_is_wanted_whatever_reads_show() {
    let reads = [
        ("DescribeRouteTables", When::From(1)),
        ("DescribeRouteTables", When::Every(2)),
        ("DescribeRouteTables", When::Permille(500)),
    ];
    let both = [
        ("D*Route*", When::Permille(600)),
        ("*AssociateRouteTable", When::Permille(600)),
        ("ReplaceRoute*", When::Permille(600)),
    ];
    let scripts = reads.iter().map(|read| vec![*read]).chain([both.to_vec()]);
    for lines in scripts {
        let faults: Vec<_> = lines.iter().map(|(what, when)| (*what, *when, LAG)).collect();
        let (rig, ground) = lagging(&faults).await;
        let route = |to: &str, by: &str| format!(r#"{{"destinationCidrBlock":"{to}",{by}}}"#);
        let (gateway, nat) = (r#""gatewayId":"$gateway""#, r#""natGatewayId":"$nat""#);
        let table = |subnets: &str, routes: &[String]| {
            let routes = routes.join(",");
            ground.fill(&format!(
                r#"{{"vpcId":"$vpc","subnetIds":[{subnets}],"routes":[{routes}]}}"#
            ))
        };
        let everywhere = "0.0.0.0/0";
        let states = [
            table(
                r#""$subnetB""#,
                &[route("8.8.8.0/24", nat), route(everywhere, gateway)],
            ),
            table("", &[route(everywhere, nat)]),
            table(r#""$subnetB""#, &[route(everywhere, gateway)]),
            table("", &[]),
            table(r#""$subnetB""#, &[route("8.8.8.0/24", gateway)]),
        ];
        let mut record = rig.made(TABLE, "table", states[0].clone()).await;
        for state in states.iter().skip(1) {
            let failed = format!("{lines:?}: {state}");
            record = rig.update(&record, state.clone()).await.expect(&failed);
        }
        let last = states.last().unwrap();
        let wanted = ["routes", "subnetIds"].map(|name| last.get(name).cloned());
        assert_eq!(there(&rig, &record).await, wanted, "{lines:?}");
        rig.delete(&record).await.unwrap();
    }
}

/// Its last association is not shown yet, and without its end the table cannot go.
#[tokio::test(start_paused = true)]
async fn a_table_goes_whatever_reads_show() {
    let (rig, ground) = lagging(&[("DescribeRouteTables", When::From(1), LAG)]).await;
    let without = ground.fill(r#"{"vpcId":"$vpc"}"#);
    let with = ground.fill(r#"{"vpcId":"$vpc","subnetIds":["$subnetB"]}"#);
    let record = rig.made(TABLE, "table", without).await;
    // As a run that died right after its last request leaves it.
    let record = Record {
        incomplete: vec!["finish the update".to_owned()],
        attempted: vec![with.clone()],
        ..record
    };
    let updated = rig.update(&record, with).await.unwrap();
    rig.delete(&updated).await.unwrap();
    assert_eq!(rig.look(&record).await, None);
}

/// A subnet that went from here to another table and comes back: reads show it here, from before.
#[tokio::test(start_paused = true)]
async fn a_subnet_comes_back_though_reads_have_never_seen_it_leave() {
    let (rig, ground) = lagging(&[("DescribeRouteTables", When::From(1), Fault::Stale(8_000))]).await;
    let with = ground.fill(r#"{"vpcId":"$vpc","subnetIds":["$subnetB"]}"#);
    let without = ground.fill(r#"{"vpcId":"$vpc"}"#);
    let first = rig.made(TABLE, "first", with.clone()).await;
    let second = rig.made(TABLE, "second", without.clone()).await;
    let cx = rig.call(&first.urn);
    cx.sleep(Duration::from_secs(30)).await.unwrap();
    let taken = rig.update(&second, with.clone());
    let dropped = rig.update(&first, without.clone());
    let (taken, dropped) = futures::future::join(taken, dropped).await;
    let (second, first) = (taken.unwrap(), dropped.unwrap());
    let back = rig.update(&first, with.clone()).await.unwrap();
    let [_, subnets] = there(&rig, &back).await;
    assert_eq!(subnets.as_ref(), with.get("subnetIds"));
    let [_, subnets] = there(&rig, &second).await;
    assert_eq!(subnets, Some(Value::list(Vec::<Value>::new())));
}

/// A read does not show yet what was made a moment ago, by a run that died then.
#[tokio::test(start_paused = true)]
async fn rules_that_a_read_does_not_show_yet_are_taken_away() {
    let lag = Lag::default();
    let rig = Rig::lagging(script(&[]), lag.clone()).await;
    let vpc = rig
        .made(VPC, "vpc", value(r#"{"cidrBlock":"10.0.0.0/16"}"#))
        .await;
    let group = |rules: &str| {
        let json = format!(r#"{{"vpcId":"$vpc","egress":[],"ingress":[{rules}]}}"#);
        filled(&json, &[("vpc", &vpc.id)])
    };
    let one = r#"{"ipProtocol":"tcp","fromPort":1,"toPort":1,"self":true}"#;
    let both = format!(r#"{one},{{"ipProtocol":"tcp","fromPort":2,"toPort":2,"self":true}}"#);
    // Its own first rule, which lets everything out, is not shown either.
    lag.hide("DescribeSecurityGroupRules", 1);
    let record = rig.made("aws:ec2:SecurityGroup", "group", group(&both)).await;
    assert_eq!(rig.drift(&record).await, Vec::<String>::new());
    for reads in [1, 3] {
        let record = rig.update(&record, group(&both)).await.unwrap();
        lag.hide("DescribeSecurityGroupRules", reads);
        let record = rig.update(&record, group(one)).await.unwrap();
        assert_eq!(rig.drift(&record).await, Vec::<String>::new(), "{reads}");
    }
}

/// Reads are of the past: a tag that was set a moment ago is not in them.
#[tokio::test(start_paused = true)]
async fn tags_that_reads_do_not_show_yet_are_taken_away() {
    let rig = Rig::faulty(script(&[("DescribeVpcs", When::From(1), Fault::Stale(5_000))])).await;
    let tagged = |tags: &str| value(&format!(r#"{{"cidrBlock":"10.0.0.0/16","tags":{tags}}}"#));
    let record = rig.made(VPC, "vpc", tagged(r#"{"a":"1"}"#)).await;
    let cx = rig.call(&record.urn);
    cx.sleep(Duration::from_secs(30)).await.unwrap();
    let record = rig.update(&record, tagged(r#"{"a":"2","b":"1"}"#)).await.unwrap();
    let record = rig.update(&record, tagged(r#"{"a":"1"}"#)).await.unwrap();
    cx.sleep(Duration::from_secs(30)).await.unwrap();
    let there = rig.look(&record).await.unwrap().properties;
    let tags = there
        .get("tags")
        .and_then(Value::as_map)
        .cloned()
        .unwrap_or_default();
    let of = |key: &str| tags.get(key).and_then(Value::as_str);
    assert_eq!((of("a"), of("b")), (Some("1"), None));
}
