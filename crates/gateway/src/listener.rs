//! Accepting: one task per connection, TLS within a deadline, an orderly end.
//!
//! A stranger costs a socket, a task and the state of a handshake until the deadline
//! (`security.md` B3). How many there may be is the process's limit of descriptors.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use host::clock::Clock;
use host::net::{TcpListener, TcpStream};
use host::signals::Shutdown;
use host::tls::{ServerStream, ServerTls, presented_chain, requested_name};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;

use crate::peer::Peer;

/// A TLS handshake may take this long.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);
/// Connections may take this long to end at a shutdown.
const DRAIN_DEADLINE: Duration = Duration::from_secs(10);

/// What serves the connections of one protocol.
pub trait Head: Send + Sync + 'static {
    /// Serves one connection until it ends.
    fn serve<S>(
        self: &Arc<Self>,
        io: S,
        peer: Peer,
        shutdown: &Shutdown,
    ) -> impl Future<Output = ()> + Send
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static;
}

/// [`serve_tls`] for a head.
pub async fn serve_head_tls(
    listener: TcpListener,
    tls: ServerTls,
    clock: Clock,
    shutdown: Shutdown,
    head: Arc<impl Head>,
) {
    let stop = shutdown.clone();
    serve_tls(listener, tls, clock, shutdown, move |stream, peer| {
        let (head, stop) = (Arc::clone(&head), stop.clone());
        async move { head.serve(stream, peer, &stop).await }
    })
    .await;
}

/// [`serve_plain`] for a head.
pub async fn serve_head_plain(
    listener: TcpListener,
    clock: Clock,
    shutdown: Shutdown,
    head: Arc<impl Head>,
) {
    let stop = shutdown.clone();
    serve_plain(listener, clock, shutdown, move |stream, peer| {
        let (head, stop) = (Arc::clone(&head), stop.clone());
        async move { head.serve(stream, peer, &stop).await }
    })
    .await;
}

/// Accepts TLS connections until the shutdown, then waits for the last ones to end.
pub async fn serve_tls<F, W>(
    listener: TcpListener,
    tls: ServerTls,
    clock: Clock,
    shutdown: Shutdown,
    serve: F,
) where
    F: Fn(Box<ServerStream<TcpStream>>, Peer) -> W + Send + Sync + 'static,
    W: Future<Output = ()> + Send + 'static,
{
    let serve = Arc::new(serve);
    let drain_clock = clock.clone();
    let stop = shutdown.clone();
    accept(&listener, &drain_clock, &shutdown, move |stream, peer| {
        let (tls, clock, serve) = (tls.clone(), clock.clone(), Arc::clone(&serve));
        let stop = stop.clone();
        async move {
            // Each stage in a box of its own, so that the task of a connection is as large as the
            // stage that it is in.
            if let Some((stream, peer)) =
                Box::pin(shake_hands(stream, peer, tls, clock, stop)).await
            {
                Box::pin(serve(stream, peer)).await;
            }
        }
    })
    .await;
}

/// The server's side of a TLS handshake; none when it failed or was not worth waiting for.
async fn shake_hands(
    stream: TcpStream,
    peer: SocketAddr,
    tls: ServerTls,
    clock: Clock,
    stop: Shutdown,
) -> Option<(Box<ServerStream<TcpStream>>, Peer)> {
    let handshake = tokio::select! {
        handshake = clock.timeout(HANDSHAKE_DEADLINE, tls.accept(stream)) => handshake,
        // A stranger is owed nothing.
        () = stop.wait() => return None,
    };
    match handshake {
        Ok(Ok(stream)) => {
            let peer = Peer {
                address: peer,
                certificates: presented_chain(&stream),
                server_name: requested_name(&stream),
            };
            // In a box: each future that it is handed through would keep a place for all of it.
            Some((Box::new(stream), peer))
        }
        Ok(Err(error)) => {
            handshake_failed(peer, &error);
            None
        }
        Err(_) => {
            tracing::debug!(%peer, "tls handshake took too long");
            None
        }
    }
}

/// Accepts connections without TLS: for loopback and tests, never for a network.
pub async fn serve_plain<F, W>(listener: TcpListener, clock: Clock, shutdown: Shutdown, serve: F)
where
    F: Fn(TcpStream, Peer) -> W + Send + Sync + 'static,
    W: Future<Output = ()> + Send + 'static,
{
    accept(&listener, &clock, &shutdown, |stream, address| serve(stream, Peer::new(address))).await;
}

async fn accept<F, W>(listener: &TcpListener, clock: &Clock, shutdown: &Shutdown, serve: F)
where
    F: Fn(TcpStream, SocketAddr) -> W,
    W: Future<Output = ()> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            (stream, peer) = listener.accept() => drop(connections.spawn(serve(stream, peer))),
            // Ended ones are taken off, so that the set holds only live connections.
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            () = shutdown.wait() => break,
        }
    }
    let all = async { while connections.join_next().await.is_some() {} };
    if clock.timeout(DRAIN_DEADLINE, all).await.is_err() {
        tracing::warn!("connections did not end in time; they are cut");
    }
}

/// Clients that do not trust our certificate end the handshake: worth a word, because it is the
/// usual first mistake.
fn handshake_failed(peer: SocketAddr, error: &io::Error) {
    match error.kind() {
        io::ErrorKind::InvalidData => {
            tracing::warn!(%peer, %error, "tls handshake failed; does the client trust this server's CA?");
        }
        _ => tracing::debug!(%peer, %error, "tls handshake failed"),
    }
}
