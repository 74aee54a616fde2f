//! What of the operator's own settings of Terraform is secret, and what strangers are given of them.

use std::fs;
use std::io;
use std::ops::Range;
use std::path::Path;

use crate::redact::Secret;

/// The variable that names Terraform's CLI configuration.
pub(super) const CLI_CONFIG: &str = "TF_CLI_CONFIG_FILE";

/// What of the CLI configuration strangers are given: where providers come from, and how downloads
/// are kept. All else is credentials, or not known to be none.
const HARMLESS: [&str; 7] = [
    "plugin_cache_dir",
    "plugin_cache_may_break_dependency_lock_file",
    "disable_checkpoint",
    "disable_checkpoint_signature",
    "provider_installation",
    "providers",
    "host",
];

/// Parts of the names of settings whose values are secret.
const SECRET_NAMES: [&str; 3] = ["token", "password", "secret"];

/// Variables that name a proxy.
const PROXIES: [&str; 3] = ["http_proxy", "https_proxy", "all_proxy"];

fn is_proxy(name: &str) -> bool {
    PROXIES.iter().any(|proxy| name.eq_ignore_ascii_case(proxy))
}

/// The secrets in what every run sees of the operator's settings: who one is to the proxies, and the
/// tokens of the CLI configuration.
pub(super) fn secrets(env: &[(String, Secret)]) -> Vec<String> {
    let mut found = Vec::new();
    for (name, value) in env {
        if is_proxy(name) {
            let value = value.expose();
            found.extend(
                user_of_proxy(value)
                    .map(|at| &value[at])
                    .into_iter()
                    .flat_map(parts),
            );
        } else if name == CLI_CONFIG
            && let Ok(text) = fs::read_to_string(value.expose())
        {
            found.extend(tokens_of(&text));
        }
    }
    found
}

/// Takes from a stranger's environment who one is to the proxies, and gives it a copy of the CLI
/// configuration, in the run's folder for temporary files, without credentials. One that cannot be
/// read is not given at all.
///
/// # Errors
///
/// Where the copy cannot be written.
pub(super) fn withhold(env: &mut Vec<(String, Secret)>, tmp_dir: &Path) -> io::Result<()> {
    let mut unread = false;
    for (name, value) in &mut *env {
        if is_proxy(name) {
            let mut proxy = value.expose().to_owned();
            if let Some(at) = user_of_proxy(&proxy) {
                // With the `@` behind it.
                proxy.replace_range(at.start..=at.end, "");
            }
            *value = Secret::new(proxy);
        } else if name == CLI_CONFIG && !value.expose().is_empty() {
            match fs::read_to_string(value.expose()) {
                Ok(text) => {
                    let copy = tmp_dir.join("cli.tfrc");
                    fs::write(&copy, harmless(&text))?;
                    *value = Secret::new(copy.display().to_string());
                }
                // Neither is one given to Terraform that is not there.
                Err(_) => unread = true,
            }
        }
    }
    env.retain(|(name, _)| !(unread && name == CLI_CONFIG));
    Ok(())
}

/// The tokens and passwords in the text of a CLI configuration.
fn tokens_of(text: &str) -> Vec<String> {
    let Some(tokens) = tokens(text) else {
        // What is not understood is masked line by line.
        return vec![text.to_owned()];
    };
    let mut found = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let Kind::Text = token.kind else { continue };
        let value = token.plain(text);
        found.extend(
            user_of_url(&value)
                .map(|at| &value[at])
                .into_iter()
                .flat_map(parts),
        );
        if let Some([name, is]) = at
            .checked_sub(2)
            .map(|from| [&tokens[from], &tokens[from + 1]])
            && is.kind == Kind::Is
        {
            let name = name.plain(text).to_ascii_lowercase();
            if SECRET_NAMES.iter().any(|part| name.contains(part)) {
                found.push(value);
            }
        }
    }
    found
}

