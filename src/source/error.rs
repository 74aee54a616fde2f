//! What can go wrong with git, each with what to do about it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::config::Size;
use crate::id::{BranchName, CommitSha};

/// The cause of an error.
pub(super) type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Something with git went wrong. URLs in it hold no credentials.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The URL cannot be used.
    #[error("`{url}` cannot be used as the address of a git repository: {reason}")]
    Address {
        /// The URL, without credentials.
        url: String,
        /// Why not.
        reason: &'static str,
    },
    /// The remote did not answer.
    #[error(
        "cannot reach {url} to {tried}; check the address, the network, and any proxy in between"
    )]
    Unreachable {
        /// The remote's URL.
        url: String,
        /// What was tried.
        tried: String,
        /// Why it failed.
        #[source]
        source: Cause,
    },
    /// The remote wants credentials, or other ones.
    #[error("{url} refused {login}; check that it is right and may read the repository")]
    AuthRefused {
        /// The remote's URL.
        url: String,
        /// What it refused.
        login: Login,
    },
    /// The remote takes nothing from us.
    #[error(
        "{url} takes no commits from {login}; give it the right to write contents, or leave `record` out of the declaration"
    )]
    MayNotPush {
        /// The remote's URL.
        url: String,
        /// What it refused.
        login: Login,
    },
    /// Others changed a ref again and again while we did.
    #[error(
        "somebody else changes {name} of {url} all the time; the next try may have more luck: {said}"
    )]
    Outrun {
        /// The remote's URL.
        url: String,
        /// The ref.
        name: String,
        /// What the remote said last.
        said: String,
    },
    /// The remote has no such repository, or does not admit to it.
    #[error("there is no repository at {url}, or {login} may not see it; check both")]
    NoSuchRepository {
        /// The remote's URL.
        url: String,
        /// As whom it was asked.
        login: Login,
    },
    /// The branch that is kept true is not there.
    #[error("{url} has no branch `{branch}`; push it, or correct `branch` in the declaration")]
    NoSuchBranch {
        /// The remote's URL.
        url: String,
        /// The branch.
        branch: BranchName,
    },
    /// The connection ended half way.
    #[error(
        "the connection to {url} broke off while it was asked to {tried}; \
         nothing was changed, and it is safe to repeat"
    )]
    Interrupted {
        /// The remote's URL.
        url: String,
        /// What it was doing.
        tried: String,
        /// How it ended.
        #[source]
        source: Cause,
    },
    /// The remote said no in its own words.
    #[error("{url} refused to {tried}: {message}")]
    Refused {
        /// The remote's URL.
        url: String,
        /// What was asked.
        tried: String,
        /// What it said, on one line.
        message: String,
    },
    /// What answers is no git server, or one that we cannot talk to.
    #[error("what answers at {url} is no git server that can be used: {what}; check the address")]
    Protocol {
        /// The remote's URL.
        url: String,
        /// What was unexpected.
        what: String,
    },
    /// What the remote sent does not fit into the mirror.
    #[error(
        "what {url} sent could not be stored: the disk is full, or the mirror is damaged, \
         in which case removing it has it fetched anew"
    )]
    Store {
        /// The remote's URL.
        url: String,
        /// Why not.
        #[source]
        source: git2::Error,
    },
    /// Objects of a repository are missing or damaged.
    #[error(
        "the repository in {} is damaged ({what}); if it is a mirror, remove it, \
         and it is fetched anew", path.display()
    )]
    Corrupt {
        /// The repository's folder.
        path: PathBuf,
        /// What was being done.
        what: String,
        /// What was found.
        #[source]
        source: git2::Error,
    },
    /// The repository belongs to somebody else.
    #[error(
        "the repository in {} belongs to another user and is not trusted; run as its owner, or \
         allow it with `git config --global --add safe.directory {}`", path.display(), path.display()
    )]
    NotOurs {
        /// The repository's folder.
        path: PathBuf,
    },
    /// A commit is not there.
    #[error("commit {commit} is not in the repository in {}; fetch it first", path.display())]
    NoSuchCommit {
        /// The repository's folder.
        path: PathBuf,
        /// The commit.
        commit: CommitSha,
    },
    /// Two commits have no common ancestor.
    #[error(
        "{head} and {base} have no commit in common, so that they cannot be merged; \
         rebase the proposal onto its base"
    )]
    Unrelated {
        /// The commit merged into.
        base: CommitSha,
        /// The commit to merge.
        head: CommitSha,
    },
    /// A file cannot be checked out safely.
    #[error("`{path}` cannot be checked out: {reason}")]
    Hostile {
        /// The path in the tree.
        path: String,
        /// Why not.
        reason: &'static str,
    },
    /// A symbolic link leads out of the tree.
    #[error(
        "the symbolic link `{path}` cannot be checked out: it leads to `{target}`, \
         outside of the repository; put the file itself into the repository"
    )]
    EscapingLink {
        /// The link's path in the tree.
        path: String,
        /// Where it leads.
        target: String,
    },
    /// A tree or checkout is larger than is sensible.
    #[error("the tree {tree} has more than {limit}; make it smaller{}", raise(key))]
    TooLarge {
        /// The tree.
        tree: String,
        /// The limit, with its unit.
        limit: String,
        /// The key in `[limits]` that raises it, where one does.
        key: Option<&'static str>,
    },
    /// A file is larger than is allowed.
    #[error(
        "`{path}` is larger than {limit}; take it out of the commit, or raise `file` in `[limits]`"
    )]
    FileTooLarge {
        /// The path in the tree.
        path: String,
        /// The limit.
        limit: Size,
    },
    /// A remote sends more than is allowed; nothing of it was kept.
    #[error(
        "{url} sent more than {limit} for {wanted}; nothing of it was kept. Raise `pack` in `[limits]` where it is meant to be so large"
    )]
    PackTooLarge {
        /// The remote's URL.
        url: String,
        /// The limit.
        limit: Size,
        /// What was asked for.
        wanted: String,
    },
    /// The folder is in no git repository.
    #[error("{} is in no git repository; run `git init` there, or name a folder that is", path.display())]
    NotARepository {
        /// The folder.
        path: PathBuf,
    },
    /// The repository has no commit yet, or none to compare with.
    #[error("the repository in {} has no commit to compare with; commit something first", path.display())]
    NoCommits {
        /// The repository's folder.
        path: PathBuf,
    },
    /// No commit has that name.
    #[error("`{revision}` names no commit in the repository in {}{}", path.display(), nearest(near))]
    UnknownRevision {
        /// The repository's folder.
        path: PathBuf,
        /// What was asked for.
        revision: String,
        /// Branches with a similar name, the nearest first.
        near: Vec<String>,
    },
    /// The disk said no.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With which file or folder.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// libgit2 failed in a way that has no name here.
    #[error("cannot {action} in the repository in {}", path.display())]
    Git {
        /// What was tried.
        action: String,
        /// The repository's folder.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: git2::Error,
    },
}

