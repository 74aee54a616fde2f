//! What a stranger's code tries at plan and apply time: each attack succeeds without a sandbox, and
//! fails in each that works on this machine.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use mainstay::config::SandboxLevel;
use mainstay::engine::{Job, Lock, Progress, State};
use mainstay::redact::Secret;
use mainstay::sandbox::{self, Abi, Confinement, Level, Lifetime, Network, Sandbox};
use rustix::process::Signal;

use crate::bench::{Bench, until};
use crate::stopping::signal;

/// How often a look through all processes may meet one that is just ending.
const TRIES: usize = 10;

/// What must not be found by a run.
const LOOT: &str = "hunter2-of-somebody-else";

/// The sandboxes that work here. A machine without any proves nothing, and the test says so.
pub(crate) fn working() -> Vec<Sandbox> {
    let helper = Path::new(env!("CARGO_BIN_EXE_mainstay"));
    let mut working = Vec::new();
    for level in [SandboxLevel::Bubblewrap, SandboxLevel::Landlock] {
        match sandbox::find(level, helper) {
            Ok(sandbox) => working.push(sandbox),
            Err(error) => eprintln!("NOTE: not tested on this machine: {error}"),
        }
    }
    assert!(!working.is_empty(), "no sandbox works on this machine");
    working
}

/// Puts a job into a sandbox, as the daemon does for a proposal or for a merge.
pub(crate) fn shut_in(bench: &Bench, sandbox: &Sandbox, lifetime: Lifetime, job: &mut Job) {
    let confinement = confinement(bench, lifetime, job);
    job.wrapper = sandbox.wrapper(bench.engine.program(), &confinement);
}

/// What a job may reach, with all of the network.
pub(crate) fn confinement(bench: &Bench, lifetime: Lifetime, job: &mut Job) -> Confinement {
    let State::Kept(state) = &job.state else {
        panic!("the bench keeps the state itself");
    };
    let mut write = job.own_folders();
    let mut read = vec![bench.path("cli.tfrc"), job.stranded_state()];
    match lifetime {
        Lifetime::WithParent => {
            job.lock = Lock::Skip;
            read.push(job.state_copy());
        }
        Lifetime::OnItsOwn => {
            write.push(job.state_copy().parent().unwrap().to_owned());
            write.push(state.open_folder());
        }
    }
    Confinement {
        cwd: job.cwd(),
        tmp_dir: job.tmp_dir.clone(),
        read,
        write,
        lifetime,
        network: Network::Shared,
    }
}

/// Somebody else's process on the same machine, with a secret in its environment.
struct Victim(Child);

impl Victim {
    fn start() -> Self {
        let child = Command::new("sleep")
            .arg("300")
            .env("SECRET", LOOT)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }

