//! Issues of our own: one per marker, open while it is needed.

use std::sync::PoisonError;

use chrono::{DateTime, Utc};
use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use tracing::warn;

use super::address::percent_encoded;
use super::call::{Call, Right};
use super::comments::{UserWire, same_account};
use super::{Desk, GitHub};
use crate::forge::{ForgeError, Issue, KeptIssue, Urgency};
use crate::id::{IssueNumber, RepoName};

/// The colour of a label that we make: GitHub's own orange.
const LABEL_COLOUR: &str = "d93f0b";

#[derive(Deserialize, Clone)]
struct IssueWire {
    number: u64,
    state: String,
    #[serde(default)]
    title: String,
    body: Option<String>,
    user: Option<UserWire>,
    updated_at: Option<DateTime<Utc>>,
    /// There where the issue is a pull request.
    pull_request: Option<serde::de::IgnoredAny>,
}

impl IssueWire {
    fn kept(&self) -> KeptIssue {
        KeptIssue {
            number: IssueNumber(self.number),
            at: self.updated_at,
        }
    }
}

impl GitHub {
    /// Opens, edits or reopens the one issue with that marker.
    pub(super) async fn keep_issue(
        &self,
        repo: &RepoName,
        issue: &Issue,
        known: Option<IssueNumber>,
        urgency: Urgency,
    ) -> Result<KeptIssue, ForgeError> {
        let desk = self.desk(repo, urgency).await?;
        if let Some(number) = known {
            match self.open_again(&desk, number, issue).await {
                Ok(edited) => return Ok(edited.kept()),
                // 410 is what GitHub says of an issue that was deleted.
                Err(ForgeError::NotFound { .. } | ForgeError::Refused { status: 410, .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let account = self.own_account(&desk.session).await?;
        if let Some(account) = &account
            && let Some(kept) = self.keep_one_issue(&desk, issue, account).await?
        {
            return Ok(kept);
        }
        self.make_label(&desk, &issue.label).await?;
        let posted = self.post_issue(&desk, issue).await?;
        let account = match (account, &posted.user) {
            (Some(account), _) => account,
            (None, Some(author)) => {
                self.learn_account(&author.login).await;
                author.login.clone()
            }
            (None, None) => return Ok(posted.kept()),
        };
        // An earlier one may stand there all the same: whose issues are ours was learnt only
        // now, or the list was out of date, or the post was repeated on its way.
        let kept = self.keep_one_issue(&desk, issue, &account).await?;
        Ok(kept.unwrap_or_else(|| posted.kept()))
    }

    /// Brings the one of our issues with that marker in line, and closes others that are open.
    async fn keep_one_issue(
        &self,
        desk: &Desk,
        issue: &Issue,
        account: &str,
    ) -> Result<Option<KeptIssue>, ForgeError> {
        let Desk { session, repo, .. } = desk;
        let query = format!(
            "/issues?state=all&creator={}&labels={}&per_page=100",
            percent_encoded(account),
            percent_encoded(&issue.label),
        );
        let action = format!("look for our issue `{}` in {repo}", issue.title);
        let call = Call::get(repo, &query, action, Right::ReadIssues);
        let all: Vec<IssueWire> = self.client.list(session, &call).await?;
        let mut ours: Vec<IssueWire> = all
            .into_iter()
            .filter(|found| found.pull_request.is_none())
            .filter(|found| same_account(found.user.as_ref(), account))
            .filter(|found| {
                found
                    .body
                    .as_deref()
                    .is_some_and(|body| body.starts_with(&issue.marker))
            })
            .collect();
        // The oldest open one; where all are closed, the one that was closed last is the newest.
        ours.sort_by_key(|found| found.number);
        ours.dedup_by_key(|found| found.number);
        let open: Vec<u64> = ours
            .iter()
            .filter(|found| found.state == "open")
            .map(|found| found.number)
            .collect();
        let Some(number) = open
            .first()
            .copied()
            .or(ours.last().map(|found| found.number))
        else {
            return Ok(None);
        };
        let in_line = ours.iter().find(|found| {
            found.number == number
                && found.state == "open"
                && found.title == issue.title
                && found.body.as_ref() == Some(&issue.body)
        });
        let kept = match in_line {
            Some(found) => found.kept(),
            None => self
                .open_again(desk, IssueNumber(number), issue)
                .await?
                .kept(),
        };
        for other in open.into_iter().skip(1) {
            warn!(
                issue = other,
                "Closing a second issue of ours: {repo}#{other}"
            );
            let body = json!({ "state": "closed", "state_reason": "not_planned" });
            self.edit_issue(desk, IssueNumber(other), body).await?;
        }
        Ok(Some(kept))
    }

    async fn open_again(
        &self,
        desk: &Desk,
        number: IssueNumber,
        issue: &Issue,
    ) -> Result<IssueWire, ForgeError> {
        let body = json!({ "title": issue.title, "body": issue.body, "state": "open" });
        self.edit_issue(desk, number, body).await
    }

    /// Edits an issue's body one last time and closes it.
    pub(super) async fn finish_issue(
        &self,
        repo: &RepoName,
        number: IssueNumber,
        body: &str,
        urgency: Urgency,
    ) -> Result<(), ForgeError> {
        let desk = self.desk(repo, urgency).await?;
        let body = json!({ "body": body, "state": "closed", "state_reason": "completed" });
        self.edit_issue(&desk, number, body).await.map(|_| ())
    }

    async fn edit_issue(
        &self,
        desk: &Desk,
        number: IssueNumber,
        body: Value,
    ) -> Result<IssueWire, ForgeError> {
        let Desk { session, repo, .. } = desk;
        let call = Call::write(
            Method::PATCH,
            repo,
            &format!("/issues/{number}"),
            Some(body),
            format!("edit issue {repo}#{number}"),
            Right::WriteIssues,
        )
        .about(format!("issue {repo}#{number}"))
        .so_urgent(desk.urgency);
        self.client.json(session, &call).await
    }

    async fn post_issue(&self, desk: &Desk, issue: &Issue) -> Result<IssueWire, ForgeError> {
        let Desk { session, repo, .. } = desk;
        let body = json!({ "title": issue.title, "body": issue.body, "labels": [issue.label] });
        let call = Call::write(
            Method::POST,
            repo,
            "/issues",
            Some(body),
            format!("open the issue `{}` in {repo}", issue.title),
            Right::WriteIssues,
        )
        .so_urgent(desk.urgency);
        self.client.json(session, &call).await
    }

    /// Makes a label where it is missing; asked for once per label.
    async fn make_label(&self, desk: &Desk, label: &str) -> Result<(), ForgeError> {
        let Desk { session, repo, .. } = desk;
        let key = (repo.clone(), label.to_owned());
        if self
            .labels
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(&key)
        {
            return Ok(());
        }
        let call = Call::write(
            Method::POST,
            repo,
            "/labels",
            Some(json!({ "name": label, "color": LABEL_COLOUR })),
            format!("make the label `{label}` in {repo}"),
            Right::WriteIssues,
        )
        .so_urgent(desk.urgency);
        match self.client.done(session, &call).await {
            // 422 is what GitHub says of a label that is there (`already_exists`).
            Ok(()) | Err(ForgeError::Refused { status: 422, .. }) => {}
            Err(error) => return Err(error),
        }
        self.labels
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(key);
        Ok(())
    }
}
