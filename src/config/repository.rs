//! Where a repository is, read from how a declaration names it.

use std::path::Path;

use crate::workspace::RepoAddress;

/// A text names no repository that can be watched.
///
/// The text itself is not repeated: it may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum InvalidRepository {
    /// It is none of the forms that are understood.
    #[error(
        "this is no repository; write `owner/name` for one on GitHub, a URL (`https://…`, `ssh://…`, `user@host:path`), or a path that begins with `/`, `./` or `../`"
    )]
    Form,
    /// The URL carries a password or a token.
    #[error(
        "the URL holds a password or a token, which ends in logs and process lists; take it out, and use `ssh://`, where a key opens the repository"
    )]
    Credentials,
    /// The URL has a query or a fragment.
    #[error("the URL of a repository has no `?` and no `#`")]
    Query,
    /// The host or the user begins with `-`, and would pass for an option of a program.
    #[error("the user, the host and the path of a URL do not begin with `-`")]
    Option,
    /// The owner or the name cannot be one on GitHub.
    #[error(
        "`owner/name` on GitHub has letters, digits, `-` and `_`, in the name also `.`, and neither begins with `-`; the name is written without `.git`"
    )]
    GitHubName,
}

/// Reads how a declaration names its repository. A relative path is one from `folder`.
///
/// # Errors
///
/// [`InvalidRepository`] says why it cannot be watched. Transports that run a
/// program (`ext::…`) are no form that is understood.
pub(super) fn parse(given: &str, folder: &Path) -> Result<RepoAddress, InvalidRepository> {
    if given.is_empty() || given.chars().any(|c| c.is_control() || c == ' ') {
        return Err(InvalidRepository::Form);
    }
    if given.starts_with('/') {
        return Ok(RepoAddress::Git(given.to_owned()));
    }
    if given.starts_with("./") || given.starts_with("../") {
        let path = folder.join(given.strip_prefix("./").unwrap_or(given));
        return path
            .to_str()
            .map(|path| RepoAddress::Git(path.to_owned()))
            .ok_or(InvalidRepository::Form);
    }
    if let Some((scheme, rest)) = given.split_once("://") {
        check_url(scheme, rest)?;
        return Ok(RepoAddress::Git(given.to_owned()));
    }
    if given.contains(['@', ':']) {
        check_scp_like(given)?;
        return Ok(RepoAddress::Git(given.to_owned()));
    }
    match given.split_once('/') {
        Some((owner, name)) if !name.contains('/') => github(owner, name),
        _ => Err(InvalidRepository::Form),
    }
}

fn check_url(scheme: &str, rest: &str) -> Result<(), InvalidRepository> {
    if !matches!(scheme, "https" | "http" | "ssh" | "git" | "file") {
        return Err(InvalidRepository::Form);
    }
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    // The last `@` of all: a password may hold an unescaped `/`.
    if let Some((user, _)) = rest.rsplit_once('@') {
        let named = match authority.rsplit_once('@') {
            Some((user, _)) => scheme == "ssh" && !user.contains(':'),
            None => !user.contains(':'),
        };
        if !named {
            return Err(InvalidRepository::Credentials);
        }
    }
    if rest.contains(['?', '#']) {
        return Err(InvalidRepository::Query);
    }
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    if authority.starts_with('-') || host.starts_with('-') {
        return Err(InvalidRepository::Option);
    }
    if path.is_empty() || (host.is_empty() && scheme != "file") {
        return Err(InvalidRepository::Form);
    }
    Ok(())
}

/// Checks `user@host:path`, the form of `scp`.
fn check_scp_like(given: &str) -> Result<(), InvalidRepository> {
    let Some((user, rest)) = given.split_once('@') else {
        return Err(InvalidRepository::Form);
    };
    if user.contains(':') {
        return Err(InvalidRepository::Credentials);
    }
    let Some((host, path)) = rest.split_once(':') else {
        return Err(InvalidRepository::Form);
    };
    if [user, host, path].iter().any(|part| part.starts_with('-')) {
        return Err(InvalidRepository::Option);
    }
    let plain = |part: &str| !part.is_empty() && !part.contains('/');
    if !plain(user) || !plain(host) || path.is_empty() || path.starts_with(':') {
        return Err(InvalidRepository::Form);
    }
    Ok(())
}

fn github(owner: &str, name: &str) -> Result<RepoAddress, InvalidRepository> {
    let word = |text: &str, more: &[char]| {
        !text.is_empty()
            && text.len() <= 100
            && !text.starts_with('-')
            && text
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || more.contains(&c))
    };
    let valid = word(owner, &['-', '_'])
        && word(name, &['-', '_', '.'])
        && !matches!(name, "." | "..")
        && !name.ends_with(".git");
    if valid {
        Ok(RepoAddress::GitHub {
            owner: owner.to_owned(),
            name: name.to_owned(),
        })
    } else {
        Err(InvalidRepository::GitHubName)
    }
}

/// A text that is equal for two addresses of one repository, as far as the
/// addresses show it.
pub(super) fn identity(address: &RepoAddress) -> String {
    match address {
        // GitHub does not tell upper from lower case in names.
        RepoAddress::GitHub { owner, name } => format!("github:{owner}/{name}").to_lowercase(),
        RepoAddress::Git(url) => {
            let path = url.strip_prefix("file://").unwrap_or(url);
            if path.starts_with('/')
                && let Ok(path) = std::fs::canonicalize(path)
            {
                return path.display().to_string();
            }
            let short = path.trim_end_matches('/');
            short.strip_suffix(".git").unwrap_or(short).to_owned()
        }
    }
}

