//! What runs reach of the network: each attack succeeds where nothing is held back, and fails by each
//! rule in each sandbox that works on this machine.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use mainstay::config::NetworkSettings;
use mainstay::engine;
use mainstay::network::{HostPattern, NetworkRule};
use mainstay::proxy::{Proxy, Refusals, World, door, read_refusals};
use mainstay::redact::Secret;
use mainstay::sandbox::{Confinement, Lifetime, Network, Sandbox};
use tokio::net::TcpStream;

use crate::bench::{Bench, until};
use crate::escaping::{confinement, working};
use crate::localfs;

/// What a service on this machine tells everybody who asks.
const LOOT: &str = "hunter2-of-a-service";

/// A service on the machine's loopback, as a metadata service or a database is.
struct Service {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
    end: Arc<AtomicBool>,
}

impl Service {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (asked, end) = (
            Arc::new(AtomicUsize::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let (count, over) = (Arc::clone(&asked), Arc::clone(&end));
        std::thread::spawn(move || {
            let state = format!(
                r#"{{"version":4,"terraform_version":"1.11.4","serial":1,"lineage":"a","outputs":{{"loot":{{"value":"{LOOT}","type":"string"}}}},"resources":[]}}"#
            );
            while !over.load(Ordering::SeqCst) {
                let Ok((mut guest, _)) = listener.accept() else {
                    std::thread::sleep(Duration::from_millis(5));
                    continue;
                };
                count.fetch_add(1, Ordering::SeqCst);
                guest.set_nonblocking(false).unwrap();
                guest
                    .set_read_timeout(Some(Duration::from_secs(5)))
                    .unwrap();
                let _ = guest.read(&mut [0; 4096]);
                let _ = write!(
                    guest,
                    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{state}",
                    state.len()
                );
            }
        });
        Self {
            address,
            asked,
            end,
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.end.store(true, Ordering::SeqCst);
    }
}

/// A module that shows what a URL answers, as one in a pull request may.
fn fetching(url: &str) -> String {
    format!(
        r#"data "terraform_remote_state" "x" {{
  backend = "http"
  config = {{ address = "{url}", retry_max = 0 }}
}}
output "loot" {{ value = data.terraform_remote_state.x.outputs.loot }}
"#
    )
}

fn rules() -> [NetworkRule; 2] {
    let host: HostPattern = "registry.example.com".parse().unwrap();
    [NetworkRule::Deny, NetworkRule::Hosts(vec![host])]
}

fn settings(rule: &NetworkRule) -> NetworkSettings {
    NetworkSettings {
        propose: rule.clone(),
        merge: rule.clone(),
        drift: rule.clone(),
    }
}

/// Each sandbox that works here with each rule that works in it, and what is left of the network.
/// Beside what the rules give, no network at all by the filter of system calls, as where a run
/// cannot have a network of its own.
fn held_back() -> Vec<(Sandbox, NetworkRule, Network)> {
    let mut all = Vec::new();
    for sandbox in working() {
        for rule in rules() {
            match sandbox.clone().with_network(&settings(&rule)) {
                Ok(held) => {
                    let network = held.network(&rule);
                    all.push((held, rule, network));
                }
                Err(error) => eprintln!("NOTE: not tested on this machine: {error}"),
            }
        }
        all.push((sandbox, NetworkRule::Deny, Network::Nothing));
    }
    all
}

/// Puts a job into a sandbox with what is left of the network, as the daemon does.
fn hold_back(
    bench: &Bench,
    sandbox: &Sandbox,
    rule: &NetworkRule,
    network: Network,
    lifetime: Lifetime,
    job: &mut engine::Job,
) {
    let mut confinement = confinement(bench, lifetime, job);
    confinement.network = network;
    if network == Network::Door {
        job.door = Some(match rule {
            NetworkRule::Hosts(hosts) => hosts.clone(),
            NetworkRule::Allow | NetworkRule::Deny => Vec::new(),
        });
    }
    job.wrapper = sandbox.wrapper(bench.engine.program(), &confinement);
}

