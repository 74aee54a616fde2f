//! What people say in a repository, and what a test reads of what is said.

use super::Repository;
use crate::github::log::Effect;
use crate::github::rest::{add_comment, remove_comment, replace_comment};
use crate::github::sync::sync_all;
use crate::github::world::{AccountKind, Issue, Lock, Open, Time, this_second};

/// A comment as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Comment {
    pub(crate) id: u64,
    pub(crate) author: String,
    pub(crate) body: String,
    pub(crate) created_at: Time,
    pub(crate) updated_at: Time,
    /// Who reacted how, oldest first.
    pub(crate) reactions: Vec<(String, String)>,
}

/// A commit status as it was set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StatusView {
    pub(crate) context: String,
    pub(crate) state: String,
    pub(crate) description: String,
}

/// A check run as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CheckRunView {
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) status: String,
    pub(crate) conclusion: Option<String>,
    pub(crate) title: String,
    pub(crate) text: String,
    pub(crate) annotations: Vec<serde_json::Value>,
}

/// An issue or a pull request as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IssueView {
    pub(crate) number: u64,
    pub(crate) title: String,
    pub(crate) body: String,
    pub(crate) author: String,
    /// `open` or `closed`.
    pub(crate) state: String,
    pub(crate) labels: Vec<String>,
    pub(crate) updated_at: Time,
}

impl Repository {
    /// Locks a conversation: only who may push can comment.
    pub(crate) fn lock_conversation(&self, number: u64) {
        self.change_issue(number, |issue| issue.lock = Lock::Yes);
    }

    /// Unlocks a conversation.
    pub(crate) fn unlock_conversation(&self, number: u64) {
        self.change_issue(number, |issue| issue.lock = Lock::No);
    }

    /// Deletes an issue, which leaves no trace but the gap in the numbers.
    pub(crate) fn delete_issue(&self, number: u64) {
        self.change(|world, key| {
            world.repo_mut(key).issues.remove(&number);
        });
    }

    /// Opens an issue, and gives its number.
    pub(crate) fn open_issue(&self, author: &str, title: &str, body: &str) -> u64 {
        self.change(|world, key| {
            world.account(author, AccountKind::User);
            let now = this_second();
            let issue = Issue {
                id: world.next_id(),
                number: world.repo_mut(key).next_number(),
                title: title.to_owned(),
                body: Some(body.to_owned()),
                author: author.to_owned(),
                open: Open::Yes,
                state_reason: None,
                lock: Lock::No,
                labels: Vec::new(),
                comments: Vec::new(),
                created_at: now,
                updated_at: now,
                closed_at: None,
                closed_by: None,
                pull: None,
            };
            let number = issue.number;
            world.repo_mut(key).issues.insert(number, issue);
            world.note(author, key, Effect::IssueOpened { number });
            number
        })
    }

    /// Comments on an issue or a pull request, and gives the comment's id.
    pub(crate) fn comment(&self, number: u64, author: &str, body: &str) -> u64 {
        self.change(|world, key| {
            world.account(author, AccountKind::User);
            add_comment(world, key, number, author, body)
        })
    }

    /// Edits a comment, whoever wrote it.
    pub(crate) fn edit_comment(&self, id: u64, by: &str, body: &str) {
        self.change(|world, key| replace_comment(world, key, id, by, body));
    }

    /// Deletes a comment, whoever wrote it.
    pub(crate) fn delete_comment(&self, id: u64, by: &str) {
        self.change(|world, key| remove_comment(world, key, id, by));
    }

    /// The check runs of a commit, oldest first.
    pub(crate) fn check_runs(&self, sha: &str) -> Vec<CheckRunView> {
        let world = self.world();
        let runs = &world.repo(&self.key).check_runs;
        runs.iter()
            .filter(|run| run.sha == sha)
            .map(|run| CheckRunView {
                id: run.id,
                name: run.name.clone(),
                status: run.status.clone(),
                conclusion: run.conclusion.clone(),
                title: run.title.clone().unwrap_or_default(),
                text: run.text.clone().unwrap_or_default(),
                annotations: run.annotations.clone(),
            })
            .collect()
    }

    /// The comments on an issue or a pull request, oldest first.
    pub(crate) fn comments(&self, number: u64) -> Vec<Comment> {
        let world = self.world();
        let issue = world.repo(&self.key).issues.get(&number);
        issue
            .into_iter()
            .flat_map(|issue| &issue.comments)
            .map(|comment| Comment {
                id: comment.id,
                author: comment.author.clone(),
                body: comment.body.clone(),
                created_at: comment.created_at,
                updated_at: comment.updated_at,
                reactions: comment
                    .reactions
                    .iter()
                    .map(|reaction| (reaction.user.clone(), reaction.content.clone()))
                    .collect(),
            })
            .collect()
    }

    /// Every status of a commit, newest first.
    pub(crate) fn statuses(&self, sha: &str) -> Vec<StatusView> {
        let world = self.world();
        let statuses = world.repo(&self.key).statuses.iter().rev();
        statuses
            .filter(|status| status.sha == sha)
            .map(|status| StatusView {
                context: status.context.clone(),
                state: status.state.clone(),
                description: status.description.clone().unwrap_or_default(),
            })
            .collect()
    }

    /// The latest status of a context for a commit.
    pub(crate) fn status(&self, sha: &str, context: &str) -> Option<StatusView> {
        self.statuses(sha)
            .into_iter()
            .find(|status| status.context == context)
    }

    /// Every issue that is no pull request.
    pub(crate) fn issues(&self) -> Vec<IssueView> {
        let world = self.world();
        let issues = world.repo(&self.key).issues.values();
        issues
            .filter(|issue| issue.pull.is_none())
            .map(view_of)
            .collect()
    }

    /// A pull request's issue half.
    pub(crate) fn pull(&self, number: u64) -> IssueView {
        let mut world = self.world();
        sync_all(&mut world);
        view_of(&world.repo(&self.key).issues[&number])
    }
}

fn view_of(issue: &Issue) -> IssueView {
    IssueView {
        number: issue.number,
        title: issue.title.clone(),
        body: issue.body.clone().unwrap_or_default(),
        author: issue.author.clone(),
        state: issue.open.name().to_owned(),
        labels: issue.labels.clone(),
        updated_at: issue.updated_at,
    }
}
