//! TLS: whom we trust, what is chosen, and that a handshake is not a request.

use std::sync::Arc;

use connectors::{ClientCertificate, Protocol, Target, Tls};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{RootCertStore, ServerConfig, pki_types::PrivateKeyDer, server::WebPkiClientVerifier};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::world::{World, accept, brief, get, ok, read_request, say, serve, server, story};

/// An authority of our own.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a certificate"))
    }

    fn bundle(&self) -> Tls {
        Tls { ca_bundle: Some(self.0.pem().into()), client_certificate: None }
    }

    fn sign(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
        (params.signed_by(&key, &self.0).expect("signed"), key)
    }

    fn acceptor(&self, name: &str, alpn: &[&str], ask_client: bool) -> TlsAcceptor {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let (certificate, key) = self.sign(name);
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .expect("versions");
        let builder = if ask_client {
            let mut roots = RootCertStore::empty();
            roots.add(self.0.der().clone()).expect("a root");
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider).build();
            builder.with_client_cert_verifier(verifier.expect("a verifier"))
        } else {
            builder.with_no_client_auth()
        };
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let mut config = builder.with_single_cert(vec![certificate.der().clone()], key).expect("a config");
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    }
}

/// Serves HTTP/1.1 or HTTP/2, whatever was chosen; answers with its name.
async fn tls_server(acceptor: TlsAcceptor) -> String {
    let url = server(|listener| async move {
        loop {
            let io = accept(&listener).await;
            let acceptor = acceptor.clone();
            serve(async move {
                let Ok(io) = acceptor.accept(io).await else { return };
                if io.get_ref().1.alpn_protocol() == Some(b"h2") {
                    speak_http2(io).await
                } else {
                    speak_http1(io).await
                }
            });
        }
    })
    .await;
    url.replace("http://127.0.0.1", "https://localhost")
}

async fn speak_http1(mut io: TlsStream<TcpStream>) {
    while read_request(&mut io).await.is_some() {
        say(&mut io, &ok("\"http/1.1\"")).await;
    }
}

async fn speak_http2(io: TlsStream<TcpStream>) {
    let Ok(mut connection) = h2::server::handshake(io).await else { return };
    while let Some(Ok((_, mut stream))) = connection.accept().await {
        let mut out = stream.send_response(http::Response::new(()), false).expect("sent");
        out.send_data(bytes::Bytes::from_static(b"\"h2\""), true).expect("sent");
    }
}

fn target(url: &str, tls: &Tls, protocol: Protocol) -> Target {
    let mut target = Target::new("p", &[url]);
    target.tls = tls.clone();
    target.protocol = protocol;
    target
}

#[test]
fn the_server_chooses() {
    let cases: [(&[&str], Protocol, &str); 7] = [
        (&["h2", "http/1.1"], Protocol::Auto, r#"200 "h2""#),
        (&["http/1.1"], Protocol::Auto, r#"200 "http/1.1""#),
        (&[], Protocol::Auto, r#"200 "http/1.1""#),
        (&["h2", "http/1.1"], Protocol::Http1, r#"200 "http/1.1""#),
        (&["h2", "http/1.1"], Protocol::Http2, r#"200 "h2""#),
        (&["http/1.1"], Protocol::Http2, "not_sent tls"),
        (&["h2"], Protocol::Http1, "not_sent tls"),
    ];
    for (alpn, protocol, want) in cases {
        story(async move {
            let authority = Authority::new();
            let url = tls_server(authority.acceptor("localhost", alpn, false)).await;
            let world = World::new(&[target(&url, &authority.bundle(), protocol)]);
            // Together, so that several calls wait for the first handshake; then once more on what it left.
            let tokens: Vec<_> = (0..5).map(|_| world.start(get("/"), crate::world::PATIENCE)).collect();
            for token in tokens {
                assert_eq!(brief(&world.answer(token).await.reply), want, "{alpn:?} {protocol:?}");
            }
            assert_eq!(brief(&world.call(get("/")).await), want, "{alpn:?} {protocol:?}, again");
        });
    }
}

#[test]
fn strangers_are_not_spoken_to() {
    story(async {
        let (ours, theirs) = (Authority::new(), Authority::new());
        let url = tls_server(theirs.acceptor("localhost", &["http/1.1"], false)).await;
        let world = World::new(&[target(&url, &ours.bundle(), Protocol::Auto)]);
        assert_eq!(brief(&world.call(get("/")).await), "not_sent tls");

        let url = tls_server(ours.acceptor("somebody.else", &["http/1.1"], false)).await;
        let world = World::new(&[target(&url, &ours.bundle(), Protocol::Auto)]);
        assert_eq!(brief(&world.call(get("/")).await), "not_sent tls");

        // Not TLS at all.
        let plain = server(|listener| async move {
            let mut io = accept(&listener).await;
            say(&mut io, "HTTP/1.1 400 Bad Request\r\n\r\n").await;
            crate::world::closed(&mut io).await;
        })
        .await;
        let url = plain.replace("http://", "https://");
        let world = World::new(&[target(&url, &ours.bundle(), Protocol::Http1)]);
        assert_eq!(brief(&world.call(get("/")).await), "not_sent tls");
    });
}

#[test]
fn we_show_who_we_are() {
    story(async {
        let authority = Authority::new();
        let url = tls_server(authority.acceptor("localhost", &["http/1.1"], true)).await;
        let (certificate, key) = authority.sign("tidegate");
        let mut tls = authority.bundle();
        tls.client_certificate =
            Some(ClientCertificate { chain: certificate.pem().into(), key: key.serialize_pem().into() });
        let world = World::new(&[target(&url, &tls, Protocol::Http1)]);
        assert_eq!(brief(&world.call(get("/")).await), r#"200 "http/1.1""#);
        assert!(!format!("{tls:?}").contains("PRIVATE"), "{tls:?}");

        // Without one, TLS 1.3 lets us finish the handshake and write before the server says no: no proof then.
        let world = World::new(&[target(&url, &authority.bundle(), Protocol::Http1)]);
        let reply = brief(&world.call(get("/")).await);
        assert!(reply == "cut" || reply.starts_with("not_sent"), "{reply}");
    });
}
