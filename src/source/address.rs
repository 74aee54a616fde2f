//! Where a remote repository is, and how it is reached.

use std::fmt;
use std::path::PathBuf;

use http::Uri;

use super::error::{Login, SourceError};
use crate::redact::Secret;

/// Where a remote repository is, with the credentials for it.
#[derive(Clone)]
pub struct RemoteAddress {
    /// A path, or a URL of the schemes `file`, `http`, `https` and `ssh`, or `user@host:path`.
    pub url: String,
    /// User name and password for `http` and `https`; `ssh` has its own keys.
    pub login: Option<(String, Secret)>,
}

impl fmt::Debug for RemoteAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url, login } = self;
        let user = login.as_ref().map(|(user, _)| user);
        f.debug_struct("RemoteAddress")
            .field("url", &shown(url))
            .field("user", &user)
            .finish()
    }
}

/// How a remote repository is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Location {
    /// A folder of this machine.
    Local(PathBuf),
    /// Over `http` or `https`.
    Http(HttpUrl),
    /// Over `ssh`.
    Ssh(SshTarget),
}

/// A URL of a repository over `http` or `https`, without credentials, query and trailing slash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HttpUrl {
    /// Whether the connection is encrypted.
    pub(super) scheme: HttpScheme,
    /// The host in lower case, with brackets where it is an IPv6 address.
    pub(super) host: String,
    /// The port.
    pub(super) port: u16,
    /// The path, with its leading slash.
    pub(super) path: String,
}

/// Whether a connection is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HttpScheme {
    /// It is not.
    Http,
    /// It is.
    Https,
}

/// Where `ssh` connects to, and what it asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SshTarget {
    /// `user@host` or `host`.
    pub(super) destination: String,
    /// The port, where it is not the one of ssh's own settings.
    pub(super) port: Option<u16>,
    /// The repository's path on that host.
    pub(super) path: String,
}

impl RemoteAddress {
    /// The URL as it may be shown: without credentials.
    pub fn shown(&self) -> String {
        shown(&self.url)
    }

    /// As whom the remote is asked.
    pub(super) fn login_name(&self) -> Login {
        match &self.login {
            Some((user, _)) => Login::User(user.clone()),
            None => Login::Nobody,
        }
    }

    /// Finds out how the remote is reached.
    pub(super) fn location(&self) -> Result<Location, SourceError> {
        let refuse = |reason| SourceError::Address {
            url: self.shown(),
            reason,
        };
        let url = self.url.as_str();
        if url.is_empty() || url.chars().any(char::is_control) {
            return Err(refuse("it is empty or has control characters"));
        }
        let Some((scheme, rest)) = url.split_once("://") else {
            return match url.split_once(':') {
                Some((destination, path)) if !destination.contains('/') => {
                    if path.starts_with(':') {
                        return Err(refuse("remote helpers (`name::address`) are not run"));
                    }
                    ssh(destination, None, path)
                        .map(Location::Ssh)
                        .map_err(refuse)
                }
                _ => Ok(Location::Local(PathBuf::from(url))),
            };
        };
        match scheme.to_ascii_lowercase().as_str() {
            "file" => {
                let path = rest.strip_prefix("localhost").unwrap_or(rest);
                if !path.starts_with('/') {
                    return Err(refuse(
                        "a `file` URL names a path of this machine: `file:///…`",
                    ));
                }
                decode(path)
                    .map(Location::Local)
                    .ok_or_else(|| refuse("its `%` codes are wrong"))
            }
            "http" | "https" => HttpUrl::parse(url).map(Location::Http).map_err(refuse),
            "ssh" => {
                let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
                let (destination, port) = match authority.rsplit_once(':') {
                    Some((host, port)) if !port.contains(']') => {
                        let port = port.parse().map_err(|_| refuse("its port is no number"))?;
                        (host, Some(port))
                    }
                    _ => (authority, None),
                };
                // `ssh://host/~user/x` is relative to a home, as git has it.
                let path = path
                    .strip_prefix('/')
                    .filter(|p| p.starts_with('~'))
                    .unwrap_or(path);
                ssh(destination, port, path)
                    .map(Location::Ssh)
                    .map_err(refuse)
            }
            _ => Err(refuse("only `file`, `http`, `https` and `ssh` are spoken")),
        }
    }
}

/// Checks what `ssh` would be given, so that nothing of it is taken for an option.
fn ssh(destination: &str, port: Option<u16>, path: &str) -> Result<SshTarget, &'static str> {
    let (user, host) = match destination.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, destination),
    };
    if user.is_some_and(|user| user.contains(':')) {
        return Err("it holds a password, which `ssh` does not take; use a key");
    }
    let host = host
        .strip_prefix('[')
        .and_then(|h| h.strip_suffix(']'))
        .unwrap_or(host);
    let plain = |text: &str| {
        !text.is_empty() && !text.starts_with('-') && !text.contains(|c: char| c.is_whitespace())
    };
    if !plain(host) || !user.is_none_or(plain) {
        return Err("its host or user is missing, or would be an option of `ssh`");
    }
    if path.is_empty() || path == "/" || path.starts_with('-') {
        return Err("its path is missing, or would be an option");
    }
    let destination = match user {
        Some(user) => format!("{user}@{host}"),
        None => host.to_owned(),
    };
    Ok(SshTarget {
        destination,
        port,
        path: path.to_owned(),
    })
}

