//! Balancers of other projects: which endpoint gets the next call.
//!
//! One file per algorithm, each naming the source. All see the same: their own calls under way per endpoint, what
//! became of calls that ended, and (Prequal alone) the answers to the probes they asked for.
//!
//! Left out: health checks and ejection, which are not part of these algorithms.

pub mod c3;
pub mod least_request;
pub mod peak_ewma;
pub mod prequal;
pub mod round_robin;

use crate::arm::BalancerKind;

/// Every balancer that an arm can be made of.
pub const KINDS: &[BalancerKind] =
    &[round_robin::KIND, least_request::KIND, peak_ewma::KIND, peak_ewma::LINKERD, prequal::KIND, c3::KIND];
