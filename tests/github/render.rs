//! The JSON of GitHub's REST API, with every field that its schemas require.

mod pulls;
mod repos;

use chrono::SecondsFormat;
use serde_json::{Value, json};

use super::world::{
    Account, AccountKind, CommentRecord, Draft, Issue, Label, Lock, ReactionRecord, Repo, Time,
    World,
};

/// The reactions that GitHub has.
pub(crate) const REACTIONS: [&str; 8] = [
    "+1", "-1", "laugh", "confused", "heart", "hooray", "rocket", "eyes",
];

/// What is shown, under which addresses.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) world: &'a World,
    /// `http://127.0.0.1:PORT`, with `/api/v3` where the request came that way.
    pub(crate) api: &'a str,
}

/// A time as GitHub writes it.
pub(crate) fn time(time: Time) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

fn maybe_time(at: Option<Time>) -> Value {
    at.map_or(Value::Null, |at| time(at).into())
}

/// An id for GraphQL, opaque to clients.
pub(crate) fn node_id(prefix: &str, id: u64) -> String {
    format!("{prefix}_kwDO{id:x}")
}

impl View<'_> {
    fn web(&self) -> &str {
        &self.world.origin
    }

    /// `{api}/repos/{owner}/{name}`.
    pub(crate) fn repo_url(&self, repo: &Repo) -> String {
        format!("{}/repos/{}", self.api, repo.full_name())
    }

    /// An account by its login; `null` where there is none any more.
    pub(crate) fn user(&self, login: &str) -> Value {
        self.world
            .accounts
            .get(&login.to_lowercase())
            .map_or(Value::Null, |a| self.account(a))
    }

    /// An account, as `simple-user`.
    pub(crate) fn account(&self, account: &Account) -> Value {
        let Account {
            id,
            login,
            kind,
            created_at: _,
        } = account;
        let escaped = login.replace('[', "%5B").replace(']', "%5D");
        let url = format!("{}/users/{escaped}", self.api);
        let page = match kind {
            AccountKind::Bot => format!("apps/{}", login.trim_end_matches("[bot]")),
            AccountKind::User | AccountKind::Organization => login.clone(),
        };
        json!({
            "login": login,
            "id": id,
            "node_id": node_id("U", *id),
            "avatar_url": format!("{}/avatars/u/{id}?v=4", self.web()),
            "gravatar_id": "",
            "url": url,
            "html_url": format!("{}/{page}", self.web()),
            "followers_url": format!("{url}/followers"),
            "following_url": format!("{url}/following{{/other_user}}"),
            "gists_url": format!("{url}/gists{{/gist_id}}"),
            "starred_url": format!("{url}/starred{{/owner}}{{/repo}}"),
            "subscriptions_url": format!("{url}/subscriptions"),
            "organizations_url": format!("{url}/orgs"),
            "repos_url": format!("{url}/repos"),
            "events_url": format!("{url}/events{{/privacy}}"),
            "received_events_url": format!("{url}/received_events"),
            "type": kind.name(),
            "user_view_type": "public",
            "site_admin": false,
        })
    }

    /// A label.
    pub(crate) fn label(&self, repo: &Repo, label: &Label) -> Value {
        json!({
            "id": label.id,
            "node_id": node_id("LA", label.id),
            "url": format!("{}/labels/{}", self.repo_url(repo), label.name.replace(' ', "%20")),
            "name": label.name,
            "color": label.color,
            "default": false,
            "description": label.description,
        })
    }

    fn labels(&self, repo: &Repo, names: &[String]) -> Value {
        repo.labels
            .iter()
            .filter(|label| names.contains(&label.name))
            .map(|label| self.label(repo, label))
            .collect()
    }

    /// An issue, or a pull request as an issue.
    pub(crate) fn issue(&self, repo: &Repo, issue: &Issue) -> Value {
        let url = format!("{}/issues/{}", self.repo_url(repo), issue.number);
        let kind = if issue.pull.is_some() {
            "pull"
        } else {
            "issues"
        };
        let page = format!(
            "{}/{}/{kind}/{}",
            self.web(),
            repo.full_name(),
            issue.number
        );
        let prefix = if issue.pull.is_some() { "PR" } else { "I" };
        let mut value = json!({
            "id": issue.id,
            "node_id": node_id(prefix, issue.id),
            "url": url,
            "repository_url": self.repo_url(repo),
            "labels_url": format!("{url}/labels{{/name}}"),
            "comments_url": format!("{url}/comments"),
            "events_url": format!("{url}/events"),
            "timeline_url": format!("{url}/timeline"),
            "html_url": page,
            "number": issue.number,
            "state": issue.open.name(),
            "state_reason": issue.state_reason,
            "title": issue.title,
            "body": issue.body,
            "user": self.user(&issue.author),
            "labels": self.labels(repo, &issue.labels),
            "assignee": null,
            "assignees": [],
            "milestone": null,
            "locked": issue.lock == Lock::Yes,
            "active_lock_reason": null,
            "comments": issue.comments.len(),
            "author_association": repo.association(&issue.author),
            "closed_at": maybe_time(issue.closed_at),
            "closed_by": issue.closed_by.as_deref().map_or(Value::Null, |by| self.user(by)),
            "created_at": time(issue.created_at),
            "updated_at": time(issue.updated_at),
            "reactions": rollup(&url, &[]),
            "performed_via_github_app": null,
        });
        if let Some(pull) = &issue.pull {
            value["draft"] = (pull.draft == Draft::Yes).into();
            value["pull_request"] = json!({
                "url": format!("{}/pulls/{}", self.repo_url(repo), issue.number),
                "html_url": page,
                "diff_url": format!("{page}.diff"),
                "patch_url": format!("{page}.patch"),
                "merged_at": maybe_time(pull.merged.as_ref().map(|merged| merged.at)),
            });
        }
        value
    }

    /// A comment.
    pub(crate) fn comment(&self, repo: &Repo, issue: u64, comment: &CommentRecord) -> Value {
        let url = format!("{}/issues/comments/{}", self.repo_url(repo), comment.id);
        let is_pull = repo
            .issues
            .get(&issue)
            .is_some_and(|issue| issue.pull.is_some());
        let kind = if is_pull { "pull" } else { "issues" };
        json!({
            "id": comment.id,
            "node_id": node_id("IC", comment.id),
            "url": url,
            "html_url": format!(
                "{}/{}/{kind}/{issue}#issuecomment-{}", self.web(), repo.full_name(), comment.id
            ),
            "issue_url": format!("{}/issues/{issue}", self.repo_url(repo)),
            "body": comment.body,
            "user": self.user(&comment.author),
            "author_association": repo.association(&comment.author),
            "created_at": time(comment.created_at),
            "updated_at": time(comment.updated_at),
            "reactions": rollup(&url, &comment.reactions),
            "performed_via_github_app": null,
        })
    }

    /// A reaction.
    pub(crate) fn reaction(&self, reaction: &ReactionRecord) -> Value {
        json!({
            "id": reaction.id,
            "node_id": node_id("REA", reaction.id),
            "user": self.user(&reaction.user),
            "content": reaction.content,
            "created_at": time(reaction.created_at),
        })
    }
}

fn rollup(url: &str, reactions: &[ReactionRecord]) -> Value {
    let mut value = json!({ "url": format!("{url}/reactions"), "total_count": reactions.len() });
    for content in REACTIONS {
        let count = reactions
            .iter()
            .filter(|reaction| reaction.content == content)
            .count();
        value[content] = count.into();
    }
    value
}