impl HttpUrl {
    /// Reads a URL; the reason of a refusal is in the error.
    pub(super) fn parse(url: &str) -> Result<Self, &'static str> {
        let uri: Uri = url.parse().map_err(|_| "it is no URL")?;
        let scheme = match uri.scheme_str() {
            Some("http") => HttpScheme::Http,
            Some("https") => HttpScheme::Https,
            _ => return Err("only `http` and `https` are spoken here"),
        };
        let authority = uri.authority().ok_or("it has no host")?;
        let user = authority.as_str().rsplit_once('@').map(|(user, _)| user);
        if user.is_some_and(|user| user.contains(':')) {
            return Err("it holds a password, which would end up in logs; \
                        put it where the settings take credentials");
        }
        if uri.query().is_some() {
            return Err("the URL of a repository has no query");
        }
        Ok(Self {
            scheme,
            host: authority.host().to_ascii_lowercase(),
            port: authority.port_u16().unwrap_or(match scheme {
                HttpScheme::Http => 80,
                HttpScheme::Https => 443,
            }),
            path: uri.path().trim_end_matches('/').to_owned(),
        })
    }

    /// The URL of something below the repository.
    pub(super) fn join(&self, rest: &str) -> String {
        self.server(&format!("{}/{rest}", self.path))
    }

    /// The URL of an absolute path on the same server.
    pub(super) fn server(&self, path: &str) -> String {
        let Self {
            scheme,
            host,
            port,
            path: _,
        } = self;
        match (scheme, port) {
            (HttpScheme::Http, 80) => format!("http://{host}{path}"),
            (HttpScheme::Http, port) => format!("http://{host}:{port}{path}"),
            (HttpScheme::Https, 443) => format!("https://{host}{path}"),
            (HttpScheme::Https, port) => format!("https://{host}:{port}{path}"),
        }
    }

    /// Whether both are one server, which may see the same credentials.
    pub(super) fn same_server(&self, other: &Self) -> bool {
        (self.scheme, &self.host, self.port) == (other.scheme, &other.host, other.port)
    }
}

/// A URL without user, password and query; of `ssh`, the user stays, since it is no secret.
fn shown(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let path = &path[..path.find(['?', '#']).unwrap_or(path.len())];
    let authority = match authority.rsplit_once('@') {
        Some((user, host)) if scheme.eq_ignore_ascii_case("ssh") => {
            format!("{}@{host}", user.split(':').next().unwrap_or_default())
        }
        Some((_, host)) => host.to_owned(),
        None => authority.to_owned(),
    };
    format!("{scheme}://{authority}{path}")
}

/// Decodes the `%` codes of a path.
fn decode(path: &str) -> Option<PathBuf> {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;

    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let code = [rest.next()?, rest.next()?];
            bytes.extend(hex::decode(code).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    Some(PathBuf::from(OsString::from_vec(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn location(url: &str) -> Result<Location, SourceError> {
        RemoteAddress {
            url: url.to_owned(),
            login: None,
        }
        .location()
    }

    fn ssh_target(destination: &str, port: Option<u16>, path: &str) -> Location {
        let (destination, path) = (destination.to_owned(), path.to_owned());
        Location::Ssh(SshTarget {
            destination,
            port,
            path,
        })
    }

    #[test]
    fn each_way_to_write_an_address_is_understood() {
        for (url, path) in [
            ("/srv/x.git", "/srv/x.git"),
            ("./a:b", "./a:b"),
            ("file:///srv/a%20b", "/srv/a b"),
            ("file://localhost/srv/x", "/srv/x"),
        ] {
            assert_eq!(
                location(url).unwrap(),
                Location::Local(path.into()),
                "{url}"
            );
        }
        for (url, target) in [
            (
                "git@host.example:acme/infra.git",
                ssh_target("git@host.example", None, "acme/infra.git"),
            ),
            ("host:x", ssh_target("host", None, "x")),
            (
                "ssh://git@host:2222/srv/x",
                ssh_target("git@host", Some(2222), "/srv/x"),
            ),
            ("ssh://host/~me/x", ssh_target("host", None, "~me/x")),
            (
                "ssh://git@[::1]:22/x",
                ssh_target("git@::1", Some(22), "/x"),
            ),
        ] {
            assert_eq!(location(url).unwrap(), target, "{url}");
        }
        let Location::Http(url) = location("https://Git.Example/acme/infra.git/").unwrap() else {
            panic!("https is http");
        };
        assert_eq!(
            url.join("info/refs"),
            "https://git.example/acme/infra.git/info/refs"
        );
    }

    #[test]
    fn an_address_that_could_run_something_is_refused() {
        for url in [
            "ext::sh -c touch% /tmp/x",
            "git://host/x",
            "ftp://host/x",
            "-oProxyCommand=x:y",
            "ssh://-oProxyCommand=x/y",
            "ssh://-l@host/y",
            "ssh://host/",
            "host:-x",
            "a\nb:c",
            "",
            "file://other/x",
        ] {
            assert!(
                matches!(location(url), Err(SourceError::Address { .. })),
                "{url}"
            );
        }
    }

    #[test]
    fn a_password_in_a_url_is_refused_and_never_shown() {
        for url in [
            "https://user:hunter2@host/x",
            "http://user:hunter2@host/x",
            "ssh://user:hunter2@host/x",
            "ftp://user:hunter2@host/x",
            "https://host/x?token=hunter2",
        ] {
            let error = location(url).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
        }
        let login = Some(("bot".to_owned(), Secret::new("hunter2")));
        let address = RemoteAddress {
            url: "https://u:hunter2@host/x".to_owned(),
            login,
        };
        let debug = format!("{address:?}");
        assert!(
            !debug.contains("hunter2") && debug.contains("bot"),
            "{debug}"
        );
    }
}