/// A CLI configuration without credentials; empty where it is not understood.
fn harmless(text: &str) -> String {
    let kept = || {
        let tokens = tokens(text)?;
        let (json, tokens) = match tokens.as_slice() {
            [first, inner @ .., last] if first.kind == Kind::Open && last.kind == Kind::Close => {
                (true, inner)
            }
            all => (false, all),
        };
        let kept: Vec<String> = entries(tokens)?
            .into_iter()
            .filter(|entry| HARMLESS.contains(&entry[0].plain(text).as_str()))
            .map(|entry| without_users(text, entry))
            .collect();
        Some(match json {
            true => format!("{{{}}}", kept.join(",\n")),
            false => kept.join("\n"),
        })
    };
    kept().unwrap_or_default()
}

/// The settings and blocks at the top: a name, labels, and a value or what stands in brackets.
fn entries(mut tokens: &[Token]) -> Option<Vec<&[Token]>> {
    let kind = |tokens: &[Token], at: usize| tokens.get(at).map(|token| token.kind);
    let named = |kind| matches!(kind, Some(Kind::Word | Kind::Text));
    let mut found = Vec::new();
    while let Some(first) = tokens.first() {
        if first.kind == Kind::Comma {
            tokens = &tokens[1..];
            continue;
        }
        if !named(Some(first.kind)) {
            return None;
        }
        let mut end = 1;
        while named(kind(tokens, end)) {
            end += 1;
        }
        let value = match kind(tokens, end)? {
            Kind::Is => end + 1,
            Kind::Open => end,
            Kind::Word | Kind::Text | Kind::Close | Kind::Comma => return None,
        };
        end = match kind(tokens, value)? {
            Kind::Word | Kind::Text => value + 1,
            Kind::Open => {
                let mut depth = 0_usize;
                let closes = tokens[value..].iter().position(|token| {
                    match token.kind {
                        Kind::Open => depth += 1,
                        Kind::Close => depth -= 1,
                        Kind::Word | Kind::Text | Kind::Is | Kind::Comma => {}
                    }
                    depth == 0
                });
                value + closes? + 1
            }
            Kind::Close | Kind::Is | Kind::Comma => return None,
        };
        let (entry, rest) = tokens.split_at(end);
        found.push(entry);
        tokens = rest;
    }
    Some(found)
}

/// The text of an entry, less who one is to the addresses in it, and less comments.
fn without_users(text: &str, entry: &[Token]) -> String {
    let mut written = String::new();
    let mut last = None;
    for token in entry {
        // HCL ends a setting with its line.
        if let Some(last) = last {
            let between = &text[last..token.span.start];
            written.push(if between.contains('\n') { '\n' } else { ' ' });
        }
        last = Some(token.span.end);
        let mut own = text[token.span.clone()].to_owned();
        if token.kind == Kind::Text
            && let Some(at) = user_of_url(&own)
        {
            own.replace_range(at.start..=at.end, "");
        }
        written.push_str(&own);
    }
    written
}

/// Where an address of a proxy says who one is: all before the last `@`, and after what says how it
/// is spoken to. It may be missing, and passwords may be written as they should not be.
fn user_of_proxy(proxy: &str) -> Option<Range<usize>> {
    let start = proxy.find("://").map_or(0, |at| at + 3);
    let end = start + proxy[start..].rfind('@')?;
    Some(start..end)
}

/// Where a URL says who one is.
fn user_of_url(url: &str) -> Option<Range<usize>> {
    let start = url.find("://")? + 3;
    let rest = &url[start..];
    let host = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
    Some(start..start + host.rfind('@')?)
}

/// What of `user:password` is secret: both together, and the password, or the user where there is
/// none; as they are written and as they are meant.
fn parts(user: &str) -> Vec<String> {
    let password = user.split_once(':').map_or(user, |(_, password)| password);
    let mut found = vec![user.to_owned(), password.to_owned()];
    for written in [user, password] {
        found.extend(meant(written));
    }
    found.sort();
    found.dedup();
    found
}

