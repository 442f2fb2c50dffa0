//! Processes that take over the number of one that connected to a workload socket (`GOALS.md` S13).
//!
//! The races are real: a stranger connects, leaves the connection to a child of its, ends and is
//! reaped, and then a process of the module gets its number, by `/proc/sys/kernel/ns_last_pid`.
//! The daemon looks at the connection at the worst moments: either takes it only after that, or took
//! it before. Needs root; `FARSHORE_TEST_WITHOUT=power-cut` leaves it out, like all that does.

use std::sync::atomic::AtomicU32;

use containers::{
    BoxFuture, EngineInfo, EventStream, ImageReference, LogOptions, LogStream, ModuleSpec,
    ModuleState, Notice, RegistryAuth, RuntimeError, RuntimeKind,
};
use host::process::Program;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

use super::*;

#[tokio::test]
async fn nobody_is_taken_for_a_module_by_its_number() {
    let left_out = host::env::var("FARSHORE_TEST_WITHOUT").unwrap().unwrap_or_default();
    if left_out.split(',').any(|group| group == "power-cut") {
        return;
    }
    let wanted = host::env::var("FARSHORE_PID_REUSES").unwrap();
    let wanted: u32 = wanted.map_or(REUSES, |text| text.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let workload = host::net::listen_unix(&dir.path().join("workload"), 0o666).unwrap();
    let control = host::net::listen_unix(&dir.path().join("control"), 0o600).unwrap();
    let script = Program {
        args: vec!["-e".to_owned(), STRANGER.to_owned(), dir.path().display().to_string()],
        ..Program::new("/usr/bin/perl")
    };
    let mut child = script.spawn().await.unwrap();
    let (read, mut write) = control.accept().await.into_split();
    let mut lines = BufReader::new(read).lines();
    let module: ModuleName = "sensor".parse().unwrap();
    let runtime = OneProcess::default();

    let (mut reused, mut granted, mut known) = (0, 0, 0);
    for round in 0..wanted.saturating_mul(ROUNDS_PER_REUSE) {
        if reused == wanted {
            break;
        }
        assert_eq!(lines.next_line().await.unwrap().as_deref(), Some("connected"));
        // Every other time the daemon is quick.
        let early = round.is_multiple_of(2).then_some(workload.accept());
        let early = match early {
            Some(accepted) => Some(Caller::of(&accepted.await).unwrap()),
            None => None,
        };
        write.write_all(b"end\n").await.unwrap();
        let told = lines.next_line().await.unwrap().unwrap();
        let (stranger, owner) = told.split_once(' ').unwrap();
        runtime.0.store(owner.parse().unwrap(), Ordering::Relaxed);
        let caller = match early {
            Some(caller) => caller,
            None => Caller::of(&workload.accept().await).unwrap(),
        };
        assert_eq!(caller.pid.to_string(), stranger);
        if stranger == owner {
            reused += 1;
        }
        granted += u32::from(caller.is_of(&runtime, &module).await);
        // The module itself comes in, so that the rest means something.
        write.write_all(b"next\n").await.unwrap();
        known +=
            u32::from(Caller::of(&workload.accept().await).unwrap().is_of(&runtime, &module).await);
        write.write_all(b"done\n").await.unwrap();
    }
    child.kill();
    child.wait().await.unwrap();
    println!(
        "{reused} races by a reused number, {granted} granted; the module itself {known} times"
    );
    assert_eq!(reused, wanted, "the kernel gave the wanted numbers too rarely");
    assert_eq!(granted, 0);
    assert!(known >= wanted, "the module itself was granted {known} times only");
}

/// A runtime whose only module has one process.
#[derive(Default)]
struct OneProcess(AtomicU32);

impl ModuleRuntime for OneProcess {
    fn kind(&self) -> RuntimeKind {
        RuntimeKind::Docker
    }

    fn contains_process<'a>(&'a self, _: &'a ModuleName, pid: u32) -> BoxFuture<'a, bool> {
        Box::pin(async move { Ok(self.0.load(Ordering::Relaxed) == pid) })
    }

    fn info(&self) -> BoxFuture<'_, EngineInfo> {
        nothing()
    }

    fn list(&self) -> BoxFuture<'_, Vec<ModuleState>> {
        nothing()
    }

    fn get<'a>(&'a self, _: &'a ModuleName) -> BoxFuture<'a, ModuleState> {
        nothing()
    }

    fn has_image<'a>(&'a self, _: &'a ImageReference) -> BoxFuture<'a, bool> {
        nothing()
    }

    fn pull<'a>(&'a self, _: &'a ImageReference, _: Option<&'a RegistryAuth>) -> BoxFuture<'a, ()> {
        nothing()
    }

    fn create<'a>(&'a self, _: &'a ModuleSpec) -> BoxFuture<'a, Vec<Notice>> {
        nothing()
    }

    fn start<'a>(&'a self, _: &'a ModuleName) -> BoxFuture<'a, ()> {
        nothing()
    }

    fn stop<'a>(&'a self, _: &'a ModuleName, _: std::time::Duration) -> BoxFuture<'a, ()> {
        nothing()
    }

    fn restart<'a>(&'a self, _: &'a ModuleName, _: std::time::Duration) -> BoxFuture<'a, ()> {
        nothing()
    }

    fn remove<'a>(&'a self, _: &'a ModuleName) -> BoxFuture<'a, ()> {
        nothing()
    }

    fn logs<'a>(&'a self, _: &'a ModuleName, _: LogOptions) -> BoxFuture<'a, LogStream> {
        nothing()
    }

    fn events(&self) -> BoxFuture<'_, EventStream> {
        nothing()
    }
}

