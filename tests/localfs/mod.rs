//! The provider `localfs` for tests: this program, installed in a mirror of its own.

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use mainstay::provider::{self, CliConfig};

/// The program under test.
pub(crate) const MAINSTAY: &str = env!("CARGO_BIN_EXE_mainstay");

/// The CLI configuration file for `TF_CLI_CONFIG_FILE`: providers come from the
/// mirror, and nothing is downloaded.
///
/// The mirror is a folder among the build's own, so that the program is a hard
/// link there and not a copy, and all test processes share it.
pub(crate) fn cli_config() -> &'static Path {
    static INSTALLED: OnceLock<CliConfig> = OnceLock::new();
    let install = || {
        let mirror = Path::new(env!("CARGO_TARGET_TMPDIR")).join("localfs-mirror");
        provider::install(&mirror, Path::new(MAINSTAY)).expect("the provider can be installed")
    };
    INSTALLED.get_or_init(install).path()
}

/// Writes a root module that uses the provider: `body` as `main.tf`, and the
/// requirement beside it.
pub(crate) fn write_root_module(folder: &Path, body: &str) {
    let requirement = format!(
        "terraform {{\n  required_providers {{\n    localfs = {{\n      source = \"{}\"\n    }}\n  }}\n}}\n",
        provider::SOURCE,
    );
    std::fs::create_dir_all(folder).expect("the module's folder can be made");
    std::fs::write(folder.join("providers.tf"), requirement).expect("providers.tf can be written");
    std::fs::write(folder.join("main.tf"), body).expect("main.tf can be written");
}

/// Terraform in `folder`, with the mirror and nothing of this process's
/// environment but the search path.
pub(crate) fn terraform(folder: &Path) -> Command {
    let mut command = Command::new("terraform");
    command
        .current_dir(folder)
        .env_clear()
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
        .env("HOME", folder)
        .env("TF_CLI_CONFIG_FILE", cli_config())
        .env("CHECKPOINT_DISABLE", "1")
        .env("TF_IN_AUTOMATION", "1")
        .env("TF_INPUT", "0");
    command
}

// Each test crate has a copy of this module and uses the part of it that it needs.
const _: fn() -> &'static Path = cli_config;
const _: fn(&Path, &str) = write_root_module;
const _: fn(&Path) -> Command = terraform;
