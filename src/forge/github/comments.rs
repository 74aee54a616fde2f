//! Comments: reading the new ones, and keeping one of our own per marker.

use std::collections::HashSet;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use http::Method;
use serde::Deserialize;
use serde_json::json;
use tracing::warn;

use super::call::{Call, Right};
use super::client::Page;
use super::refusal::WireError;
use super::{Desk, GitHub};
use crate::clock::Timestamp;
use crate::forge::{Comment, ForgeError, KeptComment, Urgency};
use crate::id::{CommentId, IssueNumber, RepoName};

/// No list of new comments is followed further than this many pages.
const MOST_PAGES: usize = 1_000;

/// An account, where something says who wrote it.
#[derive(Deserialize, Clone)]
pub(super) struct UserWire {
    pub(super) login: String,
}

#[derive(Deserialize, Clone)]
struct CommentWire {
    id: u64,
    body: Option<String>,
    user: Option<UserWire>,
    issue_url: String,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

/// One of ours, as far as keeping it takes.
#[derive(Deserialize, Clone)]
struct Posted {
    id: u64,
    body: Option<String>,
    user: Option<UserWire>,
    updated_at: Option<DateTime<Utc>>,
}

impl Posted {
    fn kept(self) -> KeptComment {
        KeptComment {
            id: CommentId(self.id),
            at: self.updated_at,
            body: self.body.unwrap_or_default(),
        }
    }
}

impl CommentWire {
    fn to_comment(&self) -> Option<Comment> {
        let (_, number) = self.issue_url.rsplit_once('/')?;
        Some(Comment {
            id: CommentId(self.id),
            issue: IssueNumber(number.parse().ok()?),
            author: self
                .user
                .as_ref()
                .map_or("ghost", |user| &user.login)
                .to_owned(),
            body: self.body.clone().unwrap_or_default(),
            created_at: self.created_at,
            updated_at: self.updated_at,
        })
    }
}

/// Whether two logins are of one account: GitHub does not tell their letters' cases apart.
pub(super) fn same_account(user: Option<&UserWire>, account: &str) -> bool {
    user.is_some_and(|user| user.login.eq_ignore_ascii_case(account))
}

fn list_route(since: Timestamp) -> String {
    let since = since.to_rfc3339_opts(SecondsFormat::Secs, true);
    format!("/issues/comments?since={since}&sort=updated&direction=asc&per_page=100")
}

impl GitHub {
    /// Comments that were written or edited at `since` or later, oldest first.
    pub(super) async fn comments_since(
        &self,
        repo: &RepoName,
        since: Timestamp,
    ) -> Result<Vec<Comment>, ForgeError> {
        let (session, repo) = self.at(repo).await?;
        let second = TimeDelta::seconds(1);
        // One second more than is asked for: GitHub calls `since` "after the given time".
        let mut from = since - second;
        let mut call = Call::get(
            &repo,
            &list_route(from),
            format!("read the comments of {repo} since {since}"),
            Right::ReadIssues,
        );
        let mut seen = HashSet::new();
        let mut comments = Vec::new();
        for _ in 0..MOST_PAGES {
            let page: Page<Vec<CommentWire>> = self.client.read(&session, &call).await?;
            for wire in page.parsed.iter().filter(|wire| wire.updated_at >= since) {
                if !seen.insert((wire.id, wire.updated_at)) {
                    continue;
                }
                comments.push(wire.to_comment().ok_or_else(|| {
                    let what = format!("the issue of comment {}", wire.id);
                    self.client.transient(&call, WireError::Lacks { what })
                })?);
            }
            let Some(next) = page.next else {
                return Ok(comments);
            };
            // The page after this one is asked for by time where that leads on. By its number
            // a comment would be skipped whenever an earlier one is edited meanwhile: that one
            // moves to the end, and all others move up by one.
            match page.parsed.last().map(|last| last.updated_at - second) {
                Some(later) if later > from => {
                    from = later;
                    call = call.at(repo.route(&list_route(from)));
                }
                _ => call = call.at(next),
            }
        }
        Err(self
            .client
            .transient(&call, WireError::Endless { pages: MOST_PAGES }))
    }

