use super::*;

fn read(changes: &[(&str, &str)]) -> Result<Settings, SettingsError> {
    let mut env: BTreeMap<String, String> = [
        ("IOTEDGE_DEVICEID", "edge1"),
        ("IOTEDGE_MODULEID", "$edgeHub"),
        ("IOTEDGE_MODULEGENERATIONID", "638"),
        ("IOTEDGE_IOTHUBHOSTNAME", "hub.local"),
        ("IOTEDGE_WORKLOADURI", "unix:///run/w.sock"),
        ("IOTEDGE_AUTHSCHEME", "sasToken"),
        ("EdgeDeviceHostName", "Gateway"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    for (name, value) in changes {
        env.insert((*name).to_owned(), (*value).to_owned());
    }
    Settings::from_env(&env)
}

#[test]
fn defaults_are_the_originals_and_names_have_any_case() {
    let plain = read(&[]).unwrap();
    assert_eq!(plain.gateway_host_name, "gateway");
    assert_eq!(plain.store_dir(), PathBuf::from("/tmp/edgeHub"));
    assert_eq!(plain.upstream_protocol, UpstreamProtocol::Known(UPSTREAM_DEFAULT));
    assert_eq!((plain.clients_max, plain.store_bytes_max), (100, 1 << 30));
    assert!(plain.mqtt_enabled && plain.amqp_enabled && plain.http_enabled);
    let Sockets::At(https) = &plain.listen.https else { panic!("sockets") };
    assert_eq!(https[0], "0.0.0.0:443".parse().unwrap());
    let told = read(&[
        ("storagefolder", "/iotedge/storage"),
        ("MQTTSETTINGS__ENABLED", "False"),
        ("amqpsettings__enabled", "false"),
        ("HttpSettings__Enabled", "false"),
        ("amqpSettings__port", "15671"),
        ("maxConnectedClients", "7"),
        ("RuntimeLogLevel", "debug"),
        ("FARSHORE_EDGE_STORE_BYTES", "67108864"),
        ("upstreamprotocol", "MQTT"),
    ])
    .unwrap();
    assert_eq!(told.store_dir(), PathBuf::from("/iotedge/storage/edgeHub"));
    assert!(!told.mqtt_enabled && !told.amqp_enabled && !told.http_enabled);
    let Sockets::At(amqp) = &told.listen.amqp else { panic!("sockets") };
    assert_eq!(amqp[1], "[::]:15671".parse().unwrap());
    assert_eq!((told.clients_max, told.store_bytes_max), (7, 64 << 20));
    assert_eq!(told.log_level, "debug");
    assert_eq!(told.upstream_protocol, UpstreamProtocol::Known(Transport::Mqtt));
}

#[test]
fn another_protocol_is_kept_to_be_refused() {
    for transport in Transport::ALL {
        let text = transport.to_string().to_lowercase();
        let settings = read(&[("UpstreamProtocol", &text)]).unwrap();
        assert_eq!(settings.upstream_protocol, UpstreamProtocol::Known(transport));
    }
    let settings = read(&[("UpstreamProtocol", "carrier pigeon")]).unwrap();
    let unknown = UpstreamProtocol::Unknown("carrier pigeon".into());
    assert_eq!(settings.upstream_protocol, unknown);
}

#[test]
fn what_is_wrong_is_named_with_the_fix() {
    for (name, value, message) in [
        (
            "IOTEDGE_MODULEID",
            "sensor",
            "IOTEDGE_MODULEID is \"sensor\"; the edge hub runs as $edgeHub only",
        ),
        (
            "EdgeDeviceHostName",
            " ",
            "environment variable EdgeDeviceHostName is not set; the edge agent sets it to the device's `hostname`",
        ),
        (
            "mqttSettings__enabled",
            "yes",
            "environment variable mqttSettings__enabled is \"yes\"; expected true or false",
        ),
        (
            "httpSettings__port",
            "no",
            "environment variable httpSettings__port is \"no\"; expected a port number",
        ),
        (
            "MaxConnectedClients",
            "0",
            "environment variable MaxConnectedClients is \"0\"; expected 1 to 10000",
        ),
        (
            "FARSHORE_EDGE_STORE_BYTES",
            "1000",
            "environment variable FARSHORE_EDGE_STORE_BYTES is \"1000\"; expected a number of bytes, at least 67108864",
        ),
    ] {
        assert_eq!(read(&[(name, value)]).unwrap_err().to_string(), message);
    }
}
