//! `farshore statistics`: how many devices there are, and how many are connected.

use serde::Serialize;

use super::connection::Connection;
use super::failure::failed;
use crate::commands::Failure;
use crate::output::{Output, Table};

/// Arguments of `farshore statistics`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    output: Output,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Statistics {
    total_device_count: u64,
    enabled_device_count: u64,
    disabled_device_count: u64,
    connected_device_count: u64,
}

pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let hub = arguments.connection.hub()?;
    let devices = hub.client.device_statistics().await.map_err(failed)?;
    let service = hub.client.service_statistics().await.map_err(failed)?;
    let statistics = Statistics {
        total_device_count: devices.total_device_count,
        enabled_device_count: devices.enabled_device_count,
        disabled_device_count: devices.disabled_device_count,
        connected_device_count: service.connected_device_count,
    };
    arguments.output.one(&statistics, || {
        let mut table = Table::fields();
        table.row(["Devices", &statistics.total_device_count.to_string()]);
        table.row(["Enabled", &statistics.enabled_device_count.to_string()]);
        table.row(["Disabled", &statistics.disabled_device_count.to_string()]);
        table.row(["Connected", &statistics.connected_device_count.to_string()]);
        table
    })
}
