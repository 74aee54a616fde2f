//! Looks at many repositories with one GraphQL query: one point of its budget, none of REST's.

use std::collections::HashSet;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use http::Method;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tracing::debug;

use super::GitHub;
use super::address::RepoPath;
use super::call::{Call, Right};
use super::gate::{self, Resource};
use super::look::queued;
use super::refusal::{WireError, copy_of};
use super::session::Session;
use crate::clock;
use crate::forge::{Archived, ForgeError, Look, LookRequest, Origin, Proposal, merge_queue};
use crate::id::{BranchName, CommitSha, IssueNumber, ProposalKey};

/// More repositories in one query take GitHub so long that it gives up on some.
const REPOSITORIES_A_QUERY: usize = 50;
/// Open pull requests of one repository in one query.
const PULLS_A_PAGE: u32 = 50;
/// Branches of a merge queue in one query: as many as a queue builds at once.
const QUEUE_LIMIT: u32 = 100;
/// No repository is followed further than this many pages.
const MOST_PAGES: usize = 200;

/// What GraphQL answered.
#[derive(Deserialize)]
struct GraphAnswer {
    #[serde(default)]
    data: Option<Map<String, Value>>,
    #[serde(default)]
    errors: Vec<GraphError>,
}

#[derive(Deserialize)]
struct GraphError {
    #[serde(default)]
    message: String,
    #[serde(rename = "type", default)]
    kind: Option<String>,
    #[serde(default)]
    path: Option<Vec<Value>>,
}

#[derive(Deserialize)]
struct RepositoryWire {
    #[serde(rename = "isArchived")]
    is_archived: Option<bool>,
    base: Option<RefWire>,
    #[serde(rename = "pullRequests")]
    pulls: PullsWire,
    /// The branches of the base branch's merge queue.
    queue: Option<QueueWire>,
}

#[derive(Deserialize)]
struct QueueWire {
    #[serde(default)]
    nodes: Vec<Option<QueuedWire>>,
}

#[derive(Deserialize)]
struct QueuedWire {
    prefix: String,
    name: String,
    target: Option<TargetWire>,
}

#[derive(Deserialize)]
struct RefWire {
    target: Option<TargetWire>,
}

