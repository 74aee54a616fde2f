//! What of the network a process in a sandbox has, and how it is taken from it.

use std::fs;
use std::io;
use std::net::SocketAddr;

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::thread::{CapabilitySet, CapabilitySets, UnshareFlags};
use serde::{Deserialize, Serialize};

use super::seccomp;
use crate::proxy::door;

/// What of the network a run has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Network {
    /// All that the machine has.
    Shared,
    /// One of its own with nothing in it but a door. Who starts the run gives it a unix socket for
    /// its standard input, receives the door over that, and serves it (see [`crate::proxy::door`]).
    Door,
    /// None: it can make no sockets but unix ones.
    Nothing,
}

/// By these variables programs know the proxy that they are to use. Go's know no `all_proxy`.
const PROXY_VARIABLES: [&str; 6] = [
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
];

/// By these they know what to reach without it.
const NO_PROXY_VARIABLES: [&str; 2] = ["no_proxy", "NO_PROXY"];

/// Why a process was not taken from the network.
#[derive(Debug, thiserror::Error)]
pub(super) enum NetworkError {
    #[error("no network of its own can be made")]
    Namespace(#[source] io::Error),
    #[error("the loopback of its own network cannot be switched on")]
    Loopback(#[source] io::Error),
    #[error("the rights over its own network cannot be given up")]
    Rights(#[source] io::Error),
    #[error("the door out of its own network cannot be handed over")]
    Door(#[source] io::Error),
    #[error(transparent)]
    Filter(#[from] seccomp::FilterError),
}

/// Whether a process still has to make the network of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Namespace {
    /// It does.
    Make,
    /// Another program made it.
    Made,
}

/// Takes this process, and all that it becomes, from the network. Gives what of the environment the
/// program needs for it; `None` is a variable that it must not have.
///
/// The process must have one thread.
pub(super) fn enter(
    network: Network,
    namespace: Namespace,
) -> Result<Vec<(&'static str, Option<String>)>, NetworkError> {
    match network {
        Network::Shared | Network::Nothing => Ok(Vec::new()),
        Network::Door => {
            if namespace == Namespace::Make {
                make().map_err(NetworkError::Namespace)?;
                switch_on_loopback().map_err(NetworkError::Loopback)?;
                give_up_rights().map_err(|e| NetworkError::Rights(e.into()))?;
            }
            let port = door::open(io::stdin()).map_err(NetworkError::Door)?;
            // Nothing else ever goes that way.
            let nothing = fs::File::open("/dev/null").map_err(NetworkError::Door)?;
            rustix::stdio::dup2_stdin(nothing).map_err(|e| NetworkError::Door(e.into()))?;
            Ok(variables(port))
        }
    }
}

fn variables(port: u16) -> Vec<(&'static str, Option<String>)> {
    let proxy = format!("http://{}", SocketAddr::from(([127, 0, 0, 1], port)));
    let set = PROXY_VARIABLES.map(|name| (name, Some(proxy.clone())));
    set.into_iter()
        .chain(NO_PROXY_VARIABLES.map(|name| (name, None)))
        .collect()
}

/// Makes a network of this process's own, and a user namespace to have the right to. It stays who
/// it is; users and groups of others are nobody to it.
fn make() -> io::Result<()> {
    let user = rustix::process::geteuid().as_raw();
    let group = rustix::process::getegid().as_raw();
    #[expect(
        deprecated,
        reason = "its successor wants a promise about a flag for open files, which is not among these"
    )]
    rustix::thread::unshare(UnshareFlags::NEWUSER | UnshareFlags::NEWNET)?;
    // Without this nobody but root may say which groups there are.
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("{user} {user} 1"))?;
    fs::write("/proc/self/gid_map", format!("{group} {group} 1"))
}

/// `rtnetlink(7)`: the message that changes an interface, and the flags of a request that is
/// answered with how it went.
const RTM_NEWLINK: u16 = 16;
const NLM_F_REQUEST_AND_ACK: u16 = 1 | 4;
const NLMSG_ERROR: u16 = 2;
/// The loopback is the first interface of every network; `IFF_UP` is what is changed of it.
const LOOPBACK: i32 = 1;
const IFF_UP: u32 = 1;

/// Switches the loopback on, which a new network has switched off.
fn switch_on_loopback() -> io::Result<()> {
    let mut message = Vec::with_capacity(32);
    message.extend_from_slice(&32_u32.to_ne_bytes());
    message.extend_from_slice(&RTM_NEWLINK.to_ne_bytes());
    message.extend_from_slice(&NLM_F_REQUEST_AND_ACK.to_ne_bytes());
    message.extend_from_slice(&1_u32.to_ne_bytes());
    message.extend_from_slice(&[0; 8]);
    message.extend_from_slice(&LOOPBACK.to_ne_bytes());
    message.extend_from_slice(&IFF_UP.to_ne_bytes());
    message.extend_from_slice(&IFF_UP.to_ne_bytes());
    let socket = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        // `NETLINK_ROUTE` is the first, 0.
        None,
    )?;
    rustix::net::send(&socket, &message, SendFlags::empty())?;
    let mut answer = [0_u8; 1024];
    let (_, read) = rustix::net::recv(&socket, &mut answer, RecvFlags::empty())?;
    // The header's length, its kind, six bytes of no interest, and the number of the error.
    let field = |at: usize| answer.get(at..at + 4).filter(|_| at + 4 <= read);
    let kind = field(4).map(|bytes| u16::from_ne_bytes([bytes[0], bytes[1]]));
    let error = field(16).map(|bytes| i32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
    match (kind, error) {
        (Some(NLMSG_ERROR), Some(0)) => Ok(()),
        (Some(NLMSG_ERROR), Some(error)) => Err(io::Error::from_raw_os_error(-error)),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// Gives up what a process may do in a user namespace of its own, for itself and for root in it.
fn give_up_rights() -> Result<(), Errno> {
    for number in 0..u64::BITS {
        let one = CapabilitySet::from_bits_retain(1 << number);
        match rustix::thread::remove_capability_from_bounding_set(one) {
            Ok(()) => {}
            // The kernel knows no more.
            Err(Errno::INVAL) => break,
            Err(error) => return Err(error),
        }
    }
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, none)
}
