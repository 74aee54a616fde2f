//! The `mainstay` command.

use std::path::Path;
use std::process::ExitCode;

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
}
