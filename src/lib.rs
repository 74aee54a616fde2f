//! Mainstay keeps real infrastructure equal to what is committed.
//!
//! The library holds everything but the command line's thin shell. Its modules
//! stand in layers; a module imports only from layers below its own, and
//! `tests/layers.rs` holds the table.

pub mod clock;
pub mod engine;
pub mod forge;
pub mod id;
pub mod plan;
pub mod redact;
pub mod workspace;
