//! The `mainstay` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    if mainstay::provider::started_as_plugin() {
        return mainstay::provider::main();
    }
    ExitCode::SUCCESS
}
