//! Check runs: one for each name on a commit, by our own App.
//!
//! GitHub adds the annotations of each request to those that are there, and takes none back. So a
//! check run that has annotations is edited only with the same ones, and replaced by a newer one of
//! its name otherwise: GitHub shows the newest.

use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::address::{RepoPath, percent_encoded};
use super::call::{Call, Right};
use super::session::{Credential, Session};
use super::{Desk, GitHub};
use crate::forge::{Annotation, AnnotationLevel, CheckRun, CheckState, ForgeError, Urgency};
use crate::id::{CommitSha, RepoName};

/// GitHub takes at most so many annotations with one request.
const ANNOTATIONS_A_REQUEST: usize = 50;

#[derive(Deserialize)]
struct Listed {
    check_runs: Vec<Found>,
}

#[derive(Deserialize)]
struct Found {
    id: u64,
    name: String,
    status: String,
    external_id: Option<String>,
    app: Option<AppWire>,
    output: OutputWire,
}

#[derive(Deserialize)]
struct AppWire {
    id: u64,
}

#[derive(Deserialize)]
struct OutputWire {
    #[serde(default)]
    annotations_count: usize,
}

#[derive(Deserialize)]
struct Made {
    id: u64,
}

impl GitHub {
    /// Brings the check run of that name on a commit in line, making it where it is not there.
    pub(super) async fn keep_check_run(
        &self,
        repo: &RepoName,
        commit: &CommitSha,
        check: &CheckRun,
        urgency: Urgency,
    ) -> Result<u64, ForgeError> {
        let desk = self.desk(repo, urgency).await?;
        let external_id = external_id(&check.annotations);
        let found = self
            .newest_check_run(&desk.session, &desk.repo, commit, &check.name)
            .await?
            .filter(|found| may_be_edited(found, check, &external_id));
        let shown = found.as_ref().map_or(0, |f| f.output.annotations_count);
        let mut id = found.map(|found| found.id);
        let mut rest = check.annotations.get(shown..).unwrap_or_default();
        loop {
            let (now, later) = rest.split_at(rest.len().min(ANNOTATIONS_A_REQUEST));
            let body = body(commit, check, &external_id, now);
            let made = self.send_check_run(&desk, commit, check, id, body).await?;
            id = Some(made);
            if later.is_empty() {
                return Ok(made);
            }
            rest = later;
        }
    }

    /// The newest check run of ours with that name on a commit.
    async fn newest_check_run(
        &self,
        session: &Session,
        repo: &RepoPath,
        commit: &CommitSha,
        name: &str,
    ) -> Result<Option<Found>, ForgeError> {
        let app = match &session.credential {
            Credential::App(key) | Credential::Installation { key, .. } => key.app_id.0,
            Credential::Token(_) => {
                return Err(ForgeError::Refused {
                    service: self.client.api.service(),
                    action: format!("show the check run `{name}`"),
                    status: 403,
                    message: "check runs are for Apps".to_owned(),
                });
            }
        };
        let query = format!(
            "/commits/{commit}/check-runs?check_name={}&app_id={app}&filter=all&per_page=100",
            percent_encoded(name)
        );
        let action = format!("look for the check run `{name}` of {repo}");
        let call = Call::get(repo, &query, action, Right::WriteChecks)
            .about(format!("commit {} of {repo}", commit.short()));
        let listed: Listed = self.client.json(session, &call).await?;
        Ok(listed
            .check_runs
            .into_iter()
            .filter(|found| found.name == name)
            .filter(|found| found.app.as_ref().is_some_and(|by| by.id == app))
            .max_by_key(|found| found.id))
    }

    async fn send_check_run(
        &self,
        desk: &Desk,
        commit: &CommitSha,
        check: &CheckRun,
        known: Option<u64>,
        body: Value,
    ) -> Result<u64, ForgeError> {
        let Desk { session, repo, .. } = desk;
        let (method, rest) = match known {
            Some(id) => (Method::PATCH, format!("/check-runs/{id}")),
            None => (Method::POST, "/check-runs".to_owned()),
        };
        let action = format!(
            "set the check run `{}` of {repo} at {}",
            check.name,
            commit.short()
        );
        let call = Call::write(method, repo, &rest, Some(body), action, Right::WriteChecks)
            .about(format!("commit {} of {repo}", commit.short()))
            .so_urgent(desk.urgency);
        let made: Made = self.client.json(session, &call).await?;
        Ok(made.id)
    }
}

/// Whether a check run that is there can come to show `check`.
fn may_be_edited(found: &Found, check: &CheckRun, external_id: &str) -> bool {
    let reopened = found.status == "completed" && check.state == CheckState::InProgress;
    let annotated = found.output.annotations_count > 0;
    !reopened && (!annotated || found.external_id.as_deref() == Some(external_id))
}

/// What tells check runs with other annotations apart.
fn external_id(annotations: &[Annotation]) -> String {
    if annotations.is_empty() {
        return "mainstay".to_owned();
    }
    let all = serde_json::to_vec(annotations).expect("our own types have string keys");
    format!("mainstay {}", hex::encode(&Sha256::digest(all)[..16]))
}

fn body(
    commit: &CommitSha,
    check: &CheckRun,
    external_id: &str,
    annotations: &[Annotation],
) -> Value {
    let annotations: Vec<Value> = annotations.iter().map(annotation).collect();
    let mut body = json!({
        "name": check.name,
        "head_sha": commit,
        "external_id": external_id,
        "output": {
            "title": check.title,
            "summary": check.summary,
            "annotations": annotations,
        },
    });
    if !check.text.is_empty() {
        body["output"]["text"] = check.text.as_str().into();
    }
    let conclusion = match check.state {
        CheckState::InProgress => {
            body["status"] = "in_progress".into();
            return body;
        }
        CheckState::Success => "success",
        CheckState::Failure => "failure",
        CheckState::ActionRequired => "action_required",
        CheckState::Neutral => "neutral",
    };
    body["status"] = "completed".into();
    body["conclusion"] = conclusion.into();
    body
}

fn annotation(annotation: &Annotation) -> Value {
    let Annotation {
        path,
        line,
        level,
        title,
        message,
    } = annotation;
    json!({
        "path": path,
        "start_line": line,
        "end_line": line,
        "annotation_level": match level {
            AnnotationLevel::Warning => "warning",
            AnnotationLevel::Failure => "failure",
        },
        "title": title,
        "message": message,
    })
}
