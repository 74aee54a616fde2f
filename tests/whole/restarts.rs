//! Ends and starts: in order, by a kill at any instant, with other settings.

use std::time::Duration;

use crate::github::git::Method;
use crate::scenario::{
    Scenario, declaration, file, kill_below, one_file, processes_below, root, workspace,
};

/// A scenario with gates before Terraform, in which `network` is applied.
async fn gated() -> Scenario {
    let mut s = Scenario::new().await;
    s.put_gates();
    s.applied(&[("network/main.tf", &one_file("subnet", "10.0.0.0/24"))])
        .await;
    s
}

/// Two files of which the second takes its time before it is there.
fn slow(milliseconds: u32) -> String {
    let delay = format!("delay_ms = {milliseconds}\n  depends_on = [localfs_file.subnet]");
    root(&[
        &file("subnet", "10.0.0.0/24", ""),
        &file("host", "h", &delay),
        &file("last", "l", "depends_on = [localfs_file.host]"),
    ])
}

/// Proposes the slow files and merges them; gives the pull request and the merge.
async fn merge_slow(s: &mut Scenario, milliseconds: u32) -> (u64, String) {
    let pull = s.propose("slow", &[("network/main.tf", &slow(milliseconds))]);
    s.comment_with(pull, "2 to create").await;
    let commit = s.repo.merge(pull, Method::Merge, "alice").unwrap();
    (pull, commit)
}

