//! Git: mirrors of repositories, what changed in them, merges, and checkouts.
//!
//! A [`Mirror`] is a bare repository of our own for each remote one. Everything
//! that is read from it is data: no hook, filter, attribute or setting of the
//! remote repository has any effect here, and a [`Mirror::checkout`] never
//! writes outside the folder that it is given. A [`WorkTree`] is a folder as it
//! lies on the disk, uncommitted edits too.
//!
//! The transports are our own: plain paths are read by libgit2, `http` and
//! `https` go over `ureq` and `rustls`, `ssh` is the program of that name, with
//! the settings of whoever runs us. libgit2 would take transports of others
//! only through an unsafe call, and it knows neither the newer protocol, which
//! lists only the refs that are asked for, nor errors with a kind.
//!
//! All functions block.

mod address;
mod checkout;
mod error;
mod git_tree;
mod history;
mod http;
mod local;
mod mirror;
mod names;
mod notes;
mod peer;
mod protocol;
mod push;
mod refused;
mod ssh;
mod tidy;
mod walk;
mod wire;
mod work_tree;

pub use address::RemoteAddress;
pub use checkout::Links;
pub use error::{Login, Remedy, SourceError};
pub use git_tree::GitTree;
pub use history::{Ancestry, CommitInfo, Merge};
pub use mirror::{Fetched, Heads, Mirror};
pub use notes::Noted;
pub use peer::Network;
pub use tidy::Tidied;
pub use work_tree::{Base, WorkTree};

#[cfg(test)]
mod tests;
