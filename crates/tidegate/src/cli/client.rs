//! A small HTTP/1.1 client for the command line: one connection a request, blocking, plain text to a server of ours.
//!
//! It says whether a request may have arrived. It does not speak TLS, follow redirects or keep connections.

use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use serde_json::Value;

const ANSWER_BYTES_MAX: u64 = 256 << 20;
const HEAD_LINES_MAX: usize = 200;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Speaks to one server.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    authority: String,
    actor: Option<String>,
}

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Ask<'a> {
    pub(crate) method: &'static str,
    /// With its query.
    pub(crate) path: &'a str,
    pub(crate) headers: &'a [(&'a str, &'a str)],
    pub(crate) body: Option<&'a str>,
    /// Until the answer is there.
    pub(crate) timeout: Duration,
}

/// Any answer, good or bad.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Clone, Debug)]
pub(crate) struct NoAnswer {
    authority: String,
    why: String,
    /// Nothing was sent: the request cannot have arrived.
    pub(crate) nothing_sent: bool,
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nothing_sent {
            write!(f, "no server answers at {}: {}", self.authority, self.why)
        } else {
            write!(f, "the server at {} broke off: {}", self.authority, self.why)
        }
    }
}

impl Client {
    /// `http://127.0.0.1:7410`, or only the host and port.
    pub(crate) fn new(server: &str, actor: Option<String>) -> Result<Self, String> {
        let bare = match server.split_once("://") {
            None => server,
            Some(("http", rest)) => rest,
            Some((scheme, _)) => return Err(format!("\"{server}\": this version speaks http, not {scheme}")),
        };
        let authority = bare.trim_end_matches('/');
        if authority.is_empty() || authority.contains(['/', ' ', '@', '?']) {
            return Err(format!("\"{server}\" is not a server: say a host and a port, such as http://127.0.0.1:7410"));
        }
        let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let authority = if has_port { authority.to_owned() } else { format!("{authority}:7410") };
        let actor = actor.filter(|name| !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic()));
        Ok(Self { authority, actor })
    }

    pub(crate) fn get(&self, path: &str) -> Result<Reply, NoAnswer> {
        self.ask(&Ask { method: "GET", path, headers: &[], body: None, timeout: Duration::from_secs(30) })
    }

    pub(crate) fn post(&self, path: &str, body: &str) -> Result<Reply, NoAnswer> {
        self.ask(&Ask { method: "POST", path, headers: &[], body: Some(body), timeout: Duration::from_secs(30) })
    }

    /// As [`Self::post`], for what takes as long as it takes.
    pub(crate) fn post_and_wait(&self, path: &str, body: &str) -> Result<Reply, NoAnswer> {
        let timeout = Duration::from_secs(3_600);
        self.ask(&Ask { method: "POST", path, headers: &[], body: Some(body), timeout })
    }

    pub(crate) fn ask(&self, ask: &Ask<'_>) -> Result<Reply, NoAnswer> {
        let failed = |nothing_sent: bool, why: &dyn fmt::Display| NoAnswer {
            authority: self.authority.clone(),
            why: why.to_string(),
            nothing_sent,
        };
        let mut stream = self.connect().map_err(|e| failed(true, &e))?;
        let mut head =
            format!("{} {} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", ask.method, ask.path, self.authority);
        if let Some(actor) = &self.actor {
            head.push_str(&format!("Tidegate-Actor: {actor}\r\n"));
        }
        for (name, value) in ask.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(body) = ask.body {
            head.push_str(&format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        head.push_str(ask.body.unwrap_or_default());
        let talk = |stream: &mut TcpStream| -> std::io::Result<Reply> {
            stream.set_read_timeout(Some(ask.timeout))?;
            stream.set_write_timeout(Some(ask.timeout))?;
            stream.write_all(head.as_bytes())?;
            read_reply(BufReader::new(stream))
        };
        talk(&mut stream).map_err(|e| failed(false, &e))
    }

    fn connect(&self) -> std::io::Result<TcpStream> {
        let mut last = std::io::Error::new(std::io::ErrorKind::NotFound, "the name has no address");
        for address in self.authority.to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    return Ok(stream);
                }
                Err(why) => last = why,
            }
        }
        Err(last)
    }
}

