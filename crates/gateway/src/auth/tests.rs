use std::collections::HashMap;

use super::*;
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use iot_proto::sas::TokenRequest;
use jiff::SignedDuration;

mod certificates;

const HOST: &str = "hub.test";

struct Registered {
    credentials: HashMap<IdentityId, Credential>,
    policies: HashMap<String, PolicyCredential>,
    hosts: Vec<String>,
}

impl Identities for Registered {
    async fn credential(&self, id: &IdentityId) -> Result<Option<Credential>, Fault> {
        Ok(self.credentials.get(id).cloned())
    }

    async fn policy(&self, name: &str) -> Result<Option<PolicyCredential>, Fault> {
        Ok(self.policies.get(name).cloned())
    }

    fn host_names(&self) -> &[String] {
        &self.hosts
    }
}

fn id(text: &str) -> IdentityId {
    text.parse().unwrap()
}

fn key(byte: u8) -> String {
    STANDARD.encode([byte; 32])
}

fn keys(byte: u8) -> SymmetricKeys {
    SymmetricKeys { primary: key(byte), secondary: key(byte + 100) }
}

fn credential(byte: u8, parent: Option<&str>) -> Credential {
    Credential {
        generation: GenerationId::from_number(1),
        status: Status::Enabled,
        authentication: Authentication::Sas(keys(byte)),
        parent: parent.map(|text| text.parse().unwrap()),
    }
}

fn registered() -> Registered {
    let mut disabled = credential(9, None);
    disabled.status = Status::Disabled;
    let mut thumbprint = credential(8, None);
    thumbprint.authentication =
        Authentication::SelfSigned { primary: Some("00".repeat(20)), secondary: None };
    let credentials = [
        ("dev1", credential(1, None)),
        ("dev10", credential(2, None)),
        ("edge1", credential(3, Some("edge1"))),
        ("edge1/$edgeHub", credential(4, Some("edge1"))),
        ("edge1/mod", credential(5, Some("edge1"))),
        ("edge2/$edgeHub", credential(6, Some("edge2"))),
        ("leaf", credential(7, Some("edge1"))),
        ("x509", thumbprint),
        ("off", disabled),
    ];
    let right = |service_connect, device_connect| Rights {
        service_connect,
        device_connect,
        ..Rights::default()
    };
    let policies = [
        ("device", PolicyCredential { keys: keys(20), rights: right(false, true) }),
        ("service", PolicyCredential { keys: keys(21), rights: right(true, false) }),
    ];
    Registered {
        credentials: credentials
            .into_iter()
            .map(|(text, credential)| (id(text), credential))
            .collect(),
        policies: policies.into_iter().map(|(name, policy)| (name.to_owned(), policy)).collect(),
        hosts: vec![HOST.to_owned()],
    }
}

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn later(seconds: i64) -> Timestamp {
    now() + SignedDuration::from_secs(seconds)
}

fn signed(request: &TokenRequest, key: &str, name: Option<&str>) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, &STANDARD.decode(key).unwrap());
    let signature = hmac::sign(&key, request.string_to_sign().as_bytes());
    request.finish(signature.as_ref(), name)
}

fn token(resource: &str, key: &str, expires: Timestamp, name: Option<&str>) -> String {
    signed(&TokenRequest::new(resource, expires), key, name)
}

async fn check(who: &str, token: &str) -> Result<Principal, AuthError> {
    identity(&registered(), &id(who), None, Proof::Token(token), now()).await
}

#[tokio::test]
async fn either_key_of_the_identity_lets_it_in() {
    for (who, resource, key, method) in [
        ("dev1", "hub.test/devices/dev1", key(1), AuthMethod::DeviceSas),
        ("dev1", "hub.test/devices/dev1", key(101), AuthMethod::DeviceSas),
        ("dev1", "HUB.test:8883/devices/DEV1", key(1), AuthMethod::DeviceSas),
        ("edge1/mod", "hub.test/devices/edge1/modules/mod", key(5), AuthMethod::ModuleSas),
        ("edge1/mod", "hub.test/devices/edge1", key(5), AuthMethod::ModuleSas),
    ] {
        let principal = check(who, &token(resource, &key, later(60), None)).await.unwrap();
        assert_eq!(principal.method, method, "{resource}");
        assert_eq!(principal.expires, later(60 + 300));
    }
    let by_policy = token("hub.test", &key(20), later(60), Some("device"));
    assert_eq!(check("dev1", &by_policy).await.unwrap().method, AuthMethod::PolicySas);
}

