use proptest::prelude::*;

use super::*;

const PYTHON: &str =
    "azure-iot-device-iothub-py%2F2.14.0%283.11.7%3BLinux%20%231%20SMP%3Bx86_64%29";

fn parse(client_id: &str, user_name: &str) -> ConnectName {
    ConnectName::parse(client_id, user_name).unwrap()
}

#[test]
fn reads_recorded_user_names() {
    let name =
        parse("dev1", &format!("localhost/dev1/?api-version=2019-10-01&DeviceClientType={PYTHON}"));
    assert_eq!(name.host, "localhost");
    assert_eq!(name.identity.to_string(), "dev1");
    assert_eq!(name.api_version.as_deref(), Some("2019-10-01"));
    assert_eq!(
        name.client_type.as_deref(),
        Some("azure-iot-device-iothub-py/2.14.0(3.11.7;Linux #1 SMP;x86_64)")
    );
    let name = parse(
        "dev1/mod1",
        "localhost:18883/dev1/mod1/?api-version=2021-04-12&DeviceClientType=azure-iot-device%2F1.18.4%20(node%20v20.20.2%3B%20x64)&model-id=dtmi%3Acom%3Aexample%3AThermostat%3B1",
    );
    assert_eq!(name.host, "localhost:18883");
    assert_eq!(name.identity.to_string(), "dev1/mod1");
    assert_eq!(name.client_type.as_deref(), Some("azure-iot-device/1.18.4 (node v20.20.2; x64)"));
    assert_eq!(name.model_id.as_deref(), Some("dtmi:com:example:Thermostat;1"));
}

#[test]
fn reads_the_forms_without_a_question_mark() {
    for user_name in ["h/d", "h/d/", "h/d/?"] {
        assert_eq!(parse("d", user_name).api_version, None, "{user_name}");
    }
    let name = parse("d", "h/d/api-version=2016-11-14&DeviceClientType=c%2F1");
    assert_eq!(name.api_version.as_deref(), Some("2016-11-14"));
    assert_eq!(name.client_type.as_deref(), Some("c/1"));
    let name = parse(
        "d/m",
        "h/d/m/api-version=2017-06-30/DeviceClientType=Microsoft.Azure.Devices.Client/1.5.1-preview-003",
    );
    assert_eq!(name.api_version.as_deref(), Some("2017-06-30"));
    assert_eq!(
        name.client_type.as_deref(),
        Some("Microsoft.Azure.Devices.Client/1.5.1-preview-003")
    );
}

#[test]
fn the_first_duplicate_wins_and_strangers_are_ignored() {
    let name = parse("d", "h/d/?x=y&api-version=1&api-version=2&z&model-id=");
    assert_eq!(name.api_version.as_deref(), Some("1"));
    assert_eq!(name.model_id, None);
}

#[test]
fn what_does_not_go_together_is_refused() {
    use ConnectError as E;
    let mismatch = |client_id: &str| E::Mismatch { client_id: client_id.into() };
    for (client_id, user_name, error) in [
        ("d", "", E::NoHost),
        ("d", "h", E::NoHost),
        ("d", "/d/?api-version=1", E::NoHost),
        ("d", "h/e/?api-version=1", mismatch("d")),
        ("d", "h/D/?api-version=1", mismatch("d")),
        ("d", "h/dd/?api-version=1", mismatch("d")),
        ("d", "h/d/m/?api-version=1", mismatch("d")),
        ("d", "h/d/m", mismatch("d")),
        ("d/m", "h/d/?api-version=1", mismatch("d/m")),
        ("d/m", "h/d", mismatch("d/m")),
    ] {
        assert_eq!(ConnectName::parse(client_id, user_name), Err(error), "{client_id} {user_name}");
    }
    for client_id in ["", "a/b/c", "d/", "/m", "a b", "ü"] {
        assert!(
            matches!(
                ConnectName::parse(client_id, &format!("h/{client_id}/")),
                Err(E::ClientId(_))
            ),
            "{client_id}"
        );
    }
    let long = format!("h/d/?x={}", "y".repeat(USER_NAME_BYTES_MAX));
    assert_eq!(ConnectName::parse("d", &long), Err(E::TooLong(long.len())));
}

#[test]
fn chains_name_target_and_actor() {
    for (text, target, actor) in [
        ("leaf1;edgeL4;edgeL5", "leaf1", "edgeL5"),
        ("edgeL4/$edgeHub;edgeL4;edgeL5", "edgeL4/$edgeHub", "edgeL5"),
        ("edge", "edge", "edge"),
    ] {
        let chain: AuthChain = text.parse().unwrap();
        assert_eq!(chain.target().to_string(), target);
        assert_eq!(chain.actor().as_str(), actor);
        assert_eq!(chain.to_string(), text);
    }
    let name = parse("leaf", "h/leaf/?api-version=1&auth-chain=leaf%3Bedge");
    assert_eq!(name.auth_chain.unwrap().to_string(), "leaf;edge");
    for text in ["", ";", "a;;b", "a;b/$edgeHub", "a b", "a;b;c;d;e;f;g;h"] {
        assert!(text.parse::<AuthChain>().is_err(), "{text}");
    }
    let odd = "a;b".parse().map(IdentityId::device).unwrap();
    assert_eq!(AuthChain::new(vec![odd]), Err(AuthChainError::Separator("a;b".into())));
}

const ID: &str = "[A-Za-z0-9:.+%_#*?!(),=@$;'-]{1,40}";

proptest! {
    #[test]
    fn names_read_back_with_any_legal_id(
        device in ID,
        module in proptest::option::of(ID),
        api_version in proptest::option::of("20[0-9]{2}-[01][0-9]-[0-3][0-9]"),
        client_type in proptest::option::of("\\PC{1,20}"),
        model_id in proptest::option::of("dtmi:[a-z]{1,8};1"),
        chain in proptest::option::of("[a-z#?%&+]{1,8}(;[a-z]{1,8}){0,5}"),
    ) {
        let name = ConnectName {
            host: "hub.example.org".into(),
            identity: IdentityId {
                device: device.parse().unwrap(),
                module: module.map(|m| m.parse().unwrap()),
            },
            api_version,
            client_type,
            model_id,
            auth_chain: chain.and_then(|chain| chain.parse().ok()),
        };
        let read = ConnectName::parse(&name.client_id(), &name.user_name()).unwrap();
        prop_assert_eq!(read, name);
    }

    #[test]
    fn no_text_makes_it_panic(client_id in "\\PC{0,20}", user_name in "\\PC{0,60}") {
        let _ = ConnectName::parse(&client_id, &user_name);
    }
}
