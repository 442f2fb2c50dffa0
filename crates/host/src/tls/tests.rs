use std::time::Duration;

use pki::{Authority, Issued, Validity};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::*;

const HOUR: Duration = Duration::from_secs(3600);

fn validity() -> Validity {
    Validity::starting(jiff::Timestamp::now(), HOUR)
}

fn authority() -> Authority {
    Authority::create_root("test root", validity()).unwrap()
}

fn server_certificate(authority: &Authority, name: &str) -> Issued {
    authority.issue_server(&[name.parse().unwrap()], validity()).unwrap()
}

fn server(issued: &Issued) -> ServerTls {
    ServerTls::new(&issued.chain_pem, &issued.key_pem).unwrap()
}

fn client(authority: &Authority) -> ClientTls {
    ClientTls::new(&[&authority.root_pem()]).unwrap()
}

type Pair = (ServerStream<DuplexStream>, ClientStream<DuplexStream>);

async fn pair(server: &ServerTls, client: &ClientTls, name: &str) -> Result<Pair, TlsError> {
    let (near, far) = duplex(64 * 1024);
    let (server, client) = tokio::join!(server.accept(far), client.connect(near, name));
    let client = client?;
    Ok((server.expect("the client was content"), client))
}

async fn assert_talk(pair: &mut Pair) {
    let (server, client) = pair;
    client.write_all(b"ping").await.unwrap();
    client.flush().await.unwrap();
    let mut bytes = [0; 4];
    server.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"ping");
    server.write_all(b"pong").await.unwrap();
    server.flush().await.unwrap();
    client.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"pong");
}

fn peer_common_name(client: &ClientStream<DuplexStream>) -> String {
    let chain = client.get_ref().1.peer_certificates().unwrap();
    pki::Certificate::from_der(&chain[0]).unwrap().common_name.unwrap()
}

#[tokio::test]
async fn the_two_ends_talk() {
    let authority = authority();
    let server = server(&server_certificate(&authority, "hub.example"));
    let mut pair = pair(&server, &client(&authority), "hub.example").await.unwrap();
    assert_talk(&mut pair).await;
}

#[tokio::test]
async fn an_address_can_be_a_name_and_a_chain_can_be_longer() {
    let root = authority();
    let edge = root.issue_authority("edge", 0, validity()).unwrap();
    let server = server(&server_certificate(&edge, "127.0.0.1"));
    let mut pair = pair(&server, &client(&root), "127.0.0.1").await.unwrap();
    assert_talk(&mut pair).await;
}

#[tokio::test]
async fn a_wrong_name_and_an_unknown_issuer_are_refused() {
    let authority = authority();
    let server = server(&server_certificate(&authority, "hub.example"));
    let refused = async |client: ClientTls, name: &str| {
        let (near, far) = duplex(64 * 1024);
        let (at_server, at_client) = tokio::join!(server.accept(far), client.connect(near, name));
        assert!(at_server.is_err());
        crate::logs::chain(&at_client.unwrap_err())
    };
    let text = refused(client(&authority), "other.example").await;
    assert!(text.starts_with("TLS handshake with other.example failed: "), "{text}");
    assert!(text.contains("not valid for name"), "{text}");
    let stranger = Authority::create_root("stranger", validity()).unwrap();
    let text = refused(client(&stranger), "hub.example").await;
    assert!(text.contains("UnknownIssuer"), "{text}");
}

#[tokio::test]
async fn a_certificate_that_has_expired_is_refused() {
    let authority = authority();
    let past = Validity {
        not_before: jiff::Timestamp::now() - 2 * HOUR,
        not_after: jiff::Timestamp::now() - HOUR,
    };
    let issued = authority.issue_server(&["hub.example".parse().unwrap()], past).unwrap();
    let (near, far) = duplex(64 * 1024);
    let server = server(&issued);
    let client = client(&authority);
    let (_, outcome) = tokio::join!(server.accept(far), client.connect(near, "hub.example"));
    assert!(crate::logs::chain(&outcome.unwrap_err()).contains("expired"));
}

