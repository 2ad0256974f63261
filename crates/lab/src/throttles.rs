//! What other projects put around attempts: probabilistic refusal, retry budgets, token buckets.
//!
//! One file per algorithm, each naming the source and the version it was read in. As with `limiters.rs`, the formula
//! is apart from [`Throttle`](crate::arm::Throttle), so that `tests/vectors` can hold it against the real code.
//!
//! Left out: how long to wait between attempts, which is the common client's.

pub mod aws;
pub mod budget;
pub mod refusal;
pub mod sliding;

use crate::arm::ThrottleKind;

/// Every throttle that an arm can be made of.
pub const KINDS: &[ThrottleKind] = &[
    refusal::SRE,
    refusal::KRATOS_SRE,
    refusal::FAILSAFE,
    refusal::ENVOY,
    aws::STANDARD,
    aws::ADAPTIVE,
    budget::FINAGLE,
    budget::GRPC,
    budget::ENVOY,
];
