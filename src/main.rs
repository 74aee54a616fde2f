//! The `mainstay` command: decides which of its lives this process has, and hands over.

use std::ffi::OsStr;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    // Terraform starts the demo's provider by a name of its own, and without arguments.
    if mainstay::provider::started_as_plugin() {
        return mainstay::provider::main();
    }
    if let Err(error) = mainstay::seal::keep_out_of_core_dumps() {
        eprintln!("core dumps of this process cannot be switched off: {error}");
    }
    // A supervisor holds one Terraform command: it reads no settings and writes no log.
    let mut arguments = std::env::args_os().skip(1);
    match arguments.next().as_deref().and_then(OsStr::to_str) {
        Some("supervise") => {
            if let Some(folder) = arguments.next() {
                return mainstay::engine::supervise::main(Path::new(&folder));
            }
        }
        // It reads one plan, and holds nothing that the daemon does.
        Some(mainstay::reading::COMMAND) => return mainstay::reading::main(),
        // It becomes Terraform, after it shut itself in.
        Some("confine") => return mainstay::sandbox::confine::main(arguments),
        Some("confine-network") => return mainstay::sandbox::confine::main_inner(arguments),
        Some("confine-try") => return mainstay::sandbox::confine::main_try(arguments),
        _ => {}
    }
    mainstay::cli::main()
}
