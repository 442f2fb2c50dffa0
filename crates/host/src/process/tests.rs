use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};

use super::*;

fn shell(script: &str) -> Program {
    Program {
        args: vec!["-c".to_owned(), script.to_owned()],
        env: vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())],
        ..Program::new("/bin/sh")
    }
}

async fn first_line(child: &mut Child) -> String {
    let mut lines = BufReader::new(child.take_stdout().unwrap()).lines();
    lines.next_line().await.unwrap().unwrap()
}

#[tokio::test]
async fn outputs_environment_and_exit_code_come_back() {
    let program = Program {
        env: vec![("ONLY".to_owned(), "this".to_owned())],
        cwd: Some("/".into()),
        ..shell("echo $ONLY-$HOME-$PWD; echo bad >&2; exit 3")
    };
    let mut child = program.spawn().await.unwrap();
    let mut output = String::new();
    child.take_stdout().unwrap().read_to_string(&mut output).await.unwrap();
    assert_eq!(output, "this--/\n");
    output.clear();
    child.take_stderr().unwrap().read_to_string(&mut output).await.unwrap();
    assert_eq!(output, "bad\n");
    assert_eq!(child.wait().await.unwrap(), Exit::Code(3));
    assert!(child.wait().await.is_err());
    assert!(!child.is_self_or_descendant(child.pid()));
}

#[tokio::test]
async fn a_missing_program_is_named() {
    let error = Program::new("/no/such/program").spawn().await.unwrap_err();
    assert_eq!(error.to_string(), "cannot start /no/such/program");
    assert_eq!(error.source.kind(), io::ErrorKind::NotFound);
}

#[tokio::test]
async fn a_child_ends_when_asked() {
    let mut child = shell("echo up; exec sleep 600").spawn().await.unwrap();
    assert_eq!(first_line(&mut child).await, "up");
    child.terminate().unwrap();
    let exit = child.wait().await.unwrap();
    assert_eq!(exit, Exit::Signal(15));
    assert_eq!(exit.code(), 143);
}

#[tokio::test]
async fn descendants_are_recognised_even_as_orphans_and_die_with_the_child() {
    // The inner shell ends, so its sleeper becomes an orphan.
    let script = "sh -c 'sleep 600 & echo $!'; read never < /dev/zero";
    let mut child = shell(script).spawn().await.unwrap();
    let orphan: i32 = first_line(&mut child).await.parse().unwrap();
    assert!(child.is_self_or_descendant(child.pid()));
    assert!(child.is_self_or_descendant(orphan));
    assert!(!child.is_self_or_descendant(rustix::process::getpid().as_raw_pid()));

    let watch = pidfd_open(Pid::from_raw(orphan).unwrap(), PidfdFlags::NONBLOCK).unwrap();
    let watch = watched(watch).unwrap();
    drop(child);
    let gone = tokio::time::timeout(Duration::from_secs(10), watch.readable()).await;
    assert!(gone.is_ok(), "the orphan outlived its child");
}

#[tokio::test]
async fn what_a_child_leaves_behind_is_killed_when_it_is_waited_for() {
    let mut child = shell("sleep 600 >/dev/null 2>&1 & echo $!").spawn().await.unwrap();
    let left: i32 = first_line(&mut child).await.parse().unwrap();
    child.wait().await.unwrap();
    // Killed; init (or this container's) may not have reaped it yet.
    let stat = Path::new("/proc").join(left.to_string()).join("stat");
    let gone = async {
        while let Ok(text) = std::fs::read_to_string(&stat) {
            if text.contains(") Z ") {
                break;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), gone).await.expect("killed");
}

/// Runs one of the ignored tests below in a process of its own.
fn this_test_binary(test: &str) -> Program {
    Program {
        args: ["--exact", "--ignored", "--nocapture", test].map(str::to_owned).to_vec(),
        env: vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())],
        ..Program::new(std::env::current_exe().unwrap())
    }
}

/// The number after `word ` in a line of the child's output.
async fn number_after(child: &mut Child, word: &str) -> i32 {
    let mut lines = BufReader::new(child.take_stdout().unwrap()).lines();
    while let Some(line) = lines.next_line().await.unwrap() {
        if let Some((_, number)) = line.split_once(&format!("{word} ")) {
            return number.parse().unwrap();
        }
    }
    panic!("the child said nothing of {word}");
}

#[tokio::test]
async fn children_die_with_us_even_when_we_are_killed() {
    let mut us = this_test_binary("process::tests::acts_as_us").spawn().await.unwrap();
    let child = number_after(&mut us, "child").await;
    let watch = pidfd_open(Pid::from_raw(child).unwrap(), PidfdFlags::NONBLOCK).unwrap();
    let watch = watched(watch).unwrap();
    // Only the process in the middle: its child is in a group of its own.
    us.kill();
    let gone = tokio::time::timeout(Duration::from_secs(10), watch.readable()).await;
    assert!(gone.is_ok(), "the child outlived us");
}

#[tokio::test]
#[ignore = "the process in the middle of children_die_with_us_even_when_we_are_killed"]
async fn acts_as_us() {
    // Started from a thread that ends right away, which must not matter.
    let runtime = tokio::runtime::Handle::current();
    let started = std::thread::spawn(move || runtime.block_on(shell("sleep 600").spawn()));
    let child = started.join().unwrap().unwrap();
    println!("child {}", child.pid());
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn a_child_serves_a_listener_that_it_was_passed() {
    let listener = net::listen((std::net::Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let port = listener.local_addr().unwrap().port();
    let program = this_test_binary("process::tests::acts_as_server");
    let _child = program.spawn_with_listeners(&[("web", &listener)]).await.unwrap();
    let mut stream = net::connect("127.0.0.1", port, Duration::from_secs(10)).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "web");
}

#[tokio::test]
#[ignore = "the child of a_child_serves_a_listener_that_it_was_passed"]
async fn acts_as_server() {
    let listeners = net::passed_listeners().unwrap();
    let (name, listener) = &listeners[0];
    let (mut stream, _) = listener.accept().await;
    tokio::io::AsyncWriteExt::write_all(&mut stream, name.as_bytes()).await.unwrap();
}

#[tokio::test]
async fn another_user_needs_root_and_is_that_user() {
    let program = Program { user: Some((65534, 65534)), ..shell("id -u; id -g; id -G") };
    let spawned = program.spawn().await;
    if rustix::process::geteuid().is_root() {
        let mut output = String::new();
        let mut child = spawned.unwrap();
        child.take_stdout().unwrap().read_to_string(&mut output).await.unwrap();
        assert_eq!(output, "65534\n65534\n65534\n");
    } else {
        assert_eq!(spawned.unwrap_err().source.kind(), io::ErrorKind::PermissionDenied);
    }
}
