//! The service clients of one connection.

use std::collections::BTreeMap;

use aws_config::SdkConfig;
use epid_provider::Failure;

use crate::ec2;
use crate::failure;
use crate::settings;

/// The service clients of one region of one account.
#[derive(Debug, Clone)]
pub(crate) struct Clients {
    /// Twelve digits.
    pub(crate) account: String,
    /// E.g. `us-east-1`.
    pub(crate) region: String,
    /// E.g. `aws`, `aws-cn`: the second part of ARNs.
    pub(crate) partition: String,
    /// Tags that every resource of this connection gets beneath its own.
    pub(crate) default_tags: BTreeMap<String, String>,
    /// EC2, the narrow client of this crate.
    pub(crate) ec2: ec2::Client,
    /// IAM, repeating calls: for reads and for changes that have the same effect twice.
    pub(crate) iam: aws_sdk_iam::Client,
    /// STS.
    pub(crate) sts: aws_sdk_sts::Client,
    /// EKS, repeating calls: its creates carry client tokens.
    pub(crate) eks: aws_sdk_eks::Client,
}

impl Clients {
    /// The clients of a loaded configuration, after asking STS whose credentials they are.
    pub(crate) async fn connect(
        config: &SdkConfig,
        default_tags: BTreeMap<String, String>,
    ) -> Result<Self, Failure> {
        let sts = aws_sdk_sts::Client::new(config);
        let caller = sts
            .get_caller_identity()
            .customize()
            // Nothing is begun yet, and whoever connects tries again by itself.
            .config_override(aws_sdk_sts::config::Builder::new().retry_config(settings::asked_first()))
            .send()
            .await
            .map_err(|error| failure::of_sdk(error, "sts:GetCallerIdentity"))?;
        let arn = caller.arn().unwrap_or_default();
        Ok(Self {
            account: caller.account().unwrap_or_default().to_owned(),
            region: config.region().map(ToString::to_string).unwrap_or_default(),
            partition: arn.split(':').nth(1).unwrap_or("aws").to_owned(),
            default_tags,
            ec2: ec2::Client::new(config),
            iam: aws_sdk_iam::Client::new(config),
            sts,
            eks: aws_sdk_eks::Client::new(config),
        })
    }
}
