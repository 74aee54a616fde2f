//! Against the real git: repositories that it makes, and servers that it is.

mod checkouts;
mod fetches;
mod hygiene;
mod merges;
mod notes;
mod rig;
mod transports;
mod work_trees;
