use host::tls::{ClientTls, ServerTls};
use pki::{AltName, Certificate};

use super::*;

const DAY: Duration = Duration::from_secs(24 * 3600);

struct Place {
    dir: tempfile::TempDir,
    keys: Arc<Keys>,
    clock: Clock,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let keys = Arc::new(Keys::open(&dir.path().join("keys")).unwrap());
        Self { dir, keys, clock: Clock::manual("2026-11-25T00:00:00Z".parse().unwrap()) }
    }

    fn try_open(&self, config: EdgeCaConfig, more: &str) -> Result<EdgeCa, CertsError> {
        let dir = self.dir.path().join("certs");
        EdgeCa::open(
            config,
            "edge1",
            &dir,
            Arc::clone(&self.keys),
            more.to_owned(),
            self.clock.clone(),
        )
    }

    fn open(&self) -> EdgeCa {
        self.try_open(own(), "").unwrap()
    }
}

fn own() -> EdgeCaConfig {
    EdgeCaConfig::Own {
        common_name: None,
        lifetime: 90 * DAY,
        renew_at: Period::Percent(80),
        retry: Period::Percent(4),
    }
}

#[test]
fn the_quickstart_ca_is_made_once_and_its_key_is_sealed() {
    let place = Place::new();
    let facts = place.open().facts();
    assert_eq!(facts.common_name, "aziot-edge CA edge1");
    assert_eq!(facts.not_after.to_string(), "2027-02-23T00:00:00Z");
    assert!(facts.is_own);
    let first = place.open().trust_bundle();
    assert_eq!(first, place.open().trust_bundle());
    let file = place.dir.path().join("certs/edge-ca.json");
    assert_eq!(fs::facts(&file).unwrap().mode, 0o600);
    assert!(!fs::read_to_string(&file).unwrap().contains("PRIVATE"));
}

#[test]
fn another_device_gets_another_ca() {
    let place = Place::new();
    let first = place.open().trust_bundle();
    let dir = place.dir.path().join("certs");
    let other =
        EdgeCa::open(own(), "edge2", &dir, place.keys.clone(), String::new(), place.clock.clone());
    let other = other.unwrap();
    assert_eq!(other.facts().common_name, "aziot-edge CA edge2");
    assert_ne!(other.trust_bundle(), first);
    // A name as long as can be: certificates hold 64 characters of it.
    let device = "d".repeat(128);
    for _ in 0..2 {
        let long = EdgeCa::open(
            own(),
            &device,
            &dir,
            place.keys.clone(),
            String::new(),
            place.clock.clone(),
        );
        assert_eq!(long.unwrap().facts().common_name.len(), 64);
    }
}

