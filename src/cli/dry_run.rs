//! `mainstay dry-run`: the shell round the dry run.

use std::collections::HashMap;
use std::io::IsTerminal as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::{ConfigArgument, Exit, ReportFormat, shown};
use crate::config::{self, Config, ConfigNotFound, LogFormat};
use crate::dry_run::{Plans, Request, Watcher, dry_run as plan_checkout};
use crate::engine::{CancelToken, Progress};
use crate::fleet;
use crate::id::WorkspaceName;
use crate::report;
use crate::serve::{find_engine, load_policies};
use crate::workspace::Declaration;

/// Plans a checkout and prints what the comment would say.
pub(super) fn dry_run(
    dir: &Path,
    base: Option<&str>,
    workspaces: &[WorkspaceName],
    format: ReportFormat,
    argument: &ConfigArgument,
) -> anyhow::Result<Exit> {
    shown::log(LogFormat::Text, "error");
    if format == ReportFormat::JsonSchema {
        print!("{}", report::SCHEMA);
        return Ok(Exit::Nothing);
    }
    let (config, declarations) = settings(dir, argument)?;
    let (templates, problems) = fleet::templates(&config);
    for problem in problems {
        anstream::eprintln!("{problem}");
    }
    let engine = find_engine(&config)?;
    let policies = Arc::new(load_policies(&config, &declarations)?);
    let request = Request {
        policies,
        dir: dir.to_owned(),
        base: base.map(str::to_owned),
        workspaces: workspaces.to_vec(),
        config,
        declarations,
    };
    let lines = Arc::new(Lines::new());
    shown::runtime()?.block_on(async {
        let cancel = CancelToken::new();
        cancel_on_signals(&cancel)?;
        let watcher: Arc<dyn Watcher> = Arc::clone(&lines) as _;
        let outcome = plan_checkout(request, engine, watcher, &cancel).await;
        lines.clear();
        let outcome = outcome?;
        match format {
            ReportFormat::Text => {
                let colour = if shown::colour(&std::io::stdout()) {
                    report::Colour::Yes
                } else {
                    report::Colour::No
                };
                println!(
                    "{}",
                    report::terminal(&outcome.report, colour, shown::width())
                );
            }
            ReportFormat::Markdown => {
                println!("{}", report::comment(&outcome.report, &templates)?);
            }
            // The schema was printed before anything was planned.
            ReportFormat::Json | ReportFormat::JsonSchema => {
                println!(
                    "{}",
                    serde_json::to_string_pretty(&report::json(&outcome.report))?
                );
            }
        }
        Ok(match outcome.plans {
            Plans::Unchanged => Exit::Nothing,
            Plans::Changes => Exit::Changes,
            Plans::Denied => Exit::Denied,
            Plans::Failed => Exit::Error,
        })
    })
}

/// Ctrl-C, SIGTERM and a terminal that closes end Terraform and remove the copy.
fn cancel_on_signals(cancel: &CancelToken) -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    for kind in [
        SignalKind::interrupt(),
        SignalKind::terminate(),
        SignalKind::hangup(),
    ] {
        let mut signal = signal(kind)?;
        let cancel = cancel.clone();
        tokio::spawn(async move {
            if signal.recv().await.is_some() {
                cancel.cancel();
            }
        });
    }
    Ok(())
}

/// The settings where there are any: a dry run needs none.
fn settings(dir: &Path, argument: &ConfigArgument) -> anyhow::Result<(Config, Vec<Declaration>)> {
    match config::find(argument.config.as_deref()) {
        Ok(_) => shown::load(argument),
        // Somebody named a file: that it is not there is worth an error.
        Err(error)
            if argument.config.is_some() || !matches!(error, ConfigNotFound::Nowhere { .. }) =>
        {
            Err(error.into())
        }
        Err(_) => Ok((Config::default_in(dir), Vec::new())),
    }
}

/// A line for each workspace on a terminal; nothing where nobody watches.
struct Lines {
    all: MultiProgress,
    lines: Mutex<HashMap<WorkspaceName, ProgressBar>>,
}

impl Lines {
    fn new() -> Self {
        let all = MultiProgress::new();
        if !std::io::stderr().is_terminal() {
            all.set_draw_target(indicatif::ProgressDrawTarget::hidden());
        }
        Self {
            all,
            lines: Mutex::default(),
        }
    }

    fn with(&self, workspace: &WorkspaceName, change: impl FnOnce(&ProgressBar)) {
        if let Some(line) = self
            .lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(workspace)
        {
            change(line);
        }
    }

    fn clear(&self) {
        for line in self
            .lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
        {
            line.finish_and_clear();
        }
    }
}

impl Watcher for Lines {
    fn begins(&self, workspaces: &[WorkspaceName]) {
        let style = ProgressStyle::with_template("{spinner} {prefix}: {msg} ({elapsed})")
            .unwrap_or_else(|_| ProgressStyle::default_spinner());
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        for name in workspaces {
            let line = self.all.add(ProgressBar::new_spinner());
            line.set_style(style.clone());
            line.set_prefix(name.to_string());
            line.set_message("waiting");
            line.enable_steady_tick(Duration::from_millis(120));
            lines.insert(name.clone(), line);
        }
    }

    fn progress(&self, workspace: &WorkspaceName, progress: &Progress) {
        let text = match progress {
            Progress::Started(step) => step.to_string(),
            Progress::Refreshed(count) => format!("plan, {count} resources refreshed"),
            Progress::Planned(count) => format!("plan, {count} changes"),
            Progress::Applying(_) | Progress::Applied(_) | Progress::Failed(_) => return,
        };
        self.with(workspace, |line| line.set_message(text));
    }

    fn ended(&self, workspace: &WorkspaceName) {
        self.with(workspace, |line| line.finish_with_message("done"));
    }
}
