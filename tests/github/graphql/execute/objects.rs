//! The fields of repositories, commits, pull requests and comments.

use chrono::DateTime;
use serde_json::Value;

use super::super::syntax::FieldNode;
use super::connection::cursor;
use super::{Execution, Node, no_resolver};
use crate::github::auth::{Caller, Need};
use crate::github::git::{CommitFacts, read_commit};
use crate::github::render::{node_id, time};
use crate::github::world::{
    CommentRecord, Draft, Issue, Lock, Open, Pull, Repo, Role, Switch, TestMerge,
};

impl<'a> Execution<'a> {
    pub(super) fn repo(&mut self, repo: &Repo, field: &'a FieldNode, path: &[String]) -> Value {
        match field.name.as_str() {
            "id" => node_id("R", repo.id).into(),
            "databaseId" => repo.id.into(),
            "name" => repo.name.clone().into(),
            "nameWithOwner" => repo.full_name().into(),
            "owner" => self.account(&repo.owner, field, path),
            "url" => format!("{}/{}", self.world.origin, repo.full_name()).into(),
            "isPrivate" => (repo.private == Switch::On).into(),
            "isArchived" => (repo.archived == Switch::On).into(),
            "isFork" => repo.fork_of.is_some().into(),
            "isLocked" | "isDisabled" => false.into(),
            "isEmpty" => repo.heads.is_empty().into(),
            "hasIssuesEnabled" => (repo.issues_enabled == Switch::On).into(),
            "createdAt" => time(repo.created_at).into(),
            "updatedAt" => time(repo.updated_at).into(),
            "pushedAt" => time(repo.pushed_at).into(),
            "viewerPermission" => self.viewer_permission(repo),
            "defaultBranchRef" => self.branch(repo, &repo.default_branch, field, path),
            "ref" => {
                let name = self.argument(field, "qualifiedName");
                let name = name.as_str().unwrap_or_default();
                self.branch(
                    repo,
                    name.strip_prefix("refs/heads/").unwrap_or(name),
                    field,
                    path,
                )
            }
            "refs" => self.branches(repo, field, path),
            "pullRequest" => {
                if self.denies_pulls(repo) {
                    return self.forbidden(field, path);
                }
                let number = self.argument(field, "number").as_u64().unwrap_or_default();
                let found = repo
                    .issues
                    .get(&number)
                    .and_then(|issue| Some((issue, issue.pull.as_ref()?)));
                match found {
                    Some((issue, pull)) => {
                        self.below(Node::Pull(repo, issue, pull), "PullRequest", field, path)
                    }
                    None => {
                        let message = format!(
                            "Could not resolve to a PullRequest with the number of {number}."
                        );
                        self.fail("NOT_FOUND", field, path, message)
                    }
                }
            }
            "pullRequests" => {
                if self.denies_pulls(repo) {
                    return self.forbidden(field, path);
                }
                self.pulls(repo, field, path)
            }
            other => no_resolver("Repository", other),
        }
    }

    fn denies_pulls(&self, repo: &Repo) -> bool {
        self.call.caller.check(repo, Need::ReadPulls).is_err()
    }

    fn forbidden(&mut self, field: &FieldNode, path: &[String]) -> Value {
        let message = match self.call.caller {
            Caller::Installation { .. } => "Resource not accessible by integration",
            _ => "Resource not accessible by personal access token",
        };
        self.fail("FORBIDDEN", field, path, message.to_owned())
    }

    fn viewer_permission(&self, repo: &Repo) -> Value {
        match &self.call.caller {
            Caller::Person { login, .. } if repo.role(login) > Role::None => {
                repo.role(login).name().to_uppercase().into()
            }
            _ => Value::Null,
        }
    }

    /// A branch, `null` where it is not there.
    fn branch(
        &mut self,
        repo: &Repo,
        branch: &str,
        field: &'a FieldNode,
        path: &[String],
    ) -> Value {
        if self.call.caller.check(repo, Need::ReadContents).is_err() {
            return self.forbidden(field, path);
        }
        if !repo.heads.contains_key(branch) {
            return Value::Null;
        }
        self.below(Node::Ref(repo, branch), "Ref", field, path)
    }

