//! One connection to an endpoint: resolve, connect, TLS; and the counters on which all proof rests.
//!
//! [`Evidence`] counts what the layer below HTTP took and gave. "Not sent" is concluded from it alone: a library's
//! word that a request was not written is a hint, a counter that has not moved is proof. Leaves out HTTP.

use std::{
    cell::Cell,
    io::{self, Read as _},
    net::{IpAddr, SocketAddr},
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use compact_str::CompactString;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Instant, Sleep},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    NotSent, Tls,
    target::Address,
    verdict::{self, DialFailure},
};

/// What went over a connection so far.
#[derive(Debug, Default)]
pub(crate) struct Evidence {
    /// Bytes of HTTP that the layer below accepted. A TLS handshake's are not among them.
    written: Cell<u64>,
    /// Bytes of HTTP that arrived.
    read: Cell<u64>,
    /// Makes the next read ask the kernel. The runtime's memory of what a socket had to say is as old as its last
    /// look at epoll; a close that came since would be overlooked, and a request written into it.
    ask_kernel: Cell<bool>,
}

impl Evidence {
    pub(crate) fn written(&self) -> u64 {
        self.written.get()
    }

    pub(crate) fn read(&self) -> u64 {
        self.read.get()
    }

    pub(crate) fn ask_kernel(&self) {
        self.ask_kernel.set(true);
    }
}

/// The TCP socket below everything.
#[derive(Debug)]
struct Socket {
    tcp: TcpStream,
    evidence: Rc<Evidence>,
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.evidence.ask_kernel.take() {
            let mut bytes = [0; 256];
            let room = buf.remaining().min(bytes.len());
            match (&*SockRef::from(&this.tcp)).read(&mut bytes[..room]) {
                Ok(count) => {
                    buf.put_slice(&bytes[..count]);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Pin::new(&mut this.tcp).poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().tcp).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().tcp).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_shutdown(cx)
    }
}

#[derive(Debug)]
enum Layers {
    Plain(Socket),
    Tls(Box<TlsStream<Socket>>),
}

/// A connection that counts.
#[derive(Debug)]
pub(crate) struct Wire {
    layers: Layers,
    evidence: Rc<Evidence>,
}

