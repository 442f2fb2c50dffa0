use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::PermissionsExt;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_connection_goes_both_ways_without_delay() {
    let listener = listen((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let port = listener.local_addr().unwrap().port();
    let (client, (mut server, _)) =
        tokio::join!(connect("127.0.0.1", port, SECOND), listener.accept());
    let mut client = client.unwrap();
    assert!(client.nodelay().unwrap() && server.nodelay().unwrap());
    client.write_all(b"hi").await.unwrap();
    drop(client);
    let mut text = String::new();
    server.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "hi");
}

#[tokio::test]
async fn both_families_can_have_their_own_socket_on_one_port() {
    let v6 = listen((Ipv6Addr::LOCALHOST, 0).into()).unwrap();
    let port = v6.local_addr().unwrap().port();
    listen((Ipv4Addr::LOCALHOST, port).into()).unwrap();

    let v6_any = listen((Ipv6Addr::UNSPECIFIED, 0).into()).unwrap();
    let port = v6_any.local_addr().unwrap().port();
    listen((Ipv4Addr::UNSPECIFIED, port).into()).unwrap();
}

#[tokio::test]
async fn a_dual_stack_socket_takes_ipv4() {
    let listener = listen_dual_stack(0).unwrap();
    let port = listener.local_addr().unwrap().port();
    connect("127.0.0.1", port, SECOND).await.unwrap();
}

#[tokio::test]
async fn a_taken_port_is_told() {
    let first = listen((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let address = first.local_addr().unwrap();
    let error = listen(address).unwrap_err();
    assert!(error.is_in_use());
    assert_eq!(error.to_string(), format!("cannot listen on {address}"));
}

#[tokio::test]
async fn a_refused_connection_names_the_peer() {
    let listener = listen((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let error = connect("127.0.0.1", port, SECOND).await.unwrap_err();
    assert_eq!(error.to_string(), format!("cannot connect to 127.0.0.1:{port}"));
}

#[tokio::test]
async fn every_address_is_tried() {
    let listener = listen((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let good = listener.local_addr().unwrap();
    let dead = listen((Ipv4Addr::new(127, 0, 0, 3), 0).into()).unwrap();
    let bad = dead.local_addr().unwrap();
    drop(dead);
    connect_any(&[bad, good], SECOND).await.unwrap();
}

#[tokio::test]
async fn a_unix_socket_has_its_mode_and_knows_its_peer() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("w.sock");
    let listener = listen_unix(&path, 0o660).unwrap();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let (client, server) = tokio::join!(connect_unix(&path, SECOND), listener.accept());
    let peer = peer_credentials(&server).unwrap();
    assert_eq!(peer.pid, rustix::process::getpid().as_raw_pid());
    assert_eq!(peer.uid, rustix::process::getuid().as_raw());
    drop((client, listener));
    assert!(!path.exists());
}

#[tokio::test]
async fn stale_sockets_and_dockers_directories_make_way_and_live_ones_do_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("w.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let live = listen_unix(&path, 0o600).unwrap();
    assert!(listen_unix(&path, 0o600).unwrap_err().is_in_use());
    connect_unix(&path, SECOND).await.unwrap();
    drop(live);

    std::fs::create_dir(&path).unwrap();
    drop(listen_unix(&path, 0o600).unwrap());

    std::fs::write(&path, "precious").unwrap();
    assert!(listen_unix(&path, 0o600).is_err());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}
