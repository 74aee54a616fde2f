//! What the tests of pull requests do and look at, beside what every scenario can.

use std::time::Duration;

use serde_json::Value;

use crate::github::fault::{Fault, FaultKind, When};
use crate::scenario::{BOT, Scenario, one_file};

/// The folder `network` with its one file of the world.
pub(crate) const NETWORK: &str = "network/main.tf";

/// The root module of `network` with this subnet.
pub(crate) fn subnet(content: &str) -> String {
    one_file("subnet", content)
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

    /// The states of the runs for a purpose in a workspace, oldest first.
    pub(crate) fn states_of(&self, purpose: &str, workspace: &str) -> Vec<String> {
        let state = |run: &Value| run["state"].as_str().unwrap_or_default().to_owned();
        let runs = self.runs_for(purpose, workspace);
        runs.iter().map(state).collect()
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
            self.looks_pass(2).await;
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

    /// Holds the next look back for two seconds: what a test does in them falls between two looks.
    pub(crate) async fn between_two_looks(&mut self) {
        let look = When::Call("POST", "/graphql");
        let stall = FaultKind::Stall(Duration::from_secs(2));
        self.hub.fault(Fault::new(look, 1, stall));
        self.wait("a look that is held back", |s| {
            s.hub.faults_left().is_empty().then_some(())
        })
        .await;
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
