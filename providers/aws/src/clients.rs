//! The service clients of one connection.

use std::collections::BTreeMap;

use aws_config::SdkConfig;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::BeforeDeserializationInterceptorContextRef;
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;
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
        let sts = aws_sdk_sts::config::Builder::from(config).interceptor(OfService);
        let sts = aws_sdk_sts::Client::from_conf(sts.build());
        let iam = aws_sdk_iam::config::Builder::from(config).interceptor(OfService);
        let eks = aws_sdk_eks::config::Builder::from(config).interceptor(OfService);
        let caller = sts
            .get_caller_identity()
            .customize()
            // Nothing is begun yet, and whoever connects tries again by itself.
            .config_override(aws_sdk_sts::config::Builder::new().retry_config(settings::asked_first()))
            .send()
            .await
            .map_err(|error| failure::of_sdk(error, "sts:GetCallerIdentity"))?;
        let lacks = |member| failure::without("sts:GetCallerIdentity", member);
        let arn = caller.arn().ok_or_else(|| lacks("Arn"))?;
        let account = caller.account().ok_or_else(|| lacks("Account"))?;
        Ok(Self {
            account: account.to_owned(),
            region: config.region().map(ToString::to_string).unwrap_or_default(),
            partition: arn.split(':').nth(1).unwrap_or("aws").to_owned(),
            default_tags,
            ec2: ec2::Client::new(config),
            iam: aws_sdk_iam::Client::from_conf(iam.build()),
            sts,
            eks: aws_sdk_eks::Client::from_conf(eks.build()),
        })
    }
}

/// Refuses what says that it was done and is not the service's, which gives every answer an id. Of what most changes
/// answer, and of JSON without the members it looks for, the SDK takes anything.
#[derive(Debug)]
struct OfService;

#[dyn_dispatch_hint]
impl Intercept for OfService {
    fn name(&self) -> &'static str {
        "OfService"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let answer = context.response();
        if answer.status().is_success() && answer.headers().get("x-amzn-requestid").is_none() {
            return Err("the answer has no request id of AWS".into());
        }
        Ok(())
    }
}