#[test]
fn a_modules_certificate_says_what_the_reference_says() {
    let place = Place::new();
    let ca = place.open();
    let response = ca.server("$edgeHub", "gw.local").unwrap();
    assert_eq!(response.expiration, "2026-12-25T00:00:00+00:00");
    assert_eq!(response.private_key.r#type, "key");
    assert!(response.private_key.bytes.starts_with("-----BEGIN PRIVATE KEY-----"));
    let chain = Certificate::chain_from_pem(&response.certificate).unwrap();
    assert_eq!(chain.len(), 2);
    assert_eq!(chain[0].common_name.as_deref(), Some("gw.local"));
    assert_eq!(
        chain[0].alt_names,
        [AltName::Dns("gw.local".into()), AltName::Dns("edgeHub".into())]
    );
    assert_eq!(chain[1].to_pem(), ca.trust_bundle());

    let address = ca.server("$edgeHub", "127.0.0.2").unwrap();
    let leaf = Certificate::from_pem(&address.certificate).unwrap();
    assert_eq!(leaf.alt_names[0], AltName::Ip("127.0.0.2".parse().unwrap()));
    assert!(matches!(ca.server("m", "not a name"), Err(AuthorityError::Name { .. })));

    let names = ModuleIdentityNames { hub: "hub.test", device: "edge1", module: "sensor" };
    let identity = Certificate::from_pem(&ca.identity(names).unwrap().certificate).unwrap();
    assert_eq!(identity.common_name.as_deref(), Some("sensor"));
    let uri = "azureiot://hub.test/devices/edge1/modules/sensor";
    assert_eq!(identity.alt_names, [AltName::Uri(uri.into())]);
}

#[tokio::test]
async fn a_client_with_the_trust_bundle_trusts_a_modules_certificate() {
    let place = Place { clock: Clock::system(), ..Place::new() };
    let ca = place.open();
    let issued = ca.server("$edgeHub", "gw.local").unwrap();
    let server = ServerTls::new(&issued.certificate, &issued.private_key.bytes).unwrap();
    let connect = async |roots: &str, name: &str| {
        let client = ClientTls::new(&[roots]).unwrap();
        let (near, far) = tokio::io::duplex(64 * 1024);
        let (accepted, connected) = tokio::join!(server.accept(far), client.connect(near, name));
        drop(accepted);
        connected.is_ok()
    };
    assert!(connect(&ca.trust_bundle(), "gw.local").await);
    assert!(connect(&ca.trust_bundle(), "edgeHub").await);
    assert!(!connect(&ca.trust_bundle(), "other.local").await);
    let stranger = Place { clock: Clock::system(), ..Place::new() }.open().trust_bundle();
    assert!(!connect(&stranger, "gw.local").await);
}

#[test]
fn the_bundle_holds_the_operators_and_the_hubs_cas_once_each() {
    let place = Place::new();
    let validity = Validity::starting(place.clock.wall(), DAY);
    let [user, hub] =
        ["user", "hub"].map(|name| Authority::create_root(name, validity).unwrap().root_pem());
    let file = place.dir.path().join("user.pem");
    fs::write_atomic(&file, format!("# both\n{user}{hub}").as_bytes(), 0o644).unwrap();
    let more = more_trusted(Some(&file), Some(&hub)).unwrap();
    let bundle = place.try_open(own(), &more).unwrap().trust_bundle();
    let names: Vec<_> = Certificate::chain_from_pem(&bundle)
        .unwrap()
        .into_iter()
        .filter_map(|c| c.common_name)
        .collect();
    assert_eq!(names, ["aziot-edge CA edge1", "user", "hub"]);

    fs::write_atomic(&file, b"no certificate", 0o644).unwrap();
    let error = more_trusted(Some(&file), None).unwrap_err();
    assert!(error.to_string().contains("trust_bundle_cert"), "{error}");
    assert!(matches!(
        more_trusted(Some(&place.dir.path().join("none")), None),
        Err(CertsError::File(_))
    ));
    assert_eq!(more_trusted(None, None).unwrap(), "");
}

#[test]
fn the_ca_is_renewed_when_most_of_its_life_is_over() {
    let place = Place::new();
    let ca = place.open();
    let first = ca.trust_bundle();
    place.clock.advance(71 * DAY);
    assert!(!ca.renew_if_due().unwrap());
    place.clock.advance(2 * DAY);
    assert!(ca.renew_if_due().unwrap());
    assert_ne!(ca.trust_bundle(), first);
    assert!(!ca.renew_if_due().unwrap(), "once is enough");
    // The next daemon has the new one.
    assert_eq!(place.open().trust_bundle(), ca.trust_bundle());
    assert_eq!(ca.retry_after(), 90 * DAY * 4 / 100);
}

#[test]
fn one_that_ended_while_the_device_was_off_is_renewed_at_the_start() {
    let place = Place::new();
    let first = place.open().trust_bundle();
    place.clock.advance(400 * DAY);
    let second = place.open();
    assert_ne!(second.trust_bundle(), first);
    second.server("m", "gw.local").unwrap();
}

#[test]
fn a_clock_that_cannot_be_right_renews_nothing() {
    let place = Place::new();
    let ca = place.open();
    let first = ca.trust_bundle();
    place.clock.set_wall("1970-01-01T00:00:10Z".parse().unwrap());
    assert!(!ca.renew_if_due().unwrap());
    // One that was made with such a clock is made anew when the time is known.
    let early =
        Place { clock: Clock::manual("1970-01-02T00:00:00Z".parse().unwrap()), ..Place::new() };
    let ca = early.open();
    early.clock.set_wall("2026-11-25T00:00:00Z".parse().unwrap());
    assert!(ca.renew_if_due().unwrap());
    assert_ne!(ca.trust_bundle(), first);
}

#[test]
fn a_time_before_the_end_is_another_way_to_say_when() {
    let begin: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let end: Timestamp = "2026-01-11T00:00:00Z".parse().unwrap();
    assert_eq!(Period::Percent(80).moment(begin, end).to_string(), "2026-01-09T00:00:00Z");
    assert_eq!(Period::Time(DAY).moment(begin, end).to_string(), "2026-01-10T00:00:00Z");
}

#[test]
fn an_operators_ca_is_used_and_never_replaced() {
    let place = Place::new();
    let root =
        Authority::create_root("root", Validity::starting(place.clock.wall(), 400 * DAY)).unwrap();
    let device = root
        .issue_authority("device CA", 0, Validity::starting(place.clock.wall(), 10 * DAY))
        .unwrap();
    let (certificate, key) = (place.dir.path().join("ca.pem"), place.dir.path().join("ca.key"));
    fs::write_atomic(&certificate, device.chain_pem().as_bytes(), 0o644).unwrap();
    fs::write_atomic(&key, device.key_pem().as_bytes(), 0o600).unwrap();
    let config = EdgeCaConfig::Files { certificate, key: key.clone() };
    let ca = place.try_open(config.clone(), "").unwrap();
    assert_eq!(ca.facts().common_name, "device CA");
    assert!(!ca.facts().is_own);
    assert_eq!(
        Certificate::chain_from_pem(&ca.server("m", "gw").unwrap().certificate).unwrap().len(),
        3
    );
    assert_eq!(Certificate::chain_from_pem(&ca.trust_bundle()).unwrap().len(), 2);
    place.clock.advance(20 * DAY);
    assert!(!ca.renew_if_due().unwrap());
    assert!(matches!(ca.server("m", "gw"), Err(AuthorityError::Expired { .. })));

    fs::set_mode(&key, 0o644).unwrap();
    assert!(matches!(
        place.try_open(config.clone(), "").err().unwrap(),
        CertsError::Key(KeysError::Readable { .. })
    ));
    fs::write_atomic(&key, root.key_pem().as_bytes(), 0o600).unwrap();
    assert!(matches!(place.try_open(config, "").err().unwrap(), CertsError::Given { .. }));
}

#[test]
fn a_damaged_or_foreign_file_is_told() {
    let place = Place::new();
    place.open();
    let file = place.dir.path().join("certs/edge-ca.json");
    let text = fs::read_to_string(&file).unwrap();
    fs::write_atomic(&file, &text.as_bytes()[..text.len() / 2], 0o600).unwrap();
    assert!(matches!(place.try_open(own(), "").err().unwrap(), CertsError::Damaged { .. }));
    fs::write_atomic(&file, text.as_bytes(), 0o600).unwrap();
    let stranger = Arc::new(Keys::open(&place.dir.path().join("other")).unwrap());
    let foreign = Place { keys: stranger, ..place };
    assert!(matches!(foreign.try_open(own(), "").err().unwrap(), CertsError::Sealed { .. }));
}
