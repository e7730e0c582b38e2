//! Runs of epid that die anywhere, and what becomes of them.
//!
//! What survives a process is its disk and the cloud. Both are kept in memory here, so that a run can be recorded at every
//! moment at which one of them changed: between any two of those a process that dies leaves the same behind. From each
//! moment a plain run follows, and then everything has to be as if nothing had happened.
//!
//! | module | what it knows |
//! |---|---|
//! | [`cloud`] | the clouds: the sandbox and the fake one, and what is left of them |
//! | [`machine`] | one process on a disk and a cloud: what `epid up` and `epid destroy` do, from recovery to the last write |
//! | [`moments`] | recording what a run leaves behind, moment by moment |
//! | [`deaths`] | letting a run die at any of them, and the next one go on |
//! | [`trouble`] | what goes wrong during a run: at the services, and on the disk |
//! | [`programs`] | random programs for the sandbox, and edits of them |
//! | [`fakes`] | random programs for the fake cloud, and edits of them |
//! | [`trial`] | one random run, with faults and deaths |
//! | [`inventory`] | what exists in a cloud, without what differs from run to run |

pub mod cloud;
pub mod deaths;
pub mod fakes;
pub mod inventory;
pub mod machine;
pub mod moments;
pub mod programs;
pub mod trial;
pub mod trouble;
