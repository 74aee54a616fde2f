//! Gives a checked query its values.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use chrono::DateTime;
use serde_json::{Map, Value, json};

use super::syntax::{Directive, Document, FieldNode, Literal, Operation, Selection};
use crate::github::auth::{Caller, Need};
use crate::github::git::{CommitFacts, read_commit};
use crate::github::limit::Standing;
use crate::github::render::{node_id, time};
use crate::github::rest::Call;
use crate::github::world::{
    AccountKind, CommentRecord, Draft, Issue, Lock, Open, Pull, Repo, Role, Switch, TestMerge,
    World,
};

/// The values of variables by name.
pub(super) type Variables = BTreeMap<String, Value>;

/// A list shows this many at most.
const PAGE_LIMIT: i64 = 100;

/// What a field's selections are about.
#[derive(Clone, Copy)]
enum Node<'a> {
    Query,
    RateLimit,
    Account(&'a str),
    Repo(&'a Repo),
    Ref(&'a Repo, &'a str),
    Commit(&'a CommitFacts),
    Pull(&'a Repo, &'a Issue, &'a Pull),
    Comment(&'a Repo, &'a Issue, &'a CommentRecord),
}

/// One running query.
pub(super) struct Execution<'a> {
    world: &'a World,
    call: &'a Call,
    document: &'a Document,
    variables: &'a Variables,
    standing: &'a Standing,
    cost: u64,
    nodes: u64,
    errors: Vec<Value>,
}

/// A value as it is written, with its variables filled in.
pub(super) fn plain(literal: &Literal, variables: &Variables) -> Value {
    match literal {
        Literal::Variable(name) => variables.get(name).cloned().unwrap_or(Value::Null),
        Literal::Enum(name) => name.clone().into(),
        Literal::Plain(value) => value.clone(),
        Literal::List(items) => items.iter().map(|item| plain(item, variables)).collect(),
        Literal::Object(fields) => fields
            .iter()
            .map(|(key, value)| (key.clone(), plain(value, variables)))
            .collect(),
    }
}

impl<'a> Execution<'a> {
    /// The whole answer, and the points that it costs.
    pub(super) fn run(
        world: &'a World,
        call: &'a Call,
        document: &'a Document,
        operation: &'a Operation,
        variables: &'a Variables,
        standing: &'a Standing,
    ) -> (Value, u64) {
        let mut execution = Self {
            world,
            call,
            document,
            variables,
            standing,
            cost: 1,
            nodes: 0,
            errors: Vec::new(),
        };
        // Each connection is one request for each thing that it hangs on; a
        // hundred requests are a point, and every query is one at least.
        let (requests, nodes) = execution.weigh(&operation.selections, 1);
        execution.cost = ((requests + 50) / 100).max(1);
        execution.nodes = nodes;
        let data = execution.object(Node::Query, "Query", &operation.selections, &[]);
        let mut body = json!({ "data": data });
        if !execution.errors.is_empty() {
            body["errors"] = execution.errors.into();
        }
        (body, execution.cost)
    }

    fn weigh(&self, selections: &[Selection], times: u64) -> (u64, u64) {
        let mut sum = (0, 0);
        for field in self.collect(selections, None) {
            let Some(below) = &field.selections else {
                continue;
            };
            let size = ["first", "last"]
                .iter()
                .find_map(|name| self.argument(field, name).as_u64());
            let (requests, nodes) = match size {
                Some(size) => {
                    let (requests, nodes) = self.weigh(below, times * size);
                    (requests + times, nodes + times * size)
                }
                None => self.weigh(below, times),
            };
            sum = (sum.0 + requests, sum.1 + nodes);
        }
        sum
    }

    fn argument(&self, field: &FieldNode, name: &str) -> Value {
        field
            .arguments
            .get(name)
            .map_or(Value::Null, |literal| plain(literal, self.variables))
    }

    fn includes(&self, directives: &[Directive]) -> bool {
        directives.iter().all(|directive| {
            let condition = directive
                .arguments
                .get("if")
                .map(|l| plain(l, self.variables));
            match (directive.name.as_str(), condition) {
                ("include", Some(condition)) => condition == true,
                ("skip", Some(condition)) => condition != true,
                _ => true,
            }
        })
    }

    /// The fields that are asked for, fragments spread out. `kind` is the type of
    /// the thing at hand; without one, every fragment counts.
    fn collect(&self, selections: &'a [Selection], kind: Option<&str>) -> Vec<&'a FieldNode> {
        let mut fields = Vec::new();
        for selection in selections {
            match selection {
                Selection::Field(field) if self.includes(&field.directives) => fields.push(field),
                Selection::Inline {
                    on,
                    directives,
                    selections,
                    ..
                } if self.includes(directives) && applies(on.as_deref(), kind) => {
                    fields.extend(self.collect(selections, kind));
                }
                Selection::Spread {
                    name, directives, ..
                } if self.includes(directives) => {
                    if let Some(fragment) = self.document.fragments.get(name)
                        && applies(Some(&fragment.on), kind)
                    {
                        fields.extend(self.collect(&fragment.selections, kind));
                    }
                }
                _ => {}
            }
        }
        fields
    }

    /// `kind` is the concrete type, which a fragment may ask for.
    fn object(
        &mut self,
        node: Node<'_>,
        kind: &str,
        selections: &'a [Selection],
        path: &[String],
    ) -> Value {
        let mut object = Map::new();
        for field in self.collect(selections, Some(kind)) {
            let path: Vec<String> = path
                .iter()
                .cloned()
                .chain([field.key().to_owned()])
                .collect();
            let value = if field.name == "__typename" {
                kind.into()
            } else {
                self.value(node, field, &path)
            };
            object.insert(field.key().to_owned(), value);
        }
        Value::Object(object)
    }

    fn value(&mut self, node: Node<'_>, field: &'a FieldNode, path: &[String]) -> Value {
        match node {
            Node::Query => self.query(field, path),
            Node::RateLimit => self.rate_limit(field),
            Node::Account(login) => self.account_field(login, field),
            Node::Repo(repo) => self.repo(repo, field, path),
            Node::Ref(repo, branch) => self.reference(repo, branch, field, path),
            Node::Commit(commit) => commit_field(commit, field),
            Node::Pull(repo, issue, pull) => self.pull(repo, issue, pull, field, path),
            Node::Comment(repo, issue, comment) => self.comment(repo, issue, comment, field, path),
        }
    }

    fn below(
        &mut self,
        node: Node<'_>,
        kind: &str,
        field: &'a FieldNode,
        path: &[String],
    ) -> Value {
        self.object(
            node,
            kind,
            field.selections.as_deref().unwrap_or_default(),
            path,
        )
    }

    fn fail(&mut self, kind: &str, field: &FieldNode, path: &[String], message: String) -> Value {
        self.errors.push(json!({
            "type": kind,
            "path": path,
            "locations": field.at.json(),
            "message": message,
        }));
        Value::Null
    }

    fn query(&mut self, field: &'a FieldNode, path: &[String]) -> Value {
        match field.name.as_str() {
            "viewer" => {
                let login = self.call.caller.login().unwrap_or_default();
                self.below(Node::Account(&login), "User", field, path)
            }
            "rateLimit" => self.below(Node::RateLimit, "RateLimit", field, path),
            "repository" => {
                let text = |name| {
                    self.argument(field, name)
                        .as_str()
                        .unwrap_or_default()
                        .to_owned()
                };
                let name = format!("{}/{}", text("owner"), text("name"));
                let key = name.to_lowercase();
                let renamed = self
                    .world
                    .renamed
                    .get(&key)
                    .filter(|_| self.argument(field, "followRenames") != Value::Bool(false));
                let world = self.world;
                let repo = match renamed {
                    Some(id) => world.repos.values().find(|repo| repo.id == *id),
                    None => world.repos.get(&key),
                };
                match repo.filter(|repo| self.call.caller.sees(repo)) {
                    Some(repo) => self.below(Node::Repo(repo), "Repository", field, path),
                    None => {
                        let message =
                            format!("Could not resolve to a Repository with the name '{name}'.");
                        self.fail("NOT_FOUND", field, path, message)
                    }
                }
            }
            other => no_resolver("Query", other),
        }
    }

    fn rate_limit(&self, field: &FieldNode) -> Value {
        let used = self.standing.used + self.cost;
        match field.name.as_str() {
            "cost" => self.cost.into(),
            "limit" => self.standing.limit.into(),
            "nodeCount" => self.nodes.into(),
            "remaining" => self.standing.limit.saturating_sub(used).into(),
            "resetAt" => time(self.standing.reset).into(),
            "used" => used.into(),
            other => no_resolver("RateLimit", other),
        }
    }

    /// An account, `null` where it is gone.
    fn account(&mut self, login: &str, field: &'a FieldNode, path: &[String]) -> Value {
        let world = self.world;
        match world.accounts.get(&login.to_lowercase()) {
            Some(account) => self.below(
                Node::Account(&account.login),
                account.kind.name(),
                field,
                path,
            ),
            None => Value::Null,
        }
    }

    fn account_field(&self, login: &str, field: &FieldNode) -> Value {
        let account = self.world.accounts.get(&login.to_lowercase());
        let id = account.map_or(0, |account| account.id);
        let is_bot = account.is_some_and(|account| account.kind == AccountKind::Bot);
        match field.name.as_str() {
            "id" => node_id("U", id).into(),
            "databaseId" => id.into(),
            // An actor that is an App goes by its slug; only `viewer` has the suffix.
            "login" if is_bot && self.call.caller.login().as_deref() != Some(login) => {
                login.trim_end_matches("[bot]").into()
            }
            "login" => login.into(),
            "url" if is_bot => format!(
                "{}/apps/{}",
                self.world.origin,
                login.trim_end_matches("[bot]")
            )
            .into(),
            "url" => format!("{}/{login}", self.world.origin).into(),
            other => no_resolver("User", other),
        }
    }

    fn repo(&mut self, repo: &Repo, field: &'a FieldNode, path: &[String]) -> Value {
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

    fn reference(
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

    /// One page of a list. A cursor names the last thing that was shown, so that
    /// what moved behind it meanwhile is not shown again, as at GitHub.
    fn connection(
        &mut self,
        kind: &str,
        nodes: Vec<Node<'_>>,
        cursors: Vec<String>,
        field: &'a FieldNode,
        path: &[String],
    ) -> Value {
        let name = &field.name;
        let selections = field.selections.as_deref().unwrap_or_default();
        let lists = self
            .collect(selections, None)
            .iter()
            .any(|field| ["nodes", "edges", "pageInfo"].contains(&field.name.as_str()));
        let (first, last) = (self.argument(field, "first"), self.argument(field, "last"));
        if lists && first.is_null() && last.is_null() {
            let message = format!(
                "You must provide a `first` or `last` value to properly paginate the `{name}` connection."
            );
            return self.fail("MISSING_PAGINATION_BOUNDARIES", field, path, message);
        }
        for (which, value) in [("first", &first), ("last", &last)] {
            if let Some(size) = value.as_i64().filter(|size| *size > PAGE_LIMIT) {
                let message = format!(
                    "Requesting {size} records on the `{name}` connection exceeds the `{which}` limit of {PAGE_LIMIT} records."
                );
                return self.fail("EXCESSIVE_PAGINATION", field, path, message);
            }
        }
        let position = |which: &str| {
            let wanted = self.argument(field, which);
            wanted
                .as_str()
                .map(|wanted| cursors.iter().position(|cursor| cursor == wanted))
        };
        let start = match position("after") {
            Some(Some(at)) => at + 1,
            Some(None) => match self.after_lost(field, &cursors) {
                Some(at) => at,
                None => {
                    let given = self.argument(field, "after");
                    let message = format!("{given} does not appear to be a valid cursor.");
                    return self.fail("INVALID_CURSOR_ARGUMENTS", field, path, message);
                }
            },
            None => 0,
        };
        let end = position("before")
            .flatten()
            .unwrap_or(nodes.len())
            .max(start);
        let size = |value: &Value| value.as_u64().and_then(|size| usize::try_from(size).ok());
        let end_of_first = size(&first).map_or(end, |size| end.min(start + size));
        let start = match (size(&first), size(&last)) {
            (None, Some(size)) => end_of_first.saturating_sub(size).max(start),
            _ => start,
        };
        let shown = start..end_of_first;
        let mut object = Map::new();
        for wanted in self.collect(selections, None) {
            let path: Vec<String> = path
                .iter()
                .cloned()
                .chain([wanted.key().to_owned()])
                .collect();
            let value = match wanted.name.as_str() {
                "__typename" => format!("{kind}Connection").into(),
                "totalCount" => nodes.len().into(),
                "pageInfo" => page_info(
                    self.collect(wanted.selections.as_deref().unwrap_or_default(), None),
                    &cursors,
                    &shown,
                ),
                "nodes" => {
                    let mut values = Vec::new();
                    for at in shown.clone() {
                        values.push(self.below(
                            nodes[at],
                            kind,
                            wanted,
                            &indexed(&path, at - shown.start),
                        ));
                    }
                    values.into()
                }
                "edges" => {
                    let mut values = Vec::new();
                    for at in shown.clone() {
                        let path = indexed(&path, at - shown.start);
                        values.push(self.edge(kind, nodes[at], &cursors[at], wanted, &path));
                    }
                    values.into()
                }
                other => no_resolver("Connection", other),
            };
            object.insert(wanted.key().to_owned(), value);
        }
        Value::Object(object)
    }

    fn edge(
        &mut self,
        kind: &str,
        node: Node<'_>,
        at: &str,
        field: &'a FieldNode,
        path: &[String],
    ) -> Value {
        let mut object = Map::new();
        for wanted in self.collect(field.selections.as_deref().unwrap_or_default(), None) {
            let value = match wanted.name.as_str() {
                "__typename" => format!("{kind}Edge").into(),
                "cursor" => at.into(),
                "node" => self.below(node, kind, wanted, path),
                other => no_resolver("Edge", other),
            };
            object.insert(wanted.key().to_owned(), value);
        }
        Value::Object(object)
    }

    /// Where a list goes on after a thing that is no longer in it, or has moved.
    fn after_lost(&self, field: &FieldNode, cursors: &[String]) -> Option<usize> {
        let lost = cursor_key(self.argument(field, "after").as_str()?)?;
        let order = self.argument(field, "orderBy");
        let passed = |key: (i64, u64)| {
            if order["direction"] == "DESC" {
                key < lost
            } else {
                key > lost
            }
        };
        let next = cursors
            .iter()
            .position(|cursor| cursor_key(cursor).is_some_and(passed));
        Some(next.unwrap_or(cursors.len()))
    }

    fn pull(
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

    fn comment(
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

fn commit_field(commit: &CommitFacts, field: &FieldNode) -> Value {
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

fn page_info(fields: Vec<&FieldNode>, cursors: &[String], shown: &std::ops::Range<usize>) -> Value {
    let at = |index: Option<usize>| index.and_then(|index| cursors.get(index)).cloned();
    let is_empty = shown.is_empty();
    let mut object = Map::new();
    for field in fields {
        let value = match field.name.as_str() {
            "__typename" => "PageInfo".into(),
            "hasNextPage" => (shown.end < cursors.len()).into(),
            "hasPreviousPage" => (shown.start > 0).into(),
            "startCursor" => at((!is_empty).then_some(shown.start)).into(),
            "endCursor" => at((!is_empty).then(|| shown.end - 1)).into(),
            other => no_resolver("PageInfo", other),
        };
        object.insert(field.key().to_owned(), value);
    }
    Value::Object(object)
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

fn cursor((key, id): (i64, u64)) -> String {
    BASE64_STANDARD.encode(format!("cursor:v2:{key}:{id}"))
}

fn cursor_key(cursor: &str) -> Option<(i64, u64)> {
    let text = String::from_utf8(BASE64_STANDARD.decode(cursor).ok()?).ok()?;
    let (key, id) = text.strip_prefix("cursor:v2:")?.split_once(':')?;
    Some((key.parse().ok()?, id.parse().ok()?))
}

fn indexed(path: &[String], at: usize) -> Vec<String> {
    path.iter().cloned().chain([at.to_string()]).collect()
}

fn applies(on: Option<&str>, kind: Option<&str>) -> bool {
    match (on, kind) {
        (None, _) | (_, None) => true,
        (Some("Actor" | "RepositoryOwner" | "GitObject"), _) => true,
        (Some(on), Some(kind)) => on == kind,
    }
}

fn no_resolver(kind: &str, field: &str) -> Value {
    panic!("the model's schema has {kind}.{field}, and nothing gives it a value")
}
