//! Bytes to and fro between two connections.

use std::io;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::Instant;

/// Bytes that are read at once.
const CHUNK: usize = 16 << 10;

/// A connection, and what was read of it beyond a head.
pub(super) struct Buffered {
    pub(super) stream: TcpStream,
    read: Vec<u8>,
}

/// The half of a connection that is read.
pub(super) struct Reading {
    half: OwnedReadHalf,
    read: Vec<u8>,
}

impl Buffered {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            read: Vec::new(),
        }
    }

    /// Reads to the first empty line, at most `limit` bytes.
    pub(super) async fn head(&mut self, limit: usize) -> io::Result<Vec<u8>> {
        head(&mut self.stream, &mut self.read, limit).await
    }

    fn split(self) -> (Reading, OwnedWriteHalf) {
        let (half, write) = self.stream.into_split();
        let read = self.read;
        (Reading { half, read }, write)
    }
}

impl Reading {
    /// Reads to the next empty line, at most `limit` bytes.
    pub(super) async fn head(&mut self, limit: usize) -> io::Result<Vec<u8>> {
        head(&mut self.half, &mut self.read, limit).await
    }
}

async fn head(
    from: &mut (impl AsyncRead + Unpin),
    read: &mut Vec<u8>,
    limit: usize,
) -> io::Result<Vec<u8>> {
    let mut looked = 0;
    loop {
        let found = read[looked..]
            .windows(4)
            .position(|window| window == b"\r\n\r\n");
        if let Some(at) = found {
            let rest = read.split_off(looked + at + 4);
            return Ok(std::mem::replace(read, rest));
        }
        looked = read.len().saturating_sub(3);
        if read.len() >= limit {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let room = (limit - read.len()).min(CHUNK) as u64;
        if (&mut *from).take(room).read_buf(read).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// When something last came, from either side.
struct Last(Mutex<Instant>);

impl Last {
    fn now() -> Self {
        Self(Mutex::new(Instant::now()))
    }

    fn touch(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Waits until nothing came for so long.
    async fn idle_for(&self, limit: Duration) {
        loop {
            let end = *self.0.lock().unwrap_or_else(PoisonError::into_inner) + limit;
            if Instant::now() >= end {
                return;
            }
            tokio::time::sleep_until(end).await;
        }
    }
}

/// Passes bytes both ways until both sides have ended, or nothing came for `idle`.
pub(super) async fn relay(a: Buffered, b: Buffered, idle: Duration) -> io::Result<()> {
    let last = Last::now();
    let ((mut from_a, mut to_a), (mut from_b, mut to_b)) = (a.split(), b.split());
    let both = async {
        tokio::try_join!(
            pump(&mut from_a, &mut to_b, &last),
            pump(&mut from_b, &mut to_a, &last)
        )
    };
    tokio::select! {
        ended = both => ended.map(|_| ()),
        () = last.idle_for(idle) => Ok(()),
    }
}

/// Passes what follows a request on to `host`, and back what follows the head of its answer, which
/// `answering` passes on. It ends with the answer, or when nothing came for `idle`.
pub(super) async fn exchange(
    guest: Buffered,
    host: Buffered,
    idle: Duration,
    answering: impl AsyncFnOnce(&mut OwnedWriteHalf, &mut Reading) -> io::Result<()>,
) -> io::Result<()> {
    let last = Last::now();
    let ((mut from_guest, mut to_guest), (mut from_host, mut to_host)) =
        (guest.split(), host.split());
    let asking = async {
        // A server that has heard enough may close its side; its answer counts all the same.
        let _ = pump_open(&mut from_guest, &mut to_host, &last).await;
        std::future::pending::<()>().await;
    };
    let answered = async {
        answering(&mut to_guest, &mut from_host).await?;
        last.touch();
        pump(&mut from_host, &mut to_guest, &last).await
    };
    tokio::select! {
        ended = answered => ended,
        () = asking => Ok(()),
        () = last.idle_for(idle) => Ok(()),
    }
}

/// Passes bytes one way until their end, and passes that on as well.
async fn pump(from: &mut Reading, to: &mut OwnedWriteHalf, last: &Last) -> io::Result<()> {
    pump_open(from, to, last).await?;
    // The other side may have closed it already.
    let _ = to.shutdown().await;
    Ok(())
}

async fn pump_open(from: &mut Reading, to: &mut OwnedWriteHalf, last: &Last) -> io::Result<()> {
    let mut chunk = std::mem::take(&mut from.read);
    loop {
        if !chunk.is_empty() {
            to.write_all(&chunk).await?;
            last.touch();
            chunk.clear();
        }
        chunk.reserve(CHUNK);
        if from.half.read_buf(&mut chunk).await? == 0 {
            return Ok(());
        }
        last.touch();
    }
}
