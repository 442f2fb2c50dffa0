use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
};

use super::*;
use crate::Validity;

const DAY: Duration = Duration::from_secs(24 * 3600);

type Signer = CertifiedIssuer<'static, KeyPair>;

fn now() -> Timestamp {
    "2026-11-25T12:00:00Z".parse().unwrap()
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = rcgen::date_time_ymd(2026, 1, 1);
    params.not_after = rcgen::date_time_ymd(2027, 1, 1);
    params
}

fn authority(name: &str, length: Option<u8>) -> CertificateParams {
    let mut params = params(name);
    params.is_ca = IsCa::Ca(match length {
        Some(length) => BasicConstraints::Constrained(length),
        None => BasicConstraints::Unconstrained,
    });
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn key() -> KeyPair {
    KeyPair::generate().unwrap()
}

fn root(params: CertificateParams) -> Signer {
    CertifiedIssuer::self_signed(params, key()).unwrap()
}

fn below(params: CertificateParams, signer: &Signer) -> Signer {
    CertifiedIssuer::signed_by(params, key(), signer).unwrap()
}

fn der(signer: &Signer) -> Vec<u8> {
    signer.der().to_vec()
}

fn anchor(signer: &Signer) -> ChainAnchor {
    ChainAnchor::new(Certificate::from_der(signer.der()).unwrap()).unwrap()
}

/// Whether the chain proves `d1`, and what is said if not.
fn check(chain: &[Vec<u8>], anchors: &[ChainAnchor], expected: Result<(), &str>) {
    let result = verify(chain, anchors, "d1", now());
    match (&result, expected) {
        (Ok(_), Ok(())) => {}
        (Err(error), Err(part)) => {
            assert!(error.to_string().contains(part), "{error} is not {part}");
        }
        _ => panic!("{result:?} is not {expected:?}"),
    }
}

#[test]
fn a_leaf_chains_by_any_number_of_intermediates_in_any_order() {
    let top = root(authority("top", None));
    let mut signers = vec![below(authority("i0", None), &top)];
    for depth in 1..6 {
        let signer = below(authority(&format!("i{depth}"), None), signers.last().unwrap());
        signers.push(signer);
    }
    let stranger = root(authority("stranger", None));
    let anchors = [anchor(&stranger), anchor(&top)];

    let direct = below(params("d1"), &top);
    check(&[der(&direct)], &anchors, Ok(()));
    // The root itself may be sent along, as OpenSSL's users do.
    check(&[der(&direct), der(&top)], &anchors, Ok(()));

    let deep = below(params("d1"), signers.last().unwrap());
    let mut chain = vec![der(&deep)];
    chain.extend(signers.iter().map(der));
    check(&chain, &anchors, Ok(()));
    chain[1..].reverse();
    check(&chain, &anchors, Ok(()));
    let proven = verify(&chain, &anchors, "d1", now()).unwrap();
    assert_eq!(proven.anchor, &anchors[1]);
    assert_eq!(proven.not_after, "2027-01-01T00:00:00Z".parse().unwrap());

    // A registered intermediate is enough, and the nearer one will do.
    check(&chain, &[anchor(&signers[2])], Ok(()));
    chain.remove(3);
    check(&chain, &anchors, Err("UnknownIssuer"));
    check(&chain, &[], Err("UnknownIssuer"));
}

#[test]
fn more_than_six_intermediates_are_too_many() {
    let top = root(authority("top", None));
    let mut signers = vec![below(authority("i0", None), &top)];
    for depth in 1..30 {
        let signer = below(authority(&format!("i{depth}"), None), signers.last().unwrap());
        signers.push(signer);
    }
    for length in [7, 30] {
        let leaf = below(params("d1"), &signers[length - 1]);
        let mut chain = vec![der(&leaf)];
        chain.extend(signers[..length].iter().rev().map(der));
        check(&chain, &[anchor(&top)], Err("no path"));
    }
}

#[test]
fn the_name_is_one_and_the_devices() {
    let top = root(authority("top", None));
    let anchors = [anchor(&top)];
    for name in ["d10", "D1", "d1 ", "", "d1/m"] {
        check(&[der(&below(params(name), &top))], &anchors, Err("common name is not \"d1\""));
    }
    let mut two = params("d1");
    two.distinguished_name.push(DnType::CommonName, "d2");
    // rcgen keeps one value per type, so this leaf is d2's.
    check(&[der(&below(two, &top))], &anchors, Err("common name"));
    let mut nameless = params("d1");
    nameless.distinguished_name = DistinguishedName::new();
    check(&[der(&below(nameless, &top))], &anchors, Err("common name"));

    let module = [der(&below(params("d1/m1"), &top))];
    assert!(verify(&module, &anchors, "d1/m1", now()).is_ok());
}

#[test]
fn who_may_not_sign_does_not_sign() {
    let top = root(authority("top", None));
    let anchors = [anchor(&top)];

    // A device's leaf signs another device's.
    let other = below(params("d2"), &top);
    check(&[der(&below(params("d1"), &other)), der(&other)], &anchors, Err("no path"));

    let mut no_signing = authority("i", None);
    no_signing.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let no_signing = below(no_signing, &top);
    check(
        &[der(&below(params("d1"), &no_signing)), der(&no_signing)],
        &anchors,
        Err("keyCertSign"),
    );

    // Path length of an intermediate, and of the registered authority.
    let short = below(authority("short", Some(0)), &top);
    let under = below(authority("under", None), &short);
    let chain = [der(&below(params("d1"), &under)), der(&under), der(&short)];
    check(&chain, &anchors, Err("PathLen"));
    let strict = root(authority("strict", Some(0)));
    let under = below(authority("under", None), &strict);
    let chain = [der(&below(params("d1"), &under)), der(&under)];
    check(&chain, &[anchor(&strict)], Err("longer than the registered authority allows"));
    check(&[der(&below(params("d1"), &strict))], &[anchor(&strict)], Ok(()));

    // An authority is no device.
    let as_leaf = below(authority("d1", None), &top);
    check(&[der(&as_leaf)], &anchors, Err("CaUsedAsEndEntity"));
    check(&[der(&root(params("d1")))], &anchors, Err("no path"));
}

#[test]
fn a_servers_certificate_is_no_clients() {
    let top = root(authority("top", None));
    let mut server = params("d1");
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    check(&[der(&below(server, &top))], &[anchor(&top)], Err("no path"));
    let mut client = params("d1");
    client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    check(&[der(&below(client, &top))], &[anchor(&top)], Ok(()));
}

#[test]
fn everything_on_the_path_must_be_valid_now() {
    let old = |mut params: CertificateParams| {
        params.not_before = rcgen::date_time_ymd(2025, 1, 1);
        params.not_after = rcgen::date_time_ymd(2026, 1, 1);
        params
    };
    let future = |mut params: CertificateParams| {
        params.not_before = rcgen::date_time_ymd(2028, 1, 1);
        params.not_after = rcgen::date_time_ymd(2029, 1, 1);
        params
    };
    let top = root(authority("top", None));
    let anchors = [anchor(&top)];
    check(&[der(&below(old(params("d1")), &top))], &anchors, Err("Expired"));
    check(&[der(&below(future(params("d1")), &top))], &anchors, Err("NotValidYet"));
    let middle = below(old(authority("i", None)), &top);
    check(&[der(&below(params("d1"), &middle)), der(&middle)], &anchors, Err("no path"));
    let gone = root(old(authority("gone", None)));
    check(&[der(&below(params("d1"), &gone))], &[anchor(&gone)], Err("authority is not valid now"));
}

#[test]
fn a_renewed_authority_counts_beside_the_one_that_has_run_out() {
    let shared = key();
    let certificate = |year: i32, length| {
        let mut params = authority("renewed", length);
        params.not_after = rcgen::date_time_ymd(year, 11, 1);
        let certificate = params.self_signed(&shared).unwrap();
        ChainAnchor::new(Certificate::from_der(certificate.der()).unwrap()).unwrap()
    };
    let (old, short, new) =
        (certificate(2026, None), certificate(2029, Some(0)), certificate(2028, None));
    let renewed = authority("renewed", None);
    let signer = rcgen::Issuer::from_params(&renewed, &shared);
    let middle = CertifiedIssuer::signed_by(authority("middle", None), key(), &signer).unwrap();
    let chain = [der(&below(params("d1"), &middle)), der(&middle)];
    for anchors in [[&old, &short, &new], [&new, &short, &old], [&short, &new, &old]] {
        let anchors = anchors.map(Clone::clone);
        let proven = verify(&chain, &anchors, "d1", now()).unwrap();
        assert_eq!(proven.anchor, &new);
    }
    check(&chain, &[old.clone(), old.clone()], Err("not valid now"));
    check(&chain, &[old, short], Err("longer than"));
}

#[test]
fn rubbish_is_refused() {
    let top = root(authority("top", None));
    let anchors = [anchor(&top)];
    let leaf = der(&below(params("d1"), &top));
    check(&[], &anchors, Err("empty"));
    check(&[vec![]], &anchors, Err("cannot be read"));
    check(&[leaf[..leaf.len() - 1].to_vec()], &anchors, Err("cannot be read"));
    check(&[[leaf.as_slice(), b"x"].concat()], &anchors, Err("cannot be read"));
    check(&[leaf.clone(), vec![0x30; 40]], &anchors, Ok(()));
    for index in 0..leaf.len() {
        let mut changed = leaf.clone();
        changed[index] ^= 1;
        assert!(verify(&[changed], &anchors, "d1", now()).is_err(), "byte {index}");
    }
}

#[test]
fn an_authority_of_the_same_name_with_another_key_signs_nothing() {
    let top = root(authority("top", None));
    let twin = root(authority("top", None));
    let leaf = der(&below(params("d1"), &twin));
    check(std::slice::from_ref(&leaf), &[anchor(&top)], Err("no path"));
    let anchors = [anchor(&top), anchor(&twin)];
    assert_eq!(verify(&[leaf], &anchors, "d1", now()).unwrap().anchor, &anchors[1]);
}

#[test]
fn only_authorities_are_registered() {
    let top = root(authority("top", None));
    let unfit = |signer: &Signer| {
        ChainAnchor::new(Certificate::from_der(signer.der()).unwrap()).unwrap_err().to_string()
    };
    assert!(unfit(&below(params("d1"), &top)).contains("CA:TRUE"));
    let mut mute = authority("mute", None);
    mute.key_usages = vec![KeyUsagePurpose::CrlSign];
    assert!(unfit(&root(mute)).contains("keyCertSign"));
}

#[test]
fn possession_is_proven_by_a_certificate_of_the_code() {
    let top = root(authority("top", None));
    let certificate = |signer: &Signer| Certificate::from_der(signer.der()).unwrap();
    let top_certificate = certificate(&top);
    let proof = below(params("CODE"), &top);
    let check = |proof: &Signer, code: &str| {
        verify_possession(&certificate(proof), &top_certificate, code, now())
    };
    assert_eq!(check(&proof, "CODE"), Ok(()));
    assert!(check(&proof, "OTHER").is_err());
    // Another authority of the same name, and somebody whom the authority signed.
    assert!(check(&below(params("CODE"), &root(authority("top", None))), "CODE").is_err());
    let middle = below(authority("i", None), &top);
    assert!(check(&below(params("CODE"), &middle), "CODE").is_err());
    let late = Validity::starting(now(), DAY).not_after + 400 * DAY;
    assert!(verify_possession(&certificate(&proof), &top_certificate, "CODE", late).is_err());
}

/// Made by `openssl x509 -req` without extensions, as the documentation of IoT Hub has it.
#[test]
fn possession_may_be_proven_by_version_1() {
    let authority = Certificate::from_pem(include_str!("fixtures/authority.pem")).unwrap();
    let proof = Certificate::from_pem(include_str!("fixtures/version-1.pem")).unwrap();
    let code = "A0B1C2D3E4F5";
    let now = proof.not_before;
    assert_eq!(verify_possession(&proof, &authority, code, now), Ok(()));
    let anchors = [ChainAnchor::new(authority).unwrap()];
    let chain = [proof.der().to_vec()];
    assert_eq!(verify(&chain, &anchors, code, now), Err(ChainError::Malformed));
    assert!(crate::certificate::public_key_info(proof.der()).is_ok());
}
