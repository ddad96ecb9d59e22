//! Nodes from a DNS SRV record: one question to the system's name servers, over UDP first, as all name servers answer there, and over TCP
//! where the answer has no room in a datagram or does not come.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use simple_dns::rdata::RData;
use simple_dns::{CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, TYPE, header_buffer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::address::Address;
use crate::error::Error;
use crate::limits::DNS_DATAGRAM_BYTES_MAX;

/// Where Unix systems name their name servers.
const RESOLVER_FILE: &str = "/etc/resolv.conf";
const DNS_PORT: u16 = 53;
/// Name servers that are asked, one after the other.
const SERVERS_MAX: usize = 3;

/// The name servers of this system; none where it names none in the usual place.
pub(crate) async fn name_servers() -> Vec<SocketAddr> {
    let text = tokio::fs::read_to_string(RESOLVER_FILE).await.unwrap_or_default();
    named(&text).map(|server| SocketAddr::new(server, DNS_PORT)).collect()
}

fn named(text: &str) -> impl Iterator<Item = IpAddr> {
    let address = |line: &str| line.trim().strip_prefix("nameserver")?.split_whitespace().next()?.parse().ok();
    text.lines().filter_map(address).take(SERVERS_MAX)
}

/// The targets of a record, the preferred ones first; none when there is no such record. A server has this `patience` for each answer.
pub(crate) async fn look_up(servers: &[SocketAddr], name: &str, patience: Duration) -> Result<Vec<Address>, Error> {
    let mut last = Error::Configuration(format!("{RESOLVER_FILE} names no name server"));
    for server in servers {
        match ask(*server, name, patience).await {
            Ok(found) => return Ok(found),
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn ask(server: SocketAddr, name: &str, patience: Duration) -> Result<Vec<Address>, Error> {
    let random = getrandom::u32().map_err(|error| Error::Configuration(format!("no random numbers: {error}")))?;
    let id = u16::try_from(random & 0xffff).unwrap_or_default();
    let question = question(id, name)?;
    if let Ok(Ok(answer)) = timeout(patience, over_udp(server, &question, id)).await
        && !header_buffer::has_flags(&answer, PacketFlag::TRUNCATION).unwrap_or(false)
    {
        return read(&answer, id);
    }
    let asked = timeout(patience, over_tcp(server, &question)).await;
    read(&asked.map_err(|_| Error::Timeout(format!("the name server {server}")))??, id)
}

fn question(id: u16, name: &str) -> Result<Vec<u8>, Error> {
    let wrong = |error: simple_dns::SimpleDnsError| Error::Configuration(format!("the name {name}: {error}"));
    let mut question = Packet::new_query(id);
    question.set_flags(PacketFlag::RECURSION_DESIRED);
    let record = Name::new(name).map_err(wrong)?;
    question.questions.push(Question::new(record, QTYPE::TYPE(TYPE::SRV), QCLASS::CLASS(CLASS::IN), false));
    question.build_bytes_vec().map_err(wrong)
}

/// The first datagram from the server that answers this question.
async fn over_udp(server: SocketAddr, question: &[u8], id: u16) -> Result<Vec<u8>, Error> {
    let any = if server.is_ipv4() { IpAddr::from(Ipv4Addr::UNSPECIFIED) } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(question).await?;
    let mut answer = vec![0; DNS_DATAGRAM_BYTES_MAX];
    loop {
        let length = socket.recv(&mut answer).await?;
        let found = answer.get(..length).unwrap_or_default();
        if header_buffer::id(found).is_ok_and(|found| found == id) {
            return Ok(found.to_vec());
        }
    }
}

/// Messages over TCP have their length before them (RFC 1035, section 4.2.2).
async fn over_tcp(server: SocketAddr, question: &[u8]) -> Result<Vec<u8>, Error> {
    let length = u16::try_from(question.len()).map_err(|_| Error::Configuration("the name is too long".into()))?;
    let mut stream = TcpStream::connect(server).await?;
    stream.write_all(&[&length.to_be_bytes()[..], question].concat()).await?;
    let length = stream.read_u16().await?;
    let mut answer = vec![0; usize::from(length)];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
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
            let host = srv.target.to_string();
            // The root says that there is decidedly no such service (RFC 2782).
            (!host.is_empty()).then_some((srv.priority, Address { host, port: srv.port }))
        })
        .collect();
    targets.sort();
    Ok(targets.into_iter().map(|(_, address)| address).collect())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use simple_dns::ResourceRecord;
    use simple_dns::rdata::SRV;
    use tokio::net::TcpListener;
    use tokio::task::JoinSet;

    const NAME: &str = "_couchbase._tcp.cb.example";
    /// For an answer that comes.
    const LONG: Duration = Duration::from_secs(20);
    /// For one that does not.
    const SHORT: Duration = Duration::from_millis(50);

    /// What a name server says.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) enum Says {
        Targets,
        NotThere,
        Failure,
        Truncated,
        Nothing,
    }

    /// A name server, on one port of both protocols; it ends when this is dropped.
    pub(crate) struct NameServer {
        pub(crate) at: SocketAddr,
        _tasks: JoinSet<()>,
    }

    impl NameServer {
        pub(crate) async fn start(over_udp: Says, over_tcp: Says) -> Self {
            let (udp, tcp) = loop {
                let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
                // The other protocol's port of this number may be somebody else's.
                if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()).await {
                    break (udp, tcp);
                }
            };
            let at = tcp.local_addr().unwrap();
            let mut tasks = JoinSet::new();
            tasks.spawn(async move {
                let mut question = [0; 512];
                loop {
                    let (length, from) = udp.recv_from(&mut question).await.unwrap();
                    if over_udp != Says::Nothing {
                        // Somebody else's answer comes first.
                        udp.send_to(&[0; 12], from).await.unwrap();
                        udp.send_to(&answer(&question[..length], over_udp), from).await.unwrap();
                    }
                }
            });
            tasks.spawn(async move {
                let mut silent = Vec::new();
                loop {
                    let (mut stream, _) = tcp.accept().await.unwrap();
                    let length = stream.read_u16().await.unwrap();
                    let mut question = vec![0; length.into()];
                    stream.read_exact(&mut question).await.unwrap();
                    if over_tcp == Says::Nothing {
                        silent.push(stream);
                        continue;
                    }
                    let bytes = answer(&question, over_tcp);
                    stream.write_u16(bytes.len().try_into().unwrap()).await.unwrap();
                    stream.write_all(&bytes).await.unwrap();
                }
            });
            Self { at, _tasks: tasks }
        }
    }

    fn answer(question: &[u8], says: Says) -> Vec<u8> {
        let question = Packet::parse(question).unwrap();
        let name = question.questions[0].qname.clone();
        assert_eq!(name.to_string(), NAME);
        let mut answer = Packet::new_reply(question.id());
        match says {
            Says::Nothing => {}
            Says::NotThere => *answer.rcode_mut() = RCODE::NameError,
            Says::Failure => *answer.rcode_mut() = RCODE::ServerFailure,
            Says::Truncated => answer.set_flags(PacketFlag::TRUNCATION),
            Says::Targets => {
                for (priority, target, port) in [(2, "b.example", 11211), (1, "a.example", 11210), (0, "", 1)] {
                    let data = SRV { priority, weight: 0, port, target: Name::new(target).unwrap() };
                    answer.answers.push(ResourceRecord::new(name.clone(), CLASS::IN, 10, RData::SRV(data)));
                }
            }
        }
        answer.build_bytes_vec().unwrap()
    }

    async fn found(servers: &[SocketAddr], patience: Duration) -> Result<Vec<String>, Error> {
        Ok(look_up(servers, NAME, patience).await?.iter().map(ToString::to_string).collect())
    }

    #[tokio::test]
    async fn the_preferred_target_comes_first() {
        let targets = ["a.example:11210", "b.example:11211"].map(String::from);
        // Over UDP alone; over TCP where there is more, and where no datagram comes back.
        for (over_udp, over_tcp, patience) in [
            (Says::Targets, Says::Nothing, LONG),
            (Says::Truncated, Says::Targets, LONG),
            (Says::Nothing, Says::Targets, Duration::from_secs(3)),
        ] {
            let server = NameServer::start(over_udp, over_tcp).await;
            assert_eq!(found(&[server.at], patience).await.unwrap(), targets, "{over_udp:?} {over_tcp:?}");
        }
    }

    #[tokio::test]
    async fn the_next_server_is_asked_where_one_fails() {
        let failing = NameServer::start(Says::Failure, Says::Nothing).await;
        let error = found(&[failing.at], LONG).await.unwrap_err();
        assert!(error.to_string().contains("ServerFailure"), "{error}");
        let good = NameServer::start(Says::Targets, Says::Nothing).await;
        assert_eq!(found(&[failing.at, good.at], LONG).await.unwrap().len(), 2);
        // A record that is not there is an answer.
        let without = NameServer::start(Says::NotThere, Says::Nothing).await;
        assert_eq!(found(&[without.at, good.at], LONG).await, Ok(Vec::new()));
        assert!(found(&[], LONG).await.is_err());
    }

    #[tokio::test]
    async fn a_silent_server_is_left() {
        let silent = NameServer::start(Says::Nothing, Says::Nothing).await;
        assert!(matches!(found(&[silent.at], SHORT).await, Err(Error::Timeout(_))));
    }

    #[test]
    fn name_servers_are_read() {
        let text = "# comment\nsearch x\nnameserver 127.0.0.53\noptions edns0\nnameserver\t::1 # local\n";
        assert_eq!(named(text).map(|server| server.to_string()).collect::<Vec<_>>(), ["127.0.0.53", "::1"]);
    }

    #[test]
    fn other_answers_are_refused() {
        assert!(read(b"\0", 1).is_err());
        let bytes = Packet::new_reply(2).build_bytes_vec().unwrap();
        assert!(read(&bytes, 1).is_err());
        assert_eq!(read(&bytes, 2), Ok(Vec::new()));
    }
}
