//! What `mainstay check --online` asks GitHub: whether the credentials do for the work.

use std::collections::BTreeMap;
use std::error::Error;

use serde::Deserialize;

use super::GitHub;
use super::access::RepositoryWire;
use super::address::{CloneUrl, RepoPath};
use super::call::{Call, Right};
use super::session::{Credential, Session};
use crate::forge::ForgeError;
use crate::id::RepoName;

/// One thing that was checked, in a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How it stands.
    pub level: Level,
    /// What was found, and what to do where it is not well.
    pub text: String,
}

/// How a thing that was checked stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Well.
    Ok,
    /// It works, with something missing.
    Warn,
    /// It does not work.
    Error,
}

#[derive(Deserialize)]
struct InstallationWire {
    #[serde(default)]
    permissions: BTreeMap<String, String>,
}

/// What an App must be allowed, and what for.
const APP_NEEDS: [(&str, Access, &str); 5] = [
    ("metadata", Access::Read, "to see the repository"),
    ("contents", Access::Read, "to fetch it by git"),
    (
        "pull_requests",
        Access::Write,
        "to read pull requests and comment on them",
    ),
    (
        "issues",
        Access::Write,
        "to comment, and to report drift in issues",
    ),
    ("statuses", Access::Write, "to set commit statuses"),
];

/// What an App may be allowed besides.
const APP_CHECKS: (&str, Access) = ("checks", Access::Write);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    Read,
    Write,
}

impl Access {
    fn is_given_by(self, granted: Option<&str>) -> bool {
        match self {
            Self::Read => matches!(granted, Some("read" | "write" | "admin")),
            Self::Write => matches!(granted, Some("write" | "admin")),
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
        }
    }
}

fn ok(text: String) -> Finding {
    Finding {
        level: Level::Ok,
        text,
    }
}

fn warn(text: String) -> Finding {
    Finding {
        level: Level::Warn,
        text,
    }
}

fn error(text: String) -> Finding {
    Finding {
        level: Level::Error,
        text,
    }
}

/// An error with its causes, in one line.
fn failed(cause: &ForgeError) -> Finding {
    let mut text = cause.to_string();
    let mut next = cause.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    error(text)
}

impl GitHub {
    /// Checks whether the credentials do for the work on `repo`: reading only, nothing is written.
    pub async fn doctor(&self, repo: &RepoName) -> Vec<Finding> {
        let (session, repo) = match self.at(repo).await {
            Ok(found) => found,
            Err(cause) => return vec![failed(&cause)],
        };
        let mut findings = Vec::new();
        match self.own_account(&session).await {
            Ok(Some(account)) => {
                findings.push(ok(format!("GitHub accepts the credentials, as {account}.")))
            }
            Ok(None) => findings.push(warn(
                "GitHub accepts the token but does not tell its account; \
                 it is learnt from the first comment that Mainstay writes."
                    .to_owned(),
            )),
            Err(cause) => {
                findings.push(failed(&cause));
                return findings;
            }
        }
        match self.repository(&session, &repo).await {
            Ok((_, page)) => self.judge_repository(&session, &repo, &page.parsed, &mut findings),
            Err(cause) => {
                findings.push(failed(&cause));
                return findings;
            }
        }
        match &session.credential {
            Credential::Installation { app, .. } => {
                findings.extend(self.judge_installation(app, &repo).await);
            }
            Credential::Token(_) | Credential::App(_) => {
                findings.extend(self.judge_scopes(&session, &repo).await);
            }
        }
        findings.push(match self.ask_viewer(&session).await {
            Ok(_) => ok("GraphQL answers: a look at 50 repositories is one query.".to_owned()),
            Err(cause) => warn(format!(
                "GraphQL is of no use here ({cause}); each repository is looked at by REST with ETags."
            )),
        });
        findings
    }

