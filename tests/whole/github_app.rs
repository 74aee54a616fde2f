//! The whole job as a GitHub App: its account, its installations, and tokens that expire.

use std::time::Duration;

use crate::github::git::Method;
use crate::github::log::{AuthKind, Effect};
use crate::github::repository::Repository;
use crate::github::repository::conversation::CheckRunView;
use crate::scenario::{Scenario, declaration, one_value, workspace};

/// The App's number.
const APP: u64 = 4242;

/// The account that an App called `mainstay` writes with.
const APP_ACCOUNT: &str = "mainstay[bot]";

/// A scenario whose daemon is the App, installed nowhere yet.
async fn scenario() -> Scenario {
    let s = Scenario::new().await;
    let key = s.hub.app(APP, "mainstay", "acme");
    std::fs::write(s.folder().join("app.pem"), key).unwrap();
    let settings = std::fs::read_to_string(s.config()).unwrap();
    let app = format!("app = {{ id = {APP}, private_key_file = \"app.pem\" }}\n");
    std::fs::write(s.config(), settings + &app).unwrap();
    s
}

/// Commits a first value, and waits until it is applied.
async fn begin(s: &mut Scenario, repo: &Repository) {
    let commit = repo.commit("main", &[("network/main.tf", &one_value("a"))], "Begin");
    applied(s, repo, &commit).await;
}

async fn applied(s: &mut Scenario, repo: &Repository, commit: &str) {
    status_is(s, repo, commit, "mainstay/apply").await;
}

async fn status_is(s: &mut Scenario, repo: &Repository, commit: &str, context: &str) {
    let what = format!("{context} of {commit} in {}", repo.full_name());
    s.wait(&what, |_| {
        let status = repo.status(commit, context)?;
        (status.state == "success").then_some(())
    })
    .await;
}

/// Opens a pull request that changes the value; waits until it is planned, and gives its number.
async fn planned(s: &mut Scenario, repo: &Repository, value: &str) -> u64 {
    let branch = format!("to-{value}");
    let head = repo.commit(&branch, &[("network/main.tf", &one_value(value))], "Change");
    let pull = repo.open_pull("Change the value", &branch, "main", "alice");
    status_is(s, repo, &head, "mainstay/plan").await;
    comment_with(s, repo, pull, "1 to change").await;
    pull
}

/// Waits until the App's one comment says `text`.
async fn comment_with(s: &mut Scenario, repo: &Repository, pull: u64, text: &str) {
    let what = format!("a comment on {}#{pull} with `{text}`", repo.full_name());
    s.wait(&what, |_| {
        let comments = repo.comments(pull);
        let ours: Vec<_> = comments
            .iter()
            .filter(|c| c.author == APP_ACCOUNT)
            .collect();
        assert!(ours.len() <= 1, "two comments of ours: {ours:?}");
        ours.first()?.body.contains(text).then_some(())
    })
    .await;
}

