//! Looks at repositories: by GraphQL, and by REST with ETags where that is refused.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, PoisonError};

use chrono::{DateTime, Utc};
use serde::Deserialize;
use tracing::warn;

use super::GitHub;
use super::address::{RepoPath, percent_encoded};
use super::call::{Call, Right};
use super::client::Page;
use super::comments::UserWire;
use super::graphql::{self, Outcome};
use super::refusal::WireError;
use super::session::{Session, SessionKey};
use crate::clock;
use crate::forge::{Archived, Fate, ForgeError, Look, LookRequest, Origin, Proposal, merge_queue};
use crate::id::{BranchName, CommitSha, IssueNumber, ProposalKey, RepoName};

/// So many repositories are looked at side by side by REST; GitHub allows 100 requests at once.
const LANES: usize = 4;

#[derive(Deserialize, Clone)]
struct BranchWire {
    name: String,
    commit: CommitWire,
}

#[derive(Deserialize, Clone)]
struct CommitWire {
    sha: CommitSha,
}

/// A pull request as REST lists it.
#[derive(Deserialize, Clone)]
struct PullWire {
    number: u64,
    #[serde(default)]
    title: String,
    user: Option<UserWire>,
    head: HeadWire,
    base: BaseWire,
    updated_at: DateTime<Utc>,
}

#[derive(Deserialize, Clone)]
struct HeadWire {
    sha: CommitSha,
    /// Nothing where the fork was deleted.
    repo: Option<RepoWire>,
}

#[derive(Deserialize, Clone)]
struct BaseWire {
    #[serde(rename = "ref")]
    branch: String,
    repo: Option<RepoWire>,
}

#[derive(Deserialize, Clone, PartialEq)]
struct RepoWire {
    full_name: String,
}

/// A branch as REST lists it among references.
#[derive(Deserialize, Clone)]
struct ReferenceWire {
    #[serde(rename = "ref")]
    name: String,
    object: CommitWire,
}

#[derive(Deserialize)]
struct FateWire {
    state: String,
    #[serde(default)]
    merged: bool,
    merge_commit_sha: Option<CommitSha>,
}

/// One pull request, asked for by its number.
#[derive(Deserialize)]
struct WholeWire {
    #[serde(flatten)]
    pull: PullWire,
    #[serde(flatten)]
    fate: FateWire,
}

impl PullWire {
    fn to_proposal(&self) -> Option<Proposal> {
        let own = self.head.repo.is_some() && self.head.repo == self.base.repo;
        Some(Proposal {
            key: ProposalKey::Pull(IssueNumber(self.number)),
            title: self.title.clone(),
            author: self
                .user
                .as_ref()
                .map_or("ghost", |user| &user.login)
                .to_owned(),
            head: self.head.sha.clone(),
            // A branch whose name is none cannot be the base of a workspace.
            base_branch: self.base.branch.parse().ok()?,
            origin: if own { Origin::Own } else { Origin::Fork },
            updated_at: self.updated_at,
        })
    }
}

/// What a branch of a merge queue would make of the base branch, as a proposal; `rest` is its
/// name without what all branches of the queue begin with.
///
/// Only who may write can put a pull request into the queue, so that it is nobody's fork.
pub(super) fn queued(base: &BranchName, rest: &str, head: CommitSha) -> Option<Proposal> {
    Some(Proposal {
        key: ProposalKey::Branch(format!("{}{rest}", merge_queue(base)).parse().ok()?),
        title: "Merge queue".to_owned(),
        author: String::new(),
        head,
        base_branch: base.clone(),
        origin: Origin::Own,
        // Each entry of the queue is a branch of its own, which does not move.
        updated_at: DateTime::UNIX_EPOCH,
    })
}

/// One request with its place among the caller's.
type Asked<'a> = (usize, &'a LookRequest, RepoPath);
type Answered = (usize, Result<Arc<Look>, ForgeError>);

