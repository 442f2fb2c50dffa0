use proptest::prelude::*;

use super::*;

const KEY: &str = "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s=";

fn device(text: &str) -> Result<DeviceConnectionString, ConnectionStringError> {
    text.parse()
}

#[test]
fn reads_devices_and_modules() {
    let d = device(&format!("HostName=localhost;DeviceId=dev1;SharedAccessKey={KEY}")).unwrap();
    assert_eq!(d.host_name, "localhost");
    assert_eq!(d.identity.to_string(), "dev1");
    assert_eq!(d.credential, Credential::Key(SharedKey::new(KEY)));
    let m = device(&format!(
        "hostname=localhost:18883;deviceid=dev1;ModuleId=m;SharedAccessKey={KEY};GatewayHostName=gw;UseProvisioning=true;"
    ))
    .unwrap();
    assert_eq!(m.host_name, "localhost:18883");
    assert_eq!(m.identity.to_string(), "dev1/m");
    assert_eq!(m.gateway_host_name.as_deref(), Some("gw"));
    let token = "SharedAccessSignature sr=h&sig=x%3D&se=1";
    let t = device(&format!("HostName=h;DeviceId=d;SharedAccessSignature={token}")).unwrap();
    assert_eq!(t.credential, Credential::Token(SharedKey::new(token)));
    assert_eq!(device("HostName=h;DeviceId=d;x509=True").unwrap().credential, Credential::X509);
}

#[test]
fn errors_name_the_field() {
    use ConnectionStringError as E;
    for (text, error) in [
        (String::new(), E::Missing("HostName")),
        (format!("DeviceId=d;SharedAccessKey={KEY}"), E::Missing("HostName")),
        (format!("HostName=;DeviceId=d;SharedAccessKey={KEY}"), E::Missing("HostName")),
        (format!("HostName=h;SharedAccessKey={KEY}"), E::Missing("DeviceId")),
        ("HostName=h;DeviceId=d".into(), E::Missing("SharedAccessKey")),
        ("HostName=h;DeviceId=d;x509=false".into(), E::Missing("SharedAccessKey")),
        (format!("HostName=h;DeviceId=d;SharedAccessKey={KEY};x509=true"), E::Credential),
        ("HostName=h;DeviceId=d;SharedAccessKey=!!".into(), E::Key),
        ("HostName=h;DeviceId".into(), E::NotAPair(2)),
        ("HostName=h;HostName=i".into(), E::Duplicate("HostName")),
        ("x".repeat(LENGTH_MAX + 1), E::TooLong(LENGTH_MAX + 1)),
    ] {
        assert_eq!(device(&text), Err(error), "{text}");
    }
    assert!(matches!(device("HostName=h;DeviceId=a/b;x509=true"), Err(E::Id(_))));
    let service = |text: &str| text.parse::<ServiceConnectionString>();
    assert_eq!(
        service(&format!("HostName=h;DeviceId=d;SharedAccessKey={KEY}")),
        Err(E::WrongKind("DeviceId", "device"))
    );
    assert_eq!(
        service(&format!("HostName=h;SharedAccessKey={KEY}")),
        Err(E::Missing("SharedAccessKeyName"))
    );
}

#[test]
fn service_strings_read_back() {
    let text =
        format!("HostName=localhost:8443;SharedAccessKeyName=iothubowner;SharedAccessKey={KEY}");
    let parsed: ServiceConnectionString = text.parse().unwrap();
    assert_eq!(parsed.policy, "iothubowner");
    assert_eq!(parsed.key.decode().unwrap(), [b'k'; 32]);
    assert_eq!(parsed.to_string(), text);
}

#[test]
fn debug_text_has_no_key() {
    let text = format!("HostName=h;DeviceId=d;SharedAccessKey={KEY}");
    assert!(!format!("{:?}", device(&text).unwrap()).contains(KEY));
}

proptest! {
    #[test]
    fn device_strings_read_back(
        // `;` is legal in ids, but no client can put it in a connection string.
        device_id in "[A-Za-z0-9:.+%_#*?!(),=@$'-]{1,40}",
        module in proptest::option::of("[A-Za-z0-9:.+%_#*?!(),=@$'-]{1,40}"),
        key in any::<[u8; 32]>(),
        policy in proptest::option::of("[a-z]{1,10}"),
        gateway in proptest::option::of("[a-z.]{1,10}"),
    ) {
        let key = SharedKey::new(STANDARD.encode(key));
        let string = DeviceConnectionString {
            host_name: "hub.example.org:8883".into(),
            identity: IdentityId {
                device: device_id.parse().unwrap(),
                module: module.map(|m| m.parse().unwrap()),
            },
            credential: match policy {
                Some(policy) => Credential::PolicyKey { policy, key },
                None => Credential::Key(key),
            },
            gateway_host_name: gateway,
        };
        prop_assert_eq!(device(&string.to_string()).unwrap(), string);
    }
}
