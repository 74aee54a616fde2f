//! How soon a pushed head has its comment, and what an idle daemon costs.
//!
//! It prints and judges nothing: run it by `cargo bench --bench reaction` on a quiet machine.
//! The real daemon works against the model of GitHub. What Terraform takes by itself is measured
//! beside it, in turn, with the same commands on the same files; the rest is Mainstay's own time.

#[path = "../tests/github/mod.rs"]
#[expect(dead_code, reason = "a part of the model is enough here")]
mod github;
#[path = "../tests/localfs/mod.rs"]
mod localfs;
#[path = "../tests/scenario/mod.rs"]
#[expect(dead_code, reason = "a part of the harness is enough here")]
mod scenario;

use std::fmt::Write as _;
use std::fs::{self, File};
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use github::log::{Budget, Effect, LoggedRequest};
use mainstay::plan::{self, FingerprintKey};
use mainstay::redact::Redactor;
use mainstay::report::{
    OnMerge, Progress, ProposalReport, Standing, Templates, WorkspaceReport, comment,
};
use scenario::{BOT, Scenario, declaration, one_value, workspace};
use serde_json::{Value, json};

/// Workspaces that one pull request changes, and how often that is measured.
const SIZES: [(usize, usize); 3] = [(1, 15), (10, 5), (50, 3)];

/// Terraform processes at once: the daemon's default.
const PARALLEL: usize = 2;

/// Idle looks that requests are counted over.
const IDLE: usize = 10;

fn main() {
    // `cargo test --all-targets` builds and starts it too, and is not what it is for.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime can be made");
    for (workspaces, rounds) in SIZES {
        runtime.block_on(react(workspaces, rounds));
    }
    for resources in [1_000, 10_000] {
        read_and_render(resources);
    }
}

type Time = DateTime<Utc>;

fn between(from: Time, to: Time) -> Duration {
    (to - from).to_std().unwrap_or_default()
}

fn names(workspaces: usize) -> Vec<String> {
    (0..workspaces).map(|nth| format!("w{nth:02}")).collect()
}

/// Measures pull requests that change so many workspaces, then the daemon at rest.
async fn react(workspaces: usize, rounds: usize) {
    let names = names(workspaces);
    let mut s = Scenario::new().await;
    s.configure(&format!("parallel = {PARALLEL}"));
    let declared: String = names.iter().map(|name| workspace(name, "")).collect();
    s.declare("acme.toml", &declaration("acme/infra", &declared));
    let alone = Alone::new(s.folder(), &names);
    let all = |value: &str| -> Vec<(String, String)> {
        let file = |name: &String| (format!("{name}/main.tf"), one_value(value));
        names.iter().map(file).collect()
    };
    s.applied(&borrowed(&all("a"))).await;

    let mut reaction = Vec::new();
    let mut terraform = Vec::new();
    let mut phases: Vec<Vec<Duration>> = vec![Vec::new(); PHASES.len()];
    for round in 0..rounds {
        let value = format!("round {round}");
        terraform.push(alone.plan(&value));
        let branch = format!("round-{round}");
        let head = s.repo.commit(&branch, &borrowed(&all(&value)), "Change");
        let from = s.hub.requests().len();
        let pull = s.repo.open_pull("Change", &branch, "main", "alice");
        s.status_is(&head, "mainstay/plan", "success").await;
        let (seen, told) = (seen_at(&s.requests_since(from)), told_at(&s, pull));
        reaction.push(between(seen, told));
        if workspaces == 1 {
            for (all, one) in phases.iter_mut().zip(walk(&s, &head, seen, told)) {
                all.push(one);
            }
        }
        s.repo.close(pull, "alice");
        s.looks_pass(2).await;
    }
    let own = median(&reaction).saturating_sub(median(&terraform));
    println!("{workspaces} workspaces, {rounds} pull requests, {PARALLEL} Terraform at once");
    println!("  head seen to comment standing   {}", spread(&reaction));
    println!("  the same Terraform alone        {}", spread(&terraform));
    println!("  Mainstay's own                  {} ms", millis(own));
    if workspaces == 1 {
        for (phase, times) in PHASES.iter().zip(&phases) {
            println!("    {phase:<30}{}", spread(times));
        }
    }
    rest(&mut s).await;
    s.end().await;
    println!();
}

