//! What a sandbox adds to each command of Terraform's.
//!
//! It prints and judges nothing: run it by `cargo bench --bench sandbox` on a quiet machine.
//! `terraform version` is started without a sandbox and in each that works here, in turn, so that
//! whatever else the machine does falls on all alike.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use mainstay::config::{NetworkSettings, SandboxLevel};
use mainstay::network::NetworkRule;
use mainstay::sandbox::{self, Confinement, Lifetime, Network, Sandbox};

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
    let deny = NetworkSettings {
        propose: NetworkRule::Deny,
        merge: NetworkRule::Deny,
        drift: NetworkRule::Deny,
    };
    let mut measured = Vec::new();
    for sandbox in sandboxes {
        let name = sandbox.level().to_string();
        measured.push((
            name.clone(),
            command(&sandbox, Network::Shared, &terraform, folder.path()),
            Network::Shared,
        ));
        // The same with a network of its own.
        if let Ok(sandbox) = sandbox.with_network(&deny)
            && sandbox.network(&NetworkRule::Deny) == Network::Door
        {
            let command = command(&sandbox, Network::Door, &terraform, folder.path());
            measured.push((format!("{name} with `network`"), command, Network::Door));
        }
    }
    let mut times = vec![Vec::new(); measured.len()];
    for _ in 0..ROUNDS {
        for ((_, command, network), times) in measured.iter().zip(&mut times) {
            times.push(run(command, *network));
        }
    }
    let medians: Vec<Duration> = times.into_iter().map(median).collect();
    for ((name, ..), took) in measured.iter().zip(&medians) {
        let added = took.saturating_sub(medians[0]).as_secs_f64() * 1e3;
        println!(
            "{name:<25} {:>6.1} ms a command, {added:>4.1} ms of it added (median of {ROUNDS})",
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
fn command(sandbox: &Sandbox, network: Network, terraform: &Path, folder: &Path) -> Vec<PathBuf> {
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
        network,
    };
    let mut argv: Vec<PathBuf> = sandbox
        .wrapper(terraform, &confinement)
        .into_iter()
        .map(PathBuf::from)
        .collect();
    argv.extend([terraform.to_owned(), "version".into()]);
    argv
}

fn run(argv: &[PathBuf], network: Network) -> Duration {
    let began = Instant::now();
    let mut command = Command::new(&argv[0]);
    let mut way = None;
    command.stdin(Stdio::null());
    if network == Network::Door {
        let (ours, theirs) = UnixStream::pair().expect("sockets can be made");
        command.stdin(OwnedFd::from(theirs));
        way = Some(ours);
    }
    let status = command
        .args(&argv[1..])
        .env_clear()
        .env("CHECKPOINT_DISABLE", "1")
        .current_dir("/")
        .stdout(Stdio::null())
        .status()
        .expect("the command can be started");
    drop(way);
    assert!(status.success(), "{argv:?} ended with {status}");
    began.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
