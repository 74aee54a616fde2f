//! What the daemon's looks cost of GitHub's budgets while nothing happens, and what they see.

use std::sync::{Arc, Mutex};

use crate::github::fault::{Fault, FaultKind, When};
use crate::github::git::Method;
use crate::github::log::{Budget, LoggedRequest};
use crate::scenario::{BOT, Scenario, declaration, one_file, one_value, workspace};

/// Idle looks that are watched.
const IDLE: usize = 6;

/// What a request was, for a message.
fn line(request: &LoggedRequest) -> String {
    format!(
        "{} {}?{} {:?} {:?}",
        request.method, request.path, request.query, request.status, request.budget
    )
}

/// Waits until the daemon has nothing more to do, then gives the requests of [`IDLE`] looks.
///
/// Looks for almost three seconds that cost nothing of the REST budget are taken for the end of the
/// work: comments are read once more after the second of a change. A daemon that never comes to it
/// fails here.
async fn idle_requests(s: &mut Scenario) -> Vec<LoggedRequest> {
    loop {
        let from = s.hub.requests().len();
        s.looks_pass(14).await;
        if costs(&s.requests_since(from)).is_empty() {
            break;
        }
    }
    let from = s.hub.requests().len();
    s.looks_pass(IDLE).await;
    s.requests_since(from)
}

/// The requests that were taken from the REST budget.
fn costs(requests: &[LoggedRequest]) -> Vec<String> {
    requests
        .iter()
        .filter(|r| r.budget == Budget::Core)
        .map(line)
        .collect()
}

/// Opens a pull request that changes the one value, and waits until it is planned.
async fn planned_pull(s: &mut Scenario, value: &str) -> u64 {
    let head = s.repo.commit(
        "change",
        &[("network/main.tf", &one_value(value))],
        "Change",
    );
    let pull = s.repo.open_pull("Change", "change", "main", "alice");
    s.status_is(&head, "mainstay/plan", "success").await;
    pull
}

/// How many looks pass until `seen` gives something, which must come to pass.
async fn looks_until(s: &mut Scenario, what: &str, seen: impl Fn(&Scenario) -> bool) -> usize {
    let before = s.looks();
    s.wait(what, |s| seen(s).then_some(())).await;
    s.looks() - before
}

