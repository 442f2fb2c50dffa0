//! The thread that starts children.
//!
//! The parent-death signal is sent when the *thread* that started the child
//! ends, and tokio's threads come and go. So one thread, which lives as long as
//! the process, starts them all.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::OnceLock;
use std::sync::mpsc::{self, Receiver, Sender};

use rustix::process::{Signal, getpid, getppid, set_parent_process_death_signal, setsid};
use tokio::sync::oneshot;

struct Order {
    command: Command,
    reply: oneshot::Sender<io::Result<Child>>,
}

/// Starts the command in a session of its own, to be killed when this process
/// ends in whatever way.
pub(super) async fn spawn(command: Command) -> io::Result<Child> {
    let (reply, answer) = oneshot::channel();
    orders()?
        .send(Order { command, reply })
        .map_err(|_| io::Error::other("the spawning thread has ended"))?;
    answer.await.map_err(|_| io::Error::other("the spawning thread has ended"))?
}

/// Waits for a killed child without holding up the caller.
pub(super) fn reap(mut child: Child) {
    // If no thread can be started, a zombie stays until this process ends.
    let _ = std::thread::Builder::new().name("reap".to_owned()).spawn(move || child.wait());
}

fn orders() -> io::Result<Sender<Order>> {
    static ORDERS: OnceLock<Sender<Order>> = OnceLock::new();
    if let Some(orders) = ORDERS.get() {
        return Ok(orders.clone());
    }
    let (sender, receiver) = mpsc::channel();
    std::thread::Builder::new().name("spawn".to_owned()).spawn(move || work(&receiver))?;
    // Two callers at once: the loser's thread ends with its channel.
    Ok(ORDERS.get_or_init(|| sender).clone())
}

fn work(orders: &Receiver<Order>) {
    while let Ok(Order { mut command, reply }) = orders.recv() {
        prepare(&mut command);
        if let Err(Ok(mut child)) = reply.send(command.spawn()) {
            // Nobody waits for it any more.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[expect(unsafe_code, reason = "work between fork and exec is unsafe by nature")]
fn prepare(command: &mut Command) {
    let parent = getpid();
    let between_fork_and_exec = move || {
        setsid()?;
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // The parent may have ended before the signal was set.
        match getppid() == Some(parent) {
            true => Ok(()),
            false => Err(io::ErrorKind::Interrupted.into()),
        }
    };
    // SAFETY: the closure makes four system calls without allocating, locking
    // or touching anything that other threads of the parent may have held.
    unsafe { command.pre_exec(between_fork_and_exec) };
}