fn read_reply(mut from: impl BufRead) -> std::io::Result<Reply> {
    let status_line = line(&mut from)?;
    let status = status_line
        .strip_prefix("HTTP/1.")
        .and_then(|rest| rest.split(' ').nth(1))
        .and_then(|code| code.parse().ok())
        .ok_or_else(|| odd("the answer is not HTTP"))?;
    let mut headers = Vec::new();
    loop {
        let text = line(&mut from)?;
        if text.is_empty() {
            break;
        }
        if headers.len() >= HEAD_LINES_MAX {
            return Err(odd("the answer has too many headers"));
        }
        let (name, value) = text.split_once(':').ok_or_else(|| odd("the answer has a broken header"))?;
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut reply = Reply { status, headers, body: Vec::new() };
    if reply.header("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
        loop {
            let text = line(&mut from)?;
            let size = u64::from_str_radix(text.split(';').next().unwrap_or("").trim(), 16);
            let size = size.map_err(|_| odd("the answer has a broken chunk"))?;
            if size == 0 {
                break;
            }
            if reply.body.len() as u64 + size > ANSWER_BYTES_MAX {
                return Err(odd("the answer is too long"));
            }
            exactly(&mut from, size, &mut reply.body)?;
            line(&mut from)?;
        }
    } else if let Some(length) = reply.header("content-length") {
        let length: u64 = length.parse().map_err(|_| odd("the answer has a broken length"))?;
        if length > ANSWER_BYTES_MAX {
            return Err(odd("the answer is too long"));
        }
        exactly(&mut from, length, &mut reply.body)?;
    } else {
        from.take(ANSWER_BYTES_MAX).read_to_end(&mut reply.body)?;
    }
    Ok(reply)
}

fn exactly(from: &mut impl Read, size: u64, into: &mut Vec<u8>) -> std::io::Result<()> {
    let before = into.len() as u64;
    from.take(size).read_to_end(into)?;
    if into.len() as u64 - before < size {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    Ok(())
}

fn line(from: &mut impl BufRead) -> std::io::Result<String> {
    let mut text = Vec::new();
    from.take(64 << 10).read_until(b'\n', &mut text)?;
    if text.pop() != Some(b'\n') {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    if text.last() == Some(&b'\r') {
        text.pop();
    }
    String::from_utf8(text).map_err(|_| odd("the answer's head is not text"))
}

fn odd(why: &str) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, why)
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn is_good(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// 429 and 503: come again.
    pub(crate) fn is_overload(&self) -> bool {
        matches!(self.status, 429 | 503)
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Percent-encodes what may be any text.
pub(crate) fn encode(text: &str) -> String {
    const PLAIN: percent_encoding::AsciiSet =
        percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
    percent_encoding::utf8_percent_encode(text, &PLAIN).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_every_framing_are_read() {
        for (text, want) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", "hi"),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n3\r\n yo\r\n0\r\n\r\n", "hi yo"),
            ("HTTP/1.0 200 OK\r\n\r\nto the end", "to the end"),
        ] {
            let reply = read_reply(text.as_bytes());
            assert_eq!(reply.map(|r| r.text()).unwrap_or_else(|e| e.to_string()), want);
        }
        for text in [
            "",
            "nonsense\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort",
            "HTTP/1.1 200 OK\r\nbroken\r\n\r\n",
        ] {
            assert!(read_reply(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn servers_are_hosts_and_ports() {
        let of = |server: &str| Client::new(server, None).map(|c| c.authority);
        assert_eq!(of("http://127.0.0.1:7410/"), Ok("127.0.0.1:7410".into()));
        assert_eq!(of("localhost"), Ok("localhost:7410".into()));
        assert!(of("https://a:1").is_err() && of("http://a:1/x").is_err() && of("").is_err());
    }

    #[test]
    fn nobody_there_means_nothing_sent() {
        // A port that was free a moment ago and that nobody listens on.
        let Ok(port) = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()) else {
            panic!("a port")
        };
        let Ok(client) = Client::new(&port.to_string(), None) else { panic!("an address") };
        let Err(why) = client.get("/healthz") else { panic!("nobody is there") };
        assert!(why.nothing_sent && why.to_string().starts_with("no server answers at 127.0.0.1:"), "{why}");
    }
}
