//! Who may write, and how git gets in.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::GitHub;
use super::address::{CloneUrl, RepoPath, percent_encoded};
use super::call::{Call, Right};
use super::client::Page;
use super::session::Session;
use crate::forge::{ForgeError, Permission, Remote};
use crate::id::RepoName;

/// A permission is asked for again after this: what was taken away must not linger.
const PERMISSION_GOOD_FOR: Duration = Duration::from_secs(60);

#[derive(Deserialize)]
struct PermissionWire {
    permission: String,
    role_name: Option<String>,
}

/// A repository, as far as fetching from it and checking it takes.
#[derive(Deserialize)]
pub(super) struct RepositoryWire {
    pub(super) clone_url: String,
    #[serde(default)]
    pub(super) archived: bool,
    pub(super) has_issues: Option<bool>,
    pub(super) permissions: Option<PermissionsWire>,
}

/// What a token may do there; installations are not told.
#[derive(Deserialize)]
pub(super) struct PermissionsWire {
    #[serde(default)]
    pub(super) push: bool,
}

impl GitHub {
    /// Whether `user` may write.
    pub(super) async fn permission_of(
        &self,
        repo: &RepoName,
        user: &str,
    ) -> Result<Permission, ForgeError> {
        let (session, repo) = self.at(repo).await?;
        let key = (repo.clone(), user.to_owned());
        {
            let mut known = self
                .permissions
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            known.retain(|_, (at, _)| at.elapsed() < PERMISSION_GOOD_FOR);
            if let Some((_, permission)) = known.get(&key) {
                return Ok(*permission);
            }
        }
        let asked_at = Instant::now();
        let call = Call::get(
            &repo,
            &format!("/collaborators/{}/permission", percent_encoded(user)),
            format!("ask what {user} may do in {repo}"),
            Right::ReadMetadata,
        );
        let permission = match self.client.json::<PermissionWire>(&session, &call).await {
            Ok(wire) => {
                let maintains = wire.role_name.as_deref() == Some("maintain");
                if maintains || matches!(wire.permission.as_str(), "admin" | "maintain" | "write") {
                    Permission::Write
                } else {
                    Permission::Less
                }
            }
            // GitHub knows no such user, or none with anything to say there.
            Err(ForgeError::NotFound { .. }) => Permission::Less,
            Err(error) => return Err(error),
        };
        let mut known = self
            .permissions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        known.insert(key, (asked_at, permission));
        Ok(permission)
    }

    /// How git reaches a repository.
    pub(super) async fn remote_of(&self, repo: &RepoName) -> Result<Remote, ForgeError> {
        let (session, repo) = self.at(repo).await?;
        let (call, page) = self.repository(&session, &repo).await?;
        let url = page.parsed.clone_url.clone();
        let login = match self.client.api.judge(&url) {
            CloneUrl::Ours => Some((
                "x-access-token".to_owned(),
                self.client.bearer(&session).await?,
            )),
            CloneUrl::Foreign => None,
            CloneUrl::Unsafe => {
                return Err(ForgeError::Denied {
                    service: self.client.api.service(),
                    action: call.action,
                    message: "the clone URL that it gave is no plain https URL, \
                              and git would send the token in clear; \
                              let the server give https clone URLs"
                        .to_owned(),
                });
            }
        };
        Ok(Remote {
            url,
            login,
            proposal_refs: "refs/pull/*/head".to_owned(),
        })
    }

    /// Reads a repository's own entry.
    pub(super) async fn repository(
        &self,
        session: &Session,
        repo: &RepoPath,
    ) -> Result<(Call, Page<RepositoryWire>), ForgeError> {
        let action = format!("ask for the clone URL of {repo}");
        let call = Call::get(repo, "", action, Right::ReadMetadata);
        let page = self.client.read(session, &call).await?;
        Ok((call, page))
    }
}
