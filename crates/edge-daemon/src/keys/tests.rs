use super::*;

fn keys(byte: u8) -> Keys {
    Keys {
        master: MasterKey::new([byte; MASTER_KEY_BYTES]),
        identity: hmac::Key::new(hmac::HMAC_SHA256, &[byte; MASTER_KEY_BYTES]),
        encryption: MasterKey::new([byte; MASTER_KEY_BYTES]),
    }
}

fn hub() -> (ModuleId, GenerationId) {
    (ModuleId::edge_hub(), GenerationId::from_text("638123456789012345"))
}

#[test]
fn module_keys_and_signatures_are_what_other_implementations_compute() {
    // Computed with Python's hmac; the texts are those of `edge-runtime.md` §2.5.
    let (module, generation) = hub();
    let derived = keys(7).symmetric(&module, &generation);
    assert_eq!(derived.primary, "QLwU+PLAITGZvr67b/L9MVSgr+PxoBamiTBTIFPT5tM=");
    assert_eq!(derived.secondary, "wTwDM30JWkaSbKTeCsbCu90TY1wQ6Y6OQ2UsLt1ZEzo=");
    let text = b"hub.test%2Fdevices%2Fedge1%2Fmodules%2F%24edgeHub\n1795568400";
    let digest = keys(7).sign(&module, &generation, text);
    assert_eq!(STANDARD.encode(digest), "403esiV6WRAEAibvrHrwKbcHVNdUdHVCGIlzncWaUcQ=");
}

#[test]
fn no_two_identities_share_a_key() {
    let keys = keys(7);
    let mut seen = std::collections::BTreeSet::new();
    for module in ["a", "a:1", "a:1:2", "a:1:primary", "1", "A"] {
        for generation in ["1", "2", "12"] {
            let derived =
                keys.symmetric(&module.parse().unwrap(), &GenerationId::from_text(generation));
            assert!(seen.insert(derived.primary), "{module} {generation}");
            assert!(seen.insert(derived.secondary), "{module} {generation}");
        }
    }
}

#[test]
fn a_ciphertext_opens_for_its_module_generation_and_vector_only() {
    let bound = Bound { module: "m", generation: "1", vector: b"iv" };
    let sealed = keys(1).encrypt(bound, b"secret");
    assert_eq!(keys(1).decrypt(bound, &sealed).unwrap().as_slice(), b"secret");
    for other in [
        Bound { module: "m1", generation: "", ..bound },
        Bound { module: "n", ..bound },
        Bound { generation: "2", ..bound },
        Bound { vector: b"iw", ..bound },
        Bound { generation: "1i", vector: b"v", ..bound },
    ] {
        assert!(keys(1).decrypt(other, &sealed).is_err());
    }
    assert!(keys(2).decrypt(bound, &sealed).is_err());
    for index in 0..sealed.len() {
        let mut tampered = sealed.clone();
        tampered[index] ^= 1;
        assert!(keys(1).decrypt(bound, &tampered).is_err(), "byte {index}");
    }
}

#[test]
fn keys_are_made_once_sealed_and_private() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("keys");
    let (module, generation) = hub();
    let first = Keys::open(&dir).unwrap().symmetric(&module, &generation);
    let second = Keys::open(&dir).unwrap().symmetric(&module, &generation);
    assert_eq!(first, second);
    assert_eq!(fs::facts(&dir).unwrap().mode, 0o700);
    let files = fs::list(&dir).unwrap();
    assert_eq!(files.len(), 3);
    for file in &files {
        assert_eq!(fs::facts(file).unwrap().mode, 0o600, "{}", file.display());
    }
    // Only the master key is there in plain form.
    assert_eq!(fs::read(&dir.join("identity.sealed")).unwrap().len(), 1 + 4 + 12 + 32 + 16);
    assert!(!format!("{:?}", Keys::open(&dir).unwrap()).contains("master"));
}

#[test]
fn a_lost_readable_or_damaged_key_is_told_and_nothing_is_made_instead() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    Keys::open(dir).unwrap();
    let master = dir.join("master.key");
    let kept = fs::read(&master).unwrap();

    fs::set_mode(&master, 0o640).unwrap();
    assert!(matches!(Keys::open(dir).unwrap_err(), KeysError::Readable { mode: 0o640, .. }));

    fs::remove(&master).unwrap();
    let error = Keys::open(dir).unwrap_err();
    assert!(matches!(error, KeysError::MasterMissing { .. }), "{error}");
    assert!(!fs::exists(&master).unwrap());

    fs::write_atomic(&master, &[1; 32], 0o600).unwrap();
    let error = Keys::open(dir).unwrap_err();
    assert!(matches!(error, KeysError::Damaged { source: SealError::OtherKey, .. }), "{error}");

    fs::write_atomic(&master, &kept[..31], 0o600).unwrap();
    assert!(matches!(
        Keys::open(dir).unwrap_err(),
        KeysError::Damaged { source: SealError::KeySize, .. }
    ));

    fs::write_atomic(&master, &kept, 0o600).unwrap();
    let identity = dir.join("identity.sealed");
    let mut sealed = fs::read(&identity).unwrap();
    *sealed.last_mut().unwrap() ^= 1;
    fs::write_atomic(&identity, &sealed, 0o600).unwrap();
    assert!(matches!(
        Keys::open(dir).unwrap_err(),
        KeysError::Damaged { source: SealError::Damaged, .. }
    ));
    // What belongs to another place does not open here.
    fs::rename(&dir.join("encryption.sealed"), &identity).unwrap();
    assert!(Keys::open(dir).is_err());
}
