//! Repositories without a forge: plain git remotes, where branches are the proposals.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::checkout::{git, write, write_program};
use crate::scenario::{Scenario, one_file, workspace};
use serde_json::Value;

/// A bare repository that people push to, and the checkout of one of them.
struct Remote {
    bare: PathBuf,
    work: PathBuf,
}

impl Remote {
    /// A repository with one file of the world in the workspace `network`, on `main`.
    fn new(folder: &Path) -> Self {
        let remote = Self {
            bare: folder.join("infra.git"),
            work: folder.join("work"),
        };
        let bare = remote.bare.to_str().unwrap();
        git(
            folder,
            &["init", "--quiet", "--bare", "--initial-branch=main", bare],
        );
        git(
            folder,
            &["clone", "--quiet", bare, remote.work.to_str().unwrap()],
        );
        remote.git(&["switch", "--quiet", "--orphan", "main"]);
        remote.commit("one");
        remote.push("main");
        remote
    }

    fn git(&self, arguments: &[&str]) -> String {
        git(&self.work, arguments)
    }

    /// Commits that the file holds `content`.
    fn commit(&self, content: &str) -> String {
        write(
            &self.work.join("network/main.tf"),
            &one_file("subnet", content),
        );
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "-m", content]);
        self.git(&["rev-parse", "HEAD"])
    }

    fn push(&self, branch: &str) {
        self.git(&["push", "--quiet", "--force", "origin", branch]);
    }

    /// Pushes a proposal whose commits leave the file with these contents, one after the other.
    fn propose(&self, branch: &str, contents: &[&str]) -> String {
        self.git(&["switch", "--quiet", "--create", branch, "main"]);
        for content in contents {
            self.commit(content);
        }
        self.push(branch);
        let head = self.git(&["rev-parse", "HEAD"]);
        self.git(&["switch", "--quiet", "main"]);
        head
    }

    /// Pushes another file to main, so that what is merged later is not just moved along.
    fn move_main(&self) {
        write(&self.work.join("README.md"), "The network.\n");
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "-m", "Say what this is"]);
        self.push("main");
    }
}

/// A declaration of a plain remote with the workspace `network`.
fn declared(url: &str, more: &str) -> String {
    format!(
        "repo = \"{url}\"\nproposals = [\"proposal/*\"]\n\n{}",
        workspace("network", more)
    )
}

/// The one repository of a scenario in its status; null until the daemon has made its record.
fn repository(s: &Scenario) -> Value {
    if !s.data_dir().join("mainstay.db").is_file() {
        return Value::Null;
    }
    // Every look is a process of its own: the daemon needs the processors more.
    std::thread::sleep(Duration::from_millis(150));
    let status = s.json(&["status", "--comments", "--format", "json"]);
    status["repositories"][0].clone()
}

