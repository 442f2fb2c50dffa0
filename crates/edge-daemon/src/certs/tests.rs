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

fn server_chain(ca: &EdgeCa) -> Vec<Certificate> {
    let issued = ca.server("$edgeHub", "gw.local").unwrap();
    Certificate::chain_from_pem(&issued.certificate).unwrap()
}

/// Tells one Edge CA from another: renewed, it has another key.
fn key_of(ca: &EdgeCa) -> String {
    ca.current().authority.certificate().to_pem()
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
    let names: Vec<_> = chain.iter().filter_map(|c| c.common_name.as_deref()).collect();
    assert_eq!(names, ["gw.local", "aziot-edge CA edge1", "root of aziot-edge CA edge1"]);
    assert_eq!(
        chain[0].alt_names,
        [AltName::Dns("gw.local".into()), AltName::Dns("edgeHub".into())]
    );
    assert_eq!(chain[2].to_pem(), ca.trust_bundle());
    let for_people = place.dir.path().join("certs/trusted-root.pem");
    assert_eq!(fs::read_to_string(&for_people).unwrap(), ca.trust_bundle());

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
    assert_eq!(names, ["root of aziot-edge CA edge1", "user", "hub"]);

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
    let (bundle, first) = (ca.trust_bundle(), key_of(&ca));
    place.clock.advance(71 * DAY);
    assert_eq!(ca.renew_if_due().unwrap(), Renewal::NotDue);
    assert_eq!(key_of(&ca), first);
    place.clock.advance(2 * DAY);
    assert_eq!(ca.renew_if_due().unwrap(), Renewal::SameTrust);
    assert_ne!(key_of(&ca), first);
    assert_eq!(ca.trust_bundle(), bundle, "whom clients trust stays");
    assert_eq!(ca.renew_if_due().unwrap(), Renewal::NotDue, "once is enough");
    // The next daemon has the new one.
    assert_eq!(key_of(&place.open()), key_of(&ca));
    assert_eq!(ca.retry_after(), 90 * DAY * 4 / 100);
    // A failed renewal is tried again before the end.
    place.clock.advance(88 * DAY);
    assert_eq!(ca.retry_after(), DAY);
}

#[test]
fn one_that_ended_while_the_device_was_off_is_renewed_at_the_start() {
    let place = Place::new();
    let (bundle, first) = (place.open().trust_bundle(), key_of(&place.open()));
    place.clock.advance(400 * DAY);
    let second = place.open();
    assert_ne!(key_of(&second), first);
    assert_eq!(second.trust_bundle(), bundle);
    second.server("m", "gw.local").unwrap();
}

/// Nobody looks at the Edge CA for a year but the edge hub, which asks for a certificate each time
/// that 80 % of the last one's life is over: at each moment what it has is good.
#[test]
fn a_year_of_server_certificates_has_no_gap() {
    let place = Place::new();
    let ca = place.open();
    let (bundle, mut asked, mut cas) = (ca.trust_bundle(), 0, std::collections::HashSet::new());
    let (mut ends, mut next) = (place.clock.wall(), place.clock.wall());
    for _ in 0..365 {
        place.clock.advance(DAY);
        let now = place.clock.wall();
        if now >= next {
            let chain = server_chain(&ca);
            assert!(chain.iter().all(|certificate| certificate.is_valid_at(now)));
            (ends, next) =
                (chain[0].not_after, Period::Percent(80).moment(now, chain[0].not_after));
            cas.insert(chain[1].to_pem());
            asked += 1;
        }
        assert!(now < ends, "{now}: the last certificate ended at {ends}");
    }
    assert_eq!(ca.trust_bundle(), bundle);
    assert!(cas.len() >= 5 && asked >= 15, "{} CAs, {asked} certificates", cas.len());
}

