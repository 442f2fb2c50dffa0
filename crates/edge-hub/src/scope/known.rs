//! One identity as it is known here, and how it lies in the database: sealed, because keys are in it.

use std::collections::HashMap;

use gateway::auth::Credential;
use iot_proto::payload::AuthenticationJson;
use model::identity::{Authentication, Status};
use model::{GenerationId, IdentityId};
use rusqlite::params;
use serde::{Deserialize, Serialize};

use crate::state::{Seal, State, StateError};

/// An identity of the scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    generation: GenerationId,
    status: Status,
    authentication: Authentication,
}

/// As it is stored.
#[derive(Serialize, Deserialize)]
struct Stored {
    generation: String,
    status: Status,
    authentication: AuthenticationJson,
}

impl Known {
    pub(super) fn new(
        generation: &GenerationId,
        status: Status,
        authentication: &Authentication,
    ) -> Self {
        let (generation, authentication) = (generation.clone(), authentication.clone());
        Self { generation, status, authentication }
    }

    pub(super) fn status(&self) -> Status {
        self.status
    }

    pub(super) fn credential(&self) -> Credential {
        Credential {
            generation: self.generation.clone(),
            status: self.status,
            authentication: self.authentication.clone(),
            // Nested edge devices are not served by this version.
            parent: None,
        }
    }

    fn seal(&self, seal: &Seal, id: &str) -> String {
        let stored = Stored {
            generation: self.generation.to_string(),
            status: self.status,
            authentication: (&self.authentication).into(),
        };
        seal.seal(PLACE, id, &stored)
    }

    fn open(seal: &Seal, id: &str, sealed: &str) -> Option<Self> {
        let stored: Stored = seal.open(PLACE, id, sealed)?;
        Some(Self {
            generation: GenerationId::from_text(&stored.generation),
            status: stored.status,
            authentication: stored.authentication.to_model().ok()?,
        })
    }
}

/// Who of those known before is another now; with whether it is gone. Sessions of these must prove
/// themselves again.
pub(super) fn changed(
    before: &HashMap<IdentityId, Known>,
    after: &HashMap<IdentityId, Known>,
) -> Vec<(IdentityId, bool)> {
    let changed = |(id, known): (&IdentityId, &Known)| match after.get(id) {
        None => Some((id.clone(), true)),
        Some(now) if now != known => Some((id.clone(), false)),
        Some(_) => None,
    };
    before.iter().filter_map(changed).collect()
}

/// Everything that is stored and can be opened.
pub(super) async fn load(
    state: &State,
    seal: &Seal,
) -> Result<HashMap<IdentityId, Known>, StateError> {
    let rows: Vec<(String, String)> = state
        .with(|connection| {
            let mut statement = connection.prepare("SELECT id, sealed FROM identities")?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect()
        })
        .await?;
    let open =
        |(id, sealed): (String, String)| Some((id.parse().ok()?, Known::open(seal, &id, &sealed)?));
    Ok(rows.into_iter().filter_map(open).collect())
}

/// Replaces everything.
pub(super) async fn store_all(
    state: &State,
    seal: &Seal,
    known: HashMap<IdentityId, Known>,
) -> Result<(), StateError> {
    let seal = seal.clone();
    state
        .with(move |connection| {
            connection.execute("DELETE FROM identities", [])?;
            let mut insert = connection.prepare_cached(PUT)?;
            for (id, known) in &known {
                let id = id.to_string();
                insert.execute(params![id, known.seal(&seal, &id)])?;
            }
            Ok(())
        })
        .await
}

/// Stores one, or forgets it.
pub(super) async fn store_one(
    state: &State,
    seal: &Seal,
    id: &IdentityId,
    known: Option<Known>,
) -> Result<(), StateError> {
    let id = id.to_string();
    let sealed = known.map(|known| known.seal(seal, &id));
    state
        .with(move |connection| match sealed {
            Some(sealed) => connection.prepare_cached(PUT)?.execute(params![id, sealed]).map(drop),
            None => {
                let sql = "DELETE FROM identities WHERE id = ?";
                connection.prepare_cached(sql)?.execute([id]).map(drop)
            }
        })
        .await
}

const PLACE: &str = "identities";
const PUT: &str = "INSERT INTO identities (id, sealed) VALUES (?1, ?2)
                   ON CONFLICT (id) DO UPDATE SET sealed = ?2";

#[cfg(test)]
mod tests {
    use model::identity::SymmetricKeys;

    use super::*;

    fn known(generation: u64, key: &str) -> Known {
        let keys = SymmetricKeys { primary: key.into(), secondary: key.into() };
        Known::new(
            &GenerationId::from_number(generation),
            Status::Enabled,
            &Authentication::Sas(keys),
        )
    }

    const KEY_A: &str = "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=";
    const KEY_B: &str = "QkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkI=";

    #[tokio::test]
    async fn identities_come_back_and_their_keys_do_not_lie_open() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(dir.path()).unwrap();
        let seal = Seal::new([7; 32]);
        let a: IdentityId = "edge1/a".parse().unwrap();
        let all = HashMap::from([
            (a.clone(), known(1, KEY_A)),
            ("leaf".parse().unwrap(), known(2, KEY_B)),
        ]);
        store_all(&state, &seal, all.clone()).await.unwrap();
        assert_eq!(load(&state, &seal).await.unwrap(), all);
        store_one(&state, &seal, &a, None).await.unwrap();
        assert_eq!(load(&state, &seal).await.unwrap().len(), 1);
        // With another key they count as absent.
        assert!(load(&state, &Seal::new([8; 32])).await.unwrap().is_empty());
        drop(state);
        for path in host::fs::list(dir.path()).unwrap() {
            let bytes = host::fs::read(&path).unwrap();
            assert!(!String::from_utf8_lossy(&bytes).contains("QkJCQkJC"), "{}", path.display());
        }
    }

    #[test]
    fn whoever_changed_must_prove_itself_again() {
        let id = |text: &str| text.parse::<IdentityId>().unwrap();
        let before = HashMap::from([
            (id("a"), known(1, KEY_A)),
            (id("b"), known(1, KEY_A)),
            (id("c"), known(1, KEY_A)),
        ]);
        let after = HashMap::from([
            (id("a"), known(1, KEY_A)),
            (id("b"), known(1, KEY_B)),
            (id("d"), known(1, KEY_A)),
        ]);
        let mut changed = changed(&before, &after);
        changed.sort();
        assert_eq!(changed, [(id("b"), false), (id("c"), true)]);
    }
}
