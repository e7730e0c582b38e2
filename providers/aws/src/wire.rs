//! What the narrow clients of EC2 and S3 share: operations on the SDK's own runtime, signed, with the credentials,
//! transport and clock of a configuration; and how AWS spells hosts and text in URLs.

use aws_config::{BehaviorVersion, SdkConfig};
use aws_runtime::auth::sigv4::{SCHEME_ID, SigV4AuthScheme};
use aws_runtime::auth::{SigV4OperationSigningConfig, SigningOptions};
use aws_runtime::service_clock_skew::ServiceClockSkewInterceptor;
use aws_smithy_runtime::client::orchestrator::operation::{Operation, OperationBuilder};
use aws_smithy_runtime_api::client::auth::static_resolver::StaticAuthSchemeOptionResolver;
use aws_smithy_runtime_api::client::auth::{AuthSchemeOptionResolverParams, SharedAuthScheme};
use aws_smithy_runtime_api::client::identity::SharedIdentityResolver;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponentsBuilder;
use aws_smithy_runtime_api::client::runtime_plugin::StaticRuntimePlugin;
use aws_smithy_runtime_api::client::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_smithy_types::config_bag::Layer;
use aws_smithy_types::timeout::TimeoutConfig;
use aws_types::SigningName;
use aws_types::region::SigningRegion;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC};
use quick_xml::events::Event;

pub(crate) const USER_AGENT: &str = concat!("epid/", env!("CARGO_PKG_VERSION"));

/// What is escaped in forms and queries: all but the unreserved characters of RFC 3986, section 2.3.
pub(crate) const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// What the hosts of a region's services end with. China is a partition with a domain of its own,
/// <https://docs.aws.amazon.com/general/latest/gr/rande.html>.
pub(crate) fn domain(region: &str) -> String {
    let suffix = if region.starts_with("cn-") { ".cn" } else { "" };
    format!("{region}.amazonaws.com{suffix}")
}

/// The start of an operation of `service`, which is sent once per call.
pub(crate) fn operation(
    config: &SdkConfig,
    service: &'static str,
    endpoint: &str,
    signing: SigningOptions,
    timeouts: TimeoutConfig,
) -> OperationBuilder {
    let name = SigningName::from_static(service);
    let region = config.region().map(ToString::to_string).unwrap_or_default();
    let region = SigningRegion::from(aws_config::Region::new(region));
    let mut layer = Layer::new(service);
    layer.store_put(AuthSchemeOptionResolverParams::new(()));
    layer.store_put(name.clone());
    layer.store_put(region.clone());
    layer.store_put(SigV4OperationSigningConfig {
        region: Some(region),
        name: Some(name),
        signing_options: signing,
        ..SigV4OperationSigningConfig::default()
    });
    let mut components = RuntimeComponentsBuilder::new(service)
        .with_auth_scheme(SharedAuthScheme::new(SigV4AuthScheme::new()))
        .with_auth_scheme_option_resolver(Some(StaticAuthSchemeOptionResolver::new(vec![SCHEME_ID])))
        .with_identity_cache(config.identity_cache());
    if let Some(credentials) = config.credentials_provider() {
        components.set_identity_resolver(SCHEME_ID, SharedIdentityResolver::new(credentials));
    }
    let mut operation = Operation::builder()
        .service_name(service)
        .operation_name(service)
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(endpoint)
        .timeout_config(timeouts)
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        // From each answer it learns how far this machine's clock is off; the next request is signed with the service's.
        .interceptor(ServiceClockSkewInterceptor::new())
        .no_retry();
    if let Some(http) = config.http_client() {
        operation = operation.http_client(http);
    }
    if let Some(sleep) = config.sleep_impl() {
        operation = operation.sleep_impl(sleep);
    }
    if let Some(time) = config.time_source() {
        operation = operation.time_source(time);
    }
    let plugin = StaticRuntimePlugin::new()
        .with_config(layer.freeze())
        .with_runtime_components(components);
    operation.runtime_plugin(plugin)
}

/// The name of a document's outermost element.
pub(crate) fn root(text: &str) -> Option<String> {
    let mut reader = quick_xml::Reader::from_str(text);
    loop {
        match reader.read_event().ok()? {
            Event::Start(element) | Event::Empty(element) => {
                return Some(element.local_name().as_ref().to_owned());
            }
            Event::Eof => return None,
            _ => {}
        }
    }
}
