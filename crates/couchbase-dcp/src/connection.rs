//! One connection to a node: from the socket to the selected bucket.

use std::io;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::address::Address;
use crate::config::{Config, Credentials};
use crate::error::Error;
use crate::limits::READ_BYTES;
use crate::output::send_all;
use crate::scram::{Hash, Scram};
use crate::wire::codes::{feature, opcode, status};
use crate::wire::packet::{Outgoing, Packet};
use crate::wire::request;

/// What carries a connection.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// What the server is told of this client.
const AGENT: &str = "couchbase-dcp (Rust)";
/// Without these nothing goes.
const NEEDED: &[u16] = &[feature::XATTR, feature::SELECT_BUCKET, feature::JSON, feature::COLLECTIONS];
/// Without these documents are not read and written.
#[cfg(feature = "kv")]
const NEEDED_FOR_DOCUMENTS: &[u16] = &[
    feature::XATTR,
    feature::SELECT_BUCKET,
    feature::JSON,
    feature::COLLECTIONS,
    feature::MUTATION_TOKENS,
    feature::UNORDERED,
    feature::ALT_REQUEST,
    feature::SYNC_REPLICATION,
    feature::PRESERVE_TTL,
    feature::CREATE_AS_DELETED,
];

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Streams, and requests that are answered one after the other.
    Streams,
    /// The server pushes configurations.
    Monitor,
    /// Reading and writing documents: the server answers in any order, so that a durable write holds nothing up.
    #[cfg(feature = "kv")]
    Documents,
}

impl Purpose {
    fn needed(self) -> &'static [u16] {
        match self {
            Self::Streams | Self::Monitor => NEEDED,
            #[cfg(feature = "kv")]
            Self::Documents => NEEDED_FOR_DOCUMENTS,
        }
    }

    fn wished(self) -> &'static [u16] {
        match self {
            // Values that are stored compressed come as they are; the server would have to take them apart otherwise.
            Self::Streams => &[feature::SNAPPY],
            Self::Monitor => &[feature::SNAPPY, feature::DUPLEX, feature::CONFIG_NOTIFICATION],
            #[cfg(feature = "kv")]
            Self::Documents => &[],
        }
    }
}

/// A connection that knows its bucket.
pub(crate) struct Connection {
    pub(crate) reader: PacketReader,
    pub(crate) writer: WriteHalf<Box<dyn Io>>,
}

/// The receiving half.
pub(crate) struct PacketReader {
    half: ReadHalf<Box<dyn Io>>,
    buffer: BytesMut,
}

impl PacketReader {
    /// Reads some bytes; an error at the end of the connection. Cancel-safe.
    pub(crate) async fn fill(&mut self) -> Result<(), Error> {
        self.buffer.reserve(READ_BYTES);
        if self.half.read_buf(&mut self.buffer).await? == 0 {
            return Err(Error::Connection("the server closed the connection".into()));
        }
        Ok(())
    }

    /// The next packet of what was read.
    pub(crate) fn take(&mut self) -> Result<Option<Packet>, Error> {
        Ok(Packet::take(&mut self.buffer)?)
    }

    /// The next packet. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Result<Packet, Error> {
        loop {
            if let Some(packet) = self.take()? {
                return Ok(packet);
            }
            self.fill().await?;
        }
    }
}

impl Connection {
    /// Connects, agrees on features, authenticates, and selects the bucket, within the configured time.
    pub(crate) async fn open(address: &Address, config: &Config, purpose: Purpose) -> Result<Self, Error> {
        let opened = Self::select_at(address, config, purpose).await?;
        opened.ok_or_else(|| Error::Access(format!("there is no bucket {}, or the user may not use it", config.bucket)))
    }

    /// As [`Self::open`], at a node that has the bucket by the bucket's configuration: one that knows none of its name has only just started.
    pub(crate) async fn open_member(address: &Address, config: &Config, purpose: Purpose) -> Result<Self, Error> {
        let opened = Self::select_at(address, config, purpose).await?;
        opened.ok_or_else(|| Error::Connection(format!("{address} has no bucket {} yet", config.bucket)))
    }

    /// Nothing when the node knows no bucket of the name.
    async fn select_at(address: &Address, config: &Config, purpose: Purpose) -> Result<Option<Self>, Error> {
        let opening = async {
            let mut connection = Self::without_bucket(address, config, purpose).await?;
            let is_there = connection.select(config).await?;
            Ok(is_there.then_some(connection))
        };
        timeout(config.timeout, opening).await.map_err(|_| Error::Timeout(format!("connecting to {address}")))?
    }

    /// Connects, agrees on features and authenticates, however long it takes.
    pub(crate) async fn without_bucket(address: &Address, config: &Config, purpose: Purpose) -> Result<Self, Error> {
        let mut connection = Self::over(socket(address, config).await?);
        connection.hello(config, purpose).await?;
        connection.authenticate(config).await?;
        Ok(connection)
    }

