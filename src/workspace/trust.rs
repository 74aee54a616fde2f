//! What the code of a repository may ask for, and which rules a declaration loosens.

use std::collections::BTreeSet;
use std::fmt;

/// What the code of a workspace may ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trust {
    /// The providers that it may use.
    pub providers: Vec<ProviderPattern>,
    /// Where its modules may come from, beside the repository itself.
    pub modules: Vec<ModulePattern>,
    /// The rules that are not held.
    pub loosened: BTreeSet<Rule>,
}

impl Default for Trust {
    fn default() -> Self {
        let provider = |text: &str| ProviderPattern::parse(text).expect("a pattern of our own");
        let module = |text: &str| ModulePattern::parse(text).expect("a pattern of our own");
        Self {
            // Whatever a registry has: a provider never comes from anywhere else.
            providers: vec![provider("*/*/*")],
            modules: vec![
                module("registry"),
                module("git::https://*"),
                module("git::ssh://*"),
            ],
            loosened: BTreeSet::new(),
        }
    }
}

impl Trust {
    /// Whether a rule is held.
    pub fn holds(&self, rule: Rule) -> bool {
        !self.loosened.contains(&rule)
    }
}

/// A rule for the code of a repository. Its name is what a declaration loosens it by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// No `.terraform` folder is committed.
    TerraformFolder,
    /// No `terraform.d` folder is committed.
    PluginFolder,
    /// No settings of the command line are committed.
    CliConfig,
    /// No symbolic link leads out of the repository.
    Symlinks,
    /// No submodule is among the files.
    Submodules,
    /// Modules come only from where they may.
    Modules,
    /// Providers are only those that may be used.
    Providers,
    /// The backend is the one that the base branch has.
    Backend,
    /// No override file says where the state is or how Terraform is set up.
    Overrides,
    /// No file sets variables that steer Terraform.
    Variables,
    /// Configuration can be read, where it may say any of this.
    Unreadable,
}

impl Rule {
    /// Every rule.
    pub const ALL: [Self; 11] = [
        Self::TerraformFolder,
        Self::PluginFolder,
        Self::CliConfig,
        Self::Symlinks,
        Self::Submodules,
        Self::Modules,
        Self::Providers,
        Self::Backend,
        Self::Overrides,
        Self::Variables,
        Self::Unreadable,
    ];

    /// Its name in `loosen`.
    pub fn name(self) -> &'static str {
        match self {
            Self::TerraformFolder => "terraform-folder",
            Self::PluginFolder => "plugin-folder",
            Self::CliConfig => "cli-config",
            Self::Symlinks => "symlinks",
            Self::Submodules => "submodules",
            Self::Modules => "modules",
            Self::Providers => "providers",
            Self::Backend => "backend",
            Self::Overrides => "overrides",
            Self::Variables => "variables",
            Self::Unreadable => "unreadable",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A text is no pattern of `providers` or `modules`.
#[derive(Debug, thiserror::Error)]
pub enum InvalidPattern {
    /// It is none of providers.
    #[error(
        "`{0}` names no providers; write `hashicorp/*`, or with a registry's host `registry.example.com/acme/*`"
    )]
    Provider(String),
    /// It is none of module sources.
    #[error(
        "`{0}` names no module sources; write `registry`, `acme/*/*`, `git::https://github.com/acme/*`, `git::ssh://*` or `https://*`"
    )]
    Module(String),
}

/// The hosts, label by label, that an address without a host means: Terraform's and OpenTofu's own
/// registries.
const DEFAULT_REGISTRIES: [[&str; 3]; 2] = [
    ["registry", "terraform", "io"],
    ["registry", "opentofu", "org"],
];

/// Where the provider lives that is part of Terraform itself.
const BUILT_IN: &str = "terraform.io/builtin/terraform";

/// The address of a provider: `hashicorp/aws`, or with its registry's host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProviderAddress {
    /// The registry's host in lower case; `None` for the one that needs no name.
    host: Option<String>,
    namespace: String,
    kind: String,
}

