//! What goes wrong between the daemon and GitHub: lost answers, limits, refusals, stalls.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::github::fault::{Fault, FaultKind, When};
use crate::github::git::Method;
use crate::github::limit::Resource;
use crate::github::log::Effect;
use crate::github::world::Role;
use crate::scenario::{BOT, Scenario, one_value};

const COMMENTS: When = When::Call("POST", "/repos/acme/infra/issues/*/comments");
const EDITS: When = When::Call("PATCH", "/repos/acme/infra/issues/comments/*");
const STATUSES: When = When::Call("POST", "/repos/acme/infra/statuses/*");
const GRAPHQL: When = When::Call("POST", "/graphql");

/// A scenario whose workspace is applied at a first value.
async fn begun() -> Scenario {
    let mut s = Scenario::new().await;
    s.applied(&[("network/main.tf", &one_value("a"))]).await;
    s
}

/// Opens a pull request to this value, and gives its number and head.
fn open(s: &Scenario, value: &str) -> (u64, String) {
    let head = push(s, value);
    let pull = s
        .repo
        .open_pull("Change the value", "change", "main", "alice");
    (pull, head)
}

/// Pushes this value to the pull request's branch.
fn push(s: &Scenario, value: &str) -> String {
    s.repo.commit(
        "change",
        &[("network/main.tf", &one_value(value))],
        "Change",
    )
}

/// Opens a pull request to this value, and waits until its comment stands.
async fn opened(s: &mut Scenario, value: &str) -> u64 {
    let (pull, head) = open(s, value);
    s.comment_with(pull, "1 to change").await;
    s.status_is(&head, "mainstay/plan", "success").await;
    pull
}

/// How many comments were ever posted by us.
fn posted(s: &Scenario) -> usize {
    let truth = s.hub.truth();
    truth
        .iter()
        .filter(|t| t.by == BOT && matches!(t.effect, Effect::CommentCreated { .. }))
        .count()
}

/// Waits until every fault was met.
async fn met(s: &mut Scenario) {
    s.wait("the faults to be met", |s| {
        s.hub.faults_left().is_empty().then_some(())
    })
    .await;
}

/// Waits until `mainstay status` says this, and gives all of it.
async fn status_says(s: &mut Scenario, text: &str) -> String {
    s.wait(&format!("`mainstay status` to say `{text}`"), |s| {
        let status = s.run(&["status"]).stdout;
        status.contains(text).then_some(status)
    })
    .await
}

