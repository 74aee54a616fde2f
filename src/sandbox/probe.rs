//! Which sandbox works here: each is tried on a process of our own before it is relied on.

use std::io::Write as _;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::confine::{KNOCK, TRY, held};
use super::{Abi, Closing, Confinement, Level, Lifetime, Network, Sandbox};
use crate::config::{NetworkSettings, SandboxLevel};
use crate::fault::chain;
use crate::network::NetworkRule;
use crate::proxy::door;

/// A sandbox that is demanded does not work here.
#[derive(Debug, thiserror::Error)]
pub enum NotAvailable {
    /// The level that is asked for.
    #[error(
        "`sandbox.level = \"{wanted}\"` is asked for and does not work here: {reason}; mend that, or set it to \
         \"auto\", \"bubblewrap\", \"landlock\" or \"none\""
    )]
    Level {
        /// Which.
        wanted: &'static str,
        /// Why it does not work.
        reason: String,
    },
    /// Any, to hold the network back.
    #[error(
        "`sandbox.network` holds runs back, and no sandbox works here: install `bwrap` (Debian's package is \
         `bubblewrap`) or a kernel with Landlock, or set it to \"allow\""
    )]
    NoSandbox,
    /// A network of a run's own.
    #[error(
        "`sandbox.network` names hosts, and the sandbox {level} cannot give a run a network of its own here: {reason}; \
         permit user and network namespaces (`user.max_user_namespaces`, `kernel.unprivileged_userns_clone`, \
         `kernel.apparmor_restrict_unprivileged_userns`, or what your container engine says of them), or install a \
         `bwrap` that may make them (Debian's package is `bubblewrap`), or set it to \"deny\" or \"allow\""
    )]
    Hosts {
        /// The sandbox that works.
        level: Level,
        /// Why it cannot.
        reason: String,
    },
    /// A run without any network.
    #[error(
        "`sandbox.network = \"deny\"` is asked for and does not work in the sandbox {level} here: {reason}; mend that, \
         or set it to \"allow\""
    )]
    Deny {
        /// The sandbox that works.
        level: Level,
        /// Why it cannot.
        reason: String,
    },
}

impl Sandbox {
    /// The sandbox as it holds the network back by these settings, each tried on a process of our
    /// own.
    ///
    /// # Errors
    ///
    /// [`NotAvailable`], where something is to be held back and cannot be here.
    pub fn with_network(self, settings: &NetworkSettings) -> Result<Self, NotAvailable> {
        let rules = settings.all().map(|(_, rule)| rule);
        if rules.iter().all(|rule| **rule == NetworkRule::Allow) {
            return Ok(self);
        }
        if self.level == Level::None {
            return Err(NotAvailable::NoSandbox);
        }
        let helper = self.helper.clone();
        let reason = match attempt(&self, &helper, Network::Door) {
            Ok(_) => {
                return Ok(Self {
                    closing: Closing::Door,
                    ..self
                });
            }
            Err(reason) => reason,
        };
        let level = self.level.clone();
        if rules
            .iter()
            .any(|rule| matches!(rule, NetworkRule::Hosts(_)))
        {
            return Err(NotAvailable::Hosts { level, reason });
        }
        tracing::debug!("A run cannot have a network of its own here: {reason}");
        match attempt(&self, &helper, Network::Nothing) {
            Ok(_) => Ok(self),
            Err(reason) => Err(NotAvailable::Deny { level, reason }),
        }
    }
}

/// Finds the sandbox that the settings ask for, and tries it. `helper` is our own program.
///
/// With `auto` it is the strongest that works, which may be none: that is the caller's to say.
///
/// # Errors
///
/// [`NotAvailable`], where a certain one is demanded and does not work here.
pub fn find(wanted: SandboxLevel, helper: &Path) -> Result<Sandbox, NotAvailable> {
    let refused = |wanted| move |reason| NotAvailable::Level { wanted, reason };
    match wanted {
        SandboxLevel::None => Ok(Sandbox::none()),
        SandboxLevel::Bubblewrap => bubblewrap(helper).map_err(refused("bubblewrap")),
        SandboxLevel::Landlock => landlock(helper).map_err(refused("landlock")),
        SandboxLevel::Auto => {
            let reasons = match bubblewrap(helper) {
                Ok(sandbox) => return Ok(sandbox),
                Err(reason) => reason,
            };
            match landlock(helper) {
                Ok(sandbox) => {
                    tracing::debug!("bubblewrap does not work here: {reasons}");
                    Ok(sandbox)
                }
                Err(reason) => {
                    tracing::warn!(
                        "No sandbox works here. bubblewrap: {reasons}; landlock: {reason}"
                    );
                    Ok(Sandbox::none())
                }
            }
        }
    }
}