/// How many installation tokens were given out.
fn tokens_issued(s: &Scenario) -> usize {
    let truth = s.hub.truth();
    truth
        .iter()
        .filter(|t| t.effect == Effect::TokenIssued { app: APP })
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_plans_comments_and_applies_in_its_own_name() {
    let mut s = scenario().await;
    let repo = s.repo.clone();
    s.hub.install(APP, &[&repo]);
    s.start();
    begin(&mut s, &repo).await;
    let pull = planned(&mut s, &repo, "b").await;
    let merged = repo.merge(pull, Method::Rebase, "alice").unwrap();
    applied(&mut s, &repo, &merged).await;
    comment_with(&mut s, &repo, pull, "applied").await;

    let strangers: Vec<_> = s
        .hub
        .truth()
        .into_iter()
        .filter(|t| {
            matches!(
                t.effect,
                Effect::CommentCreated { .. } | Effect::StatusSet { .. }
            )
        })
        .filter(|t| t.by != APP_ACCOUNT)
        .collect();
    assert!(strangers.is_empty(), "{strangers:?}");
    assert_eq!(tokens_issued(&s), 1, "one token is used while it is good");
    let key = std::fs::read_to_string(s.folder().join("app.pem")).unwrap();
    let line = key.lines().nth(1).unwrap();
    assert!(!s.log().contains(line), "the key is in the log");
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_workspace_has_a_check_run_that_points_at_what_is_wrong_and_none_waits_for_ever() {
    let mut s = scenario().await;
    let repo = s.repo.clone();
    let both = workspace("network", "checks = { fmt = \"warn\" }") + &workspace("dns", "");
    s.declare("acme.toml", &declaration("acme/infra", &both));
    s.hub.install(APP, &[&repo]);
    s.start();
    begin(&mut s, &repo).await;
    let wrong = "resource \"terraform_data\" \"value\" {\n    input = \"b\"\n  nope = 1\n}\n";
    let files = [("network/main.tf", wrong), ("dns/main.tf", &one_value("b"))];
    let head = repo.commit("b", &files, "Change");
    let pull = repo.open_pull("Change the value", "b", "main", "alice");
    s.wait("both check runs to be decided", |_| {
        let runs = repo.check_runs(&head);
        let decided = runs.iter().filter(|run| run.status == "completed").count();
        (decided == 2).then_some(())
    })
    .await;
    let mut runs = repo.check_runs(&head);
    runs.sort_by(|a, b| a.name.cmp(&b.name));
    let [dns, network] = &runs[..] else {
        panic!("two check runs: {runs:?}");
    };
    assert_eq!(dns.name, "mainstay/plan: dns");
    assert_eq!(dns.conclusion.as_deref(), Some("success"));
    assert_eq!(dns.annotations, [] as [serde_json::Value; 0]);
    assert!(dns.text.contains("1 to create"), "{}", dns.text);
    assert!(!dns.text.contains("network"), "{}", dns.text);
    assert_eq!(network.name, "mainstay/plan: network");
    assert_eq!(network.conclusion.as_deref(), Some("failure"));
    assert_eq!(network.title, "Plan failed in network");
    let places: Vec<_> = network
        .annotations
        .iter()
        .map(|a| {
            (
                a["path"].as_str(),
                a["start_line"].as_u64(),
                a["annotation_level"].as_str(),
                a["title"].as_str(),
            )
        })
        .collect();
    let file = Some("network/main.tf");
    assert_eq!(
        places,
        [
            (file, Some(3), Some("failure"), Some("Unsupported argument")),
            (
                file,
                Some(2),
                Some("warning"),
                Some("not in the canonical format")
            ),
        ]
    );

    // Mended, and then closed while it is planned.
    let head = repo.commit("b", &[("network/main.tf", &one_value("c"))], "Mend");
    status_is(&mut s, &repo, &head, "mainstay/plan").await;
    s.wait("both check runs to be green", |_| {
        let runs = repo.check_runs(&head);
        let green = |run: &&CheckRunView| run.conclusion.as_deref() == Some("success");
        (runs.len() == 2 && runs.iter().filter(green).count() == 2).then_some(())
    })
    .await;
    s.put_gates();
    let settings = std::fs::read_to_string(s.config()).unwrap();
    let app = format!("app = {{ id = {APP}, private_key_file = \"app.pem\" }}\n");
    std::fs::write(s.config(), settings + &app).unwrap();
    assert!(s.stop().success());
    s.shut_gate("plan");
    s.start();
    let head = repo.commit("b", &[("network/main.tf", &one_value("d"))], "Again");
    s.wait("a check run in progress", |_| {
        let runs = repo.check_runs(&head);
        runs.iter()
            .any(|run| run.status == "in_progress")
            .then_some(())
    })
    .await;
    repo.close(pull, "alice");
    s.wait("the check runs to end", |_| {
        let runs = repo.check_runs(&head);
        let over =
            |run: &CheckRunView| matches!(run.conclusion.as_deref(), Some("neutral" | "success"));
        runs.iter().all(over).then_some(())
    })
    .await;
    s.open_gate("plan");
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_expires_half_way_is_renewed() {
    let mut s = scenario().await;
    let repo = s.repo.clone();
    // A token is not used for its last five minutes, so that this one lives for about a second.
    s.hub
        .set_token_lifetime(APP, Duration::from_secs(5 * 60 + 2));
    s.hub.install(APP, &[&repo]);
    s.start();
    begin(&mut s, &repo).await;
    let before = tokens_issued(&s);
    s.wait("a second token", |s| {
        (tokens_issued(s) > before).then_some(())
    })
    .await;
    let pull = planned(&mut s, &repo, "b").await;
    let merged = repo.merge(pull, Method::Merge, "alice").unwrap();
    applied(&mut s, &repo, &merged).await;

    let refused: Vec<_> = s
        .hub
        .requests()
        .into_iter()
        .filter(|r| r.status == Some(401))
        .collect();
    assert!(refused.is_empty(), "{refused:?}");
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_good_for_nothing_any_more_is_replaced_by_a_new_one() {
    let mut s = scenario().await;
    let repo = s.repo.clone();
    let first = s.hub.install(APP, &[&repo]);
    s.start();
    begin(&mut s, &repo).await;
    // All tokens of the installation end with it; the App is installed anew at once.
    s.hub.uninstall(first);
    s.hub.install(APP, &[&repo]);
    let pull = planned(&mut s, &repo, "b").await;
    comment_with(&mut s, &repo, pull, "1 to change").await;
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_installation_has_its_own_token() {
    let mut s = scenario().await;
    let ours = s.repo.clone();
    let theirs = s.another("globex/network");
    s.hub.install(APP, &[&ours]);
    s.hub.install(APP, &[&theirs]);
    s.start();
    begin(&mut s, &ours).await;
    begin(&mut s, &theirs).await;
    planned(&mut s, &ours, "b").await;
    planned(&mut s, &theirs, "c").await;
    assert_eq!(tokens_issued(&s), 2);
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_where_the_app_is_not_installed_is_said_and_the_others_go_on() {
    let mut s = scenario().await;
    let ours = s.repo.clone();
    let theirs = s.another("globex/network");
    s.hub.install(APP, &[&ours]);
    let gone = s.hub.install(APP, &[&theirs]);
    s.start();
    begin(&mut s, &ours).await;
    begin(&mut s, &theirs).await;

    s.hub.uninstall(gone);
    s.wait("the missing installation to be said", |s| {
        let status = s.run(&["status"]).stdout;
        let said = "the forge did not answer: \
                    an installation of the App on globex/network is not there";
        (status.contains("cannot be looked at") && status.contains(said)).then_some(())
    })
    .await;
    planned(&mut s, &ours, "b").await;
    let as_app = s
        .hub
        .requests()
        .into_iter()
        .filter(|r| r.auth == AuthKind::App(APP) && r.path == "/repos/globex/network/installation")
        .count();
    assert!(as_app <= 4, "the installation is asked for in every look");
    s.end().await;
}
