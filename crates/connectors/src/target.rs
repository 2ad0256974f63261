//! Where calls go: a participant's endpoints and how to connect to them, as plain values.
//!
//! Leaves out names of secrets (values arrive finished) and limits on calls (the load manager's).

use std::time::Duration;

use bytes::Bytes;
use compact_str::CompactString;
use http::{HeaderName, HeaderValue, Uri};

/// One participant, as this crate needs to know it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    /// For messages only.
    pub name: CompactString,
    pub endpoints: Vec<EndpointSpec>,
    /// Sent with every call. Mark secret values sensitive, so that no `Debug` shows them.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Headers of an answer to keep. Few: each is looked up in every answer.
    pub keep_headers: Vec<HeaderName>,
    pub protocol: Protocol,
    pub tls: Tls,
    /// Resolving, TCP and TLS together.
    pub connect_timeout: Duration,
    /// How long an unused connection is kept. Below the server's own, or requests meet closing connections.
    pub idle_timeout: Duration,
    /// A connection older than this takes no new request, so that a changed DNS answer comes to be used.
    pub connection_age_max: Duration,
    /// Per endpoint. HTTP/1.1 carries one call per connection, so this also bounds its calls.
    pub connections_max: u32,
    /// HTTP/2 only: calls at once on one connection; the server's own bound counts as well.
    pub streams_max: u32,
    /// A longer body is not read to its end.
    pub body_bytes_max: usize,
}

impl Target {
    /// A target at `urls` with the usual numbers: 5 s to connect, 30 s idle, 5 min of age, 256 connections of 100
    /// streams, 1 MiB of body.
    pub fn new(name: &str, urls: &[&str]) -> Self {
        Self {
            name: name.into(),
            endpoints: urls.iter().map(|url| EndpointSpec { url: (*url).to_owned() }).collect(),
            headers: Vec::new(),
            keep_headers: Vec::new(),
            protocol: Protocol::Auto,
            tls: Tls::default(),
            connect_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(30),
            connection_age_max: Duration::from_secs(300),
            connections_max: 256,
            streams_max: 100,
            body_bytes_max: 1 << 20,
        }
    }
}

/// One address of a participant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EndpointSpec {
    /// `http://host[:port][/base/path]` or `https://…`, without query, fragment or user.
    pub url: String,
}

/// Which HTTP to speak.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Protocol {
    /// What the server chooses by ALPN with TLS, HTTP/1.1 without.
    #[default]
    Auto,
    Http1,
    /// Without TLS by prior knowledge.
    Http2,
}

/// Whom to trust, and who we are. Texts are PEM.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Tls {
    /// Certificates trusted beside the machine's own.
    pub ca_bundle: Option<Bytes>,
    pub client_certificate: Option<ClientCertificate>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls")
            .field("ca_bundle_bytes", &self.ca_bundle.as_ref().map(Bytes::len))
            .field("client_certificate", &self.client_certificate)
            .finish()
    }
}

/// What we show to a server that asks who we are.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// Ours first, then those that sign it.
    pub chain: Bytes,
    pub key: Bytes,
}

impl std::fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientCertificate").field("chain_bytes", &self.chain.len()).finish_non_exhaustive()
    }
}

/// Why a list of targets was not taken.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TargetError {
    #[error("participant {participant}: endpoint \"{url}\" {what}")]
    Endpoint { participant: CompactString, url: String, what: &'static str },
    #[error("participant {participant}: {what}")]
    Tls { participant: CompactString, what: String },
    #[error("participant {participant}: {what}")]
    Number { participant: CompactString, what: &'static str },
    #[error("participant {participant}: the header {header} is set by the connector and by nobody else")]
    Header { participant: CompactString, header: HeaderName },
}

/// An endpoint's URL, taken apart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Address {
    pub(crate) secure: bool,
    /// Without the brackets of an IPv6 literal.
    pub(crate) host: CompactString,
    pub(crate) port: u16,
    /// As it stands in `Host` and `:authority`.
    pub(crate) authority: http::uri::Authority,
    /// Without a trailing slash; may be empty.
    pub(crate) base_path: CompactString,
}

impl Address {
    pub(crate) fn parse(url: &str) -> Result<Self, &'static str> {
        let uri: Uri = url.parse().map_err(|_| "is not a URL; write http://host:port/path")?;
        let secure = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err("has to begin with http:// or https://"),
        };
        let authority = uri.authority().ok_or("has no host")?.clone();
        if authority.as_str().contains('@') {
            return Err("contains a user or password; use a header with a secret");
        }
        if uri.query().is_some() || url.contains('#') {
            return Err("has a query or fragment; put them into the calls");
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err("has no host");
        }
        let port = match authority.port() {
            Some(port) => port.as_u16(),
            None if authority.as_str().ends_with(':') || authority.as_str().len() > authority.host().len() => {
                return Err("has a port that is none; it has to be from 1 to 65535");
            }
            None if secure => 443,
            None => 80,
        };
        if port == 0 {
            return Err("has a port that is none; it has to be from 1 to 65535");
        }
        let base_path = uri.path().trim_end_matches('/').into();
        Ok(Self { secure, host: host.into(), port, authority, base_path })
    }
}

#[cfg(test)]
mod tests {
    use super::Address;

    #[test]
    fn addresses_come_apart() {
        let cases = [
            ("http://crm.internal:8080", "plain crm.internal 8080 []"),
            ("https://pay-1.internal/api/", "tls pay-1.internal 443 [/api]"),
            ("http://[::1]:7/a/b", "plain ::1 7 [/a/b]"),
            ("http://h", "plain h 80 []"),
            ("ftp://h", "error: has to begin with http:// or https://"),
            ("h:80", "error: has to begin with http:// or https://"),
            ("http://u:p@h", "error: contains a user or password; use a header with a secret"),
            ("http://h/?a=b", "error: has a query or fragment; put them into the calls"),
            ("http://h/#a", "error: has a query or fragment; put them into the calls"),
            ("http://h:0", "error: has a port that is none; it has to be from 1 to 65535"),
            ("http://h:99999", "error: has a port that is none; it has to be from 1 to 65535"),
            ("http:// h", "error: is not a URL; write http://host:port/path"),
            ("", "error: is not a URL; write http://host:port/path"),
        ];
        for (url, want) in cases {
            let got = match Address::parse(url) {
                Ok(a) => {
                    format!("{} {} {} [{}]", if a.secure { "tls" } else { "plain" }, a.host, a.port, a.base_path)
                }
                Err(what) => format!("error: {what}"),
            };
            assert_eq!(got, want, "{url}");
        }
    }
}
