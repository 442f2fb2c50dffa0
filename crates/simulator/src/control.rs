//! Messages on the input `control`: `{"command":"reset"}`, or a list of such.
//!
//! Spec: `tools.md` §3.3. Commands are names (in any case) or their numbers. What cannot be
//! understood is told and nothing else happens; the original ends on some of it. Pure.

use serde_json::Value;

/// The input that is listened to.
pub const INPUT: &str = "control";

/// What a message asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Put the machine back to its minimum.
    Reset,
    /// Nothing.
    NoOperation,
}

/// Reads the commands of a message's body.
pub fn parse(body: &[u8]) -> Result<Vec<Command>, String> {
    let value: Value = serde_json::from_slice(body).map_err(|error| format!("no JSON: {error}"))?;
    match &value {
        Value::Array(list) => list.iter().map(command).collect(),
        one => Ok(vec![command(one)?]),
    }
}

fn command(value: &Value) -> Result<Command, String> {
    let name = value.as_object().and_then(|object| {
        let field = object.iter().find(|(key, _)| key.eq_ignore_ascii_case("command"));
        field.map(|(_, value)| value)
    });
    match name {
        Some(Value::String(text)) if text.eq_ignore_ascii_case("reset") => Ok(Command::Reset),
        Some(Value::String(text)) if text.eq_ignore_ascii_case("noOperation") => {
            Ok(Command::NoOperation)
        }
        Some(Value::Number(number)) if number.as_u64() == Some(0) => Ok(Command::Reset),
        Some(Value::Number(number)) if number.as_u64() == Some(1) => Ok(Command::NoOperation),
        _ => {
            Err(r#"no known command; write {"command":"reset"} or {"command":"noOperation"}"#
                .into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_single_commands_lists_and_numbers() {
        use Command::{NoOperation, Reset};
        for (body, commands) in [
            (r#"{"command":"reset"}"#, vec![Reset]),
            (r#"{"Command":"Reset"}"#, vec![Reset]),
            (r#"{"command":0}"#, vec![Reset]),
            (r#"{"command":"noOperation"}"#, vec![NoOperation]),
            (r#"{"command":1}"#, vec![NoOperation]),
            (r#"[{"command":"reset"},{"command":1}]"#, vec![Reset, NoOperation]),
            ("[]", vec![]),
        ] {
            assert_eq!(parse(body.as_bytes()), Ok(commands), "{body}");
        }
        for body in
            ["", "reset", "{}", r#"{"command":"explode"}"#, r#"{"command":2}"#, "[1]", "\u{1}"]
        {
            assert!(parse(body.as_bytes()).is_err(), "{body}");
        }
        assert!(parse(&[0xff]).is_err());
    }
}
