//! One connection to a server: its handshake, and requests with their replies, one at a time.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::config::Config;
use crate::error::Error;
use crate::wire::codes::message;
use crate::wire::handshake::{self, Mode, QueueStatus, Verdict};
use crate::wire::identity::{ClientIdentity, read_server_member};
use crate::wire::locator::Address;
use crate::wire::message::{Chunks, Reply, Request, take_message};
use crate::wire::version_tag::VersionSource;
use crate::wire::writer::Write as _;
use crate::wire::{Malformed, Reader};

/// What a client that has not authenticated calls its connection (`ConnectionImpl` in Geode's sources).
const FIRST_CONNECTION_ID: i64 = 26_739;
const NO_USER: i64 = -1;
/// The bytes of a server's answer to a handshake: a member, a sentence, names of serialisers.
const HANDSHAKE_BYTES_MAX: usize = 1024 * 1024;
/// How much is read at once.
const READ_CHUNK: usize = 16 * 1024;

/// A stream of bytes to a server, with or without TLS.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Duplex for T {}

/// A connection on which the other machine acknowledges nothing for so long is dead, however long its answers may take: it is cut off.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(5);

/// Opens a stream to a server or a locator.
pub(crate) async fn open_stream(address: &Address, config: &Config) -> Result<Box<dyn Duplex>, Error> {
    let connect = async {
        let stream = TcpStream::connect((address.host.as_str(), address.port)).await?;
        // Requests are small and wait for their reply.
        stream.set_nodelay(true)?;
        #[cfg(target_os = "linux")]
        socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(UNACKNOWLEDGED_MAX))?;
        #[cfg(feature = "tls")]
        if let Some(tls) = &config.tls {
            return Ok(Box::new(tls.connect(&address.host, stream).await?) as Box<dyn Duplex>);
        }
        Ok::<_, std::io::Error>(Box::new(stream) as Box<dyn Duplex>)
    };
    match timeout(config.connect_timeout, connect).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(Error::Unreachable(format!("{address}: {error}"))),
        Err(_) => Err(Error::Unreachable(format!("{address}: no answer within {:?}", config.connect_timeout))),
    }
}

/// The two numbers that authenticate a message.
#[derive(Clone, Copy, Debug)]
struct Secure {
    connection: i64,
    user: i64,
}

impl Secure {
    fn part(self) -> [u8; 16] {
        let mut part = [0; 16];
        let (connection, user) = part.split_at_mut(8);
        connection.copy_from_slice(&self.connection.to_be_bytes());
        user.copy_from_slice(&self.user.to_be_bytes());
        part
    }
}

/// What a server said when the connection opened.
#[derive(Clone, Debug)]
pub(crate) struct Welcome {
    /// Who the server is, as a maker of versions. Not told on a subscription.
    pub(crate) member: Option<VersionSource>,
    pub(crate) queue: QueueStatus,
    /// How often the server sends a ping on a subscription.
    pub(crate) ping_interval: Duration,
}

pub(crate) struct Connection {
    stream: Box<dyn Duplex>,
    buffer: BytesMut,
    secure: Option<Secure>,
    /// A request is under way: if its caller goes away now, the connection is of no more use.
    pub(crate) is_busy: bool,
    pub(crate) welcome: Welcome,
}

impl Connection {
    /// Opens a connection and authenticates.
    pub(crate) async fn open(
        address: &Address,
        config: &Config,
        identity: &ClientIdentity,
        mode: Mode,
    ) -> Result<Self, Error> {
        let stream = open_stream(address, config).await?;
        Self::greet(stream, address, config, identity, mode).await
    }

    /// Makes a connection of a stream, and authenticates. The server may have done what the mode asks for even where its answer is lost.
    pub(crate) async fn greet(
        stream: Box<dyn Duplex>,
        address: &Address,
        config: &Config,
        identity: &ClientIdentity,
        mode: Mode,
    ) -> Result<Self, Error> {
        let opening = async {
            let mut opening = Opening { stream, buffer: BytesMut::new() };
            let welcome = opening.shake_hands(address, config, identity, mode).await?;
            let mut connection =
                Self { stream: opening.stream, buffer: opening.buffer, secure: None, is_busy: false, welcome };
            if let (Mode::Operations, Some(credentials)) = (mode, &config.credentials) {
                connection.authenticate(credentials, config.connect_timeout).await?;
            }
            Ok(connection)
        };
        match timeout(config.connect_timeout, opening).await {
            Ok(result) => result,
            Err(_) => Err(Error::Unreachable(format!("{address}: no handshake within {:?}", config.connect_timeout))),
        }
    }