impl GitHub {
    /// One answer for each request, in their order.
    pub(super) async fn look_at(
        &self,
        requests: &[LookRequest],
    ) -> Vec<Result<Arc<Look>, ForgeError>> {
        let mut answers: BTreeMap<usize, Result<Arc<Look>, ForgeError>> = BTreeMap::new();
        let mut groups: BTreeMap<SessionKey, (Arc<Session>, Vec<Asked<'_>>)> = BTreeMap::new();
        for (index, request) in requests.iter().enumerate() {
            match self.at(&request.repo).await {
                Ok((session, repo)) => groups
                    .entry(session.key)
                    .or_insert_with(|| (session, Vec::new()))
                    .1
                    .push((index, request, repo)),
                Err(error) => {
                    answers.insert(index, Err(error));
                }
            }
        }
        for (session, asked) in groups.values() {
            answers.extend(self.look_with(session, asked).await);
        }
        answers.into_values().collect()
    }

    /// The repository's path and the credential that serves it.
    pub(super) async fn at(&self, repo: &RepoName) -> Result<(Arc<Session>, RepoPath), ForgeError> {
        let path = RepoPath::parse(repo)?;
        Ok((self.session(&path).await?, path))
    }

    async fn look_with(&self, session: &Session, asked: &[Asked<'_>]) -> Vec<Answered> {
        let now = clock::now();
        let left_alone = {
            let refused = self
                .graphql_refused
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            refused.get(&session.key).is_some_and(|until| *until > now)
        };
        if left_alone {
            return self.look_by_rest(session, asked).await;
        }
        let refusal = match self.look_by_graphql(session, asked).await {
            Outcome::Looked(answers) => return answers,
            Outcome::Unavailable(refusal) => refusal,
        };
        let answers = self.look_by_rest(session, asked).await;
        // Where REST is refused too it is the credential that is wrong, not GraphQL.
        if answers.iter().any(|(_, answer)| answer.is_ok()) {
            warn!(
                error = %refusal,
                "GraphQL is refused ({refusal}); for an hour each repository is looked at by REST with ETags"
            );
            let mut refused = self
                .graphql_refused
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            refused.insert(session.key, now + graphql::leave_alone_for());
        }
        answers
    }

    async fn look_by_rest(&self, session: &Session, asked: &[Asked<'_>]) -> Vec<Answered> {
        let lane = async |lane: usize| {
            let mut answers = Vec::new();
            for (index, request, repo) in asked.iter().skip(lane).step_by(LANES) {
                let look = self.look_at_one(session, repo, &request.branch).await;
                answers.push((*index, look.map(Arc::new)));
            }
            answers
        };
        let (first, second, third, fourth) = tokio::join!(lane(0), lane(1), lane(2), lane(3));
        [first, second, third, fourth]
            .into_iter()
            .flatten()
            .collect()
    }

    async fn look_at_one(
        &self,
        session: &Session,
        repo: &RepoPath,
        branch: &BranchName,
    ) -> Result<Look, ForgeError> {
        let call = Call::get(
            repo,
            "/pulls?state=open&sort=updated&direction=desc&per_page=100",
            format!("list the open pull requests of {repo}"),
            Right::ReadPulls,
        );
        // First, since a 404 of it says that the repository is not there, and one of the branch does not.
        let pulls: Vec<PullWire> = self.client.list(session, &call).await?;
        let mut seen = HashSet::new();
        let mut open: Vec<Proposal> = pulls
            .iter()
            .filter(|pull| seen.insert(pull.number))
            .filter_map(PullWire::to_proposal)
            .collect();
        open.extend(self.queue_of(session, repo, branch).await?);
        let call = Call::get(
            repo,
            &format!("/branches/{}", percent_encoded(branch.as_str())),
            format!("look at branch {branch} of {repo}"),
            Right::ReadContents,
        );
        let base = match self.client.read::<BranchWire>(session, &call).await {
            // A branch that was renamed is answered under its new name, which is not the one declared.
            Ok(Page { parsed, .. }) => {
                (parsed.name == branch.as_str()).then(|| parsed.commit.sha.clone())
            }
            Err(ForgeError::NotFound { .. }) => None,
            Err(error) => return Err(error),
        };
        Ok(Look {
            archived: Archived::Untold,
            base,
            open,
        })
    }

    /// The entries of the merge queue of a branch.
    async fn queue_of(
        &self,
        session: &Session,
        repo: &RepoPath,
        branch: &BranchName,
    ) -> Result<Vec<Proposal>, ForgeError> {
        let prefix = merge_queue(branch);
        let call = Call::get(
            repo,
            &format!("/git/matching-refs/heads/{prefix}?per_page=100"),
            format!("look at the merge queue of {branch} of {repo}"),
            Right::ReadContents,
        );
        let found: Vec<ReferenceWire> = match self.client.list(session, &call).await {
            // Where nothing was ever pushed there is nothing to match either.
            Err(ForgeError::NotFound { .. } | ForgeError::Refused { status: 409, .. }) => {
                Vec::new()
            }
            found => found?,
        };
        Ok(found
            .into_iter()
            .filter_map(|wire| {
                let rest = wire
                    .name
                    .strip_prefix("refs/heads/")?
                    .strip_prefix(&prefix)?;
                queued(branch, rest, wire.object.sha)
            })
            .collect())
    }

    /// What became of a pull request.
    pub(super) async fn fate_of(
        &self,
        repo: &RepoName,
        key: &ProposalKey,
    ) -> Result<Fate, ForgeError> {
        let (session, repo) = self.at(repo).await?;
        let ProposalKey::Pull(number) = key else {
            return Err(ForgeError::NotFound {
                what: format!("{key} as a pull request of {repo}"),
            });
        };
        let call = Call::get(
            &repo,
            &format!("/pulls/{number}"),
            format!("look at {repo}#{number}"),
            Right::ReadPulls,
        )
        .about(format!("pull request {repo}#{number}"));
        let pull: Page<FateWire> = self.client.read(&session, &call).await?;
        self.judged(&call, &pull.parsed)
    }

    /// One pull request, whether it is open or not, with what became of it.
    pub(super) async fn pull_of(
        &self,
        repo: &RepoName,
        number: IssueNumber,
    ) -> Result<Option<(Proposal, Fate)>, ForgeError> {
        let (session, repo) = self.at(repo).await?;
        let call = Call::get(
            &repo,
            &format!("/pulls/{number}"),
            format!("look at {repo}#{number}"),
            Right::ReadPulls,
        )
        .about(format!("pull request {repo}#{number}"));
        let pull: WholeWire = match self.client.json(&session, &call).await {
            // An issue has a number of the same row, and is no pull request.
            Err(ForgeError::NotFound { .. }) => return Ok(None),
            other => other?,
        };
        let fate = self.judged(&call, &pull.fate)?;
        Ok(pull.pull.to_proposal().map(|proposal| (proposal, fate)))
    }

    fn judged(&self, call: &Call, pull: &FateWire) -> Result<Fate, ForgeError> {
        match (&pull.merge_commit_sha, pull.merged) {
            (Some(commit), true) => Ok(Fate::Merged(commit.clone())),
            (None, true) => Err(self.client.transient(
                call,
                WireError::Lacks {
                    what: "the commit of the merge".to_owned(),
                },
            )),
            // Before the merge `merge_commit_sha` is a test merge, and says nothing.
            (_, false) if pull.state == "open" => Ok(Fate::Open),
            (_, false) => Ok(Fate::Closed),
        }
    }
}
