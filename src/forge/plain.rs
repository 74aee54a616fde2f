//! A plain git remote: no pull requests, no comments. Its branches are the proposals.

use std::sync::Arc;

use async_trait::async_trait;
use chrono::DateTime;
use globset::{Glob, GlobSet, GlobSetBuilder};

use super::{
    Archived, CheckRun, Fate, Forge, ForgeError, Issue, KeptComment, KeptIssue, Look, LookRequest,
    Origin, Permission, Proposal, Reaction, Remote, ShowsChecks, Speaks, Status, Urgency,
};
use crate::clock::Timestamp;
use crate::id::{BranchName, CommentId, CommitSha, IssueNumber, ProposalKey, RepoName};

/// Asks a git remote for its references.
pub trait RemoteHeads: Send + Sync {
    /// Every reference by its full name, with the commit that it stands on. Blocks.
    ///
    /// # Errors
    ///
    /// Whatever keeps git from answering, in words for people.
    fn heads(
        &self,
        repo: &RepoName,
        url: &str,
    ) -> Result<Vec<(String, CommitSha)>, Box<dyn std::error::Error + Send + Sync>>;
}

/// Plain git remotes.
pub struct Plain {
    heads: Arc<dyn RemoteHeads>,
    urls: std::collections::BTreeMap<RepoName, String>,
}

impl Plain {
    /// Looks at these remotes through `heads`.
    pub fn new(
        heads: Arc<dyn RemoteHeads>,
        urls: impl IntoIterator<Item = (RepoName, String)>,
    ) -> Self {
        Self {
            heads,
            urls: urls.into_iter().collect(),
        }
    }

    fn url(&self, repo: &RepoName) -> Result<String, ForgeError> {
        self.urls
            .get(repo)
            .cloned()
            .ok_or_else(|| ForgeError::NotFound {
                what: format!("the repository {repo}"),
            })
    }

    async fn look_at(&self, request: &LookRequest) -> Result<Arc<Look>, ForgeError> {
        let url = self.url(&request.repo)?;
        let heads = Arc::clone(&self.heads);
        let repo = request.repo.clone();
        let transient = |source: Box<dyn std::error::Error + Send + Sync>| ForgeError::Transient {
            service: format!("the git remote {}", request.repo),
            action: "list the branches".to_owned(),
            source,
        };
        let found = tokio::task::spawn_blocking(move || heads.heads(&repo, &url))
            .await
            .map_err(|join| transient(Box::new(join)))?
            .map_err(transient)?;
        Ok(Arc::new(branches(request, &found)))
    }

    fn silent(action: &str) -> ForgeError {
        ForgeError::Refused {
            service: "a plain git remote".to_owned(),
            action: action.to_owned(),
            status: 501,
            message: "it has no comments, statuses or issues".to_owned(),
        }
    }
}

/// Sorts references into the base branch and the proposals.
fn branches(request: &LookRequest, heads: &[(String, CommitSha)]) -> Look {
    let patterns = patterns(&request.proposals);
    let mut look = Look {
        archived: Archived::No,
        base: None,
        open: Vec::new(),
    };
    for (reference, head) in heads {
        let Some(name) = reference.strip_prefix("refs/heads/") else {
            continue;
        };
        // A name that git allows and we do not is nobody's proposal.
        let Ok(branch) = name.parse::<BranchName>() else {
            continue;
        };
        if branch == request.branch {
            look.base = Some(head.clone());
        } else if patterns.is_match(name) {
            look.open.push(Proposal {
                key: ProposalKey::Branch(branch),
                title: String::new(),
                author: String::new(),
                head: head.clone(),
                base_branch: request.branch.clone(),
                origin: Origin::Own,
                // Git does not tell when a branch moved, and a constant never looks like a change.
                updated_at: DateTime::UNIX_EPOCH,
            });
        }
    }
    look
}

fn patterns(globs: &[String]) -> GlobSet {
    let mut set = GlobSetBuilder::new();
    // The declaration was checked when it was read: a pattern that does not compile cannot come here.
    for glob in globs.iter().filter_map(|glob| Glob::new(glob).ok()) {
        set.add(glob);
    }
    set.build().unwrap_or_default()
}

#[async_trait]
impl Forge for Plain {
    fn speaks(&self) -> Speaks {
        Speaks::No
    }

    fn web_url(&self, _repo: &RepoName) -> Option<String> {
        None
    }

    async fn look(&self, requests: &[LookRequest]) -> Vec<Result<Arc<Look>, ForgeError>> {
        let mut found = Vec::with_capacity(requests.len());
        for request in requests {
            found.push(self.look_at(request).await);
        }
        found
    }

