//! Mainstay keeps real infrastructure equal to what is committed.
//!
//! The library holds everything but the command line's thin shell. Its modules
//! stand in layers; a module imports only from layers below its own, and
//! `tests/layers.rs` holds the table.

pub mod audit;
pub mod cli;
pub mod clock;
pub mod config;
pub mod decide;
pub mod demo;
pub mod dry_run;
pub mod engine;
pub mod fault;
pub mod fleet;
pub mod forge;
pub mod id;
pub mod machine;
pub mod modules;
pub mod network;
pub mod plan;
pub mod policy;
pub mod provider;
pub mod proxy;
pub mod reading;
pub mod redact;
pub mod report;
pub mod run;
pub mod sandbox;
pub mod seal;
pub mod serve;
pub mod source;
pub mod store;
pub mod tell;
pub mod trust;
pub mod watch;
pub mod web;
pub mod worker;
pub mod workspace;
