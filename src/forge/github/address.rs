//! Where GitHub is and how its things are addressed: the API's base, repositories, clone URLs.

use std::fmt;

use http::Uri;

use crate::forge::ForgeError;
use crate::id::RepoName;

/// The base of an API that may be talked to: https, or http on this very machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ApiBase {
    scheme: Scheme,
    authority: String,
    host: String,
    /// What comes before `/repos`: empty on github.com, `/api/v3` on Enterprise Server.
    prefix: String,
}

/// How a URL is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Https,
    /// In clear, on a loopback address.
    LoopbackHttp,
}

/// What may be done with a clone URL that the forge gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CloneUrl {
    /// It is the API's own house: the token may go there.
    Ours,
    /// It is somebody else's: fetched without the token.
    Foreign,
    /// It is no https, or carries credentials of its own.
    Unsafe,
}

impl ApiBase {
    /// Reads a base URL; `None` where the token could not be sent there safely.
    pub(super) fn parse(url: &str) -> Option<Self> {
        let uri: Uri = url.trim_end_matches('/').parse().ok()?;
        let (scheme, host) = safe_address(&uri)?;
        if uri.query().is_some() {
            return None;
        }
        Some(Self {
            scheme,
            authority: uri.authority()?.as_str().to_owned(),
            host,
            prefix: uri.path().trim_end_matches('/').to_owned(),
        })
    }

    /// Scheme, host and port, without a path: what the HTTP client puts before every path.
    pub(super) fn origin(&self) -> String {
        match self.scheme {
            Scheme::Https => format!("https://{}", self.authority),
            Scheme::LoopbackHttp => format!("http://{}", self.authority),
        }
    }

    /// Where people look: github.com answers its API at api.github.com, a ghe.com tenant
    /// likewise, and Enterprise Server at a path of its own.
    pub(super) fn web(&self) -> String {
        self.origin().replacen("://api.", "://", 1)
    }

    /// The full path of a REST route.
    pub(super) fn rest(&self, route: &str) -> String {
        format!("{}{route}", self.prefix)
    }

    /// The full path of GraphQL: Enterprise Server has it at `/api/graphql`, beside `/api/v3`.
    pub(super) fn graphql(&self) -> String {
        match self.prefix.strip_suffix("/v3") {
            Some(stem) => format!("{stem}/graphql"),
            None => format!("{}/graphql", self.prefix),
        }
    }

    /// The REST route that a link of the API's own points at.
    ///
    /// Of the link only path and query are kept: whatever host it names, the next
    /// request goes to ours, and so does the token.
    pub(super) fn route_of(&self, link: &str) -> Option<String> {
        let uri: Uri = link.parse().ok()?;
        let full = uri.path_and_query()?.as_str();
        Some(full.strip_prefix(&self.prefix).unwrap_or(full).to_owned())
    }

    /// The full path that a redirect points at; `None` where it leaves our host.
    pub(super) fn redirect(&self, location: &str) -> Option<String> {
        let uri: Uri = location.parse().ok()?;
        let stays = match (uri.scheme_str(), uri.authority()) {
            (None, None) => true,
            (Some(scheme), Some(authority)) => {
                format!("{scheme}://{authority}").eq_ignore_ascii_case(&self.origin())
            }
            _ => false,
        };
        stays
            .then(|| uri.path_and_query().map(|full| full.as_str().to_owned()))
            .flatten()
    }

    /// Judges a clone URL.
    pub(super) fn judge(&self, clone_url: &str) -> CloneUrl {
        let Ok(uri) = clone_url.parse::<Uri>() else {
            return CloneUrl::Unsafe;
        };
        let Some((scheme, host)) = safe_address(&uri) else {
            return CloneUrl::Unsafe;
        };
        if scheme == Scheme::LoopbackHttp && self.scheme != Scheme::LoopbackHttp {
            return CloneUrl::Unsafe;
        }
        // github.com answers its API at api.github.com, a ghe.com tenant likewise.
        let at_home = host == self.host || self.host.strip_prefix("api.") == Some(&host);
        if at_home {
            CloneUrl::Ours
        } else {
            CloneUrl::Foreign
        }
    }

    /// How errors call the service.
    pub(super) fn service(&self) -> String {
        match self.host.as_str() {
            "api.github.com" => "GitHub".to_owned(),
            host => format!("GitHub at {host}"),
        }
    }
}

/// Scheme and lower-case host of an absolute URL that holds no credentials and is safe to send a token to.
fn safe_address(uri: &Uri) -> Option<(Scheme, String)> {
    let authority = uri.authority()?;
    if authority.as_str().contains('@') {
        return None;
    }
    let host = authority.host().to_ascii_lowercase();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    let loopback = host == "localhost"
        || address
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.is_loopback());
    match uri.scheme_str()? {
        "https" => Some((Scheme::Https, host)),
        "http" if loopback => Some((Scheme::LoopbackHttp, host)),
        _ => None,
    }
}

/// A repository on GitHub.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct RepoPath {
    pub(super) owner: String,
    pub(super) name: String,
}

impl RepoPath {
    /// Reads `owner/name`.
    pub(super) fn parse(repo: &RepoName) -> Result<Self, ForgeError> {
        let valid = |part: &str| {
            !matches!(part, "" | "." | "..")
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        };
        match repo.as_str().split_once('/') {
            Some((owner, name)) if valid(owner) && valid(name) => Ok(Self {
                owner: owner.to_owned(),
                name: name.to_owned(),
            }),
            _ => Err(ForgeError::NotFound {
                what: format!("repository {repo} (on GitHub it is written `owner/name`)"),
            }),
        }
    }

