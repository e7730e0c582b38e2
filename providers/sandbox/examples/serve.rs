//! Serves a sandbox on loopback: `cargo run -p epid-sandbox --example serve -- [AWS_PORT] [CLUSTER_PORT] [SCALE]`.
//!
//! Then, with any credentials, `aws --endpoint-url http://127.0.0.1:AWS_PORT ec2 describe-vpcs`.

use epid_sandbox::{Clock, MemoryStore, Sandbox, Settings, Timestamp, serve::serve};
use tokio::net::TcpListener;

#[expect(clippy::print_stdout, reason = "an example talks to its user")]
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut numbers = std::env::args().skip(1);
    let mut next = |default: &str| numbers.next().unwrap_or_else(|| default.to_owned());
    let (aws, clusters, scale) = (next("4566"), next("6443"), next("1").parse()?);
    let now = u64::try_from(jiff::Timestamp::now().as_millisecond())?;
    let clock = Clock::scaled(Timestamp::from_millis(now), scale);
    let sandbox = Sandbox::open(Box::new(MemoryStore::default()), clock, Settings::default())?;
    let aws = TcpListener::bind(format!("127.0.0.1:{aws}")).await?;
    let clusters = TcpListener::bind(format!("127.0.0.1:{clusters}")).await?;
    println!(
        "{} AWS http://{} clusters https://{}",
        sandbox.id(),
        aws.local_addr()?,
        clusters.local_addr()?
    );
    match serve(&sandbox, aws, clusters).await? {}
}
