//! The engine against the real Terraform, and against scripts in its place
//! where something has to go wrong that Terraform does not do on demand.

mod applying;
mod bench;
mod checking;
mod escaping;
mod limits;
mod memory;
mod network;
mod planning;
mod stopping;

#[path = "../localfs/mod.rs"]
mod localfs;
