//! How GitHub is reached, and with which credential.

use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::reader::TableReader;
use super::variable;
use crate::redact::Secret;

/// The API of github.com.
pub const DEFAULT_API_URL: &str = "https://api.github.com";

/// The variable that holds the token where the settings name none.
pub const DEFAULT_TOKEN_ENV: &str = "GITHUB_TOKEN";

/// How GitHub is reached. It says where the secret is and does not hold it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GithubSettings {
    /// The API, without a `/` at the end. It has no credential in it, and is not
    /// plain `http://` except to this computer itself.
    pub api_url: String,
    /// Where the credential comes from.
    pub credential: CredentialSource,
}

impl Default for GithubSettings {
    fn default() -> Self {
        Self {
            api_url: DEFAULT_API_URL.to_owned(),
            credential: CredentialSource::TokenEnv(DEFAULT_TOKEN_ENV.to_owned()),
        }
    }
}

/// Where the credential for GitHub comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CredentialSource {
    /// A token in this environment variable.
    TokenEnv(String),
    /// A token in this file (an absolute path).
    TokenFile(PathBuf),
    /// A GitHub App.
    App {
        /// The App's id.
        id: u64,
        /// The file of its private key (an absolute path).
        private_key_file: PathBuf,
    },
}

/// A credential for GitHub, read from its source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GithubCredential {
    /// A token.
    Token(Secret),
    /// The private key of an App.
    App {
        /// The App's id.
        id: u64,
        /// Its private key, in PEM.
        private_key: Secret,
    },
}

/// A credential could not be read from where the settings say it is.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// The variable is not there, or empty.
    #[error(
        "the environment variable `{variable}` is not set, and should hold the token for GitHub; set it, or name another with `token_env` or a file with `token_file` in [github]"
    )]
    Unset {
        /// The variable.
        variable: String,
    },
    /// The variable or the file holds what cannot be a token.
    #[error("{place} should hold a token for GitHub and holds blanks, or bytes that are no text")]
    NoToken {
        /// The variable or the file.
        place: String,
    },
    /// The file cannot be read.
    #[error("the {what} cannot be read from {}", file.display())]
    Unreadable {
        /// The token for GitHub, or the private key of the App.
        what: &'static str,
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is empty.
    #[error("{} is empty, and should hold the {what}", file.display())]
    Empty {
        /// The token for GitHub, or the private key of the App.
        what: &'static str,
        /// The file.
        file: PathBuf,
    },
    /// The file holds no private key.
    #[error(
        "{} holds no private key in PEM (`-----BEGIN … PRIVATE KEY-----`); GitHub gives one where the App is set up",
        file.display()
    )]
    NoPrivateKey {
        /// The file.
        file: PathBuf,
    },
}

impl GithubSettings {
    /// Reads the credential from the environment or the disk.
    ///
    /// It is read each time, so that a token which was replaced is found.
    ///
    /// # Errors
    ///
    /// [`CredentialError`] says which variable or file, and what is wrong with it.
    pub fn read_credential(&self) -> Result<GithubCredential, CredentialError> {
        self.credential_from(|variable| std::env::var_os(variable))
    }

    fn credential_from(
        &self,
        environment: impl Fn(&str) -> Option<OsString>,
    ) -> Result<GithubCredential, CredentialError> {
        match &self.credential {
            CredentialSource::TokenEnv(variable) => {
                let value = environment(variable).filter(|value| !value.is_empty());
                let value = value.ok_or_else(|| CredentialError::Unset {
                    variable: variable.clone(),
                })?;
                let place = format!("the environment variable `{variable}`");
                token(value.into_encoded_bytes(), place).map(GithubCredential::Token)
            }
            CredentialSource::TokenFile(file) => {
                let bytes = contents("token for GitHub", file)?;
                token(bytes, file.display().to_string()).map(GithubCredential::Token)
            }
            CredentialSource::App {
                id,
                private_key_file,
            } => {
                let bytes = contents("private key of the GitHub App", private_key_file)?;
                let key = String::from_utf8(bytes).ok();
                key.filter(|key| key.contains("-----BEGIN ") && key.contains("PRIVATE KEY-----"))
                    .map(|key| GithubCredential::App {
                        id: *id,
                        private_key: Secret::new(key),
                    })
                    .ok_or_else(|| CredentialError::NoPrivateKey {
                        file: private_key_file.clone(),
                    })
            }
        }
    }

    /// The environment variable that holds the credential, if one does.
    pub fn token_variable(&self) -> Option<&str> {
        match &self.credential {
            CredentialSource::TokenEnv(variable) => Some(variable),
            CredentialSource::TokenFile(_) | CredentialSource::App { .. } => None,
        }
    }
}

