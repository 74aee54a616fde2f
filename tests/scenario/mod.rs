//! The scenario harness: the real daemon, the real Terraform and git, and the model of GitHub.
//!
//! A [`Scenario`] owns all of it. At its end it fails a test that leaves a process, a run that
//! has not ended, two comments of ours on one pull request, a request that the model does not
//! know, or one that came although GitHub asked to wait.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::github::GitHub;
use crate::github::log::LoggedRequest;
use crate::github::repository::Repository;
use crate::github::repository::conversation::IssueView;
use crate::github::world::{Role, Time};
use crate::localfs;

/// The account that the daemon writes with.
pub(crate) const BOT: &str = "mainstay-bot";

/// Its token.
pub(crate) const TOKEN: &str = "ghp_the-token-of-the-scenarios-0123456789";

/// The name of the program that stands at gates in Terraform's place.
const GATED: &str = "terraform-gated";

/// No scenario has more issues and pull requests in its repository.
const MOST_NUMBERS: u64 = 50;

/// How long anything may take before the test fails; `MAINSTAY_PATIENCE` says another time, in seconds.
const PATIENCE: Duration = Duration::from_secs(60);

fn patience() -> Duration {
    let asked = std::env::var("MAINSTAY_PATIENCE").ok();
    let asked = asked.and_then(|seconds| seconds.parse().ok());
    asked.map_or(PATIENCE, Duration::from_secs)
}

/// One world of a test's own.
pub(crate) struct Scenario {
    pub(crate) hub: GitHub,
    pub(crate) repo: Repository,
    folder: tempfile::TempDir,
    daemon: Option<Child>,
    /// A second daemon, which waits for the end of the first.
    waiting: Option<Child>,
    environment: Vec<(String, String)>,
    checked: bool,
}

