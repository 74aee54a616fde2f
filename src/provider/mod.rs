//! `localfs`, a small real Terraform provider that this program can serve as.
//!
//! The demonstration and the tests need infrastructure that costs nothing and
//! needs no account: here it is files. Terraform starts this same program under
//! a provider's name (see [`install`]), and it then speaks plugin protocol 6
//! instead of running a command. Drift is real: edit the file on disk.
//!
//! The provider has one resource and one data source, both named
//! `localfs_file`, and takes the folder of relative paths from its block:
//!
//! ```hcl
//! provider "localfs" {
//!   root = "/srv/world" # else the environment variable LOCALFS_ROOT, else the current folder
//! }
//!
//! resource "localfs_file" "motd" {
//!   path    = "etc/motd"
//!   content = "hello\n"
//! }
//! ```
//!
//! Trouble can be asked for, by the attributes `delay_ms`, `delay_after_ms`,
//! `delay_plan_ms` and `fail`, or by the environment variables `LOCALFS_DELAY_MS`, `LOCALFS_FAIL`
//! and `LOCALFS_HONOUR_STOP`.

mod file;
mod install;
mod knobs;
mod schema;
mod service;
mod tls;
mod value;
mod wire;

use std::ffi::OsStr;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};

pub use install::{CliConfig, InstallError, SOURCE, install};

/// What the program's file name begins with where Terraform starts it as a provider.
const PROGRAM_PREFIX: &str = "terraform-provider-";

/// Terraform sets this variable for the plugins that it starts.
const MAGIC_COOKIE: &str = "TF_PLUGIN_MAGIC_COOKIE";

/// Holds Terraform's certificate in PEM; missing where TLS is switched off.
const CLIENT_CERTIFICATE: &str = "PLUGIN_CLIENT_CERT";

/// Terraform gives up a plugin that it cannot reach for one minute; so does the
/// plugin, which would otherwise outlive a Terraform that was killed at once.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(60);

/// Why the provider could not be served.
#[derive(Debug, thiserror::Error)]
enum ServeError {
    #[error("no private folder for the socket can be made in {folder}")]
    Folder {
        folder: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "the socket {path} cannot be listened on (the path may have 107 bytes at most; TMPDIR sets its folder)"
    )]
    Socket {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the provider's connection cannot be secured")]
    Tls(#[from] tls::TlsError),
    #[error("the handshake line cannot be written to standard output")]
    Handshake(#[source] io::Error),
    #[error("Terraform did not connect within {} s", CONNECT_TIMEOUT.as_secs())]
    NobodyCame,
    #[error("Terraform's connection broke off")]
    Accept(#[source] io::Error),
    #[error("the connection with Terraform failed")]
    Http2(#[from] h2::Error),
    #[error("the asynchronous runtime cannot be started")]
    Runtime(#[source] io::Error),
}

/// Whether Terraform started this process as a provider.
///
/// That takes both its variable in the environment and a provider's name as the
/// program's own: what Terraform starts, as a `local-exec` command, may inherit the variable.
pub fn started_as_plugin() -> bool {
    let program = std::env::args_os().next();
    std::env::var_os(MAGIC_COOKIE).is_some() && program.is_some_and(|program| is_provider(&program))
}

fn is_provider(program: &OsStr) -> bool {
    let name = Path::new(program).file_name().unwrap_or_default();
    name.as_encoded_bytes()
        .starts_with(PROGRAM_PREFIX.as_bytes())
}

/// Serves as the provider until Terraform is done with it.
///
/// Standard output carries the one line that tells Terraform where to connect;
/// errors go to standard error, which Terraform keeps in its log (`TF_LOG`).
pub fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    match runtime
        .map_err(ServeError::Runtime)
        .and_then(|runtime| runtime.block_on(serve()))
    {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("localfs: {:#}", anyhow::Error::new(error));
            ExitCode::FAILURE
        }
    }
}

/// One client, one connection: when Terraform closes it, or dies, the provider ends.
async fn serve() -> Result<(), ServeError> {
    let tls = match std::env::var(CLIENT_CERTIFICATE) {
        Ok(client_pem) if !client_pem.is_empty() => Some(tls::server_end(&client_pem)?),
        _ => None,
    };
    let certificate = tls.as_ref().map_or("", |end| end.certificate.as_str());
    let stream = accept(certificate).await?;
    match tls {
        None => service::serve(stream).await?,
        Some(end) => {
            let stream = end
                .acceptor
                .accept(stream)
                .await
                .map_err(ServeError::Accept)?;
            service::serve(stream).await?;
        }
    }
    Ok(())
}

/// Listens on a socket that only this user can reach, tells Terraform, and
/// takes its connection. The socket is gone when this returns.
async fn accept(certificate: &str) -> Result<UnixStream, ServeError> {
    // A temporary folder is made with permissions 0700.
    let folder = tempfile::Builder::new()
        .prefix("localfs-")
        .tempdir()
        .map_err(|source| ServeError::Folder {
            folder: std::env::temp_dir(),
            source,
        })?;
    let path = folder.path().join("s");
    let listener = UnixListener::bind(&path).map_err(|source| ServeError::Socket {
        path: path.clone(),
        source,
    })?;
    let mut stdout = io::stdout();
    // Version of the handshake, of the plugin protocol, network, address, RPC, certificate.
    writeln!(stdout, "1|6|unix|{}|grpc|{certificate}", path.display())
        .and_then(|()| stdout.flush())
        .map_err(ServeError::Handshake)?;
    let accepted = tokio::time::timeout(CONNECT_TIMEOUT, listener.accept()).await;
    let (stream, _) = accepted
        .map_err(|_| ServeError::NobodyCame)?
        .map_err(ServeError::Accept)?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_programs_name_says_whether_it_is_a_provider() {
        for name in [
            "terraform-provider-localfs",
            "/m/terraform-provider-localfs_v1.0.0",
        ] {
            assert!(is_provider(OsStr::new(name)), "{name}");
        }
        for name in ["mainstay", "/terraform-provider-x/mainstay", ""] {
            assert!(!is_provider(OsStr::new(name)), "{name}");
        }
    }
}
