//! What policies say of a plan.

mod verdict;

pub use verdict::{Effect, Finding, Judgement, Override, Verdict};
