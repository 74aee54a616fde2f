//! What a sandbox adds to each command of Terraform's.
//!
//! It prints and judges nothing: run it by `cargo bench --bench sandbox` on a quiet machine.
//! `terraform version` is started without a sandbox and in each that works here, in turn, so that
//! whatever else the machine does falls on all alike.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use mainstay::config::SandboxLevel;
use mainstay::sandbox::{self, Confinement, Lifetime, Sandbox};

/// How often each is started.
const ROUNDS: usize = 60;

fn main() {
    // `cargo test --all-targets` builds and starts it too, and is not what it is for.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let helper = Path::new(env!("CARGO_BIN_EXE_mainstay"));
    let mut sandboxes = vec![Sandbox::none()];
    for level in [SandboxLevel::Bubblewrap, SandboxLevel::Landlock] {
        match sandbox::find(level, helper) {
            Ok(sandbox) => sandboxes.push(sandbox),
            Err(error) => println!("not measured: {error}"),
        }
    }
    let folder = tempfile::tempdir().expect("a folder can be made");
    let terraform = in_path("terraform");
    let commands: Vec<Vec<PathBuf>> = sandboxes
        .iter()
        .map(|sandbox| command(sandbox, &terraform, folder.path()))
        .collect();
    let mut times = vec![Vec::new(); commands.len()];
    for _ in 0..ROUNDS {
        for (command, times) in commands.iter().zip(&mut times) {
            times.push(run(command));
        }
    }
    let medians: Vec<Duration> = times.into_iter().map(median).collect();
    for (sandbox, took) in sandboxes.iter().zip(&medians) {
        let added = took.saturating_sub(medians[0]).as_secs_f64() * 1e3;
        println!(
            "{:<10} {:>6.1} ms a command, {added:>4.1} ms of it added (median of {ROUNDS})",
            sandbox.level(),
            took.as_secs_f64() * 1e3,
        );
    }
}

fn in_path(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file())
        .unwrap_or_else(|| panic!("`{program}` is not in the PATH"))
}

/// `terraform version`, behind a sandbox that allows as much as a plan has.
fn command(sandbox: &Sandbox, terraform: &Path, folder: &Path) -> Vec<PathBuf> {
    let own = ["checkout", "data", "out", "tmp"].map(|name| folder.join(name));
    for folder in &own {
        fs::create_dir_all(folder).expect("a folder can be made");
    }
    let confinement = Confinement {
        cwd: own[0].clone(),
        tmp_dir: own[3].clone(),
        read: Vec::new(),
        write: own.to_vec(),
        lifetime: Lifetime::WithParent,
    };
    let mut argv: Vec<PathBuf> = sandbox
        .wrapper(terraform, &confinement)
        .into_iter()
        .map(PathBuf::from)
        .collect();
    argv.extend([terraform.to_owned(), "version".into()]);
    argv
}

fn run(argv: &[PathBuf]) -> Duration {
    let began = Instant::now();
    let status = Command::new(&argv[0])
        .args(&argv[1..])
        .env_clear()
        .env("CHECKPOINT_DISABLE", "1")
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .expect("the command can be started");
    assert!(status.success(), "{argv:?} ended with {status}");
    began.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
