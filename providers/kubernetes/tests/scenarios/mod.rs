//! What the provider promises, as stories against a cluster: a real control plane or a simulated one.

mod kinds;
mod lab;
mod ownership;
mod readiness;
mod recovery;

pub(crate) use kinds::{
    custom_resources_follow_their_definition, every_kind_conforms, immutable_fields_are_replaced,
};
pub(crate) use lab::{Lab, Stranger, value};
pub(crate) use ownership::{
    autoscaled_replicas_are_left_alone, conflicts_are_told_and_settled_by_choice,
    what_exists_is_adopted_or_left_alone,
};
pub(crate) use readiness::{
    a_namespace_goes_with_all_that_is_in_it, failing_pods_are_explained, finalizers_hold_a_deletion,
    workloads_are_waited_for,
};
pub(crate) use recovery::{lost_answers_are_recovered, many_are_observed_at_once};
