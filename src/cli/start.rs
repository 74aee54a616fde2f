//! The commands that run the daemon.

use anyhow::bail;

use super::{ConfigArgument, Exit, shown};
use crate::config::LogFormat;
use crate::engine::CancelToken;
use crate::serve::{
    Daemon, Ended, Forges, find_engine, find_sandbox, load_policies, open_fleet, own_environment,
    say_sandbox,
};
use crate::{demo, web};

/// What the log shows where `RUST_LOG` says nothing. Octocrab logs each 5xx as an error; we say it ourselves.
const LOG_DEFAULT: &str = "info,octocrab=off,hyper=warn";

/// Runs the daemon until it is asked to end.
pub(super) fn serve(argument: &ConfigArgument) -> anyhow::Result<Exit> {
    shown::runtime()?.block_on(async {
        // First of all: whoever ends it while it starts ends it in order, too.
        let end = CancelToken::new();
        end_on_signals(&end)?;
        let (config, declarations) = shown::load(argument)?;
        shown::log(config.log, LOG_DEFAULT);
        let sandbox = find_sandbox(&config)?;
        say_sandbox(&sandbox);
        let policies = load_policies(&config, &declarations)?;
        let engine = find_engine(&config)?;
        let forges = Forges::new(&config, &declarations)?;
        let fleet = open_fleet(config, declarations, &forges)?;
        let Some(daemon) = Daemon::new(fleet, engine, sandbox, policies, own_environment(), &end).await? else {
            return Ok(Exit::Nothing);
        };
        let listener = web::listen(daemon.fleet(), &end).await?;
        let ended = daemon.run(end).await;
        if let Some(listener) = listener {
            listener.abort();
        }
        match ended {
            Ended::InOrder => Ok(Exit::Nothing),
            Ended::TakenOver => bail!(
                "another `mainstay serve` took over, since this one did nothing for too long; start it again to have it \
                 wait for its turn"
            ),
        }
    })
}

/// Shows the whole job on a throw-away repository.
pub(super) fn demo(once: bool) -> anyhow::Result<Exit> {
    shown::log(LogFormat::Text, "warn,octocrab=off");
    let colour = shown::colour(&std::io::stdout());
    shown::runtime()?.block_on(async {
        let end = CancelToken::new();
        end_on_signals(&end)?;
        let after = if once {
            demo::After::End
        } else {
            demo::After::KeepRunning
        };
        demo::run(after, colour, shown::width(), &end).await?;
        Ok(Exit::Nothing)
    })
}

/// SIGTERM and Ctrl-C end in order; a second Ctrl-C is obeyed at once, as people expect.
fn end_on_signals(end: &CancelToken) -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let end = end.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        end.cancel();
        interrupt.recv().await;
        // Terraform has a session of its own and goes on; the next daemon takes it over.
        eprintln!("Ended at once: what applies goes on, and the next start takes it over.");
        std::process::exit(130);
    });
    Ok(())
}
