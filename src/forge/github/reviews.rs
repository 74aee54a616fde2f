//! What policies ask of a pull request: its labels, and who approves it.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::GitHub;
use super::call::{Call, Right};
use super::comments::UserWire;
use crate::forge::ForgeError;
use crate::id::{CommitSha, IssueNumber, RepoName};

/// Of a pull request only who opened it and its labels.
#[derive(Deserialize, Clone)]
struct LabelledWire {
    user: Option<UserWire>,
    #[serde(default)]
    labels: Vec<LabelWire>,
}

#[derive(Deserialize, Clone)]
struct LabelWire {
    name: String,
}

/// A review, as GitHub lists them: oldest first.
#[derive(Deserialize, Clone)]
struct ReviewWire {
    user: Option<UserWire>,
    state: String,
    /// The head that it was given for; nothing where that commit is gone.
    commit_id: Option<String>,
}

impl GitHub {
    /// The labels of a pull request.
    pub(super) async fn labels_of(
        &self,
        repo: &RepoName,
        pull: IssueNumber,
    ) -> Result<Vec<String>, ForgeError> {
        let found = self.labelled(repo, pull).await?;
        Ok(found.labels.into_iter().map(|label| label.name).collect())
    }

    /// Who approves a pull request at that head.
    pub(super) async fn approvals_of(
        &self,
        repo: &RepoName,
        pull: IssueNumber,
        head: &CommitSha,
    ) -> Result<Vec<String>, ForgeError> {
        let author = self.labelled(repo, pull).await?.user;
        let (session, path) = self.at(repo).await?;
        let call = Call::get(
            &path,
            &format!("/pulls/{pull}/reviews?per_page=100"),
            format!("list the reviews of {path}#{pull}"),
            Right::ReadPulls,
        )
        .about(format!("pull request {path}#{pull}"));
        let reviews: Vec<ReviewWire> = self.client.list(&session, &call).await?;
        Ok(approvers(
            &reviews,
            author.as_ref().map(|user| user.login.as_str()),
            head,
        ))
    }

    async fn labelled(
        &self,
        repo: &RepoName,
        pull: IssueNumber,
    ) -> Result<LabelledWire, ForgeError> {
        let (session, path) = self.at(repo).await?;
        let call = Call::get(
            &path,
            &format!("/pulls/{pull}"),
            format!("look at {path}#{pull}"),
            Right::ReadPulls,
        )
        .about(format!("pull request {path}#{pull}"));
        self.client.json(&session, &call).await
    }
}

/// Whose last word on the head is an approval.
fn approvers(reviews: &[ReviewWire], author: Option<&str>, head: &CommitSha) -> Vec<String> {
    let mut last: BTreeMap<String, (&str, bool)> = BTreeMap::new();
    for review in reviews {
        let Some(user) = &review.user else { continue };
        // Who only comments takes nothing back.
        if review.state == "COMMENTED" || review.state == "PENDING" {
            continue;
        }
        let of_head = review.commit_id.as_deref() == Some(head.as_str());
        let approves = review.state == "APPROVED" && of_head;
        last.insert(user.login.to_ascii_lowercase(), (&user.login, approves));
    }
    last.into_values()
        .filter(|(login, approves)| {
            *approves && author.is_none_or(|author| !author.eq_ignore_ascii_case(login))
        })
        .map(|(login, _)| login.to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reviews(given: &[(&str, &str, char)]) -> Vec<ReviewWire> {
        given
            .iter()
            .map(|(login, state, head)| {
                let value = serde_json::json!({
                    "user": { "login": login, "id": 1, "type": "User" },
                    "state": state,
                    "commit_id": head.to_string().repeat(40),
                });
                serde_json::from_value(value).unwrap()
            })
            .collect()
    }

    fn counted(given: &[(&str, &str, char)]) -> Vec<String> {
        let head = "a".repeat(40).parse().unwrap();
        approvers(&reviews(given), Some("author"), &head)
    }

    #[test]
    fn an_approval_counts_for_the_head_that_it_was_given_for() {
        assert_eq!(
            counted(&[("ana", "APPROVED", 'a'), ("bob", "APPROVED", 'b')]),
            ["ana"]
        );
    }

    #[test]
    fn the_last_word_of_a_person_counts_and_nobody_counts_twice() {
        assert_eq!(
            counted(&[
                ("ana", "APPROVED", 'a'),
                ("Ana", "APPROVED", 'a'),
                ("ana", "COMMENTED", 'a'),
                ("bob", "APPROVED", 'a'),
                ("bob", "CHANGES_REQUESTED", 'a'),
                ("cid", "APPROVED", 'a'),
                ("cid", "DISMISSED", 'a'),
            ]),
            ["Ana"]
        );
    }

    #[test]
    fn an_author_does_not_approve_their_own() {
        assert!(counted(&[("Author", "APPROVED", 'a')]).is_empty());
    }
}