    async fn authenticate(&mut self, credentials: &[(String, String)], patience: Duration) -> Result<(), Error> {
        self.secure = Some(Secure { connection: FIRST_CONNECTION_ID, user: NO_USER });
        let mut properties = Vec::new();
        handshake::write_properties(credentials, &mut properties);
        let request = Request::new(message::USER_CREDENTIALS).raw(&properties);
        let reply = self.exchange(&request, false, patience).await?;
        if reply.kind != message::RESPONSE {
            let trace = reply.parts.get(1).map(crate::value::text_of).unwrap_or_default();
            return Err(Error::Authentication(trace.lines().next().unwrap_or_default().to_owned()));
        }
        let answer = reply.part(0)?;
        if answer.bytes.is_empty() {
            // The server has no security.
            self.secure = None;
        } else if let Some(secure) = &mut self.secure {
            secure.user = Reader::new(&answer.bytes).i64()?;
        }
        Ok(())
    }

    /// Sends a request and waits for its reply. The server may keep silent, or not take what is sent, for `patience`; a long reply may take
    /// longer as a whole.
    pub(crate) async fn exchange(
        &mut self,
        request: &Request,
        is_chunked: bool,
        patience: Duration,
    ) -> Result<Reply, Error> {
        self.is_busy = true;
        // One timer where the reply comes at once, as most do.
        let asked = async {
            self.send(request).await?;
            self.fill().await
        };
        within(patience, asked).await?;
        let mut chunks = Chunks::default();
        let reply = loop {
            let taken = if is_chunked { chunks.take(&mut self.buffer) } else { take_message(&mut self.buffer) };
            match taken? {
                Some(reply) => break reply,
                None => within(patience, self.fill()).await?,
            }
        };
        if let (Some(secure), Some(part)) = (&mut self.secure, &reply.secure) {
            secure.connection = Reader::new(part).i64()?;
        }
        self.is_busy = false;
        Ok(reply)
    }

    /// Sends a request that has no reply, or whose reply is read by itself.
    pub(crate) async fn send(&mut self, request: &Request) -> Result<(), Error> {
        let secure = self.secure.filter(|_| needs_authentication(request.kind())).map(Secure::part);
        let bytes = request.encode(secure.as_ref().map(<[u8; 16]>::as_slice));
        let written = async {
            self.stream.write_all(&bytes).await?;
            // TLS may hold back what the socket did not take.
            self.stream.flush().await
        };
        written.await.map_err(|error| broken(&error))
    }

    /// Waits for a message.
    pub(crate) async fn receive(&mut self) -> Result<Reply, Error> {
        loop {
            if let Some(reply) = take_message(&mut self.buffer)? {
                return Ok(reply);
            }
            self.fill().await?;
        }
    }

    async fn fill(&mut self) -> Result<(), Error> {
        fill(&mut self.stream, &mut self.buffer).await
    }
}

async fn within<T>(patience: Duration, step: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let late = |_| Error::Unreachable(format!("no answer within {patience:?}"));
    timeout(patience, step).await.map_err(late)?
}

async fn fill(stream: &mut Box<dyn Duplex>, buffer: &mut BytesMut) -> Result<(), Error> {
    buffer.reserve(READ_CHUNK);
    match stream.read_buf(buffer).await.map_err(|error| broken(&error))? {
        0 => Err(Error::Unreachable("the server closed the connection".to_owned())),
        _ => Ok(()),
    }
}

fn broken(error: &std::io::Error) -> Error {
    Error::Unreachable(format!("the connection broke: {error}"))
}

/// Messages of the client's own household go without the secure part, and their replies have none.
fn needs_authentication(kind: i32) -> bool {
    !matches!(
        kind,
        message::PING
            | message::CLOSE_CONNECTION
            | message::MAKE_PRIMARY
            | message::CLIENT_READY
            | message::PERIODIC_ACK
            | message::COMMIT
            | message::ROLLBACK
            | message::GET_PR_METADATA
            | message::GET_PARTITION_ATTRIBUTES
    )
}

/// A stream whose handshake is not over.
struct Opening {
    stream: Box<dyn Duplex>,
    buffer: BytesMut,
}

