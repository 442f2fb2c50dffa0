//! `farshore method`: direct methods, called and answered while the caller waits.

use std::time::Duration;

use model::limits::{
    METHOD_CONNECT_TIMEOUT_MAX_S, METHOD_NAME_LENGTH_MAX, METHOD_RESPONSE_TIMEOUT_S,
};
use model::method::MethodRequest;
use serde::Serialize;
use serde_json::value::RawValue;

use super::connection::Connection;
use super::failure::failed;
use super::input::Target;
use crate::commands::{Failure, USAGE};
use crate::output::Output;

/// Arguments of `farshore method`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    output: Output,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Call a method and print the answer
    Invoke(Invoke),
}

#[derive(Debug, clap::Args)]
struct Invoke {
    #[command(flatten)]
    target: Target,
    /// Method to call
    #[arg(long, value_name = "NAME")]
    name: String,
    /// What it gets; null when not given
    #[arg(long, value_name = "JSON")]
    payload: Option<String>,
    /// How many seconds it may take to answer
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    timeout: u64,
    /// How many seconds to wait for it to connect
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    connect_timeout: u64,
}

impl Invoke {
    fn request(&self) -> Result<MethodRequest, Failure> {
        let wrong = |text: String| Err(Failure::new(USAGE, text));
        if self.name.is_empty() || self.name.chars().count() > METHOD_NAME_LENGTH_MAX {
            return wrong(format!("--name has to have 1 to {METHOD_NAME_LENGTH_MAX} characters"));
        }
        let (low, high) = (METHOD_RESPONSE_TIMEOUT_S.start(), METHOD_RESPONSE_TIMEOUT_S.end());
        if !METHOD_RESPONSE_TIMEOUT_S.contains(&self.timeout) {
            return wrong(format!("--timeout is not within {low} to {high} seconds"));
        }
        if self.connect_timeout > METHOD_CONNECT_TIMEOUT_MAX_S {
            let most = METHOD_CONNECT_TIMEOUT_MAX_S;
            return wrong(format!("--connect-timeout is not within 0 to {most} seconds"));
        }
        let payload = self.payload.as_deref().unwrap_or("null");
        if let Err(error) = serde_json::from_str::<&RawValue>(payload) {
            return wrong(format!(
                "--payload is not JSON: {error}; a text needs quotes: '\"text\"'"
            ));
        }
        Ok(MethodRequest {
            name: self.name.clone(),
            payload: payload.to_owned().into(),
            response_timeout: Duration::from_secs(self.timeout),
            connect_timeout: Duration::from_secs(self.connect_timeout),
        })
    }
}

/// The answer as it is printed.
#[derive(Serialize)]
struct Answer {
    status: i32,
    payload: Box<RawValue>,
}

pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let Verb::Invoke(invoke) = &arguments.verb;
    let request = invoke.request()?;
    let hub = arguments.connection.hub()?;
    let answer = hub.client.invoke_method(&invoke.target.identity(), &request).await;
    let answer = answer.map_err(failed)?;
    let payload = String::from_utf8_lossy(&answer.payload);
    let payload = match payload.trim() {
        "" => "null".to_owned(),
        text => text.to_owned(),
    };
    let payload = RawValue::from_string(payload)?;
    arguments.output.document(&Answer { status: answer.status, payload })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invoke(change: impl FnOnce(&mut Invoke)) -> Result<MethodRequest, Failure> {
        let target = <crate::Arguments as clap::Parser>::try_parse_from([
            "farshore",
            "method",
            "invoke",
            "d",
            "--module",
            "$edgeAgent",
            "--name",
            "ping",
        ]);
        let command = target.unwrap().command;
        let crate::Command::Operator(super::super::Command::Method(arguments)) = command else {
            panic!("another command");
        };
        let Verb::Invoke(mut invoke) = arguments.verb;
        change(&mut invoke);
        invoke.request()
    }

    #[test]
    fn a_call_without_payload_sends_null() {
        let request = invoke(|_| {}).unwrap();
        assert_eq!(request.payload, "null");
        assert_eq!(request.response_timeout, Duration::from_secs(30));
        assert!(request.connect_timeout.is_zero());
    }

    #[test]
    fn what_the_hub_would_refuse_is_refused_here() {
        type Edit = fn(&mut Invoke);
        let cases: [(Edit, &str); 5] = [
            (|invoke| invoke.name.clear(), "--name"),
            (|invoke| invoke.timeout = 4, "--timeout"),
            (|invoke| invoke.timeout = 301, "5 to 300"),
            (|invoke| invoke.connect_timeout = 301, "--connect-timeout"),
            (|invoke| invoke.payload = Some("text".into()), "quotes"),
        ];
        for (edit, says) in cases {
            let failure = invoke(edit).unwrap_err();
            assert!(failure.message().unwrap().contains(says), "{failure:?}");
            assert_eq!(failure.code(), USAGE);
        }
    }
}