/// One comment stands in the end, with the right text, whatever becomes of the first post of it.
async fn one_comment_despite(kind: FaultKind) {
    let mut s = begun().await;
    s.hub.fault(Fault::new(COMMENTS, 1, kind));
    let (pull, head) = open(&s, "b");
    met(&mut s).await;
    s.status_is(&head, "mainstay/plan", "success").await;
    s.comment_with(pull, "1 to change").await;
    // What is edited is the one that stands, known or found again.
    push(&s, "c");
    s.comment_with(pull, "\"c\"").await;
    assert_eq!(posted(&s), 1, "{:?}", s.repo.comments(pull));
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_502_after_the_comment_was_posted_makes_no_second_one() {
    one_comment_despite(FaultKind::StatusAfterEffect(502)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_reset_after_the_comment_was_posted_makes_no_second_one() {
    one_comment_despite(FaultKind::ResetAfterEffect).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_cut_off_after_the_comment_was_posted_makes_no_second_one() {
    one_comment_despite(FaultKind::CutOffBody).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_503_before_the_comment_was_posted_is_tried_again() {
    one_comment_despite(FaultKind::Status(503)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_post_that_takes_effect_twice_leaves_one_comment() {
    let mut s = begun().await;
    s.hub.fault(Fault::new(COMMENTS, 1, FaultKind::Duplicate));
    let (pull, _) = open(&s, "b");
    let one = |s: &Scenario| {
        let comments = s.repo.comments(pull);
        (posted(s) == 2 && comments.len() == 1).then(|| comments[0].body.clone())
    };
    let body = s.wait("the second comment to be deleted", one).await;
    assert!(body.contains("1 to change"), "{body}");
    push(&s, "c");
    s.comment_with(pull, "\"c\"").await;
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_post_that_the_list_does_not_show_yet_leaves_one_comment() {
    let mut s = begun().await;
    s.hub
        .fault(Fault::new(COMMENTS, 1, FaultKind::ResetAfterEffect));
    // Before the first post the list is empty; before the second one it shows what was before the
    // first, since no status comes between.
    let lists = AtomicUsize::new(0);
    let second_list = When::matches_if(move |method, path, _| {
        method == "GET"
            && path == "/repos/acme/infra/issues/1/comments"
            && lists.fetch_add(1, Ordering::Relaxed) == 1
    });
    s.hub.fault(Fault::new(second_list, 1, FaultKind::Stale));
    s.hub.fault(Fault::new(STATUSES, 6, FaultKind::Status(500)));
    let (pull, _) = open(&s, "b");
    let one = |s: &Scenario| (posted(s) == 2 && s.repo.comments(pull).len() == 1).then_some(());
    s.wait("the second comment to be deleted", one).await;
    s.hub.clear_faults();
    push(&s, "c");
    s.comment_with(pull, "\"c\"").await;
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_that_fails_is_tried_again() {
    let mut s = begun().await;
    let pull = opened(&mut s, "b").await;
    s.hub.fault(Fault::new(EDITS, 1, FaultKind::Status(502)));
    push(&s, "c");
    met(&mut s).await;
    s.comment_with(pull, "\"c\"").await;
    assert_eq!(posted(&s), 1);
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn statuses_that_fail_come_in_the_end() {
    let mut s = begun().await;
    s.hub.fault(Fault::new(STATUSES, 2, FaultKind::Status(500)));
    s.hub
        .fault(Fault::new(STATUSES, 1, FaultKind::StatusAfterEffect(504)));
    let (pull, head) = open(&s, "b");
    // One thing that cannot be told keeps nothing else from being told.
    s.comment_with(pull, "1 to change").await;
    s.status_is(&head, "mainstay/plan", "success").await;
    met(&mut s).await;
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_403_with_retry_after_is_waited_for() {
    let mut s = begun().await;
    let limit = FaultKind::SecondaryLimit {
        retry_after: Some(2),
    };
    s.hub.fault(Fault::new(COMMENTS, 1, limit));
    let (pull, head) = open(&s, "b");
    met(&mut s).await;
    status_says(&mut s, "asks to wait until").await;
    s.comment_with(pull, "1 to change").await;
    s.status_is(&head, "mainstay/plan", "success").await;
    assert_eq!(posted(&s), 1);
    // The end looks for requests that came too early.
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_met_by_a_look_is_waited_for_and_said() {
    let mut s = begun().await;
    let limit = FaultKind::SecondaryLimit {
        retry_after: Some(2),
    };
    s.hub.fault(Fault::new(GRAPHQL, 1, limit));
    met(&mut s).await;
    let status = status_says(&mut s, "cannot be looked at").await;
    assert!(status.contains("asks to wait until"), "{status}");
    opened(&mut s, "b").await;
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_that_names_no_time_keeps_us_away_for_a_minute() {
    let mut s = begun().await;
    // Another server's repository, plain git without an account, is looked at all the while.
    let other = s.hub.create_repository("globex/open");
    other.publish();
    other.commit("main", &[("README.md", "nothing\n")], "Begin");
    s.stop();
    s.declare(
        "other.toml",
        &crate::scenario::declaration(
            &format!("{}/globex/open.git", s.hub.web_url()),
            &crate::scenario::workspace("elsewhere", ""),
        ),
    );
    let limit = FaultKind::SecondaryLimit { retry_after: None };
    s.hub.fault(Fault::new(GRAPHQL, 1, limit));
    s.start();
    met(&mut s).await;
    let from = s.hub.requests().len();
    s.wait("five looks at the other repository", |s| {
        let requests = s.requests_since(from);
        let looks = requests.iter().filter(|r| r.path.ends_with("/info/refs"));
        (looks.count() >= 5).then_some(())
    })
    .await;
    let api: Vec<_> = s
        .requests_since(from)
        .into_iter()
        .filter(|r| !r.path.starts_with("/globex/"))
        .collect();
    assert!(api.is_empty(), "{api:?}");
    let told = status_says(&mut s, "asks to wait until").await;
    assert!(told.contains("acme/infra"), "{told}");
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_used_up_rest_budget_is_waited_for() {
    let mut s = begun().await;
    let limit = FaultKind::PrimaryLimit {
        reset_in: Duration::from_secs(2),
    };
    s.hub.fault(Fault::new(STATUSES, 1, limit));
    opened(&mut s, "b").await;
    met(&mut s).await;
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_used_up_graphql_budget_is_waited_for() {
    let mut s = begun().await;
    let limit = FaultKind::PrimaryLimit {
        reset_in: Duration::from_secs(2),
    };
    s.hub.fault(Fault::new(GRAPHQL, 1, limit));
    met(&mut s).await;
    opened(&mut s, "b").await;
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_that_is_small_is_never_overdrawn() {
    let mut s = begun().await;
    // So small that planning, telling and looking meet its end several times over.
    s.hub
        .set_rate_limit(Resource::Core, 4, Duration::from_secs(2));
    s.hub
        .set_rate_limit(Resource::Graphql, 5, Duration::from_secs(2));
    let pull = opened(&mut s, "b").await;
    let merged = s.repo.merge(pull, Method::Squash, "alice").unwrap();
    s.status_is(&merged, "mainstay/apply", "success").await;
    assert_eq!(posted(&s), 1);
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_whose_git_server_hangs_holds_up_no_other() {
    let mut s = begun().await;
    let other = s.another("acme/other");
    s.stop();
    let hang = Duration::from_secs(4);
    let fetches = When::Call("GET", "/acme/infra.git/info/refs");
    s.hub.fault(Fault::new(fetches, 1, FaultKind::Stall(hang)));
    s.start();
    let (pull, _) = open(&s, "b");
    met(&mut s).await;
    let commit = other.commit("main", &[("network/main.tf", &one_value("x"))], "Begin");
    s.wait("the other repository's apply", |_| {
        let status = other.status(&commit, "mainstay/apply")?;
        (status.state == "success").then_some(())
    })
    .await;
    assert_eq!(s.comment(pull), None, "the hanging fetch has ended already");
    s.comment_with(pull, "1 to change").await;
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_hangs_holds_up_no_other_repository_for_long() {
    let mut s = begun().await;
    let other = s.another("acme/other");
    s.stop();
    s.start();
    let hang = Duration::from_secs(7);
    s.hub.fault(Fault::new(COMMENTS, 1, FaultKind::Stall(hang)));
    let (pull, _) = open(&s, "b");
    met(&mut s).await;
    let commit = other.commit("main", &[("network/main.tf", &one_value("x"))], "Begin");
    s.wait("the other repository's apply", |_| {
        let status = other.status(&commit, "mainstay/apply")?;
        (status.state == "success").then_some(())
    })
    .await;
    assert_eq!(s.comment(pull), None, "the hanging post has ended already");
    s.comment_with(pull, "1 to change").await;
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_answer_is_no_force_push() {
    let mut s = begun().await;
    let second = s
        .repo
        .commit("main", &[("network/main.tf", &one_value("b"))], "Second");
    s.status_is(&second, "mainstay/apply", "success").await;
    // It touches no workspace, so that nothing is told of it and it stays the last change.
    s.repo.commit("main", &[("README.md", "x\n")], "Third");
    s.looks_pass(3).await;
    s.hub
        .fault(Fault::new(GRAPHQL, usize::MAX, FaultKind::Stale));
    status_says(&mut s, "the answer is out of date").await;
    s.hub.clear_faults();
    let fourth = s
        .repo
        .commit("main", &[("network/main.tf", &one_value("d"))], "Fourth");
    s.status_is(&fourth, "mainstay/apply", "success").await;
    assert!(!s.log().contains("force-pushed"), "{}", s.log());
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_marker_in_somebody_elses_comment_is_left_alone() {
    let mut s = begun().await;
    let (pull, _) = open(&s, "b");
    let forged = "<!-- mainstay:proposal -->\nNothing would change.";
    s.repo.comment(pull, "mallory", forged);
    s.comment_with(pull, "1 to change").await;
    let comments = s.repo.comments(pull);
    assert_eq!(comments.len(), 2);
    assert_eq!(comments[0].body, forged);
    s.end().await;
}

/// Waits until a run of that purpose for that commit has ended so.
async fn run_is(s: &mut Scenario, purpose: &str, commit: &str, state: &str) {
    s.wait(&format!("a {purpose} run of {commit} being {state}"), |s| {
        let runs = s.runs();
        let found = runs
            .iter()
            .find(|r| r["purpose"] == purpose && r["commit"] == commit)?;
        (found["state"] == state).then_some(())
    })
    .await;
}

/// Plans a pull request and applies its merge while its comment cannot be told; gives what
/// `mainstay status` says of that.
async fn goes_on_without_a_comment(s: &mut Scenario, pull: u64, head: &str) -> String {
    run_is(s, "propose", head, "planned").await;
    let said = status_says(s, &format!("not told yet: comment #{pull}")).await;
    let merged = s.repo.merge(pull, Method::Merge, "alice").unwrap();
    run_is(s, "merge", &merged, "applied").await;
    assert_eq!(posted(s), 0);
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_conversation_stops_nobody_who_may_write() {
    let mut s = begun().await;
    let (pull, head) = open(&s, "b");
    s.repo.lock_conversation(pull);
    s.comment_with(pull, "1 to change").await;
    s.status_is(&head, "mainstay/plan", "success").await;
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_conversation_that_we_may_not_write_to_is_said_and_the_merge_is_applied() {
    let mut s = Scenario::new().await;
    s.repo.grant(BOT, Role::Read);
    let first = s
        .repo
        .commit("main", &[("network/main.tf", &one_value("a"))], "Begin");
    s.start();
    run_is(&mut s, "merge", &first, "applied").await;
    let (pull, head) = open(&s, "b");
    s.repo.lock_conversation(pull);
    let said = goes_on_without_a_comment(&mut s, pull, &head).await;
    assert!(said.contains("the conversation is locked"), "{said}");
    assert!(said.contains("not told yet: status"), "{said}");
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_may_not_comment_is_said_and_the_merge_is_applied() {
    let mut s = Scenario::new().await;
    let token = "github_pat_that-may-set-statuses-and-no-more";
    let repo = s.repo.clone();
    s.hub.fine_grained_token(
        token,
        BOT,
        &[&repo],
        &[
            ("contents", "read"),
            ("metadata", "read"),
            ("pull_requests", "read"),
            ("issues", "read"),
            ("statuses", "write"),
        ],
    );
    s.set("GITHUB_TOKEN", token);
    s.applied(&[("network/main.tf", &one_value("a"))]).await;
    let (pull, head) = open(&s, "b");
    let said = goes_on_without_a_comment(&mut s, pull, &head).await;
    assert!(
        said.contains("this needs the permissions `Issues: write` and `Pull requests: write`"),
        "{said}"
    );
    s.status_is(&head, "mainstay/plan", "success").await;
    assert!(!s.log().contains(token), "the token is in the log");
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_without_issues_has_its_drift_in_the_status_alone() {
    let mut s = Scenario::new().await;
    s.repo.disable_issues();
    s.applied(&[("network/main.tf", &crate::scenario::one_file("subnet", "a"))])
        .await;
    std::fs::write(s.world().join("subnet.txt"), "by hand").unwrap();
    assert_eq!(s.run(&["drift"]).code, 2);
    let said = status_says(&mut s, "not told yet: issue drift network").await;
    assert!(said.contains("Issues has been disabled"), "{said}");
    assert!(said.contains("drifted, checked"), "{said}");
    assert!(!said.contains("open issue"), "{said}");
    // Pull requests are as before.
    let head = s.repo.commit(
        "change",
        &[("network/main.tf", &crate::scenario::one_file("subnet", "b"))],
        "Change",
    );
    let pull = s.repo.open_pull("Change", "change", "main", "alice");
    s.comment_with(pull, "1 to change").await;
    s.status_is(&head, "mainstay/plan", "success").await;
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_that_is_archived_is_read_only_and_its_last_merge_is_applied() {
    let mut s = begun().await;
    let pull = opened(&mut s, "b").await;
    s.repo.merge(pull, Method::Squash, "alice").unwrap();
    s.repo.archive();
    let said = status_says(&mut s, "not told yet").await;
    assert!(said.contains("archived"), "{said}");
    s.wait("the merge to be applied", |s| {
        let runs = s.runs();
        let applied = runs
            .iter()
            .filter(|r| r["purpose"] == "merge" && r["state"] == "applied");
        (applied.count() == 2).then_some(())
    })
    .await;
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_that_is_gone_is_said_and_the_others_go_on() {
    let mut s = Scenario::new().await;
    let other = s.another("acme/other");
    let commit = other.commit("main", &[("network/main.tf", &one_value("x"))], "Begin");
    s.applied(&[("network/main.tf", &one_value("a"))]).await;
    s.wait("the other repository's apply", |_| {
        let status = other.status(&commit, "mainstay/apply")?;
        (status.state == "success").then_some(())
    })
    .await;
    s.hub.remove_repository("acme/other");
    let said = status_says(&mut s, "cannot be looked at").await;
    assert!(
        said.contains("repository acme/other is not there, or may not be seen"),
        "{said}"
    );
    opened(&mut s, "b").await;
    let log = s.log();
    let failures = log
        .lines()
        .filter(|line| line.contains("Looking at acme/other failed"));
    assert_eq!(failures.count(), 1, "the same error is logged once");
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_revoked_and_let_in_again_loses_nothing() {
    let mut s = begun().await;
    let pull = opened(&mut s, "b").await;
    s.hub.revoke_token(crate::scenario::TOKEN);
    let head = push(&s, "c");
    let said = status_says(&mut s, "cannot be looked at").await;
    assert!(
        said.contains("wrong, expired or revoked: put a good one in its place"),
        "{said}"
    );
    s.hub.token(crate::scenario::TOKEN, BOT, &["repo"]);
    s.comment_with(pull, "\"c\"").await;
    s.status_is(&head, "mainstay/plan", "success").await;
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_refused_while_the_token_was_no_good_is_told_once_it_is() {
    let mut s = begun().await;
    // The plan begins with a good token and ends without one.
    let hub_token = crate::scenario::TOKEN;
    let (pull, head) = open(&s, "b");
    s.wait("the run", |s| {
        s.runs()
            .iter()
            .any(|r| r["purpose"] == "propose")
            .then_some(())
    })
    .await;
    s.hub.revoke_token(hub_token);
    status_says(&mut s, "not told yet").await;
    status_says(&mut s, "cannot be looked at").await;
    s.hub.token(hub_token, BOT, &["repo"]);
    s.comment_with(pull, "1 to change").await;
    s.status_is(&head, "mainstay/plan", "success").await;
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_that_fails_is_tried_again() {
    let mut s = begun().await;
    let refs = || When::Call("GET", "/acme/infra.git/info/refs");
    let pack = || When::Call("POST", "/acme/infra.git/git-upload-pack");
    for (when, kind) in [
        (refs(), FaultKind::Status(503)),
        (refs(), FaultKind::CutOffBody),
        (pack(), FaultKind::Status(503)),
        (pack(), FaultKind::CutOffBody),
        (pack(), FaultKind::ResetBefore),
    ] {
        s.hub.fault(Fault::new(when, 1, kind));
    }
    opened(&mut s, "b").await;
    met(&mut s).await;
    let said = s.run(&["status"]).stdout;
    assert!(!said.contains("cannot be looked at"), "{said}");
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_is_in_no_argument_environment_mirror_or_record() {
    let mut s = Scenario::new().await;
    s.repo.commit(
        "main",
        &[("network/main.tf", &crate::scenario::one_file("subnet", "a"))],
        "Begin",
    );
    s.start();
    let mut seen = 0;
    let from = std::time::Instant::now();
    let applied = |s: &Scenario| s.in_world("subnet.txt").is_some();
    while !applied(&s) && from.elapsed() < Duration::from_secs(60) {
        for process in s.children() {
            seen += 1;
            assert!(!process.contains(crate::scenario::TOKEN), "{process}");
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(seen > 0, "no process of the daemon's was seen");
    s.wait("the apply", |s| applied(s).then_some(())).await;
    s.stop();
    let holds = files_with(&s.data_dir(), crate::scenario::TOKEN.as_bytes());
    assert!(holds.is_empty(), "the token is in {holds:?}");
    s.end().await;
}

/// The files below a folder that hold these bytes.
fn files_with(folder: &std::path::Path, bytes: &[u8]) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if entry.file_type().unwrap().is_dir() {
            found.extend(files_with(&path, bytes));
        } else if std::fs::read(&path).is_ok_and(|all| all.windows(bytes.len()).any(|w| w == bytes))
        {
            found.push(path);
        }
    }
    found
}
