use super::*;

fn tracking() -> Tracking<'static> {
    Tracking {
        id: "e4cb4b6c18f4462fbe2c1a2d02d7dbe4",
        time: "2016-07-16T00:12:41Z".parse().unwrap(),
    }
}

#[test]
fn the_catalogue_is_sorted_and_its_names_are_unique() {
    assert!(CODES.windows(2).all(|pair| pair[0].number < pair[1].number));
    for code in CODES {
        assert_eq!(Code::from_number(code.number), Some(*code));
        assert_eq!(Code::from_name(code.name), Some(*code), "{}", code.name);
        assert_eq!(u32::from(code.status().as_u16()), code.number / 1000);
    }
    assert!(CODES.len() > 150);
    assert_eq!(Code::from_number(404_999), None);
}

#[test]
fn every_fault_has_the_code_of_its_own_name() {
    for (kind, number, condition) in KINDS {
        let code = code(*kind);
        assert_eq!(code.number, *number);
        assert_eq!(code.name, format!("{kind:?}"));
        assert_eq!(code.kind(), Some(*kind));
        assert_eq!(amqp_condition(*kind), *condition);
        assert!(!reason_phrase(code.status()).is_empty());
    }
    // Every case of the model stands in the table: the source is the list to compare with.
    let source = include_str!("../../../model/src/error.rs");
    let body = source.split("pub enum FaultKind {").nth(1).unwrap().split('}').next().unwrap();
    let cases: Vec<&str> = body
        .lines()
        .map(|line| line.trim().trim_end_matches(','))
        .filter(|line| !line.is_empty() && !line.starts_with("//") && !line.starts_with('#'))
        .collect();
    for case in &cases {
        assert!(KINDS.iter().any(|(kind, ..)| format!("{kind:?}") == *case), "{case} has no code");
    }
    assert_eq!(cases.len(), KINDS.len());
}

#[test]
fn the_named_form_is_the_recorded_one() {
    let fault = Fault::new(FaultKind::DeviceAlreadyExists, "Conflict");
    assert_eq!(
        error_body(&fault, tracking()),
        r#"{"Message":"ErrorCode:DeviceAlreadyExists;Conflict","ExceptionMessage":"Tracking ID:e4cb4b6c18f4462fbe2c1a2d02d7dbe4-G:0-TimeStamp:07/16/2016 00:12:41"}"#
    );
}

#[test]
fn the_method_form_is_json_in_json() {
    let text = "The operation failed because the requested device isn't online.";
    let body = error_body(&Fault::new(FaultKind::DeviceNotOnline, text), tracking());
    let outer: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(outer["ExceptionMessage"], "");
    let inner: Value = serde_json::from_str(outer["Message"].as_str().unwrap()).unwrap();
    assert_eq!(inner["errorCode"], 404_103);
    assert_eq!(inner["message"], text);
    assert_eq!(inner["timestampUtc"], "2016-07-16T00:12:41.0000000Z");
    assert_eq!(inner["trackingId"], "e4cb4b6c18f4462fbe2c1a2d02d7dbe4");
}

#[test]
fn twin_errors_always_have_an_error_code() {
    let body = twin_error_body(&Fault::argument("bad key"), tracking());
    assert_eq!(
        body,
        r#"{"errorCode":400004,"message":"bad key","trackingId":"e4cb4b6c18f4462fbe2c1a2d02d7dbe4","timestampUtc":"2016-07-16T00:12:41.0000000Z"}"#
    );
}

#[test]
fn both_forms_and_the_header_agree_for_every_kind() {
    for (kind, number, _) in KINDS {
        let fault = Fault::new(*kind, "text; with: separators");
        let status = http_status(*kind);
        for body in [error_body(&fault, tracking()), twin_error_body(&fault, tracking())] {
            let answer = ErrorAnswer::read(status, None, body.as_bytes());
            assert_eq!(answer.code.map(|code| code.number), Some(*number));
            assert_eq!(answer.kind(), Some(*kind));
            assert_eq!(answer.message, fault.detail);
        }
    }
}

#[test]
fn the_client_end_reads_what_other_servers_send() {
    let status = StatusCode::FORBIDDEN;
    for (header, body, shown) in [
        (None, &br#"{"message":"forbidden"}"#[..], "403: forbidden"),
        (None, br#"{"errorMessage":"offline"}"#, "403: offline"),
        (None, br#"{"ErrorMessage":"out of scope"}"#, "403: out of scope"),
        (Some("DeviceDisabled"), b"", "403 DeviceDisabled: Forbidden"),
        (Some("Nonsense"), b"<html>", "403: Forbidden"),
        (None, br#"{"Message":"plain text"}"#, "403: plain text"),
        (None, br#"{"Message":"12"}"#, "403: 12"),
        (None, br#"{"Message":7}"#, "403: Forbidden"),
        (
            None,
            br#"{"errorCode":401002,"trackingId":"x","message":"Unauthorized"}"#,
            "403 IotHubUnauthorizedAccess: Unauthorized",
        ),
    ] {
        assert_eq!(ErrorAnswer::read(status, header, body).to_string(), shown);
    }
}

#[test]
fn connack_is_never_four_and_passing_faults_are_three() {
    for (kind, connack_expected) in [
        (FaultKind::IotHubUnauthorized, Connack::NotAuthorized),
        (FaultKind::IotHubUnauthorizedAccess, Connack::NotAuthorized),
        (FaultKind::DeviceNotFound, Connack::NotAuthorized),
        (FaultKind::DeviceDisabled, Connack::NotAuthorized),
        (FaultKind::ArgumentInvalid, Connack::IdentifierRejected),
        (FaultKind::ThrottlingException, Connack::ServerUnavailable),
        (FaultKind::ServiceUnavailable, Connack::ServerUnavailable),
        (FaultKind::ServerError, Connack::ServerUnavailable),
    ] {
        assert_eq!(connack(kind), connack_expected, "{kind:?}");
    }
    for (kind, ..) in KINDS {
        assert_ne!(connack(*kind) as u8, 4);
    }
}

/// dp §4.9 and §11.2: what may pass must not look final to an SDK, and the other way round.
#[test]
fn conditions_tell_sdks_whether_to_try_again() {
    for (kind, condition) in [
        (FaultKind::IotHubUnauthorized, "amqp:unauthorized-access"),
        (FaultKind::DeviceDisabled, "amqp:unauthorized-access"),
        (FaultKind::DeviceNotFound, "amqp:not-found"),
        (FaultKind::DeviceMaximumQueueDepthExceeded, "amqp:resource-limit-exceeded"),
        (FaultKind::MessageTooLarge, "amqp:link:message-size-exceeded"),
        (FaultKind::ThrottlingException, "com.microsoft:device-container-throttled"),
        (FaultKind::ServiceUnavailable, "amqp:internal-error"),
        (FaultKind::DeviceMessageLockLost, "com.microsoft:message-lock-lost"),
        (FaultKind::ArgumentInvalid, "com.microsoft:argument-error"),
    ] {
        assert_eq!(amqp_condition(kind), condition);
    }
    let fault = Fault::new(FaultKind::DeviceNotFound, "no device \"d\"");
    let error = amqp_error(&fault, tracking());
    assert_eq!(
        error.description.as_deref(),
        Some(
            "ErrorCode:DeviceNotFound;no device \"d\" TrackingId:e4cb4b6c18f4462fbe2c1a2d02d7dbe4"
        )
    );
    let id = error.info.get("com.microsoft:tracking-id").and_then(amqp::Value::as_text);
    assert_eq!(id, Some("e4cb4b6c18f4462fbe2c1a2d02d7dbe4"));
}
