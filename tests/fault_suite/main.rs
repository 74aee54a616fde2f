//! Proof from outside that nothing is lost and nothing is done twice, whatever is killed and
//! whatever goes wrong between the daemon and GitHub.
//!
//! The real daemon, the real Terraform behind a shim that logs it, the real git, and the model
//! of GitHub with its log of what truly happened. A run prints its seed and what it covered:
//! `MAINSTAY_FAULT_KILLS=5000 cargo test --locked --test fault_suite -- --nocapture`.

mod checker;
mod covered;
mod forge;
mod frozen;
#[expect(dead_code, reason = "each test crate uses a part of the model")]
#[path = "../github/mod.rs"]
mod github;
mod instants;
#[path = "../localfs/mod.rs"]
mod localfs;
mod record;
#[expect(dead_code, reason = "each test crate uses a part of the harness")]
#[path = "../scenario/mod.rs"]
mod scenario;
mod seeds;
mod shim;
mod stage;
mod steps;
mod twice;
