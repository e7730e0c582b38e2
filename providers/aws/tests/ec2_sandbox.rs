//! EC2's kinds against the simulated service, in the process and in virtual time.

#[path = "support/network.rs"]
mod network;
mod support;

use network::Ground;
use support::Rig;

#[tokio::test(start_paused = true)]
async fn every_kind_conforms() {
    let rig = Rig::sandbox().await;
    let ground = Ground::make(&rig).await;
    let problems = ground.problems(&rig, &ground.cases()).await;
    assert_eq!(problems, Vec::<String>::new());
}
