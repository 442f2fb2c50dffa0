//! `cargo xtask crash`: a writer process is killed at random moments, and the
//! power is cut under its filesystem; after each, the journal is opened again and
//! checked against a ledger that this process kept.
//!
//! The writer and the check are `crates/journal/examples/crash_writer.rs`, where
//! the lines of the ledger are described. A power cut is the shutdown ioctl on a
//! loop-mounted ext4 image without flushing its log, then unmount and mount; that
//! needs root, `mkfs.ext4` and loop devices.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::Outcome;
use crate::run::{cargo, is_there, output, run as run_command, target_dir};

/// Arguments of `cargo xtask crash`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How often the writer is killed
    #[arg(long, default_value_t = 1000)]
    kills: u64,
    /// How often the power is cut (needs root); 0 leaves it out
    #[arg(long, default_value_t = 100)]
    power_cuts: u64,
    /// Repeats the moments of an earlier run, about: the machine has its part in them
    #[arg(long)]
    seed: Option<u64>,
}

impl Arguments {
    /// What CI does: 50 kills and 10 power cuts.
    pub(crate) fn short(power_cuts: bool) -> Self {
        Self { kills: 50, power_cuts: if power_cuts { 10 } else { 0 }, seed: None }
    }
}

/// Kills, cuts, checks.
pub(crate) fn run(arguments: &Arguments) -> Outcome {
    if arguments.power_cuts > 0 {
        check_needs()?;
    }
    // With the whole workspace, so that nothing is built a second time after the tests.
    run_command(cargo().args(["build", "--quiet", "--workspace", "--examples", "--tests"]))?;
    let seed = arguments.seed.unwrap_or_else(|| {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |time| time.as_nanos() as u64)
    });
    println!("crash: seed {seed}");
    let scratch = target_dir()?.join(format!("crash-{}", std::process::id()));
    std::fs::create_dir_all(&scratch)?;
    // A copy, which no build replaces while we run.
    let writer = scratch.join("crash_writer");
    std::fs::copy(target_dir()?.join("debug/examples/crash_writer"), &writer)?;
    let outcome = kills(&writer, &scratch, seed, arguments.kills)
        .and_then(|()| power_cuts(&writer, &scratch, seed, arguments.power_cuts));
    match outcome {
        Ok(()) => Ok(std::fs::remove_dir_all(&scratch)?),
        // The journal is evidence.
        Err(error) => Err(format!("{error}; seed {seed}, files in {}", scratch.display()).into()),
    }
}

fn check_needs() -> Outcome {
    let mut missing = Vec::new();
    if output(Command::new("id").arg("-u"))?.trim() != "0" {
        missing.push("root");
    }
    for program in ["mkfs.ext4", "mount", "umount", "losetup", "truncate"] {
        let in_sbin =
            ["/usr/sbin", "/sbin"].iter().any(|dir| Path::new(dir).join(program).exists());
        if !is_there(program) && !in_sbin {
            missing.push(program);
        }
    }
    if !Path::new("/dev/loop-control").exists() {
        missing.push("loop devices");
    }
    if missing.is_empty() {
        return Ok(());
    }
    let missing = missing.join(", ");
    Err(format!("power cuts need {missing}; leave them out with --power-cuts 0 (in `test`: --without power-cut)").into())
}

fn kills(writer: &Path, scratch: &Path, seed: u64, count: u64) -> Outcome {
    let mut life = Life::new(writer, &scratch.join("journal"), &scratch.join("ledger"))?;
    let mut random = Random(seed);
    for round in 0..count {
        let mut running = life.start(random.next())?;
        // One in five dies while it opens the journal.
        let while_opening = random.below(5) == 0;
        if !while_opening {
            life.until_ready(&mut running)?;
        }
        std::thread::sleep(Duration::from_micros(random.below(if while_opening {
            20_000
        } else {
            80_000
        })));
        running.child.kill()?;
        life.settle(running, "a kill")?;
        if round % 100 == 99 {
            println!("crash: {} kills, {} records acknowledged", round + 1, life.acknowledged());
        }
    }
    life.check()?;
    println!("crash: {count} kills, {} records acknowledged, none missing", life.acknowledged());
    Ok(())
}

fn power_cuts(writer: &Path, scratch: &Path, seed: u64, count: u64) -> Outcome {
    if count == 0 {
        println!("crash: power cuts left out by request");
        return Ok(());
    }
    let image = scratch.join("image");
    let mounted = Mounted { at: scratch.join("mounted") };
    std::fs::create_dir_all(&mounted.at)?;
    run_command(Command::new("truncate").args(["-s", "256M"]).arg(&image))?;
    run_command(Command::new("mkfs.ext4").arg("-q").arg(&image))?;
    mounted.mount(&image)?;
    let mut life = Life::new(writer, &mounted.at.join("journal"), &scratch.join("ledger-power"))?;
    let mut random = Random(seed ^ 1);
    for round in 0..count {
        let mut running = life.start(random.next())?;
        life.until_ready(&mut running)?;
        std::thread::sleep(Duration::from_micros(random.below(150_000)));
        run_command(Command::new(writer).arg("power-cut").arg(&mounted.at))?;
        running.child.kill()?;
        life.settle(running, "a power cut")?;
        mounted.unmount(&image)?;
        mounted.mount(&image)?;
        if round % 10 == 9 {
            println!(
                "crash: {} power cuts, {} records acknowledged",
                round + 1,
                life.acknowledged()
            );
        }
    }
    life.check()?;
    println!(
        "crash: {count} power cuts, {} records acknowledged, none missing",
        life.acknowledged()
    );
    Ok(())
}

