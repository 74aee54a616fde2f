//! Who calls, and what they may do.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::app::app_of_jwt;
use super::limit::ANONYMOUS;
use super::log::AuthKind;
use super::reply::Reply;
use super::world::{Grant, Repo, Role, Switch, TokenKind, World, now};

/// Who calls.
#[derive(Debug, Clone)]
pub(crate) enum Caller {
    Anonymous,
    /// With a personal access token.
    Person {
        login: String,
        access: Access,
    },
    /// With the token of an App's installation.
    Installation {
        slug: String,
        installation: u64,
        grant: Grant,
    },
    /// With a JSON web token of the App itself.
    App(u64),
}

/// What a personal access token lets its owner use.
#[derive(Debug, Clone)]
pub(crate) enum Access {
    /// OAuth scopes of a classic token.
    Scopes(Vec<String>),
    /// Single permissions of a fine-grained token.
    Grant(Grant),
}

/// What an endpoint needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    Metadata,
    ReadContents,
    WriteContents,
    ReadPulls,
    /// Issues, comments and reactions, of pull requests too.
    ReadIssues,
    ReadStatuses,
    ReadChecks,
    /// Comments and reactions, of pull requests too.
    Comment,
    OpenIssue,
    SetStatus,
    WriteChecks,
    MakeLabel,
}

impl Need {
    /// Permissions of which any is enough, and their level.
    fn permissions(self) -> (&'static [&'static str], &'static str) {
        match self {
            Self::Metadata => (&["metadata"], "read"),
            Self::ReadContents => (&["contents"], "read"),
            Self::WriteContents => (&["contents"], "write"),
            Self::ReadPulls => (&["pull_requests"], "read"),
            Self::ReadIssues => (&["issues", "pull_requests"], "read"),
            Self::ReadStatuses => (&["statuses"], "read"),
            Self::ReadChecks => (&["checks"], "read"),
            Self::WriteChecks => (&["checks"], "write"),
            Self::Comment | Self::MakeLabel => (&["issues", "pull_requests"], "write"),
            Self::OpenIssue => (&["issues"], "write"),
            Self::SetStatus => (&["statuses"], "write"),
        }
    }

    fn role(self) -> Role {
        match self {
            Self::SetStatus | Self::MakeLabel | Self::WriteContents => Role::Write,
            _ => Role::Read,
        }
    }
}

/// The caller that an `Authorization` header names.
///
/// # Errors
///
/// The 401 for credentials that are not good.
pub(crate) fn identify(world: &World, header: Option<&str>) -> Result<Caller, Reply> {
    let Some(header) = header else {
        return Ok(Caller::Anonymous);
    };
    let (scheme, credentials) = header.split_once(' ').unwrap_or((header, ""));
    let token = match scheme.to_lowercase().as_str() {
        "bearer" | "token" => credentials.trim().to_owned(),
        "basic" => basic_password(credentials).ok_or_else(Reply::bad_credentials)?,
        _ => return Err(Reply::bad_credentials()),
    };
    if token.matches('.').count() == 2 {
        return app_of_jwt(&world.apps, &token)
            .map(Caller::App)
            .map_err(|message| Reply::error(401, message));
    }
    caller_of_token(world, &token).ok_or_else(Reply::bad_credentials)
}

/// The password of `user:password`, which is where git puts the token.
fn basic_password(credentials: &str) -> Option<String> {
    let text = String::from_utf8(BASE64_STANDARD.decode(credentials.trim()).ok()?).ok()?;
    text.split_once(':')
        .map(|(_, password)| password.to_owned())
}

fn caller_of_token(world: &World, token: &str) -> Option<Caller> {
    match world.tokens.get(token)? {
        TokenKind::Classic { login, scopes } => Some(Caller::Person {
            login: login.clone(),
            access: Access::Scopes(scopes.clone()),
        }),
        TokenKind::FineGrained { login, grant } => Some(Caller::Person {
            login: login.clone(),
            access: Access::Grant(grant.clone()),
        }),
        TokenKind::Installation {
            app,
            installation,
            grant,
            expires_at,
        } => {
            let slug = world.apps.get(app)?.slug.clone();
            (now() < *expires_at).then(|| Caller::Installation {
                slug,
                installation: *installation,
                grant: grant.clone(),
            })
        }
    }
}

