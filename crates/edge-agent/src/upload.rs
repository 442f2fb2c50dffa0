//! `UploadModuleLogs` and `GetTaskStatus` (er §4.8): logs as blobs at the URL that the caller brings.
//!
//! The caller hears at once which task it is; the task puts one block blob per module into the
//! container and remembers how that went. The URL carries its own authorisation in its query, so it is
//! in no log, no error and no answer. Tasks are forgotten when the agent ends, and the oldest first.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use client::Dial;
use client::edge::ManagementClient;
use host::clock::Clock;
use host::http::{Client, Request};
use host::tls::ClientTls;
use iot_proto::percent;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::error::chain;
use crate::logs::{LogsError, LogsRequest, ModuleLog, Origin};

/// A container of blobs, with the right to write there.
#[derive(Clone)]
pub(crate) struct Target {
    host: String,
    port: u16,
    path: String,
    query: String,
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Target").field("host", &self.host).finish_non_exhaustive()
    }
}

/// What an upload needs of its surroundings.
#[derive(Clone)]
pub(crate) struct Way {
    pub(crate) management: ManagementClient,
    pub(crate) clock: Clock,
    pub(crate) tls: ClientTls,
    /// The way to the hub: `$upstream` is its host, and its proxy is ours.
    pub(crate) hub: Dial,
    pub(crate) origin: Origin,
}

/// How tasks fare, the newest last.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tasks(Arc<Mutex<VecDeque<Task>>>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Task {
    id: String,
    status: Status,
    message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    NotStarted,
    Running,
    Completed,
    Failed,
}

impl Status {
    fn as_str(self) -> &'static str {
        match self {
            Self::NotStarted => "NotStarted",
            Self::Running => "Running",
            Self::Completed => "Completed",
            Self::Failed => "Failed",
        }
    }
}

impl Tasks {
    /// Takes in a new one; its id, and what its caller is told.
    pub(crate) fn begin(&self) -> (String, String) {
        let id = host::entropy::uuid_v4().to_string();
        let task = Task { id: id.clone(), status: Status::NotStarted, message: String::new() };
        let told = task.told();
        let mut tasks = self.0.lock();
        tasks.push_back(task);
        while tasks.len() > TASKS_MAX {
            tasks.pop_front();
        }
        (id, told)
    }

    /// How a task fares.
    pub(crate) fn status(&self, id: &str) -> String {
        let tasks = self.0.lock();
        match tasks.iter().find(|task| task.id.eq_ignore_ascii_case(id)) {
            Some(task) => task.told(),
            None => {
                let message = "no task of this agent has this correlationId; tasks are forgotten \
                               when the runtime ends";
                json!({"status": "Unknown", "message": message, "correlationId": id}).to_string()
            }
        }
    }

    fn set(&self, id: &str, status: Status, message: String) {
        if let Some(task) = self.0.lock().iter_mut().find(|task| task.id == id) {
            (task.status, task.message) = (status, message);
        }
    }
}

impl Task {
    fn told(&self) -> String {
        let Self { id, status, message } = self;
        let status = status.as_str();
        json!({"status": status, "message": message, "correlationId": id}).to_string()
    }
}

impl Target {
    /// Reads the `sasUrl` of a call; otherwise what is wrong with it, without repeating it.
    pub(crate) fn parse(payload: &[u8]) -> Result<Self, String> {
        let payload: Value = serde_json::from_slice(payload)
            .map_err(|_| "payload is not JSON; send an object with sasUrl".to_owned())?;
        let url = payload.get("sasUrl").and_then(Value::as_str).unwrap_or_default().trim();
        if url.is_empty() {
            return Err("sasUrl is missing; send the URL of a container with its SAS".into());
        }
        let wrong = || "sasUrl has to be like https://<account>/<container>?<SAS>".to_owned();
        let rest = url.strip_prefix("https://").ok_or_else(wrong)?;
        let (place, query) = rest.split_once('?').ok_or_else(wrong)?;
        let (authority, path) = place.split_once('/').ok_or_else(wrong)?;
        let (host, port) = match authority.rsplit_once(':') {
            None => (authority, client::dial::HTTPS_PORT),
            Some((host, port)) => (host, port.parse().map_err(|_| wrong())?),
        };
        let is_plain =
            |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
        let path = path.trim_matches('/');
        if host.is_empty()
            || path.is_empty()
            || !is_plain(host)
            || !is_plain(path)
            || !is_plain(query)
        {
            return Err(wrong());
        }
        let (host, path, query) = (host.to_owned(), format!("/{path}"), query.to_owned());
        Ok(Self { host, port, path, query })
    }

    fn client(&self, way: &Way) -> Client {
        let dial = match self.host.eq_ignore_ascii_case("$upstream") {
            true => Dial::new(way.hub.host.clone(), self.port).at(way.hub.address.clone()),
            false => Dial::new(self.host.clone(), self.port),
        };
        dial.through(way.hub.proxy.as_ref()).https(way.tls.clone())
    }

    fn path_of(&self, blob: &str) -> String {
        format!("{}/{blob}?{}", self.path, self.query)
    }

    fn put(&self, blob: &str, bytes: Vec<u8>) -> Request {
        Request::put(self.path_of(blob))
            .header("x-ms-blob-type", "BlockBlob")
            .body("application/octet-stream", bytes)
            .deadline(PUT_DEADLINE)
    }
}