fn nothing<'a, T: Send + 'a>() -> BoxFuture<'a, T> {
    Box::pin(async { Err(RuntimeError::NotFound { name: "nothing".to_owned() }) })
}

/// The stranger and the module. Each line that it says or hears is a step of the test.
const STRANGER: &str = r#"
use strict; use Socket; use POSIX ":sys_wait_h";
my $dir = $ARGV[0];
sub to { socket(my $s, PF_UNIX, SOCK_STREAM, 0) or die; connect($s, sockaddr_un("$dir/$_[0]")) or die; $s }
my $control = to("control"); select($control); $| = 1;
sub heard { my $line = <$control>; exit 0 unless defined $line; }
while (1) {
    pipe(my $ready, my $told); pipe(my $wait, my $go); pipe(my $hold, my $free);
    my $stranger = fork();
    if (!$stranger) {
        my $s = to("workload");
        # A child keeps the connection when the one who made it is gone.
        if (!fork()) { close $told; close $free; sysread($hold, my $x, 1); POSIX::_exit(0); }
        syswrite($told, "x"); sysread($wait, my $x, 1); POSIX::_exit(0);
    }
    close $told; close $wait; close $hold; sysread($ready, my $x, 1);
    print "connected\n"; heard();
    syswrite($go, "x"); waitpid($stranger, 0);
    # The next process gets the number after the last one, if it is free.
    pipe(my $stay, my $leave); pipe(my $in, my $out);
    open(my $last, ">", "/proc/sys/kernel/ns_last_pid") or die "cannot choose numbers: $!";
    syswrite($last, $stranger - 1);
    my $module = fork();
    if (!$module) { close $leave; close $out; sysread($stay, my $x, 1); my $s = to("workload"); sysread($in, $x, 1); POSIX::_exit(0); }
    close $last; close $stay; close $in;
    print "$stranger $module\n"; heard();
    syswrite($leave, "x"); heard();
    close $out; close $leave; close $free; waitpid($module, 0);
    1 while waitpid(-1, WNOHANG) > 0;
}
"#;

/// Reuses in an ordinary run.
const REUSES: u32 = 300;
/// Another process may be faster in taking a number.
const ROUNDS_PER_REUSE: u32 = 4;