/// What is doubtful about an address that can be watched.
pub(super) fn doubt(address: &RepoAddress) -> Option<(&'static str, String)> {
    let RepoAddress::Git(url) = address else {
        return None;
    };
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let (_, rest) = rest.split_once('@').unwrap_or(("", rest));
    if let Some(path) = rest
        .strip_prefix("github.com")
        .and_then(|rest| rest.strip_prefix(['/', ':']))
    {
        let name = path.trim_end_matches('/');
        let name = name.strip_suffix(".git").unwrap_or(name);
        return Some((
            "a repository on GitHub that is named by its URL is watched as a plain git remote: its pull requests are not seen",
            format!("write `repo = \"{name}\"`"),
        ));
    }
    let loopback = ["127.0.0.1", "localhost", "[::1]"]
        .iter()
        .any(|host| rest.starts_with(host));
    if matches!(scheme, "http" | "git") && !loopback {
        return Some((
            "nothing protects this URL on its way: whoever sits between decides what is applied",
            "use `https://` or `ssh://`".to_owned(),
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(given: &str) -> Result<RepoAddress, InvalidRepository> {
        parse(given, Path::new("/etc/mainstay/workspaces"))
    }

    #[test]
    fn owner_and_name_are_a_repository_on_github() {
        for (given, owner, name) in [
            ("acme/infra", "acme", "infra"),
            ("Acme-Inc/infra.live_2", "Acme-Inc", "infra.live_2"),
        ] {
            assert_eq!(
                read(given),
                Ok(RepoAddress::GitHub {
                    owner: owner.to_owned(),
                    name: name.to_owned()
                })
            );
        }
        for bad in [
            "acme/infra.git",
            "-acme/infra",
            "acme/..",
            "acme/",
            "/",
            "ac me/infra",
        ] {
            assert!(
                !matches!(read(bad), Ok(RepoAddress::GitHub { .. })),
                "{bad}"
            );
        }
    }

    #[test]
    fn urls_and_paths_are_plain_remotes() {
        for given in [
            "https://git.example.com/acme/infra.git",
            "http://127.0.0.1:8080/infra",
            "ssh://git@git.example.com:2222/infra.git",
            "git://git.example.com/infra",
            "file:///srv/git/infra.git",
            "git@git.example.com:acme/infra.git",
            "/srv/git/infra.git",
        ] {
            assert_eq!(read(given), Ok(RepoAddress::Git(given.to_owned())));
        }
        for (given, path) in [
            ("./infra", "/etc/mainstay/workspaces/infra"),
            ("../infra", "/etc/mainstay/workspaces/../infra"),
        ] {
            assert_eq!(read(given), Ok(RepoAddress::Git(path.to_owned())));
        }
    }

    #[test]
    fn a_url_with_a_password_or_a_token_is_refused_and_never_repeated() {
        for given in [
            "https://user:s3cret@git.example.com/infra",
            "https://s3cret@git.example.com/infra",
            "ssh://git:s3cret@git.example.com/infra",
            "https://user:s3/cret@git.example.com/infra",
            "user:s3cret@git.example.com:infra",
            "https://git.example.com/infra?private_token=s3cret",
        ] {
            let error = read(given).unwrap_err();
            assert!(
                matches!(
                    error,
                    InvalidRepository::Credentials | InvalidRepository::Query
                ),
                "{given}: {error}"
            );
            assert!(!format!("{error}{error:?}").contains("s3"), "{error}");
        }
    }

    #[test]
    fn a_url_cannot_be_an_option_nor_run_a_program() {
        for given in [
            "ssh://-oProxyCommand=sh/x",
            "ssh://git@-oProxyCommand=sh/x",
            "ssh://-l@host/x",
            "git@-oProxyCommand=sh:x",
            "git@host:-x",
            "-x@host:x",
            "ext::sh -c id",
            "ext::sh",
            "--upload-pack=sh",
            "helper::https://host/x",
            "ftp://host/x",
        ] {
            assert!(read(given).is_err(), "{given}");
        }
    }

    #[test]
    fn two_spellings_of_one_repository_are_known_as_one() {
        for (one, other) in [
            ("acme/infra", "Acme/Infra"),
            (
                "https://host.example/infra",
                "https://host.example/infra.git",
            ),
            ("https://host.example/infra", "https://host.example/infra/"),
            ("/srv/none/infra", "file:///srv/none/infra"),
        ] {
            assert_eq!(
                identity(&read(one).unwrap()),
                identity(&read(other).unwrap()),
                "{one} {other}"
            );
        }
        assert_ne!(
            identity(&read("acme/infra").unwrap()),
            identity(&read("acme/infra2").unwrap())
        );
    }

    #[test]
    fn a_url_of_github_and_an_open_transport_are_doubtful() {
        for (given, doubtful) in [
            ("https://github.com/acme/infra.git", true),
            ("git@github.com:acme/infra", true),
            ("http://git.example.com/infra", true),
            ("http://127.0.0.1:8080/infra", false),
            ("https://git.example.com/infra", false),
            ("acme/infra", false),
        ] {
            assert_eq!(doubt(&read(given).unwrap()).is_some(), doubtful, "{given}");
        }
    }
}
