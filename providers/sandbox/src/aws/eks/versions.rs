//! The Kubernetes versions that EKS offers, from its release calendar (the user guide's "Understand the
//! Kubernetes version lifecycle", as of 2026).

use super::page::page;
use super::{ApiError, Aws, Call, Reply};
use crate::Timestamp;
use serde_json::{Value, json};

/// Minor version, patch, release, end of standard support, end of extended support.
const CALENDAR: &[(&str, &str, &str, &str, &str)] = &[
    ("1.30", "1.30.14", "2024-05-23", "2025-07-23", "2026-07-23"),
    ("1.31", "1.31.13", "2024-09-26", "2025-11-26", "2026-11-26"),
    ("1.32", "1.32.9", "2025-01-23", "2026-03-23", "2027-03-23"),
    ("1.33", "1.33.5", "2025-05-29", "2026-07-29", "2027-07-29"),
    ("1.34", "1.34.2", "2025-10-02", "2026-12-02", "2027-12-02"),
    ("1.35", "1.35.0", "2026-01-27", "2027-03-27", "2028-03-27"),
];

/// What CreateCluster takes when no version is given.
pub(super) const DEFAULT: &str = "1.34";

/// Whether clusters of this minor version can be made or upgraded to at this moment.
pub(super) fn offered(now: Timestamp, version: &str) -> bool {
    CALENDAR
        .iter()
        .any(|entry| entry.0 == version && status(now, entry) != "UNSUPPORTED")
}

/// The number of a minor version: 34 for `1.34`.
pub(super) fn minor(version: &str) -> Option<u32> {
    version.strip_prefix("1.")?.parse().ok()
}

fn day(date: &str) -> Timestamp {
    Timestamp::parse(&format!("{date}T00:00:00Z")).unwrap_or_default()
}

fn status(now: Timestamp, entry: &(&str, &str, &str, &str, &str)) -> &'static str {
    if now < day(entry.3) {
        "STANDARD_SUPPORT"
    } else if now < day(entry.4) {
        "EXTENDED_SUPPORT"
    } else {
        "UNSUPPORTED"
    }
}

/// DescribeClusterVersions: newest first; unsupported ones only with `includeAll`.
pub(super) fn describe(_aws: &mut Aws, now: Timestamp, call: &Call) -> Result<Reply, ApiError> {
    let flag = |name: &str| call.query_value(name) == Some("true");
    let wanted = call.query_values("clusterVersions");
    let wanted_status = call.query_value("versionStatus").map(str::to_owned).or_else(|| {
        call.query_value("status")
            .map(|status| status.to_ascii_uppercase().replace('-', "_"))
    });
    let items: Vec<Value> = CALENDAR
        .iter()
        .rev()
        .filter(|entry| wanted.is_empty() || wanted.contains(&entry.0))
        .filter(|entry| !flag("defaultOnly") || entry.0 == DEFAULT)
        .filter(|entry| {
            let status = status(now, entry);
            match &wanted_status {
                Some(wanted) => wanted == status,
                None => status != "UNSUPPORTED" || flag("includeAll") || !wanted.is_empty(),
            }
        })
        .map(|entry| {
            let (version, patch, release, standard, extended) = entry;
            let status = status(now, entry);
            json!({
                "clusterVersion": version,
                "clusterType": "eks",
                "defaultPlatformVersion": "eks.1",
                "defaultVersion": *version == DEFAULT,
                "kubernetesPatchVersion": patch,
                "releaseDate": day(release).epoch_seconds(),
                "endOfStandardSupportDate": day(standard).epoch_seconds(),
                "endOfExtendedSupportDate": day(extended).epoch_seconds(),
                "status": status.to_ascii_lowercase().replace('_', "-"),
                "versionStatus": status,
            })
        })
        .collect();
    page(call, "clusterVersions", items, 100).map(Reply::Json)
}
