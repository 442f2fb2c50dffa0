use proptest::prelude::*;

use super::*;

const SIG: &str = "c2lnbmF0dXJlc2lnbmF0dXJlc2lnbmF0dXJlc2lnbmE%3D";

fn token(sr: &str) -> SasToken {
    SasToken::parse(&format!("SharedAccessSignature sr={sr}&sig={SIG}&se=1795454917")).unwrap()
}

fn identity(text: &str) -> IdentityId {
    text.parse().unwrap()
}

#[test]
fn reads_the_orders_of_every_sdk() {
    for (text, name) in [
        // Python device (dp §16.1), Python service, Node service, Node DPS (unencoded).
        (
            format!("SharedAccessSignature sr=localhost%2Fdevices%2Fdev1&sig={SIG}&se=1795454917"),
            None,
        ),
        (
            format!("SharedAccessSignature sr=h&sig={SIG}&se=1795454917&skn=iothubowner"),
            Some("iothubowner"),
        ),
        (
            format!("SharedAccessSignature sr=h&sig={SIG}&skn=service&se=1795454917"),
            Some("service"),
        ),
        (
            format!(
                "SharedAccessSignature sr=0ne00000001/registrations/reg-1&sig={SIG}&skn=registration&se=1795454917"
            ),
            Some("registration"),
        ),
        (format!("SharedAccessSignature se=1795454917&sr=h&x=1&skn=&sig={SIG}"), None),
    ] {
        let token = SasToken::parse(&text).unwrap();
        assert_eq!(token.key_name(), name, "{text}");
        assert_eq!(token.expires_at().as_second(), 1_795_454_917);
        assert_eq!(token.signature(), b"signaturesignaturesignaturesigna");
    }
}

#[test]
fn signature_text_is_taken_in_every_spelling() {
    // Base64 of 32 times 0xfb is all `+` and `/`, which is where the spellings differ.
    let bytes = [0xfb; SIGNATURE_BYTES];
    let plain = STANDARD.encode(bytes);
    assert!(plain.contains('+') && plain.ends_with('='), "{plain}");
    for sig in [
        plain.clone(),
        plain.trim_end_matches('=').to_owned(),
        plain.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D"),
        plain.replace('+', "%2b").replace('=', "%3d"),
    ] {
        let text = format!("SharedAccessSignature sr=h&sig={sig}&se=1");
        assert_eq!(SasToken::parse(&text).unwrap().signature(), &bytes, "{sig}");
    }
    for sig in ["", "YQ==", "+/8=", &STANDARD.encode([7; 33]), &plain.replace('+', "%20")] {
        let text = format!("SharedAccessSignature sr=h&sig={sig}&se=1");
        assert!(SasToken::parse(&text).is_err(), "{sig}");
    }
}

#[test]
fn malformed_tokens_are_refused_with_the_field() {
    let ok = format!("sr=h&sig={SIG}&se=1");
    for (text, error) in [
        (String::new(), SasError::Scheme),
        ("Bearer x".into(), SasError::Scheme),
        (format!("SharedAccessSignature{ok}"), SasError::Scheme),
        (format!("SharedAccessSignature  {ok}"), SasError::Missing("sr")),
        (format!("SharedAccessSignature sig={SIG}&se=1"), SasError::Missing("sr")),
        ("SharedAccessSignature sr=h&se=1".into(), SasError::Missing("sig")),
        (format!("SharedAccessSignature sr=h&sig={SIG}"), SasError::Missing("se")),
        (format!("SharedAccessSignature sr=h&sig={SIG}&se="), SasError::Missing("se")),
        (format!("SharedAccessSignature sr=h&sig={SIG}&se=-1"), SasError::Expiry),
        (format!("SharedAccessSignature sr=h&sig={SIG}&se=+1"), SasError::Expiry),
        (format!("SharedAccessSignature sr=h&sig={SIG}&se=1e9"), SasError::Expiry),
        (
            format!("SharedAccessSignature sr=h&sig={SIG}&se=99999999999999999999999"),
            SasError::Expiry,
        ),
        ("SharedAccessSignature sr=h&sig=*&se=1".into(), SasError::Signature),
        (format!("SharedAccessSignature {ok}&sr=h"), SasError::Duplicate("sr")),
        (format!("SharedAccessSignature {ok}&se=2"), SasError::Duplicate("se")),
        (format!("SharedAccessSignature {ok}&sig=x"), SasError::Duplicate("sig")),
        (format!("SharedAccessSignature {ok}&skn=a&skn=b"), SasError::Duplicate("skn")),
        ("x".repeat(TOKEN_BYTES_MAX + 1), SasError::TooLong(TOKEN_BYTES_MAX + 1)),
    ] {
        assert_eq!(SasToken::parse(&text), Err(error), "{text}");
    }
}

