//! A TCP link that behaves badly: it passes bytes on late, one at a time or with the pauses that lost
//! packets make, and it breaks: by resets, by silence that nobody is told of, by refusing.
//!
//! Loss is what TCP makes of it: a chunk whose packet is lost so many times comes after so many
//! retransmission timeouts, and what follows waits behind it. (The real program is led over real loss
//! in `tests/faults/test_flaky_link.py`.)

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use host::clock::{Clock, Mono};
use host::net::TcpStream;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// How bytes are passed on.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Weather {
    /// One way.
    pub(crate) delay: Duration,
    /// Packets lost, of a hundred.
    pub(crate) loss_percent: u8,
    /// Each byte is a segment of its own.
    pub(crate) single_bytes: bool,
}

/// How a link breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Break {
    /// Both ends are told by a reset; new connections are refused.
    Reset,
    /// Both ends are told by an end of stream; new connections are refused.
    End,
    /// Nobody is told: what was connected is silent for ever, and new connections are refused.
    HalfOpen,
}

/// What happens to connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Open,
    Broken(Break),
}

pub(crate) struct Link {
    pub(crate) port: u16,
    target: u16,
    shared: Arc<Shared>,
    listening: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    clock: Clock,
    weather: Mutex<Weather>,
    /// Of the connections that there are; each break gives the next ones another.
    fate: Mutex<watch::Sender<Fate>>,
    accepted: Mutex<Accepted>,
}

/// Connections that came.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Accepted {
    pub(crate) count: u32,
    pub(crate) last: Option<Mono>,
}

impl Link {
    /// To a port of this machine; time is the clock's.
    pub(crate) fn to(target: u16, clock: &Clock) -> Self {
        let (fate, _) = watch::channel(Fate::Open);
        let shared = Shared {
            clock: clock.clone(),
            weather: Mutex::default(),
            fate: Mutex::new(fate),
            accepted: Mutex::default(),
        };
        let mut link =
            Self { port: 0, target, shared: Arc::new(shared), listening: Mutex::default() };
        link.port = link.listen();
        link
    }

    fn listen(&self) -> u16 {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let listener = host::net::listen(address).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (shared, target) = (Arc::clone(&self.shared), self.target);
        *self.listening.lock() = Some(tokio::spawn(async move {
            loop {
                let (near, _) = listener.accept().await;
                let shared = Arc::clone(&shared);
                {
                    let mut accepted = shared.accepted.lock();
                    accepted.count += 1;
                    accepted.last = Some(shared.clock.now());
                }
                let fate = shared.fate.lock().subscribe();
                tokio::spawn(async move {
                    let far = host::net::connect("127.0.0.1", target, CONNECT_LIMIT).await;
                    if let Ok(far) = far {
                        pass_on(near, far, &shared, fate).await;
                    }
                });
            }
        }));
        port
    }

    pub(crate) fn set_weather(&self, weather: Weather) {
        *self.shared.weather.lock() = weather;
    }

    pub(crate) fn accepted(&self) -> Accepted {
        *self.shared.accepted.lock()
    }

    pub(crate) async fn break_by(&self, how: Break) {
        let listening = self.listening.lock().take();
        if let Some(listening) = listening {
            listening.abort();
            let _ = listening.await;
        }
        let (next, _) = watch::channel(Fate::Open);
        let fate = std::mem::replace(&mut *self.shared.fate.lock(), next);
        fate.send_replace(Fate::Broken(how));
    }

    pub(crate) fn mend(&self) {
        self.listen();
    }
}

async fn pass_on(
    near: TcpStream,
    far: TcpStream,
    shared: &Arc<Shared>,
    fate: watch::Receiver<Fate>,
) {
    for end in [&near, &far] {
        end.set_nodelay(true).unwrap();
    }
    let (near_read, near_write) = near.into_split();
    let (far_read, far_write) = far.into_split();
    let there = one_way(near_read, far_write, Arc::clone(shared), fate.clone());
    let back = one_way(far_read, near_write, Arc::clone(shared), fate.clone());
    let (there, back) = (tokio::spawn(there), tokio::spawn(back));
    // Both halves, so that neither end is closed before its time.
    let (_, _) = (there.await, back.await);
}

async fn one_way(
    mut read: OwnedReadHalf,
    mut write: OwnedWriteHalf,
    shared: Arc<Shared>,
    mut fate: watch::Receiver<Fate>,
) {
    let (chunks, mut under_way) = mpsc::channel::<(Mono, Vec<u8>)>(CHUNKS_MAX);
    let arrive = async {
        let mut buffer = vec![0; 1460];
        let mut free_at = Mono::ZERO;
        loop {
            let count = read.read(&mut buffer).await.unwrap_or(0);
            let weather = *shared.weather.lock();
            let lost = retransmissions(weather.loss_percent);
            // TCP keeps the order: nothing overtakes what had to be sent again.
            let late = weather.delay + RETRANSMISSION * ((1 << lost) - 1);
            free_at = free_at.max(shared.clock.now() + late);
            let chunk = buffer[..count].to_vec();
            if chunks.send((free_at, chunk)).await.is_err() || count == 0 {
                return std::future::pending::<()>().await;
            }
        }
    };
    let deliver = async {
        while let Some((at, chunk)) = under_way.recv().await {
            shared.clock.sleep_until(at).await;
            if chunk.is_empty() {
                return;
            }
            let single = shared.weather.lock().single_bytes;
            let size = if single { 1 } else { chunk.len() };
            for piece in chunk.chunks(size) {
                if write.write_all(piece).await.is_err() {
                    return;
                }
            }
        }
    };
    let broken = fate.wait_for(|fate| *fate != Fate::Open);
    let how = tokio::select! {
        () = arrive => unreachable!("it waits for ever"),
        () = deliver => None,
        how = broken => how.ok().map(|fate| *fate),
    };
    match how {
        Some(Fate::Broken(Break::HalfOpen)) => {
            // Silent, and open: until the end that notices closes it.
            let mut buffer = [0; 1024];
            while read.read(&mut buffer).await.is_ok_and(|count| count > 0) {}
        }
        Some(Fate::Broken(Break::Reset)) => {
            let _ = write.as_ref().set_zero_linger();
        }
        Some(Fate::Open | Fate::Broken(Break::End)) | None => drop(write.shutdown().await),
    }
}

/// How often a packet is lost before it comes through, as often as it falls so.
fn retransmissions(loss_percent: u8) -> u32 {
    let mut lost = 0;
    while lost < LOST_MAX && host::entropy::below(100) < u64::from(loss_percent) {
        lost += 1;
    }
    lost
}

/// Linux's least timeout; it doubles.
const RETRANSMISSION: Duration = Duration::from_millis(200);
const LOST_MAX: u32 = 5;
/// What a connection has under way.
const CHUNKS_MAX: usize = 64;
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
