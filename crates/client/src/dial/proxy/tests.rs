use host::net::TcpListener;
use tokio::io::DuplexStream;

use super::*;
use crate::dial::{Dial, DialError};

#[test]
fn reads_addresses() {
    for (text, shown, authorization) in [
        ("http://proxy:3128", "http://proxy:3128", None),
        ("HTTP://proxy:3128/", "http://proxy:3128", None),
        ("proxy:3128", "http://proxy:3128", None),
        ("http://proxy", "http://proxy:80", None),
        ("http://[::1]:3128", "http://[::1]:3128", None),
        // The example of RFC 7617 §2.
        ("http://Aladdin:open%20sesame@p:1", "http://p:1", Some("QWxhZGRpbjpvcGVuIHNlc2FtZQ==")),
        ("http://me:a%40b:c@p:1", "http://p:1", Some("bWU6YUBiOmM=")),
        ("http://me@p:1", "http://p:1", Some("bWU6")),
    ] {
        let proxy = Proxy::parse(text).unwrap();
        assert_eq!(proxy.to_string(), shown, "{text}");
        assert_eq!(format!("{proxy:?}"), format!("Proxy({shown})"), "no credentials are shown");
        let found = proxy.0.authorization.as_ref().map(|value| value.to_string());
        assert_eq!(found, authorization.map(|encoded| format!("Basic {encoded}")), "{text}");
    }
}

#[test]
fn says_what_is_wrong_with_an_address_and_never_shows_it() {
    for (text, error) in [
        ("https://me:geheim@proxy:3128", ProxyAddressError::Scheme),
        ("socks5://proxy:3128", ProxyAddressError::Scheme),
        ("http://", ProxyAddressError::Host),
        ("http://pro xy:3128", ProxyAddressError::Host),
        ("http://proxy\r\nX:3128", ProxyAddressError::Host),
        ("http://proxy/path", ProxyAddressError::Host),
        ("http://proxy:0", ProxyAddressError::Port),
        ("http://proxy:99999", ProxyAddressError::Port),
        ("http://me:geheim@proxy:", ProxyAddressError::Port),
        ("http://me:geheim%0d%0aX@proxy:1", ProxyAddressError::Credentials),
        ("http://m%3Ae:geheim@proxy:1", ProxyAddressError::Credentials),
    ] {
        let found = Proxy::parse(text).unwrap_err();
        assert_eq!(found, error, "{text}");
        assert!(!found.to_string().contains("geheim"), "{found}");
    }
}

#[test]
fn an_environment_names_the_proxy_and_whom_it_spares() {
    let read = |entries: &[(&str, &str)]| {
        let entries = entries.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        Proxy::from_env(&entries.collect())
    };
    assert_eq!(read(&[("no_proxy", "*")]), Ok(None));
    assert_eq!(read(&[("https_proxy", " ")]), Ok(None));
    assert_eq!(read(&[("HTTPS_PROXY", "ftp://p")]), Err(ProxyAddressError::Scheme));
    for name in ["https_proxy", "HTTPS_PROXY", "Https_Proxy"] {
        assert_eq!(read(&[(name, "http://p:1")]).unwrap().unwrap().to_string(), "http://p:1");
    }
    let both = read(&[("HTTPS_PROXY", "http://upper:1"), ("https_proxy", "http://lower:1")]);
    assert_eq!(both.unwrap().unwrap().to_string(), "http://lower:1");
    let proxy = read(&[("https_proxy", "http://p:1"), ("NO_PROXY", "localhost,.hub.test")]);
    assert!(proxy.unwrap().unwrap().spares("a.hub.test", 443));
}

#[test]
fn spares_names_and_what_is_below_them() {
    for (list, host, port, is_spared) in [
        ("", "hub.test", 443, false),
        ("*", "hub.test", 443, true),
        ("hub.test", "HUB.test", 443, true),
        ("hub.test", "a.hub.test", 443, true),
        (".hub.test", "a.hub.test", 443, true),
        ("hub.test", "otherhub.test", 443, false),
        ("a, hub.test:443", "hub.test", 443, true),
        ("hub.test:8443", "hub.test", 443, false),
        ("10.0.0.1", "10.0.0.1", 443, true),
        ("[::1]", "::1", 443, true),
        ("::1", "[::1]", 443, true),
    ] {
        let proxy = Proxy::parse("http://p:1").unwrap().sparing(list);
        assert_eq!(proxy.spares(host, port), is_spared, "{list:?}: {host}:{port}");
        let dial = Dial::new(host, port).through(Some(&proxy));
        assert_eq!(dial.proxy.is_none(), is_spared, "{list:?}: {host}:{port}");
    }
    // The address that is dialled for the name counts, too.
    let proxy = Proxy::parse("http://p:1").unwrap().sparing("127.0.0.1");
    let dial = Dial::new("hub.test", 443).at(Some("127.0.0.1".into())).through(Some(&proxy));
    assert_eq!(dial.proxy, None);
}