    fn judge_repository(
        &self,
        session: &Session,
        repo: &RepoPath,
        found: &RepositoryWire,
        findings: &mut Vec<Finding>,
    ) {
        findings.push(ok(format!("The repository {repo} is visible.")));
        if found.archived {
            findings.push(error(format!(
                "{repo} is archived, and takes neither comments nor statuses; \
                 unarchive it, or take its declaration away."
            )));
        }
        if found.has_issues == Some(false) {
            findings.push(warn(format!(
                "Issues are switched off in {repo}, so drift cannot be reported there; \
                 switch them on in its settings."
            )));
        }
        if matches!(session.credential, Credential::Token(_)) {
            findings.push(match &found.permissions {
                Some(permissions) if permissions.push => ok(format!(
                    "The token's account may write to {repo}: statuses and comments go through."
                )),
                Some(_) => error(format!(
                    "The token's account may only read {repo}; give it the role Write, \
                     without which GitHub takes no commit status."
                )),
                None => warn(format!(
                    "GitHub does not tell what the token may do in {repo}."
                )),
            });
        }
        findings.push(match self.client.api.judge(&found.clone_url) {
            CloneUrl::Ours => ok(format!("Git fetches {} with the same credentials.", found.clone_url)),
            CloneUrl::Foreign => warn(format!(
                "Git fetches {} without the token, since its host is not the API's.",
                found.clone_url
            )),
            CloneUrl::Unsafe => error(
                "The clone URL that GitHub gives is no plain https URL, and the token is not sent in clear; \
                 let the server give https clone URLs."
                    .to_owned(),
            ),
        });
    }

    async fn judge_installation(&self, app: &Session, repo: &RepoPath) -> Vec<Finding> {
        let action = format!("read the App's permissions on {repo}");
        let call = Call::get(repo, "/installation", action, Right::Account);
        let installation: InstallationWire = match self.client.json(app, &call).await {
            Ok(installation) => installation,
            Err(cause) => return vec![failed(&cause)],
        };
        let (name, access) = APP_CHECKS;
        let checks = if access.is_given_by(installation.permissions.get(name).map(String::as_str)) {
            ok(format!(
                "The App has `checks: write` on {repo}, to show a check run for each workspace."
            ))
        } else {
            warn(format!(
                "The App lacks `checks: write` on {repo}: statuses are set, and no check run of a workspace is shown; \
                 add it in the App's settings and accept the change in the installation."
            ))
        };
        APP_NEEDS
            .into_iter()
            .map(|(name, access, purpose)| {
                let word = access.word();
                if access.is_given_by(installation.permissions.get(name).map(String::as_str)) {
                    ok(format!(
                        "The App has `{name}: {word}` on {repo}, {purpose}."
                    ))
                } else {
                    error(format!(
                        "The App lacks `{name}: {word}` on {repo}, which it needs {purpose}; \
                         add it in the App's settings and accept the change in the installation."
                    ))
                }
            })
            .chain([checks])
            .collect()
    }

    /// The scopes of a classic token; other tokens have none.
    async fn judge_scopes(&self, session: &Session, repo: &RepoPath) -> Option<Finding> {
        let action = format!("read the token's scopes at {repo}");
        let call = Call::get(repo, "", action, Right::ReadMetadata);
        let answer = match self.client.attempt(session, &call, None).await {
            Ok(answer) => answer,
            Err(failure) => return Some(failed(&failure.into())),
        };
        let scopes = answer.headers.get("x-oauth-scopes")?.to_str().ok()?;
        let has = |scope: &str| scopes.split(',').any(|given| given.trim() == scope);
        Some(if has("repo") {
            ok("The token has the scope `repo`.".to_owned())
        } else if has("public_repo") {
            warn(
                "The token has the scope `public_repo`: private repositories need `repo`."
                    .to_owned(),
            )
        } else {
            error(format!(
                "The token has the scopes `{scopes}`; comments and statuses need `repo` \
                 (`public_repo` for a public repository)."
            ))
        })
    }
}