/// The writer's lives over one journal, and the ledger of all of them.
struct Life {
    writer: PathBuf,
    journal: PathBuf,
    ledger_file: PathBuf,
    /// The highest of each kind and number: `("ack", writer) -> n`.
    ledger: BTreeMap<(String, u64), u64>,
    lives: u64,
}

struct Running {
    child: Child,
    lines: mpsc::Receiver<String>,
    ready: bool,
}

impl Life {
    fn new(
        writer: &Path,
        journal: &Path,
        ledger_file: &Path,
    ) -> Result<Self, Box<dyn std::error::Error>> {
        Ok(Self {
            writer: writer.to_owned(),
            journal: journal.to_owned(),
            ledger_file: ledger_file.to_owned(),
            ledger: BTreeMap::new(),
            lives: 0,
        })
    }

    fn start(&mut self, seed: u64) -> Result<Running, Box<dyn std::error::Error>> {
        self.write_ledger()?;
        self.lives += 1;
        let mut child = Command::new(&self.writer)
            .arg("run")
            .args([&self.journal, &self.ledger_file])
            .arg((seed % 1000).to_string())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take().ok_or("the writer has no standard output")?;
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            let mut stdout = BufReader::new(stdout);
            let mut line = String::new();
            // A line without its end was cut by the kill, and said nothing.
            while stdout.read_line(&mut line).is_ok_and(|length| length > 0) && line.ends_with('\n')
            {
                if sender.send(line.trim_end().to_owned()).is_err() {
                    return;
                }
                line.clear();
            }
        });
        Ok(Running { child, lines, ready: false })
    }

    /// Waits for the check at the writer's start; an end before it is a failure.
    fn until_ready(&mut self, running: &mut Running) -> Outcome {
        while let Ok(line) = running.lines.recv() {
            self.note(&line, running)?;
            if running.ready {
                return Ok(());
            }
        }
        let status = running.child.wait()?;
        Err(format!(
            "life {}: the journal is not as it should be ({status}, see above)",
            self.lives
        )
        .into())
    }

    /// Reads what the dead one still said.
    fn settle(&mut self, mut running: Running, what: &str) -> Outcome {
        while let Ok(line) = running.lines.recv() {
            self.note(&line, &mut running)?;
        }
        let status = running.child.wait()?;
        let killed = std::os::unix::process::ExitStatusExt::signal(&status) == Some(9);
        // After a power cut it may have ended by itself, its disk being gone.
        if killed || (what == "a power cut" && status.success()) {
            return Ok(());
        }
        Err(format!("life {}: the writer ended by itself before {what}: {status}", self.lives)
            .into())
    }

    fn note(&mut self, line: &str, running: &mut Running) -> Outcome {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["ready"] => running.ready = true,
            [kind @ ("ack" | "trim"), number, value] => {
                let known = self.ledger.entry((kind.to_owned(), number.parse()?)).or_default();
                *known = (*known).max(value.parse()?);
            }
            _ => return Err(format!("the writer said {line}").into()),
        }
        Ok(())
    }

    fn write_ledger(&self) -> Outcome {
        let lines: Vec<_> = self
            .ledger
            .iter()
            .map(|((kind, number), value)| format!("{kind} {number} {value}\n"))
            .collect();
        Ok(std::fs::write(&self.ledger_file, lines.concat())?)
    }

    fn check(&self) -> Outcome {
        self.write_ledger()?;
        run_command(
            Command::new(&self.writer).arg("check").args([&self.journal, &self.ledger_file]),
        )
    }

    fn acknowledged(&self) -> u64 {
        self.ledger.iter().filter(|((kind, _), _)| kind == "ack").map(|(_, n)| n + 1).sum()
    }
}

/// A place where the image is mounted until the end.
struct Mounted {
    at: PathBuf,
}

impl Mounted {
    fn mount(&self, image: &Path) -> Outcome {
        run_command(Command::new("mount").args(["-o", "loop"]).arg(image).arg(&self.at))
    }

    /// Unmounts, and waits until nobody has the filesystem any more: a container
    /// that starts just now holds a copy of every mount for a moment, and mounting
    /// again meanwhile would find the one that was shut down.
    fn unmount(&self, image: &Path) -> Outcome {
        run_command(Command::new("umount").arg(&self.at))?;
        for _ in 0..UNMOUNT_LOOKS {
            if output(Command::new("losetup").arg("-j").arg(image))?.is_empty() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Err(format!("{} is unmounted, but somebody still uses its image", self.at.display()).into())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Already unmounted when mounting failed.
        let _ = Command::new("umount").arg(&self.at).stderr(Stdio::null()).status();
    }
}

/// SplitMix64: moments from a seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// How often a lingering unmount is looked at, every 10 ms.
const UNMOUNT_LOOKS: u32 = 1000;