#[derive(Deserialize)]
struct TargetWire {
    oid: CommitSha,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PullsWire {
    page_info: PageInfo,
    #[serde(default)]
    nodes: Vec<Option<PullWire>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PageInfo {
    has_next_page: bool,
    end_cursor: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PullWire {
    number: u64,
    title: String,
    author: Option<AuthorWire>,
    head_ref_oid: CommitSha,
    base_ref_name: String,
    updated_at: DateTime<Utc>,
    is_cross_repository: bool,
}

#[derive(Deserialize)]
struct AuthorWire {
    login: String,
    #[serde(rename = "__typename", default)]
    kind: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RateLimitWire {
    remaining: i64,
    reset_at: DateTime<Utc>,
}

/// One repository on its way through its pages.
struct Walk<'a> {
    /// Which of the caller's requests it is.
    index: usize,
    request: &'a LookRequest,
    repo: RepoPath,
    after: Option<String>,
    pages: usize,
    base: Option<CommitSha>,
    open: Vec<Proposal>,
    seen: HashSet<u64>,
}

/// How GraphQL took a look.
pub(super) enum Outcome {
    /// An answer for each request, by its index.
    Looked(Vec<(usize, Result<Arc<Look>, ForgeError>)>),
    /// It is not for this credential, or not there at all.
    Unavailable(ForgeError),
}

impl PullWire {
    fn into_proposal(self) -> Option<Proposal> {
        let author = match self.author {
            // GitHub shows the pull requests of a deleted account under this name.
            None => "ghost".to_owned(),
            // REST and the web write an App's account so; GraphQL leaves the suffix out.
            Some(author) if author.kind == "Bot" && !author.login.ends_with("[bot]") => {
                format!("{}[bot]", author.login)
            }
            Some(author) => author.login,
        };
        let Ok(base_branch) = self.base_ref_name.parse() else {
            debug!(
                pull = self.number,
                "Pull request #{} is for a branch that no workspace can have", self.number
            );
            return None;
        };
        Some(Proposal {
            key: ProposalKey::Pull(IssueNumber(self.number)),
            title: self.title,
            author,
            head: self.head_ref_oid,
            base_branch,
            origin: if self.is_cross_repository {
                Origin::Fork
            } else {
                Origin::Own
            },
            updated_at: self.updated_at,
        })
    }
}

impl GitHub {
    /// Looks at repositories of one session by GraphQL.
    pub(super) async fn look_by_graphql(
        &self,
        session: &Session,
        requests: &[(usize, &LookRequest, RepoPath)],
    ) -> Outcome {
        let mut done = Vec::with_capacity(requests.len());
        let mut walks: Vec<Walk<'_>> = requests
            .iter()
            .map(|(index, request, repo)| Walk {
                index: *index,
                request,
                repo: repo.clone(),
                after: None,
                pages: 0,
                base: None,
                open: Vec::new(),
                seen: HashSet::new(),
            })
            .collect();
        while !walks.is_empty() {
            let rest = walks.split_off(walks.len().min(REPOSITORIES_A_QUERY));
            let batch = std::mem::replace(&mut walks, rest);
            let call = look_call(&batch);
            let mut answer = match self.ask(session, &call).await {
                Ok(answer) => answer,
                Err(error @ (ForgeError::Denied { .. } | ForgeError::NotFound { .. })) => {
                    return Outcome::Unavailable(error);
                }
                Err(error) => {
                    done.extend(batch.iter().map(|walk| (walk.index, Err(copy_of(&error)))));
                    continue;
                }
            };
            for (alias, walk) in batch.into_iter().enumerate() {
                let index = walk.index;
                match self.turn_page(&call, walk, alias, &mut answer) {
                    Ok(Turned::Last(look)) => done.push((index, Ok(Arc::new(look)))),
                    Ok(Turned::More(walk)) => walks.push(walk),
                    Err(error) => done.push((index, Err(error))),
                }
            }
        }
        // A fine-grained token may be let in and then be shown nothing.
        let denied = |answer: &Result<_, _>| matches!(answer, Err(ForgeError::Denied { .. }));
        if !done.is_empty()
            && done.iter().all(|(_, answer)| denied(answer))
            && let Some((_, Err(error))) = done.pop()
        {
            return Outcome::Unavailable(error);
        }
        Outcome::Looked(done)
    }

    /// The account that GraphQL takes us for.
    pub(super) async fn ask_viewer(&self, session: &Session) -> Result<Option<String>, ForgeError> {
        let call = graphql_call(
            "query { viewer { login } }".to_owned(),
            json!({}),
            "ask GraphQL whose token this is".to_owned(),
            Right::Account,
        );
        let answer = self.ask(session, &call).await?;
        let login = answer.data.and_then(|mut data| {
            data.get_mut("viewer")?
                .get_mut("login")?
                .take()
                .as_str()
                .map(str::to_owned)
        });
        Ok(login)
    }

    /// Sends a query. An error that concerns the query as a whole is an error of the call.
    async fn ask(&self, session: &Session, call: &Call) -> Result<GraphAnswer, ForgeError> {
        let raw = self.client.attempt(session, call, None).await?;
        let answer: GraphAnswer = self.client.understood(call, &raw)?;
        let limit = answer.data.as_ref().and_then(|data| data.get("rateLimit"));
        if let Some(limit) = limit.and_then(|limit| RateLimitWire::deserialize(limit).ok())
            && limit.remaining <= 0
        {
            session.gate().close(Resource::GraphQl, limit.reset_at);
        }
        let kind_is = |error: &GraphError, kinds: &[&str]| {
            error
                .kind
                .as_deref()
                .is_some_and(|kind| kinds.contains(&kind))
        };
        let about_limits = answer.errors.iter().any(|error| {
            kind_is(error, &["RATE_LIMIT", "RATE_LIMITED"]) || gate::is_about_limits(&error.message)
        });
        if about_limits {
            let until = session
                .gate()
                .heed_graphql_refusal(&raw.headers, clock::now());
            return Err(self.client.rate_limited(until));
        }
        if answer
            .data
            .as_ref()
            .is_some_and(|data| data.values().any(|value| !value.is_null()))
        {
            return Ok(answer);
        }
        // Nothing came. Where each error names its repository, they are told apart later.
        let Some(whole) = answer.errors.iter().find(|error| alias_of(error).is_none()) else {
            if answer.data.is_some() && !answer.errors.is_empty() {
                return Ok(answer);
            }
            return Err(self.client.transient(
                call,
                WireError::Lacks {
                    what: "its data".to_owned(),
                },
            ));
        };
        if kind_is(whole, &["FORBIDDEN", "INSUFFICIENT_SCOPES", "UNAUTHORIZED"])
            || whole.message.starts_with("Resource not accessible")
        {
            return Err(self.denied(call, &whole.message));
        }
        Err(self.client.transient(
            call,
            WireError::Status {
                status: 200,
                message: whole.message.clone(),
            },
        ))
    }

    fn denied(&self, call: &Call, message: &str) -> ForgeError {
        ForgeError::Denied {
            service: self.client.api.service(),
            action: call.action.clone(),
            message: format!("{message}; this needs {}", call.needs),
        }
    }

    /// Takes one repository's page out of an answer.
    fn turn_page<'a>(
        &self,
        call: &Call,
        mut walk: Walk<'a>,
        alias: usize,
        answer: &mut GraphAnswer,
    ) -> Result<Turned<'a>, ForgeError> {
        let name = alias_name(alias);
        // An error anywhere below the repository makes its part incomplete, and an
        // incomplete look would say of a pull request that it is not open any more.
        if let Some(error) = answer
            .errors
            .iter()
            .find(|error| alias_of(error) == Some(&name))
        {
            return Err(match error.kind.as_deref() {
                Some("NOT_FOUND") => ForgeError::NotFound {
                    what: format!("repository {}", walk.repo),
                },
                Some("FORBIDDEN" | "INSUFFICIENT_SCOPES" | "UNAUTHORIZED") => {
                    self.denied(call, &error.message)
                }
                _ => self.client.transient(
                    call,
                    WireError::Status {
                        status: 200,
                        message: error.message.clone(),
                    },
                ),
            });
        }
        let value = answer
            .data
            .as_mut()
            .and_then(|data| data.remove(&name))
            .unwrap_or_default();
        if value.is_null() {
            let what = format!("repository {}", walk.repo);
            return Err(self.client.transient(call, WireError::Lacks { what }));
        }
        let wire: RepositoryWire = serde_json::from_value(value).map_err(|cause| {
            self.client
                .transient(call, WireError::NotUnderstood(Arc::new(cause)))
        })?;
        walk.base = wire
            .base
            .and_then(|base| base.target)
            .map(|target| target.oid);
        for pull in wire.pulls.nodes.into_iter().flatten() {
            // While pages are turned, a pull request that changes moves to another page.
            if walk.seen.insert(pull.number) {
                walk.open.extend(pull.into_proposal());
            }
        }
        // The queue comes with each page, and the first one has it.
        let queue = wire.queue.filter(|_| walk.pages == 0);
        for entry in queue.into_iter().flat_map(|queue| queue.nodes).flatten() {
            let base = &walk.request.branch;
            let whole = format!("{}{}", entry.prefix, entry.name);
            // A name may be whole, or begin after the prefix that was asked for.
            let rest = whole.strip_prefix(&queue_refs(base)).unwrap_or(&entry.name);
            walk.open.extend(
                entry
                    .target
                    .and_then(|target| queued(base, rest, target.oid)),
            );
        }
        walk.pages += 1;
        if !wire.pulls.page_info.has_next_page {
            return Ok(Turned::Last(Look {
                archived: match wire.is_archived {
                    Some(true) => Archived::Yes,
                    Some(false) => Archived::No,
                    None => Archived::Untold,
                },
                base: walk.base,
                open: walk.open,
            }));
        }
        if walk.pages >= MOST_PAGES {
            return Err(self
                .client
                .transient(call, WireError::Endless { pages: MOST_PAGES }));
        }
        match wire.pulls.page_info.end_cursor {
            Some(cursor) => walk.after = Some(cursor),
            None => {
                let what = "the cursor of the next page".to_owned();
                return Err(self.client.transient(call, WireError::Lacks { what }));
            }
        }
        Ok(Turned::More(walk))
    }
}

/// What came of a page.
enum Turned<'a> {
    /// It was the last.
    Last(Look),
    /// There are more.
    More(Walk<'a>),
}

fn alias_name(alias: usize) -> String {
    format!("r{alias}")
}

/// What the whole names of the branches of a merge queue begin with.
fn queue_refs(branch: &BranchName) -> String {
    format!("refs/heads/{}", merge_queue(branch))
}

/// The repository that an error concerns.
fn alias_of(error: &GraphError) -> Option<&str> {
    let first = error.path.as_ref()?.first()?.as_str()?;
    first
        .strip_prefix('r')
        .filter(|rest| rest.parse::<usize>().is_ok())
        .map(|_| first)
}

/// The query for one page of each repository. Names go in as variables, never into its text.
fn look_call(batch: &[Walk<'_>]) -> Call {
    let mut parameters = vec!["$first:Int!".to_owned()];
    let mut fields = Vec::new();
    let mut variables = Map::from_iter([("first".to_owned(), json!(PULLS_A_PAGE))]);
    for (n, walk) in batch.iter().enumerate() {
        let alias = alias_name(n);
        parameters.push(format!(
            "$o{n}:String!,$n{n}:String!,$b{n}:String!,$q{n}:String!,$c{n}:String"
        ));
        fields.push(format!(
            "{alias}: repository(owner:$o{n}, name:$n{n}) {{ isArchived \
             base: ref(qualifiedName:$b{n}) {{ target {{ oid }} }} \
             queue: refs(refPrefix:$q{n}, first:{QUEUE_LIMIT}) {{ nodes {{ prefix name target {{ oid }} }} }} \
             pullRequests(states:OPEN, first:$first, after:$c{n}, \
             orderBy:{{field:UPDATED_AT, direction:DESC}}) {{ ...Pulls }} }}"
        ));
        variables.insert(format!("o{n}"), json!(walk.repo.owner));
        variables.insert(format!("n{n}"), json!(walk.repo.name));
        variables.insert(
            format!("b{n}"),
            json!(format!("refs/heads/{}", walk.request.branch)),
        );
        variables.insert(format!("q{n}"), json!(queue_refs(&walk.request.branch)));
        variables.insert(format!("c{n}"), json!(walk.after));
    }
    let query = format!(
        "query Look({}) {{ {} rateLimit {{ cost remaining resetAt }} }} \
         fragment Pulls on PullRequestConnection {{ \
         pageInfo {{ hasNextPage endCursor }} \
         nodes {{ number title author {{ __typename login }} headRefOid baseRefName updatedAt \
         isCrossRepository }} }}",
        parameters.join(","),
        fields.join(" "),
    );
    let action = match batch {
        [one] => format!("look at {}", one.repo),
        [first, rest @ ..] => format!("look at {} and {} more", first.repo, rest.len()),
        [] => "look at nothing".to_owned(),
    };
    graphql_call(query, Value::Object(variables), action, Right::ReadPulls)
}

fn graphql_call(query: String, variables: Value, action: String, needs: Right) -> Call {
    Call {
        method: Method::POST,
        resource: Resource::GraphQl,
        body: Some(json!({ "query": query, "variables": variables })),
        ..Call::read(
            "/graphql".to_owned(),
            action,
            "GitHub's GraphQL API".to_owned(),
            needs,
        )
    }
}

/// How long GraphQL is left alone after it was refused.
pub(super) fn leave_alone_for() -> TimeDelta {
    TimeDelta::hours(1)
}
