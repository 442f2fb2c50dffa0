//! What a refused or failed call means for whoever typed the command: words, next step, exit code
//! (`tools.md` §9.1).

use client::dial::{DialError, chain};
use client::service::RestError;

use crate::commands::{CONFLICT, DENIED, FAILED, Failure, NOT_FOUND, UNREACHABLE, USAGE};
use crate::output::harmless;

/// The failure of a command whose call failed.
pub(crate) fn failed(error: RestError) -> Failure {
    let mut message = plain(&error);
    if let Some(hint) = hint(&error) {
        message.push_str("\n  ");
        message.push_str(hint);
    }
    Failure::new(exit_code(&error), message)
}

/// What happened, without a next step.
pub(super) fn plain(error: &RestError) -> String {
    harmless(&chain(error)).into_owned()
}

fn exit_code(error: &RestError) -> u8 {
    match error {
        RestError::Dial(_) | RestError::Http { .. } => UNREACHABLE,
        RestError::Sign { .. } | RestError::Request(_) => USAGE,
        RestError::Answer { answer, .. } => status_code(answer.status.as_u16()),
        _ => FAILED,
    }
}

fn status_code(status: u16) -> u8 {
    match status {
        404 => NOT_FOUND,
        401 | 403 => DENIED,
        409 | 412 => CONFLICT,
        _ => FAILED,
    }
}

fn hint(error: &RestError) -> Option<&'static str> {
    if let RestError::Dial(dial) = error
        && matches!(**dial, DialError::Tls { .. })
    {
        return Some(NAME_CA);
    }
    Some(match error.code_name()? {
        "DeviceNotFound" => "list the devices with: farshore device list",
        "ModuleNotFound" => "list the modules of a device with: farshore module list <device>",
        "DeviceNotOnline" => "it is not connected; wait for it with --connect-timeout <seconds>",
        "GatewayTimeout" => "it did not answer in time; give it longer with --timeout <seconds>",
        "DeviceAlreadyExists" | "ModuleAlreadyExistsOnDevice" => {
            "it exists already; show it with: farshore device show <device>"
        }
        "PreconditionFailed" | "DeviceEtagMismatch" => {
            "somebody else changed it meanwhile; look at it and try again"
        }
        "IotHubUnauthorizedAccess" | "IotHubUnauthorized" | "GenericUnauthorized" => CHECK_POLICY,
        "DeviceMaximumQueueDepthExceeded" => {
            "messages wait for the device to connect; remove them with: farshore c2d purge <device>"
        }
        _ => return None,
    })
}

/// The next step when the server's certificate is not trusted.
pub(super) const NAME_CA: &str = "name the hub's CA file with --ca, or FARSHORE_CA";
/// The next step when a policy's token is refused.
pub(super) const CHECK_POLICY: &str = "check name, key and rights of the policy in --login";

#[cfg(test)]
mod tests {
    use super::*;
    use client::Dial;
    use host::http::StatusCode;
    use iot_proto::status::ErrorAnswer;

    fn answer(status: u16, name: &str) -> RestError {
        let status = StatusCode::from_u16(status).unwrap();
        let body = format!(r#"{{"Message":"ErrorCode:{name};words"}}"#);
        let answer = ErrorAnswer::read(status, Some(name), body.as_bytes());
        RestError::Answer {
            dial: Dial::new("hub", 443),
            answer: Box::new(answer),
            tracking_id: Some("t1".into()),
        }
    }

    #[test]
    fn exit_codes_are_those_of_the_table() {
        for (status, name, code) in [
            (404, "DeviceNotFound", NOT_FOUND),
            (404, "DeviceNotOnline", NOT_FOUND),
            (401, "IotHubUnauthorizedAccess", DENIED),
            (403, "DeviceMaximumQueueDepthExceeded", DENIED),
            (409, "DeviceAlreadyExists", CONFLICT),
            (412, "PreconditionFailed", CONFLICT),
            (400, "ArgumentInvalid", FAILED),
            (500, "ServerError", FAILED),
        ] {
            let failure = failed(answer(status, name));
            assert_eq!(failure.code(), code, "{name}");
            let message = failure.message().unwrap();
            assert!(message.contains(name) && message.contains("tracking id t1"), "{message}");
        }
        let unreachable = DialError::Network {
            dial: Dial::new("hub", 443),
            source: host::net::NetError::Deadline {
                peer: "hub:443".into(),
                limit: std::time::Duration::from_secs(1),
            },
        };
        assert_eq!(failed(RestError::Dial(Box::new(unreachable))).code(), UNREACHABLE);
        assert_eq!(failed(RestError::Request("x".into())).code(), USAGE);
    }

    #[test]
    fn a_refusal_names_the_next_step() {
        let failure = failed(answer(404, "DeviceNotFound"));
        assert!(
            failure.message().unwrap().ends_with("list the devices with: farshore device list")
        );
    }
}