    async fn fate(&self, request: &LookRequest, key: &ProposalKey) -> Result<Fate, ForgeError> {
        let look = self.look_at(request).await?;
        // Whether a branch that is gone was merged is written in the history, not at the remote.
        Ok(if look.open.iter().any(|p| &p.key == key) {
            Fate::Open
        } else {
            Fate::Closed
        })
    }

    async fn pull(
        &self,
        _repo: &RepoName,
        _number: IssueNumber,
    ) -> Result<Option<(Proposal, Fate)>, ForgeError> {
        Ok(None)
    }

    async fn comment(
        &self,
        _repo: &RepoName,
        _id: CommentId,
    ) -> Result<super::Comment, ForgeError> {
        Err(Self::silent("read a comment"))
    }

    async fn comments(
        &self,
        _repo: &RepoName,
        _since: Timestamp,
    ) -> Result<Vec<super::Comment>, ForgeError> {
        Ok(Vec::new())
    }

    async fn may_write(&self, _repo: &RepoName, _user: &str) -> Result<Permission, ForgeError> {
        Ok(Permission::Less)
    }

    async fn labels(
        &self,
        _repo: &RepoName,
        _pull: IssueNumber,
    ) -> Result<Vec<String>, ForgeError> {
        Ok(Vec::new())
    }

    async fn approvals(
        &self,
        _repo: &RepoName,
        _pull: IssueNumber,
        _head: &CommitSha,
    ) -> Result<Vec<String>, ForgeError> {
        Ok(Vec::new())
    }

    async fn remote(&self, repo: &RepoName) -> Result<Remote, ForgeError> {
        Ok(Remote {
            url: self.url(repo)?,
            login: None,
            proposal_refs: "refs/heads/*".to_owned(),
        })
    }

    async fn upsert_comment(
        &self,
        _repo: &RepoName,
        _issue: IssueNumber,
        _marker: &str,
        _body: &str,
        _known: Option<CommentId>,
        _urgency: Urgency,
    ) -> Result<KeptComment, ForgeError> {
        Err(Self::silent("comment"))
    }

    async fn set_status(
        &self,
        _repo: &RepoName,
        _commit: &CommitSha,
        _status: &Status,
        _urgency: Urgency,
    ) -> Result<(), ForgeError> {
        Err(Self::silent("set a status"))
    }

    fn shows_checks(&self) -> ShowsChecks {
        ShowsChecks::No
    }

    async fn upsert_check(
        &self,
        _repo: &RepoName,
        _commit: &CommitSha,
        _check: &CheckRun,
        _urgency: Urgency,
    ) -> Result<u64, ForgeError> {
        Err(Self::silent("show a check run"))
    }

    async fn react(
        &self,
        _repo: &RepoName,
        _comment: CommentId,
        _reactions: &[Reaction],
        _urgency: Urgency,
    ) -> Result<(), ForgeError> {
        Err(Self::silent("react"))
    }

    async fn upsert_issue(
        &self,
        _repo: &RepoName,
        _issue: &Issue,
        _known: Option<IssueNumber>,
        _urgency: Urgency,
    ) -> Result<KeptIssue, ForgeError> {
        Err(Self::silent("open an issue"))
    }

    async fn close_issue(
        &self,
        _repo: &RepoName,
        _number: IssueNumber,
        _body: &str,
        _urgency: Urgency,
    ) -> Result<(), ForgeError> {
        Err(Self::silent("close an issue"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sha(digit: &str) -> CommitSha {
        digit.repeat(40).parse().unwrap()
    }

    #[test]
    fn branches_that_match_are_proposals_and_the_base_is_none() {
        let request = LookRequest {
            repo: "/srv/infra.git".parse().unwrap(),
            branch: "main".parse().unwrap(),
            proposals: vec!["change/**".into()],
        };
        let heads = vec![
            ("HEAD".to_owned(), sha("1")),
            ("refs/heads/main".to_owned(), sha("1")),
            ("refs/heads/change/a".to_owned(), sha("2")),
            ("refs/heads/wip".to_owned(), sha("3")),
            ("refs/tags/change/v1".to_owned(), sha("4")),
        ];
        let look = branches(&request, &heads);
        assert_eq!(look.base, Some(sha("1")));
        let keys: Vec<_> = look.open.iter().map(|p| p.key.to_string()).collect();
        assert_eq!(keys, ["branch change/a"]);
    }
}