    /// The route of something in the repository; `rest` begins with `/` or is empty.
    pub(super) fn route(&self, rest: &str) -> String {
        format!("/repos/{}/{}{rest}", self.owner, self.name)
    }
}

impl fmt::Display for RepoPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.owner, self.name)
    }
}

/// Writes a text as one segment of a path or one value of a query.
pub(super) fn percent_encoded(text: &str) -> String {
    text.bytes()
        .fold(String::with_capacity(text.len()), |mut encoded, byte| {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                encoded.push(char::from(byte));
            } else {
                encoded.push_str(&format!("%{byte:02X}"));
            }
            encoded
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_look_where_the_api_is_not() {
        for (api, web) in [
            ("https://api.github.com", "https://github.com"),
            ("https://api.acme.ghe.com", "https://acme.ghe.com"),
            ("https://ghe.test/api/v3", "https://ghe.test"),
            ("http://127.0.0.1:4000", "http://127.0.0.1:4000"),
        ] {
            assert_eq!(ApiBase::parse(api).unwrap().web(), web);
        }
    }

    #[test]
    fn a_token_is_never_sent_in_clear_but_to_loopback() {
        for bad in [
            "http://api.github.com",
            "ftp://x",
            "github.com",
            "https://me:pw@ghe.test",
        ] {
            assert_eq!(ApiBase::parse(bad), None, "{bad}");
        }
        for good in [
            "https://api.github.com",
            "http://127.0.0.1:1",
            "http://[::1]:8",
            "http://localhost:80",
        ] {
            assert!(ApiBase::parse(good).is_some(), "{good}");
        }
    }

    #[test]
    fn enterprise_has_graphql_beside_its_rest_api() {
        let base = ApiBase::parse("https://ghe.test/api/v3/").unwrap();
        assert_eq!(base.rest("/user"), "/api/v3/user");
        assert_eq!(base.graphql(), "/api/graphql");
        assert_eq!(base.origin(), "https://ghe.test");
        assert_eq!(
            ApiBase::parse("https://api.github.com").unwrap().graphql(),
            "/graphql"
        );
    }

    #[test]
    fn a_next_link_is_followed_on_our_host_only() {
        let base = ApiBase::parse("https://ghe.test/api/v3").unwrap();
        let link = "https://elsewhere.test/api/v3/repositories/1/pulls?page=2";
        assert_eq!(base.route_of(link).unwrap(), "/repositories/1/pulls?page=2");
    }

    #[test]
    fn a_redirect_to_another_host_is_not_followed() {
        let base = ApiBase::parse("https://api.github.com").unwrap();
        assert_eq!(base.redirect("https://elsewhere.test/repositories/1"), None);
        assert_eq!(base.redirect("http://api.github.com/repositories/1"), None);
        assert_eq!(
            base.redirect("https://api.github.com/repositories/1")
                .as_deref(),
            Some("/repositories/1")
        );
        assert_eq!(
            base.redirect("/repositories/1").as_deref(),
            Some("/repositories/1")
        );
    }

    #[test]
    fn the_token_goes_only_to_the_house_of_the_api() {
        let github = ApiBase::parse("https://api.github.com").unwrap();
        assert_eq!(github.judge("https://github.com/a/b.git"), CloneUrl::Ours);
        assert_eq!(github.judge("https://GitHub.com/a/b.git"), CloneUrl::Ours);
        assert_eq!(
            github.judge("https://github.com.evil.test/a/b.git"),
            CloneUrl::Foreign
        );
        assert_eq!(
            github.judge("https://notgithub.com/a/b.git"),
            CloneUrl::Foreign
        );
        assert_eq!(github.judge("http://github.com/a/b.git"), CloneUrl::Unsafe);
        assert_eq!(github.judge("http://127.0.0.1/a/b.git"), CloneUrl::Unsafe);
        assert_eq!(
            github.judge("https://me:pw@github.com/a/b.git"),
            CloneUrl::Unsafe
        );
        assert_eq!(github.judge("git://github.com/a/b.git"), CloneUrl::Unsafe);
        assert_eq!(github.judge("/srv/git/b"), CloneUrl::Unsafe);

        let enterprise = ApiBase::parse("https://ghe.test/api/v3").unwrap();
        assert_eq!(enterprise.judge("https://ghe.test/a/b.git"), CloneUrl::Ours);
        assert_eq!(
            enterprise.judge("https://github.com/a/b.git"),
            CloneUrl::Foreign
        );

        let stand_in = ApiBase::parse("http://127.0.0.1:9").unwrap();
        assert_eq!(
            stand_in.judge("http://127.0.0.1:10/a/b.git"),
            CloneUrl::Ours
        );
        assert_eq!(stand_in.judge("http://192.0.2.1/a/b.git"), CloneUrl::Unsafe);
    }

    #[test]
    fn a_repository_is_an_owner_and_a_name() {
        for bad in [
            "infra",
            "a/b/c",
            "../b",
            "a/..",
            "a/b?x",
            "https://github.com/a/b",
            "/srv/b",
        ] {
            assert!(RepoPath::parse(&bad.parse().unwrap()).is_err(), "{bad}");
        }
        let repo = RepoPath::parse(&"acme/infra.tf_1-x".parse().unwrap()).unwrap();
        assert_eq!(repo.route("/pulls"), "/repos/acme/infra.tf_1-x/pulls");
    }

    #[test]
    fn names_are_percent_encoded() {
        assert_eq!(percent_encoded("x[bot]"), "x%5Bbot%5D");
        assert_eq!(percent_encoded("feature/ä"), "feature%2F%C3%A4");
    }
}