#[test]
fn whatever_the_clock_shows_certificates_hold_and_are_made_anew_when_it_is_set() {
    let place = Place::new();
    let ca = place.open();
    let bundle = ca.trust_bundle();
    for wall in [
        "1970-01-01T00:00:10Z",
        "2026-11-25T00:00:00Z",
        "2036-11-25T00:00:00Z",
        "2016-11-25T00:00:00Z",
        "2026-11-24T23:00:00Z",
        "2025-06-01T00:00:00Z",
        "2026-11-25T00:00:00Z",
    ] {
        place.clock.set_wall(wall.parse().unwrap());
        for restarted in [false, true] {
            let opened = place.open();
            let ca = if restarted { &opened } else { &ca };
            let chain = server_chain(ca);
            for certificate in &chain {
                assert!(certificate.is_valid_at(place.clock.wall()), "{wall}: {certificate:?}");
            }
            assert_eq!(ca.trust_bundle(), bundle);
            // In place once the clock was set, and then left alone.
            assert_eq!(ca.renew_if_due().unwrap(), Renewal::NotDue);
        }
    }
    let life = ca.facts().not_after.duration_since(place.clock.wall());
    assert_eq!(life, SignedDuration::try_from(90 * DAY).unwrap(), "no trace of 2036");
}

#[test]
fn a_device_that_never_had_the_time_has_certificates_that_hold_when_it_comes() {
    let begin = "1970-01-01T00:00:01Z".parse().unwrap();
    let place = Place { clock: Clock::manual(begin), ..Place::new() };
    let ca = place.open();
    let bundle = ca.trust_bundle();
    assert!(server_chain(&ca).iter().all(|certificate| certificate.is_valid_at(begin)));
    // A year without the time: the CA is renewed all the same.
    for _ in 0..365 {
        place.clock.advance(DAY);
        let now = place.clock.wall();
        assert!(server_chain(&ca).iter().all(|certificate| certificate.is_valid_at(now)));
    }
    place.clock.set_wall("2026-11-25T00:00:00Z".parse().unwrap());
    let now = place.clock.wall();
    assert!(server_chain(&ca).iter().all(|certificate| certificate.is_valid_at(now)));
    assert_eq!(ca.trust_bundle(), bundle);
    // Back in 1970 after a power cut, what is issued holds then and now: leaf devices know the time.
    place.clock.set_wall(begin);
    let chain = server_chain(&place.open());
    assert!(chain.iter().all(|c| c.is_valid_at(begin) && c.is_valid_at(now)), "{chain:?}");
}

/// An Edge CA of a version that had no root.
#[test]
fn a_self_signed_ca_is_used_until_it_is_due() {
    let place = Place::new();
    place.open();
    let file = place.dir.path().join("certs/edge-ca.json");
    let validity = Validity::starting(place.clock.wall(), 90 * DAY);
    let old = Authority::create_root("aziot-edge CA edge1", validity).unwrap();
    let sealed = place.keys.seal("edge-ca", old.key_pem().as_bytes());
    let sealed = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, sealed);
    let kept = serde_json::json!({ "certificate": old.chain_pem(), "sealed_key": sealed });
    fs::write_atomic(&file, kept.to_string().as_bytes(), 0o600).unwrap();
    let ca = place.open();
    assert_eq!(server_chain(&ca)[1].to_pem(), old.root_pem());
    // Whoever asks now trusts both.
    let trusted = Certificate::chain_from_pem(&ca.trust_bundle()).unwrap();
    let names: Vec<_> = trusted.iter().filter_map(|c| c.common_name.as_deref()).collect();
    assert_eq!(names, ["root of aziot-edge CA edge1", "aziot-edge CA edge1"]);
    place.clock.advance(73 * DAY);
    server_chain(&ca);
    assert_eq!(ca.renew_if_due().unwrap(), Renewal::OtherTrust);
    assert_eq!(ca.trust_bundle(), trusted[0].to_pem());
}

#[test]
fn a_time_before_the_end_is_another_way_to_say_when() {
    let begin: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let end: Timestamp = "2026-01-11T00:00:00Z".parse().unwrap();
    assert_eq!(Period::Percent(80).moment(begin, end).to_string(), "2026-01-09T00:00:00Z");
    assert_eq!(Period::Time(DAY).moment(begin, end).to_string(), "2026-01-10T00:00:00Z");
}

