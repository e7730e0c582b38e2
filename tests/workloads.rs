//! The program from outside, on Kubernetes: the same stories on a real control plane and in the sandbox.
//!
//! The real one is named by `EPID_KUBECONFIG`:
//!
//! ```text
//! EPID_KUBECONFIG=$(tests/kube-lab/up.sh) cargo test --test workloads -- --ignored
//! ```

#![cfg(feature = "sandbox")]
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "what fails in a story fails the test; programs are files and processes"
)]

#[path = "workloads/lab.rs"]
mod lab;
#[path = "workloads/stories.rs"]
mod stories;

macro_rules! story {
    ($name:ident) => {
        mod $name {
            #[test]
            fn in_the_sandbox() {
                super::stories::$name(&super::lab::Lab::sandbox());
            }

            #[test]
            #[ignore = "needs a control plane: EPID_KUBECONFIG"]
            fn on_a_control_plane() {
                super::stories::$name(&super::lab::Lab::control_plane());
            }
        }
    };
}

story!(a_web_service_from_first_to_last_run);
story!(an_ingress_that_nobody_serves_is_explained);
story!(namespace_definition_object_and_job_in_one_run);
story!(what_others_hold_is_a_conflict);
story!(what_exists_is_adopted_only_where_asked);
story!(an_image_that_does_not_exist_is_explained);
