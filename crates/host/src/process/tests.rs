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
