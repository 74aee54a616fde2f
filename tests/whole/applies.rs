//! Applies: half done, cancelled, side by side, and where their state is kept.

use crate::github::git::Method;
use crate::scenario::{Scenario, declaration, file, one_file, root, workspace};

/// Three files of which each needs the one before; `more` is said of the second.
fn chain(more: &str) -> String {
    let second = format!("{more}\n  depends_on = [localfs_file.first]");
    root(&[
        &file("first", "1", ""),
        &file("second", "2", &second),
        &file("third", "3", "depends_on = [localfs_file.second]"),
    ])
}

/// Proposes a root module for `network`, and merges it once it is planned.
async fn merge(s: &mut Scenario, branch: &str, text: &str) -> (u64, String) {
    let pull = s.propose(branch, &[("network/main.tf", text)]);
    s.comment_with(pull, "to create").await;
    let commit = s.repo.merge(pull, Method::Merge, "alice").unwrap();
    (pull, commit)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_apply_that_fails_half_way_says_how_far_it_came_and_is_repeated_on_command_only() {
    let mut s = Scenario::new().await;
    s.applied(&[("network/main.tf", &root(&[]))]).await;
    // A file where a folder is needed: the second cannot be made.
    std::fs::write(s.world().join("second.txt"), "in the way").unwrap();
    let text = chain("").replace("second.txt", "second.txt/file");
    let (pull, commit) = merge(&mut s, "three", &text).await;
    let said = s.status_is(&commit, "mainstay/apply", "failure").await;
    assert_eq!(said, "not applied: network");
    let comment = s.comment_with(pull, "`network` failed: `apply`").await;
    for line in [
        "applied before: `localfs_file.first`",
        "failed: `localfs_file.second`",
        "not reached: `localfs_file.third`",
        "The file could not be created",
    ] {
        assert!(comment.contains(line), "no {line} in {comment}");
    }
    assert!(comment.contains("mainstay apply"), "{comment}");
    assert_eq!(s.in_world("first.txt").as_deref(), Some("1"));

    let runs = s.runs().len();
    s.looked().await;
    assert_eq!(s.runs().len(), runs, "nothing is repeated by itself");

    s.says(pull, "alice", "mainstay apply", &["confused", "eyes"])
        .await;
    assert_eq!(s.runs().len(), runs + 1);
    std::fs::remove_file(s.world().join("second.txt")).unwrap();
    s.says(pull, "alice", "mainstay apply network", &["eyes", "rocket"])
        .await;
    s.status_is(&commit, "mainstay/apply", "success").await;
    s.comment_with(pull, "### Applied: 2 created").await;
    assert_eq!(s.in_world("third.txt").as_deref(), Some("3"));
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_that_mends_a_failed_apply_applies_the_rest() {
    let mut s = Scenario::new().await;
    s.applied(&[("network/main.tf", &root(&[]))]).await;
    let (broken, first) = merge(&mut s, "broken", &chain("fail = \"create\"")).await;
    s.status_is(&first, "mainstay/apply", "failure").await;
    s.comment_with(broken, "### Merged: 1 failed").await;

    let (mended, second) = merge(&mut s, "mended", &chain("")).await;
    s.status_is(&second, "mainstay/apply", "success").await;
    s.comment_with(mended, "### Applied: 2 created").await;
    assert_eq!(s.in_world("third.txt").as_deref(), Some("3"));
    s.comment_with(broken, "### Applied: 2 created").await;
    assert_eq!(s.runs_for("merge", "network").len(), 3);
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_apply_that_is_cancelled_ends_in_order_and_says_what_it_did() {
    let mut s = Scenario::new().await;
    s.put_gates();
    s.applied(&[("network/main.tf", &root(&[]))]).await;
    let (pull, commit) = merge(&mut s, "three", &chain("delay_ms = 3000")).await;
    s.world_has("first.txt", "1").await;
    s.says(pull, "alice", "mainstay cancel", &["eyes", "rocket"])
        .await;
    let comment = s
        .comment_with(pull, "`network` was cancelled by `alice`")
        .await;
    for line in [
        "applied before: `localfs_file.first`, `localfs_file.second`",
        "not reached: `localfs_file.third`",
    ] {
        assert!(comment.contains(line), "no {line} in {comment}");
    }
    s.status_is(&commit, "mainstay/apply", "failure").await;
    assert_eq!(s.in_world("second.txt").as_deref(), Some("2"));
    assert_eq!(s.in_world("third.txt"), None);
    let applies = s.starts("apply");

    // The state is whole: what was done is not done again.
    s.says(pull, "alice", "mainstay apply", &["eyes", "rocket"])
        .await;
    s.comment_with(pull, "### Applied: 1 created").await;
    s.status_is(&commit, "mainstay/apply", "success").await;
    assert_eq!(s.starts("apply"), applies + 1);
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_workspaces_apply_at_once_and_one_never_twice() {
    let mut s = Scenario::new().await;
    let both = [workspace("network", ""), workspace("dns", "")].concat();
    s.declare("acme.toml", &declaration("acme/infra", &both));
    s.configure("parallel = 4");
    let slow = "delay_ms = 2000";
    let network = |content: &str| root(&[&file("subnet", content, slow)]);
    let dns = root(&[&file("zone", "acme.example", slow)]);
    s.repo
        .commit("main", &[("README", "two workspaces")], "Begin");
    s.start();
    s.wait("the first look", |s| {
        s.log().contains("for the first time").then_some(())
    })
    .await;
    s.repo.commit(
        "main",
        &[("network/main.tf", &network("a")), ("dns/main.tf", &dns)],
        "Both",
    );
    s.run_is("merge", "network", "applying").await;
    s.run_is("merge", "dns", "applying").await;
    let last = s
        .repo
        .commit("main", &[("network/main.tf", &network("b"))], "One again");
    s.status_is(&last, "mainstay/apply", "success").await;
    s.run_is("merge", "dns", "applied").await;
    assert_eq!(s.in_world("subnet.txt").as_deref(), Some("b"));
    assert_eq!(s.in_world("zone.txt").as_deref(), Some("acme.example"));

    let applying = |s: &Scenario, run: &serde_json::Value| {
        let events = s.events(run["id"].as_u64().unwrap());
        let at = |name: &str| events.iter().find(|(_, event)| event == name).unwrap().0;
        (at("apply_started"), at("apply_done"))
    };
    let networks = s.runs_for("merge", "network");
    let zones = s.runs_for("merge", "dns");
    assert_eq!((networks.len(), zones.len()), (2, 1));
    let first = applying(&s, &networks[0]);
    let zone = applying(&s, &zones[0]);
    assert!(first.0 < zone.1 && zone.0 < first.1, "{first:?} {zone:?}");
    let second = applying(&s, &networks[1]);
    assert!(first.1 <= second.0, "{first:?} {second:?}");
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_without_a_backend_is_kept_with_its_versions_and_moves_with_the_data_folder() {
    let mut s = Scenario::new().await;
    s.applied(&[("network/main.tf", &one_file("subnet", "10.0.0.0/24"))])
        .await;
    s.applied(&[("network/main.tf", &one_file("subnet", "10.0.0.0/16"))])
        .await;
    let state = s.state_file("network");
    let beside = || -> Vec<String> {
        let entries = std::fs::read_dir(state.parent().unwrap()).unwrap();
        let names = entries.map(|e| e.unwrap().file_name().into_string().unwrap());
        names
            .filter(|name| name.ends_with(".backup.sealed"))
            .collect()
    };
    let versions = beside();
    assert_eq!(versions.len(), 1, "{versions:?}");
    let version = state.with_file_name(&versions[0]);
    let earlier = s.run(&["unseal", version.to_str().unwrap()]).stdout;
    assert!(earlier.contains("10.0.0.0/24"), "{earlier}");

    s.stop();
    std::fs::rename(s.data_dir(), s.folder().join("moved")).unwrap();
    let settings = std::fs::read_to_string(s.config()).unwrap();
    std::fs::write(s.config(), settings.replace("\"var\"", "\"moved\"")).unwrap();
    s.start();
    let wider = one_file("subnet", "10.0.0.0/8");
    let pull = s.propose("wider", &[("network/main.tf", &wider)]);
    let comment = s.comment_with(pull, "1 to change").await;
    assert!(!comment.contains("to create"), "{comment}");
    let commit = s.repo.merge(pull, Method::Merge, "alice").unwrap();
    s.status_is(&commit, "mainstay/apply", "success").await;
    assert_eq!(s.in_world("subnet.txt").as_deref(), Some("10.0.0.0/8"));
    assert!(!s.data_dir().exists(), "the old folder is not made again");
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_auditor_reads_who_authorised_a_change_and_sees_a_log_that_was_tampered_with() {
    let mut s = Scenario::new().await;
    s.applied(&[("network/main.tf", &root(&[]))]).await;
    let (_, commit) = merge(&mut s, "one", &one_file("subnet", "10.0.0.0/24")).await;
    s.status_is(&commit, "mainstay/apply", "success").await;
    std::fs::write(s.world().join("subnet.txt"), "by hand").unwrap();
    assert_eq!(s.run(&["drift"]).code, 2);

    let export = s.run(&["audit", "export"]);
    assert_eq!(export.code, 0, "{}", export.stderr);
    let entries: Vec<serde_json::Value> = export
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let [change, drift] = &entries[entries.len() - 2..] else {
        panic!("{entries:?}");
    };
    assert_eq!(change["commit"], commit.as_str());
    assert_eq!(change["authorised"]["kind"], "merge");
    assert_eq!(change["implemented"], "as_reviewed");
    assert_eq!(change["outcome"], "applied");
    assert!(change["state_after"]["serial"].as_u64() > change["state_before"]["serial"].as_u64());
    assert_eq!(drift["entry"], "drift");
    assert_eq!(drift["addresses"][0], "localfs_file.subnet");
    let csv = s.run(&[
        "audit",
        "export",
        "--format",
        "csv",
        "--until",
        "2020-01-01",
    ]);
    assert_eq!(csv.stdout.lines().count(), 1, "{}", csv.stdout);

    // A copy, while the daemon runs, that another daemon could start with.
    let copy = s.folder().join("copy");
    let backup = s.run(&["backup", copy.to_str().unwrap()]);
    assert_eq!(backup.code, 0, "{}", backup.stderr);
    assert!(copy.join("fingerprint.key").is_file() && copy.join("states").is_dir());
    assert_eq!(s.run(&["backup", copy.to_str().unwrap()]).code, 1);
    let settings = s.folder().join("copy.toml");
    let text = std::fs::read_to_string(s.config()).unwrap();
    std::fs::write(&settings, text.replace("\"var\"", "\"copy\"")).unwrap();
    let verify = ["audit", "verify", "--config", settings.to_str().unwrap()];
    assert_eq!(s.run(&verify).code, 0);
    let record = rusqlite::Connection::open(copy.join("mainstay.db")).unwrap();
    record
        .execute_batch(
            "DROP TRIGGER audit_is_not_changed; UPDATE audit SET record = replace(record, 'alice', 'bob') || ' ' \
             WHERE number = 2",
        )
        .unwrap();
    drop(record);
    let verified = s.run(&verify);
    assert_eq!(verified.code, 1);
    assert!(
        verified.stdout.contains("record 2 was changed"),
        "{}",
        verified.stdout
    );
    s.end().await;
}