impl Wire {
    /// Counts what a write did. A plain socket that answers with an error took nothing (POSIX `send`). A TLS session
    /// may have taken and partly sent the bytes before it failed, so there an error counts as a byte.
    fn count(&self, outcome: &io::Result<usize>) {
        let more = match outcome {
            Ok(taken) => *taken as u64,
            Err(_) if matches!(self.layers, Layers::Tls(_)) => 1,
            Err(_) => 0,
        };
        self.evidence.written.set(self.evidence.written.get() + more);
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let outcome = ready!(match &mut this.layers {
            Layers::Plain(socket) => Pin::new(socket).poll_read(cx, buf),
            Layers::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        });
        let arrived = buf.filled().len().saturating_sub(before) as u64;
        this.evidence.read.set(this.evidence.read.get() + arrived);
        Poll::Ready(outcome)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let outcome = ready!(match &mut this.layers {
            Layers::Plain(socket) => Pin::new(socket).poll_write(cx, buf),
            Layers::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        });
        this.count(&outcome);
        Poll::Ready(outcome)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let outcome = ready!(match &mut this.layers {
            Layers::Plain(socket) => Pin::new(socket).poll_write_vectored(cx, bufs),
            Layers::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        });
        this.count(&outcome);
        Poll::Ready(outcome)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.layers {
            Layers::Plain(socket) => socket.is_write_vectored(),
            Layers::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().layers {
            Layers::Plain(socket) => Pin::new(socket).poll_flush(cx),
            Layers::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().layers {
            Layers::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Layers::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// A fresh connection.
#[derive(Debug)]
pub(crate) struct Dialled {
    pub(crate) wire: Wire,
    pub(crate) evidence: Rc<Evidence>,
    /// The server chose HTTP/2 by ALPN.
    pub(crate) chose_http2: bool,
    pub(crate) at: Instant,
}

/// What to offer a server by ALPN.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Offer {
    Http1,
    Http2,
    Both,
}

/// TLS settings ready for use: one client configuration per offer.
pub(crate) struct TlsSetup {
    http1: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
    both: Arc<ClientConfig>,
    server: ServerName<'static>,
}

impl TlsSetup {
    /// `roots` are the machine's own; those of `tls` are added. Errors are sentences.
    pub(crate) fn new(tls: &Tls, roots: &RootCertStore, address: &Address) -> Result<Self, String> {
        let server = ServerName::try_from(address.host.to_string())
            .map_err(|_| format!("the host \"{}\" is no name that a certificate can have", address.host))?;
        let mut roots = roots.clone();
        if let Some(bundle) = &tls.ca_bundle {
            let before = roots.len();
            for certificate in CertificateDer::pem_slice_iter(bundle) {
                let certificate = certificate.map_err(|e| format!("the CA bundle is not PEM: {e}"))?;
                roots.add(certificate).map_err(|e| format!("the CA bundle has a certificate that is none: {e}"))?;
            }
            if roots.len() == before {
                return Err("the CA bundle has no certificate in it".into());
            }
        }
        if roots.is_empty() {
            return Err("no certificate authority is known on this machine; give a CA bundle".into());
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| e.to_string())?
            .with_root_certificates(roots);
        let plain = match &tls.client_certificate {
            None => builder.with_no_client_auth(),
            Some(ours) => {
                let chain = CertificateDer::pem_slice_iter(&ours.chain)
                    .collect::<Result<Vec<_>, _>>()
                    .map_err(|e| format!("the client certificate is not PEM: {e}"))?;
                let key = PrivateKeyDer::from_pem_slice(&ours.key)
                    .map_err(|e| format!("the client certificate's key is not PEM: {e}"))?;
                builder.with_client_auth_cert(chain, key).map_err(|e| format!("the client certificate: {e}"))?
            }
        };
        let offering = |names: &[&[u8]]| {
            let mut config = plain.clone();
            config.alpn_protocols = names.iter().map(|name| name.to_vec()).collect();
            Arc::new(config)
        };
        Ok(Self {
            http1: offering(&[b"http/1.1"]),
            http2: offering(&[b"h2"]),
            both: offering(&[b"h2", b"http/1.1"]),
            server,
        })
    }
}

impl std::fmt::Debug for TlsSetup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsSetup").field("server", &self.server).finish_non_exhaustive()
    }
}

/// Connects within `limit`. Not one byte of HTTP is written here, so every failure is proof that nothing was sent.
pub(crate) async fn dial(
    address: &Address,
    tls: Option<&TlsSetup>,
    offer: Offer,
    limit: Duration,
) -> Result<Dialled, DialFailure> {
    let begun = Instant::now();
    match tokio::time::timeout_at(begun + limit, dial_unbounded(address, tls, offer, begun + limit)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(DialFailure {
            why: NotSent::ConnectTimeout,
            detail: compact_str::format_compact!("no connection to {} within {limit:?}", address.authority),
        }),
    }
}

async fn dial_unbounded(
    address: &Address,
    tls: Option<&TlsSetup>,
    offer: Offer,
    end: Instant,
) -> Result<Dialled, DialFailure> {
    let tcp = connect(address, end).await?;
    // Requests are written in one piece; waiting for more would only delay them. A failure here costs time, no proof.
    let _ = tcp.set_nodelay(true);
    let evidence = Rc::new(Evidence::default());
    let socket = Socket { tcp, evidence: evidence.clone() };
    let Some(tls) = tls else {
        let wire = Wire { layers: Layers::Plain(socket), evidence: evidence.clone() };
        return Ok(Dialled { wire, evidence, chose_http2: offer == Offer::Http2, at: Instant::now() });
    };
    let config = match offer {
        Offer::Http1 => &tls.http1,
        Offer::Http2 => &tls.http2,
        Offer::Both => &tls.both,
    };
    let stream = TlsConnector::from(config.clone())
        .connect(tls.server.clone(), socket)
        .await
        .map_err(|error| DialFailure { why: NotSent::Tls, detail: verdict::chain(&error) })?;
    let chose_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    if offer == Offer::Http2 && !chose_http2 {
        return Err(DialFailure { why: NotSent::Tls, detail: "the server does not speak HTTP/2".into() });
    }
    let wire = Wire { layers: Layers::Tls(Box::new(stream)), evidence: evidence.clone() };
    Ok(Dialled { wire, evidence, chose_http2, at: Instant::now() })
}

/// Tries the host's addresses in the resolver's order. Each gets an equal part of the time that is left, so that one
/// dead address cannot use up the turn of a living one.
async fn connect(address: &Address, end: Instant) -> Result<TcpStream, DialFailure> {
    let addresses: Vec<SocketAddr> = match address.host.parse::<IpAddr>() {
        Ok(ip) => vec![SocketAddr::new(ip, address.port)],
        // Asked anew for every connection: with bounded connection age this follows a changed answer.
        Err(_) => tokio::net::lookup_host((address.host.as_str(), address.port))
            .await
            .map_err(|error| DialFailure { why: NotSent::Dns, detail: verdict::chain(&error) })?
            .collect(),
    };
    let count = addresses.len();
    let mut last: Option<DialFailure> = None;
    for (place, to) in addresses.into_iter().enumerate() {
        let share = end.saturating_duration_since(Instant::now()) / u32::try_from(count - place).unwrap_or(u32::MAX);
        match tokio::time::timeout(share, TcpStream::connect(to)).await {
            Ok(Ok(tcp)) => return Ok(tcp),
            Ok(Err(error)) => last = Some(verdict::connect_failure(to, &error)),
            Err(_) => {
                let detail = compact_str::format_compact!("no connection to {to} within {share:?}");
                last = Some(DialFailure { why: NotSent::ConnectTimeout, detail });
            }
        }
    }
    Err(last.unwrap_or_else(|| DialFailure {
        why: NotSent::Dns,
        detail: compact_str::format_compact!("{} has no address", address.host),
    }))
}

/// A timer that is armed lazily: it is moved only to come earlier, and moves itself on when it fires too early. A
/// connection that carries a thousand calls a second touches the runtime's timers about once per timeout, not twice
/// per call.
#[derive(Debug)]
pub(crate) struct Alarm {
    sleep: Pin<Box<Sleep>>,
}

impl Alarm {
    pub(crate) fn new(at: Instant) -> Self {
        Self { sleep: Box::pin(tokio::time::sleep_until(at)) }
    }

    /// Ready once `deadline` has passed.
    pub(crate) fn poll_past(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        if deadline < self.sleep.deadline() {
            self.sleep.as_mut().reset(deadline);
        }
        loop {
            ready!(self.sleep.as_mut().poll(cx));
            if Instant::now() >= deadline {
                return Poll::Ready(());
            }
            self.sleep.as_mut().reset(deadline);
        }
    }
}

/// Certificates that this machine trusts. Broken ones are left out and counted.
pub(crate) fn machine_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    let (taken, left_out) = roots.add_parsable_certificates(found.certs);
    tracing::debug!(taken, left_out, errors = found.errors.len(), "certificate authorities of this machine");
    roots
}

/// Text for a detail, cut to a bound.
pub(crate) fn shorten(text: &str) -> CompactString {
    const BYTES_MAX: usize = 200;
    if text.len() <= BYTES_MAX {
        return CompactString::new(text);
    }
    let end = (0..=BYTES_MAX).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    compact_str::format_compact!("{}…", &text[..end])
}
