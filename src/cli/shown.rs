//! What every command shows alike: errors, settings that do not load, the log.

use std::fmt;
use std::io::IsTerminal as _;

use anstyle::{AnsiColor, Style};
use tracing_subscriber::EnvFilter;

use super::ConfigArgument;
use crate::config::{self, Config, LogFormat, Severity};
use crate::workspace::Declaration;

/// Shows why a command failed: the error, then its causes.
pub(super) fn error(error: &anyhow::Error) {
    let red = Style::new().bold().fg_color(Some(AnsiColor::Red.into()));
    anstream::eprintln!("{red}error:{red:#} {error}");
    let mut said = error.to_string();
    for cause in error.chain().skip(1) {
        let text = cause.to_string();
        // Some libraries repeat the cause in their own text.
        if !said.contains(&text) {
            anstream::eprintln!("  because {text}");
            said.push_str(&text);
        }
    }
}

/// Reads the settings, showing warnings.
///
/// # Errors
///
/// All problems at once, each with its place.
pub(super) fn load(argument: &ConfigArgument) -> anyhow::Result<(Config, Vec<Declaration>)> {
    let file = config::find(argument.config.as_deref())?;
    let loaded = config::load(&file);
    let yellow = Style::new().bold().fg_color(Some(AnsiColor::Yellow.into()));
    for problem in loaded
        .problems
        .iter()
        .filter(|p| p.severity == Severity::Warning)
    {
        anstream::eprintln!("{yellow}warning:{yellow:#} {problem}");
    }
    Ok(loaded.into_valid()?)
}

/// Sends the log to standard error. `RUST_LOG` says how much; by default what an operator wants to know.
pub(super) fn log(format: LogFormat, default: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colour(&std::io::stderr()));
    match format {
        LogFormat::Text => subscriber.with_target(false).init(),
        LogFormat::Json => subscriber.json().flatten_event(true).init(),
    }
}

/// Whether colour is wanted there: on a terminal, and not with `NO_COLOR`.
pub(super) fn colour(stream: &impl std::io::IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// How wide standard output is, in columns.
pub(super) fn width() -> usize {
    /// Where nothing says how wide it is.
    const FALLBACK: usize = 100;
    if !std::io::stdout().is_terminal() {
        return FALLBACK;
    }
    std::env::var("COLUMNS")
        .ok()
        .and_then(|columns| columns.parse().ok())
        .or_else(|| {
            rustix::termios::tcgetwinsize(std::io::stdout())
                .ok()
                .map(|size| usize::from(size.ws_col))
        })
        .filter(|columns| *columns >= 40)
        .unwrap_or(FALLBACK)
}

/// Says which of the names that there are is meant, where one is near; else all of them.
pub(super) fn nearest<T: fmt::Display>(wanted: &str, known: &[T]) -> String {
    /// Names that are less alike are no typing mistake.
    const ALIKE: f64 = 0.7;
    let known: Vec<String> = known.iter().map(ToString::to_string).collect();
    let near = known
        .iter()
        .map(|name| (strsim::jaro_winkler(wanted, name), name))
        .filter(|(likeness, _)| *likeness > ALIKE)
        .max_by(|(a, _), (b, _)| a.total_cmp(b));
    match near {
        Some((_, name)) => format!("did you mean `{name}`?"),
        None if known.is_empty() => "there is none".to_owned(),
        None => {
            let all: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
            let are = if all.len() == 1 { "is" } else { "are" };
            format!("there {are} {}", all.join(", "))
        }
    }
}

/// A comment without the marker that Mainstay finds it by, which nobody sees on GitHub.
pub(super) fn without_marker(body: &str) -> &str {
    match body.split_once('\n') {
        Some((first, rest)) if first.starts_with("<!-- mainstay:") => rest,
        _ => body,
    }
}

/// An async runtime for one command.
///
/// # Errors
///
/// Where the system gives no threads.
pub(super) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_mistake_is_answered_with_the_name_and_a_guess_with_all_of_them() {
        let known = ["network", "database"];
        assert_eq!(nearest("netwrok", &known), "did you mean `network`?");
        assert_eq!(nearest("x", &known), "there are `network`, `database`");
        assert_eq!(nearest("x", &known[..1]), "there is `network`");
        assert_eq!(nearest::<&str>("x", &[]), "there is none");
    }

    #[test]
    fn only_the_marker_is_taken_off() {
        assert_eq!(without_marker("<!-- mainstay:proposal -->\n### a"), "### a");
        assert_eq!(
            without_marker("### a\n<!-- mainstay:x -->"),
            "### a\n<!-- mainstay:x -->"
        );
    }
}
