//! What the tests of pull requests do and look at, beside what every scenario can.

use serde_json::Value;

use crate::scenario::{BOT, Scenario, one_file};

/// The folder `network` with its one file of the world.
pub(crate) const NETWORK: &str = "network/main.tf";

/// The root module of `network` with this subnet.
pub(crate) fn subnet(content: &str) -> String {
    one_file("subnet", content)
}

/// A root module out of these blocks.
pub(crate) fn module(blocks: &[&str]) -> String {
    let requirement = format!(
        "terraform {{\n  required_providers {{\n    localfs = {{ source = \"{}\" }}\n  }}\n}}\n",
        mainstay::provider::SOURCE
    );
    std::iter::once(requirement.as_str())
        .chain(blocks.iter().copied())
        .collect::<Vec<_>>()
        .join("\n")
}

/// A file of the world as a resource: `content` is an expression, and `more` are attributes.
pub(crate) fn resource(name: &str, content: &str, more: &str) -> String {
    format!(
        "resource \"localfs_file\" \"{name}\" {{\n  path = \"{name}.txt\"\n  content = {content}\n  {more}\n}}\n"
    )
}

/// The first digits of a commit id, as comments show it.
pub(crate) fn short(commit: &str) -> &str {
    &commit[..7]
}

impl Scenario {
    /// A scenario whose `network` is applied with the subnet 10.0.0.0/24.
    pub(crate) async fn with_network() -> Self {
        let mut s = Self::new().await;
        s.applied(&[(NETWORK, &subnet("10.0.0.0/24"))]).await;
        s
    }

    /// Commits on a branch that begins at main, and has alice open a pull request from it.
    /// Gives its number and its head.
    pub(crate) fn opens(&self, branch: &str, files: &[(&str, &str)]) -> (u64, String) {
        let head = self
            .repo
            .commit(branch, files, &format!("Work on {branch}"));
        let pull = self.repo.open_pull(branch, branch, "main", "alice");
        (pull, head)
    }

    /// Waits until a head is planned and the comment tells of it; gives the comment.
    pub(crate) async fn planned(&mut self, pull: u64, head: &str) -> String {
        self.status_is(head, "mainstay/plan", "success").await;
        self.comment_with(pull, &format!("`{}` on `main`", short(head)))
            .await
    }

    /// The id of our comment on a pull request.
    pub(crate) fn comment_id(&self, pull: u64) -> Option<u64> {
        let comments = self.repo.comments(pull);
        comments.iter().find(|c| c.author == BOT).map(|c| c.id)
    }

    /// The runs of a workspace for one purpose, oldest first.
    pub(crate) fn runs_of(&self, purpose: &str, workspace: &str) -> Vec<Value> {
        let mut runs = self.runs();
        runs.retain(|run| run["purpose"] == purpose && run["workspace"] == workspace);
        runs.reverse();
        runs
    }

    /// The states of those runs.
    pub(crate) fn states_of(&self, purpose: &str, workspace: &str) -> Vec<String> {
        let state = |run: &Value| run["state"].as_str().unwrap_or_default().to_owned();
        self.runs_of(purpose, workspace).iter().map(state).collect()
    }

    /// Waits until the newest of those runs is in a state.
    pub(crate) async fn newest_is(&mut self, purpose: &str, workspace: &str, state: &str) {
        let what = format!("the newest {purpose} of {workspace} being {state}");
        self.wait(&what, |s| {
            let states = s.states_of(purpose, workspace);
            (states.last().map(String::as_str) == Some(state)).then_some(())
        })
        .await;
    }

    /// Waits until the daemon's log has a text.
    pub(crate) async fn logged(&mut self, text: &str) {
        self.wait(&format!("`{text}` in the log"), |s| {
            s.log().contains(text).then_some(())
        })
        .await;
    }

    /// Waits until the daemon has looked at what is there now, and nothing of it is left to do.
    pub(crate) async fn settles(&mut self) {
        for _ in 0..2 {
            let looks = |s: &Self| {
                let requests = s.hub.requests();
                requests.iter().filter(|r| r.path == "/graphql").count()
            };
            let before = looks(self);
            self.wait("two more looks", |s| (looks(s) >= before + 2).then_some(()))
                .await;
            self.wait("every run to end", |s| {
                let ended = |run: &Value| {
                    !matches!(
                        run["state"].as_str(),
                        Some("queued" | "preparing" | "planning" | "applying")
                    )
                };
                s.runs().iter().all(ended).then_some(())
            })
            .await;
        }
    }

    /// How much we wrote to the forge so far: comments, statuses, issues, reactions.
    pub(crate) fn written(&self) -> usize {
        self.hub.truth().iter().filter(|t| t.by == BOT).count()
    }

    /// What `mainstay status` says of a repository.
    pub(crate) fn status_of(&self, repo: &str) -> Value {
        let status = self.json(&["status", "--format", "json"]);
        let all = status["repositories"].as_array().cloned();
        all.into_iter()
            .flatten()
            .find(|known| known["repository"] == repo)
            .unwrap_or_else(|| panic!("{repo} is not in {status}"))
    }

    /// Waits until the last look at a repository failed with a text.
    pub(crate) async fn look_fails(&mut self, repo: &str, text: &str) {
        self.wait(&format!("a look at {repo} failing with `{text}`"), |s| {
            let error = s.status_of(repo)["error"].as_str()?.to_owned();
            error.contains(text).then_some(())
        })
        .await;
    }

    /// Waits until the last look at a repository did not fail.
    pub(crate) async fn look_succeeds(&mut self, repo: &str) {
        self.wait(&format!("a good look at {repo}"), |s| {
            s.status_of(repo)["error"].is_null().then_some(())
        })
        .await;
    }
}
