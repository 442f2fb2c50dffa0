//! The direct methods of `$edgeAgent` (er §4.8): which one is asked for, and what is answered.

use model::ModuleId;
use serde_json::{Value, json};

use crate::logs::LogsRequest;
use crate::observe::module_id;
use crate::upload::Target;

/// What a caller asks for.
#[derive(Debug)]
pub(crate) enum Request {
    /// Whether the agent is there.
    Ping,
    /// To restart a module.
    RestartModule(ModuleId),
    /// Logs of modules.
    Logs(LogsRequest),
    /// The same, put somewhere.
    UploadLogs(LogsRequest, Target),
    /// How a task fares.
    TaskStatus(String),
}

/// Reads a call; otherwise the message for status 400.
pub(crate) fn parse(name: &str, payload: &[u8]) -> Result<Request, String> {
    if name.eq_ignore_ascii_case("ping") {
        return Ok(Request::Ping);
    }
    if name.eq_ignore_ascii_case("GetModuleLogs") {
        return LogsRequest::parse(payload).map(Request::Logs);
    }
    if name.eq_ignore_ascii_case("UploadModuleLogs") {
        let target = Target::parse(payload)?;
        return LogsRequest::parse(payload).map(|request| Request::UploadLogs(request, target));
    }
    if name.eq_ignore_ascii_case("GetTaskStatus") {
        return task(payload).map(Request::TaskStatus);
    }
    if name.eq_ignore_ascii_case("UploadSupportBundle") {
        return Err(
            "UploadSupportBundle is not served; make one with iotedge support-bundle on the \
                    device"
                .into(),
        );
    }
    if !name.eq_ignore_ascii_case("RestartModule") {
        let shown: String = name.chars().take(NAME_CHARS_SHOWN).collect();
        return Err(format!("method {shown:?} is not supported; supported are {SUPPORTED}"));
    }
    let payload: Value = serde_json::from_slice(payload)
        .map_err(|_| format!("payload is not JSON; send {RESTART_EXAMPLE}"))?;
    let field = |name: &str| payload.get(name).and_then(Value::as_str);
    check_schema(&payload)?;
    let id = field("id").ok_or_else(|| format!("id is missing; send {RESTART_EXAMPLE}"))?;
    let module = module_id(id).ok_or_else(|| format!("id {id:?} is not a module id"))?;
    if module == ModuleId::edge_agent() {
        return Err("edgeAgent is part of the edge daemon; restart the daemon instead".into());
    }
    Ok(Request::RestartModule(module))
}

/// The id of the task that is asked about.
fn task(payload: &[u8]) -> Result<String, String> {
    let payload: Value = serde_json::from_slice(payload)
        .map_err(|_| format!("payload is not JSON; send {TASK_EXAMPLE}"))?;
    check_schema(&payload)?;
    let id = payload.get("correlationId").and_then(Value::as_str).unwrap_or_default();
    match id {
        "" => Err(format!("correlationId is missing; send {TASK_EXAMPLE}")),
        id if id.len() > TASK_ID_BYTES_MAX => Err("correlationId is too long".into()),
        id => Ok(id.to_owned()),
    }
}

/// There is one version of payloads.
pub(crate) fn check_schema(payload: &Value) -> Result<(), String> {
    match payload.get("schemaVersion").and_then(Value::as_str) {
        None | Some("1.0") => Ok(()),
        Some(_) => Err("schemaVersion has to be \"1.0\"".into()),
    }
}

/// The body of an error.
pub(crate) fn error_body(message: &str) -> Vec<u8> {
    json!({"message": message}).to_string().into_bytes()
}

/// The body of a success without a result.
pub(crate) const NOTHING: &[u8] = b"null";
pub(crate) const OK: i32 = 200;
pub(crate) const BAD_REQUEST: i32 = 400;
pub(crate) const FAILED: i32 = 500;
const SUPPORTED: &str = "ping, RestartModule, GetModuleLogs, UploadModuleLogs, GetTaskStatus";
const TASK_EXAMPLE: &str = "{\"schemaVersion\":\"1.0\",\"correlationId\":\"<id>\"}";
/// Ids are UUIDs.
const TASK_ID_BYTES_MAX: usize = 100;
const RESTART_EXAMPLE: &str = "{\"schemaVersion\":\"1.0\",\"id\":\"<module>\"}";
const NAME_CHARS_SHOWN: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_known_in_any_case() {
        for (name, payload, expected) in [
            ("ping", "", Ok("Ping")),
            ("PING", "null", Ok("Ping")),
            (
                "restartmodule",
                r#"{"schemaVersion":"1.0","id":"sensor"}"#,
                Ok("RestartModule(\"sensor\")"),
            ),
            (
                "RestartModule",
                r#"{"schemaVersion":"1.0","id":"edgeHub"}"#,
                Ok("RestartModule(\"$edgeHub\")"),
            ),
            ("RestartModule", "", Err("payload is not JSON")),
            ("RestartModule", "{}", Err("id is missing")),
            ("RestartModule", r#"{"id":"a/b"}"#, Err("id \"a/b\" is not a module id")),
            ("RestartModule", r#"{"id":"edgeAgent"}"#, Err("edgeAgent is part of the edge daemon")),
            (
                "RestartModule",
                r#"{"schemaVersion":"2.0","id":"x"}"#,
                Err("schemaVersion has to be"),
            ),
            (
                "Reboot",
                "{}",
                Err("method \"Reboot\" is not supported; supported are ping, RestartModule, GetM"),
            ),
            ("uploadmodulelogs", "{}", Err("sasUrl is missing")),
            ("UploadModuleLogs", r#"{"sasUrl":"https://a/b?c"}"#, Err("items is missing")),
            (
                "UploadModuleLogs",
                r#"{"sasUrl":"https://a/b?c","items":[{"id":"x"}]}"#,
                Ok("UploadLogs("),
            ),
            ("UploadSupportBundle", "{}", Err("UploadSupportBundle is not served; make one with")),
            ("GetTaskStatus", "{}", Err("correlationId is missing")),
            ("gettaskstatus", r#"{"correlationId":"a"}"#, Ok("TaskStatus(\"a\")")),
            ("getmodulelogs", "{}", Err("items is missing")),
            ("GetModuleLogs", r#"{"items":{"id":"x"}}"#, Ok("Logs(")),
        ] {
            match (parse(name, payload.as_bytes()), expected) {
                (Ok(request), Ok(expected)) => {
                    let request = format!("{request:?}");
                    assert!(request.starts_with(expected), "{request}");
                }
                (Err(message), Err(start)) => assert!(message.starts_with(start), "{message}"),
                (got, expected) => panic!("{name}: {got:?}, expected {expected:?}"),
            }
        }
    }
}
