//! What the sandbox of a run lets it reach.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use super::Worker;
use super::operator::CLI_CONFIG;
use crate::config::SandboxOf;
use crate::engine::{Job, State};
use crate::network::NetworkRule;
use crate::redact::Secret;
use crate::run::Purpose;
use crate::sandbox::{CliPaths, Confinement, Lifetime, Network, Sandbox};

/// Variables of the environment that name files and folders every run reads.
const NAMING: [&str; 2] = ["SSL_CERT_FILE", "SSL_CERT_DIR"];

impl Worker {
    /// The sandbox of runs of this purpose.
    pub(super) fn sandbox_of(&self, purpose: Purpose) -> Sandbox {
        let settings = &self.fleet.config.sandbox;
        let held = match purpose {
            // Whoever wants none for a stranger's code says so by the level.
            Purpose::Propose => SandboxOf::Same,
            Purpose::Merge => settings.merge,
            Purpose::Drift => settings.drift,
        };
        match held {
            SandboxOf::Same => self.sandbox.clone(),
            SandboxOf::None => Sandbox::none(),
        }
    }

    /// Puts a job into the sandbox of its purpose.
    ///
    /// # Errors
    ///
    /// Where a folder that it needs cannot be made.
    pub(super) fn shut_in(&self, job: &mut Job, purpose: Purpose) -> io::Result<()> {
        let sandbox = self.sandbox_of(purpose);
        if sandbox == Sandbox::none() {
            return Ok(());
        }
        let settings = &self.fleet.config.sandbox;
        let mut read = settings.read.clone();
        let mut write = job.own_folders();
        read.push(job.stranded_state());
        let copy = job.state_copy();
        let state = match &job.state {
            State::Kept(state) => Some((copy.parent().unwrap_or(&copy).to_owned(), state)),
            State::Local(_) | State::Backend | State::InFolder => None,
        };
        match purpose {
            Purpose::Merge => {
                write.extend(settings.write.iter().cloned());
                // Terraform writes a lock and a new state beside the old one. What is sealed and the
                // earlier versions are out of its reach.
                if let Some((copy, state)) = state {
                    write.extend([copy, state.open_folder()]);
                }
            }
            Purpose::Propose | Purpose::Drift => {
                read.extend(settings.write.iter().cloned());
                read.extend(state.map(|(copy, _)| copy));
            }
        }
        let named = |name: &str| value(job, name).map(PathBuf::from);
        read.extend(NAMING.iter().filter_map(|name| named(name)));
        let mut cli = CliPaths::default();
        if let Some(file) = named(CLI_CONFIG) {
            let file = std::path::absolute(file)?;
            // One that is not there is not given to Terraform either.
            cli = CliPaths::of(&fs::read_to_string(&file).unwrap_or_default());
            // A stranger's copy is in a folder of its own.
            if !file.starts_with(&job.tmp_dir) {
                read.push(file);
            }
        }
        read.append(&mut cli.read);
        if let Some(cache) = named("TF_PLUGIN_CACHE_DIR").or(cli.plugin_cache) {
            match purpose {
                Purpose::Merge | Purpose::Drift if cache.is_absolute() => write.push(cache),
                // What proposals write, merges would run: each workspace's have a cache of their own.
                Purpose::Propose | Purpose::Merge | Purpose::Drift => {
                    let own = job.data_dir.with_extension("plugins");
                    fs::DirBuilder::new()
                        .recursive(true)
                        .mode(0o700)
                        .create(&own)?;
                    set(job, "TF_PLUGIN_CACHE_DIR", &own);
                    write.push(own);
                }
            }
        }
        // The daemon's own home is not there: keys and settings of other programs are in it.
        let home = job.tmp_dir.clone();
        set(job, "HOME", &home);
        let rule = match purpose {
            Purpose::Propose => &settings.network.propose,
            Purpose::Merge => &settings.network.merge,
            Purpose::Drift => &settings.network.drift,
        };
        let network = sandbox.network(rule);
        job.door = match (network, rule) {
            (Network::Shared | Network::Nothing, _) => None,
            (Network::Door, NetworkRule::Hosts(hosts)) => Some(hosts.clone()),
            (Network::Door, NetworkRule::Allow | NetworkRule::Deny) => Some(Vec::new()),
        };
        let confinement = Confinement {
            cwd: job.cwd(),
            tmp_dir: job.tmp_dir.clone(),
            read,
            write,
            lifetime: match purpose {
                Purpose::Merge => Lifetime::OnItsOwn,
                Purpose::Propose | Purpose::Drift => Lifetime::WithParent,
            },
            network,
        };
        job.wrapper = sandbox.wrapper(self.engine.program(), &confinement);
        Ok(())
    }
}

fn value<'j>(job: &'j Job, name: &str) -> Option<&'j str> {
    let found = job.env.iter().find(|(known, _)| known == name);
    found
        .map(|(_, value)| value.expose())
        .filter(|value| !value.is_empty())
}

fn set(job: &mut Job, name: &str, path: &Path) {
    job.env.retain(|(known, _)| known != name);
    let path = path.display().to_string();
    job.env.push((name.to_owned(), Secret::new(path)));
}