    fn lives(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The files of others round a bench: the record, another workspace's state, a home, a token.
fn others(bench: &Bench) -> [(&'static str, std::path::PathBuf); 4] {
    let files = [
        ("the record", bench.path("mainstay.db")),
        ("another state", bench.path("others/terraform.tfstate")),
        ("a key in the home", bench.path("home/.ssh/id_ed25519")),
        ("a provider's secret", bench.path("terraform/other/secret")),
    ];
    for (_, file) in &files {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, LOOT).unwrap();
    }
    files
}

fn names(found: &BTreeMap<&str, bool>, wanted: bool) -> Vec<String> {
    found
        .iter()
        .filter(|(_, succeeded)| **succeeded == wanted)
        .map(|(name, _)| (*name).to_owned())
        .collect()
}

/// Which of the things that a plan can read by Terraform's own functions it did read.
async fn read_by_a_plan(sandbox: &Sandbox) -> BTreeMap<&'static str, bool> {
    let victim = Victim::start();
    let bench = Bench::new("");
    let others = others(&bench);
    let outputs: String = others
        .iter()
        .enumerate()
        .map(|(number, (_, file))| {
            format!(
                "output \"o{number}\" {{ value = try(file(\"{}\"), \"\") }}\n",
                file.display()
            )
        })
        .collect();
    bench.write(
        "main.tf",
        &format!(
            r#"{outputs}
output "own" {{ value = file("main.tf") }}
output "environments" {{
  value = [for f in fileset("/proc", "*/environ") : try(filebase64("/proc/${{f}}"), "")]
}}
"#
        ),
    );
    let mut job = bench.job();
    job.env.push(("OWN".into(), Secret::new("own")));
    shut_in(&bench, sandbox, Lifetime::WithParent, &mut job);
    let mut tries = 0;
    let saved = loop {
        match bench.plan(&job).await {
            Ok(saved) => break saved,
            // A process of somebody's ended between its being listed and its being looked into.
            Err(error) if tries < TRIES && format!("{error:?}").contains("/proc") => tries += 1,
            Err(error) => panic!("{error:?}"),
        }
    };
    let json: serde_json::Value = serde_json::from_slice(&fs::read(&saved.json).unwrap()).unwrap();
    let output = |name: &str| &json["output_changes"][name]["after"];
    assert!(output("own").as_str().unwrap().contains("environments"));
    let mut read = BTreeMap::new();
    for (number, (name, _)) in others.iter().enumerate() {
        read.insert(*name, output(&format!("o{number}")) == LOOT);
    }
    let environments = output("environments").as_array().unwrap();
    let found = environments.iter().any(|encoded| {
        let decoded = BASE64_STANDARD.decode(encoded.as_str().unwrap()).unwrap();
        String::from_utf8_lossy(&decoded).contains(LOOT)
    });
    read.insert("another process's environment", found);
    drop(victim);
    read
}

#[tokio::test]
async fn a_plan_reads_nothing_of_others_by_terraforms_own_functions() {
    let read = read_by_a_plan(&Sandbox::none()).await;
    assert_eq!(
        names(&read, false),
        Vec::<String>::new(),
        "without a sandbox"
    );
    for sandbox in working() {
        let read = read_by_a_plan(&sandbox).await;
        assert_eq!(
            names(&read, true),
            Vec::<String>::new(),
            "in {}",
            sandbox.level()
        );
    }
}

/// What a program that an apply starts could do.
async fn done_by_an_apply(sandbox: &Sandbox) -> (BTreeMap<&'static str, bool>, String) {
    let mut victim = Victim::start();
    let bench = Bench::new("");
    let pid = victim.0.id();
    let mut script = String::from("cd \"$(dirname \"$0\")\"\n");
    let others = others(&bench);
    for (number, (_, file)) in others.iter().enumerate() {
        let file = file.display();
        script.push_str(&format!("cat '{file}' >loot{number} 2>/dev/null\n"));
        script.push_str(&format!("echo defaced 2>/dev/null >'{file}'\n"));
    }
    let outside = bench.path("outside");
    let job = bench.job();
    script.push_str(&format!(
        r#"cat /proc/{pid}/environ >environ 2>/dev/null
echo x 2>/dev/null >'{}'
echo forged 2>/dev/null >'{}/forged'
grep CapEff /proc/self/status >rights 2>/dev/null
kill -9 {pid} 2>/dev/null
exit 0
"#,
        outside.display(),
        job.work_dir.display(),
    ));
    bench.write("attack.sh", &script);
    bench.write(
        "main.tf",
        r#"resource "terraform_data" "attack" {
  provisioner "local-exec" { command = "sh ${path.module}/attack.sh" }
}"#,
    );
    let mut job = job;
    shut_in(&bench, sandbox, Lifetime::OnItsOwn, &mut job);
    bench.plan_and_apply(&job).await.unwrap();
    let checkout = bench.path("checkout");
    let read = |name: &str| fs::read_to_string(checkout.join(name)).unwrap_or_default();
    let mut done = BTreeMap::new();
    for (number, (name, file)) in others.iter().enumerate() {
        done.insert(*name, read(&format!("loot{number}")).contains(LOOT));
        if fs::read_to_string(file).unwrap() != LOOT {
            done.insert("defaced a file of others", true);
        }
    }
    done.entry("defaced a file of others").or_insert(false);
    done.insert(
        "another process's environment",
        read("environ").contains(LOOT),
    );
    done.insert("wrote beside the checkout", outside.exists());
    done.insert("forged a record", job.work_dir.join("forged").exists());
    done.insert("killed a process", !victim.lives());
    (done, read("rights"))
}