/// What a proxy is asked, and what follows from its answer.
async fn exchange(proxy: &str, answer: &[u8]) -> (String, Result<DuplexStream, ProxyError>) {
    let proxy = Proxy::parse(proxy).unwrap();
    let (mut ours, mut theirs) = tokio::io::duplex(64 * 1024);
    let serve = async {
        let mut question = Vec::new();
        while !question.ends_with(b"\r\n\r\n") {
            question.push(theirs.read_u8().await.unwrap());
        }
        theirs.write_all(answer).await.unwrap();
        // The end of what it has to say.
        drop(theirs);
        String::from_utf8(question).unwrap()
    };
    let (question, outcome) = tokio::join!(serve, proxy.open(&mut ours, "hub.test", 443));
    (question, outcome.map(|()| ours))
}

#[tokio::test]
async fn asks_to_connect() {
    let answer = b"HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n";
    let (question, outcome) = exchange("http://p:3128", answer).await;
    assert_eq!(question, "CONNECT hub.test:443 HTTP/1.1\r\nHost: hub.test:443\r\n\r\n");
    outcome.unwrap();
    let (question, outcome) = exchange("http://me:pw@p:3128", b"HTTP/1.0 200 OK\r\n\r\n").await;
    outcome.unwrap();
    assert_eq!(
        question,
        "CONNECT hub.test:443 HTTP/1.1\r\nHost: hub.test:443\r\n\
         Proxy-Authorization: Basic bWU6cHc=\r\n\r\n"
    );
}

#[tokio::test]
async fn an_answer_of_another_kind_is_told_with_the_fix() {
    let endless = [b"HTTP/1.1 200 OK\r\nX: ".as_slice(), &[b'x'; 9000]].concat();
    for (answer, message) in [
        (
            b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 4\r\n\r\nno!!"
                .as_slice(),
            "proxy http://p:3128 wants other credentials (407); set https_proxy to http://user:password@host:port (basic only, no NTLM)",
        ),
        (
            b"HTTP/1.1 403 Filtered\r\n\r\n",
            "proxy http://p:3128 answered 403 to CONNECT hub.test:443; allow it there, or add the host to no_proxy",
        ),
        (&endless, "proxy http://p:3128 answered CONNECT with more than 8192 bytes of headers"),
        (b"", "proxy http://p:3128 closed the connection without an answer; its log says why"),
        (
            b"HTTP/1.1 200 OK\r\n",
            "proxy http://p:3128 closed the connection without an answer; its log says why",
        ),
        (
            b"SSH-2.0-OpenSSH_9\r\n\r\n",
            "proxy http://p:3128 did not answer CONNECT in HTTP/1.1; check https_proxy",
        ),
        (
            b"HTTP/1.1 200 OK\r\n\r\nearly",
            "proxy http://p:3128 did not answer CONNECT in HTTP/1.1; check https_proxy",
        ),
    ] {
        let (_, outcome) = exchange("http://me:geheim@p:3128", answer).await;
        assert_eq!(outcome.map(drop).unwrap_err().to_string(), message);
    }
}

#[tokio::test]
async fn a_name_that_would_break_the_request_is_never_sent() {
    let proxy = Proxy::parse("http://p:1").unwrap();
    let (mut ours, _theirs) = tokio::io::duplex(64);
    let outcome = proxy.open(&mut ours, "hub\r\nX: y", 443).await;
    assert!(matches!(outcome, Err(ProxyError::Target { .. })), "{outcome:?}");
}

fn listen() -> (TcpListener, Proxy) {
    let listener = net::listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let proxy = Proxy::parse(&listener.local_addr().unwrap().to_string()).unwrap();
    (listener, proxy)
}

#[tokio::test]
async fn a_proxy_that_is_silent_or_gone_is_told() {
    let (listener, proxy) = listen();
    let dial = Dial::new("hub.test", 443).through(Some(&proxy));
    let limit = Duration::from_millis(50);
    let (outcome, _held) = tokio::join!(proxy.connect("hub.test", 443, limit), listener.accept());
    let error = outcome.unwrap_err();
    assert!(matches!(error, ProxyError::Deadline { .. }), "{error}");
    drop(listener);
    let tls = host::tls::ClientTls::new(&[]).unwrap();
    let error = dial.connect(&tls, Duration::from_secs(5)).await.map(drop).unwrap_err();
    assert!(
        matches!(&error, DialError::Proxy { source: ProxyError::Unreachable { .. }, .. }),
        "{error}"
    );
    assert_eq!(error.to_string(), "cannot reach hub.test:443 through the proxy");
}