/// `security.md` B24 and its like, one row each.
#[tokio::test]
async fn what_does_not_hold_is_refused_with_its_reason() {
    let own = "hub.test/devices/dev1";
    for (who, token, reason) in [
        ("dev1", token(own, &key(2), later(60), None), "fits neither key"),
        ("dev1", token(own, &key(1), later(-301), None), "expired"),
        ("dev1", token("hub.test/devices/dev10", &key(1), later(60), None), "another resource"),
        ("dev10", token("hub.test/devices/dev1", &key(2), later(60), None), "another resource"),
        ("dev1", token("other.test/devices/dev1", &key(1), later(60), None), "another resource"),
        ("dev1", token("hub.test%2Fdevices%2Fdev1", &key(1), later(60), None), "another resource"),
        ("dev1", token(own, &key(1), later(60), Some("device")), "fits neither key"),
        ("dev1", token(own, &key(1), later(60), Some("nobody")), "fits neither key"),
        (
            "dev1",
            token("hub.test", &key(21), later(60), Some("service")),
            "lacks the right DeviceConnect",
        ),
        (
            "dev1",
            token("hub.test/devices/DEV1", &key(20), later(60), Some("device")),
            "another resource",
        ),
        ("nobody", token("hub.test/devices/nobody", &key(1), later(60), None), "fits neither key"),
        ("nobody", token("hub.test", &key(20), later(60), Some("device")), "not registered"),
        ("off", token("hub.test/devices/off", &key(9), later(60), None), "disabled"),
        ("x509", token("hub.test", &key(20), later(60), Some("device")), "another way"),
        ("dev1", String::new(), "neither token"),
        ("dev1", "SharedAccessSignature sr=a&sig=b".into(), "malformed"),
        ("dev1", format!("{}&sig=AAAA", token(own, &key(1), later(60), None)), "malformed"),
        ("dev1", "x".repeat(1 << 20), "malformed"),
    ] {
        let error = check(who, &token).await.unwrap_err();
        assert!(error.to_string().contains(reason), "{who} {:.60}: {error}", token);
    }
    // Within the skew it still holds.
    assert!(check("dev1", &token(own, &key(1), later(-299), None)).await.is_ok());
}

/// S6: tokens mutated in every place; none is accepted.
#[tokio::test]
async fn ten_thousand_mutated_tokens_are_refused() {
    let registered = registered();
    let good = token("hub.test/devices/dev1", &key(1), later(60), None);
    let bytes = good.as_bytes();
    let mut seed = 1_u64;
    let mut next = move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize
    };
    let mut tried = 0;
    while tried < 10_000 {
        let mut mutated = bytes.to_vec();
        for _ in 0..=next() % 3 {
            let at = next() % mutated.len();
            match next() % 3 {
                0 => mutated[at] = (next() % 128) as u8,
                1 => drop(mutated.remove(at)),
                _ => mutated.insert(at, (next() % 128) as u8),
            }
        }
        let Ok(text) = String::from_utf8(mutated) else { continue };
        // Fields that mean nothing, and the other spelling of an escape in `sig`, change no meaning.
        let same = iot_proto::sas::SasToken::parse(&text)
            .is_ok_and(|parsed| Ok(parsed) == iot_proto::sas::SasToken::parse(&good));
        if same {
            continue;
        }
        tried += 1;
        let accepted = identity(&registered, &id("dev1"), None, Proof::Token(&text), now()).await;
        assert!(accepted.is_err(), "accepted {text}");
    }
}

#[tokio::test]
async fn an_edge_hub_acts_for_its_own_only() {
    let registered = registered();
    let own = |edge: &str, byte| {
        token(&format!("hub.test/devices/{edge}/modules/$edgeHub"), &key(byte), later(60), None)
    };
    for (target, chain, token, reason) in [
        ("edge1/mod", "edge1/mod;edge1", own("edge1", 4), None),
        ("leaf", "leaf;edge1", own("edge1", 4), None),
        ("leaf", "leaf;edge2", own("edge2", 6), Some("may not act")),
        ("dev1", "dev1;edge1", own("edge1", 4), Some("may not act")),
        ("leaf", "edge1/mod;edge1", own("edge1", 4), Some("another resource")),
        ("leaf", "leaf;edge1", own("edge2", 6), Some("fits neither key")),
        (
            "leaf",
            "leaf;edge1",
            token("hub.test/devices/edge1", &key(3), later(60), None),
            Some("fits neither key"),
        ),
        ("leaf", "leaf;x;edge1", own("edge1", 4), Some("more than one level")),
    ] {
        let chain: AuthChain = chain.parse().unwrap();
        let result =
            identity(&registered, &id(target), Some(&chain), Proof::Token(&token), now()).await;
        match reason {
            None => assert_eq!(result.unwrap().method, AuthMethod::OnBehalf),
            Some(reason) => {
                let error = result.unwrap_err().to_string();
                assert!(error.contains(reason), "{target}: {error}");
            }
        }
    }
}

#[tokio::test]
async fn a_back_end_has_its_policys_rights() {
    let registered = registered();
    let good = token(HOST, &key(21), later(60), Some("service"));
    let rights = policy(&registered, Some(&good), now()).await.unwrap();
    assert!(rights.service_connect && !rights.registry_write && !rights.device_connect);
    for bad in [
        token("hub.test/devices/dev1", &key(21), later(60), Some("service")),
        token(HOST, &key(20), later(60), Some("service")),
        token(HOST, &key(21), later(-400), Some("service")),
        token(HOST, &key(1), later(60), None),
    ] {
        assert!(policy(&registered, Some(&bad), now()).await.is_err(), "{bad}");
    }
}

#[test]
fn every_refusal_reads_the_same() {
    let texts: Vec<String> = [
        Denied::Signature,
        Denied::Unknown(id("dev1")),
        Denied::Resource,
        Denied::Disabled(id("dev1")),
    ]
    .map(|denied| AuthError::from(denied).to_fault().to_string())
    .into();
    assert!(texts.iter().all(|text| *text == texts[0]));
}
