//! `mainstay demo`: the whole job on a throw-away repository, no account needed.

pub mod example;
