//! What the model knows: accounts, repositories, issues, and what happened to them.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::PathBuf;

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use serde_json::Value;

use super::app::App;
use super::fault::Fault;
use super::limit::Limits;
use super::log::{Effect, LoggedRequest, Truth};

/// A point in time.
pub(crate) type Time = DateTime<Utc>;

thread_local! {
    /// How far the clock of the world that this thread looked at last is ahead of the machine's.
    static AHEAD: Cell<TimeDelta> = const { Cell::new(TimeDelta::zero()) };
}

/// Goes by the clock of the world that is looked at from now on.
pub(crate) fn go_by(ahead: TimeDelta) {
    AHEAD.set(ahead);
}

/// The time now, by GitHub's clock.
pub(crate) fn now() -> Time {
    Utc::now() + AHEAD.get()
}

/// The time now, to the second: GitHub shows no fractions.
pub(crate) fn this_second() -> Time {
    now().trunc_subsecs(0)
}

/// What a person may do in a repository, lowest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    /// Nothing; a private repository is not even there.
    None,
    /// See it and comment.
    Read,
    /// Read, and care for issues.
    Triage,
    /// Push.
    Write,
    /// Write, and some settings.
    Maintain,
    /// Everything.
    Admin,
}

impl Role {
    /// The role's own name, `role_name` in the API.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Read => "read",
            Self::Triage => "triage",
            Self::Write => "write",
            Self::Maintain => "maintain",
            Self::Admin => "admin",
        }
    }

    /// The older `permission` of the API, which knows neither `triage` nor `maintain`.
    pub(crate) fn legacy_name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Read | Self::Triage => "read",
            Self::Write | Self::Maintain => "write",
            Self::Admin => "admin",
        }
    }
}

/// What an account is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AccountKind {
    User,
    Bot,
    Organization,
}

impl AccountKind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::User => "User",
            Self::Bot => "Bot",
            Self::Organization => "Organization",
        }
    }
}

/// An account.
#[derive(Debug, Clone)]
pub(crate) struct Account {
    pub(crate) id: u64,
    pub(crate) login: String,
    pub(crate) kind: AccountKind,
    pub(crate) created_at: Time,
}

/// What a token was given out for.
#[derive(Debug, Clone)]
pub(crate) enum TokenKind {
    /// A personal access token (classic): it may what its owner may, within its scopes.
    Classic { login: String, scopes: Vec<String> },
    /// A fine-grained personal access token: single permissions for single repositories.
    FineGrained { login: String, grant: Grant },
    /// A token of an App's installation.
    Installation {
        app: u64,
        installation: u64,
        grant: Grant,
        expires_at: Time,
    },
}

/// Single permissions, for single repositories.
#[derive(Debug, Clone)]
pub(crate) struct Grant {
    /// Ids of the repositories.
    pub(crate) repositories: Vec<u64>,
    /// `contents` → `read` and the like.
    pub(crate) permissions: BTreeMap<String, String>,
}

/// A label of a repository.
#[derive(Debug, Clone)]
pub(crate) struct Label {
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) color: String,
    pub(crate) description: Option<String>,
}

/// A commit status.
#[derive(Debug, Clone)]
pub(crate) struct StatusRecord {
    pub(crate) id: u64,
    pub(crate) sha: String,
    pub(crate) context: String,
    pub(crate) state: String,
    pub(crate) description: Option<String>,
    pub(crate) target_url: Option<String>,
    pub(crate) creator: String,
    pub(crate) created_at: Time,
}

/// A check run.
#[derive(Debug, Clone)]
pub(crate) struct CheckRunRecord {
    pub(crate) id: u64,
    /// The App that made it.
    pub(crate) app: u64,
    pub(crate) sha: String,
    pub(crate) name: String,
    pub(crate) external_id: Option<String>,
    pub(crate) status: String,
    pub(crate) conclusion: Option<String>,
    pub(crate) title: Option<String>,
    pub(crate) summary: Option<String>,
    pub(crate) text: Option<String>,
    /// As they were sent, oldest first; no request takes one back.
    pub(crate) annotations: Vec<Value>,
    pub(crate) started_at: Time,
    pub(crate) completed_at: Option<Time>,
}

/// A reaction to a comment.
#[derive(Debug, Clone)]
pub(crate) struct ReactionRecord {
    pub(crate) id: u64,
    pub(crate) user: String,
    pub(crate) content: String,
    pub(crate) created_at: Time,
}

/// A comment on an issue or a pull request.
#[derive(Debug, Clone)]
pub(crate) struct CommentRecord {
    pub(crate) id: u64,
    pub(crate) author: String,
    pub(crate) body: String,
    pub(crate) created_at: Time,
    pub(crate) updated_at: Time,
    pub(crate) reactions: Vec<ReactionRecord>,
}