/// What a text means whose characters may be written as `%` and two hexadecimal digits.
fn meant(written: &str) -> Option<String> {
    let mut pieces = written.split('%');
    let mut bytes = pieces.next()?.as_bytes().to_vec();
    for piece in pieces {
        let (digits, rest) = piece.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend(rest.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

/// What a CLI configuration is made of, in the older HCL and in JSON alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Word,
    /// In quotes.
    Text,
    /// `=` or `:`.
    Is,
    Comma,
    /// Of braces and brackets.
    Open,
    Close,
}

#[derive(Debug)]
struct Token {
    kind: Kind,
    span: Range<usize>,
}

impl Token {
    /// What it means, without quotes.
    fn plain(&self, text: &str) -> String {
        let written = &text[self.span.clone()];
        match self.kind {
            Kind::Text => serde_json::from_str(written)
                .unwrap_or_else(|_| written[1..written.len() - 1].to_owned()),
            Kind::Word | Kind::Is | Kind::Comma | Kind::Open | Kind::Close => written.to_owned(),
        }
    }
}

/// The tokens of a configuration less its comments; `None` where it is not understood, or its
/// brackets are not closed.
fn tokens(text: &str) -> Option<Vec<Token>> {
    let word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
    let mut found = Vec::new();
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(first) = text[at..].chars().next() {
        let rest = &text[at..];
        let (kind, length) = match first {
            c if c.is_whitespace() || c == '\u{feff}' => (None, c.len_utf8()),
            '#' => (None, rest.find('\n').unwrap_or(rest.len())),
            '/' if rest.starts_with("//") => (None, rest.find('\n').unwrap_or(rest.len())),
            '/' if rest.starts_with("/*") => (None, rest[2..].find("*/")? + 4),
            '"' => (Some(Kind::Text), quoted(rest)?),
            '=' | ':' => (Some(Kind::Is), 1),
            ',' => (Some(Kind::Comma), 1),
            '{' | '[' => {
                depth += 1;
                (Some(Kind::Open), 1)
            }
            '}' | ']' => {
                depth = depth.checked_sub(1)?;
                (Some(Kind::Close), 1)
            }
            c if word(c) => {
                let length = rest.find(|c| !word(c)).unwrap_or(rest.len());
                (Some(Kind::Word), length)
            }
            // Texts over more lines than one, and what is no configuration.
            _ => return None,
        };
        let span = at..at + length;
        found.extend(kind.map(|kind| Token { kind, span }));
        at += length;
    }
    (depth == 0).then_some(found)
}

/// How long a text in quotes is, with them.
fn quoted(rest: &str) -> Option<usize> {
    let mut escaped = false;
    let end = rest[1..].find(|c| {
        let ends = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    })?;
    let inner = &rest[1..=end];
    // Quotes may stand in an expression; and no text goes on in the next line.
    let whole = inner.matches("${").count() <= inner.matches('}').count() && !inner.contains('\n');
    whole.then_some(end + 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redact::Redactor;

    const HCL: &str = r#"
plugin_cache_dir = "$HOME/cache" # kept
disable_checkpoint=true
credentials "app.example.com" { token = "hcl-token-1" }
credentials {
  "b.example.com" = {
    "token" = "hcl-\"token-2"
  }
}
credentials_helper "store" {
  args = ["--file", "/etc/helper"]
}
/* oci_credentials "x" { } */
oci_credentials "registry.example.com" {
  username = "puller"
  password = "oci-password"
}
provider_installation {
  filesystem_mirror {
    path    = "/srv/providers"
    include = ["example.com/*/*"]
  }
  network_mirror { url = "https://mirror:mirror-pass@mirror.example.com/a@b/" }
  direct {}
}
"#;

    const JSON: &str = r#"{
  "credentials": { "app.example.com": { "token": "json-token-1" } },
  "plugin_cache_dir": "/var/cache",
  "credentials_helper": { "store": { "args": ["x"] } },
  "provider_installation": [ { "filesystem_mirror": [ { "path": "/srv/p" } ] } ]
}"#;

    #[test]
    fn a_strangers_copy_of_the_cli_configuration_holds_no_credentials() {
        let copy = harmless(HCL);
        for gone in [
            "token",
            "credentials",
            "helper",
            "oci",
            "mirror-pass",
            "puller",
        ] {
            assert!(!copy.contains(gone), "{gone} in {copy}");
        }
        for kept in [
            "plugin_cache_dir = \"$HOME/cache\"\n",
            "disable_checkpoint = true\n",
            "path = \"/srv/providers\"\n",
            "url = \"https://mirror.example.com/a@b/\" }",
        ] {
            assert!(copy.contains(kept), "{kept} not in {copy}");
        }
        assert_eq!(harmless(&copy), copy);
        let copy: serde_json::Value = serde_json::from_str(&harmless(JSON)).unwrap();
        assert_eq!(
            copy,
            serde_json::json!({
                "plugin_cache_dir": "/var/cache",
                "provider_installation": [{ "filesystem_mirror": [{ "path": "/srv/p" }] }],
            })
        );
    }

    #[test]
    fn of_a_cli_configuration_that_is_not_understood_strangers_are_given_nothing() {
        for text in [
            "credentials \"a\" {\n token = <<E\nsecret-token\nE\n}",
            "credentials \"a\" { token = \"secret-token\"",
            "} credentials \"a\" { token = \"secret-token\" }",
            "plugin_cache_dir = \"a",
            "= 1",
        ] {
            assert_eq!(harmless(text), "", "{text}");
        }
        let text = "credentials \"a\" {\n token = <<E\nsecret-token\nE\n}";
        let masked = Redactor::new(tokens_of(text));
        assert_eq!(masked.redact("it is secret-token."), "it is (sensitive).");
    }

    #[test]
    fn the_tokens_of_the_cli_configuration_are_known_as_secret() {
        let found = tokens_of(HCL);
        for secret in [
            "hcl-token-1",
            "hcl-\"token-2",
            "oci-password",
            "mirror-pass",
        ] {
            assert!(found.contains(&secret.to_owned()), "{secret}: {found:?}");
        }
        assert!(!found.contains(&"/srv/providers".to_owned()));
        assert_eq!(tokens_of(JSON), ["json-token-1"]);
    }

    #[test]
    fn who_one_is_to_a_proxy_is_secret_and_not_told_to_strangers() {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("operators.tfrc");
        fs::write(&config, HCL).unwrap();
        let own = |name: &str, value: &str| (name.to_owned(), Secret::new(value));
        let mut env = vec![
            own(
                "https_proxy",
                "http://us%65r:p%40ss:w/rd@proxy.example.com:3128",
            ),
            own("HTTP_PROXY", "token-alone@proxy.example.com:3128"),
            own("all_proxy", "socks5://proxy.example.com"),
            own("no_proxy", "a@b"),
            own(CLI_CONFIG, config.to_str().unwrap()),
        ];
        let known = secrets(&env);
        for secret in ["p@ss:w/rd", "token-alone", "user:p@ss:w/rd", "hcl-token-1"] {
            assert!(known.contains(&secret.to_owned()), "{secret}: {known:?}");
        }
        withhold(&mut env, folder.path()).unwrap();
        let values: Vec<&str> = env.iter().map(|(_, value)| value.expose()).collect();
        let (copy, values) = values.split_last().unwrap();
        assert_eq!(
            values,
            [
                "http://proxy.example.com:3128",
                "proxy.example.com:3128",
                "socks5://proxy.example.com",
                "a@b"
            ]
        );
        assert_eq!(fs::read_to_string(copy).unwrap(), harmless(HCL));
        assert_eq!(secrets(&env), Vec::<String>::new());
    }

    #[test]
    fn a_cli_configuration_that_cannot_be_read_is_not_given_to_strangers() {
        let folder = tempfile::tempdir().unwrap();
        let mut env = vec![(CLI_CONFIG.to_owned(), Secret::new("/nonexistent/tfrc"))];
        withhold(&mut env, folder.path()).unwrap();
        assert!(env.is_empty());
    }
}
