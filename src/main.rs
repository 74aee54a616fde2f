//! The `mainstay` command: decides which of its lives this process has, and hands over.

use std::path::Path;
use std::process::ExitCode;

<<<<<<< HEAD
fn main() -> ExitCode {
    // Terraform starts the demo's provider by a name of its own, and without arguments.
    if mainstay::provider::started_as_plugin() {
        return mainstay::provider::main();
    }
    // A supervisor holds one Terraform command: it reads no settings and writes no log.
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|first| first == "supervise")
        && let Some(spec) = arguments.next()
    {
        return mainstay::engine::supervise::main(Path::new(&spec));
    }
    mainstay::cli::main()
=======
use mainstay::engine::supervise;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    if args
        .next()
        .is_some_and(|command| command == supervise::COMMAND)
        && let Some(dir) = args.next()
    {
        return supervise::main(Path::new(&dir));
    }
    ExitCode::SUCCESS
>>>>>>> engine
}