fn borrowed(files: &[(String, String)]) -> Vec<(&str, &str)> {
    files
        .iter()
        .map(|(path, content)| (path.as_str(), content.as_str()))
        .collect()
}

/// When the look came that showed the new head: the last one before git was asked for it.
fn seen_at(requests: &[LoggedRequest]) -> Time {
    let fetched = requests
        .iter()
        .filter(|r| r.path.ends_with("/info/refs"))
        .map(|r| r.at)
        .min()
        .expect("the head was fetched");
    let looks = requests.iter().filter(|r| r.path == "/graphql");
    looks
        .map(|r| r.at)
        .filter(|at| *at <= fetched)
        .max()
        .expect("the head was seen")
}

/// When the comment on a pull request was posted.
fn told_at(s: &Scenario, pull: u64) -> Time {
    let truth = s.hub.truth();
    let posted = truth.iter().find(|t| {
        t.by == BOT && matches!(t.effect, Effect::CommentCreated { issue, .. } if issue == pull)
    });
    posted.expect("the comment was posted").at
}

/// The way of one run from the look to the comment.
const PHASES: [&str; 8] = [
    "fetch, merge, decide",
    "start the run",
    "check out",
    "make ready",
    "terraform plan",
    "terraform show",
    "read the plan, record it",
    "render and post the comment",
];

/// How long each of the [`PHASES`] took for the run of a head.
fn walk(s: &Scenario, head: &str, seen: Time, told: Time) -> Vec<Duration> {
    let runs = s.runs();
    let run = runs
        .iter()
        .find(|run| run["commit"] == head)
        .expect("the head has a run");
    let id = run["id"].to_string();
    let shown = s.json(&["run", &id, "--format", "json"]);
    let event = |name: &str| {
        let events = shown["events"].as_array().expect("a run has events");
        let found = events.iter().find(|e| e["event"]["event"] == name);
        time(&found.unwrap_or_else(|| panic!("no {name} in {events:?}"))["at"])
    };
    let steps = shown["steps"].as_array().expect("a run has steps");
    let [plan, show] = steps.as_slice() else {
        panic!("{steps:?} are not the two steps that are measured alone");
    };
    let marks = [
        seen,
        time(&run["created_at"]),
        event("started"),
        event("checked_out"),
        time(&plan["started_at"]),
        time(&show["started_at"]),
        time(&show["ended_at"]),
        event("plan_made"),
        told,
    ];
    marks
        .windows(2)
        .map(|pair| between(pair[0], pair[1]))
        .collect()
}

fn time(value: &Value) -> Time {
    let text = value.as_str().expect("a time is a text");
    text.parse().expect("a time is written as RFC 3339 says")
}

/// Terraform by itself, on folders like those that the daemon plans.
struct Alone {
    folder: PathBuf,
    names: Vec<String>,
}

impl Alone {
    /// Applies a first value in each folder.
    fn new(beside: &Path, names: &[String]) -> Self {
        let alone = Self {
            folder: beside.join("alone"),
            names: names.to_vec(),
        };
        alone.write("a");
        alone.each(|name| alone.run(name, &["apply", "-auto-approve", "-no-color"], "apply.txt"));
        alone
    }

    fn write(&self, value: &str) {
        for name in &self.names {
            let folder = self.folder.join(name);
            fs::create_dir_all(&folder).expect("a folder can be made");
            fs::write(folder.join("main.tf"), one_value(value)).expect("a file can be written");
        }
    }

