//! Reactions of ours to a comment.

use http::Method;
use serde::Deserialize;
use serde_json::json;
use tracing::warn;

use super::address::RepoPath;
use super::call::{Call, Right};
use super::comments::{UserWire, same_account};
use super::session::Session;
use super::{Desk, GitHub};
use crate::forge::{ForgeError, Reaction, Urgency};
use crate::id::{CommentId, RepoName};

#[derive(Deserialize, Clone)]
struct ReactionWire {
    id: u64,
    content: String,
    user: Option<UserWire>,
}

/// The word that GitHub has for a reaction.
fn content(reaction: Reaction) -> &'static str {
    match reaction {
        Reaction::Eyes => "eyes",
        Reaction::Rocket => "rocket",
        Reaction::Confused => "confused",
    }
}

impl GitHub {
    /// Makes `reactions` the only ones of ours: the missing ones first, so that there is
    /// never none in between.
    pub(super) async fn keep_reactions(
        &self,
        repo: &RepoName,
        comment: CommentId,
        reactions: &[Reaction],
        urgency: Urgency,
    ) -> Result<(), ForgeError> {
        let desk = self.desk(repo, urgency).await?;
        let Desk { session, repo, .. } = &desk;
        let mut account = self.own_account(session).await?;
        let mut present = Vec::new();
        if let Some(account) = &account {
            present = self.our_reactions(session, repo, comment, account).await?;
        }
        for reaction in reactions {
            let wanted = content(*reaction);
            if present.iter().any(|there| there.content == wanted) {
                continue;
            }
            let added = self.add_reaction(&desk, comment, wanted).await?;
            if let Some(author) = added.user.filter(|_| account.is_none()) {
                self.learn_account(&author.login).await;
                present = self
                    .our_reactions(session, repo, comment, &author.login)
                    .await?;
                account = Some(author.login);
            }
        }
        if account.is_none() {
            warn!(
                "It is not known yet which reactions to comment {comment} of {repo} are ours; none is taken away"
            );
        }
        let surplus = |there: &&ReactionWire| {
            !reactions
                .iter()
                .any(|reaction| content(*reaction) == there.content)
        };
        for there in present.iter().filter(surplus) {
            let call = Call::write(
                Method::DELETE,
                repo,
                &format!("/issues/comments/{comment}/reactions/{}", there.id),
                None,
                format!("take a reaction back from comment {comment} of {repo}"),
                Right::WriteComments,
            );
            match self.client.done(session, &call).await {
                Ok(()) | Err(ForgeError::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn our_reactions(
        &self,
        session: &Session,
        repo: &RepoPath,
        comment: CommentId,
        account: &str,
    ) -> Result<Vec<ReactionWire>, ForgeError> {
        let call = Call::get(
            repo,
            &format!("/issues/comments/{comment}/reactions?per_page=100"),
            format!("list the reactions to comment {comment} of {repo}"),
            Right::ReadIssues,
        )
        .about(format!("comment {comment} of {repo}"));
        let mut all: Vec<ReactionWire> = self.client.list(session, &call).await?;
        all.retain(|reaction| same_account(reaction.user.as_ref(), account));
        Ok(all)
    }

    /// Adds a reaction; GitHub answers 201, and 200 where it was there.
    async fn add_reaction(
        &self,
        desk: &Desk,
        comment: CommentId,
        content: &str,
    ) -> Result<ReactionWire, ForgeError> {
        let Desk { session, repo, .. } = desk;
        let call = Call::write(
            Method::POST,
            repo,
            &format!("/issues/comments/{comment}/reactions"),
            Some(json!({ "content": content })),
            format!("react to comment {comment} of {repo}"),
            Right::WriteComments,
        )
        .about(format!("comment {comment} of {repo}"))
        .so_urgent(desk.urgency);
        self.client.json(session, &call).await
    }
}