impl ProviderAddress {
    /// Reads a `source`. What has no namespace is HashiCorp's, as Terraform takes it. `None` where
    /// it is no address.
    pub fn parse(source: &str) -> Option<Self> {
        let parts: Vec<&str> = source.split('/').collect();
        let (host, namespace, kind) = match parts[..] {
            [kind] => (None, "hashicorp", kind),
            [namespace, kind] => (None, namespace, kind),
            [host, namespace, kind] => (Some(host), namespace, kind),
            _ => return None,
        };
        let plain = |part: &str| {
            !part.is_empty()
                && part
                    .chars()
                    .all(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | ':'))
        };
        if ![host.unwrap_or("-"), namespace, kind]
            .into_iter()
            .all(plain)
        {
            return None;
        }
        Some(Self {
            host: host.and_then(named_host),
            namespace: namespace.to_lowercase(),
            kind: kind.to_lowercase(),
        })
    }

    /// The provider that a local name stands for where nothing says which.
    pub fn implied(name: &str) -> Option<Self> {
        match name {
            "terraform" => Self::parse(BUILT_IN),
            name => Self::parse(name),
        }
    }

    /// Whether it is part of Terraform itself.
    pub fn is_built_in(&self) -> bool {
        self.host.as_deref() == Some("terraform.io") && self.namespace == "builtin"
    }
}

impl fmt::Display for ProviderAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(host) = &self.host {
            write!(f, "{host}/")?;
        }
        write!(f, "{}/{}", self.namespace, self.kind)
    }
}

/// A host in lower case; `None` where it is the one that needs no name.
fn named_host(host: &str) -> Option<String> {
    let host = host.to_lowercase();
    let is_default = DEFAULT_REGISTRIES
        .iter()
        .any(|labels| host.split('.').eq(labels.iter().copied()));
    (!is_default).then_some(host)
}

/// Which providers may be used: `hashicorp/*`, `registry.example.com/acme/*`; `*` stands for any
/// text in one part. Without a host only the registry counts that needs no name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderPattern {
    text: String,
    /// The host; `None` for the registry that needs no name.
    host: Option<String>,
    namespace: String,
    kind: String,
}

impl ProviderPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    ///
    /// Where it is not of two or three parts.
    pub fn parse(text: &str) -> Result<Self, InvalidPattern> {
        let invalid = || InvalidPattern::Provider(text.to_owned());
        let parts: Vec<&str> = text.split('/').collect();
        let plain = |part: &&str| {
            !part.is_empty()
                && part
                    .chars()
                    .all(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | ':' | '*'))
        };
        if !parts.iter().all(plain) {
            return Err(invalid());
        }
        let (host, namespace, kind) = match parts[..] {
            [namespace, kind] => (None, namespace, kind),
            [host, namespace, kind] => (named_host(host), namespace, kind),
            _ => return Err(invalid()),
        };
        Ok(Self {
            text: text.to_owned(),
            host,
            namespace: namespace.to_lowercase(),
            kind: kind.to_lowercase(),
        })
    }

    /// Whether a provider is one of these.
    pub fn matches(&self, address: &ProviderAddress) -> bool {
        let host = match (&self.host, &address.host) {
            (None, None) => true,
            (Some(pattern), None) => pattern == "*",
            (Some(pattern), Some(host)) => is_match(pattern, host),
            (None, Some(_)) => false,
        };
        host && is_match(&self.namespace, &address.namespace) && is_match(&self.kind, &address.kind)
    }
}

impl fmt::Display for ProviderPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Where a module comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModuleSource {
    /// A folder of the repository itself: a path that begins with `./` or `../`.
    Local,
    /// A registry: host (`None` for the one that needs no name), namespace, name, target system.
    Registry(Option<String>, [String; 3]),
    /// A URL with how it is fetched: `git`, `https`, `s3` …
    Remote {
        /// How it is fetched.
        getter: String,
        /// The URL's scheme.
        scheme: String,
        /// Host (with its port) and the parts of the path.
        parts: Vec<String>,
    },
    /// Anything else: an absolute path, or what cannot be taken apart.
    Other,
}

