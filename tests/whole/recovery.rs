//! What a dead apply leaves, and what the run after it makes of that: how far it came, a lock that
//! nobody holds, a state that was not saved.

use serde_json::Value;

use crate::github::git::Method;
use crate::http_backend::HttpBackend;
use crate::scenario::{Scenario, file, kill_below, one_file, root};

/// Three files of which each needs the one before; the second takes its time.
fn three(milliseconds: u32) -> String {
    let delay = format!("delay_ms = {milliseconds}\n  depends_on = [localfs_file.first]");
    root(&[
        &file("first", "1", ""),
        &file("second", "2", &delay),
        &file("third", "3", "depends_on = [localfs_file.second]"),
    ])
}

/// One file that takes its time.
fn slow(content: &str) -> String {
    root(&[&file("slow", content, "delay_ms = 8000")])
}

/// Proposes a root module for `network`, and merges it once it is planned.
async fn merge(s: &mut Scenario, files: &[(&str, &str)]) -> (u64, String) {
    let pull = s.propose("change", files);
    s.comment_with(pull, "to create").await;
    let commit = s.repo.merge(pull, Method::Merge, "alice").unwrap();
    (pull, commit)
}

/// Waits until the newest run's apply has said `what`.
async fn apply_says(s: &mut Scenario, what: &str) -> u64 {
    let run = s.run_is("merge", "network", "applying").await;
    let folder = s.data_dir().join(format!("runs/{run}/1"));
    s.wait(what, |_| {
        let steps = std::fs::read_dir(&folder).ok()?;
        let said = steps
            .flatten()
            .filter(|step| step.file_name().to_string_lossy().ends_with("-apply"))
            .find_map(|step| std::fs::read_to_string(step.path().join("stdout")).ok())?;
        said.contains(what).then_some(())
    })
    .await;
    run
}

/// Waits until another lock than `before`, which an apply holds, is on record; gives its id.
async fn lock_seen(s: &mut Scenario, before: &str) -> String {
    s.wait("the lock being seen", |s| {
        let run = s.runs_for("merge", "network").pop()?;
        if run["state"] != "applying" {
            return None;
        }
        let shown = shown(s, run["id"].as_u64()?);
        let seen = shown["run"]["lock_id"].as_str().filter(|id| *id != before);
        seen.map(str::to_owned)
    })
    .await
}

/// Kills the daemon and Terraform as a power cut would.
fn cut_the_power(s: &mut Scenario) {
    s.kill();
    kill_below(s.folder());
}

fn shown(s: &Scenario, run: u64) -> Value {
    s.json(&["run", &run.to_string(), "--format", "json"])
}