fn has_reaction(s: &Scenario, issue: u64, comment: u64, content: &str) -> bool {
    let reaction = (BOT.to_owned(), content.to_owned());
    s.repo
        .comments(issue)
        .into_iter()
        .any(|c| c.id == comment && c.reactions.contains(&reaction))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_look_is_one_graphql_query_and_no_rest_request() {
    let mut s = Scenario::new().await;
    s.applied(&[("network/main.tf", &one_value("a"))]).await;
    planned_pull(&mut s, "b").await;
    // GitHub's times are whole seconds, so that comments are read until the last change's is over.
    for _ in 0..20 {
        let from = s.hub.requests().len();
        s.looks_pass(3).await;
        if s.requests_since(from).iter().all(|r| r.path == "/graphql") {
            break;
        }
    }

    for request in idle_requests(&mut s).await {
        assert_eq!(
            (request.path.as_str(), request.budget),
            ("/graphql", Budget::Graphql(1)),
            "{}",
            line(&request)
        );
    }
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_graphql_is_refused_an_idle_look_is_answered_by_304s_alone() {
    let mut s = Scenario::new().await;
    s.hub.refuse_graphql(Some(403));
    s.applied(&[("network/main.tf", &one_value("a"))]).await;
    planned_pull(&mut s, "b").await;

    let requests = idle_requests(&mut s).await;
    for request in &requests {
        assert_eq!(
            (request.status, request.budget),
            (Some(304), Budget::Free),
            "{}",
            line(request)
        );
    }
    assert!(
        requests.iter().any(|r| r.path.ends_with("/pulls")),
        "the pull requests are looked at"
    );
    assert!(
        requests.iter().any(|r| r.path.ends_with("/branches/main")),
        "the base branch is looked at"
    );
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_graphql_is_refused_a_new_push_is_seen_all_the_same() {
    let mut s = Scenario::new().await;
    s.hub.refuse_graphql(Some(404));
    s.applied(&[("network/main.tf", &one_value("a"))]).await;
    let pull = planned_pull(&mut s, "b").await;
    idle_requests(&mut s).await;

    let head = s
        .repo
        .commit("change", &[("network/main.tf", &one_value("c"))], "Again");
    s.status_is(&head, "mainstay/plan", "success").await;
    s.comment_with(pull, "\"c\"").await;
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_on_a_merged_pull_request_with_a_hold_is_seen_soon_and_waiting_for_it_is_free() {
    let mut s = Scenario::new().await;
    s.applied(&[("network/main.tf", &one_value("a"))]).await;
    s.stop();
    s.declare(
        "acme.toml",
        &declaration(
            "acme/infra",
            &workspace("network", "apply = \"on-approval\""),
        ),
    );
    s.start();
    let pull = planned_pull(&mut s, "b").await;
    let merged = s.repo.merge(pull, Method::Squash, "alice").unwrap();
    s.status_is(&merged, "mainstay/apply", "pending").await;
    s.comment_with(pull, "mainstay apply network").await;

    let requests = idle_requests(&mut s).await;
    assert_eq!(costs(&requests), [""; 0]);
    assert!(
        requests
            .iter()
            .any(|r| r.path.ends_with("/issues/comments")),
        "the comments are looked at"
    );

    let command = s.repo.comment(pull, "alice", "mainstay apply");
    let looks = looks_until(&mut s, "the command to be seen", |s| {
        has_reaction(s, pull, command, "eyes")
    })
    .await;
    assert!(looks <= 5, "it was seen after {looks} looks");
    s.status_is(&merged, "mainstay/apply", "success").await;
    s.wait("the command to be done", |s| {
        has_reaction(s, pull, command, "rocket").then_some(())
    })
    .await;

    for request in idle_requests(&mut s).await {
        assert_eq!(request.path, "/graphql", "{}", line(&request));
    }
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_on_a_drift_issue_is_seen_soon_and_waiting_for_it_is_free() {
    let mut s = Scenario::new().await;
    s.applied(&[("network/main.tf", &one_file("subnet", "10.0.0.0/24"))])
        .await;
    std::fs::write(s.world().join("subnet.txt"), "by hand").unwrap();
    let found = s.run(&["drift"]);
    assert_eq!(found.code, 2, "{}{}", found.stdout, found.stderr);
    let issue = s
        .wait("the drift issue", |s| {
            s.repo.issues().into_iter().find(|i| i.state == "open")
        })
        .await;
    assert_eq!(issue.title, "Drift in network");
    assert_eq!(costs(&idle_requests(&mut s).await), [""; 0]);

    let command = s.repo.comment(issue.number, "alice", "mainstay apply");
    let looks = looks_until(&mut s, "the command to be seen", |s| {
        has_reaction(s, issue.number, command, "eyes")
    })
    .await;
    assert!(looks <= 5, "it was seen after {looks} looks");
    s.wait("the drift to be undone", |s| {
        (s.in_world("subnet.txt")? == "10.0.0.0/24").then_some(())
    })
    .await;
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_repositories_are_looked_at_with_two_queries() {
    let mut s = Scenario::new().await;
    // One is the scenario's own.
    for nth in 1..60 {
        let repo = s.another(&format!("acme/infra-{nth:02}"));
        repo.commit("main", &[("README.md", "nothing to run here\n")], "Begin");
    }
    let commit = s
        .repo
        .commit("main", &[("network/main.tf", &one_value("a"))], "Begin");
    let asked: Arc<Mutex<Vec<usize>>> = Arc::default();
    let heard = Arc::clone(&asked);
    // It hears of every request and breaks none.
    let listen = When::matches_if(move |_, path, body| {
        if path == "/graphql" {
            let query = String::from_utf8_lossy(body);
            heard
                .lock()
                .unwrap()
                .push(query.matches("repository(owner:").count());
        }
        false
    });
    s.hub.fault(Fault::new(listen, 1, FaultKind::Status(500)));
    s.start();
    s.status_is(&commit, "mainstay/apply", "success").await;

    let requests = idle_requests(&mut s).await;
    for request in &requests {
        assert_eq!(
            (request.path.as_str(), request.budget),
            ("/graphql", Budget::Graphql(1)),
            "{}",
            line(request)
        );
    }
    let asked = asked.lock().unwrap().clone();
    assert!(asked.len() >= IDLE, "{asked:?}");
    for look in asked.chunks_exact(2) {
        assert_eq!(look, [50, 10]);
    }
    s.hub.clear_faults();
    s.end().await;
}