/// As whom a remote was asked; never with the password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Login {
    /// Without credentials.
    Nobody,
    /// With the configured credentials of this user.
    User(String),
    /// With the keys that `ssh` found.
    Ssh,
    /// As the user of this machine that we run as.
    Here,
}

impl fmt::Display for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nobody => f.write_str("a request without credentials"),
            Self::User(user) => write!(f, "the login of `{user}`"),
            Self::Ssh => f.write_str("the ssh key"),
            Self::Here => f.write_str("the user that this runs as"),
        }
    }
}

/// What to do about a [`SourceError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// It may work the next time.
    Retry,
    /// It stays until somebody changes a setting, a right or the repository.
    AskHuman,
    /// What a commit holds is at fault, and nothing else: only another commit mends it.
    ChangeCommit,
    /// [`super::Mirror::renew`] the mirror, then fetch.
    Renew,
}

impl SourceError {
    /// What to do about it.
    pub fn remedy(&self) -> Remedy {
        match self {
            Self::Unreachable { .. }
            | Self::Interrupted { .. }
            | Self::Refused { .. }
            | Self::Io { .. }
            | Self::Git { .. }
            // A commit that is not there yet may be fetched by then.
            | Self::NoSuchCommit { .. }
            | Self::Outrun { .. } => Remedy::Retry,
            // A full disk would not gain by a second copy.
            Self::Store { source, .. } if source.class() == git2::ErrorClass::Os => Remedy::Retry,
            Self::Store { .. } | Self::Corrupt { .. } => Remedy::Renew,
            Self::Unrelated { .. }
            | Self::Hostile { .. }
            | Self::EscapingLink { .. }
            | Self::TooLarge { .. }
            | Self::FileTooLarge { .. } => Remedy::ChangeCommit,
            Self::Address { .. }
            | Self::AuthRefused { .. }
            | Self::MayNotPush { .. }
            | Self::NoSuchRepository { .. }
            | Self::NoSuchBranch { .. }
            | Self::PackTooLarge { .. }
            | Self::Protocol { .. }
            | Self::NotOurs { .. }
            | Self::NotARepository { .. }
            | Self::NoCommits { .. }
            | Self::UnknownRevision { .. } => Remedy::AskHuman,
        }
    }

    /// Sorts an error of libgit2 by what it means.
    pub(super) fn git(path: &Path, action: impl Into<String>, source: git2::Error) -> Self {
        use git2::{ErrorClass as Class, ErrorCode as Code};
        let (path, action) = (path.to_owned(), action.into());
        match (source.code(), source.class()) {
            (Code::Owner, _) => Self::NotOurs { path },
            (Code::NotFound, Class::Odb | Class::Object | Class::Tree)
            | (_, Class::Zlib | Class::Odb | Class::Object | Class::Indexer | Class::Tree) => {
                Self::Corrupt {
                    path,
                    what: action,
                    source,
                }
            }
            _ => Self::Git {
                action,
                path,
                source,
            },
        }
    }

    /// An error of the disk.
    pub(super) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }
}

/// What a stranger wrote, on one line, without control characters, and cut where it is long.
pub(super) fn one_line(text: &str) -> String {
    /// Characters of a server's message that are shown.
    const MESSAGE_LIMIT: usize = 500;
    let words: Vec<&str> = text
        .split(|c: char| c.is_control() || c.is_whitespace())
        .filter(|word| !word.is_empty())
        .collect();
    words.join(" ").chars().take(MESSAGE_LIMIT).collect()
}

/// Says which setting raises a limit.
fn raise(key: &Option<&'static str>) -> String {
    match key {
        Some(key) => format!(", or raise `{key}` in `[limits]`"),
        None => String::new(),
    }
}

/// Says which branches have a similar name.
fn nearest(near: &[String]) -> String {
    if near.is_empty() {
        return String::new();
    }
    let quoted: Vec<String> = near.iter().map(|name| format!("`{name}`")).collect();
    format!("; is it {}?", quoted.join(" or "))
}