#[test]
fn a_far_expiry_is_the_end_of_the_calendar() {
    for se in ["1795454917000", "18446744073709551615"] {
        let text = format!("SharedAccessSignature sr=h&sig={SIG}&se={se}");
        assert_eq!(SasToken::parse(&text).unwrap().expires_at(), Timestamp::MAX);
    }
}

#[test]
fn string_to_sign_keeps_the_raw_text() {
    for sr in ["h%2fdevices%2fd", "h%2Fdevices%2Fd", "h/devices/d", "h%2Fdevices%2Fa+b"] {
        assert_eq!(token(sr).string_to_sign(), format!("{sr}\n1795454917"));
    }
}

#[test]
fn the_resource_covers_itself_and_what_lies_below() {
    let hosts = ["hub.example.org", "localhost"];
    let d = identity("Dev1");
    let m = identity("Dev1/Mod1");
    for (sr, device, module) in [
        ("localhost%2Fdevices%2FDev1", true, true),
        ("localhost%2fdevices%2fdev1", true, true), // identityd lower-cases everything
        ("hub.example.org%2Fdevices%2FDev1", true, true), // an alias
        ("LOCALHOST/devices/Dev1/", true, true),
        ("localhost", true, true),
        ("localhost%3A18883%2Fdevices%2FDev1", true, true), // Node's HostName with a port
        ("https%3A%2F%2Flocalhost%2Fdevices%2FDev1", true, true),
        ("amqps://localhost:5671/devices/Dev1", true, true),
        ("localhost%2Fdevices%2FDev1%2Fapi-version%3D2016-11-14", true, true),
        ("localhost/api-version=2016-11-14", true, true),
        ("localhost%2Fdevices%2FDev1%2Fmodules%2FMod1", false, true),
        ("localhost%2Fdevices%2FDev", false, false), // a prefix, but not of segments
        ("localhost%2Fdevices%2FDev11", false, false),
        ("localhost%2Fdevices%2FDev1%2Fmodules%2FMod2", false, false),
        ("localhost%2Ftwins%2FDev1", false, false),
        ("elsewhere%2Fdevices%2FDev1", false, false),
        ("local%2Fdevices%2FDev1", false, false),
        ("%ff", false, false),
        ("%2F", false, false),
    ] {
        let token = token(sr);
        assert_eq!(token.covers_identity(&hosts, &d, IdMatch::IgnoreCase), device, "{sr}");
        assert_eq!(token.covers_identity(&hosts, &m, IdMatch::IgnoreCase), module, "{sr}");
    }
}

#[test]
fn a_policy_token_names_ids_exactly() {
    let hosts = ["localhost"];
    let d = identity("Dev1");
    assert!(token("localhost/DEVICES/Dev1").covers_identity(&hosts, &d, IdMatch::Exact));
    assert!(token("LocalHost").covers_identity(&hosts, &d, IdMatch::Exact));
    assert!(!token("localhost/devices/dev1").covers_identity(&hosts, &d, IdMatch::Exact));
    assert!(token("localhost/messages/events").covers(
        &hosts,
        &["messages", "events", "x"],
        IdMatch::Exact
    ));
    assert!(!token("localhost/devices/d").covers(&hosts, &[], IdMatch::Exact));
}

#[test]
fn a_device_named_like_the_version_tail_is_only_itself() {
    let hosts = ["localhost"];
    let odd = token("localhost/devices/api-version=1");
    assert!(odd.covers_identity(&hosts, &identity("api-version=1"), IdMatch::Exact));
    assert!(!odd.covers_identity(&hosts, &identity("other"), IdMatch::Exact));
    let module = token("localhost/devices/d/modules/api-version=1");
    assert!(!module.covers_identity(&hosts, &identity("d/m"), IdMatch::Exact));
}