impl Caller {
    /// How the log names the caller.
    pub(crate) fn kind(&self) -> AuthKind {
        match self {
            Self::Anonymous => AuthKind::Anonymous,
            Self::Person { login, .. } => AuthKind::Person(login.clone()),
            Self::Installation { slug, .. } => AuthKind::Installation(slug.clone()),
            Self::App(id) => AuthKind::App(*id),
        }
    }

    /// Whose budget a request is taken from.
    pub(crate) fn budget_key(&self) -> String {
        match self {
            Self::Anonymous => ANONYMOUS.to_owned(),
            Self::Person { login, .. } => format!("user {}", login.to_lowercase()),
            Self::Installation { installation, .. } => format!("installation {installation}"),
            Self::App(id) => format!("app {id}"),
        }
    }

    /// The account that what the caller writes is by.
    pub(crate) fn login(&self) -> Option<String> {
        match self {
            Self::Person { login, .. } => Some(login.clone()),
            Self::Installation { slug, .. } => Some(format!("{slug}[bot]")),
            Self::Anonymous | Self::App(_) => None,
        }
    }

    /// Whether the repository is there for the caller at all.
    pub(crate) fn sees(&self, repo: &Repo) -> bool {
        if repo.private == Switch::Off {
            return true;
        }
        match self {
            Self::Person {
                login,
                access: Access::Scopes(scopes),
            } => repo.role(login) >= Role::Read && scopes.iter().any(|scope| scope == "repo"),
            Self::Person {
                login,
                access: Access::Grant(grant),
            } => repo.role(login) >= Role::Read && grant.repositories.contains(&repo.id),
            Self::Installation { grant, .. } => grant.repositories.contains(&repo.id),
            Self::Anonymous | Self::App(_) => false,
        }
    }

    /// Whether the caller may push, and with it edit what others wrote.
    pub(crate) fn pushes(&self, repo: &Repo) -> bool {
        match self {
            Self::Person { login, .. } => repo.role(login) >= Role::Write,
            Self::Installation { grant, .. } => {
                grant.repositories.contains(&repo.id) && grant.has("issues", "write")
            }
            Self::Anonymous | Self::App(_) => false,
        }
    }

    /// Checks what an endpoint needs, in a repository that the caller sees.
    ///
    /// # Errors
    ///
    /// A 403 with GitHub's words where a single permission lacks; a 404 where a
    /// classic token lacks the scope or its owner the role, as GitHub does not say
    /// that there is something to be denied; a 401 where nobody is signed in.
    pub(crate) fn check(&self, repo: &Repo, need: Need) -> Result<(), Reply> {
        let (names, level) = need.permissions();
        let writes = level == "write";
        match self {
            Self::Anonymous if writes => Err(Reply::error(401, "Requires authentication")),
            Self::Anonymous => Ok(()),
            Self::App(_) => Err(Reply::bad_credentials()),
            Self::Installation { grant, .. } => {
                let read_of_public = repo.private == Switch::Off && !writes;
                if read_of_public || grant.covers(repo, names, level) {
                    Ok(())
                } else {
                    Err(Reply::lacks_permission(
                        "Resource not accessible by integration",
                        names,
                        level,
                    ))
                }
            }
            Self::Person {
                access: Access::Grant(grant),
                login,
            } => {
                if !grant.covers(repo, names, level) {
                    let message = "Resource not accessible by personal access token";
                    return Err(Reply::lacks_permission(message, names, level));
                }
                role_is_enough(repo, login, need)
            }
            Self::Person {
                access: Access::Scopes(scopes),
                login,
            } => {
                let scope_is_enough = !writes
                    || scopes.iter().any(|scope| {
                        scope == "repo"
                            || (scope == "public_repo" && repo.private == Switch::Off)
                            || (scope == "repo:status" && need == Need::SetStatus)
                    });
                if !scope_is_enough {
                    return Err(Reply::not_found());
                }
                role_is_enough(repo, login, need)
            }
        }
    }
}

fn role_is_enough(repo: &Repo, login: &str, need: Need) -> Result<(), Reply> {
    if repo.role(login) >= need.role() {
        Ok(())
    } else {
        Err(Reply::not_found())
    }
}

impl Grant {
    /// Whether a permission is given at this level at least.
    fn has(&self, name: &str, level: &str) -> bool {
        match self.permissions.get(name).map(String::as_str) {
            Some("write" | "admin") => true,
            Some("read") => level == "read",
            _ => false,
        }
    }

    fn covers(&self, repo: &Repo, names: &[&str], level: &str) -> bool {
        self.repositories.contains(&repo.id) && names.iter().any(|name| self.has(name, level))
    }
}
