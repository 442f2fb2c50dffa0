use super::*;
use crate::certificate::AltName;

const DAY: Duration = Duration::from_secs(24 * 3600);

fn now() -> Timestamp {
    "2026-11-23T12:00:00.7Z".parse().unwrap()
}

fn module_life() -> Validity {
    Validity::starting(now(), MODULE_CERTIFICATE_LIFETIME)
}

#[test]
fn a_machine_whose_clock_begins_in_1970_has_certificates_too() {
    let first = Validity::starting(Timestamp::UNIX_EPOCH, MODULE_CERTIFICATE_LIFETIME);
    let root = Authority::create_root("root", Validity::unlimited()).unwrap();
    let edge = root.issue_authority("edge", 0, first).unwrap();
    assert_eq!(edge.certificate().not_before, Timestamp::UNIX_EPOCH);
    assert_eq!(root.certificate().not_before, Timestamp::UNIX_EPOCH);
    // GeneralizedTime 9999-12-31T23:59:59Z, which is read as the last moment there is.
    let der = root.certificate().der();
    assert!(der.windows(15).any(|bytes| bytes == b"99991231235959Z"));
    assert_eq!(root.certificate().not_after, Timestamp::MAX);
}

fn root() -> Authority {
    Authority::create_root("farshore root", Validity::starting(now(), 365 * DAY)).unwrap()
}

fn parsed(issued: &Issued) -> Certificate {
    Certificate::from_pem(&issued.certificate_pem).unwrap()
}

#[test]
fn a_root_says_what_it_is() {
    let root = root();
    let certificate = root.certificate();
    assert_eq!(certificate.common_name.as_deref(), Some("farshore root"));
    assert!(certificate.is_ca && certificate.is_self_issued);
    assert_eq!(certificate.not_before, "2026-11-23T11:55:00Z".parse().unwrap());
    assert_eq!(certificate.not_after, "2027-11-23T12:00:00Z".parse().unwrap());
    assert!(certificate.is_valid_at(now()));
    assert_eq!(certificate.thumbprint_sha1().len(), 40);
    assert_eq!(certificate.thumbprint_sha256().len(), 64);
}

#[test]
fn a_server_certificate_has_all_its_names() {
    let names: Vec<ServerName> = ["hub.example", "127.0.0.1", "[::1]", "*.local"]
        .iter()
        .map(|name| name.parse().unwrap())
        .collect();
    let issued = root().issue_server(&names, Validity::starting(now(), DAY)).unwrap();
    let certificate = parsed(&issued);
    assert_eq!(certificate.common_name.as_deref(), Some("hub.example"));
    assert_eq!(certificate.issuer_common_name.as_deref(), Some("farshore root"));
    assert!(!certificate.is_ca);
    assert_eq!(
        certificate.alt_names,
        [
            AltName::Dns("hub.example".into()),
            AltName::Ip("127.0.0.1".parse().unwrap()),
            AltName::Ip("::1".parse().unwrap()),
            AltName::Dns("*.local".into()),
        ]
    );
    assert!(issued.key_pem.starts_with("-----BEGIN PRIVATE KEY-----"));
}

#[test]
fn an_authority_survives_being_saved_and_goes_on_issuing() {
    let root = root();
    let edge = root.issue_authority("edge ca", 0, Validity::starting(now(), 90 * DAY)).unwrap();
    let loaded = Authority::from_pem(&edge.chain_pem(), &edge.key_pem()).unwrap();
    assert_eq!(loaded.root_pem(), root.chain_pem());
    let issued = loaded.issue_client("d1", Validity::starting(now(), DAY)).unwrap();
    let chain = Certificate::chain_from_pem(&issued.chain_pem).unwrap();
    let names: Vec<_> = chain.iter().map(|c| c.common_name.as_deref().unwrap()).collect();
    assert_eq!(names, ["d1", "edge ca", "farshore root"]);
}

#[test]
fn a_foreign_key_or_an_end_certificate_is_no_authority() {
    let (one, other) = (root(), root());
    assert!(matches!(
        Authority::from_pem(&one.chain_pem(), &other.key_pem()),
        Err(AuthorityError::KeyMismatch)
    ));
    let end = one.issue_client("d1", Validity::starting(now(), DAY)).unwrap();
    assert!(matches!(
        Authority::from_pem(&end.chain_pem, &end.key_pem),
        Err(AuthorityError::NotAnAuthority { common_name }) if common_name == "d1"
    ));
}

#[test]
fn nothing_outlives_its_issuer() {
    let root = root();
    let issued = root.issue_client("d1", Validity::starting(now(), 1000 * DAY)).unwrap();
    assert_eq!(issued.not_after, root.certificate().not_after);
    let later = now() + 400 * DAY;
    assert!(matches!(
        root.issue_client("d1", Validity::starting(later, DAY)),
        Err(AuthorityError::Expired { .. })
    ));
}

#[test]
fn module_certificates_are_as_the_workload_api_promises() {
    let edge = root();
    let server = edge.issue_module_server("gateway.local", "$edgeHub", module_life()).unwrap();
    let certificate = parsed(&server);
    assert_eq!(certificate.common_name.as_deref(), Some("gateway.local"));
    assert_eq!(
        certificate.alt_names,
        [AltName::Dns("gateway.local".into()), AltName::Dns("edgeHub".into())]
    );
    assert_eq!(server.not_after, "2026-12-23T12:00:00Z".parse().unwrap());

    let by_address = edge.issue_module_server("172.17.0.1", "no:host%name", module_life()).unwrap();
    assert_eq!(parsed(&by_address).alt_names, [AltName::Ip("172.17.0.1".parse().unwrap())]);

    let names = ModuleIdentityNames { hub: "hub.example", device: "d1", module: "m1" };
    let identity = parsed(&edge.issue_module_identity(names, module_life()).unwrap());
    assert_eq!(identity.common_name.as_deref(), Some("m1"));
    assert_eq!(
        identity.alt_names,
        [AltName::Uri("azureiot://hub.example/devices/d1/modules/m1".into())]
    );
}

#[test]
fn bad_names_are_refused_and_long_ones_cut_in_the_common_name_only() {
    for bad in ["", "a b", "a..b", "-a", "ä.example", "a\0b"] {
        assert!(bad.parse::<ServerName>().is_err(), "{bad:?}");
    }
    let label = "a".repeat(63);
    let long = format!("{label}.{label}.example");
    let name: ServerName = long.parse().unwrap();
    let issued = root().issue_server(&[name], Validity::starting(now(), DAY)).unwrap();
    let certificate = parsed(&issued);
    assert_eq!(certificate.common_name.unwrap().len(), 64);
    assert_eq!(certificate.alt_names, [AltName::Dns(long)]);
}

#[test]
fn secrets_do_not_show_in_debug_output() {
    let root = root();
    let issued = root.issue_client("d1", Validity::starting(now(), DAY)).unwrap();
    let text = format!("{root:?} {issued:?}");
    assert!(!text.contains("PRIVATE") && !text.contains("KeyPair"), "{text}");
}
