//! What every run needs of the machine: programs, libraries, certificates, the operator's providers.

use std::path::{Path, PathBuf};

/// Folders of programs and libraries. On most machines some are links to others.
pub(super) const PROGRAMS: [&str; 9] = [
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/nix/store",
    "/gnu/store",
];

/// Of `/etc` what programs need to find libraries, names, hosts, the time and certificates. None of
/// it is secret; `/etc` as a whole may hold keys.
pub(super) const SETTINGS: [&str; 24] = [
    "/etc/alternatives",
    "/etc/ca-certificates",
    "/etc/ca-certificates.conf",
    "/etc/crypto-policies",
    "/etc/gai.conf",
    "/etc/gitconfig",
    "/etc/group",
    "/etc/host.conf",
    "/etc/hosts",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/mime.types",
    "/etc/nsswitch.conf",
    "/etc/os-release",
    "/etc/passwd",
    "/etc/pki/ca-trust",
    "/etc/pki/tls/cert.pem",
    "/etc/pki/tls/certs",
    "/etc/protocols",
    "/etc/resolv.conf",
    "/etc/services",
    "/etc/ssl/certs",
];

/// Of `/etc/ssl` only this beside the certificates: private keys stand next to it.
pub(super) const OPENSSL: &str = "/etc/ssl/openssl.cnf";

/// The paths that Terraform's CLI configuration names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CliPaths {
    /// Mirrors and overrides: every run reads them.
    pub read: Vec<PathBuf>,
    /// The plugin cache, as it is written: it may name a variable.
    pub plugin_cache: Option<PathBuf>,
}

impl CliPaths {
    /// Finds them in the text of the configuration.
    ///
    /// It is written in the older HCL, or in JSON, and no reader here takes both. So every text in
    /// quotes that is an absolute path counts, outside of comments.
    pub fn of(text: &str) -> Self {
        let mut found = Self::default();
        for line in text.lines().map(str::trim_start) {
            if line.starts_with('#') || line.starts_with("//") {
                continue;
            }
            let mut quoted = line.split('"').skip(1).step_by(2);
            if line.trim_start_matches('"').starts_with("plugin_cache_dir") {
                found.plugin_cache = quoted
                    .find(|text| *text != "plugin_cache_dir")
                    .map(PathBuf::from);
                continue;
            }
            let absolute = quoted.map(Path::new).filter(|path| {
                // The top of the disk would open everything.
                path.is_absolute() && path.parent().is_some()
            });
            found.read.extend(absolute.map(Path::to_owned));
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_paths_of_a_cli_configuration_are_found_in_both_forms() {
        let hcl = r#"
plugin_cache_dir = "/var/cache/terraform"
# path = "/root"
provider_installation {
  filesystem_mirror {
    path    = "/srv/providers"
    include = ["example.com/*/*"]
  }
  dev_overrides {
    "acme/thing" = "/opt/thing"
  }
}
host "/" {}
"#;
        let found = CliPaths::of(hcl);
        assert_eq!(
            found.read,
            ["/srv/providers", "/opt/thing"].map(PathBuf::from)
        );
        assert_eq!(found.plugin_cache, Some("/var/cache/terraform".into()));
        let json = r#"{
  "plugin_cache_dir": "$HOME/cache",
  "provider_installation": [ { "filesystem_mirror": [ { "path": "/srv/p" } ] } ]
}"#;
        let found = CliPaths::of(json);
        assert_eq!(found.read, [PathBuf::from("/srv/p")]);
        assert_eq!(found.plugin_cache, Some("$HOME/cache".into()));
        assert_eq!(CliPaths::of(""), CliPaths::default());
    }

    #[test]
    fn no_private_key_of_the_machine_is_among_the_toolchain() {
        for path in SETTINGS.iter().chain([&OPENSSL]) {
            for private in [
                "/etc/ssl/private/key.pem",
                "/etc/pki/tls/private/key.pem",
                "/etc/shadow",
                "/etc/ssh/ssh_host_ed25519_key",
                "/etc/mainstay/token",
            ] {
                assert!(
                    !Path::new(private).starts_with(path),
                    "{path} holds {private}"
                );
            }
        }
    }
}
