//! Decisions, pure: facts and the time in, what to do out. No disk, network or clock.

mod facts;

pub use facts::{
    AppliedAt, Consideration, Contained, Facts, ModuleChange, Presence, ProposalFacts, RunFacts,
    Settled, Standing, Touched, Trust, View, ViewedWorkspace, WorkspaceFacts,
};