    /// The branches whose whole names begin so, by name.
    fn branches(&mut self, repo: &Repo, field: &'a FieldNode, path: &[String]) -> Value {
        if self.call.caller.check(repo, Need::ReadContents).is_err() {
            return self.forbidden(field, path);
        }
        let prefix = self.argument(field, "refPrefix");
        let below = prefix.as_str().and_then(|p| p.strip_prefix("refs/heads/"));
        let found: Vec<&String> = repo
            .heads
            .keys()
            .filter(|branch| below.is_some_and(|below| branch.starts_with(below)))
            .collect();
        let cursors = (1..).take(found.len()).map(|at| cursor((0, at))).collect();
        let nodes = found.into_iter().map(|b| Node::Ref(repo, b)).collect();
        self.connection("Ref", nodes, cursors, field, path)
    }

    pub(super) fn reference(
        &mut self,
        repo: &Repo,
        branch: &str,
        field: &'a FieldNode,
        path: &[String],
    ) -> Value {
        match field.name.as_str() {
            "id" => format!("REF_{}_{branch}", node_id("R", repo.id)).into(),
            "name" => branch.into(),
            "prefix" => "refs/heads/".into(),
            "target" => {
                let sha = repo.heads.get(branch).cloned().unwrap_or_default();
                self.commit(repo, &sha, field, path)
            }
            other => no_resolver("Ref", other),
        }
    }

    fn commit(&mut self, repo: &Repo, sha: &str, field: &'a FieldNode, path: &[String]) -> Value {
        match read_commit(&repo.dir, sha) {
            Some(commit) => self.below(Node::Commit(&commit), "Commit", field, path),
            None => Value::Null,
        }
    }

    fn pulls(&mut self, repo: &Repo, field: &'a FieldNode, path: &[String]) -> Value {
        let states: Option<Vec<String>> = match self.argument(field, "states") {
            Value::Null => None,
            Value::Array(states) => Some(
                states
                    .iter()
                    .filter_map(|s| s.as_str().map(str::to_owned))
                    .collect(),
            ),
            state => Some(vec![state.as_str().unwrap_or_default().to_owned()]),
        };
        let base = self.argument(field, "baseRefName");
        let head = self.argument(field, "headRefName");
        let labels = self.argument(field, "labels");
        let order = self.argument(field, "orderBy");
        let mut found: Vec<(&Issue, &Pull)> = repo
            .issues
            .values()
            .filter_map(|issue| Some((issue, issue.pull.as_ref()?)))
            .filter(|(issue, pull)| {
                states
                    .as_ref()
                    .is_none_or(|states| states.iter().any(|s| s == state(issue, pull)))
            })
            .filter(|(_, pull)| base.as_str().is_none_or(|base| base == pull.base_ref))
            .filter(|(_, pull)| head.as_str().is_none_or(|head| head == pull.head_ref))
            .filter(|(issue, _)| {
                labels.as_array().is_none_or(|names| {
                    names
                        .iter()
                        .any(|name| issue.labels.iter().any(|label| name == label.as_str()))
                })
            })
            .collect();
        let key = |issue: &Issue| match order["field"].as_str() {
            Some("UPDATED_AT") => (issue.updated_at.timestamp(), issue.number),
            Some("COMMENTS") => (
                i64::try_from(issue.comments.len()).unwrap_or(i64::MAX),
                issue.number,
            ),
            _ => (issue.created_at.timestamp(), issue.number),
        };
        found.sort_by_key(|(issue, _)| key(issue));
        if order["direction"] == "DESC" {
            found.reverse();
        }
        let cursors = found.iter().map(|(issue, _)| cursor(key(issue))).collect();
        let nodes = found
            .into_iter()
            .map(|(i, p)| Node::Pull(repo, i, p))
            .collect();
        self.connection("PullRequest", nodes, cursors, field, path)
    }

