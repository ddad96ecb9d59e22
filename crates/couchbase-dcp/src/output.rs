//! Bytes on their way to a node.

use std::io;

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use crate::wire::packet::Outgoing;

/// What a connection is to send, sent piece by piece between other things.
#[derive(Debug, Default)]
pub(crate) struct Output {
    bytes: BytesMut,
    /// What was written may wait in the encryption until it is flushed.
    is_unflushed: bool,
}

impl Output {
    pub(crate) fn push(&mut self, request: &Outgoing) {
        let mut bytes = Vec::new();
        request.write(&mut bytes);
        self.extend(&bytes);
    }

    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The bytes that are not written yet.
    #[cfg(feature = "kv")]
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether everything is on its way.
    pub(crate) fn is_sent(&self) -> bool {
        self.bytes.is_empty() && !self.is_unflushed
    }

    /// Writes some bytes; without any, flushes. Cancel-safe.
    pub(crate) async fn send(&mut self, writer: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        if self.bytes.is_empty() {
            writer.flush().await?;
            self.is_unflushed = false;
        } else {
            let written = writer.write(&self.bytes).await?;
            self.is_unflushed = true;
            self.bytes.advance(written);
        }
        Ok(())
    }
}

/// Writes all of it, through the encryption.
pub(crate) async fn send_all(writer: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<()> {
    writer.write_all(bytes).await?;
    writer.flush().await
}

#[cfg(test)]
pub(crate) mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll, ready};
    use std::time::Duration;

    use tokio::io::{AsyncRead, AsyncReadExt as _, DuplexStream, ReadBuf, duplex};
    use tokio::time::timeout;

    use super::*;

    /// Longer than anything takes that comes at all.
    pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
    /// What the other end takes in before it reads.
    const CAPACITY: usize = 8;

    /// Takes all that it is given, as encryption does, and hands on what fits. The rest goes on with the next write or flush.
    pub(crate) struct Buffering {
        below: DuplexStream,
        waiting: BytesMut,
    }

    impl Buffering {
        /// And the other end.
        pub(crate) fn new() -> (Self, DuplexStream) {
            let (below, other) = duplex(CAPACITY);
            (Self { below, waiting: BytesMut::new() }, other)
        }

        fn hand_on(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
            while !self.waiting.is_empty() {
                let written = ready!(Pin::new(&mut self.below).poll_write(context, &self.waiting))?;
                self.waiting.advance(written);
            }
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for Buffering {
        fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            if self.waiting.is_empty() {
                self.waiting.extend_from_slice(bytes);
                return match self.hand_on(context) {
                    Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                    Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(bytes.len())),
                };
            }
            ready!(self.hand_on(context))?;
            self.poll_write(context, bytes)
        }

        fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
            ready!(self.hand_on(context))?;
            Pin::new(&mut self.below).poll_flush(context)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.below).poll_shutdown(context)
        }
    }

    impl AsyncRead for Buffering {
        fn poll_read(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Pin::new(&mut self.below).poll_read(context, buffer)
        }
    }

    #[tokio::test]
    async fn what_waits_in_the_encryption_is_sent() {
        let (mut writer, mut other) = Buffering::new();
        let mut output = Output::default();
        let sending = async {
            for n in 0..3_u8 {
                output.extend(&[n; 100]);
                while !output.is_sent() {
                    output.send(&mut writer).await.unwrap();
                }
            }
            send_all(&mut writer, &[3; 100]).await.unwrap();
            // It stays open: nothing is sent because of its end.
            writer
        };
        let mut found = vec![0; 400];
        let (_writer, read) = tokio::join!(sending, timeout(PATIENCE, other.read_exact(&mut found)));
        read.expect("all of it comes").unwrap();
        assert_eq!(found, (0..4_u8).flat_map(|n| [n; 100]).collect::<Vec<_>>());
    }
}
