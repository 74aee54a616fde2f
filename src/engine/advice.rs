//! What a person can do next about an error of Terraform's.

use super::Step;
use super::error::{EngineError, FailedApply, LockInfo, Rescue};
use crate::plan::{Diagnostic, Severity};
use crate::seal::sealed_name;

/// What an error of Terraform's looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Symptom {
    /// A registry, a module's source or a backend did not answer.
    Unreachable,
    /// The lock file does not have what the configuration needs.
    LockFile,
    /// Credentials are missing, expired or not enough.
    Credentials,
    /// The configuration asks for another version of Terraform.
    Version,
    /// The state moved on since the plan was made.
    StalePlan,
    /// The backend refused.
    Backend,
    /// A variable has no value.
    Variable,
    /// None of these: the configuration, most likely.
    Other,
}

/// Texts, in lower case, by which a symptom is known; the first that is found decides.
const SIGNS: [(Symptom, &[&str]); 7] = [
    (
        Symptom::Version,
        &[
            "unsupported terraform core version",
            "unsupported opentofu core version",
        ],
    ),
    (Symptom::StalePlan, &["saved plan is stale"]),
    (
        Symptom::LockFile,
        &[
            "provider dependency changes detected",
            "checksums previously recorded in the dependency lock file",
            "inconsistent dependency lock file",
            "required plugins are not installed",
        ],
    ),
    (Symptom::Variable, &["no value for required variable"]),
    (
        Symptom::Credentials,
        &[
            "no valid credential",
            "invalidclienttokenid",
            "expiredtoken",
            "could not find default credentials",
            "accessdenied",
            "access denied",
            "authorizationfailed",
            "unauthorized",
            "permission denied",
            "403 forbidden",
            "http error: 401",
            "http error: 403",
            "statuscode: 403",
            "status code: 403",
        ],
    ),
    (
        Symptom::Unreachable,
        &[
            "connection refused",
            "connection reset",
            "no such host",
            "i/o timeout",
            "tls handshake timeout",
            "network is unreachable",
            "failed to query available provider packages",
            "failed to install provider",
            "could not connect to",
            "error accessing remote module registry",
            "failed to download module",
            "could not download module",
            "502 bad gateway",
            "503 service unavailable",
        ],
    ),
    (
        Symptom::Backend,
        &[
            "backend configuration changed",
            "backend initialization required",
            "error loading state",
            "error refreshing state",
            "error saving state",
            "failed to get existing workspaces",
            "error configuring the backend",
        ],
    ),
];

/// Recognises an error by what Terraform said.
pub(super) fn symptom(diagnostics: &[Diagnostic], tail: &str) -> Symptom {
    let mut said: String = diagnostics
        .iter()
        .filter(|diagnostic| diagnostic.severity == Severity::Error)
        .flat_map(|diagnostic| {
            [
                diagnostic.summary.as_str(),
                "\n",
                diagnostic.detail.as_str(),
                "\n",
            ]
        })
        .collect();
    if said.is_empty() {
        said.push_str(tail);
    }
    // Terraform wraps lines, also inside of what is looked for.
    let said = said
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .to_lowercase();
    SIGNS
        .iter()
        .find(|(_, signs)| signs.iter().any(|sign| said.contains(sign)))
        .map_or(Symptom::Other, |(symptom, _)| *symptom)
}