impl ModuleSource {
    /// Takes a `source` apart as Terraform's module installer does; where it could read it in two
    /// ways, the result is [`ModuleSource::Other`], which no pattern but `*` matches.
    pub fn parse(source: &str) -> Self {
        if source == "." || source == ".." || source.starts_with("./") || source.starts_with("../")
        {
            return Self::Local;
        }
        // What hides its parts, or would be an option of `git`, is spelled for nobody honest.
        let odd = |c: char| c.is_control() || c.is_whitespace() || matches!(c, '\\' | '%' | '#');
        let (address, query) = match source.split_once('?') {
            Some((address, query)) => (address, query),
            None => (source, ""),
        };
        let option = query.split('&').any(|pair| {
            pair.split_once('=')
                .is_some_and(|(_, v)| v.starts_with('-'))
        });
        if address.contains(odd) || address.is_empty() || query.contains(odd) || option {
            return Self::Other;
        }
        let (forced, address) = match address.split_once("::") {
            Some((getter, rest)) => (Some(getter.to_ascii_lowercase()), rest),
            None => (None, address),
        };
        if let Some((scheme, rest)) = address.split_once("://") {
            let scheme = scheme.to_ascii_lowercase();
            return Self::remote(forced.unwrap_or_else(|| scheme.clone()), scheme, rest);
        }
        // `git@host:path`, as git itself has it.
        if let Some((destination, path)) = address.split_once(':')
            && let Some((_, host)) = destination.split_once('@')
            && !destination.contains('/')
            && forced.as_deref().is_none_or(|getter| getter == "git")
        {
            let rest = format!("{host}/{}", path.trim_start_matches('/'));
            return Self::remote("git".to_owned(), "ssh".to_owned(), &rest);
        }
        if forced.is_some() || address.starts_with('/') || address.contains('@') {
            return Self::Other;
        }
        let first = address.split('/').next().unwrap_or_default();
        if ["github.com", "bitbucket.org", "gitlab.com"].contains(&first) && address.contains('/') {
            return Self::remote("git".to_owned(), "https".to_owned(), address);
        }
        let registry = address
            .split_once("//")
            .map_or(address, |(address, _)| address);
        let parts: Vec<String> = registry.split('/').map(str::to_lowercase).collect();
        let named = |part: &String| {
            !part.is_empty()
                && part
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
        };
        match &parts[..] {
            [namespace, name, system] if parts.iter().all(named) => {
                Self::Registry(None, [namespace.clone(), name.clone(), system.clone()])
            }
            [host, rest @ ..]
                if rest.len() == 3 && rest.iter().all(named) && host.contains('.') =>
            {
                Self::Registry(
                    named_host(host),
                    [rest[0].clone(), rest[1].clone(), rest[2].clone()],
                )
            }
            _ => Self::Other,
        }
    }

    /// A URL, without the user in it and without the folder behind `//`.
    fn remote(getter: String, scheme: String, rest: &str) -> Self {
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let host = authority
            .rsplit_once('@')
            .map_or(authority, |(_, host)| host)
            .to_lowercase();
        let path = path.split_once("//").map_or(path, |(path, _)| path);
        let path = path.trim_matches('/');
        let path = path.strip_suffix(".git").unwrap_or(path);
        let parts: Vec<String> = std::iter::once(host.as_str())
            .chain(path.split('/').filter(|part| !part.is_empty()))
            .map(str::to_owned)
            .collect();
        let climbs = parts.iter().any(|part| matches!(part.as_str(), "." | ".."));
        // `git -oProxyCommand=…` came as a host once.
        if climbs || (scheme != "file" && host.is_empty()) || host.starts_with('-') {
            return Self::Other;
        }
        Self::Remote {
            getter,
            scheme,
            parts,
        }
    }
}

/// Where modules may come from: `registry`, a registry's address (`acme/*/*`), or the beginning of
/// a URL with `*` (`git::https://github.com/acme/*`). A `*` stands for any text within one part,
/// and at the end for all parts that follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModulePattern {
    text: String,
    form: Form,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Form {
    Everything,
    AnyRegistry,
    Registry(Option<String>, [String; 3]),
    Remote {
        getter: String,
        scheme: String,
        parts: Vec<String>,
    },
}