#[test]
fn an_operators_ca_is_used_until_its_end_and_read_again() {
    let place = Place::new();
    let root =
        Authority::create_root("root", Validity::starting(place.clock.wall(), 400 * DAY)).unwrap();
    let below = |root: &Authority, days: u32| {
        let validity = Validity::starting(place.clock.wall(), days * DAY);
        root.issue_authority("device CA", 0, validity).unwrap()
    };
    let (certificate, key) = (place.dir.path().join("ca.pem"), place.dir.path().join("ca.key"));
    let put = |device: &Authority| {
        fs::write_atomic(&certificate, device.chain_pem().as_bytes(), 0o644).unwrap();
        fs::write_atomic(&key, device.key_pem().as_bytes(), 0o600).unwrap();
    };
    put(&below(&root, 10));
    let config = EdgeCaConfig::Files { certificate: certificate.clone(), key: key.clone() };
    let ca = place.try_open(config.clone(), "").unwrap();
    assert_eq!(ca.facts().common_name, "device CA");
    assert!(!ca.facts().is_own);
    assert_eq!(server_chain(&ca).len(), 3);
    assert_eq!(Certificate::chain_from_pem(&ca.trust_bundle()).unwrap().len(), 2);
    assert!(ca.warned_at.lock().is_none());
    place.clock.advance(9 * DAY);
    assert_eq!(ca.renew_if_due().unwrap(), Renewal::NotDue);
    assert!(ca.warned_at.lock().is_some(), "told before the end");
    // Past its end there is nothing better: the edge hub starts, and clients say why they refuse.
    place.clock.advance(11 * DAY);
    assert_eq!(ca.renew_if_due().unwrap(), Renewal::NotDue);
    let last = ca.server("m", "gw").unwrap();
    assert_eq!(last.expiration, "2026-12-05T00:00:00+00:00");
    // It is replaced in its files, one after the other, and read without a restart.
    let (second, key_before) = (below(&root, 100), key_of(&ca));
    fs::write_atomic(&certificate, second.chain_pem().as_bytes(), 0o644).unwrap();
    assert!(matches!(ca.renew_if_due(), Err(CertsError::Given { .. })));
    assert_eq!(key_of(&ca), key_before);
    put(&second);
    assert_eq!(ca.renew_if_due().unwrap(), Renewal::SameTrust);
    assert_eq!(ca.renew_if_due().unwrap(), Renewal::NotDue);
    let chain = server_chain(&ca);
    assert!(chain.iter().all(|certificate| certificate.is_valid_at(place.clock.wall())));
    let other = Authority::create_root("other", Validity::unlimited()).unwrap();
    put(&below(&other, 100));
    assert_eq!(ca.renew_if_due().unwrap(), Renewal::OtherTrust);

    fs::set_mode(&key, 0o644).unwrap();
    assert!(matches!(
        place.try_open(config.clone(), "").err().unwrap(),
        CertsError::Key(KeysError::Readable { .. })
    ));
    fs::write_atomic(&key, root.key_pem().as_bytes(), 0o600).unwrap();
    assert!(matches!(place.try_open(config, "").err().unwrap(), CertsError::Given { .. }));
}

#[test]
fn the_end_is_told_in_the_last_fifth_and_by_a_clock_that_is_set() {
    let begin: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let told = |days: u32, now: u32| {
        let clock = Clock::manual(begin);
        clock.advance(now * DAY);
        left_to_tell(&clock, begin, begin + days * DAY).map(|left| left.as_hours() / 24)
    };
    for (days, now, left) in [
        (100, 79, None),
        (100, 80, Some(20)),
        (100, 101, Some(-1)),
        (3650, 3619, None),
        (3650, 3620, Some(30)),
    ] {
        assert_eq!(told(days, now), left, "{days} {now}");
    }
    let clock = Clock::manual("1970-01-01T00:00:10Z".parse().unwrap());
    assert_eq!(left_to_tell(&clock, Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH), None);
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
