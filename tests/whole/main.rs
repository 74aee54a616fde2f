//! The whole program from outside: the real daemon and commands as child processes, the real
//! Terraform and git, and the model of GitHub.
//!
//! All of it is one test crate: it is linked once, and a test that waits leaves its turn to another.

mod applies;
mod at_rest;
mod check;
#[path = "../checkout/mod.rs"]
mod checkout;
mod cli;
mod commands;
mod credentials;
mod demo;
mod documents;
mod drift;
mod dry_run;
mod forge_faults;
#[expect(dead_code, reason = "each test crate uses a part of it")]
#[path = "../github/mod.rs"]
mod github;
mod github_app;
mod holds;
#[path = "../http_backend/mod.rs"]
mod http_backend;
mod listener;
#[path = "../localfs/mod.rs"]
mod localfs;
mod memory;
mod network;
mod notes;
mod overrides;
mod plain_remotes;
mod policies;
mod polls;
mod provider;
mod pull_requests;
mod recovery;
mod restarts;
#[expect(dead_code, reason = "each test crate uses a part of it")]
#[path = "../scenario/mod.rs"]
mod scenario;
#[path = "../screening/mod.rs"]
mod screening;
mod telling;
mod trust;