/// A review of a pull request.
#[derive(Debug, Clone)]
pub(crate) struct Review {
    pub(crate) id: u64,
    pub(crate) author: String,
    /// `APPROVED`, `CHANGES_REQUESTED`, `COMMENTED`, `DISMISSED`.
    pub(crate) state: String,
    pub(crate) body: String,
    pub(crate) commit: String,
    pub(crate) submitted_at: Time,
}

/// Whether an issue or pull request is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Open {
    Yes,
    No,
}

impl Open {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Yes => "open",
            Self::No => "closed",
        }
    }
}

/// Whether a conversation is locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lock {
    No,
    Yes,
}

/// An issue, or the issue half of a pull request; both share one sequence of numbers.
#[derive(Debug, Clone)]
pub(crate) struct Issue {
    pub(crate) id: u64,
    pub(crate) number: u64,
    pub(crate) title: String,
    pub(crate) body: Option<String>,
    pub(crate) author: String,
    pub(crate) open: Open,
    pub(crate) state_reason: Option<String>,
    pub(crate) lock: Lock,
    pub(crate) labels: Vec<String>,
    pub(crate) comments: Vec<CommentRecord>,
    pub(crate) created_at: Time,
    pub(crate) updated_at: Time,
    pub(crate) closed_at: Option<Time>,
    pub(crate) closed_by: Option<String>,
    pub(crate) pull: Option<Pull>,
}

/// The half of a pull request that an issue lacks.
#[derive(Debug, Clone)]
pub(crate) struct Pull {
    pub(crate) id: u64,
    pub(crate) base_ref: String,
    /// The base branch's head when the pull request was opened, pushed to or retargeted last.
    pub(crate) base_sha: String,
    /// Key of the repository that the head is in.
    pub(crate) head_repo: String,
    pub(crate) head_ref: String,
    pub(crate) head_sha: String,
    pub(crate) draft: Draft,
    pub(crate) merged: Option<Merged>,
    pub(crate) test_merge: TestMerge,
    pub(crate) reviews: Vec<Review>,
}

/// Whether a pull request is a draft.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Draft {
    No,
    Yes,
}

/// How a pull request was merged.
#[derive(Debug, Clone)]
pub(crate) struct Merged {
    pub(crate) at: Time,
    pub(crate) by: String,
    /// The merge commit, the squashed commit, or the last rebased commit.
    pub(crate) sha: String,
}

/// GitHub merges every open pull request into its base to see whether it can be
/// merged, after somebody asked, and not again when only the base moves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TestMerge {
    /// Not tried since the last push.
    Unknown,
    /// It can be merged; the commit at `refs/pull/N/merge`.
    Clean(String),
    /// It cannot.
    Conflict,
}

/// Whether a thing is on or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Switch {
    On,
    Off,
}

/// A repository.
#[derive(Debug, Clone)]
pub(crate) struct Repo {
    pub(crate) id: u64,
    pub(crate) owner: String,
    pub(crate) name: String,
    /// The bare repository on disk.
    pub(crate) dir: PathBuf,
    pub(crate) private: Switch,
    pub(crate) archived: Switch,
    pub(crate) issues_enabled: Switch,
    pub(crate) default_branch: String,
    /// Key of the repository that this is a fork of.
    pub(crate) fork_of: Option<String>,
    pub(crate) collaborators: BTreeMap<String, Role>,
    /// Branches and their heads, as they were seen on disk last.
    pub(crate) heads: BTreeMap<String, String>,
    pub(crate) issues: BTreeMap<u64, Issue>,
    /// The number that was given out last; numbers of deleted issues do not come again.
    pub(crate) last_number: u64,
    pub(crate) labels: Vec<Label>,
    /// Oldest first.
    pub(crate) statuses: Vec<StatusRecord>,
    /// Oldest first.
    pub(crate) check_runs: Vec<CheckRunRecord>,
    pub(crate) created_at: Time,
    pub(crate) updated_at: Time,
    pub(crate) pushed_at: Time,
    /// The repository as it was before the last change: what a stale answer shows.
    pub(crate) before: Option<Box<Repo>>,
}

impl Repo {
    /// `owner/name`, as it is written.
    pub(crate) fn full_name(&self) -> String {
        format!("{}/{}", self.owner, self.name)
    }

    /// Keeps the present state for stale answers; called before each change.
    pub(crate) fn remember(&mut self) {
        self.before = None;
        self.before = Some(Box::new(self.clone()));
    }

    /// What `login` may do here.
    pub(crate) fn role(&self, login: &str) -> Role {
        if login.eq_ignore_ascii_case(&self.owner) {
            return Role::Admin;
        }
        let given = self
            .collaborators
            .get(&login.to_lowercase())
            .copied()
            .unwrap_or(Role::None);
        match self.private {
            Switch::On => given,
            Switch::Off => given.max(Role::Read),
        }
    }

