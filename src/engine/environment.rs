//! What Terraform sees of the daemon's environment: little, and by name.

use crate::redact::Secret;

/// Variables that every run sees where the daemon has them: what programs need
/// to find each other, the time, the network and the operator's settings.
const ALWAYS: [&str; 18] = [
    "PATH",
    "HOME",
    "USER",
    "LANG",
    "LC_ALL",
    "TZ",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "all_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
    "TF_CLI_CONFIG_FILE",
    "TF_PLUGIN_CACHE_DIR",
];

/// Beginnings of the `TF_` variables that a pattern may let in. All others
/// change how Terraform is run (`TF_CLI_ARGS` adds flags, `TF_WORKSPACE`
/// another state, `TF_LOG` secrets in the output), and that is not a
/// workspace's to say.
const TERRAFORM_VALUES: [&str; 3] = ["TF_VAR_", "TF_TOKEN_", "TF_ENCRYPTION"];

/// Chooses from the daemon's environment what the runs of a workspace may see:
/// a short list of harmless names, and what `patterns` name, where `*` stands
/// for any text.
///
/// A variable of Terraform's own passes only as `TF_VAR_…`, `TF_TOKEN_…` or
/// `TF_ENCRYPTION` (OpenTofu cannot read an encrypted state without it), and
/// only by a pattern that spells this beginning out. Names in `never` (the
/// forge's token) do not pass, whatever a pattern says. The result is sorted
/// by name and has each name once.
pub fn environment(
    patterns: &[String],
    daemon: impl IntoIterator<Item = (String, String)>,
    never: &[String],
) -> Vec<(String, Secret)> {
    let mut chosen: Vec<(String, Secret)> = daemon
        .into_iter()
        .filter(|(name, _)| !never.contains(name))
        .filter(|(name, _)| {
            ALWAYS.contains(&name.as_str())
                || patterns
                    .iter()
                    .any(|pattern| names(pattern, name) && permitted(pattern, name))
        })
        .map(|(name, value)| (name, Secret::new(value)))
        .collect();
    chosen.sort_by(|(a, _), (b, _)| a.cmp(b));
    chosen.dedup_by(|(a, _), (b, _)| a == b);
    chosen
}

/// Whether a pattern is strong enough to let a name in that it matches.
fn permitted(pattern: &str, name: &str) -> bool {
    if name == "TMPDIR" || name == "CHECKPOINT_DISABLE" {
        return false; // The engine sets these itself.
    }
    !name.starts_with("TF_")
        || TERRAFORM_VALUES
            .iter()
            .any(|beginning| name.starts_with(beginning) && pattern.starts_with(beginning))
}

/// Whether a run may be given a variable of this name by a command that prints credentials: one that
/// is not known to change which programs run, or how.
pub(super) fn may_be_given(name: &str) -> bool {
    /// Beginnings of names that steer the loader of programs, shells, git and languages.
    const STEERING: [&str; 8] = [
        "LD_", "DYLD_", "BASH_", "GIT_", "PYTHON", "PERL", "NODE_", "GODEBUG",
    ];
    const SHELL: [&str; 4] = ["ENV", "IFS", "SHELL", "SHELLOPTS"];
    !ALWAYS.contains(&name)
        && !SHELL.contains(&name)
        && !STEERING.iter().any(|start| name.starts_with(start))
        && permitted(name, name)
}

/// Whether a pattern matches a name; `*` stands for any text, nothing else is special.
fn names(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((beginning, rest)) => {
            let Some(name) = name.strip_prefix(beginning) else {
                return false;
            };
            (0..=name.len())
                .filter(|at| name.is_char_boundary(*at))
                .any(|at| names(rest, &name[at..]))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(patterns: &[&str], daemon: &[&str], never: &[&str]) -> Vec<String> {
        let own = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        environment(
            &own(patterns),
            daemon
                .iter()
                .map(|name| ((*name).to_owned(), format!("value of {name}"))),
            &own(never),
        )
        .into_iter()
        .map(|(name, value)| {
            assert_eq!(value.expose(), format!("value of {name}"));
            name
        })
        .collect()
    }

    #[test]
    fn nothing_but_the_list_passes_by_itself() {
        let daemon = [
            "PATH",
            "HOME",
            "LD_PRELOAD",
            "AWS_SECRET_ACCESS_KEY",
            "https_proxy",
            "SHELL",
        ];
        assert_eq!(chosen(&[], &daemon, &[]), ["HOME", "PATH", "https_proxy"]);
    }

    #[test]
    fn a_pattern_lets_in_what_it_names() {
        let daemon = ["AWS_REGION", "AWS_PLAN_KEY", "XAWS_PLAN_KEY", "GOOGLE_KEY"];
        assert_eq!(chosen(&["AWS_PLAN_*"], &daemon, &[]), ["AWS_PLAN_KEY"]);
        assert_eq!(
            chosen(&["*_KEY"], &daemon, &[]),
            ["AWS_PLAN_KEY", "GOOGLE_KEY", "XAWS_PLAN_KEY"]
        );
        assert_eq!(
            chosen(&["AWS_*N*"], &daemon, &[]),
            ["AWS_PLAN_KEY", "AWS_REGION"]
        );
        assert_eq!(chosen(&["AWS_REGION"], &daemon, &[]), ["AWS_REGION"]);
    }

    #[test]
    fn terraform_is_not_steered_through_the_environment() {
        let daemon = [
            "TF_CLI_ARGS",
            "TF_CLI_ARGS_plan",
            "TF_WORKSPACE",
            "TF_DATA_DIR",
            "TF_LOG",
            "TF_REATTACH_PROVIDERS",
            "TF_VAR_size",
            "TF_TOKEN_app_example_com",
            "TF_ENCRYPTION",
            "TMPDIR",
        ];
        assert!(chosen(&["*"], &daemon, &[]).is_empty());
        assert!(chosen(&["TF_*"], &daemon, &[]).is_empty());
        assert!(chosen(&["TF_CLI_ARGS", "TF_WORKSPACE"], &daemon, &[]).is_empty());
        assert_eq!(
            chosen(&["TF_VAR_*", "TF_TOKEN_*", "TF_ENCRYPTION"], &daemon, &[]),
            ["TF_ENCRYPTION", "TF_TOKEN_app_example_com", "TF_VAR_size"]
        );
    }

    #[test]
    fn the_forges_token_never_passes() {
        let daemon = ["GITHUB_TOKEN", "GITHUB_OWNER", "PATH"];
        for pattern in ["*", "GITHUB_*", "GITHUB_TOKEN"] {
            assert!(
                !chosen(&[pattern], &daemon, &["GITHUB_TOKEN"])
                    .contains(&"GITHUB_TOKEN".to_owned()),
                "{pattern}"
            );
        }
        assert!(chosen(&[], &["PATH"], &["PATH"]).is_empty());
    }

    #[test]
    fn the_operators_own_terraform_settings_pass() {
        assert_eq!(
            chosen(&[], &["TF_CLI_CONFIG_FILE", "TF_PLUGIN_CACHE_DIR"], &[]),
            ["TF_CLI_CONFIG_FILE", "TF_PLUGIN_CACHE_DIR"]
        );
    }
}