#[tokio::test]
async fn a_reload_counts_for_new_connections_and_leaves_old_ones_alone() {
    let authority = authority();
    let server = server(&server_certificate(&authority, "old.example"));
    let client = client(&authority);
    let mut old = pair(&server, &client, "old.example").await.unwrap();
    assert_eq!(peer_common_name(&old.1), "old.example");

    let replacement = server_certificate(&authority, "new.example");
    server.reload(&replacement.chain_pem, &replacement.key_pem).unwrap();
    let mut new = pair(&server, &client, "new.example").await.unwrap();
    assert_eq!(peer_common_name(&new.1), "new.example");
    assert_talk(&mut old).await;
    assert_talk(&mut new).await;
}

#[tokio::test]
async fn a_bad_reload_changes_nothing() {
    let authority = authority();
    let issued = server_certificate(&authority, "hub.example");
    let other = server_certificate(&authority, "hub.example");
    let server = server(&issued);
    assert!(server.reload(&issued.chain_pem, &other.key_pem).is_err());
    assert!(server.reload("rubbish", &issued.key_pem).is_err());
    assert!(server.reload(&issued.chain_pem, "rubbish").is_err());
    pair(&server, &client(&authority), "hub.example").await.unwrap();
}

#[tokio::test]
async fn a_client_that_comes_again_resumes_its_session() {
    let authority = authority();
    let server = server(&server_certificate(&authority, "hub.example"));
    let client = client(&authority);
    let mut first = pair(&server, &client, "hub.example").await.unwrap();
    // The ticket arrives with the first data.
    assert_talk(&mut first).await;
    let mut second = pair(&server, &client, "hub.example").await.unwrap();
    assert_talk(&mut second).await;
    let kind = second.1.get_ref().1.handshake_kind();
    assert_eq!(kind, Some(rustls::HandshakeKind::Resumed));
}

#[tokio::test]
async fn noise_instead_of_a_handshake_is_an_error() {
    let authority = authority();
    let server = server(&server_certificate(&authority, "hub.example"));
    let (mut near, far) = duplex(1024);
    near.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    assert!(server.accept(far).await.is_err());
}

#[test]
fn what_is_no_name_or_no_certificate_is_told() {
    let error = ClientTls::new(&["no pem"]).unwrap_err();
    assert!(error.to_string().contains("trusted roots"), "{error}");
    let error = ServerTls::new("no pem", "no pem").unwrap_err();
    assert!(error.to_string().contains("the server's certificate"), "{error}");
}

/// A client's certificate that nobody has signed, for the name.
fn own_certificate(name: &str) -> (String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    // Expired long ago: possession is all that a handshake proves.
    params.not_before = rcgen::date_time_ymd(2001, 1, 1);
    params.not_after = rcgen::date_time_ymd(2002, 1, 1);
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

fn presented_name(server: &ServerStream<DuplexStream>) -> Option<String> {
    let chain = presented_chain(server)?;
    let leaf = CertificateDer::from(chain[0].as_slice());
    pki::Certificate::from_der(&leaf).unwrap().common_name
}

#[tokio::test]
async fn a_client_may_present_any_certificate_and_keeps_it_when_it_resumes() {
    let authority = authority();
    let server = server(&server_certificate(&authority, "hub.example"));
    let mut without = pair(&server, &client(&authority), "hub.example").await.unwrap();
    assert_talk(&mut without).await;
    assert_eq!(presented_name(&without.0), None);
    assert_eq!(requested_name(&without.0).as_deref(), Some("hub.example"));

    let (chain, key) = own_certificate("d1");
    let with = client(&authority).with_certificate(&chain, &key).unwrap();
    let mut first = pair(&server, &with, "hub.example").await.unwrap();
    assert_talk(&mut first).await;
    assert_eq!(presented_name(&first.0).as_deref(), Some("d1"));
    let mut again = pair(&server, &with, "hub.example").await.unwrap();
    assert_talk(&mut again).await;
    assert_eq!(again.0.get_ref().1.handshake_kind(), Some(rustls::HandshakeKind::Resumed));
    assert_eq!(presented_name(&again.0).as_deref(), Some("d1"));

    // Another certificate never resumes the first one's session.
    let (chain, key) = own_certificate("d2");
    let other = with.with_certificate(&chain, &key).unwrap();
    let other = pair(&server, &other, "hub.example").await.unwrap();
    assert_eq!(other.0.get_ref().1.handshake_kind(), Some(rustls::HandshakeKind::Full));
    assert_eq!(presented_name(&other.0).as_deref(), Some("d2"));
}

/// A client with a choice of version, key and chain.
fn client_of(
    authority: &Authority,
    version: &'static rustls::SupportedProtocolVersion,
    chain: Vec<CertificateDer<'static>>,
    key_pem: &str,
) -> ClientTls {
    let provider = provider();
    let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).unwrap();
    let key = provider.key_provider.load_private_key(key).unwrap();
    // Unlike `CertifiedKey::from_der` this does not ask whether the key is the certificate's.
    let own = Arc::new(CertifiedKey::new(chain, key));
    let plain = client(authority);
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(plain.roots.clone())
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(own)));
    config.resumption = Resumption::in_memory_sessions(CLIENT_SESSIONS);
    ClientTls { config: Arc::new(config), ..plain }
}

