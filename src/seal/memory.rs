//! What is in the memory stays there.

use std::io;

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// Has the kernel write no core dump of this process, nor of what it starts, into a file. Nor does it
/// give the memory of this very process to a program that takes dumps, or to a debugger of the same
/// user. A program that it starts begins without the second.
///
/// # Errors
///
/// Where the kernel refuses.
pub fn keep_out_of_core_dumps() -> io::Result<()> {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    setrlimit(Resource::Core, none)?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(())
}
