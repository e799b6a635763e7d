//! The words of a report that several formats share.

pub(super) mod brief;
pub(super) mod claims;
pub(super) mod head;
pub(super) mod notes;
pub(in crate::report) mod reasons;
pub(super) mod throughput;
pub(super) mod work;
