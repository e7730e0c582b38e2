//! EC2's kinds against moto, over HTTP: another reading of the same service.
//!
//! `EPID_MOTO_ENDPOINT=$(tests/moto/up.sh) cargo test -p epid-aws --test ec2 -- --ignored`.
//!
//! What moto 5.2 does otherwise than EC2, and so does not test.
//!
//! | moto | EC2 |
//! |---|---|
//! | networks, subnets and NAT gateways are ready and gone at once | they take seconds to minutes |
//! | the client token of a NAT gateway or route table is not honoured | one token makes one |
//! | an address can be released while a NAT gateway has it | `InvalidIPAddress.InUse` |
//! | a gateway can be detached while addresses are mapped | `DependencyViolation` |
//! | DescribeNatGateways ignores filters by tag | it lists only those that match |
//! | `DryRun` really creates | `DryRunOperation` |

use crate::network::Ground;
use crate::rig::Rig;

#[tokio::test]
#[ignore = "needs a moto server, whose URL stands in EPID_MOTO_ENDPOINT"]
async fn every_kind_conforms() {
    #[expect(clippy::disallowed_methods, reason = "the one setting of this test")]
    let endpoint = std::env::var("EPID_MOTO_ENDPOINT").expect("EPID_MOTO_ENDPOINT holds moto's URL");
    let rig = Rig::emulator(&endpoint).await;
    let ground = Ground::make(&rig).await;
    let problems = ground.problems(&rig, &ground.cases()).await;
    assert!(problems.is_empty(), "{problems:#?}");
}
