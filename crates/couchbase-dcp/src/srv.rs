//! Nodes from a DNS SRV record: one question to the system's name servers, over TCP, which has room for any answer.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use simple_dns::rdata::RData;
use simple_dns::{CLASS, Name, Packet, QCLASS, QTYPE, Question, RCODE, TYPE};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::address::Address;
use crate::error::Error;

/// Where Unix systems name their name servers.
const RESOLVER_FILE: &str = "/etc/resolv.conf";
const DNS_PORT: u16 = 53;
/// Name servers that are asked, one after the other.
const SERVERS_MAX: usize = 3;

/// The targets of a record, the preferred ones first; none when there is no such record.
pub(crate) async fn look_up(name: &str, patience: Duration) -> Result<Vec<Address>, Error> {
    let text = tokio::fs::read_to_string(RESOLVER_FILE).await;
    let text = text.map_err(|error| Error::Configuration(format!("{RESOLVER_FILE}: {error}")))?;
    let mut last = Error::Configuration(format!("{RESOLVER_FILE} names no name server"));
    for server in name_servers(&text) {
        let asked = timeout(patience, ask(SocketAddr::new(server, DNS_PORT), name)).await;
        match asked.unwrap_or_else(|_| Err(Error::Timeout(format!("the name server {server}")))) {
            Ok(found) => return Ok(found),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn name_servers(text: &str) -> impl Iterator<Item = IpAddr> {
    let address = |line: &str| line.trim().strip_prefix("nameserver")?.trim().parse().ok();
    text.lines().filter_map(address).take(SERVERS_MAX)
}

/// Messages over TCP have their length before them (RFC 1035, section 4.2.2).
async fn ask(server: SocketAddr, name: &str) -> Result<Vec<Address>, Error> {
    let wrong = |error: simple_dns::SimpleDnsError| Error::Configuration(format!("the name {name}: {error}"));
    let random = getrandom::u32().map_err(|error| Error::Configuration(format!("no random numbers: {error}")))?;
    let id = u16::try_from(random & 0xffff).unwrap_or_default();
    let mut question = Packet::new_query(id);
    question.set_flags(simple_dns::PacketFlag::RECURSION_DESIRED);
    let record = Name::new(name).map_err(wrong)?;
    question.questions.push(Question::new(record, QTYPE::TYPE(TYPE::SRV), QCLASS::CLASS(CLASS::IN), false));
    let bytes = question.build_bytes_vec().map_err(wrong)?;
    let length =
        u16::try_from(bytes.len()).map_err(|_| Error::Configuration(format!("the name {name} is too long")))?;
    let mut stream = TcpStream::connect(server).await?;
    stream.write_all(&[&length.to_be_bytes()[..], &bytes].concat()).await?;
    let length = stream.read_u16().await?;
    let mut answer = vec![0; usize::from(length)];
    stream.read_exact(&mut answer).await?;
    read(&answer, id)
}

fn read(answer: &[u8], id: u16) -> Result<Vec<Address>, Error> {
    let malformed = |_| Error::Protocol("the name server's answer is malformed".into());
    let packet = Packet::parse(answer).map_err(malformed)?;
    if packet.id() != id {
        return Err(Error::Protocol("the name server answers another question".into()));
    }
    let code = packet.rcode();
    if !matches!(code, RCODE::NoError | RCODE::NameError) {
        return Err(Error::Connection(format!("the name server answers {code:?}")));
    }
    let mut targets: Vec<(u16, Address)> = packet
        .answers
        .iter()
        .filter_map(|record| {
            let RData::SRV(srv) = &record.rdata else { return None };
            Some((srv.priority, Address { host: srv.target.to_string(), port: srv.port }))
        })
        .collect();
    targets.sort();
    Ok(targets.into_iter().map(|(_, address)| address).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use simple_dns::ResourceRecord;
    use simple_dns::rdata::SRV;
    use tokio::net::TcpListener;

    /// A name server that knows one record.
    async fn serve(listener: TcpListener) {
        let (mut stream, _) = listener.accept().await.unwrap();
        let length = stream.read_u16().await.unwrap();
        let mut bytes = vec![0; length.into()];
        stream.read_exact(&mut bytes).await.unwrap();
        let question = Packet::parse(&bytes).unwrap();
        let name = question.questions[0].qname.clone();
        assert_eq!(name.to_string(), "_couchbase._tcp.cb.example");
        let mut answer = Packet::new_reply(question.id());
        for (priority, target, port) in [(2, "b.example", 11211), (1, "a.example", 11210)] {
            let data = SRV { priority, weight: 0, port, target: Name::new(target).unwrap() };
            answer.answers.push(ResourceRecord::new(name.clone(), CLASS::IN, 10, RData::SRV(data)));
        }
        let bytes = answer.build_bytes_vec().unwrap();
        stream.write_u16(bytes.len().try_into().unwrap()).await.unwrap();
        stream.write_all(&bytes).await.unwrap();
    }

    #[tokio::test]
    async fn the_preferred_target_comes_first() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = listener.local_addr().unwrap();
        let serving = tokio::spawn(serve(listener));
        let found = ask(server, "_couchbase._tcp.cb.example").await.unwrap();
        serving.await.unwrap();
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(found, ["a.example:11210", "b.example:11211"]);
    }

    #[test]
    fn name_servers_are_read() {
        let text = "# comment\nsearch x\nnameserver 127.0.0.53\noptions edns0\nnameserver ::1\n";
        assert_eq!(name_servers(text).map(|server| server.to_string()).collect::<Vec<_>>(), ["127.0.0.53", "::1"]);
    }

    #[test]
    fn other_answers_are_refused() {
        assert!(read(b"\0", 1).is_err());
        let bytes = Packet::new_reply(2).build_bytes_vec().unwrap();
        assert!(read(&bytes, 1).is_err());
        assert_eq!(read(&bytes, 2), Ok(Vec::new()));
    }
}