#[tokio::test]
async fn a_service_of_the_machine_is_fetched_without_a_rule_and_by_no_plan_with_one() {
    let service = Service::start();
    let bench = Bench::new(&fetching(&format!("http://{}/state", service.address)));
    let mut open = vec![Sandbox::none()];
    open.extend(working());
    for sandbox in open {
        let mut job = bench.job();
        let level = sandbox.level().clone();
        hold_back(
            &bench,
            &sandbox,
            &NetworkRule::Allow,
            sandbox.network(&NetworkRule::Allow),
            Lifetime::WithParent,
            &mut job,
        );
        let saved = bench.plan(&job).await.unwrap();
        let json = std::fs::read_to_string(saved.json).unwrap();
        assert!(json.contains(LOOT), "{level} without a rule: {json}");
    }
    let asked = service.asked.load(Ordering::SeqCst);
    assert!(asked > 0);
    for (sandbox, rule, network) in held_back() {
        let mut job = bench.job();
        hold_back(
            &bench,
            &sandbox,
            &rule,
            network,
            Lifetime::WithParent,
            &mut job,
        );
        let error = bench.plan(&job).await.unwrap_err();
        let (level, error) = (sandbox.level(), format!("{error:?}"));
        assert!(
            !error.contains(LOOT),
            "{level}, {rule}, {network:?}: {error}"
        );
        assert_eq!(
            service.asked.load(Ordering::SeqCst),
            asked,
            "{level}, {rule}, {network:?}"
        );
    }
}

#[tokio::test]
async fn what_was_refused_to_a_plan_stands_in_the_folder_of_its_step() {
    for (sandbox, rule, network) in held_back() {
        if network != Network::Door {
            continue;
        }
        let bench = Bench::new(&fetching("https://metadata.google.internal/state"));
        bench.write(
            "more.tf",
            &fetching("http://evil.example:8080/x")
                .replace("\"x\"", "\"y\"")
                .replace(".x.", ".y.")
                .replace("output \"loot\"", "output \"more\""),
        );
        let mut job = bench.job();
        hold_back(
            &bench,
            &sandbox,
            &rule,
            network,
            Lifetime::WithParent,
            &mut job,
        );
        let error = format!("{:?}", bench.plan(&job).await.unwrap_err());
        assert!(error.contains("`network` does not allow"), "{error}");
        let mut refused = engine::refused(&job.work_dir);
        refused.sort_by(|a, b| a.asked.cmp(&b.asked));
        let asked: Vec<&str> = refused.iter().map(|one| one.asked.as_str()).collect();
        assert_eq!(asked, ["evil.example:8080", "metadata.google.internal:443"]);
        assert_eq!(refused[0].why, None);
        assert!(refused[1].why.is_some());
    }
}

#[tokio::test]
async fn a_provider_works_without_any_network() {
    for (sandbox, rule, network) in held_back() {
        let bench = Bench::new("");
        let checkout = bench.path("checkout");
        let world = bench.path("world");
        std::fs::create_dir(&world).unwrap();
        localfs::write_root_module(
            &checkout,
            &format!(
                "resource \"localfs_file\" \"a\" {{\n  path = \"{}/a\"\n  content = \"one\"\n}}\n",
                world.display()
            ),
        );
        let mut job = bench.job();
        let cli = localfs::cli_config();
        job.env.retain(|(name, _)| name != "TF_CLI_CONFIG_FILE");
        let value = Secret::new(cli.to_str().unwrap());
        job.env.push(("TF_CLI_CONFIG_FILE".into(), value));
        let mut confinement: Confinement = confinement(&bench, Lifetime::OnItsOwn, &mut job);
        confinement.network = network;
        confinement.read.push(cli.parent().unwrap().to_owned());
        confinement.write.push(world.clone());
        job.door = (network == Network::Door).then(Vec::new);
        job.wrapper = sandbox.wrapper(bench.engine.program(), &confinement);
        if let Err(error) = bench.plan_and_apply(&job).await {
            panic!("{}, {rule}, {network:?}: {error:?}", sandbox.level());
        }
        assert_eq!(std::fs::read_to_string(world.join("a")).unwrap(), "one");
    }
}

