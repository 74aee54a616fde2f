//! Gives a checked query its values.

mod connection;
mod objects;

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::syntax::{Directive, Document, FieldNode, Literal, Operation, Selection};
use crate::github::git::CommitFacts;
use crate::github::limit::Standing;
use crate::github::render::{node_id, time};
use crate::github::rest::Call;
use crate::github::world::{AccountKind, CommentRecord, Issue, Pull, Repo, World};

/// The values of variables by name.
pub(super) type Variables = BTreeMap<String, Value>;

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
            Node::Commit(commit) => objects::commit_field(commit, field),
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