impl ModulePattern {
    /// Reads a pattern.
    ///
    /// # Errors
    ///
    /// Where it has none of the forms.
    pub fn parse(text: &str) -> Result<Self, InvalidPattern> {
        let form = match text {
            "*" => Form::Everything,
            "registry" => Form::AnyRegistry,
            _ => {
                // A letter in the place of each `*` has the form of what it is to match.
                let starred = |part: &String| part.replace(STAR, "*");
                match ModuleSource::parse(&text.replace('*', STAR)) {
                    ModuleSource::Registry(host, [namespace, name, system]) => Form::Registry(
                        host.map(|host| starred(&host)),
                        [starred(&namespace), starred(&name), starred(&system)],
                    ),
                    ModuleSource::Remote {
                        getter,
                        scheme,
                        parts,
                    } if !getter.contains(STAR) && !scheme.contains(STAR) => Form::Remote {
                        getter,
                        scheme,
                        parts: parts.iter().map(starred).collect(),
                    },
                    _ => return Err(InvalidPattern::Module(text.to_owned())),
                }
            }
        };
        Ok(Self {
            text: text.to_owned(),
            form,
        })
    }

    /// Whether a module may come from there.
    pub fn matches(&self, source: &ModuleSource) -> bool {
        match (&self.form, source) {
            (Form::Everything, _) => true,
            (Form::AnyRegistry, ModuleSource::Registry(..)) => true,
            (Form::Registry(host, parts), ModuleSource::Registry(other, others)) => {
                let host = match (host, other) {
                    (None, None) => true,
                    (Some(pattern), Some(host)) => is_match(pattern, host),
                    _ => false,
                };
                host && parts.iter().zip(others).all(|(p, o)| is_match(p, o))
            }
            (
                Form::Remote {
                    getter,
                    scheme,
                    parts,
                },
                ModuleSource::Remote {
                    getter: other_getter,
                    scheme: other_scheme,
                    parts: others,
                },
            ) => getter == other_getter && scheme == other_scheme && below(parts, others),
            _ => false,
        }
    }
}

impl fmt::Display for ModulePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Stands for `*` while a pattern is taken apart; no address has it.
const STAR: &str = "0star0";

/// Whether parts match those of a pattern, of which a last `*` stands for all that follow.
fn below(pattern: &[String], parts: &[String]) -> bool {
    match (pattern, parts) {
        ([last], [_, ..]) if last == "*" => true,
        ([first, rest @ ..], [part, parts @ ..]) => is_match(first, part) && below(rest, parts),
        ([], []) => true,
        _ => false,
    }
}

