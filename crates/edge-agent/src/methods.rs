//! The direct methods of `$edgeAgent` (er §4.8): which one is asked for, and what is answered.

use model::ModuleId;
use serde_json::{Value, json};

use crate::observe::module_id;

/// What a caller asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// Whether the agent is there.
    Ping,
    /// To restart a module.
    RestartModule(ModuleId),
}

/// Reads a call; otherwise the message for status 400.
pub(crate) fn parse(name: &str, payload: &[u8]) -> Result<Request, String> {
    if name.eq_ignore_ascii_case("ping") {
        return Ok(Request::Ping);
    }
    if !name.eq_ignore_ascii_case("RestartModule") {
        let shown: String = name.chars().take(NAME_CHARS_SHOWN).collect();
        return Err(format!(
            "method {shown:?} is not supported; supported are ping, RestartModule"
        ));
    }
    let payload: Value = serde_json::from_slice(payload)
        .map_err(|_| format!("payload is not JSON; send {RESTART_EXAMPLE}"))?;
    let field = |name: &str| payload.get(name).and_then(Value::as_str);
    match field("schemaVersion") {
        None | Some("1.0") => {}
        Some(_) => return Err("schemaVersion has to be \"1.0\"".into()),
    }
    let id = field("id").ok_or_else(|| format!("id is missing; send {RESTART_EXAMPLE}"))?;
    let module = module_id(id).ok_or_else(|| format!("id {id:?} is not a module id"))?;
    if module == ModuleId::edge_agent() {
        return Err("edgeAgent is part of the edge daemon; restart the daemon instead".into());
    }
    Ok(Request::RestartModule(module))
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
const RESTART_EXAMPLE: &str = "{\"schemaVersion\":\"1.0\",\"id\":\"<module>\"}";
const NAME_CHARS_SHOWN: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_methods_are_known_in_any_case() {
        for (name, payload, expected) in [
            ("ping", "", Ok(Request::Ping)),
            ("PING", "null", Ok(Request::Ping)),
            (
                "restartmodule",
                r#"{"schemaVersion":"1.0","id":"sensor"}"#,
                Ok(Request::RestartModule("sensor".parse().unwrap())),
            ),
            (
                "RestartModule",
                r#"{"schemaVersion":"1.0","id":"edgeHub"}"#,
                Ok(Request::RestartModule(ModuleId::edge_hub())),
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
                "GetModuleLogs",
                "{}",
                Err("method \"GetModuleLogs\" is not supported; supported are ping, RestartModule"),
            ),
        ] {
            match (parse(name, payload.as_bytes()), expected) {
                (Ok(request), Ok(expected)) => assert_eq!(request, expected),
                (Err(message), Err(start)) => assert!(message.starts_with(start), "{message}"),
                (got, expected) => panic!("{name}: {got:?}, expected {expected:?}"),
            }
        }
    }
}