    pub(crate) fn over(io: Box<dyn Io>) -> Self {
        let (reader, writer) = tokio::io::split(io);
        Self { reader: PacketReader { half: reader, buffer: BytesMut::new() }, writer }
    }

    /// Sends a request and waits for its answer, whatever its status. What else comes meanwhile is dropped: this is for the time before
    /// streams are open.
    pub(crate) async fn request(&mut self, request: &Outgoing) -> Result<Packet, Error> {
        let mut bytes = Vec::new();
        request.write(&mut bytes);
        send_all(&mut self.writer, &bytes).await?;
        loop {
            let packet = self.reader.next().await?;
            if packet.is_response() && packet.opcode == request.opcode && packet.opaque == request.opaque {
                return Ok(packet);
            }
        }
    }

    async fn hello(&mut self, config: &Config, purpose: Purpose) -> Result<(), Error> {
        let needed = purpose.needed();
        let features = [&[feature::TCP_NODELAY, feature::XERROR], needed, purpose.wished()].concat();
        let answer = self.request(&request::hello(&format!("{AGENT} {}", config.name), &features)).await?;
        success(&answer, "HELLO")?;
        let (granted, _) = answer.value.as_chunks::<2>();
        let is_missing = |feature: &&u16| !granted.contains(&feature.to_be_bytes());
        match needed.iter().find(is_missing) {
            None => Ok(()),
            Some(feature) => Err(Error::Unsupported(format!(
                "the feature {feature:#04x} of HELLO (Couchbase Server 7.0 or later has it)"
            ))),
        }
    }

    async fn authenticate(&mut self, config: &Config) -> Result<(), Error> {
        let Credentials::Password { user, password } = &config.credentials else { return Ok(()) };
        if config.is_tls() {
            let data = format!("\0{user}\0{password}").into_bytes();
            let answer = self.request(&request::sasl(opcode::SASL_AUTH, "PLAIN", data)).await?;
            return authenticated(&answer);
        }
        let offered = self.request(&Outgoing::new(opcode::SASL_LIST)).await?;
        success(&offered, "the list of mechanisms")?;
        let offered = String::from_utf8_lossy(&offered.value).into_owned();
        let hash = Hash::best(&offered).ok_or_else(|| {
            Error::Authentication(format!("the server offers no SCRAM, only {offered}; PLAIN goes over TLS only"))
        })?;
        let mut scram = Scram::new(hash, user, password)?;
        let first = self.request(&request::sasl(opcode::SASL_AUTH, hash.mechanism(), scram.first())).await?;
        if first.vbucket != status::AUTH_CONTINUE {
            authenticated(&first)?;
            return Err(Error::Authentication("the server asks for no proof".into()));
        }
        let proof = scram.last(&first.value)?;
        let last = self.request(&request::sasl(opcode::SASL_STEP, hash.mechanism(), proof)).await?;
        authenticated(&last)?;
        scram.verify(&last.value)
    }

    /// Whether the node knows the bucket.
    async fn select(&mut self, config: &Config) -> Result<bool, Error> {
        let answer = self.request(&request::select_bucket(&config.bucket)).await?;
        match answer.vbucket {
            status::KEY_NOT_FOUND | status::NO_BUCKET => Ok(false),
            status::NO_ACCESS => Err(Error::Access(format!("the user may not use the bucket {}", config.bucket))),
            _ => success(&answer, "SELECT_BUCKET").map(|()| true),
        }
    }
}

async fn socket(address: &Address, config: &Config) -> Result<Box<dyn Io>, Error> {
    let stream =
        TcpStream::connect((address.host.as_str(), address.port)).await.map_err(|error| named(address, &error))?;
    stream.set_nodelay(true)?;
    #[cfg(feature = "tls")]
    if let Some(tls) = config.tls.as_ref().filter(|_| config.is_tls()) {
        let stream = tls.connect(&address.host, stream).await.map_err(|error| named(address, &error))?;
        return Ok(Box::new(stream));
    }
    #[cfg(not(feature = "tls"))]
    let _ = config;
    Ok(Box::new(stream))
}

fn named(address: &Address, error: &io::Error) -> Error {
    Error::Connection(format!("{address}: {error}"))
}

fn authenticated(answer: &Packet) -> Result<(), Error> {
    match answer.vbucket {
        status::SUCCESS => Ok(()),
        status::AUTH_ERROR | status::KEY_NOT_FOUND | status::NO_ACCESS => {
            Err(Error::Authentication("the server refuses user and password".into()))
        }
        other => Err(Error::Authentication(format!("status {other:#06x}"))),
    }
}

/// Turns the status of an answer into an error with a name.
pub(crate) fn success(answer: &Packet, request: &'static str) -> Result<(), Error> {
    match answer.vbucket {
        status::SUCCESS => Ok(()),
        status::NO_ACCESS => Err(Error::Access(format!("the user lacks a privilege for {request}"))),
        status::NOT_SUPPORTED | status::UNKNOWN_COMMAND => Err(Error::Unsupported(request.to_owned())),
        status => Err(Error::Status { request, status }),
    }
}