const VERSIONS: [&rustls::SupportedProtocolVersion; 2] =
    [&rustls::version::TLS12, &rustls::version::TLS13];

#[tokio::test]
async fn whoever_lacks_the_key_of_its_certificate_is_refused() {
    let authority = authority();
    let server = server(&server_certificate(&authority, "hub.example"));
    let (certificate, key) = own_certificate("d1");
    let (_, strange_key) = own_certificate("d1");
    let chain = certificates(&certificate, "test").unwrap();
    for version in VERSIONS {
        let right = client_of(&authority, version, chain.clone(), &key);
        let mut right = pair(&server, &right, "hub.example").await.unwrap();
        assert_talk(&mut right).await;
        assert_eq!(presented_name(&right.0).as_deref(), Some("d1"));

        let wrong = client_of(&authority, version, chain.clone(), &strange_key);
        let (near, far) = duplex(64 * 1024);
        let (at_server, _) = tokio::join!(server.accept(far), wrong.connect(near, "hub.example"));
        let error = at_server.unwrap_err().to_string();
        assert!(error.contains("BadSignature"), "{error}");
    }
}

/// `openssl x509 -req` without extensions makes version 1; both versions of TLS take it.
#[tokio::test]
async fn certificates_of_version_1_are_taken() {
    let authority = authority();
    let server = server(&server_certificate(&authority, "hub.example"));
    let chain = certificates(include_str!("fixtures/version-1.pem"), "test").unwrap();
    for version in VERSIONS {
        let client =
            client_of(&authority, version, chain.clone(), include_str!("fixtures/version-1.key"));
        for _ in 0..2 {
            let mut pair = pair(&server, &client, "hub.example").await.unwrap();
            assert_talk(&mut pair).await;
            assert_eq!(presented_name(&pair.0).as_deref(), Some("v1"));
        }
    }
}

#[tokio::test]
async fn chains_have_a_bound_and_must_be_certificates() {
    let authority = authority();
    let server = server(&server_certificate(&authority, "hub.example"));
    let (certificate, key) = own_certificate("d1");
    let leaf = certificates(&certificate, "test").unwrap().remove(0);
    let accept = async |chain: Vec<CertificateDer<'static>>| {
        let client = client_of(&authority, &rustls::version::TLS13, chain, &key);
        let (near, far) = duplex(256 * 1024);
        let (at_server, _) = tokio::join!(server.accept(far), client.connect(near, "hub.example"));
        at_server.map(|stream| presented_chain(&stream).unwrap().len()).map_err(|e| e.to_string())
    };
    assert_eq!(accept(vec![leaf.clone(); CHAIN_MAX]).await, Ok(CHAIN_MAX));
    let error = accept(vec![leaf.clone(); CHAIN_MAX + 1]).await.unwrap_err();
    assert!(error.contains("too long"), "{error}");
    let big = CertificateDer::from(vec![0; CHAIN_BYTES_MAX]);
    assert!(accept(vec![leaf, big]).await.unwrap_err().contains("too long"));
    let noise = CertificateDer::from(vec![0x30; 100]);
    assert!(accept(vec![noise]).await.unwrap_err().contains("BadEncoding"));
}