/// A world in which one name has a public address, and there the service is.
struct Stage(HashMap<&'static str, IpAddr>, SocketAddr);

#[async_trait]
impl World for Stage {
    async fn resolve(&self, name: &str) -> std::io::Result<Vec<IpAddr>> {
        let found = self.0.get(name).copied();
        found
            .map(|address| vec![address])
            .ok_or_else(|| std::io::ErrorKind::NotFound.into())
    }

    async fn connect(&self, _: SocketAddr) -> std::io::Result<TcpStream> {
        TcpStream::connect(self.1).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn terraform_reaches_the_host_that_is_named_by_the_one_way_out() {
    for (sandbox, rule, network) in held_back() {
        let NetworkRule::Hosts(hosts) = &rule else {
            continue;
        };
        let service = Service::start();
        let bench = Bench::new(&fetching("http://registry.example.com/state"));
        let mut job = bench.job();
        let mut confinement = confinement(&bench, Lifetime::WithParent, &mut job);
        confinement.network = network;
        for folder in job.own_folders() {
            std::fs::create_dir_all(folder).unwrap();
        }
        let terraform = bench.engine.program();
        let argv = sandbox.wrapper(terraform, &confinement);
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut command = Command::new(&argv[0]);
        command
            .args(&argv[1..])
            .arg(terraform)
            .args(["plan", "-no-color", "-input=false", "-lock=false"])
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("TF_DATA_DIR", &job.data_dir)
            .env("TF_CLI_CONFIG_FILE", bench.path("cli.tfrc"))
            .env("CHECKPOINT_DISABLE", "1")
            .env("TMPDIR", &job.tmp_dir)
            .env("NO_PROXY", "registry.example.com")
            .current_dir(job.cwd())
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        drop(command);
        let refused = bench.path("refused");
        let world = HashMap::from([("registry.example.com", "192.0.2.7".parse().unwrap())]);
        let proxy = Proxy::new(
            hosts.clone(),
            Refusals::create(&refused).unwrap(),
            Stage(world, service.address),
        );
        ours.set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        let serving = tokio::spawn(proxy.serve(door::receive(&ours).unwrap()));
        let output = tokio::task::spawn_blocking(|| child.wait_with_output().unwrap());
        let output = output.await.unwrap();
        serving.abort();
        let said = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(LOOT), "{}: {said}{errors}", sandbox.level());
        assert_eq!(read_refusals(&refused).unwrap(), []);
    }
}

/// What this machine's kernel says of a process.
fn status(pid: i32, file: &str) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default()
}

#[tokio::test]
async fn a_run_has_no_rights_over_its_own_network_and_knows_one_way_out() {
    for (sandbox, rule, network) in held_back() {
        if network != Network::Door {
            continue;
        }
        let bench = Bench::new(
            r#"resource "terraform_data" "wait" {
  provisioner "local-exec" { command = "touch begun; until [ -e go ]; do sleep 0.05; done" }
}"#,
        );
        let mut job = bench.job();
        let other = Secret::new("http://127.0.0.1:9");
        job.env.push(("https_proxy".into(), other));
        job.env.push(("NO_PROXY".into(), Secret::new("*")));
        let lifetime = Lifetime::OnItsOwn;
        hold_back(&bench, &sandbox, &rule, network, lifetime, &mut job);
        let plan = bench.plan(&job).await.unwrap();
        let (applied, ()) = tokio::join!(bench.apply(&job, plan), async {
            until(|| bench.path("checkout/begun").exists()).await;
            let what = format!("{}, {rule}", sandbox.level());
            let found = bench.alive().into_iter();
            let terraform: Vec<i32> = found
                .filter(|pid| status(*pid, "comm").trim() == "terraform")
                .collect();
            assert_eq!(terraform.len(), 1, "{what}");
            let pid = terraform[0];
            for rights in ["CapEff", "CapPrm", "CapBnd"] {
                let none = format!("{rights}:\t0000000000000000");
                assert!(status(pid, "status").contains(&none), "{what}: {rights}");
            }
            let environment = status(pid, "environ");
            let proxy = "https_proxy=http://127.0.0.1:";
            assert!(environment.contains(proxy), "{what}: {environment}");
            assert!(
                !environment.contains("127.0.0.1:9\0"),
                "{what}: {environment}"
            );
            assert!(!environment.contains("NO_PROXY"), "{what}: {environment}");
            let input = std::fs::read_link(format!("/proc/{pid}/fd/0")).unwrap();
            assert_eq!(input, Path::new("/dev/null"), "{what}");
            let interfaces = status(pid, "net/dev");
            assert_eq!(interfaces.lines().count(), 3, "{what}: {interfaces}");
            std::fs::write(bench.path("checkout/go"), "").unwrap();
        });
        applied.unwrap();
    }
}
