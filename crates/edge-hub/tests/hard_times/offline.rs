//! Hours offline, in each of which the edge hub is killed once and the power of its machine is cut
//! once, while two clients send. Then the hub comes back: everything that was acknowledged arrives, in
//! order.
//!
//! The store lies on a file system of its own, in an image; a power cut stops that file system with
//! nothing written that was not synced. This needs root, `mkfs.ext4` and loop devices, as
//! `cargo xtask crash` does, and the same word leaves it out: `FARSHORE_TEST_WITHOUT=power-cut`. Then
//! the edge hub is killed twice an hour.

use std::path::{Path, PathBuf};
use std::time::Duration;

use client::DeviceClient;
use client::device::SendHandle;
use host::clock::Clock;
use host::process::Program;
use jiff::SignedDuration;
use pki::Validity;
use serde_json::json;

use crate::support::{Machine, Running, bodies, output, within, without_repeats};
use crate::{Passing, Random, number};

const HOUR: Duration = Duration::from_secs(3600);
/// Faster than they pass: nobody waits for a pause.
const TIMES: u32 = 30;
/// What each client sends in a life of the edge hub and waits for, and what it sends as that ends.
const WAITED_FOR: u32 = 10;
const IN_FLIGHT: u64 = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hours_offline_with_kills_and_power_cuts_lose_nothing() {
    let hours = number("FARSHORE_OFFLINE_HOURS", 24);
    let mut random = Random::new("FARSHORE_OFFLINE_SEED");
    let disk = Disk::new().await;
    // It ends before now: TLS has only the machine's clock.
    let begin = Clock::system().wall() - SignedDuration::from_hours(i64::from(hours) + 24);
    let clock = Clock::manual(begin);
    let validity = Validity::starting(begin - SignedDuration::from_hours(24), HOUR * 24 * 100);
    let routes = json!({
        "kept": { "route": "FROM /messages/* INTO $upstream", "timeToLiveSecs": 2_147_483_647 }
    });
    let machine = Machine::over(clock, validity, None, &["edge1/a", "leaf"], routes).await;
    let folder = disk.folder().unwrap_or_else(|| machine.storage()).display().to_string();
    let changes = [("StorageFolder", folder.as_str())];
    let passing = Passing::of(&machine.clock, TIMES);
    let edge = machine.start_with(&changes).await;
    machine.hub.until_reported("edge1/$edgeHub", "/lastDesiredStatus/code", json!(200)).await;
    edge.stop().await;
    machine.hub.stop().await;
    drop(passing);
    let mut books = [Book::new("edge1/a", "a"), Book::new("leaf", "leaf")];
    for _ in 0..hours {
        for is_power_cut in [false, true] {
            let passing = Passing::of(&machine.clock, TIMES);
            let edge = machine.start_with(&changes).await;
            let mut clients = Vec::new();
            for book in &mut books {
                clients.push(book.send(&machine, &edge, &mut random).await);
            }
            Clock::system().sleep(Duration::from_micros(random.below(3000))).await;
            if is_power_cut {
                disk.cut();
            }
            drop(passing);
            edge.kill().await;
            for (book, client) in books.iter_mut().zip(clients) {
                book.settle(client).await;
            }
            if is_power_cut {
                disk.come_back().await;
            }
            machine.clock.advance(HOUR / 2);
        }
    }
    let _passing = Passing::of(&machine.clock, TIMES);
    let edge = machine.start_with(&changes).await;
    let mut clients = Vec::new();
    for book in &mut books {
        clients.push(book.send_last(&machine, &edge).await);
    }
    let back = Clock::system().now();
    machine.hub.start().await;
    for book in &books {
        let last = format!("{} {}", book.name, book.next - 1);
        let received = machine.hub.until_received(book.id, &last).await;
        let copies = received.len();
        let received = without_repeats(received);
        println!(
            "{hours} hours, {} kills and power cuts: {} sent {}, {} at the hub, {} of them twice, {:.1?} after its return",
            hours * 2,
            book.id,
            book.next,
            received.len(),
            copies - received.len(),
            Clock::system().now() - back,
        );
        assert_eq!(received, bodies(book.name, 0..book.next));
    }
    drop(clients);
    edge.stop().await;
    disk.end().await;
}