    pub(super) fn pull(
        &mut self,
        repo: &Repo,
        issue: &Issue,
        pull: &Pull,
        field: &'a FieldNode,
        path: &[String],
    ) -> Value {
        let world = self.world;
        let head = world.repos.get(&pull.head_repo);
        match field.name.as_str() {
            "id" => node_id("PR", issue.id).into(),
            "databaseId" => database_id(pull.id),
            "fullDatabaseId" => pull.id.to_string().into(),
            "number" => issue.number.into(),
            "title" => issue.title.clone().into(),
            "body" => issue.body.clone().unwrap_or_default().into(),
            "url" => format!(
                "{}/{}/pull/{}",
                world.origin,
                repo.full_name(),
                issue.number
            )
            .into(),
            "author" => self.account(&issue.author, field, path),
            "state" => state(issue, pull).into(),
            "closed" => (issue.open == Open::No).into(),
            "merged" => pull.merged.is_some().into(),
            "locked" => (issue.lock == Lock::Yes).into(),
            "isDraft" => (pull.draft == Draft::Yes).into(),
            "isCrossRepository" => head.is_none_or(|head| head.id != repo.id).into(),
            "baseRefName" => pull.base_ref.clone().into(),
            "baseRefOid" => pull.base_sha.clone().into(),
            "headRefName" => pull.head_ref.clone().into(),
            "headRefOid" => pull.head_sha.clone().into(),
            "headRepository" => match head {
                Some(head) => self.below(Node::Repo(head), "Repository", field, path),
                None => Value::Null,
            },
            "headRepositoryOwner" => match head {
                Some(head) => self.account(&head.owner, field, path),
                None => Value::Null,
            },
            "mergeable" => match &pull.test_merge {
                TestMerge::Unknown => "UNKNOWN".into(),
                TestMerge::Clean(_) => "MERGEABLE".into(),
                TestMerge::Conflict => "CONFLICTING".into(),
            },
            "mergeCommit" => match &pull.merged {
                Some(merged) => self.commit(repo, &merged.sha, field, path),
                None => Value::Null,
            },
            "mergedAt" => pull
                .merged
                .as_ref()
                .map_or(Value::Null, |merged| time(merged.at).into()),
            "closedAt" => issue.closed_at.map_or(Value::Null, |at| time(at).into()),
            "createdAt" => time(issue.created_at).into(),
            "updatedAt" => time(issue.updated_at).into(),
            "comments" => self.comments(repo, issue, field, path),
            other => no_resolver("PullRequest", other),
        }
    }

    fn comments(
        &mut self,
        repo: &Repo,
        issue: &Issue,
        field: &'a FieldNode,
        path: &[String],
    ) -> Value {
        let order = self.argument(field, "orderBy");
        let mut found: Vec<&CommentRecord> = issue.comments.iter().collect();
        let by_update = order["field"] == "UPDATED_AT";
        let key = |comment: &CommentRecord| {
            (
                if by_update {
                    comment.updated_at
                } else {
                    comment.created_at
                }
                .timestamp(),
                comment.id,
            )
        };
        found.sort_by_key(|comment| key(comment));
        if order["direction"] == "DESC" {
            found.reverse();
        }
        let cursors = found.iter().map(|comment| cursor(key(comment))).collect();
        let nodes = found
            .into_iter()
            .map(|c| Node::Comment(repo, issue, c))
            .collect();
        self.connection("IssueComment", nodes, cursors, field, path)
    }

    pub(super) fn comment(
        &mut self,
        repo: &Repo,
        issue: &Issue,
        comment: &CommentRecord,
        field: &'a FieldNode,
        path: &[String],
    ) -> Value {
        match field.name.as_str() {
            "id" => node_id("IC", comment.id).into(),
            "databaseId" => database_id(comment.id),
            "fullDatabaseId" => comment.id.to_string().into(),
            "author" => self.account(&comment.author, field, path),
            "body" => comment.body.clone().into(),
            "createdAt" => time(comment.created_at).into(),
            "updatedAt" => time(comment.updated_at).into(),
            "url" => format!(
                "{}/{}/pull/{}#issuecomment-{}",
                self.world.origin,
                repo.full_name(),
                issue.number,
                comment.id
            )
            .into(),
            "viewerDidAuthor" => {
                (self.call.caller.login().as_deref() == Some(&comment.author)).into()
            }
            other => no_resolver("IssueComment", other),
        }
    }
}

pub(super) fn commit_field(commit: &CommitFacts, field: &FieldNode) -> Value {
    match field.name.as_str() {
        "id" => format!("C_{}", commit.sha).into(),
        "oid" => commit.sha.clone().into(),
        "abbreviatedOid" => commit.sha[..7].into(),
        "message" => commit.message.clone().into(),
        "messageHeadline" => commit.message.lines().next().unwrap_or_default().into(),
        "committedDate" => {
            DateTime::from_timestamp(commit.time, 0).map_or(Value::Null, |at| time(at).into())
        }
        other => no_resolver("Commit", other),
    }
}

fn state(issue: &Issue, pull: &Pull) -> &'static str {
    match (&pull.merged, issue.open) {
        (Some(_), _) => "MERGED",
        (None, Open::Yes) => "OPEN",
        (None, Open::No) => "CLOSED",
    }
}

/// GraphQL's `Int` has 32 bits, which newer ids are past.
fn database_id(id: u64) -> Value {
    i32::try_from(id).map_or(Value::Null, Value::from)
}