#[tokio::test(flavor = "multi_thread")]
async fn an_apply_that_died_half_way_says_how_far_it_came_and_so_does_the_run_after_it() {
    let mut s = Scenario::new().await;
    s.put_gates();
    s.applied(&[("network/main.tf", &root(&[]))]).await;
    let (pull, commit) = merge(&mut s, &[("network/main.tf", &three(2_000))]).await;
    let run = apply_says(&mut s, "localfs_file.second: Creating...").await;
    cut_the_power(&mut s);

    // Before the new plan the journal and the state say it.
    s.shut_gate("plan");
    s.start();
    s.comment_with(pull, "was interrupted: 1 of 3 changes were seen to be made")
        .await;
    let status = s.run(&["status"]).stdout;
    assert!(
        status.contains("was interrupted: 1 of 3 changes were seen to be made"),
        "{status}"
    );
    let own = &shown(&s, run)["run"]["interruption"];
    assert_eq!(own["extent"], "partial", "{own}");
    assert_eq!(own["told_by"], "journal", "{own}");

    // The new plan says it for sure.
    s.open_gate("plan");
    s.status_is(&commit, "mainstay/apply", "success").await;
    let next = s.run_is("merge", "network", "applied").await;
    assert!(next > run);
    let text = s.run(&["run", &next.to_string()]).stdout;
    let said = format!(
        "It follows run {run}. The apply of `{}` was interrupted: 1 of 3 changes were made; this plan shows what is left",
        &commit[..7]
    );
    assert!(text.contains(&said), "no {said} in {text}");
    let comment = s.comment_with(pull, "### Applied").await;
    assert!(
        comment.contains(&format!("The apply of `{}` was interrupted", &commit[..7])),
        "{comment}"
    );
    assert_eq!(s.in_world("third.txt").as_deref(), Some("3"));
    assert_eq!(shown(&s, run)["run"]["interruption"]["told_by"], "plan");
    let audit = s.json(&["audit", "--limit", "0", "--format", "json"]);
    assert!(
        audit.to_string().contains("\"extent\":\"partial\""),
        "{audit}"
    );
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lock_of_a_dead_apply_is_released_and_nobody_elses() {
    let backend = HttpBackend::start().await;
    let mut s = Scenario::new().await;
    s.put_gates();
    let block = backend.block();
    s.applied(&[
        ("network/main.tf", &root(&[])),
        ("network/backend.tf", &block),
    ])
    .await;
    let (pull, commit) = merge(&mut s, &[("network/main.tf", &slow("s"))]).await;
    let ours = lock_seen(&mut s, "none").await;
    cut_the_power(&mut s);
    assert_eq!(
        backend.lock_id(),
        Some(ours.clone()),
        "the dead leave locks"
    );

    // Nobody meddled: the next run frees it and goes on.
    s.start();
    let second = lock_seen(&mut s, &ours).await;
    assert!(s.log().contains(&format!("The lock {ours} is the one")));
    let released = format!(
        "The lock that the apply of `{}` left was released",
        &commit[..7]
    );
    let run = s.run_is("merge", "network", "applying").await;
    let text = s.run(&["run", &run.to_string()]).stdout;
    assert!(text.contains(&released), "no {released} in {text}");
    cut_the_power(&mut s);
    assert_eq!(backend.lock_id(), Some(second));

    // This time a colleague freed it, and applies by hand: that lock is waited for.
    backend.lock_by("a-colleagues", "ana@laptop");
    let plans = s.starts("plan");
    s.start();
    s.wait("the second try of the next run", |s| {
        (s.starts("plan") == plans + 2).then_some(())
    })
    .await;
    assert_eq!(backend.lock_id().as_deref(), Some("a-colleagues"));
    assert_eq!(s.starts("force-unlock"), 1);
    backend.unlock();
    s.status_is(&commit, "mainstay/apply", "success").await;
    assert_eq!(s.in_world("slow.txt").as_deref(), Some("s"));
    assert_eq!(s.starts("force-unlock"), 1);
    let audit = s.json(&["audit", "--limit", "0", "--format", "json"]);
    let released = audit.to_string().matches("\"lock_released\"").count();
    assert_eq!(released, 1, "{audit}");
    s.comment_with(pull, "### Applied: 1 created").await;
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_was_not_saved_is_pushed_before_anything_is_planned_without_it() {
    let backend = HttpBackend::start().await;
    let mut s = Scenario::new().await;
    s.put_gates();
    let block = backend.block();
    s.applied(&[
        ("network/main.tf", &root(&[])),
        ("network/backend.tf", &block),
    ])
    .await;
    let wanted = one_file("subnet", "10.0.0.0/24");
    let pull = s.propose("change", &[("network/main.tf", &wanted)]);
    s.comment_with(pull, "to create").await;
    backend.refuse();
    let commit = s.repo.merge(pull, Method::Merge, "alice").unwrap();
    s.status_is(&commit, "mainstay/apply", "failure").await;
    s.comment_with(pull, "THE STATE COULD NOT BE SAVED").await;
    assert_eq!(s.in_world("subnet.txt").as_deref(), Some("10.0.0.0/24"));

    // As long as it cannot be saved nothing is planned: the file would be created a second time.
    let plans = s.starts("plan");
    s.says(pull, "alice", "mainstay apply", &["confused", "eyes"])
        .await;
    let comment = s.comment_with(pull, "is still not saved").await;
    assert!(
        comment.contains("`mainstay unseal /")
            && comment.contains("terraform state push errored.tfstate`"),
        "{comment}"
    );
    let waiting = s.run(&["status"]).stdout;
    assert!(waiting.contains("is still not saved"), "{waiting}");
    assert_eq!(s.starts("plan"), plans, "nothing is planned without it");

    backend.accept();
    s.says(pull, "alice", "mainstay apply", &["eyes", "rocket"])
        .await;
    s.status_is(&commit, "mainstay/apply", "success").await;
    s.comment_with(pull, "could not save was pushed before this plan")
        .await;
    let state = backend.state().unwrap();
    assert_eq!(state["resources"][0]["name"], "subnet", "{state}");
    assert_eq!(s.starts("apply"), 1, "nothing is created twice");
    let audit = s.json(&["audit", "--limit", "0", "--format", "json"]);
    assert!(
        audit.to_string().contains("\"what\":\"state_saved\""),
        "{audit}"
    );
    s.end().await;
}