#[tokio::test]
async fn a_program_that_an_apply_starts_harms_nothing_of_others() {
    let (done, _) = done_by_an_apply(&Sandbox::none()).await;
    assert_eq!(
        names(&done, false),
        Vec::<String>::new(),
        "without a sandbox"
    );
    for sandbox in working() {
        let (mut done, rights) = done_by_an_apply(&sandbox).await;
        if matches!(sandbox.level(), Level::Landlock { abi } if *abi < Abi::SCOPES) {
            eprintln!("NOTE: {}", sandbox.weakness().unwrap());
            done.remove("killed a process");
        }
        assert_eq!(
            names(&done, true),
            Vec::<String>::new(),
            "in {}",
            sandbox.level()
        );
        if let Level::Bubblewrap { .. } = sandbox.level() {
            // Root would otherwise make what is mounted for reading writable.
            assert_eq!(rights.trim(), "CapEff:\t0000000000000000");
        }
    }
}

#[tokio::test]
async fn state_is_kept_and_planned_against_in_a_sandbox_as_outside() {
    for sandbox in working() {
        let bench = Bench::new(r#"resource "terraform_data" "a" { input = "one" }"#);
        let mut job = bench.job();
        shut_in(&bench, &sandbox, Lifetime::OnItsOwn, &mut job);
        bench.plan_and_apply(&job).await.unwrap();
        // A proposal reads the state, and can write neither it nor beside it.
        bench.write(
            "main.tf",
            r#"resource "terraform_data" "a" { input = "two" }"#,
        );
        let before = bench.read_state();
        let mut job = bench.job();
        shut_in(&bench, &sandbox, Lifetime::WithParent, &mut job);
        let saved = bench.plan(&job).await.unwrap();
        let json = fs::read_to_string(&saved.json).unwrap();
        assert!(
            json.contains(r#""actions":["update"]"#),
            "{}",
            sandbox.level()
        );
        assert_eq!(bench.read_state(), before);
    }
}

#[tokio::test]
async fn an_apply_in_a_sandbox_is_interrupted_by_one_signal() {
    for sandbox in working() {
        let bench = Bench::new(
            r#"resource "terraform_data" "slow" {
  provisioner "local-exec" { command = "sleep 2" }
}
resource "terraform_data" "later" { depends_on = [terraform_data.slow] }"#,
        );
        let mut job = bench.job();
        shut_in(&bench, &sandbox, Lifetime::OnItsOwn, &mut job);
        let plan = bench.plan(&job).await.unwrap();
        let (applied, ()) = tokio::join!(bench.apply(&job, plan), async {
            until(|| {
                bench
                    .seen
                    .saw(&Progress::Applying("terraform_data.slow".into()))
            })
            .await;
            bench.cancel.cancel();
        });
        applied.unwrap_err();
        let state = bench.read_state();
        assert!(state.contains("\"slow\""), "{}: {state}", sandbox.level());
        assert!(!state.contains("\"later\""), "{}: {state}", sandbox.level());
        assert_eq!(bench.alive(), Vec::<i32>::new());
    }
}

#[tokio::test]
async fn a_plan_in_namespaces_dies_with_its_supervisor_and_all_that_it_started() {
    let bubblewrap = working()
        .into_iter()
        .find(|sandbox| matches!(sandbox.level(), Level::Bubblewrap { .. }));
    let Some(sandbox) = bubblewrap else {
        eprintln!("NOTE: bubblewrap is not tested on this machine");
        return;
    };
    let bench = Bench::faked("touch begun; setsid sleep 300 & sleep 300");
    let mut job = bench.job();
    shut_in(&bench, &sandbox, Lifetime::WithParent, &mut job);
    let (planned, ()) = tokio::join!(bench.plan(&job), async {
        until(|| bench.path("checkout/begun").exists()).await;
        signal(bench.seen.last().supervisor.pid, Signal::KILL);
    });
    planned.unwrap_err();
    until(|| bench.alive().is_empty()).await;
}