fn token(bytes: Vec<u8>, place: String) -> Result<Secret, CredentialError> {
    let text = String::from_utf8(bytes).ok();
    let token = text.as_deref().map(str::trim).unwrap_or_default();
    // It goes into a header: what is no visible ASCII never came from GitHub.
    if token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(CredentialError::NoToken { place });
    }
    Ok(Secret::new(token))
}

fn contents(what: &'static str, file: &Path) -> Result<Vec<u8>, CredentialError> {
    let bytes = fs::read(file).map_err(|source| CredentialError::Unreadable {
        what,
        file: file.to_owned(),
        source,
    })?;
    if bytes.trim_ascii().is_empty() {
        return Err(CredentialError::Empty {
            what,
            file: file.to_owned(),
        });
    }
    Ok(bytes)
}

/// Reads the table `[github]`. Paths are resolved by `resolve`.
pub(super) fn read(
    mut table: TableReader<'_>,
    resolve: impl Fn(&mut TableReader<'_>, &'static str) -> Option<PathBuf>,
) -> GithubSettings {
    let api_url = table
        .parsed("api_url", api_url)
        .map_or_else(|| DEFAULT_API_URL.to_owned(), |url| url.value);
    let given: Vec<&str> = ["token_env", "token_file", "app"]
        .into_iter()
        .filter(|key| table.has(key))
        .collect();
    if let [_, second, ..] = given[..] {
        table.file().error(
            table.key_at(second),
            "`token_env`, `token_file` and `app` exclude each other",
            Some("keep one of them".to_owned()),
        );
    }
    let from_variable = table
        .parsed("token_env", token_variable)
        .map(|name| CredentialSource::TokenEnv(name.value));
    let from_file =
        secret_file(&mut table, "token_file", &resolve).map(CredentialSource::TokenFile);
    let from_app = table.table("app").and_then(|mut app| {
        let id = app.id("id");
        let private_key_file = secret_file(&mut app, "private_key_file", &resolve);
        if !app.has("id") {
            app.missing("id", "it is the App ID on the App's page of settings");
        }
        if !app.has("private_key_file") {
            app.missing("private_key_file", "name the `.pem` file that GitHub gave");
        }
        app.finish(secret_in_settings);
        Some(CredentialSource::App {
            id: id?,
            private_key_file: private_key_file?,
        })
    });
    table.finish(secret_in_settings);
    let default = GithubSettings::default();
    GithubSettings {
        api_url,
        credential: from_variable
            .or(from_file)
            .or(from_app)
            .unwrap_or(default.credential),
    }
}

/// What to say of a key that looks as if a secret stood in the settings.
fn secret_in_settings(key: &str) -> Option<String> {
    matches!(key, "token" | "password" | "private_key" | "secret").then(|| {
        "secrets do not stand in the settings; name a variable with `token_env`, or a file with `token_file`".to_owned()
    })
}

/// Reads the path of a file with a secret, and warns where others may read the file.
fn secret_file(
    table: &mut TableReader<'_>,
    key: &'static str,
    resolve: impl Fn(&mut TableReader<'_>, &'static str) -> Option<PathBuf>,
) -> Option<PathBuf> {
    let path = resolve(table, key)?;
    let mode = fs::metadata(&path).map(|file| others_may_read(&file));
    if let Ok(Some(mode)) = mode {
        table.file().warning(
            table.key_at(key),
            format!(
                "`{key}`: others than its owner may read {} (mode {mode:03o})",
                path.display()
            ),
            Some(format!("run `chmod 600 {}`", path.display())),
        );
    }
    Some(path)
}

/// The mode of a file that its group or everybody may read.
fn others_may_read(file: &Metadata) -> Option<u32> {
    let mode = file.permissions().mode() & 0o777;
    (mode & 0o044 != 0).then_some(mode)
}

/// A text is no URL of GitHub's API. The text is not repeated: it may hold a password.
#[derive(Debug, thiserror::Error)]
enum InvalidApiUrl {
    #[error("this is no URL like `https://api.github.com` or `https://HOST/api/v3`")]
    Form,
    #[error("the URL holds a user or a password; use `token_env` or `token_file`")]
    Credentials,
    #[error(
        "the token would travel unprotected; use `https://` (`http://` only goes to this computer itself)"
    )]
    Unprotected,
}

fn api_url(given: &str) -> Result<String, InvalidApiUrl> {
    let url: http::Uri = given.parse().map_err(|_| InvalidApiUrl::Form)?;
    let authority = url.authority().ok_or(InvalidApiUrl::Form)?;
    if authority.as_str().contains('@') {
        return Err(InvalidApiUrl::Credentials);
    }
    if url.query().is_some() || given.contains('#') || authority.host().is_empty() {
        return Err(InvalidApiUrl::Form);
    }
    let host = authority.host().trim_matches(['[', ']']);
    let loopback = host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback());
    match url.scheme_str() {
        Some("https") => {}
        Some("http") if loopback => {}
        Some("http") => return Err(InvalidApiUrl::Unprotected),
        _ => return Err(InvalidApiUrl::Form),
    }
    Ok(given.trim_end_matches('/').to_owned())
}

