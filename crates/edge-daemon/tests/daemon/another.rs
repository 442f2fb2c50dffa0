//! Requests from another process than the daemon's: this test binary, started again.

use std::path::Path;

use host::http::{Client, Method, Request};
use host::process::Program;
use tokio::io::AsyncReadExt;

const SOCKET: &str = "FARSHORE_TEST_SOCKET";
const METHOD: &str = "FARSHORE_TEST_METHOD";
const TARGET: &str = "FARSHORE_TEST_TARGET";
const MARK: &str = "ANSWER ";

/// Sends a request from another process; gives status and body.
pub(crate) async fn ask(socket: &Path, method: Method, path: &str) -> (u16, String) {
    let (status, body, _) = ask_and_pid(socket, method, path, |_| {}).await;
    (status, body)
}

/// The same; `known` is told the process' id before it asks.
pub(crate) async fn ask_and_pid(
    socket: &Path,
    method: Method,
    path: &str,
    known: impl FnOnce(u32),
) -> (u16, String, u32) {
    let mut program = Program::new(host::env::current_exe().unwrap());
    program.args =
        ["--exact", "another::asks_when_told_to", "--nocapture"].map(str::to_owned).to_vec();
    let socket_text = socket.to_str().unwrap().to_owned();
    let go = socket.with_extension("go");
    host::fs::remove(&go).unwrap();
    program.env = vec![
        (SOCKET.to_owned(), socket_text),
        (METHOD.to_owned(), method.to_string()),
        (TARGET.to_owned(), path.to_owned()),
    ];
    let mut child = program.spawn().await.unwrap();
    let pid = u32::try_from(child.pid()).unwrap();
    known(pid);
    host::fs::write_atomic(&go, b"", 0o600).unwrap();
    let mut output = String::new();
    child.take_stdout().unwrap().read_to_string(&mut output).await.unwrap();
    child.wait().await.unwrap();
    let answer = output.lines().find_map(|line| line.split_once(MARK)).expect(&output).1;
    let (status, body) = answer.split_once(' ').unwrap();
    (status.parse().unwrap(), body.to_owned(), pid)
}

/// No test of its own: does nothing unless it is the other process.
#[tokio::test]
async fn asks_when_told_to() {
    let Some(socket) = host::env::var(SOCKET).unwrap() else { return };
    let go = Path::new(&socket).with_extension("go");
    let clock = host::clock::Clock::system();
    while !host::fs::exists(&go).unwrap() {
        clock.sleep(std::time::Duration::from_millis(5)).await;
    }
    let method: Method = host::env::var(METHOD).unwrap().unwrap().parse().unwrap();
    let target = host::env::var(TARGET).unwrap().unwrap();
    let request = Request::new(method, target).json(r#"{"data":"eA=="}"#);
    let response = Client::unix(&socket).send(request).await.unwrap();
    let body = String::from_utf8_lossy(&response.body).into_owned();
    println!("\n{MARK}{} {body}", response.status.as_u16());
}

/// In a container: asks for a signature again and again, as itself and as another module, and
/// says how that went. Does nothing anywhere else.
#[tokio::test]
async fn signs_in_a_container() {
    let Some(uri) = host::env::var("IOTEDGE_WORKLOADURI").unwrap() else { return };
    let module = host::env::var("IOTEDGE_MODULEID").unwrap().unwrap();
    let clock = host::clock::Clock::system();
    loop {
        let mut answers = Vec::new();
        for name in [module.as_str(), "another"] {
            let path = format!("/modules/{name}/genid/1/sign?api-version=2022-08-03");
            let request = Request::new(Method::POST, path).json(r#"{"data":"eA=="}"#);
            let socket = uri.strip_prefix("unix://").unwrap();
            answers.push(match Client::unix(socket).send(request).await {
                Ok(response) => response.status.as_u16().to_string(),
                Err(_) => "none".to_owned(),
            });
        }
        println!("\n{MARK}{}", answers.join(" "));
        clock.sleep(std::time::Duration::from_millis(100)).await;
    }
}