/// Uploads the logs, and keeps the books.
pub(crate) async fn upload(
    request: LogsRequest,
    target: Target,
    way: Way,
    tasks: Tasks,
    id: String,
) {
    tasks.set(&id, Status::Running, String::new());
    let work = Box::pin(upload_all(&request, &target, &way));
    let outcome = match way.clock.timeout(UPLOAD_LIMIT, work).await {
        Ok(outcome) => outcome,
        Err(_) => Err(format!("not done within {} s", UPLOAD_LIMIT.as_secs())),
    };
    match outcome {
        Ok(count) => {
            tracing::info!(task = id, blobs = count, host = target.host, "uploaded logs");
            tasks.set(&id, Status::Completed, String::new());
        }
        Err(message) => {
            tracing::warn!(task = id, host = target.host, error = message, "cannot upload logs");
            tasks.set(&id, Status::Failed, message);
        }
    }
}

async fn upload_all(request: &LogsRequest, target: &Target, way: &Way) -> Result<usize, String> {
    let words = |error| match error {
        LogsError::Request(message) | LogsError::Failed(message) => message,
    };
    let client = target.client(way);
    let matches = request.matches(&way.management).await.map_err(words)?;
    let count = matches.len();
    for (item, module) in matches {
        let log = request.read(item, &module, &way.management, &way.origin).await.map_err(words)?;
        let name = blob_name(&way.origin, &log, way.clock.wall(), request.file_ending());
        put(&client, target, &name, log.bytes, &way.clock).await?;
    }
    Ok(count)
}

/// Puts one blob, trying again what may be better a moment later.
async fn put(
    client: &Client,
    target: &Target,
    name: &str,
    bytes: Vec<u8>,
    clock: &Clock,
) -> Result<(), String> {
    let mut retries = 0;
    loop {
        let why = match client.send(target.put(name, bytes.clone())).await {
            Ok(answer) if answer.status.is_success() => return Ok(()),
            Ok(answer) => {
                let code =
                    answer.headers.get("x-ms-error-code").and_then(|code| code.to_str().ok());
                let code = code.map(|code| format!(" ({code})")).unwrap_or_default();
                let why = format!("the storage answered {}{code}", answer.status.as_u16());
                if answer.status.is_client_error() {
                    return Err(why);
                }
                why
            }
            Err(error) => chain(&error),
        };
        if retries == RETRIES {
            return Err(why);
        }
        retries += 1;
        clock.sleep(RETRY_AFTER).await;
    }
}

/// `<iothub>/<device>/<module>-yyyy-MM-dd--HH-mm-ss.log` (er §4.8).
fn blob_name(origin: &Origin, log: &ModuleLog, now: Timestamp, ending: &str) -> String {
    let parts = [&origin.hub, &origin.device, &log.module].map(|part| percent::encode(part));
    let [hub, device, module] = parts;
    format!("{hub}/{device}/{module}-{}.{ending}", now.strftime("%Y-%m-%d--%H-%M-%S"))
}

/// Tasks that are remembered.
const TASKS_MAX: usize = 100;
/// As the original (er §4.8).
const RETRIES: u32 = 2;
const RETRY_AFTER: Duration = Duration::from_secs(2);
/// Some megabytes over a slow line.
const PUT_DEADLINE: Duration = Duration::from_secs(120);
/// What the original gives a method (er §4.10, `RequestTimeoutSecs`).
const UPLOAD_LIMIT: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_and_wrong_ones_never_repeated() {
        let parse = |url: &str| Target::parse(json!({ "sasUrl": url }).to_string().as_bytes());
        let target = parse("https://a.blob.core.windows.net/logs?sv=1&sig=SECRET%2B").unwrap();
        assert_eq!((target.host.as_str(), target.port), ("a.blob.core.windows.net", 443));
        assert_eq!(target.path_of("x.log"), "/logs/x.log?sv=1&sig=SECRET%2B");
        assert!(!format!("{target:?}").contains("SECRET"));
        let target = parse("https://$upstream:8443/a/b/?sig=SECRET").unwrap();
        assert_eq!(
            (target.host.as_str(), target.port, target.path.as_str()),
            ("$upstream", 8443, "/a/b")
        );
        for url in [
            "",
            "http://a.test/logs?sig=SECRET",
            "https://a.test/?sig=SECRET",
            "https://a.test?sig=SECRET",
            "https://a.test/logs",
            "https://a.test:x/logs?sig=SECRET",
            "https:///logs?sig=SECRET",
            "https://a.test/lo gs?sig=SECRET",
            "https://a.test/logs?sig=SECRET\r\nx: y",
        ] {
            let message = parse(url).unwrap_err();
            assert!(
                message.starts_with("sasUrl") && !message.contains("SECRET"),
                "{url}: {message}"
            );
        }
    }

    #[test]
    fn blobs_are_named_as_the_originals() {
        let origin = Origin { hub: "hub.test".into(), device: "edge 1".into() };
        let log = ModuleLog { module: "edgeHub".into(), bytes: Vec::new() };
        let now = "2026-11-25T09:08:07.6Z".parse().unwrap();
        assert_eq!(
            blob_name(&origin, &log, now, "json.gz"),
            "hub.test/edge%201/edgeHub-2026-11-25--09-08-07.json.gz"
        );
    }

    #[test]
    fn tasks_are_remembered_up_to_a_bound() {
        let tasks = Tasks::default();
        let (first, told) = tasks.begin();
        assert_eq!(
            told,
            json!({"status": "NotStarted", "message": "", "correlationId": first}).to_string()
        );
        tasks.set(&first, Status::Failed, "no".into());
        assert!(
            tasks.status(&first.to_uppercase()).starts_with(r#"{"status":"Failed","message":"no""#)
        );
        assert!(tasks.status("other").starts_with(r#"{"status":"Unknown""#));
        for _ in 0..100 {
            tasks.begin();
        }
        assert!(tasks.status(&first).starts_with(r#"{"status":"Unknown""#));
        assert_eq!(tasks.0.lock().len(), 100);
    }
}