/// Whether a text matches a pattern, in which `*` stands for any text.
fn is_match(pattern: &str, text: &str) -> bool {
    let Some((beginning, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(mut text) = text.strip_prefix(beginning) else {
        return false;
    };
    // All but the last piece are taken where they stand first, which leaves most for the rest.
    let mut pieces: Vec<&str> = rest.split('*').collect();
    let last = pieces.pop().unwrap_or_default();
    for piece in pieces {
        match text.find(piece) {
            Some(at) => text = &text[at + piece.len()..],
            None => return false,
        }
    }
    text.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn provider(pattern: &str, source: &str) -> bool {
        let pattern = ProviderPattern::parse(pattern).unwrap();
        pattern.matches(&ProviderAddress::parse(source).unwrap())
    }

    fn module(pattern: &str, source: &str) -> bool {
        let pattern = ModulePattern::parse(pattern).unwrap();
        pattern.matches(&ModuleSource::parse(source))
    }

    #[test]
    fn a_provider_without_a_host_is_of_the_default_registry_however_it_is_written() {
        let host = DEFAULT_REGISTRIES[0].join(".");
        for source in [
            "aws".to_owned(),
            "hashicorp/aws".to_owned(),
            "HashiCorp/AWS".to_owned(),
            format!("{host}/hashicorp/aws"),
        ] {
            assert!(provider("hashicorp/*", &source), "{source}");
            assert!(
                provider(&format!("{host}/hashicorp/aws"), &source),
                "{source}"
            );
            assert!(provider("*/*/*", &source), "{source}");
        }
        assert!(!provider("hashicorp/*", "evil.example/hashicorp/aws"));
        assert!(!provider("*/*", "evil.example/hashicorp/aws"));
        assert!(!provider("hashicorp/aws", "hashicorp/aws2"));
        assert!(provider("*.example.com/acme/*", "r.example.com/acme/x"));
        assert!(ProviderAddress::implied("terraform").unwrap().is_built_in());
        assert!(ProviderAddress::parse("a/b/c/d").is_none());
        assert!(ProviderAddress::parse("a//d").is_none());
    }

    #[test]
    fn a_pattern_of_providers_has_two_or_three_parts() {
        for text in ["", "*", "aws", "a/b/c/d", "a//b", "a b/c"] {
            assert!(ProviderPattern::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn every_way_to_write_a_module_source_is_the_place_that_it_comes_from() {
        let pattern = "git::https://github.com/acme/*";
        for source in [
            "git::https://github.com/acme/vpc.git",
            "git::https://github.com/acme/vpc.git//sub/dir?ref=v1",
            "git::https://GitHub.com/acme/group/vpc",
            "git::https://user@github.com/acme/vpc",
            "github.com/acme/vpc",
            "github.com/acme/vpc//sub?ref=v1",
        ] {
            assert!(module(pattern, source), "{source}");
            assert!(module("git::https://*", source), "{source}");
        }
        for source in [
            "git::https://github.com/evil/vpc",
            "git::https://github.com@evil.example/acme/vpc",
            "git::https://evil.example/github.com/acme/vpc",
            "git::https://github.com/acme/../evil/vpc",
            "git::https://github.com/acme/%2e%2e/evil",
            "git::https://github.com/acme",
            "git::http://github.com/acme/vpc",
            "https://github.com/acme/vpc",
            "git::ssh://github.com/acme/vpc",
            "git::ext::sh -c id",
            "git::file:///srv/x",
            "github.com/evil/acme",
            "/acme",
        ] {
            assert!(!module(pattern, source), "{source}");
        }
        for source in [
            "git@github.com:acme/vpc.git",
            "git::ssh://git@github.com/acme/vpc.git",
            "git::git@github.com:acme/vpc.git?ref=v2",
        ] {
            assert!(
                module("git::ssh://git@github.com/acme/*", source),
                "{source}"
            );
            assert!(module("git::ssh://*", source), "{source}");
        }
        assert!(module(
            "s3::https://*",
            "s3::https://s3.amazonaws.com/b/x.zip"
        ));
    }

    #[test]
    fn the_registry_is_told_from_everything_else() {
        for source in [
            "acme/vpc/aws",
            "acme/vpc/aws//sub",
            "app.example.com/acme/vpc/aws",
        ] {
            assert!(module("registry", source), "{source}");
        }
        assert!(module("acme/*/*", "acme/vpc/aws//sub"));
        assert!(!module("acme/*/*", "app.example.com/acme/vpc/aws"));
        assert!(module(
            "app.example.com/*/*/*",
            "app.example.com/acme/vpc/aws"
        ));
        for source in [
            "vpc",
            "/srv/vpc",
            "https://x/y.zip",
            "git::https://x/y",
            "a/b/c/d/e",
        ] {
            assert!(!module("registry", source), "{source}");
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_let_in_by_the_star_alone() {
        for source in [
            "git::https://host/x?ref=--upload-pack=touch",
            "git::ssh://-oProxyCommand=x/y",
            "git::https://host\\x/y",
            "git::https://evil.example#@github.com/acme/x",
            "git::https://evil.example/#/acme/x",
            "git::https://host/x?ref=%2d%2dupload-pack=touch",
            "git::https://host/x?ref=v1#y",
            "git::https://host/x?ref=\\x",
            "/etc",
            "C:\\x",
            "",
        ] {
            assert_eq!(ModuleSource::parse(source), ModuleSource::Other, "{source}");
            assert!(module("*", source));
        }
        assert_eq!(ModuleSource::parse("../x"), ModuleSource::Local);
    }

    #[test]
    fn a_pattern_of_modules_has_one_of_the_forms() {
        for text in ["", "git", "git::*", "./x", "/srv", "g*t::https://x", "acme"] {
            assert!(ModulePattern::parse(text).is_err(), "{text}");
        }
        for text in [
            "*",
            "registry",
            "acme/*/*",
            "https://*",
            "git::file:///srv/*",
        ] {
            assert!(ModulePattern::parse(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn a_star_is_any_text() {
        assert!(is_match("a*b*c", "axxbyyc") && is_match("*", "") && is_match("a*", "a"));
        assert!(!is_match("a*b", "a") && !is_match("ab*ba", "aba") && !is_match("a", "ab"));
    }
}
