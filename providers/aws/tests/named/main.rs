//! Kinds of IAM, STS and EKS against the sandbox in the process, on tokio's paused clock; and, where asked for, against
//! moto over HTTP.

mod eks;
mod iam;
mod lab;
mod moto;