impl EngineError {
    /// A sentence or two on what to do next.
    pub fn advice(&self) -> String {
        match self {
            Self::NotFound { .. } => {
                "Install Terraform or OpenTofu on the machine that runs Mainstay.".to_owned()
            }
            Self::NoVersion { program, .. } => format!(
                "Run `{} version` by hand on this machine: it has to be Terraform or OpenTofu.",
                program.display()
            ),
            Self::WrongVersion { wanted, .. } => format!(
                "Install a version that fits `{wanted}` and point `engine` at it, or change \
                 `required_version` in the configuration."
            ),
            Self::InitFailed(evidence) | Self::PlanFailed(evidence) => for_symptom(
                symptom(&evidence.diagnostics, &evidence.tail),
                evidence.step,
            ),
            Self::Untrusted(_) => {
                "Nothing of it was run. Use what is allowed, or have the workspace's declaration \
                 allow it."
                    .to_owned()
            }
            Self::ShowFailed(_) => {
                "Plan again; if it stays so, run `terraform show -json` on a plan by hand."
                    .to_owned()
            }
            Self::ApplyFailed(failed) => for_apply(failed),
            Self::TimedOut { .. } => {
                "Nothing was changed. Plan again, or raise `plan_timeout` of the workspace."
                    .to_owned()
            }
            Self::LimitHit { hit, .. } => format!(
                "Nothing was changed. Make the plan smaller, or raise `{}` in `[limits]` of \
                 mainstay.toml and plan again.",
                hit.key()
            ),
            Self::Cancelled(_) => "Nothing was changed. Plan again when it is wanted.".to_owned(),
            Self::StateLocked { lock, .. } => for_lock(lock),
            Self::CorruptState { path, versions, .. } => match versions.first() {
                Some(newest) => format!(
                    "Read the kept version with `mainstay unseal {}`, compare it with the world, and \
                     put it back with `mainstay state push --force` when it is right.",
                    newest.display(),
                ),
                None => format!(
                    "If the interrupted first apply created nothing, remove {}; otherwise import \
                     what it created.",
                    path.display()
                ),
            },
            Self::Credentials { .. } => {
                "Run the command by hand as the daemon's user. What it said on its \
                 standard error is kept with the run, sealed: `mainstay unseal` prints it."
                    .to_owned()
            }
            Self::AtRest { .. } => {
                "Nothing was changed, and nothing was lost. Mend what is wrong with the \
                 file or the keys, then plan again."
                    .to_owned()
            }
            Self::StrandedState { path, .. } => format!(
                "Save it with `terraform state push {}`, or take the file out of the folder; a \
                 repository must not hold one.",
                path.display()
            ),
            Self::PlanTampered { .. } => {
                "Nothing was changed. Plan again; if nobody touched the files on purpose, find out \
                 who can write to the data folder."
                    .to_owned()
            }
            Self::NoSuchTerraformWorkspace { wanted, .. } => format!(
                "Correct `terraform_workspace` in the declaration, or create it once by hand: \
                 terraform workspace new {wanted}"
            ),
            Self::Refused { .. } => {
                "Nothing was changed. See why the store refused; it is tried again.".to_owned()
            }
            Self::NotStarted { .. } => {
                "Nothing was changed. See to it that this machine can run the program in that \
                 folder."
                    .to_owned()
            }
            Self::Lost(_) => {
                "Nothing was changed by this step. Plan again; if it happens again, look for a \
                 lack of memory."
                    .to_owned()
            }
            Self::StillRunning { dir, .. } => format!(
                "Do not start another one beside it. Look at {} for what it waits for; `pid.json` \
                 there names its processes.",
                dir.display()
            ),
            Self::Io { .. } => {
                "See to the disk: free space, and rights on the data folder.".to_owned()
            }
        }
    }
}

fn for_symptom(symptom: Symptom, step: Step) -> String {
    match symptom {
        Symptom::Unreachable => {
            "A registry, a module's source or the backend did not answer. It is worth trying \
             again; if it stays so, check the network and the proxy of this machine."
        }
        Symptom::LockFile => {
            "The committed lock file does not have what the configuration needs. Run `terraform \
             init -upgrade`, or `terraform providers lock -platform=linux_amd64` where only this \
             platform's checksums are missing, and commit `.terraform.lock.hcl`."
        }
        Symptom::Credentials => {
            "Credentials are missing, expired or not enough. Check which variables `env` of the \
             workspace lets this step see, and what they may do."
        }
        Symptom::Version => {
            "Install a version that the configuration accepts and point `engine` at it, or change \
             `required_version`."
        }
        Symptom::StalePlan => "The state moved on since the plan was made. Plan again.",
        Symptom::Backend => {
            "The backend refused. Check its settings, and the rights of the credentials that this \
             step sees."
        }
        Symptom::Variable => {
            "Give the variable a value: a default, a file in `var_files`, or `TF_VAR_…` named in \
             `env`."
        }
        Symptom::Other => match step {
            Step::Init => "Correct the configuration; `terraform init` shows the same by hand.",
            _ => "Correct the configuration.",
        },
    }
    .to_owned()
}

fn for_lock(lock: &LockInfo) -> String {
    let unlock = lock.id.as_deref().map_or_else(String::new, |id| {
        format!(" If whoever took it is gone for good, free it: terraform force-unlock {id}")
    });
    format!("Wait until it is freed; it is tried again.{unlock}")
}

