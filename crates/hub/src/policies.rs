//! The shared access policies that a new hub gets (`service-api.md` §1.1).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use model::identity::SymmetricKeys;
use store::policies::{Policy, Rights};
use store::{StoreError, Stores};

/// Makes the default policies with fresh keys where the hub has none of their names.
pub async fn ensure_defaults(stores: &Stores) -> Result<Vec<Policy>, StoreError> {
    let present = stores.policies.policies().await?;
    for (name, rights) in defaults() {
        if !present.iter().any(|policy| policy.name == name) {
            let policy = Policy { name: name.to_owned(), keys: new_keys(), rights };
            stores.policies.put_policy(policy).await?;
        }
    }
    stores.policies.policies().await
}

fn new_keys() -> SymmetricKeys {
    let key = || STANDARD.encode(host::entropy::bytes::<32>());
    SymmetricKeys { primary: key(), secondary: key() }
}

fn defaults() -> [(&'static str, Rights); 5] {
    let none = Rights::default();
    let registry_read = Rights { registry_read: true, ..none };
    let registry_write = Rights { registry_write: true, ..registry_read };
    [
        ("iothubowner", Rights { service_connect: true, device_connect: true, ..registry_write }),
        ("service", Rights { service_connect: true, ..none }),
        ("device", Rights { device_connect: true, ..none }),
        ("registryRead", registry_read),
        ("registryReadWrite", registry_write),
    ]
}