    /// Puts `body` in our one comment with that marker.
    pub(super) async fn keep_comment(
        &self,
        repo: &RepoName,
        issue: IssueNumber,
        marker: &str,
        body: &str,
        known: Option<CommentId>,
        urgency: Urgency,
    ) -> Result<KeptComment, ForgeError> {
        let desk = self.desk(repo, urgency).await?;
        if let Some(id) = known {
            match self.edit_comment(&desk, id, body).await {
                Ok(edited) => return Ok(edited.kept()),
                // Somebody deleted it: the next best is another of ours, or a new one.
                Err(ForgeError::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let account = self.own_account(&desk.session).await?;
        if let Some(account) = &account
            && let Some(kept) = self
                .keep_oldest(&desk, issue, marker, body, account)
                .await?
        {
            return Ok(kept);
        }
        let posted = self.post_comment(&desk, issue, body).await?;
        let account = match (account, &posted.user) {
            (Some(account), _) => account,
            (None, Some(author)) => {
                self.learn_account(&author.login).await;
                author.login.clone()
            }
            (None, None) => return Ok(posted.kept()),
        };
        // An earlier one may stand there all the same: whose comments are ours was learnt only
        // now, or the list was out of date, or the post was repeated on its way.
        let kept = self
            .keep_oldest(&desk, issue, marker, body, &account)
            .await?;
        Ok(kept.unwrap_or_else(|| posted.kept()))
    }

    /// Edits the oldest comment of ours with that marker, and deletes the others.
    async fn keep_oldest(
        &self,
        desk: &Desk,
        issue: IssueNumber,
        marker: &str,
        body: &str,
        account: &str,
    ) -> Result<Option<KeptComment>, ForgeError> {
        let Desk { session, repo, .. } = desk;
        let call = Call::get(
            repo,
            &format!("/issues/{issue}/comments?per_page=100"),
            format!("look for our comment on {repo}#{issue}"),
            Right::ReadIssues,
        )
        .about(format!("{repo}#{issue}"));
        let all: Vec<Posted> = self.client.list(session, &call).await?;
        let mut ours: Vec<Posted> = all
            .into_iter()
            .filter(|comment| same_account(comment.user.as_ref(), account))
            .filter(|comment| {
                comment
                    .body
                    .as_deref()
                    .is_some_and(|body| body.starts_with(marker))
            })
            .collect();
        ours.sort_by_key(|comment| comment.id);
        ours.dedup_by_key(|comment| comment.id);
        let mut ours = ours.into_iter();
        let Some(mut oldest) = ours.next() else {
            return Ok(None);
        };
        if oldest.body.as_deref() != Some(body) {
            oldest = self.edit_comment(desk, CommentId(oldest.id), body).await?;
        }
        for other in ours {
            warn!(
                comment = other.id,
                "Deleting a second comment of ours on {repo}#{issue}"
            );
            let call = Call::write(
                Method::DELETE,
                repo,
                &format!("/issues/comments/{}", other.id),
                None,
                format!("delete a second comment of ours on {repo}#{issue}"),
                Right::WriteComments,
            );
            match self.client.done(session, &call).await {
                Ok(()) | Err(ForgeError::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Some(oldest.kept()))
    }

    /// Edits a comment. GitHub publishes `PATCH` for it.
    async fn edit_comment(
        &self,
        desk: &Desk,
        id: CommentId,
        body: &str,
    ) -> Result<Posted, ForgeError> {
        let Desk { session, repo, .. } = desk;
        let call = Call::write(
            Method::PATCH,
            repo,
            &format!("/issues/comments/{id}"),
            Some(json!({ "body": body })),
            format!("edit comment {id} of {repo}"),
            Right::WriteComments,
        )
        .about(format!("comment {id} of {repo}"))
        .so_urgent(desk.urgency);
        self.client.json(session, &call).await
    }

    async fn post_comment(
        &self,
        desk: &Desk,
        issue: IssueNumber,
        body: &str,
    ) -> Result<Posted, ForgeError> {
        let Desk { session, repo, .. } = desk;
        let call = Call::write(
            Method::POST,
            repo,
            &format!("/issues/{issue}/comments"),
            Some(json!({ "body": body })),
            format!("comment on {repo}#{issue}"),
            Right::WriteComments,
        )
        .about(format!("{repo}#{issue}"))
        .so_urgent(desk.urgency);
        self.client.json(session, &call).await
    }

    /// One comment as it stands.
    pub(super) async fn comment_of(
        &self,
        repo: &RepoName,
        id: CommentId,
    ) -> Result<Comment, ForgeError> {
        let (session, repo) = self.at(repo).await?;
        let call = Call::get(
            &repo,
            &format!("/issues/comments/{id}"),
            format!("read comment {id} of {repo}"),
            Right::ReadIssues,
        )
        .about(format!("comment {id} of {repo}"));
        let page: Page<CommentWire> = self.client.read(&session, &call).await?;
        page.parsed.to_comment().ok_or_else(|| {
            let what = format!("the issue of comment {id}");
            self.client.transient(&call, WireError::Lacks { what })
        })
    }
}
