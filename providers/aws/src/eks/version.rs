//! Versions of Kubernetes as EKS counts them: `1.MINOR`, one minor at a time.

/// The number of a minor version: 34 for `1.34`.
pub(super) fn minor(version: &str) -> Option<u32> {
    let minor = version.strip_prefix("1.")?;
    minor.parse().ok().filter(|n: &u32| n.to_string() == minor)
}

/// The versions to pass through from `current` to `wanted`: each update goes up one minor (EKS user guide, "Update
/// existing cluster to new Kubernetes version").
///
/// # Errors
/// A sentence where there is no way.
pub(super) fn steps(current: &str, wanted: &str) -> Result<Vec<String>, String> {
    if current == wanted {
        return Ok(Vec::new());
    }
    let (Some(from), Some(to)) = (minor(current), minor(wanted)) else {
        return Err(format!(
            "cannot go from Kubernetes {current} to {wanted}: a version is such as 1.34"
        ));
    };
    if to < from {
        return Err(format!(
            "the cluster runs Kubernetes {current}, and EKS does not go back to {wanted}"
        ));
    }
    Ok((from + 1..=to).map(|minor| format!("1.{minor}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_minor_is_passed_through() {
        assert_eq!(
            steps("1.33", "1.35"),
            Ok(vec!["1.34".to_owned(), "1.35".to_owned()])
        );
        assert_eq!(steps("1.35", "1.35"), Ok(Vec::new()));
        assert!(steps("1.35", "1.34").is_err());
        assert!(steps("1.35", "latest").is_err());
    }

    #[test]
    fn a_patch_is_no_version() {
        assert_eq!(
            (minor("1.34"), minor("1.34.1"), minor("1.034"), minor("34")),
            (Some(34), None, None, None)
        );
    }
}
