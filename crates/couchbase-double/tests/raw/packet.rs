//! Packets as bytes, right or wrong, that share nothing with the double.

use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Longer than anything takes here.
const PATIENCE: Duration = Duration::from_secs(20);

/// A packet, of either direction.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Packet {
    pub(crate) magic: u8,
    pub(crate) opcode: u8,
    pub(crate) datatype: u8,
    /// The vbucket of a request, the status of an answer.
    pub(crate) vbucket: u16,
    pub(crate) opaque: u32,
    pub(crate) cas: u64,
    pub(crate) frames: Vec<u8>,
    pub(crate) extras: Vec<u8>,
    pub(crate) key: Vec<u8>,
    pub(crate) value: Vec<u8>,
}

impl Packet {
    pub(crate) fn request(opcode: u8) -> Self {
        Self { magic: 0x80, opcode, ..Self::default() }
    }

    /// As it is sent; with frame infos in the form that has them.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let body = self.frames.len() + self.extras.len() + self.key.len() + self.value.len();
        let short = |length: usize| u16::try_from(length).unwrap().to_be_bytes();
        let mut bytes = if self.frames.is_empty() {
            let [high, low] = short(self.key.len());
            vec![self.magic, self.opcode, high, low]
        } else {
            vec![0x08, self.opcode, u8::try_from(self.frames.len()).unwrap(), u8::try_from(self.key.len()).unwrap()]
        };
        bytes.extend([u8::try_from(self.extras.len()).unwrap(), self.datatype]);
        bytes.extend(self.vbucket.to_be_bytes());
        bytes.extend(u32::try_from(body).unwrap().to_be_bytes());
        bytes.extend(self.opaque.to_be_bytes());
        bytes.extend(self.cas.to_be_bytes());
        for part in [&self.frames, &self.extras, &self.key, &self.value] {
            bytes.extend(part);
        }
        bytes
    }

    /// The next one; `None` when the node has closed the connection.
    pub(crate) async fn read(socket: &mut TcpStream) -> Option<Self> {
        let mut header = [0; 24];
        timeout(PATIENCE, socket.read_exact(&mut header)).await.expect("a packet comes").ok()?;
        let [magic, opcode, one, two, extras, datatype, high, low, ..] = header;
        let number = |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().unwrap());
        let mut body = vec![0; number(8) as usize];
        socket.read_exact(&mut body).await.ok()?;
        let (frames, key) = match magic {
            0x08 => (usize::from(one), usize::from(two)),
            _ => (0, usize::from(u16::from_be_bytes([one, two]))),
        };
        let mut part = |length: usize| body.drain(..length).collect::<Vec<u8>>();
        let (frames, extras, key) = (part(frames), part(usize::from(extras)), part(key));
        let cas = u64::from_be_bytes(header[16..24].try_into().unwrap());
        let vbucket = u16::from_be_bytes([high, low]);
        Some(Self { magic, opcode, datatype, vbucket, opaque: number(12), cas, frames, extras, key, value: body })
    }
}