/// Waits until Terraform itself makes the slow file; it is the second apply of the scenario.
pub(crate) async fn applying(s: &mut Scenario) {
    let run = s.run_is("merge", "network", "applying").await;
    let folder = s.data_dir().join(format!("runs/{run}/1"));
    s.wait("the slow file being made", |_| {
        let steps = std::fs::read_dir(&folder).ok()?;
        let said = steps
            .flatten()
            .filter(|step| step.file_name().to_string_lossy().ends_with("-apply"))
            .find_map(|step| std::fs::read_to_string(step.path().join("stdout")).ok())?;
        said.contains("localfs_file.host: Creating...")
            .then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_the_end_cut_short_is_made_after_the_restart() {
    let mut s = gated().await;
    s.shut_gate("plan");
    let wider = one_file("subnet", "10.0.0.0/16");
    let pull = s.propose("wider", &[("network/main.tf", &wider)]);
    let run = s.run_is("propose", "network", "planning").await;
    assert!(s.stop().success());
    assert_eq!(s.runs_for("propose", "network")[0]["state"], "queued");
    assert_eq!(processes_below(s.folder()), [""; 0]);
    s.open_gate("plan");
    s.start();
    s.comment_with(pull, "1 to change").await;
    assert_eq!(s.run_is("propose", "network", "planned").await, run);
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_main_replaced_while_it_was_planned_is_not_applied() {
    let mut s = gated().await;
    assert!(s.stop().success());
    // No look comes by the clock: only the one just before the apply can see what is new.
    let settings = std::fs::read_to_string(s.config()).unwrap();
    std::fs::write(s.config(), settings.replace("200ms", "1h")).unwrap();
    s.shut_gate("show");
    let push = |s: &Scenario, content: &str| {
        let file = one_file("subnet", content);
        s.repo
            .commit("main", &[("network/main.tf", &file)], "Widen")
    };
    push(&s, "10.0.0.0/16");
    s.start();
    s.run_is("merge", "network", "planning").await;
    s.wait("the plan before the gate", |s| {
        (s.starts("show") == 2).then_some(())
    })
    .await;
    let newer = push(&s, "10.0.0.0/20");
    s.open_gate("show");
    s.status_is(&newer, "mainstay/apply", "success").await;
    assert_eq!(s.in_world("subnet.txt").as_deref(), Some("10.0.0.0/20"));
    assert_eq!(s.starts("apply"), 2, "only the newer one was applied");
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_apply_ends_within_the_grace_before_the_daemon_does() {
    let mut s = gated().await;
    let (pull, commit) = merge_slow(&mut s, 2000).await;
    applying(&mut s).await;
    assert!(s.stop().success());
    assert_eq!(s.in_world("last.txt").as_deref(), Some("l"));
    let runs = s.runs_for("merge", "network");
    assert_eq!(runs.last().unwrap()["state"], "applied");
    // It was told before the end, too.
    let status = s.status(&commit, "mainstay/apply").map(|(state, _)| state);
    assert_eq!(status.as_deref(), Some("success"));
    assert!(s.comment(pull).unwrap().contains("### Applied: 2 created"));
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_whose_daemon_was_killed_is_made_again_and_told_once() {
    let mut s = gated().await;
    s.shut_gate("plan");
    let wider = one_file("subnet", "10.0.0.0/16");
    let pull = s.propose("wider", &[("network/main.tf", &wider)]);
    s.run_is("propose", "network", "planning").await;
    s.kill();
    s.start();
    s.wait("the second attempt", |s| {
        (s.starts("plan") == 3).then_some(())
    })
    .await;
    s.open_gate("plan");
    s.comment_with(pull, "1 to change").await;
    assert_eq!(s.runs_for("propose", "network").len(), 1);
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_apply_whose_daemon_was_killed_goes_on_and_is_adopted() {
    let mut s = gated().await;
    let (pull, commit) = merge_slow(&mut s, 3000).await;
    applying(&mut s).await;
    s.kill();
    s.start();
    s.status_is(&commit, "mainstay/apply", "success").await;
    s.comment_with(pull, "### Applied: 2 created").await;
    assert_eq!(s.in_world("last.txt").as_deref(), Some("l"));
    assert_eq!(s.starts("apply"), 2, "nothing is applied twice");
    assert_eq!(s.runs_for("merge", "network").len(), 2);
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_apply_that_ended_while_no_daemon_ran_is_recorded_as_it_ended() {
    let mut s = gated().await;
    let (pull, commit) = merge_slow(&mut s, 500).await;
    applying(&mut s).await;
    s.kill();
    s.wait_for_nobody().await;
    s.start();
    s.status_is(&commit, "mainstay/apply", "success").await;
    s.comment_with(pull, "### Applied: 2 created").await;
    assert_eq!(s.starts("apply"), 2, "nothing is applied twice");
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_between_the_end_of_an_apply_and_that_of_its_run_is_no_interruption() {
    let mut s = gated().await;
    let (pull, commit) = merge_slow(&mut s, 500).await;
    applying(&mut s).await;
    s.kill();
    s.wait_for_nobody().await;
    let record = rusqlite::Connection::open(s.data_dir().join("mainstay.db")).unwrap();
    let noted = record.execute(
        "UPDATE steps SET ended_at = started_at, outcome = 'exit code 0' WHERE ended_at IS NULL",
        [],
    );
    assert_eq!(noted, Ok(1));
    drop(record);
    s.start();
    s.status_is(&commit, "mainstay/apply", "success").await;
    s.comment_with(pull, "### Applied: 2 created").await;
    assert_eq!(s.runs_for("merge", "network").len(), 2);
    assert_eq!(s.starts("apply"), 2, "nothing is applied twice");
    s.end().await;
}

/// Kills the program whose command line says `what`, below the scenario's folder.
fn kill_program(s: &Scenario, what: &str) {
    let left = processes_below(s.folder());
    let line = left.iter().find(|line| line.contains(what));
    let line = line.unwrap_or_else(|| panic!("no {what} among {left:?}"));
    let pid = line.split([' ', '/']).find_map(|part| part.parse().ok());
    let pid = rustix::process::Pid::from_raw(pid.unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

/// Holds that the killed apply is told as interrupted, and that what is left comes after it.
async fn interrupted_and_planned_anew(mut s: Scenario, pull: u64, commit: &str) {
    s.shut_gate("plan");
    s.start();
    s.wait("the run being given up", |s| {
        let runs = s.runs_for("merge", "network");
        (runs[1]["state"] == "interrupted").then_some(())
    })
    .await;
    s.status_is(commit, "mainstay/apply", "pending").await;
    s.open_gate("plan");
    s.status_is(commit, "mainstay/apply", "success").await;
    s.comment_with(pull, "### Applied: 2 created").await;
    assert_eq!(s.in_world("last.txt").as_deref(), Some("l"));
    let runs = s.runs_for("merge", "network");
    assert_eq!(runs.len(), 3);
    assert_eq!(runs[2]["state"], "applied");
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_apply_that_died_with_everything_is_interrupted_and_planned_anew() {
    let mut s = gated().await;
    let (pull, commit) = merge_slow(&mut s, 3000).await;
    applying(&mut s).await;
    s.kill();
    kill_below(s.folder());
    assert_eq!(s.in_world("host.txt"), None);
    interrupted_and_planned_anew(s, pull, &commit).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_apply_that_was_killed_after_its_daemon_is_interrupted_and_planned_anew() {
    let mut s = gated().await;
    let (pull, commit) = merge_slow(&mut s, 3000).await;
    applying(&mut s).await;
    s.kill();
    kill_program(&s, "terraform apply");
    s.wait_for_nobody().await;
    assert_eq!(s.in_world("host.txt"), None);
    interrupted_and_planned_anew(s, pull, &commit).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_apply_that_is_killed_before_the_daemons_eyes_fails_and_is_repeated_on_command_only() {
    let mut s = gated().await;
    let (pull, commit) = merge_slow(&mut s, 3000).await;
    applying(&mut s).await;
    kill_program(&s, "terraform apply");
    s.status_is(&commit, "mainstay/apply", "failure").await;
    let comment = s.comment_with(pull, "`network` failed: `apply`").await;
    assert!(
        comment.contains("begun, and not seen to end: `localfs_file.host`"),
        "{comment}"
    );
    s.looked().await;
    assert_eq!(s.starts("apply"), 2);
    s.says(pull, "alice", "mainstay apply", &["eyes", "rocket"])
        .await;
    s.status_is(&commit, "mainstay/apply", "success").await;
    assert_eq!(s.in_world("last.txt").as_deref(), Some("l"));
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_at_any_instant_lose_nothing_and_double_nothing() {
    let mut s = gated().await;
    let wider = one_file("subnet", "10.0.0.0/16");
    let pull = s.propose("wider", &[("network/main.tf", &wider)]);
    // Each life is a little longer than the one before; the last ends in order.
    for life in 1..=6 {
        tokio::time::sleep(Duration::from_millis(130 * life)).await;
        s.kill();
        s.start();
    }
    s.comment_with(pull, "1 to change").await;
    let commit = s.repo.merge(pull, Method::Squash, "alice").unwrap();
    for life in 1..=8 {
        tokio::time::sleep(Duration::from_millis(130 * life)).await;
        s.kill();
        s.start();
    }
    s.status_is(&commit, "mainstay/apply", "success").await;
    s.world_has("subnet.txt", "10.0.0.0/16").await;
    s.comment_with(pull, "Applied: 1 changed").await;
    assert_eq!(s.starts("apply"), 2, "nothing is applied twice");
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_declaration_at_the_next_start_ends_what_it_does_not_know() {
    let mut s = Scenario::new().await;
    let both = |first: &str| {
        let approval = "apply = \"on-approval\"";
        let workspaces = [workspace(first, approval), workspace("dns", "")].concat();
        let workspaces =
            workspaces.replace("\"core\"\npath = \"core\"", "\"core\"\npath = \"network\"");
        declaration("acme/infra", &workspaces)
    };
    s.declare("acme.toml", &both("network"));
    s.repo
        .commit("main", &[("README", "two workspaces")], "Begin");
    s.start();
    let network = one_file("subnet", "10.0.0.0/24");
    let zone = one_file("zone", "acme.example");
    let commit = s.repo.commit(
        "main",
        &[("network/main.tf", &network), ("dns/main.tf", &zone)],
        "Both",
    );
    s.run_is("merge", "dns", "applied").await;
    s.run_is("merge", "network", "held").await;
    s.issue_with("network waits for a person", "mainstay apply")
        .await;
    s.stop();

    // Renamed: the hold of the old name has nothing to wait for any more.
    s.declare("acme.toml", &both("core"));
    s.start();
    s.run_is("merge", "core", "held").await;
    s.run_is("merge", "network", "superseded").await;
    s.issue_closed("network waits for a person").await;
    let issue = s
        .issue_with("core waits for a person", "mainstay apply core")
        .await;
    s.says(
        issue.number,
        "alice",
        "mainstay apply core",
        &["eyes", "rocket"],
    )
    .await;
    s.world_has("subnet.txt", "10.0.0.0/24").await;
    let said = s.status_is(&commit, "mainstay/apply", "failure").await;
    assert_eq!(said, "superseded before it was applied: network");
    s.stop();

    // Removed: what it had stays as it is.
    s.declare(
        "acme.toml",
        &declaration("acme/infra", &workspace("dns", "")),
    );
    s.start();
    let wider = one_file("subnet", "10.0.0.0/16");
    let zone = one_file("zone", "example");
    let pull = s.propose(
        "wider",
        &[("network/main.tf", &wider), ("dns/main.tf", &zone)],
    );
    let comment = s.comment_with(pull, "1 to change").await;
    assert!(
        comment.contains("`dns`") && !comment.contains("core"),
        "{comment}"
    );
    let commit = s.repo.merge(pull, Method::Merge, "alice").unwrap();
    s.status_is(&commit, "mainstay/apply", "success").await;
    assert_eq!(s.in_world("zone.txt").as_deref(), Some("example"));
    assert_eq!(s.in_world("subnet.txt").as_deref(), Some("10.0.0.0/24"));
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_daemon_waits_and_takes_over_with_what_the_first_was_applying() {
    let mut s = gated().await;
    s.start_second();
    s.wait("the second daemon to say that it waits", |s| {
        s.log().contains("this one waits").then_some(())
    })
    .await;
    let (pull, commit) = merge_slow(&mut s, 3000).await;
    applying(&mut s).await;
    let before = s.json(&["status", "--format", "json"])["daemon"].clone();
    s.kill_first();
    s.status_is(&commit, "mainstay/apply", "success").await;
    s.comment_with(pull, "### Applied: 2 created").await;
    assert_eq!(s.in_world("last.txt").as_deref(), Some("l"));
    assert_eq!(s.starts("apply"), 2, "nothing is applied twice");
    let after = s.json(&["status", "--format", "json"])["daemon"].clone();
    assert!(before != after && after == s.pid(), "{before} {after}");
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn drift_takes_a_lost_run_over_where_no_daemon_does() {
    let mut s = gated().await;
    s.shut_gate("plan");
    let wider = one_file("subnet", "10.0.0.0/16");
    let pull = s.propose("wider", &[("network/main.tf", &wider)]);
    s.run_is("propose", "network", "planning").await;
    s.kill();
    s.open_gate("plan");
    let drift = s.run(&["drift"]);
    assert_eq!(drift.code, 0, "{}{}", drift.stdout, drift.stderr);
    s.start();
    s.comment_with(pull, "1 to change").await;
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn checkouts_that_a_killed_daemon_left_are_swept() {
    let mut s = gated().await;
    s.shut_gate("plan");
    let wider = one_file("subnet", "10.0.0.0/16");
    let pull = s.propose("wider", &[("network/main.tf", &wider)]);
    s.run_is("propose", "network", "planning").await;
    let checkouts = s.data_dir().join("checkouts");
    let count = || std::fs::read_dir(&checkouts).unwrap().count();
    assert_eq!(count(), 1);
    s.kill();
    std::fs::create_dir_all(checkouts.join("run-4711-old/network")).unwrap();
    s.open_gate("plan");
    s.start();
    s.comment_with(pull, "1 to change").await;
    s.stop();
    // The run's own is not swept while its Terraform may need it: the next start does it.
    s.start();
    s.wait("an empty folder of checkouts", |_| {
        (count() == 0).then_some(())
    })
    .await;
    s.end().await;
}
