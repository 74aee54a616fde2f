//! Which sandbox works here: each is tried on a process of our own before it is relied on.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::confine::{TRY, held};
use super::{Abi, Confinement, Level, Lifetime, Sandbox};
use crate::config::SandboxLevel;
use crate::fault::chain;

/// A sandbox that is demanded does not work here.
#[derive(Debug, thiserror::Error)]
#[error(
    "`sandbox.level = \"{wanted}\"` is asked for and does not work here: {reason}; mend that, or set it to \
     \"auto\", \"bubblewrap\", \"landlock\" or \"none\""
)]
pub struct NotAvailable {
    wanted: &'static str,
    reason: String,
}

/// Finds the sandbox that the settings ask for, and tries it. `helper` is our own program.
///
/// With `auto` it is the strongest that works, which may be none: that is the caller's to say.
///
/// # Errors
///
/// [`NotAvailable`], where a certain one is demanded and does not work here.
pub fn find(wanted: SandboxLevel, helper: &Path) -> Result<Sandbox, NotAvailable> {
    let refused = |wanted| move |reason| NotAvailable { wanted, reason };
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
    };
    attempt(&sandbox, helper).map(|_| sandbox)
}

fn landlock(helper: &Path) -> Result<Sandbox, String> {
    let sandbox = Sandbox {
        level: Level::Landlock { abi: Abi(0) },
        helper: helper.to_owned(),
    };
    let abi = attempt(&sandbox, helper)?;
    Ok(Sandbox {
        level: Level::Landlock { abi },
        ..sandbox
    })
}

/// Runs our own program in the sandbox: it must not read a file beside its folder, and must write
/// in it.
fn attempt(sandbox: &Sandbox, helper: &Path) -> Result<Abi, String> {
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
    };
    let mut argv: Vec<PathBuf> = sandbox
        .wrapper(helper, &confinement)
        .into_iter()
        .map(PathBuf::from)
        .collect();
    argv.extend([helper.to_owned(), TRY.into(), secret, own]);
    let output = Command::new(&argv[0])
        .args(&argv[1..])
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::null())
        .output()
        .map_err(|e| chain(&e))?;
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