fn for_apply(failed: &FailedApply) -> String {
    let mut advice = match symptom(&failed.evidence.diagnostics, &failed.evidence.tail) {
        Symptom::StalePlan => "Nothing was changed. Plan again.".to_owned(),
        _ => {
            "What was changed stays changed; `mainstay apply` plans again and applies what is left."
                .to_owned()
        }
    };
    if let Some(stranded) = &failed.stranded {
        // Whoever reads this reads it after the run was put to rest.
        let sealed = sealed_name(&stranded.kept);
        let kept = sealed.display();
        advice.push_str(&match &stranded.rescue {
            Rescue::Saved => format!(
                " The state could not be saved at first and was pushed afterwards; a copy is in \
                 {kept}."
            ),
            Rescue::Failed(reason) => format!(
                " THE STATE COULD NOT BE SAVED, and pushing it failed too ({reason}). Before \
                 anything else: mainstay unseal {kept} > errored.tfstate, and terraform state push \
                 errored.tfstate"
            ),
            Rescue::NotTried => format!(
                " THE STATE COULD NOT BE SAVED. It is kept in {kept}: open it with `mainstay \
                 unseal`, and put it where the state belongs with `mainstay state push` before \
                 anything else."
            ),
        });
    }
    advice
}

/// Reads who holds a lock from Terraform's message.
///
/// The message ends in a block of `Name: value` lines. The `http` backend
/// shows our own attempt there and names the holder's lock before it, as
/// `already locked: ID=…`.
pub(super) fn lock_info(detail: &str) -> LockInfo {
    // As plain text it is wrapped, anywhere between two words.
    let words: Vec<&str> = detail.split_whitespace().collect();
    let joined = words.join(" ");
    if let Some((_, rest)) = joined.split_once("HTTP remote state already locked") {
        let id = rest
            .strip_prefix(": ID=")
            .and_then(|rest| rest.split(' ').next());
        return LockInfo {
            id: id.filter(|id| !id.is_empty()).map(str::to_owned),
            ..LockInfo::default()
        };
    }
    let field = |name: &str| {
        detail
            .lines()
            .find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(':'))
            .map(|value| value.trim().to_owned())
            .filter(|value| !value.is_empty())
    };
    LockInfo {
        id: field("ID"),
        who: field("Who"),
        created: field("Created"),
        operation: field("Operation"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(summary: &str, detail: &str) -> Diagnostic {
        Diagnostic {
            severity: Severity::Error,
            summary: summary.to_owned(),
            detail: detail.to_owned(),
            address: None,
            file: None,
            line: None,
            snippet: None,
        }
    }

    #[test]
    fn common_failures_are_recognised() {
        let cases = [
            (
                Symptom::Unreachable,
                "Failed to query available provider packages",
                "dial tcp: lookup example.com: no such host",
            ),
            (
                Symptom::LockFile,
                "Failed to install provider",
                "the local package doesn't match any of the\nchecksums previously recorded in the dependency\nlock file",
            ),
            (
                Symptom::LockFile,
                "Provider dependency changes detected",
                "Changes to the",
            ),
            (
                Symptom::Credentials,
                "No valid credential sources found",
                "",
            ),
            (Symptom::Version, "Unsupported Terraform Core version", ""),
            (Symptom::StalePlan, "Saved plan is stale", ""),
            (Symptom::Variable, "No value for required variable", ""),
            (Symptom::Backend, "Error loading state", "it is odd"),
            (Symptom::Other, "Invalid expression", ""),
        ];
        for (expected, summary, detail) in cases {
            assert_eq!(
                symptom(&[error(summary, detail)], ""),
                expected,
                "{summary}"
            );
        }
        assert_eq!(
            symptom(&[], "Error: connection refused"),
            Symptom::Unreachable
        );
    }

    #[test]
    fn the_holder_of_a_lock_is_read_from_the_message() {
        let info = lock_info(
            "Error message: resource temporarily unavailable\nLock Info:\n  ID:        18a8\n  Path:      /x\n  Operation: OperationTypeApply\n  Who:       root@vm\n  Version:   1.11.4\n  Created:   2026-11-21 09:10:23 +0000 UTC\n  Info:      \n\n\nTerraform acquires",
        );
        assert_eq!(info.id.as_deref(), Some("18a8"));
        assert_eq!(
            info.to_string(),
            "root@vm, apply, since 2026-11-21 09:10:23 +0000 UTC, lock 18a8"
        );
    }

    #[test]
    fn the_http_backends_holder_is_not_ourselves() {
        let own = "\nLock Info:\n  ID:        ours\n  Who:       us@here\n";
        let table = [
            (": ID=abc", Some("abc")),
            // Plain text is wrapped.
            (":\nID=abc", Some("abc")),
            (", failed to unmarshal body", None),
            (": ID=", None),
        ];
        for (said, id) in table {
            let message = format!("Error message: HTTP remote\nstate already locked{said}{own}");
            let expected = LockInfo {
                id: id.map(str::to_owned),
                ..LockInfo::default()
            };
            assert_eq!(lock_info(&message), expected, "{said}");
        }
    }
}
