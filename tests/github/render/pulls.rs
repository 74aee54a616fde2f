//! Pull requests and their reviews.

use serde_json::{Value, json};

use super::{View, maybe_time, node_id, time};
use crate::github::git;
use crate::github::world::{Draft, Issue, Pull, Repo, Review, TestMerge};

impl View<'_> {
    /// A pull request in a list, as `pull-request-simple`.
    pub(crate) fn pull_in_list(&self, repo: &Repo, issue: &Issue, pull: &Pull) -> Value {
        let mut value = self.issue(repo, issue);
        let url = format!("{}/pulls/{}", self.repo_url(repo), issue.number);
        let issue_url = format!("{}/issues/{}", self.repo_url(repo), issue.number);
        let statuses = format!("{}/statuses/{}", self.repo_url(repo), pull.head_sha);
        let page = value["html_url"].as_str().unwrap_or_default().to_owned();
        if let Some(fields) = value.as_object_mut() {
            for only_of_issues in [
                "repository_url",
                "labels_url",
                "events_url",
                "timeline_url",
                "state_reason",
                "comments",
                "closed_by",
                "reactions",
                "performed_via_github_app",
                "pull_request",
            ] {
                fields.remove(only_of_issues);
            }
        }
        let merge_commit = match (&pull.merged, &pull.test_merge) {
            (Some(merged), _) => Value::from(merged.sha.clone()),
            (None, TestMerge::Clean(sha)) => sha.clone().into(),
            (None, TestMerge::Unknown | TestMerge::Conflict) => Value::Null,
        };
        // A pull request's own id is not that of its issue; the node id is the same.
        value["id"] = pull.id.into();
        value["url"] = url.clone().into();
        value["diff_url"] = format!("{page}.diff").into();
        value["patch_url"] = format!("{page}.patch").into();
        value["issue_url"] = issue_url.clone().into();
        value["commits_url"] = format!("{url}/commits").into();
        value["review_comments_url"] = format!("{url}/comments").into();
        value["review_comment_url"] =
            format!("{}/pulls/comments{{/number}}", self.repo_url(repo)).into();
        value["statuses_url"] = statuses.clone().into();
        value["merged_at"] = maybe_time(pull.merged.as_ref().map(|merged| merged.at));
        value["merge_commit_sha"] = merge_commit;
        value["requested_reviewers"] = json!([]);
        value["requested_teams"] = json!([]);
        value["auto_merge"] = Value::Null;
        value["draft"] = (pull.draft == Draft::Yes).into();
        value["head"] = self.side(
            self.world.repos.get(&pull.head_repo),
            &pull.head_repo,
            &pull.head_ref,
            &pull.head_sha,
        );
        value["base"] = self.side(
            Some(repo),
            &repo.full_name(),
            &pull.base_ref,
            &pull.base_sha,
        );
        value["_links"] = json!({
            "self": { "href": url },
            "html": { "href": page },
            "issue": { "href": issue_url },
            "comments": { "href": format!("{issue_url}/comments") },
            "review_comments": { "href": format!("{url}/comments") },
            "review_comment": { "href": value["review_comment_url"] },
            "commits": { "href": format!("{url}/commits") },
            "statuses": { "href": statuses },
        });
        value
    }

    /// A pull request by itself.
    pub(crate) fn pull(&self, repo: &Repo, issue: &Issue, pull: &Pull) -> Value {
        let mut value = self.pull_in_list(repo, issue, pull);
        let (mergeable, state) = match (&pull.merged, &pull.test_merge) {
            (Some(_), _) | (None, TestMerge::Unknown) => (Value::Null, "unknown"),
            (None, TestMerge::Clean(_)) => (true.into(), "clean"),
            (None, TestMerge::Conflict) => (false.into(), "dirty"),
        };
        value["merged"] = pull.merged.is_some().into();
        value["mergeable"] = mergeable.clone();
        value["rebaseable"] = mergeable;
        value["mergeable_state"] = state.into();
        value["merged_by"] = pull
            .merged
            .as_ref()
            .map_or(Value::Null, |merged| self.user(&merged.by));
        value["comments"] = issue.comments.len().into();
        value["review_comments"] = 0.into();
        value["maintainer_can_modify"] = false.into();
        let size = git::change_size(&repo.dir, &pull.base_sha, &pull.head_sha).unwrap_or_default();
        value["commits"] = size.commits.into();
        value["additions"] = size.additions.into();
        value["deletions"] = size.deletions.into();
        value["changed_files"] = size.files.into();
        value
    }

    /// The head or the base of a pull request. `repo` is `None` where a fork was deleted.
    fn side(&self, repo: Option<&Repo>, key: &str, branch: &str, sha: &str) -> Value {
        let owner = repo.map_or_else(
            || key.split('/').next().unwrap_or_default().to_owned(),
            |repo| repo.owner.clone(),
        );
        json!({
            "label": format!("{owner}:{branch}"),
            "ref": branch,
            "sha": sha,
            "user": self.user(&owner),
            "repo": repo.map_or(Value::Null, |repo| self.repo(repo)),
        })
    }

    /// A review.
    pub(crate) fn review(&self, repo: &Repo, number: u64, review: &Review) -> Value {
        let page = format!(
            "{}/{}/pull/{number}#pullrequestreview-{}",
            self.web(),
            repo.full_name(),
            review.id
        );
        let pull = format!("{}/pulls/{number}", self.repo_url(repo));
        json!({
            "id": review.id,
            "node_id": node_id("PRR", review.id),
            "user": self.user(&review.author),
            "body": review.body,
            "state": review.state,
            "html_url": page,
            "pull_request_url": pull,
            "author_association": repo.association(&review.author),
            "_links": { "html": { "href": page }, "pull_request": { "href": pull } },
            "submitted_at": time(review.submitted_at),
            "commit_id": review.commit,
        })
    }
}