/// What a command printed, and how it ended.
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Scenario {
    /// A GitHub with `acme/infra`, where alice may write and mallory may read; settings for one
    /// workspace `network` in the folder of that name. The daemon is not started yet.
    pub(crate) async fn new() -> Self {
        let hub = GitHub::start().await;
        let repo = hub.create_repository("acme/infra");
        hub.user("alice", &[(&repo, Role::Write)]);
        hub.user("mallory", &[(&repo, Role::Read)]);
        hub.token(TOKEN, BOT, &["repo"]);
        repo.grant(BOT, Role::Write);
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let scenario = Self {
            hub,
            repo,
            folder,
            daemon: None,
            waiting: None,
            environment: Vec::new(),
            checked: false,
        };
        std::fs::create_dir_all(scenario.world()).expect("the world can be made");
        std::fs::create_dir_all(scenario.folder.path().join("home")).expect("a home can be made");
        scenario.configure("");
        scenario.declare(
            "acme.toml",
            &declaration("acme/infra", &workspace("network", "")),
        );
        scenario
    }

    /// Writes the settings, with more lines before the sections.
    pub(crate) fn configure(&self, more: &str) {
        // A program of the test's own in Terraform's place tells the test what it does.
        let level = if more.contains("engine = ") {
            "none"
        } else {
            "auto"
        };
        let text = format!(
            "data_dir = \"var\"\npoll_every = \"200ms\"\nlisten = \"off\"\n{more}\n\n[sandbox]\nlevel = \"{level}\"\nwrite = [\"world\"]\n\n[github]\napi_url = \"{}\"\n",
            self.hub.api_url()
        );
        std::fs::write(self.config(), text).expect("the settings can be written");
        std::fs::create_dir_all(self.folder.path().join("workspaces"))
            .expect("the folder of declarations can be made");
    }

    /// Writes a declaration file.
    pub(crate) fn declare(&self, file: &str, text: &str) {
        let path = self.folder.path().join("workspaces").join(file);
        std::fs::write(path, text).expect("a declaration can be written");
    }

    /// A variable more in the daemon's environment, from its next start on.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// The folder that stands in for the world: where `localfs_file` writes.
    pub(crate) fn world(&self) -> PathBuf {
        self.folder.path().join("world")
    }

    /// What a file of the world holds; `None` where it is not there.
    pub(crate) fn in_world(&self, file: &str) -> Option<String> {
        std::fs::read_to_string(self.world().join(file)).ok()
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.folder.path().join("mainstay.toml")
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.folder.path().join("var")
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The program with the scenario's environment and nothing else of ours.
    pub(crate) fn mainstay(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(localfs::MAINSTAY);
        command
            .args(arguments)
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .env("HOME", self.folder.path().join("home"))
            .env("USER", "operator")
            .env("GITHUB_TOKEN", TOKEN)
            .env("TF_CLI_CONFIG_FILE", localfs::cli_config())
            .env("LOCALFS_ROOT", self.world())
            .env("MAINSTAY_CONFIG", self.config())
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_SYSTEM", "/dev/null")
            .env("RUST_LOG", "mainstay=debug")
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        command
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        let output = self
            .mainstay(arguments)
            .output()
            .expect("mainstay can be started");
        Ran {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Runs a command that prints JSON.
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let ran = self.run(arguments);
        serde_json::from_str(&ran.stdout).unwrap_or_else(|error| {
            panic!(
                "{arguments:?} printed no JSON ({error}): {}{}",
                ran.stdout, ran.stderr
            )
        })
    }

    /// The log of the daemon, all its lives.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("daemon.log")).unwrap_or_default()
    }

    /// Starts the daemon.
    pub(crate) fn start(&mut self) {
        assert!(self.daemon.is_none(), "the daemon runs already");
        self.daemon = Some(self.spawn());
    }

    /// Starts a second daemon beside the first.
    pub(crate) fn start_second(&mut self) {
        self.waiting = Some(self.spawn());
    }

    /// Kills the daemon as a power cut would, and leaves the second one.
    pub(crate) fn kill_first(&mut self) {
        self.kill();
        self.daemon = self.waiting.take();
    }

    fn spawn(&self) -> Child {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.folder.path().join("daemon.log"))
            .expect("the log can be opened");
        self.mainstay(&["serve"])
            .stdout(Stdio::null())
            .stderr(log)
            // A group of its own, so that a signal to the test does not end it half way.
            .process_group(0)
            .spawn()
            .expect("the daemon can be started")
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let child = self.daemon.as_ref().expect("the daemon runs");
        let pid = rustix::process::Pid::from_child(child);
        rustix::process::kill_process(pid, signal).expect("the daemon can be signalled");
    }

    /// Asks the daemon to end, and waits for it.
    pub(crate) fn stop(&mut self) -> ExitStatus {
        self.signal(rustix::process::Signal::TERM);
        self.reap("SIGTERM")
    }

    /// Holds the daemon still as it is: nothing of it goes on until it is killed.
    pub(crate) fn freeze(&self) {
        self.signal(rustix::process::Signal::STOP);
    }

    /// Lets the daemon that was held still go on until it ends by itself; the second one is the
    /// daemon from now on.
    pub(crate) fn go_on_after_another_took_over(&mut self) -> ExitStatus {
        self.signal(rustix::process::Signal::CONT);
        let status = self.reap("SIGCONT");
        self.daemon = self.waiting.take();
        status
    }

    /// Kills the daemon as a power cut would.
    pub(crate) fn kill(&mut self) {
        self.signal(rustix::process::Signal::KILL);
        self.reap("SIGKILL");
    }

    fn reap(&mut self, after: &str) -> ExitStatus {
        let mut child = self.daemon.take().expect("the daemon runs");
        let began = Instant::now();
        loop {
            if let Some(status) = child.try_wait().expect("the daemon can be waited for") {
                return status;
            }
            if began.elapsed() > PATIENCE {
                let _ = child.kill();
                let _ = child.wait();
                panic!("the daemon did not end after {after}\n{}", self.log());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until `look` gives something.
    pub(crate) async fn wait<T>(
        &mut self,
        what: &str,
        mut look: impl FnMut(&Self) -> Option<T>,
    ) -> T {
        let began = Instant::now();
        loop {
            let looked = Instant::now();
            if let Some(found) = look(self) {
                return found;
            }
            // A look that starts a program must leave the daemon time to work.
            let pause = looked.elapsed() * 3;
            let ended = self
                .daemon
                .as_mut()
                .and_then(|d| d.try_wait().ok().flatten());
            if let Some(status) = ended {
                self.checked = true;
                panic!(
                    "the daemon ended with {status} while the test waited for {what}\n{}",
                    self.log()
                );
            }
            if began.elapsed() > patience() {
                self.checked = true;
                panic!(
                    "{what} did not come in time\n{}\n{}",
                    self.run(&["status"]).stdout,
                    self.log()
                );
            }
            tokio::time::sleep(pause.max(Duration::from_millis(25))).await;
        }
    }

    /// Waits until our comment on a pull request says `text`; gives all of it.
    pub(crate) async fn comment_with(&mut self, pull: u64, text: &str) -> String {
        self.wait(&format!("a comment on #{pull} with `{text}`"), |s| {
            s.comment(pull).filter(|body| body.contains(text))
        })
        .await
    }

    /// Our comment on a pull request.
    pub(crate) fn comment(&self, pull: u64) -> Option<String> {
        let ours: Vec<_> = self
            .repo
            .comments(pull)
            .into_iter()
            .filter(|c| c.author == BOT)
            .collect();
        assert!(
            ours.len() <= 1,
            "{} comments of ours on #{pull}",
            ours.len()
        );
        ours.into_iter().next().map(|c| c.body)
    }

    /// Waits until a status of a commit stands there.
    pub(crate) async fn status_is(&mut self, commit: &str, context: &str, state: &str) -> String {
        let what = format!("{context} of {commit} being {state}");
        self.wait(&what, |s| {
            let (now, description) = s.status(commit, context)?;
            (now == state).then_some(description)
        })
        .await
    }

    /// The state and description of a status of a commit.
    pub(crate) fn status(&self, commit: &str, context: &str) -> Option<(String, String)> {
        self.repo
            .status(commit, context)
            .map(|status| (status.state, status.description))
    }

    /// The runs on record, newest first, as `mainstay runs` prints them.
    pub(crate) fn runs(&self) -> Vec<Value> {
        let arguments = ["runs", "--format", "json", "--limit", "0"];
        let asked = self.run(&arguments);
        if asked.stderr.contains("nothing is recorded") {
            return Vec::new();
        }
        let listed: Value = serde_json::from_str(&asked.stdout).unwrap_or_else(|error| {
            panic!("{arguments:?} printed no JSON ({error}): {}", asked.stderr)
        });
        listed["runs"].as_array().cloned().unwrap_or_default()
    }

    /// Commits a root module with one file in the world to main, and waits until it is applied.
    pub(crate) async fn applied(&mut self, files: &[(&str, &str)]) -> String {
        let commit = self.repo.commit("main", files, "The beginning");
        if self.daemon.is_none() {
            self.start();
        }
        self.status_is(&commit, "mainstay/apply", "success").await;
        commit
    }

    /// How often the repositories were looked at so far: by GraphQL, or by REST where that is refused.
    pub(crate) fn looks(&self) -> usize {
        let pulls = format!("/repos/{}/pulls", self.repo.full_name());
        let requests = self.hub.requests();
        let is_look =
            |request: &&LoggedRequest| request.path == "/graphql" || request.path == pulls;
        requests.iter().filter(is_look).count()
    }

    /// Waits until the repositories were looked at so many times more: whatever the state before
    /// leads to has then been begun.
    pub(crate) async fn looks_pass(&mut self, more: usize) {
        let enough = self.looks() + more;
        self.wait(&format!("{more} more looks"), |s| {
            (s.looks() >= enough).then_some(())
        })
        .await;
    }

    /// The requests since `from`, an earlier number of requests.
    pub(crate) fn requests_since(&self, from: usize) -> Vec<LoggedRequest> {
        self.hub.requests().split_off(from)
    }

    /// Another repository of the daemon's, beside the scenario's own, with the workspace `network`.
    pub(crate) fn another(&self, full_name: &str) -> Repository {
        let repo = self.hub.create_repository(full_name);
        repo.grant(BOT, Role::Write);
        repo.grant("alice", Role::Write);
        let file = format!("{}.toml", full_name.replace('/', "-"));
        self.declare(&file, &declaration(full_name, &workspace("network", "")));
        repo
    }

    /// The daemon's process.
    pub(crate) fn pid(&self) -> u32 {
        self.daemon.as_ref().expect("the daemon runs").id()
    }

    /// Arguments and environment of the processes below the daemon, as `/proc` shows them now; of
    /// the daemon itself only the arguments, since it was given its environment by us.
    pub(crate) fn children(&self) -> Vec<String> {
        let daemon = self.daemon.as_ref().map_or(0, Child::id);
        let read = |pid: u32, file: &str| {
            let bytes = std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
            String::from_utf8_lossy(&bytes).replace('\0', " ")
        };
        let mut all = vec![read(daemon, "cmdline")];
        let mut parents = vec![daemon];
        while let Some(parent) = parents.pop() {
            for thread in std::fs::read_dir(format!("/proc/{parent}/task"))
                .into_iter()
                .flatten()
                .flatten()
            {
                let listed = std::fs::read_to_string(thread.path().join("children"));
                for child in listed.unwrap_or_default().split_whitespace() {
                    let Ok(child) = child.parse() else { continue };
                    let line = read(child, "cmdline");
                    // Until it runs its own program it is a copy of the daemon.
                    if line != all[0] {
                        all.push(line + &read(child, "environ"));
                    }
                    parents.push(child);
                }
            }
        }
        all
    }

    /// Ends the scenario: stops the daemon and looks for what must not be left.
    pub(crate) async fn end(mut self) {
        if self.daemon.is_some() {
            let idle = |s: &Self| {
                s.runs()
                    .iter()
                    .all(|run| {
                        !matches!(
                            run["state"].as_str(),
                            Some("queued" | "preparing" | "planning" | "applying")
                        )
                    })
                    .then_some(())
            };
            self.wait("every run to end", idle).await;
            let status = self.stop();
            assert!(
                status.success(),
                "the daemon ended with {status}\n{}",
                self.log()
            );
        }
        self.check();
    }

    fn check(&mut self) {
        self.check_comments();
        // A daemon that was never started has no record.
        if self.data_dir().join("mainstay.db").is_file() {
            self.check_runs();
            let audit = self.run(&["audit", "verify"]);
            assert_eq!(audit.code, 0, "{}{}", audit.stdout, audit.stderr);
        }
        self.check_what_is_left();
    }

    /// Ends a scenario whose runs are too many to ask the program for each: the daemon is stopped,
    /// and what it leaves is looked for as ever. The caller looks at the runs.
    pub(crate) fn end_of_many(mut self) {
        let status = self.stop();
        assert!(
            status.success(),
            "the daemon ended with {status}\n{}",
            self.log()
        );
        self.check_what_is_left();
    }

    /// Holds that nothing is left and nothing was said that must not be.
    fn check_what_is_left(&mut self) {
        self.checked = true;
        let unknown = self.hub.unmodelled();
        assert!(
            unknown.is_empty(),
            "requests that the model does not know: {unknown:?}"
        );
        let impatient = self.hub.impatient();
        assert!(
            impatient.is_empty(),
            "requests that came although GitHub asked to wait: {impatient:?}"
        );
        let left = processes_below(self.folder.path());
        assert!(left.is_empty(), "processes are left: {left:?}");
        let log = self.log();
        assert!(!log.contains(TOKEN), "the token is in the log");
        assert!(!log.contains("panicked"), "something panicked\n{log}");
    }

    /// Holds that no pull request has two comments of ours.
    fn check_comments(&self) {
        for number in 1..=MOST_NUMBERS {
            let ours = self.repo.comments(number);
            let ours = ours
                .iter()
                .filter(|c| c.author == BOT && c.body.starts_with("<!-- mainstay:"))
                .count();
            assert!(ours <= 1, "{ours} comments of ours on #{number}");
        }
    }

    /// Holds that nothing is under way once the daemon has ended, and that no workspace was
    /// ever worked on by two runs at once.
    fn check_runs(&self) {
        let runs = self.runs();
        for run in &runs {
            let state = run["state"].as_str().unwrap_or_default();
            assert!(
                !matches!(state, "preparing" | "planning" | "applying"),
                "run {} is left {state}",
                run["id"]
            );
        }
        let mut taken: Vec<(String, u64, Span)> = Vec::new();
        for run in &runs {
            let id = run["id"].as_u64().expect("a run has a number");
            let name = format!("{} {}", run["repository"], run["workspace"]);
            for span in self.spans(id) {
                let other = taken
                    .iter()
                    .find(|(of, by, at)| *of == name && *by != id && at.overlaps(&span));
                assert!(
                    other.is_none(),
                    "run {id} was in {name} at the time of {other:?}: {span:?}"
                );
                taken.push((name.clone(), id, span));
            }
        }
    }

    /// The times between which a worker had a run: a hold that is let go gives it another.
    pub(crate) fn spans(&self, id: u64) -> Vec<Span> {
        let mut spans = Vec::new();
        let mut began = None;
        for (at, event) in self.events(id) {
            match event.as_str() {
                "started" => began = Some(at),
                "checked_out" | "apply_started" => {}
                _ => spans.extend(began.take().map(|began| Span { began, ended: at })),
            }
        }
        spans
    }

    /// What happened to a run and when, oldest first.
    pub(crate) fn events(&self, id: u64) -> Vec<(Time, String)> {
        let shown = self.json(&["run", &id.to_string(), "--format", "json"]);
        shown["events"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|event| {
                let at = event["at"].as_str().and_then(|at| at.parse().ok());
                let name = event["event"]["event"].as_str().unwrap_or_default();
                (at.expect("an event has a time"), name.to_owned())
            })
            .collect()
    }

    /// The runs for a purpose in a workspace, oldest first.
    pub(crate) fn runs_for(&self, purpose: &str, workspace: &str) -> Vec<Value> {
        let mut runs = self.runs();
        runs.retain(|r| r["purpose"] == purpose && r["workspace"] == workspace);
        runs.reverse();
        runs
    }

    /// Waits until the newest run for a purpose in a workspace is in a state; gives its number.
    pub(crate) async fn run_is(&mut self, purpose: &str, workspace: &str, state: &str) -> u64 {
        let what = format!("the newest {purpose} run of {workspace} being {state}");
        self.wait(&what, |s| {
            let runs = s.runs_for(purpose, workspace);
            let run = runs.last().filter(|run| run["state"] == state)?;
            run["id"].as_u64()
        })
        .await
    }

    /// Waits until the daemon has looked at everything that is there now.
    pub(crate) async fn looked(&mut self) {
        // The first look from now on sees all, and is taken in while the next ones are sent.
        self.looks_pass(4).await;
    }

    /// Commits files to a branch from main, and opens a pull request of alice's for it.
    pub(crate) fn propose(&self, branch: &str, files: &[(&str, &str)]) -> u64 {
        let main = self.repo.head("main").expect("main is there");
        self.repo.branch(branch, &main);
        self.repo.commit(branch, files, branch);
        self.repo.open_pull(branch, branch, "main", "alice")
    }

    /// Our reactions to a comment, as GitHub names them.
    pub(crate) fn reactions(&self, number: u64, comment: u64) -> Vec<String> {
        let comments = self.repo.comments(number);
        let comment = comments.into_iter().find(|c| c.id == comment);
        let reactions = comment.map(|c| c.reactions).unwrap_or_default();
        let ours = reactions.into_iter().filter(|(who, _)| who == BOT);
        ours.map(|(_, content)| content).collect()
    }

    /// Waits until these are our reactions to a comment.
    pub(crate) async fn reacted(&mut self, number: u64, comment: u64, reactions: &[&str]) {
        let what = format!("the reactions {reactions:?} to a comment on #{number}");
        self.wait(&what, |s| {
            let mut now = s.reactions(number, comment);
            now.sort();
            (now == reactions).then_some(())
        })
        .await;
    }

    /// Writes a comment, and waits for the reactions to it.
    pub(crate) async fn says(
        &mut self,
        number: u64,
        author: &str,
        text: &str,
        reactions: &[&str],
    ) -> u64 {
        let comment = self.repo.comment(number, author, text);
        self.reacted(number, comment, reactions).await;
        comment
    }

    /// The open issues of that title.
    pub(crate) fn open_issues(&self, title: &str) -> Vec<IssueView> {
        let mut issues = self.repo.issues();
        issues.retain(|issue| issue.title == title && issue.state == "open");
        issues
    }

    /// Waits for the one open issue of that title, until its body says `text`.
    pub(crate) async fn issue_with(&mut self, title: &str, text: &str) -> IssueView {
        self.wait(&format!("an issue `{title}` with `{text}`"), |s| {
            let issues = s.open_issues(title);
            assert!(issues.len() <= 1, "two open issues: {issues:?}");
            issues.into_iter().find(|issue| issue.body.contains(text))
        })
        .await
    }

    /// Waits until no issue of that title is open.
    pub(crate) async fn issue_closed(&mut self, title: &str) {
        self.wait(&format!("the end of the issue `{title}`"), |s| {
            s.open_issues(title).is_empty().then_some(())
        })
        .await;
    }

    /// Waits until a file of the world holds `content`.
    pub(crate) async fn world_has(&mut self, file: &str, content: &str) {
        self.wait(&format!("{file} with `{content}` in the world"), |s| {
            (s.in_world(file).as_deref() == Some(content)).then_some(())
        })
        .await;
    }

    /// Puts a program in front of Terraform that writes down each start and waits at gates.
    pub(crate) fn put_gates(&self) {
        let (folder, script) = (self.folder(), self.folder().join(GATED));
        let text = format!(
            "#!/bin/sh\necho \"$1\" >> '{0}/starts'\nwhile [ -e \"{0}/gate-$1\" ]; do sleep 0.05; done\nexec terraform \"$@\"\n",
            folder.display()
        );
        std::fs::write(&script, text).expect("the program can be written");
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&script, executable).expect("it can be made a program");
        self.configure(&format!("engine = \"{}\"", script.display()));
    }

    /// Lets no start of Terraform's `command` through from now on.
    pub(crate) fn shut_gate(&self, command: &str) {
        std::fs::write(self.folder().join(format!("gate-{command}")), "").expect("a gate can shut");
    }

    /// Lets them through again.
    pub(crate) fn open_gate(&self, command: &str) {
        std::fs::remove_file(self.folder().join(format!("gate-{command}"))).expect("it was shut");
    }

    /// How often Terraform's `command` was started, where there are gates.
    pub(crate) fn starts(&self, command: &str) -> usize {
        let starts = std::fs::read_to_string(self.folder().join("starts")).unwrap_or_default();
        starts.lines().filter(|line| *line == command).count()
    }

    /// Waits until nothing works below the scenario's folder, after a kill of the daemon.
    pub(crate) async fn wait_for_nobody(&mut self) {
        self.wait("the end of what the daemon left", |s| {
            processes_below(s.folder()).is_empty().then_some(())
        })
        .await;
    }

    /// The state of a workspace in the clear, as `mainstay state pull` prints it.
    pub(crate) fn state(&self, workspace: &str) -> String {
        let pulled = self.run(&["state", "pull", workspace]);
        assert_eq!(pulled.code, 0, "{}", pulled.stderr);
        pulled.stdout
    }

    /// The file that holds the state of the only workspace with that name, without `.sealed`.
    pub(crate) fn state_file(&self, workspace: &str) -> PathBuf {
        let repositories = std::fs::read_dir(self.data_dir().join("states"));
        let below = |folder: &Path| std::fs::read_dir(folder).into_iter().flatten().flatten();
        repositories
            .into_iter()
            .flatten()
            .flatten()
            .flat_map(|repository| below(&repository.path()))
            .find(|entry| {
                let name = entry.file_name().to_string_lossy().into_owned();
                name.starts_with(&format!("{workspace}-"))
            })
            .map(|entry| entry.path().join("terraform.tfstate"))
            .unwrap_or_else(|| panic!("{workspace} has no state"))
    }
}

/// Kills every process that works in a folder or below it, as a power cut would, until none is left.
pub(crate) fn kill_below(folder: &Path) {
    let began = Instant::now();
    loop {
        let left = processes_below(folder);
        if left.is_empty() {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "processes stay: {left:?}");
        for line in left {
            let pid = line.split([' ', '/']).find_map(|part| part.parse().ok());
            if let Some(pid) = pid.and_then(rustix::process::Pid::from_raw) {
                // It may have ended by itself meanwhile.
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// From when to when something was.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    pub(crate) began: Time,
    pub(crate) ended: Time,
}

impl Span {
    /// Whether there is a time that both have inside.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        self.began < other.ended && other.began < self.ended
    }
}

impl Drop for Scenario {
    fn drop(&mut self) {
        for child in [&mut self.daemon, &mut self.waiting] {
            if let Some(mut child) = child.take() {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
        if !self.checked && !std::thread::panicking() {
            panic!("the scenario was not ended: call `end`");
        }
    }
}

/// A declaration of a repository.
pub(crate) fn declaration(repo: &str, rest: &str) -> String {
    format!("repo = \"{repo}\"\n\n{rest}")
}

/// A workspace in the folder of its name that may see the world, with more settings. Nothing is
/// checked before its plan where they do not say what: each check costs time in every test.
pub(crate) fn workspace(name: &str, more: &str) -> String {
    let see = "[\"LOCALFS_*\"]";
    let checks = match more.contains("checks") {
        true => "",
        false => "checks = \"off\"\n",
    };
    format!(
        "[[workspace]]\nname = \"{name}\"\npath = \"{name}\"\nenv = {{ plan = {see}, apply = {see}, fork = {see} }}\n{checks}{more}\n"
    )
}

/// A root module that keeps one file of the world.
pub(crate) fn one_file(name: &str, content: &str) -> String {
    root(&[&file(name, content, "")])
}

/// A root module of these blocks.
pub(crate) fn root(blocks: &[&str]) -> String {
    format!(
        "terraform {{\n  required_providers {{\n    localfs = {{ source = \"{}\" }}\n  }}\n}}\n\n{}",
        mainstay::provider::SOURCE,
        blocks.join("\n")
    )
}

/// A file of the world as a resource, with more arguments.
pub(crate) fn file(name: &str, content: &str, more: &str) -> String {
    format!(
        "resource \"localfs_file\" \"{name}\" {{\n  path    = \"{name}.txt\"\n  content = \"{content}\"\n  {more}\n}}\n"
    )
}

/// A root module that keeps one value in its state alone, and needs no provider.
pub(crate) fn one_value(value: &str) -> String {
    format!("resource \"terraform_data\" \"value\" {{\n  input = \"{value}\"\n}}\n")
}

/// The command lines of processes that work in a folder or below it.
pub(crate) fn processes_below(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| {
            let path = entry.path();
            let works_in = std::fs::read_link(path.join("cwd")).ok()?;
            let line = std::fs::read(path.join("cmdline")).ok()?;
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            works_in
                .starts_with(folder)
                .then(|| format!("{} {line}", path.display()))
        })
        .collect()
}