    /// Plans this value in each folder, as the daemon does, and says how long all of it took.
    fn plan(&self, value: &str) -> Duration {
        self.write(value);
        let began = Instant::now();
        self.each(|name| {
            let plan = [
                "plan",
                "-json",
                "-input=false",
                "-no-color",
                "-detailed-exitcode",
                "-out=plan",
                "-lock=false",
            ];
            self.run(name, &plan, "plan.txt");
            self.run(name, &["show", "-json", "-no-color", "plan"], "plan.json");
        });
        began.elapsed()
    }

    /// Works on all folders, [`PARALLEL`] at once.
    fn each(&self, work: impl Fn(&str) + Sync) {
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..PARALLEL {
                scope.spawn(|| {
                    while let Some(name) = self.names.get(next.fetch_add(1, Ordering::Relaxed)) {
                        work(name);
                    }
                });
            }
        });
    }

    fn run(&self, name: &str, arguments: &[&str], output: &str) {
        let folder = self.folder.join(name);
        let output = File::create(folder.join(output)).expect("a file can be made");
        let status = localfs::terraform(&folder)
            .args(arguments)
            .env("TF_DATA_DIR", folder.join("data"))
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(Stdio::null())
            .status()
            .expect("terraform can be started");
        assert!(
            matches!(status.code(), Some(0 | 2)),
            "terraform {arguments:?} ended with {status}"
        );
    }
}

/// Prints what the daemon takes while nothing happens.
async fn rest(s: &mut Scenario) {
    loop {
        let from = s.hub.requests().len();
        s.looks_pass(3).await;
        let still = s.requests_since(from);
        if still.iter().all(|r| r.budget != Budget::Core) {
            break;
        }
    }
    let from = s.hub.requests().len();
    s.looks_pass(IDLE).await;
    let requests = s.requests_since(from);
    let count = |which: fn(&LoggedRequest) -> bool| {
        let found = requests.iter().filter(|r| which(r)).count();
        format!("{:.1}", found as f64 / IDLE as f64)
    };
    println!(
        "  an idle look                    {} GraphQL, {} REST that count, {} REST that do not, {} git",
        count(|r| matches!(r.budget, Budget::Graphql(_))),
        count(|r| r.budget == Budget::Core),
        count(|r| r.status == Some(304)),
        count(|r| r.path.contains(".git/")),
    );
    let status = fs::read_to_string(format!("/proc/{}/status", s.pid())).unwrap_or_default();
    let memory = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
        number.map_or_else(|| "?".to_owned(), |kib| format!("{:.1}", kib / 1024.0))
    };
    println!(
        "  memory of the idle daemon       {} MiB, at most {} MiB before",
        memory("VmRSS:"),
        memory("VmHWM:")
    );
}

/// Prints how long reading a plan of so many changes and rendering its comment takes.
fn read_and_render(resources: usize) {
    let plan = large_plan(resources);
    let key = FingerprintKey::new([7; 32]);
    let templates = Templates::default();
    let (mut reading, mut rendering) = (Vec::new(), Vec::new());
    let before = resident_peak();
    for _ in 0..7 {
        let began = Instant::now();
        let (read, _) = plan::read_masked(plan.as_bytes(), &key, &Redactor::default())
            .expect("the plan can be read");
        reading.push(began.elapsed());
        assert_eq!(read.counts.update, resources);
        let report = report(read);
        let began = Instant::now();
        black_box(comment(&report, &templates).expect("the comment can be rendered"));
        rendering.push(began.elapsed());
    }
    println!(
        "{resources} changes in {:.1} MB of plan JSON",
        plan.len() as f64 / 1e6
    );
    println!("  read                            {}", spread(&reading));
    println!("  render the comment              {}", spread(&rendering));
    println!(
        "  memory for both, at most        {:.1} MiB",
        (resident_peak() - before).max(0.0)
    );
}

