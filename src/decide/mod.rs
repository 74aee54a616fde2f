//! Decisions, pure: facts and the time in, what to do out. No disk, network or clock.

mod command;
mod facts;
mod gate;
mod overriding;
mod reviewed;
mod schedule;

pub use command::{
    Asked, Effect, HELP, Refusal, Request, Subject, Verb, effects, read, subject_of,
};
pub use facts::{
    AppliedAt, Consideration, Contained, Facts, Found, MergedFacts, ModuleChange, Presence,
    ProposalFacts, RunFacts, Settled, Standing, Stopping, Touched, Trust, View, ViewedWorkspace,
    WorkspaceFacts,
};
pub use gate::{Approvals, Next, Ruling, after_plan};
pub use overriding::{Judged, Overriding};
pub use reviewed::Review;
pub use schedule::{Action, Turns, drift_order, due, merged_since, next_drift, next_to_start};
