//! Names and patterns of environment variables.

/// A pattern of environment variables cannot be allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum InvalidVariable {
    /// It is no name of a variable, with or without `*`.
    #[error(
        "`{0}` is no name of a variable; one has letters, digits, `_`, and `*` for any of them"
    )]
    Name(String),
    /// It names what steers Terraform itself.
    #[error(
        "`{0}` is refused: `TF_…` variables steer Terraform itself (they add options, move its state, switch its workspace); only `TF_VAR_…` and `TF_TOKEN_…` pass"
    )]
    Steering(String),
    /// It lets through what steers Terraform itself, among others.
    #[error(
        "`{pattern}` also matches `{matched}`, and `TF_…` variables steer Terraform itself; write a longer beginning"
    )]
    MatchesSteering {
        /// The pattern.
        pattern: String,
        /// A variable that it matches.
        matched: &'static str,
    },
    /// It lets through the daemon's own credential.
    #[error(
        "`{pattern}` would hand out the daemon's own token in `{variable}`, and the code that is planned could read it; give what the runs need another name"
    )]
    Credential {
        /// The pattern.
        pattern: String,
        /// The variable.
        variable: String,
    },
}

/// Variables that steer Terraform or OpenTofu, from their documentation. They are
/// what a pattern that does not begin with `TF_` is tried on.
const STEERING: [&str; 21] = [
    "TF_APPEND_USER_AGENT",
    "TF_CLI_ARGS",
    "TF_CLI_ARGS_apply",
    "TF_CLI_ARGS_init",
    "TF_CLI_ARGS_plan",
    "TF_CLI_CONFIG_FILE",
    "TF_DATA_DIR",
    "TF_ENCRYPTION",
    "TF_IGNORE",
    "TF_INPUT",
    "TF_IN_AUTOMATION",
    "TF_LOG",
    "TF_LOG_CORE",
    "TF_LOG_PATH",
    "TF_LOG_PROVIDER",
    "TF_PLUGIN_CACHE_DIR",
    "TF_REATTACH_PROVIDERS",
    "TF_SKIP_PROVIDER_VERIFY",
    "TF_STATE_PERSIST_INTERVAL",
    "TF_TEMP_LOG_PATH",
    "TF_WORKSPACE",
];

/// Whether a text can name an environment variable.
pub(super) fn is_name(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with(|c: char| c.is_ascii_digit())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Whether a pattern, a name in which `*` stands for any text, matches a name.
pub(super) fn matches(pattern: &str, name: &str) -> bool {
    let Some((head, tail)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let Some(mut rest) = name.strip_prefix(head) else {
        return false;
    };
    let mut parts: Vec<&str> = tail.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        // The earliest place leaves the most for what follows.
        match rest.find(part) {
            Some(place) => rest = &rest[place + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// Checks a pattern of variables that runs may see. `credential` is the variable
/// that holds the daemon's own token.
///
/// # Errors
///
/// Where it is no pattern, or lets through what must stay with the daemon.
pub(super) fn check_pattern(
    pattern: &str,
    credential: Option<&str>,
) -> Result<String, InvalidVariable> {
    if !is_name(&pattern.replace('*', "_")) {
        return Err(InvalidVariable::Name(pattern.to_owned()));
    }
    if let Some(variable) = credential.filter(|variable| matches(pattern, variable)) {
        return Err(InvalidVariable::Credential {
            pattern: pattern.to_owned(),
            variable: variable.to_owned(),
        });
    }
    let begins = pattern.split('*').next().unwrap_or_default();
    if begins.starts_with("TF_VAR_") || begins.starts_with("TF_TOKEN_") {
        return Ok(pattern.to_owned());
    }
    if begins.starts_with("TF_") {
        return Err(InvalidVariable::Steering(pattern.to_owned()));
    }
    match STEERING.into_iter().find(|name| matches(pattern, name)) {
        Some(matched) => Err(InvalidVariable::MatchesSteering {
            pattern: pattern.to_owned(),
            matched,
        }),
        None => Ok(pattern.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, name) in [
            ("AWS_*", "AWS_REGION"),
            ("AWS_*", "AWS_"),
            ("*", "HOME"),
            ("*_KEY", "AWS_KEY"),
            ("A*B*C", "AxBxBxC"),
            ("HOME", "HOME"),
        ] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("AWS_*", "XAWS_REGION"),
            ("HOME", "HOMES"),
            ("A*A", "A"),
            ("A*B*C", "ACB"),
            ("aws_*", "AWS_REGION"),
        ] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn what_steers_terraform_passes_through_no_pattern() {
        for bad in [
            "TF_*",
            "TF_CLI_ARGS",
            "TF_WORKSPACE",
            "TF_V*",
            "T*",
            "*",
            "*_ARGS_plan",
            "TF_*_VAR_x",
        ] {
            assert!(
                matches!(
                    check_pattern(bad, None),
                    Err(InvalidVariable::Steering(_) | InvalidVariable::MatchesSteering { .. })
                ),
                "{bad}"
            );
        }
        for good in ["TF_VAR_*", "TF_VAR_region", "TF_TOKEN_*", "AWS_*", "T_*"] {
            assert_eq!(check_pattern(good, None), Ok(good.to_owned()));
        }
    }

    #[test]
    fn the_daemons_own_token_passes_through_no_pattern() {
        for bad in ["GITHUB_TOKEN", "GITHUB_*", "*_TOKEN", "G*N"] {
            assert!(
                matches!(
                    check_pattern(bad, Some("GITHUB_TOKEN")),
                    Err(InvalidVariable::Credential { .. })
                ),
                "{bad}"
            );
        }
        assert!(check_pattern("GITHUB_OWNER", Some("GITHUB_TOKEN")).is_ok());
    }

    #[test]
    fn a_pattern_is_a_name_with_stars() {
        for bad in ["", "A B", "A=B", "A-B", "1A", "AWS_?"] {
            assert_eq!(
                check_pattern(bad, None),
                Err(InvalidVariable::Name(bad.to_owned()))
            );
        }
    }
}
