//! The provider `localfs` for tests: this program, installed in a mirror of its own.

use std::os::unix::fs::PermissionsExt as _;
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
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let program = folder.join("localfs-program");
        strip_into(&program, folder);
        provider::install(&folder.join("localfs-mirror"), &program)
            .expect("the provider can be installed")
    };
    INSTALLED.get_or_init(install).path()
}

/// Puts the program under test in `program`, without its symbols: Terraform hashes the whole file
/// at each command, which was a sixth of the time of all tests.
///
/// `strip` comes with the linker that built the program.
fn strip_into(program: &Path, folder: &Path) {
    let changed = |path: &Path| std::fs::metadata(path).and_then(|file| file.modified());
    let built = changed(Path::new(MAINSTAY)).expect("the program is built");
    if changed(program).is_ok_and(|stripped| stripped == built) {
        return;
    }
    // Other test processes do the same at the same time.
    let fresh = tempfile::Builder::new()
        .prefix(".localfs-")
        .tempfile_in(folder)
        .expect("a file can be made among the build's own")
        // Closed: no program is started that somebody may still write.
        .into_temp_path();
    let stripped = Command::new("strip")
        .arg("-o")
        .arg(&fresh)
        .arg(MAINSTAY)
        .status();
    if !stripped.is_ok_and(|status| status.success()) {
        std::fs::copy(MAINSTAY, &fresh).expect("the program can be copied");
    }
    std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o755))
        .and_then(|()| std::fs::File::open(&fresh)?.set_modified(built))
        .expect("the copy can be made a program");
    fresh
        .persist(program)
        .expect("the copy can be put in its place");
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