#[test]
fn our_configured_name_may_have_a_port() {
    let d = identity("d");
    assert!(token("localhost/devices/d").covers_identity(&["localhost:18443"], &d, IdMatch::Exact));
    assert!(token("[::1]:8443/devices/d").covers_identity(&["[::1]"], &d, IdMatch::Exact));
}

#[test]
fn debug_text_has_no_signature() {
    assert!(!format!("{:?}", token("h")).contains("c2ln"));
}

#[test]
fn builds_the_tokens_that_were_recorded() {
    let at = Timestamp::from_second(1_795_454_917).unwrap();
    let request = TokenRequest::for_identity("localhost", &identity("dev1"), at);
    assert_eq!(request.string_to_sign(), "localhost%2Fdevices%2Fdev1\n1795454917");
    assert_eq!(
        request.finish(b"signaturesignaturesignaturesigna", None),
        format!("SharedAccessSignature sr=localhost%2Fdevices%2Fdev1&sig={SIG}&se=1795454917")
    );
    let request = TokenRequest::for_identity("localhost", &identity("dev1/mod1"), at);
    assert!(request.string_to_sign().starts_with("localhost%2Fdevices%2Fdev1%2Fmodules%2Fmod1\n"));
    let text = TokenRequest::for_host("localhost:8443", at).finish(&[7; 32], Some("iothubowner"));
    assert!(text.starts_with("SharedAccessSignature sr=localhost%3A8443&sig="), "{text}");
    assert!(text.ends_with("&se=1795454917&skn=iothubowner"), "{text}");
}

proptest! {
    #[test]
    fn what_is_built_reads_back_and_covers_its_identity(
        device in "[A-Za-z0-9:.+%_#*?!(),=@;$'-]{1,40}",
        module in proptest::option::of("[A-Za-z0-9:.+%_#*?!(),=@;$'-]{1,40}"),
        signature in any::<[u8; 32]>(),
        seconds in 0i64..253_000_000_000,
        name in proptest::option::of("[a-zA-Z0-9_@.-]{1,20}"),
    ) {
        let text = module.map_or(device.clone(), |module| format!("{device}/{module}"));
        let identity = identity(&text);
        let at = Timestamp::from_second(seconds).unwrap();
        let request = TokenRequest::for_identity("hub.example.org", &identity, at);
        let token = SasToken::parse(&request.finish(&signature, name.as_deref())).unwrap();
        prop_assert_eq!(token.signature(), &signature);
        prop_assert_eq!(token.expires_at(), at);
        prop_assert_eq!(token.key_name(), name.as_deref());
        prop_assert_eq!(token.string_to_sign(), request.string_to_sign());
        prop_assert!(token.covers_identity(&["HUB.example.org"], &identity, IdMatch::Exact));
    }

    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,100}") {
        if let Ok(token) = SasToken::parse(&format!("SharedAccessSignature {text}")) {
            let _ = token.covers(&["localhost"], &["devices", "d"], IdMatch::IgnoreCase);
        }
    }
}

#[test]
fn a_token_tells_what_it_is_for() {
    let sig = "sig=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA%3D&se=1";
    for (resource, identity, for_events) in [
        ("hub.test%2Fdevices%2Fd", Some("d"), false),
        ("hub.test/devices/d/modules/m", Some("d/m"), false),
        ("hub.test%2fDevices%2Fa%2523%2FModules%2F%24edgeHub", Some("a%23/$edgeHub"), false),
        ("amqps://hub.test:5671/devices/d/api-version=2016-11-14", Some("d"), false),
        ("hub.test", None, false),
        ("hub.test%2Fdevices", None, false),
        ("hub.test%2Fmessages%2Fevents", None, false),
        ("sb%3A%2F%2Fhub.test%2Fhub", None, true),
        ("SB://hub.test/hub", None, true),
    ] {
        let token = SasToken::parse(&format!("SharedAccessSignature sr={resource}&{sig}")).unwrap();
        assert_eq!(token.identity().map(|id| id.to_string()).as_deref(), identity, "{resource}");
        assert_eq!(token.is_for_events(), for_events, "{resource}");
    }
}
