//! Certificates by thumbprint, and what becomes of a session when what proved it changes.
//! (`device-protocol.md` §2.2. Chains to authorities are `pki::chain`'s tests.)

use std::sync::Arc;

use pki::certificate::{thumbprint_sha1, thumbprint_sha256};

use super::*;
use crate::auth::still_holds;
use crate::peer::Peer;

/// A leaf is compared as it is, so any bytes do.
const FIRST: &[u8] = b"the first certificate";
const SECOND: &[u8] = b"the second certificate";
const FOREIGN: &[u8] = b"somebody else's certificate";

fn self_signed(primary: Option<String>, secondary: Option<String>) -> Registered {
    let mut registered = registered();
    let x509 = registered.credentials.get_mut(&id("x509")).unwrap();
    x509.authentication = Authentication::SelfSigned { primary, secondary };
    registered
}

async fn present(registered: &Registered, who: &str, leaf: &[u8]) -> Result<Principal, AuthError> {
    let chain = [leaf.to_vec()];
    identity(registered, &id(who), None, Proof::Certificate(&chain), now()).await
}

#[tokio::test]
async fn either_registered_certificate_lets_in_and_no_other() {
    let registered =
        self_signed(Some(thumbprint_sha1(FIRST)), Some(thumbprint_sha256(SECOND).to_lowercase()));
    for leaf in [FIRST, SECOND] {
        let principal = present(&registered, "x509", leaf).await.unwrap();
        assert_eq!(principal.method, AuthMethod::DeviceX509);
    }
    let refused = [
        ("x509", FOREIGN, "certificate"),
        // A device with keys does not get in by a certificate, whose ever it is.
        ("dev1", FIRST, "another way"),
        ("nobody", FIRST, "not registered"),
    ];
    for (who, leaf, reason) in refused {
        let error = present(&registered, who, leaf).await.unwrap_err();
        assert!(error.to_string().contains(reason), "{who}: {error}");
    }
    let nothing = identity(&registered, &id("x509"), None, Proof::None, now()).await;
    assert!(nothing.unwrap_err().to_string().contains("neither token"));
    let mut disabled = self_signed(Some(thumbprint_sha1(FIRST)), None);
    disabled.credentials.get_mut(&id("x509")).unwrap().status = Status::Disabled;
    let error = present(&disabled, "x509", FIRST).await.unwrap_err();
    assert!(error.to_string().contains("disabled"), "{error}");
}

#[tokio::test]
async fn only_the_leaf_of_a_chain_counts() {
    let registered = self_signed(Some(thumbprint_sha256(FIRST)), None);
    let chain = [FOREIGN.to_vec(), FIRST.to_vec()];
    let proof = Proof::Certificate(&chain);
    assert!(identity(&registered, &id("x509"), None, proof, now()).await.is_err());
}

/// A certificate that is presented beside a token does not make up for the token.
#[test]
fn a_token_that_is_there_counts_alone() {
    let mut peer = Peer::new("127.0.0.1:1".parse().unwrap());
    peer.certificates = Some(Arc::from([FIRST.to_vec()]));
    assert!(matches!(Proof::of(Some("token"), &peer), Proof::Token("token")));
    assert!(matches!(Proof::of(None, &peer), Proof::Certificate(_)));
}

/// A second certificate is added, the device moves to it, the first is replaced: each session lives
/// as long as what proved it is registered, and no longer.
#[tokio::test]
async fn a_session_holds_while_its_own_certificate_is_registered() {
    let (first, second) = (thumbprint_sha256(FIRST), thumbprint_sha256(SECOND));
    let old = present(&self_signed(Some(first.clone()), None), "x509", FIRST).await.unwrap();
    let both = self_signed(Some(first), Some(second.clone()));
    assert!(still_holds(&both, &old).await.is_ok());
    let new = present(&both, "x509", SECOND).await.unwrap();
    let replaced = self_signed(Some(thumbprint_sha256(FOREIGN)), Some(second));
    assert!(still_holds(&replaced, &old).await.is_err());
    assert!(still_holds(&replaced, &new).await.is_ok());
}

/// The same with keys; and a policy's key, an edge hub's key, a status and a generation.
#[tokio::test]
async fn a_session_holds_while_its_own_key_is_registered() {
    let own = |key: &str| token("hub.test/devices/dev1", key, later(60), None);
    let (by_first, by_second) = (
        check("dev1", &own(&key(1))).await.unwrap(),
        check("dev1", &own(&key(101))).await.unwrap(),
    );
    let mut rolled = registered();
    rolled.credentials.get_mut(&id("dev1")).unwrap().authentication =
        Authentication::Sas(SymmetricKeys { primary: key(77), secondary: key(101) });
    assert!(still_holds(&rolled, &by_first).await.is_err());
    assert!(still_holds(&rolled, &by_second).await.is_ok());

    let by_policy = token("hub.test", &key(20), later(60), Some("device"));
    let by_policy = check("dev1", &by_policy).await.unwrap();
    assert!(still_holds(&rolled, &by_policy).await.is_ok(), "keys are none of a policy's business");
    let mut without = registered();
    without.policies.remove("device");
    assert!(still_holds(&without, &by_policy).await.is_err());

    let mut disabled = registered();
    disabled.credentials.get_mut(&id("dev1")).unwrap().status = Status::Disabled;
    assert!(still_holds(&disabled, &by_second).await.is_err());
    let mut anew = registered();
    anew.credentials.get_mut(&id("dev1")).unwrap().generation = GenerationId::from_number(2);
    assert!(still_holds(&anew, &by_second).await.is_err());
}