    /// How `login` stands to the repository, as `author_association`.
    pub(crate) fn association(&self, login: &str) -> &'static str {
        if login.eq_ignore_ascii_case(&self.owner) {
            return "OWNER";
        }
        match self.collaborators.get(&login.to_lowercase()) {
            None | Some(Role::None) => "NONE",
            Some(_) => "COLLABORATOR",
        }
    }

    /// The next number of an issue or pull request.
    pub(crate) fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    /// The comment with this id, and the number of the issue that it stands on.
    pub(crate) fn comment(&self, id: u64) -> Option<(u64, &CommentRecord)> {
        self.issues.values().find_map(|issue| {
            issue
                .comments
                .iter()
                .find(|comment| comment.id == id)
                .map(|c| (issue.number, c))
        })
    }
}

/// Sees each effect in the instant that it happens; it must not ask the model anything.
pub(crate) type Witness = Box<dyn Fn(&Truth) + Send>;

/// Everything behind the server.
pub(crate) struct World {
    /// The folder that holds the repositories, as `owner/name.git`.
    pub(crate) root: PathBuf,
    /// `http://127.0.0.1:PORT`.
    pub(crate) origin: String,
    /// By login in lower case.
    pub(crate) accounts: BTreeMap<String, Account>,
    pub(crate) tokens: BTreeMap<String, TokenKind>,
    pub(crate) apps: BTreeMap<u64, App>,
    /// By `owner/name` in lower case.
    pub(crate) repos: BTreeMap<String, Repo>,
    /// Old keys of renamed repositories, and the repositories' ids.
    pub(crate) renamed: BTreeMap<String, u64>,
    /// The status that GraphQL answers everything with, where it is switched off.
    pub(crate) graphql_refusal: Option<u16>,
    pub(crate) limits: Limits,
    /// How far its clock is ahead of the machine's.
    pub(crate) ahead: TimeDelta,
    pub(crate) faults: Vec<Fault>,
    pub(crate) requests: Vec<LoggedRequest>,
    pub(crate) truth: Vec<Truth>,
    pub(crate) witness: Option<Witness>,
    last_id: u64,
    last_small_id: u64,
}

impl World {
    /// An empty world.
    pub(crate) fn new(root: PathBuf, origin: String) -> Self {
        Self {
            root,
            origin,
            accounts: BTreeMap::new(),
            tokens: BTreeMap::new(),
            apps: BTreeMap::new(),
            repos: BTreeMap::new(),
            renamed: BTreeMap::new(),
            graphql_refusal: None,
            limits: Limits::new(),
            ahead: TimeDelta::zero(),
            faults: Vec::new(),
            requests: Vec::new(),
            truth: Vec::new(),
            witness: None,
            // GitHub's ids are past 32 bits: a client that keeps them in 32 is found.
            last_id: 5_000_000_000,
            last_small_id: 90_000_000,
        }
    }

    /// A new id, greater than all before it.
    pub(crate) fn next_id(&mut self) -> u64 {
        self.last_id += 7;
        self.last_id
    }

    /// A new id of an account, an installation or a repository; these still fit 32 bits.
    pub(crate) fn next_small_id(&mut self) -> u64 {
        self.last_small_id += 3;
        self.last_small_id
    }

    /// The account of this login; made where it is not there.
    pub(crate) fn account(&mut self, login: &str, kind: AccountKind) -> &Account {
        let key = login.to_lowercase();
        if !self.accounts.contains_key(&key) {
            let id = self.next_small_id();
            let created_at = this_second();
            let account = Account {
                id,
                login: login.to_owned(),
                kind,
                created_at,
            };
            self.accounts.insert(key.clone(), account);
        }
        &self.accounts[&key]
    }

    /// The repository at a key that is known to be there.
    pub(crate) fn repo(&self, key: &str) -> &Repo {
        self.repos
            .get(key)
            .unwrap_or_else(|| panic!("the model has no repository {key}"))
    }

    /// The same, to change it.
    pub(crate) fn repo_mut(&mut self, key: &str) -> &mut Repo {
        self.repos
            .get_mut(key)
            .unwrap_or_else(|| panic!("the model has no repository {key}"))
    }

    /// Writes down what happened.
    pub(crate) fn note(&mut self, by: &str, repo: &str, effect: Effect) {
        let truth = Truth {
            at: now(),
            by: by.to_owned(),
            repo: repo.to_owned(),
            effect,
        };
        if let Some(witness) = &self.witness {
            witness(&truth);
        }
        self.truth.push(truth);
    }
}
