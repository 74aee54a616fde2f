//! Connections that can be broken on purpose.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

/// How a connection ends.
#[derive(Debug, Clone, Copy, Default)]
enum Doom {
    /// As the two sides wish.
    #[default]
    None,
    /// With a TCP reset, before another byte is written.
    Reset,
    /// After the headers of the next answer and this much of its body.
    CutOff { newlines: u8, body_left: usize },
}

/// Decides how one connection ends.
#[derive(Debug, Clone, Default)]
pub(super) struct Fate(Arc<Mutex<Doom>>);

impl Fate {
    /// Resets the connection at the next write.
    pub(super) fn reset(&self) {
        self.set(Doom::Reset);
    }

    /// Ends the connection after this much of the next answer's body.
    pub(super) fn cut_off_after(&self, body: usize) {
        self.set(Doom::CutOff {
            newlines: 0,
            body_left: body,
        });
    }

    fn get(&self) -> Doom {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, doom: Doom) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = doom;
    }
}

impl Doom {
    /// How it stands after one byte; `None` where the byte must not be written.
    fn after(self, byte: u8) -> Option<Self> {
        match self {
            Self::None => Some(Self::None),
            Self::Reset
            | Self::CutOff {
                newlines: 2,
                body_left: 0,
            } => None,
            Self::CutOff {
                newlines: 2,
                body_left,
            } => Some(Self::CutOff {
                newlines: 2,
                body_left: body_left - 1,
            }),
            Self::CutOff {
                newlines,
                body_left,
            } => {
                let newlines = match byte {
                    b'\n' => newlines + 1,
                    b'\r' => newlines,
                    _ => 0,
                };
                Some(Self::CutOff {
                    newlines,
                    body_left,
                })
            }
        }
    }

    /// How many of these bytes may be written, and how it stands then.
    fn after_all(self, bytes: &[u8]) -> (usize, Self) {
        let mut doom = self;
        for (count, byte) in bytes.iter().enumerate() {
            match doom.after(*byte) {
                Some(next) => doom = next,
                None => return (count, doom),
            }
        }
        (bytes.len(), doom)
    }
}

/// A listener whose connections have a [`Fate`].
pub(super) struct Door(pub(super) TcpListener);

/// A connection with its fate.
pub(super) struct Line {
    stream: TcpStream,
    fate: Fate,
}

impl Listener for Door {
    type Io = Line;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Line, SocketAddr) {
        let (stream, address) = Listener::accept(&mut self.0).await;
        (
            Line {
                stream,
                fate: Fate::default(),
            },
            address,
        )
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

impl Connected<IncomingStream<'_, Door>> for Fate {
    fn connect_info(stream: IncomingStream<'_, Door>) -> Self {
        stream.io().fate.clone()
    }
}

impl AsyncRead for Line {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Line {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let doom = self.fate.get();
        let (allowed, _) = doom.after_all(bytes);
        if allowed == 0 && !bytes.is_empty() {
            if let Doom::Reset = doom {
                self.stream.set_zero_linger()?;
            }
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        let written = Pin::new(&mut self.stream).poll_write(cx, &bytes[..allowed]);
        if let Poll::Ready(Ok(count)) = written {
            self.fate.set(doom.after_all(&bytes[..count]).1);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