/// A proposal in the status, by its branch.
fn proposal(s: &Scenario, branch: &str) -> Option<Value> {
    let repository = repository(s);
    let all = repository["proposals"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    all.into_iter()
        .find(|p| p["proposal"] == format!("branch {branch}"))
}

/// Waits until the kept comment on a proposal says `text`; gives all of it.
async fn comment_says(s: &mut Scenario, branch: &str, text: &str) -> String {
    s.wait(&format!("a comment on {branch} with `{text}`"), |s| {
        let comment = proposal(s, branch)?["comment"].as_str()?.to_owned();
        comment.contains(text).then_some(comment)
    })
    .await
}

/// Waits until `network` is applied at `commit`.
async fn applied(s: &mut Scenario, commit: &str) {
    s.wait(&format!("network being applied at {commit}"), |s| {
        let workspace = repository(s)["workspaces"][0].clone();
        (workspace["applied"] == commit).then_some(())
    })
    .await;
}

/// A daemon on a plain remote at `url`, with main applied.
async fn served(s: &mut Scenario, remote: &Remote, url: &str, more: &str) {
    s.declare("acme.toml", &declared(url, more));
    s.start();
    let head = remote.git(&["rev-parse", "main"]);
    applied(s, &head).await;
    assert_eq!(s.in_world("subnet.txt").as_deref(), Some("one"));
}

/// What has to come about whatever leads to the remote.
async fn carries(mut s: Scenario, remote: &Remote, url: &str) {
    served(&mut s, remote, url, "").await;
    remote.propose("proposal/wider", &["two"]);
    remote.propose("wip/other", &["three"]);
    let comment = comment_says(&mut s, "proposal/wider", "1 to change").await;
    assert!(comment.starts_with("### `network` changes"), "{comment}");
    assert!(!comment.contains("three"), "{comment}");
    let shown = s.run(&["status", "--comments"]);
    assert!(shown.stdout.contains("1 to change"), "{}", shown.stdout);
    assert!(!shown.stdout.contains("<!--"), "{}", shown.stdout);
    assert_eq!(
        proposal(&s, "wip/other"),
        None,
        "no pattern makes it a proposal"
    );
    assert_eq!(s.in_world("subnet.txt").as_deref(), Some("one"));

    remote.git(&[
        "merge",
        "--quiet",
        "--no-ff",
        "-m",
        "Merge it",
        "proposal/wider",
    ]);
    remote.push("main");
    let head = remote.git(&["rev-parse", "main"]);
    applied(&mut s, &head).await;
    assert_eq!(s.in_world("subnet.txt").as_deref(), Some("two"));
    comment_says(&mut s, "proposal/wider", "is applied at").await;
    assert_eq!(proposal(&s, "proposal/wider").unwrap()["state"], "merged");
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_leads_to_a_remote() {
    let s = Scenario::new().await;
    let remote = Remote::new(s.folder());
    let url = remote.bare.to_str().unwrap().to_owned();
    carries(s, &remote, &url).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_url_leads_to_a_remote() {
    let s = Scenario::new().await;
    let remote = Remote::new(s.folder());
    let url = format!("file://{}", remote.bare.display());
    carries(s, &remote, &url).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn http_leads_to_a_remote() {
    let s = Scenario::new().await;
    // The model serves git by http to anybody where a repository is public.
    s.repo.publish();
    let mut remote = Remote::new(s.folder());
    remote.git(&[
        "remote",
        "set-url",
        "origin",
        s.repo.dir().to_str().unwrap(),
    ]);
    remote.push("main");
    remote.bare = s.repo.dir();
    let url = format!("{}/acme/infra.git", s.hub.web_url());
    carries(s, &remote, &url).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ssh_leads_to_a_remote() {
    let mut s = Scenario::new().await;
    let remote = Remote::new(s.folder());
    // An `ssh` that is at the other side at once: its last argument is the command there.
    let aside = tempfile::tempdir().unwrap();
    let bin = aside.path().join("bin");
    let asked = aside.path().join("ssh.log");
    write_program(
        &bin.join("ssh"),
        &format!(
            "#!/bin/sh\nfor last; do destination=$command; command=$last; done\n\
             echo \"$destination $command\" >>'{}'\nexec sh -c \"$command\"\n",
            asked.display()
        ),
    );
    let path = std::env::var("PATH").unwrap();
    s.set("PATH", &format!("{}:{path}", bin.display()));
    let url = format!("ssh://git@git.example.com{}", remote.bare.display());
    carries(s, &remote, &url).await;
    let asked = std::fs::read_to_string(asked).unwrap();
    assert!(
        asked.starts_with("git@git.example.com git-upload-pack '/"),
        "{asked}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_squash_is_recognised_as_the_merge() {
    let mut s = Scenario::new().await;
    let remote = Remote::new(s.folder());
    let url = remote.bare.to_str().unwrap().to_owned();
    served(&mut s, &remote, &url, "").await;
    remote.propose("proposal/wider", &["two", "three"]);
    comment_says(&mut s, "proposal/wider", "1 to change").await;
    remote.move_main();
    remote.git(&["merge", "--quiet", "--squash", "proposal/wider"]);
    remote.git(&["commit", "--quiet", "-m", "Widen, squashed"]);
    remote.push("main");
    let head = remote.git(&["rev-parse", "main"]);
    applied(&mut s, &head).await;
    assert_eq!(s.in_world("subnet.txt").as_deref(), Some("three"));
    comment_says(&mut s, "proposal/wider", "is applied at").await;
    assert_eq!(proposal(&s, "proposal/wider").unwrap()["state"], "merged");
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebase_is_recognised_as_the_merge() {
    let mut s = Scenario::new().await;
    let remote = Remote::new(s.folder());
    let url = remote.bare.to_str().unwrap().to_owned();
    served(&mut s, &remote, &url, "").await;
    remote.propose("proposal/wider", &["two", "three"]);
    comment_says(&mut s, "proposal/wider", "1 to change").await;
    remote.move_main();
    remote.git(&["cherry-pick", "main..proposal/wider"]);
    remote.push("main");
    let head = remote.git(&["rev-parse", "main"]);
    applied(&mut s, &head).await;
    assert_eq!(s.in_world("subnet.txt").as_deref(), Some("three"));
    comment_says(&mut s, "proposal/wider", "is applied at").await;
    assert_eq!(proposal(&s, "proposal/wider").unwrap()["state"], "merged");
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_that_vanishes_is_a_proposal_that_was_closed() {
    let mut s = Scenario::new().await;
    let remote = Remote::new(s.folder());
    let url = remote.bare.to_str().unwrap().to_owned();
    served(&mut s, &remote, &url, "").await;
    remote.propose("proposal/wider", &["two"]);
    comment_says(&mut s, "proposal/wider", "1 to change").await;
    remote.git(&["push", "--quiet", "origin", "--delete", "proposal/wider"]);
    comment_says(&mut s, "proposal/wider", "Closed without being merged").await;
    assert_eq!(proposal(&s, "proposal/wider").unwrap()["state"], "closed");
    assert_eq!(s.in_world("subnet.txt").as_deref(), Some("one"));
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_is_let_go_from_the_command_line() {
    let mut s = Scenario::new().await;
    let remote = Remote::new(s.folder());
    let url = remote.bare.to_str().unwrap().to_owned();
    s.declare("acme.toml", &declared(&url, "apply = \"on-approval\""));
    s.start();
    s.wait("network being held", |s| {
        repository(s)["workspaces"][0]["hold"].as_str().map(drop)
    })
    .await;
    let status = s.run(&["status"]).stdout;
    assert!(status.contains("network is held at"), "{status}");
    assert!(
        status.contains("`mainstay apply network` lets it go"),
        "{status}"
    );
    assert_eq!(s.in_world("subnet.txt"), None);

    let ran = s.run(&["apply", "netwrk"]);
    assert_eq!(ran.code, 1);
    assert!(
        ran.stderr.contains("did you mean `network`?"),
        "{}",
        ran.stderr
    );
    let ran = s.run(&["apply", "network"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, ""));
    assert!(
        ran.stderr
            .starts_with("The daemon does it: `mainstay apply network`"),
        "{}",
        ran.stderr
    );
    let head = remote.git(&["rev-parse", "main"]);
    applied(&mut s, &head).await;
    assert_eq!(s.in_world("subnet.txt").as_deref(), Some("one"));
    s.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_leads_nowhere_is_told_and_holds_up_no_other() {
    let mut s = Scenario::new().await;
    let remote = Remote::new(s.folder());
    let url = remote.bare.to_str().unwrap().to_owned();
    let nowhere = s.folder().join("nowhere.git");
    s.declare("broken.toml", &declared(nowhere.to_str().unwrap(), ""));
    served(&mut s, &remote, &url, "").await;
    let error = s
        .wait("the error", |s| {
            let status = s.json(&["status", "--format", "json"]);
            status["repositories"][1]["error"]
                .as_str()
                .map(str::to_owned)
        })
        .await;
    assert!(error.contains("there is no repository at"), "{error}");
    assert!(error.contains("check both"), "what to do: {error}");
    let shown = s.run(&["status"]).stdout;
    assert!(shown.contains("cannot be looked at"), "{shown}");
    // It is said once in the log, however often it is tried.
    let head = remote.propose("proposal/later", &["two"]);
    comment_says(&mut s, "proposal/later", &head[..7]).await;
    let said = s.log().matches("nowhere.git failed").count();
    assert_eq!(said, 1, "{}", s.log());

    // Once it is there, it is taken up by itself.
    git(
        s.folder(),
        &[
            "clone",
            "--quiet",
            "--bare",
            &url,
            nowhere.to_str().unwrap(),
        ],
    );
    s.wait("the repository to be looked at", |s| {
        let status = s.json(&["status", "--format", "json"]);
        let repository = &status["repositories"][1];
        (repository["error"].is_null() && repository["base"].is_string()).then_some(())
    })
    .await;
    s.end().await;
}