/// What a client sent, kept outside of everything that dies.
struct Book {
    id: &'static str,
    name: &'static str,
    /// The first that is not known to be kept.
    next: u32,
}

/// A client in the life of an edge hub, and what it has in flight.
type Client = (DeviceClient, client::device::Events, Vec<SendHandle>);

impl Book {
    fn new(id: &'static str, name: &'static str) -> Self {
        Self { id, name, next: 0 }
    }

    /// Sends in a new life: some that are waited for, then some that are not.
    async fn send(&mut self, machine: &Machine, edge: &Running, random: &mut Random) -> Client {
        let (client, events) = self.send_last(machine, edge).await;
        let mut handles = Vec::new();
        for number in self.next..self.next + random.below(IN_FLIGHT) as u32 {
            handles.push(client.send(self.message(number)).await.unwrap());
        }
        (client, events, handles)
    }

    async fn send_last(
        &mut self,
        machine: &Machine,
        edge: &Running,
    ) -> (DeviceClient, client::device::Events) {
        let (client, events) = machine.join(edge, self.id, &[]).await;
        for _ in 0..WAITED_FOR {
            let sent = client.send(self.message(self.next)).await.unwrap();
            within("an acknowledgement", sent).await.unwrap();
            self.next += 1;
        }
        (client, events)
    }

    /// Which of those in flight were acknowledged, now that the edge hub is dead. The next life begins
    /// with the first that was not, as its sender would.
    async fn settle(&mut self, (client, events, handles): Client) {
        client.close().await;
        drop(events);
        for handle in handles {
            if within("the end of a client", handle).await.is_err() {
                break;
            }
            self.next += 1;
        }
    }

    fn message(&self, number: u32) -> model::message::Message {
        output(&format!("{} {number}", self.name), "out")
    }
}

/// A file system of its own, the power of which can be cut; or none.
struct Disk(Option<Mounted>);

struct Mounted {
    dir: tempfile::TempDir,
}

impl Disk {
    async fn new() -> Self {
        let left_out = host::env::var("FARSHORE_TEST_WITHOUT").unwrap().unwrap_or_default();
        if left_out.split(',').any(|word| word == "power-cut") {
            println!("power cuts left out by request: they are kills");
            return Self(None);
        }
        let mounted = Mounted { dir: tempfile::tempdir().unwrap() };
        host::fs::create_dir(&mounted.at()).unwrap();
        let image = mounted.image().display().to_string();
        run("truncate", &["-s", "192M", &image]).await;
        run("mkfs.ext4", &["-q", &image]).await;
        mounted.mount().await;
        Self(Some(mounted))
    }

    /// Where the store lies.
    fn folder(&self) -> Option<PathBuf> {
        self.0.as_ref().map(|mounted| mounted.at().join("storage"))
    }

    fn cut(&self) {
        if let Some(mounted) = &self.0 {
            host::disk::shut_filesystem_down(&mounted.at()).unwrap();
        }
    }

    async fn come_back(&self) {
        if let Some(mounted) = &self.0 {
            run("umount", &[&mounted.at().display().to_string()]).await;
            mounted.mount().await;
        }
    }

    async fn end(self) {
        if let Some(mounted) = &self.0 {
            run("umount", &[&mounted.at().display().to_string()]).await;
        }
    }
}

impl Mounted {
    fn at(&self) -> PathBuf {
        self.dir.path().join("mounted")
    }

    fn image(&self) -> PathBuf {
        self.dir.path().join("image")
    }

    async fn mount(&self) {
        let (image, at) = (self.image().display().to_string(), self.at().display().to_string());
        run("mount", &["-o", "loop", &image, &at]).await;
    }
}

async fn run(name: &str, arguments: &[&str]) {
    let places = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];
    let path = places.iter().map(|place| Path::new(place).join(name));
    let path = path.into_iter().find(|path| host::fs::exists(path).unwrap());
    let path = path.unwrap_or_else(|| {
        panic!("{name} is missing; power cuts are left out by FARSHORE_TEST_WITHOUT=power-cut")
    });
    let mut program = Program::new(path);
    program.args = arguments.iter().map(|word| (*word).to_owned()).collect();
    program.env = vec![("PATH".into(), places.join(":"))];
    let exit = program.spawn().await.unwrap().wait().await.unwrap();
    assert_eq!(exit.code(), 0, "{name} {arguments:?}: power cuts need root and loop devices");
}