fn bubblewrap(helper: &Path) -> Result<Sandbox, String> {
    let program = which::which("bwrap").map_err(|_| {
        "there is no program `bwrap` in the PATH (Debian's package is `bubblewrap`)".to_owned()
    })?;
    let sandbox = Sandbox {
        level: Level::Bubblewrap { program },
        helper: helper.to_owned(),
        closing: Closing::Sockets,
    };
    attempt(&sandbox, helper, Network::Shared).map(|_| sandbox)
}

fn landlock(helper: &Path) -> Result<Sandbox, String> {
    let sandbox = Sandbox {
        level: Level::Landlock { abi: Abi(0) },
        helper: helper.to_owned(),
        closing: Closing::Sockets,
    };
    let abi = attempt(&sandbox, helper, Network::Shared)?;
    Ok(Sandbox {
        level: Level::Landlock { abi },
        ..sandbox
    })
}

/// Runs our own program in the sandbox: it must not read a file beside its folder, and must write
/// in it. Where it is to have less than the machine's network, it must not reach that.
fn attempt(sandbox: &Sandbox, helper: &Path, network: Network) -> Result<Abi, String> {
    let failed = |what: &str, error: std::io::Error| format!("{what}: {error}");
    let folder = tempfile::tempdir().map_err(|e| failed("no folder can be made to try it", e))?;
    let (secret, own) = (folder.path().join("secret"), folder.path().join("own"));
    std::fs::write(&secret, "secret")
        .and_then(|()| std::fs::create_dir(&own))
        .map_err(|e| failed("no files can be made to try it", e))?;
    let confinement = Confinement {
        cwd: own.clone(),
        tmp_dir: own.clone(),
        read: Vec::new(),
        write: Vec::new(),
        lifetime: Lifetime::WithParent,
        network,
    };
    // Whoever reaches this is not held back.
    let outside =
        TcpListener::bind("127.0.0.1:0").map_err(|e| failed("nothing can listen to try it", e))?;
    let address = outside
        .local_addr()
        .map_err(|e| failed("nothing can listen to try it", e))?;
    let mut argv: Vec<PathBuf> = sandbox
        .wrapper(helper, &confinement)
        .into_iter()
        .map(PathBuf::from)
        .collect();
    argv.extend([helper.to_owned(), TRY.into(), secret, own]);
    if network != Network::Shared {
        argv.push(address.to_string().into());
    }
    let mut command = Command::new(&argv[0]);
    command
        .args(&argv[1..])
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut way = None;
    if network == Network::Door {
        let (ours, theirs) = UnixStream::pair().map_err(|e| chain(&e))?;
        command.stdin(OwnedFd::from(theirs));
        way = Some(ours);
    }
    let child = command.spawn().map_err(|e| chain(&e))?;
    // It holds the other end of the way, which must be the child's alone.
    drop(command);
    if let Some(way) = way {
        // What went wrong, the trial says itself.
        let _ = answer_the_door(&way);
    }
    let output = child.wait_with_output().map_err(|e| chain(&e))?;
    match held(&String::from_utf8_lossy(&output.stdout)) {
        Some(abi) if output.status.success() => Ok(abi),
        _ => {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(match said.lines().rfind(|line| !line.trim().is_empty()) {
                Some(line) => line.trim().to_owned(),
                None => format!("the trial ended with {}", output.status),
            })
        }
    }
}

/// Answers the trial's knock at the door, for as long as a trial may take.
fn answer_the_door(way: &UnixStream) -> std::io::Result<()> {
    const TRIES: usize = 500;
    way.set_read_timeout(Some(Duration::from_secs(10)))?;
    let door = door::receive(way)?;
    door.set_nonblocking(true)?;
    for _ in 0..TRIES {
        match door.accept() {
            Ok((mut guest, _)) => return guest.write_all(KNOCK.as_bytes()),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_that_does_not_work_is_refused_with_the_reason() {
        let nobody = Path::new("/nonexistent/mainstay");
        let error = find(SandboxLevel::Landlock, nobody)
            .unwrap_err()
            .to_string();
        assert!(error.contains("`sandbox.level = \"landlock\"`"), "{error}");
        assert!(error.contains("No such file"), "{error}");
        assert_eq!(
            find(SandboxLevel::None, nobody).unwrap().level(),
            &Level::None
        );
    }

    #[test]
    fn what_does_not_hold_is_not_taken() {
        // `true` reads nothing, writes nothing and says nothing: that is no proof.
        let error = landlock(Path::new("/bin/true")).unwrap_err();
        assert!(error.contains("the trial ended with"), "{error}");
    }
}
