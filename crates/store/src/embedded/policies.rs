//! Shared access policies: a table, and the same in memory.

use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::RwLock;
use rusqlite::{Connection, params};

use super::Embedded;
use super::sealing::{Place, Sealer};
use super::writer::Group;
use crate::error::Result;
use crate::policies::{Policies, Policy, Rights};

#[async_trait]
impl Policies for Embedded {
    async fn policies(&self) -> Result<Vec<Policy>> {
        Ok(self.policies.read().clone())
    }

    async fn put_policy(&self, policy: Policy) -> Result<()> {
        let sealer = self.sealer.clone();
        let put = move |group: &mut Group<'_>| {
            let connection = group.connection();
            let keys = sealer.close_keys(place(&policy.name), &policy.keys);
            let sql = "INSERT INTO policies (name, rights, keys) VALUES (?1, ?2, ?3)
                       ON CONFLICT (name) DO UPDATE SET rights = ?2, keys = ?3";
            let rights = to_bits(policy.rights);
            connection.prepare_cached(sql)?.execute(params![policy.name, rights, keys])?;
            read(connection, &sealer)
        };
        let cached = self.policies.clone();
        let install = move |all: &Vec<Policy>| *cached.write() = all.clone();
        self.writer.write_then(put, install).await.map(drop)
    }
}

/// The policies in memory.
pub(super) type Cached = Arc<RwLock<Vec<Policy>>>;

/// All policies in the database.
pub(super) fn read(connection: &Connection, sealer: &Sealer) -> Result<Vec<Policy>> {
    let sql = "SELECT name, rights, keys FROM policies ORDER BY name";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([])?;
    let mut policies = Vec::new();
    while let Some(row) = rows.next()? {
        let name: String = row.get(0)?;
        let rights = from_bits(row.get(1)?);
        let sealed: Vec<u8> = row.get(2)?;
        let keys = sealer.open_keys(place(&name), &sealed)?;
        policies.push(Policy { name, keys, rights });
    }
    Ok(policies)
}

fn place(id: &str) -> Place<'_> {
    Place { table: "policies", id }
}

fn to_bits(rights: Rights) -> i64 {
    let Rights { registry_read, registry_write, service_connect, device_connect } = rights;
    [registry_read, registry_write, service_connect, device_connect]
        .into_iter()
        .enumerate()
        .map(|(bit, right)| i64::from(right) << bit)
        .sum()
}

fn from_bits(bits: i64) -> Rights {
    let right = |bit: u32| bits & (1 << bit) != 0;
    Rights {
        registry_read: right(0),
        registry_write: right(1),
        service_connect: right(2),
        device_connect: right(3),
    }
}
