//! What rests in the data folder is sealed, whatever was killed when.

use std::path::PathBuf;

use crate::github::git::Method;
use crate::restarts::applying;
use crate::scenario::{Scenario, declaration, file, root, workspace};

/// A value that stands in the state and in plans.
const SECRET: &str = "open-sesame-0815";

/// One file of the world with the secret in its attributes, which is nowhere in the repository.
fn subnet() -> String {
    let subnet = file("subnet", "10.0.0.0/24", "secret = var.secret");
    format!("variable \"secret\" {{\n  type = string\n}}\n{subnet}")
}

/// The files of the data folder that hold the secret in the clear.
fn in_the_clear(s: &Scenario) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![s.data_dir()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                open.push(path);
            } else if let Ok(bytes) = std::fs::read(&path)
                && bytes.windows(SECRET.len()).any(|w| w == SECRET.as_bytes())
            {
                found.push(path);
            }
        }
    }
    found
}

/// Waits until nothing in the data folder holds the secret in the clear.
async fn at_rest(s: &mut Scenario) {
    s.wait("nothing in the clear", |s| {
        in_the_clear(s).is_empty().then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_daemon_leaves_nothing_in_the_clear_once_another_took_over() {
    let mut s = Scenario::new().await;
    s.put_gates();
    s.set("TF_VAR_secret", SECRET);
    let declared = workspace("network", "").replace("\"LOCALFS_*\"", "\"LOCALFS_*\", \"TF_VAR_*\"");
    s.declare("acme.toml", &declaration("acme/infra", &declared));
    s.applied(&[("network/main.tf", &root(&[&subnet()]))]).await;
    at_rest(&mut s).await;
    assert!(s.state("network").contains(SECRET));

    // Killed in the middle of a plan.
    s.shut_gate("show");
    let slow = root(&[
        &subnet(),
        &file(
            "host",
            "h",
            "delay_ms = 2000\n  depends_on = [localfs_file.subnet]",
        ),
    ]);
    let pull = s.propose("slow", &[("network/main.tf", &slow)]);
    s.wait("the plan being shown", |s| {
        (s.starts("show") == 2).then_some(())
    })
    .await;
    s.kill();
    assert!(!in_the_clear(&s).is_empty(), "a plan reads its state");
    s.open_gate("show");
    s.start();
    s.comment_with(pull, "1 to create").await;
    at_rest(&mut s).await;

    // Killed in the middle of an apply, which goes on.
    let commit = s.repo.merge(pull, Method::Merge, "alice").unwrap();
    applying(&mut s).await;
    s.kill();
    assert!(!in_the_clear(&s).is_empty(), "an apply has its state open");
    s.start();
    s.status_is(&commit, "mainstay/apply", "success").await;
    at_rest(&mut s).await;
    let state = s.state("network");
    assert!(state.contains(SECRET) && state.contains("\"host\""));

    // Another key, while the daemon runs.
    let keys = s.data_dir().join("seal.key");
    let before = std::fs::read_to_string(&keys).unwrap();
    let rotated = s.run(&["key", "rotate"]);
    assert_eq!(rotated.code, 0, "{}", rotated.stderr);
    let after = std::fs::read_to_string(&keys).unwrap();
    let key = |text: &str| text.lines().last().unwrap().to_owned();
    assert_ne!(key(&before), key(&after));
    assert!(!after.contains(&key(&before)), "the old key is gone");
    assert_eq!(s.state("network"), state);

    // What an apply said is still there for whoever has the key.
    let run = s.run_is("merge", "network", "applied").await;
    let attempt = s.data_dir().join(format!("runs/{run}/1"));
    let said = std::fs::read_dir(attempt)
        .unwrap()
        .map(|step| step.unwrap().path().join("stdout.sealed"))
        .filter(|log| log.exists())
        .map(|log| s.run(&["unseal", log.to_str().unwrap()]).stdout)
        .collect::<String>();
    assert!(
        said.contains("localfs_file.host: Creation complete"),
        "{said}"
    );

    // A copy has what is sealed, and no key.
    let copy = s.folder().join("copy");
    let backup = s.run(&["backup", copy.to_str().unwrap()]);
    assert_eq!(backup.code, 0, "{}", backup.stderr);
    assert!(backup.stderr.contains("seal.key"), "{}", backup.stderr);
    assert!(!copy.join("seal.key").exists());
    let settings = s.folder().join("copy.toml");
    let text = std::fs::read_to_string(s.config()).unwrap();
    std::fs::write(&settings, text.replace("\"var\"", "\"copy\"")).unwrap();
    let pull = [
        "state",
        "pull",
        "network",
        "--config",
        settings.to_str().unwrap(),
    ];
    assert_eq!(s.run(&pull).code, 1);
    std::fs::copy(&keys, copy.join("seal.key")).unwrap();
    assert_eq!(s.run(&pull).stdout, state);
    s.end().await;
}