impl Opening {
    async fn shake_hands(
        &mut self,
        address: &Address,
        config: &Config,
        identity: &ClientIdentity,
        mode: Mode,
    ) -> Result<Welcome, Error> {
        let read_timeout_ms = i32::try_from(config.request_timeout.as_millis()).unwrap_or(i32::MAX);
        let request = handshake::request(mode, identity, read_timeout_ms, config.credentials.as_deref());
        self.stream.write_all(&request).await.map_err(|error| broken(&error))?;
        loop {
            if self.buffer.len() > HANDSHAKE_BYTES_MAX {
                return Err(Malformed("handshake").into());
            }
            match read_welcome(&self.buffer, address, mode) {
                Ok(Some((welcome, len))) => {
                    let _ = self.buffer.split_to(len);
                    return Ok(welcome);
                }
                Ok(None) => {
                    if let Err(closed) = fill(&mut self.stream, &mut self.buffer).await {
                        return Err(self.refusal(address).unwrap_or(closed));
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }
}

impl Opening {
    /// What the first byte says, when the rest cannot be read before the server closes the connection.
    fn refusal(&self, address: &Address) -> Option<Error> {
        let verdict = Verdict::of(*self.buffer.first()?);
        (verdict != Verdict::Accepted).then(|| refusal(verdict, address, "no reason was given"))
    }
}

fn refusal(verdict: Verdict, address: &Address, sentence: &str) -> Error {
    let refused = |reason: &str| Error::Refused { server: address.clone(), reason: reason.to_owned() };
    match verdict {
        Verdict::AuthenticationRequired | Verdict::AuthenticationFailed => {
            Error::Authentication(format!("{address}: {sentence}"))
        }
        Verdict::DuplicateDurableClient => Error::DurableIdInUse { server: address.clone() },
        Verdict::IsLocator => refused("it is a locator, not a server"),
        Verdict::Accepted | Verdict::Refused => refused(sentence),
    }
}

/// Reads a server's answer; `None` while it is incomplete.
fn read_welcome(bytes: &[u8], address: &Address, mode: Mode) -> Result<Option<(Welcome, usize)>, Error> {
    let mut reader = Reader::new(bytes);
    let Ok(code) = reader.u8() else { return Ok(None) };
    let verdict = Verdict::of(code);
    // Input that ends early is indistinguishable from an answer that is still coming: the caller's deadline decides.
    let Ok(read) = read_rest(&mut reader, verdict, mode) else { return Ok(None) };
    if verdict != Verdict::Accepted {
        return Err(refusal(verdict, address, &read.sentence));
    }
    let member = match &read.member {
        Some(member) if !member.is_empty() => Some(read_server_member(member)?),
        _ => None,
    };
    let welcome = Welcome { member, queue: read.queue, ping_interval: read.ping_interval };
    Ok(Some((welcome, bytes.len() - reader.rest().len())))
}

struct RestOfWelcome {
    queue: QueueStatus,
    member: Option<Bytes>,
    sentence: String,
    ping_interval: Duration,
}

fn read_rest(reader: &mut Reader<'_>, verdict: Verdict, mode: Mode) -> Result<RestOfWelcome, Malformed> {
    let mut rest = RestOfWelcome {
        queue: QueueStatus { role: handshake::QueueRole::None, waiting: 0 },
        member: None,
        sentence: String::new(),
        ping_interval: Duration::from_secs(60),
    };
    if verdict == Verdict::IsLocator {
        return Ok(rest);
    }
    rest.queue = QueueStatus::read(reader)?;
    if mode == Mode::Operations {
        // Even a refusal names the server.
        rest.member = reader.byte_array()?.map(Bytes::copy_from_slice);
    }
    rest.sentence = reader.utf()?;
    if verdict != Verdict::Accepted {
        return Ok(rest);
    }
    if mode == Mode::Operations {
        // Whether the server sends deltas. This client asks for none.
        reader.bool()?;
        return Ok(rest);
    }
    // Classes that help Java clients to deserialise: two maps from number to names, one from number to a list.
    for _ in 0..3 {
        for _ in 0..reader.array_len()?.unwrap_or_default() {
            crate::wire::skip::take_object(reader)?;
            crate::wire::skip::take_object(reader)?;
        }
    }
    rest.ping_interval = Duration::from_millis(u64::try_from(reader.i32()?).unwrap_or(60_000).max(1));
    Ok(rest)
}

/// The bytes of the message that ends a client's stay; `keep` says whether a durable queue is kept.
pub(crate) fn close_request(keep: bool) -> Request {
    let mut part = Vec::with_capacity(1);
    part.u8(u8::from(keep));
    Request::new(message::CLOSE_CONNECTION).raw(&part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::random_tests::wrong;

    fn welcome(code: u8, mode: Mode, body: &[u8]) -> Result<Option<(Welcome, usize)>, Error> {
        let mut bytes = vec![code];
        bytes.extend_from_slice(body);
        read_welcome(&bytes, &Address::new("h", 1), mode)
    }

    #[test]
    fn refusals_are_told_apart() {
        let sentence = |text: &str| {
            // Role, waiting events, the member, the length of the sentence.
            let mut body = vec![0, 0, 0, 0, 0, 1, 9, 0, u8::try_from(text.len()).unwrap()];
            body.extend_from_slice(text.as_bytes());
            body
        };
        let of = |code| welcome(code, Mode::Operations, &sentence("why")).unwrap_err();
        assert!(matches!(of(62), Error::Authentication(_)));
        assert!(matches!(of(63), Error::Authentication(text) if text.ends_with("why")));
        assert!(matches!(of(64), Error::DurableIdInUse { .. }));
        assert!(matches!(of(60), Error::Refused { reason, .. } if reason == "why"));
        assert!(matches!(of(0), Error::Refused { .. }));
    }

    #[test]
    fn an_incomplete_answer_is_waited_for() {
        let whole = [105, 2, 0xFF, 0xFF, 0xFF, 0xFE, 0, 0, 0, 0, 0, 0, 0, 0xEA, 0x60];
        for cut in 0..whole.len() {
            assert!(read_welcome(&whole[..cut], &Address::new("h", 1), Mode::Primary).unwrap().is_none());
        }
        let (welcome, len) = read_welcome(&whole, &Address::new("h", 1), Mode::Primary).unwrap().unwrap();
        assert_eq!((welcome.queue.waiting, len, welcome.ping_interval), (-2, whole.len(), Duration::from_secs(60)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_reply_may_take_long_but_not_stop_for_long() {
        let (near, mut far) = tokio::io::duplex(1024);
        let queue = QueueStatus { role: handshake::QueueRole::None, waiting: 0 };
        let welcome = Welcome { member: None, queue, ping_interval: Duration::ZERO };
        let mut connection =
            Connection { stream: Box::new(near), buffer: BytesMut::new(), secure: None, is_busy: false, welcome };
        let patience = Duration::from_secs(1);
        let server = async {
            // Kind, parts of a chunk, transaction; then chunks of one part each, the fourth of which is the last.
            far.write_all(&[0, 0, 0, 1, 0, 0, 0, 1, 0xFF, 0xFF, 0xFF, 0xFF]).await.unwrap();
            for is_last in [0, 0, 0, 1] {
                tokio::time::sleep(patience * 9 / 10).await;
                far.write_all(&[0, 0, 0, 6, is_last, 0, 0, 0, 1, 0, b'x']).await.unwrap();
            }
        };
        let request = Request::new(message::KEY_SET);
        let (reply, ()) = tokio::join!(connection.exchange(&request, true, patience), server);
        assert_eq!(reply.unwrap().parts.len(), 4);
        assert!(!connection.is_busy);
        let silence = connection.exchange(&request, true, patience).await.unwrap_err();
        assert!(matches!(silence, Error::Unreachable(why) if why == "no answer within 1s"));
        assert!(connection.is_busy);
    }

    proptest::proptest! {
        #[test]
        fn random_answers_to_a_handshake_are_no_panic(
            bytes in wrong(vec![
                vec![105, 2, 0xFF, 0xFF, 0xFF, 0xFE, 0, 0, 1, 41, 41, 0, 0, 0, 0, 0xEA, 0x60],
                vec![59, 0, 0, 0, 0, 0, 0, 0, 2, b'o', b'k', 0],
                vec![62, 0, 0, 0, 0, 0, 1, 9, 0, 2, b'n', b'o'],
            ]),
        ) {
            for mode in [Mode::Operations, Mode::Primary, Mode::Secondary] {
                if let Ok(Some((_, len))) = read_welcome(&bytes, &Address::new("h", 1), mode) {
                    proptest::prop_assert!(len <= bytes.len());
                }
            }
        }
    }
}
