//! Consumer groups: a row each, compared without case.

use async_trait::async_trait;
use model::ConsumerGroup;
use rusqlite::{Connection, params};

use super::Embedded;
use super::sqlite::Ticks;
use super::writer::Group;
use crate::StoreError;
use crate::consumer_groups::{ConsumerGroups, StoredGroup};
use crate::error::Result;

#[async_trait]
impl ConsumerGroups for Embedded {
    async fn consumer_groups(&self) -> Result<Vec<StoredGroup>> {
        self.readers.read(read).await
    }

    async fn create_consumer_group(&self, group: StoredGroup, limit: usize) -> Result<()> {
        let create = move |transaction: &mut Group<'_>| {
            let connection = transaction.connection();
            let stored = read(connection)?;
            if stored.iter().any(|other| other.name == group.name) {
                return Err(StoreError::Exists);
            }
            if stored.len() >= limit {
                return Err(StoreError::Full { what: "the list of consumer groups", limit });
            }
            let sql = "INSERT INTO consumer_groups (name, created) VALUES (?, ?)";
            let row = params![group.name.as_str(), Ticks(group.created)];
            connection.prepare_cached(sql)?.execute(row)?;
            Ok(())
        };
        self.writer.write(create).await
    }

    async fn delete_consumer_group(&self, name: &ConsumerGroup) -> Result<()> {
        let name = name.as_str().to_owned();
        let delete = move |transaction: &mut Group<'_>| {
            let sql = "DELETE FROM consumer_groups WHERE name = ?";
            match transaction.connection().prepare_cached(sql)?.execute([name])? {
                0 => Err(StoreError::NotFound),
                _ => Ok(()),
            }
        };
        self.writer.write(delete).await
    }
}

fn read(connection: &Connection) -> Result<Vec<StoredGroup>> {
    let mut statement =
        connection.prepare_cached("SELECT name, created FROM consumer_groups ORDER BY name")?;
    let mut rows = statement.query([])?;
    let mut groups = Vec::new();
    while let Some(row) = rows.next()? {
        let name: String = row.get(0)?;
        let corrupt = |error| StoreError::Corrupt(format!("consumer group {name:?}: {error}"));
        let Ticks(created) = row.get(1)?;
        groups.push(StoredGroup { name: name.parse().map_err(corrupt)?, created });
    }
    Ok(groups)
}
