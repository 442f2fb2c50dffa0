//! MQTT sessions: a row each, subscriptions as a JSON object.

use async_trait::async_trait;
use model::IdentityId;
use rusqlite::{Connection, OptionalExtension, params};

use super::Embedded;
use super::writer::Group;
use crate::StoreError;
use crate::error::Result;
use crate::sessions::{Sessions, Subscriptions};

#[async_trait]
impl Sessions for Embedded {
    async fn load(&self, id: &IdentityId) -> Result<Option<Subscriptions>> {
        let id = id.clone();
        let read = move |connection: &Connection| {
            let sql = "SELECT subscriptions FROM sessions WHERE device = ? AND module = ?";
            let mut statement = connection.prepare_cached(sql)?;
            let text: Option<String> =
                statement.query_row(key(&id), |row| row.get(0)).optional()?;
            let corrupt = |error| StoreError::Corrupt(format!("session of {id}: {error}"));
            text.map(|text| serde_json::from_str(&text).map_err(corrupt)).transpose()
        };
        self.readers.read(read).await
    }

    async fn save(&self, id: &IdentityId, subscriptions: Subscriptions) -> Result<()> {
        let id = id.clone();
        let text = serde_json::to_string(&subscriptions).expect("texts and numbers are JSON");
        let save = move |group: &mut Group<'_>| {
            let [device, module] = key(&id);
            // Only of an identity that is there; each has a twin.
            let sql = "INSERT INTO sessions (device, module, subscriptions)
                       SELECT device, module, ?3 FROM twins WHERE device = ?1 AND module = ?2
                       ON CONFLICT (device, module) DO UPDATE SET subscriptions = ?3";
            let connection = group.connection();
            match connection.prepare_cached(sql)?.execute(params![device, module, text])? {
                0 => Err(StoreError::NotFound),
                _ => Ok(()),
            }
        };
        self.writer.write(save).await
    }

    async fn clear(&self, id: &IdentityId) -> Result<()> {
        // Most clients begin with a clean session, so most have nothing to forget: then the disk
        // need not be waited for.
        if self.load(id).await?.is_none() {
            return Ok(());
        }
        let id = id.clone();
        let clear = move |group: &mut Group<'_>| {
            let sql = "DELETE FROM sessions WHERE device = ? AND module = ?";
            group.connection().prepare_cached(sql)?.execute(key(&id))?;
            Ok(())
        };
        self.writer.write(clear).await
    }
}

fn key(id: &IdentityId) -> [&str; 2] {
    [id.device.as_str(), id.module.as_ref().map_or("", |module| module.as_str())]
}