/// The most memory that this process has had resident, in MiB; 0 where the kernel does not say.
fn resident_peak() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = peak.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    kib.unwrap_or_default() / 1024.0
}

/// The JSON of a plan that changes so many resources in place, as `terraform show -json` writes it.
fn large_plan(resources: usize) -> String {
    let value = |nth: usize, input: &str| {
        json!({
            "id": format!("6f5c7b2e-0000-4000-8000-{nth:012}"),
            "input": format!("{input} {nth}"),
            "output": format!("{input} {nth}"),
            "triggers_replace": null,
        })
    };
    let named = |nth: usize, more: Value| {
        let mut all = json!({
            "address": format!("terraform_data.many[{nth}]"),
            "mode": "managed",
            "type": "terraform_data",
            "name": "many",
            "index": nth,
            "provider_name": "terraform.io/builtin/terraform",
        });
        let more = more.as_object().cloned().unwrap_or_default();
        all.as_object_mut().expect("an object").extend(more);
        all
    };
    let in_state = |nth: usize| {
        named(
            nth,
            json!({ "schema_version": 0, "values": value(nth, "old"), "sensitive_values": {} }),
        )
    };
    let changed = |nth: usize| {
        let mut after = value(nth, "new");
        after.as_object_mut().expect("an object").remove("output");
        let change = json!({
            "actions": ["update"],
            "before": value(nth, "old"),
            "after": after,
            "after_unknown": { "output": true },
            "before_sensitive": {},
            "after_sensitive": {},
        });
        named(nth, json!({ "change": change }))
    };
    let state: Vec<Value> = (0..resources).map(in_state).collect();
    let changes: Vec<Value> = (0..resources).map(changed).collect();
    json!({
        "format_version": "1.2",
        "terraform_version": "1.11.4",
        "planned_values": { "root_module": { "resources": &state } },
        "resource_changes": changes,
        "prior_state": {
            "format_version": "1.0",
            "terraform_version": "1.11.4",
            "values": { "root_module": { "resources": &state } },
        },
        "configuration": { "root_module": {} },
        "timestamp": "2025-01-01T00:00:00Z",
        "applyable": true,
        "complete": true,
        "errored": false,
    })
    .to_string()
}

/// A pull request with one workspace that has this plan.
fn report(plan: plan::Plan) -> ProposalReport {
    let commit = "0123456789012345678901234567890123456789";
    ProposalReport {
        marker: "<!-- mainstay:proposal -->".to_owned(),
        repo: "acme/infra".parse().expect("a name"),
        web_url: None,
        proposal: None,
        head: commit.parse().expect("a commit"),
        base_branch: "main".parse().expect("a branch"),
        base: commit.parse().expect("a commit"),
        tool: "Terraform 1.11.4".to_owned(),
        workspaces: vec![WorkspaceReport {
            name: "network".parse().expect("a name"),
            environment: None,
            path: "network".to_owned(),
            run: None,
            progress: Progress::Planned(Box::new(plan)),
            warnings: Vec::new(),
            checks: Vec::new(),
            verdict: None,
            took: Duration::from_secs(1),
            since: None,
            on_merge: OnMerge::Apply,
            state_note: None,
            after_merge: None,
            reviewed: None,
            before: Vec::new(),
        }],
        conflict: None,
        removed: Vec::new(),
        notes: Vec::new(),
        refusals: Vec::new(),
        data_types: plan::DataTypes::default(),
        help: Vec::new(),
        standing: Standing::Open,
    }
}

fn median(times: &[Duration]) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort();
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

fn millis(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64() * 1e3)
}

/// The median, and the least and the most.
fn spread(times: &[Duration]) -> String {
    let mut text = format!("{:>9} ms", millis(median(times)));
    if let (Some(least), Some(most)) = (times.iter().min(), times.iter().max()) {
        let _ = write!(text, "  ({} to {})", millis(*least), millis(*most));
    }
    text
}
