//! Connection strings: `couchbase://user:password@host1:port,host2/bucket?network=external`.

use crate::error::Error;

/// Where key-value services listen unless something else is said.
const PORT: u16 = 11210;
const TLS_PORT: u16 = 11207;

/// What a connection string says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConnectionString {
    /// `couchbases://`
    pub(crate) is_tls: bool,
    /// At least one.
    pub(crate) seeds: Vec<Seed>,
    pub(crate) user: Option<(String, String)>,
    pub(crate) bucket: Option<String>,
    pub(crate) network: Option<String>,
}

/// A host that the string names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seed {
    pub(crate) host: String,
    pub(crate) port: Option<u16>,
}

/// A node's key-value service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Address {
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl std::fmt::Display for Address {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(out, "[{}]:{}", self.host, self.port)
        } else {
            write!(out, "{}:{}", self.host, self.port)
        }
    }
}

fn wrong(why: &str) -> Error {
    Error::Configuration(format!("connection string: {why}"))
}

impl std::str::FromStr for ConnectionString {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (scheme, rest) =
            text.split_once("://").ok_or_else(|| wrong("it begins with couchbase:// or couchbases://"))?;
        let is_tls = match scheme {
            "couchbase" => false,
            "couchbases" => true,
            _ => return Err(wrong("it begins with couchbase:// or couchbases://")),
        };
        let (rest, options) = rest.split_once('?').unwrap_or((rest, ""));
        let (rest, bucket) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, hosts) = match rest.rsplit_once('@') {
            None => (None, rest),
            Some((user, hosts)) => {
                let (user, password) = user.split_once(':').ok_or_else(|| wrong("user:password before the @"))?;
                (Some((decode(user)?, decode(password)?)), hosts)
            }
        };
        let seeds = hosts.split(',').map(seed).collect::<Result<Vec<_>, _>>()?;
        let mut network = None;
        for option in options.split('&').filter(|option| !option.is_empty()) {
            match option.split_once('=') {
                Some(("network", name)) => network = Some(name.to_owned()),
                _ => {
                    return Err(wrong(&format!(
                        "the option {option} is unknown (there is network=auto|default|external)"
                    )));
                }
            }
        }
        let bucket = if bucket.is_empty() { None } else { Some(decode(bucket)?) };
        Ok(Self { is_tls, seeds, user, bucket, network })
    }
}

fn seed(text: &str) -> Result<Seed, Error> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or_else(|| wrong("an address in brackets has no end"))?;
            (host, port.strip_prefix(':'))
        }
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    if host.is_empty() {
        return Err(wrong("a host is empty"));
    }
    let port = port.map(|port| port.parse().map_err(|_| wrong(&format!("{port} is no port")))).transpose()?;
    Ok(Seed { host: host.to_owned(), port })
}

/// `%40` and so on.
fn decode(text: &str) -> Result<String, Error> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, tail) = tail.split_at_checked(2).ok_or_else(|| wrong("two hexadecimal digits follow a %"))?;
        let digits = std::str::from_utf8(digits).ok().and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(digits.ok_or_else(|| wrong("two hexadecimal digits follow a %"))?);
        rest = tail;
    }
    String::from_utf8(bytes).map_err(|_| wrong("it is not UTF-8"))
}

impl ConnectionString {
    /// The name of the SRV record that one host without a port and without an address stands for.
    #[cfg(any(feature = "srv", test))]
    pub(crate) fn srv_name(&self) -> Option<String> {
        let [Seed { host, port: None }] = self.seeds.as_slice() else { return None };
        if host.parse::<std::net::IpAddr>().is_ok() || host == "localhost" {
            return None;
        }
        Some(format!("_couchbase{}._tcp.{host}", if self.is_tls { "s" } else { "" }))
    }

    /// The nodes that it names.
    pub(crate) fn addresses(&self) -> Vec<Address> {
        let standard = if self.is_tls { TLS_PORT } else { PORT };
        let address = |seed: &Seed| Address { host: seed.host.clone(), port: seed.port.unwrap_or(standard) };
        self.seeds.iter().map(address).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<ConnectionString, String> {
        text.parse().map_err(|error: Error| error.to_string())
    }

    #[test]
    fn strings_are_taken_apart() {
        let string = parse("couchbase://us%40er:p%3Aw@a:1,b,[::1]:2/travel?network=external").unwrap();
        assert_eq!(string.user, Some(("us@er".into(), "p:w".into())));
        let addresses: Vec<String> = string.addresses().iter().map(ToString::to_string).collect();
        assert_eq!(addresses, ["a:1", "b:11210", "[::1]:2"]);
        assert_eq!((string.bucket.as_deref(), string.network.as_deref()), (Some("travel"), Some("external")));
        assert_eq!(parse("couchbases://h").unwrap().addresses()[0].port, TLS_PORT);
    }

    #[test]
    fn one_name_without_a_port_may_be_a_record() {
        let name = |text| parse(text).unwrap().srv_name();
        assert_eq!(name("couchbases://cb.example.com").as_deref(), Some("_couchbases._tcp.cb.example.com"));
        assert_eq!(name("couchbase://cb.example.com").as_deref(), Some("_couchbase._tcp.cb.example.com"));
        for none in ["couchbase://h:1", "couchbase://a,b", "couchbase://10.0.0.1", "couchbase://localhost"] {
            assert_eq!(name(none), None, "{none}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (text, part) in [
            ("http://h", "couchbase://"),
            ("h", "couchbase://"),
            ("couchbase://", "a host is empty"),
            ("couchbase://a:b", "b is no port"),
            ("couchbase://[::1", "brackets"),
            ("couchbase://user@h", "user:password"),
            ("couchbase://h?tls=no", "tls=no is unknown"),
            ("couchbase://a:%zz@h", "hexadecimal"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
