//! The one way out of a sandbox that has no network: a proxy that lets through named hosts only.
//!
//! It knows `CONNECT` and plain requests of HTTP/1.1. It resolves names itself, and connects to the
//! very addresses that it judged, so that a name cannot turn into another host in between. What it
//! refuses it notes in a file.

pub mod door;
mod refusals;
mod relay;
mod request;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

pub use self::refusals::{Refusal, Refusals, read as read_refusals};
use self::relay::{Buffered, relay};
use self::request::{Answer, Request, Wanted, last_answer};
use crate::network::{Host, HostPattern, Named, Reach, named, reach};

/// Connections at once. Terraform works on ten things at a time, with some connections each.
const CONNECTIONS: usize = 256;

/// How long the head of a request may take to come.
const HEAD_TIME: Duration = Duration::from_secs(30);

/// How long a name may take to be resolved, and an address to answer.
const CONNECT_TIME: Duration = Duration::from_secs(20);

/// How long nothing may come from either side.
const IDLE_TIME: Duration = Duration::from_secs(15 * 60);

/// Bytes of the head of a request or an answer.
const HEAD_LIMIT: usize = 64 << 10;

/// So many addresses of one name are tried.
const ADDRESSES: usize = 8;

/// What a proxy needs of the world.
#[async_trait]
pub trait World: Send + Sync + 'static {
    /// The addresses of a name.
    ///
    /// # Errors
    ///
    /// Where it has none, or nobody says.
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>>;

    /// A connection to an address.
    ///
    /// # Errors
    ///
    /// Where nobody is there.
    async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream>;
}

/// The world as this machine knows it.
pub struct Machine;

#[async_trait]
impl World for Machine {
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let found = tokio::net::lookup_host((name, 0)).await?;
        Ok(found.map(|address| address.ip()).collect())
    }

    async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        TcpStream::connect(address).await
    }
}

/// A proxy that lets through what a list names.
pub struct Proxy<W> {
    /// What is let through; nothing where it is empty.
    hosts: Vec<HostPattern>,
    refusals: Refusals,
    world: W,
}

/// Why a request is not served.
enum No {
    /// It must not be: for this reason, where it is more than that the list does not name it.
    Refused(Option<String>),
    /// It cannot be.
    Failed(&'static str),
}

impl<W: World> Proxy<W> {
    /// A proxy for these hosts, which notes what it refuses.
    pub fn new(hosts: Vec<HostPattern>, refusals: Refusals, world: W) -> Arc<Self> {
        Arc::new(Self {
            hosts,
            refusals,
            world,
        })
    }

    /// Serves who knocks at the door, for as long as the future lives.
    ///
    /// # Errors
    ///
    /// Where the door cannot be listened at.
    pub async fn serve(self: Arc<Self>, door: std::net::TcpListener) -> io::Result<()> {
        door.set_nonblocking(true)?;
        let door = TcpListener::from_std(door)?;
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            // Who comes when all places are taken waits at the door.
            let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                return Ok(());
            };
            match door.accept().await {
                Ok((guest, _)) => {
                    let proxy = Arc::clone(&self);
                    tokio::spawn(async move {
                        // A connection that breaks is the business of those who have it.
                        let _ = proxy.attend(guest).await;
                        drop(place);
                    });
                }
                // Out of files, say: it may be better in a moment.
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    async fn attend(&self, guest: TcpStream) -> io::Result<()> {
        let mut guest = Buffered::new(guest);
        let head = match timeout(HEAD_TIME, guest.head(HEAD_LIMIT)).await {
            Ok(head) => head?,
            Err(_) => return Ok(()),
        };
        let Ok(request) = request::read(&head) else {
            return answer(&mut guest, "400 This is no request to a proxy").await;
        };
        let host = match self.reach(&request).await {
            Ok(host) => host,
            Err(No::Refused(why)) => {
                self.refusals.note(&request.asked, why);
                // Many programs show nothing but this line.
                return answer(
                    &mut guest,
                    "403 Mainstay's setting `network` does not allow this host",
                )
                .await;
            }
            Err(No::Failed(what)) => return answer(&mut guest, what).await,
        };
        match request.wanted {
            Wanted::Tunnel => {
                guest
                    .stream
                    .write_all(b"HTTP/1.1 200 Connected\r\n\r\n")
                    .await?;
                relay(guest, Buffered::new(host), IDLE_TIME).await
            }
            Wanted::Plain(head) => self.pass_on(guest, host, &head).await,
        }
    }

    /// Sends a plain request, and its answer back. There is one of each on a connection.
    async fn pass_on(&self, guest: Buffered, host: TcpStream, head: &[u8]) -> io::Result<()> {
        let mut host = Buffered::new(host);
        host.stream.write_all(head).await?;
        let answering = async |guest: &mut tokio::net::tcp::OwnedWriteHalf,
                               host: &mut relay::Reading| {
            loop {
                let head = host.head(HEAD_LIMIT).await?;
                match last_answer(&head) {
                    Some(Answer::Interim) => guest.write_all(&head).await?,
                    Some(Answer::Last(head)) => return guest.write_all(&head).await,
                    None => return Err(io::ErrorKind::InvalidData.into()),
                }
            }
        };
        relay::exchange(guest, host, IDLE_TIME, answering).await
    }

    /// Connects to where a request goes, if it may.
    async fn reach(&self, request: &Request) -> Result<TcpStream, No> {
        let refused = |why: String| No::Refused(Some(why));
        let host = request
            .host
            .as_ref()
            .map_err(|error| refused(error.to_string()))?;
        if let Some(reason) = host.never() {
            return Err(refused(format!("it is {reason}")));
        }
        let named = named(&self.hosts, host, request.port).ok_or(No::Refused(None))?;
        let addresses = match host {
            Host::Address(address) => vec![*address],
            Host::Name(name) => match timeout(CONNECT_TIME, self.world.resolve(name)).await {
                Ok(Ok(addresses)) if !addresses.is_empty() => addresses,
                Ok(_) => return Err(No::Failed("502 The name of this host is not known")),
                Err(_) => {
                    return Err(No::Failed(
                        "504 The name of this host is not resolved in time",
                    ));
                }
            },
        };
        let addresses = permitted(named, addresses).map_err(refused)?;
        for address in addresses.into_iter().take(ADDRESSES) {
            let connecting = self.world.connect(SocketAddr::new(address, request.port));
            if let Ok(Ok(stream)) = timeout(CONNECT_TIME, connecting).await {
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
        }
        Err(No::Failed("502 This host does not answer"))
    }
}

/// The addresses of a named host that may be connected to; the reason where there are none.
fn permitted(named: Named, addresses: Vec<IpAddr>) -> Result<Vec<IpAddr>, String> {
    let mut reason = String::new();
    let permitted: Vec<IpAddr> = addresses
        .into_iter()
        .filter(|address| match (reach(*address), named) {
            (Reach::Public, _) | (Reach::Private, Named::InFull) => true,
            (Reach::Private, Named::ByEnd) => {
                reason = format!(
                    "it resolves to {address}, a private address: name the host in full to let it through"
                );
                false
            }
            (Reach::Never(what), _) => {
                reason = format!("it resolves to {address}, {what}");
                false
            }
        })
        .collect();
    if permitted.is_empty() {
        Err(reason)
    } else {
        Ok(permitted)
    }
}

async fn answer(guest: &mut Buffered, status: &str) -> io::Result<()> {
    let text = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{}\n",
        status.len() - 3,
        &status[4..]
    );
    guest.stream.write_all(text.as_bytes()).await?;
    guest.stream.shutdown().await
}

#[cfg(test)]
mod tests;