/// A text is no name of a variable. The text is not repeated: it may be a token.
#[derive(Debug, thiserror::Error)]
enum InvalidTokenVariable {
    #[error("this is no name of an environment variable; one has letters, digits and `_`")]
    Name,
    #[error(
        "this looks like a token itself; put it into an environment variable, write the variable's name here, and have GitHub revoke what stood in a file"
    )]
    Token,
}

fn token_variable(given: &str) -> Result<String, InvalidTokenVariable> {
    // The prefixes of GitHub's tokens, from its documentation.
    let token = ["ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"];
    if token.iter().any(|prefix| given.starts_with(prefix)) {
        return Err(InvalidTokenVariable::Token);
    }
    if !variable::is_name(given) {
        return Err(InvalidTokenVariable::Name);
    }
    Ok(given.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::problem::with_causes;

    fn settings(credential: CredentialSource) -> GithubSettings {
        GithubSettings {
            credential,
            ..GithubSettings::default()
        }
    }

    fn from_variable(value: Option<&str>) -> Result<GithubCredential, CredentialError> {
        settings(CredentialSource::TokenEnv("BOT_TOKEN".to_owned()))
            .credential_from(|name| (name == "BOT_TOKEN").then_some(value?).map(OsString::from))
    }

    #[test]
    fn a_token_is_read_from_the_variable_that_the_settings_name() {
        let GithubCredential::Token(token) = from_variable(Some("ghs_abc\n")).unwrap() else {
            panic!("a variable holds a token");
        };
        assert_eq!(token.expose(), "ghs_abc");
        for missing in [None, Some("")] {
            let error = from_variable(missing).unwrap_err();
            assert!(error.to_string().contains("`BOT_TOKEN` is not set"));
        }
        let error = from_variable(Some("two words")).unwrap_err();
        assert!(!error.to_string().contains("two words"));
    }

    #[test]
    fn a_credential_never_prints_itself() {
        let token = from_variable(Some("ghs_abc")).unwrap();
        assert!(!format!("{token:?}").contains("ghs_abc"));
    }

    #[test]
    fn a_file_without_a_secret_is_named_in_the_error() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        let read = || {
            let error = settings(CredentialSource::TokenFile(file.clone())).read_credential();
            with_causes(&error.unwrap_err())
        };
        let missing = read();
        assert!(missing.contains("cannot be read") && missing.contains("No such file"));
        fs::write(&file, "\n").unwrap();
        assert!(read().ends_with("is empty, and should hold the token for GitHub"));
        fs::write(&file, [0xff, 0xfe]).unwrap();
        assert!(read().contains("no text"));
    }

    #[test]
    fn an_app_has_a_private_key_in_pem() {
        let folder = tempfile::tempdir().unwrap();
        let private_key_file = folder.path().join("app.pem");
        let app = settings(CredentialSource::App {
            id: 7,
            private_key_file: private_key_file.clone(),
        });
        fs::write(&private_key_file, "a token").unwrap();
        assert!(matches!(
            app.read_credential(),
            Err(CredentialError::NoPrivateKey { .. })
        ));
        let pem = "-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n";
        fs::write(&private_key_file, pem).unwrap();
        let credential = app.read_credential().unwrap();
        assert_eq!(
            credential,
            GithubCredential::App {
                id: 7,
                private_key: Secret::new(pem)
            }
        );
        assert!(!format!("{credential:?}").contains("AAAA"));
    }

    #[test]
    fn the_token_never_travels_unprotected() {
        for good in [
            "https://api.github.com/",
            "https://git.example.com/api/v3",
            "http://127.0.0.1:4000",
            "http://[::1]:4000",
            "http://localhost:4000",
        ] {
            assert_eq!(api_url(good).unwrap(), good.trim_end_matches('/'));
        }
        for bad in [
            "http://git.example.com/api/v3",
            "http://localhost.example.com",
            "https://user:pw@git.example.com",
            "ftp://git.example.com",
            "api.github.com",
            "https://git.example.com/?x=1",
            "",
        ] {
            assert!(api_url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_token_in_the_place_of_a_variables_name_is_not_repeated() {
        let error = token_variable("ghp_0123456789").unwrap_err();
        assert!(matches!(error, InvalidTokenVariable::Token));
        assert!(!error.to_string().contains("0123"));
        assert!(token_variable("MY TOKEN").is_err());
        assert_eq!(token_variable("BOT_TOKEN").unwrap(), "BOT_TOKEN");
    }
}
