//! `farshore module`: identities of a device's modules.

use iot_proto::etag::IfMatch;
use iot_proto::payload::module::{ModuleJson, ModuleWrite};
use model::{DeviceId, ModuleId};

use super::confirm::Yes;
use super::connection::{Connection, Hub};
use super::devices::{authentication_rows, mask, shown_time};
use super::failure::failed;
use super::proof::Proof;
use crate::commands::Failure;
use crate::output::{Output, Table};

/// Arguments of `farshore module`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    output: Output,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Create a module; the hub makes its keys, unless a certificate is named
    Create {
        /// Device id
        device: DeviceId,
        /// Module id
        module: ModuleId,
        #[command(flatten)]
        proof: Proof,
    },
    /// Show a module
    Show {
        /// Device id
        device: DeviceId,
        /// Module id
        module: ModuleId,
        /// Show its keys instead of asterisks
        #[arg(long)]
        show_keys: bool,
    },
    /// List the modules of a device
    List {
        /// Device id
        device: DeviceId,
    },
    /// Delete a module and its twin
    Delete {
        /// Device id
        device: DeviceId,
        /// Module id
        module: ModuleId,
        #[command(flatten)]
        yes: Yes,
    },
}

pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let hub = arguments.connection.hub()?;
    let output = arguments.output;
    match arguments.verb {
        Verb::Create { device, module, proof } => {
            let write = ModuleWrite { managed_by: None, authentication: proof.into() };
            let made = hub.client.put_module(&device, &module, &write, &IfMatch::Absent).await;
            let made = made.map_err(failed)?;
            eprintln!("module {device}/{module} is created");
            show(output, made, false)
        }
        Verb::Show { device, module, show_keys } => {
            let found = hub.client.module(&device, &module).await.map_err(failed)?;
            show(output, found, show_keys)
        }
        Verb::List { device } => list(&hub, output, &device).await,
        Verb::Delete { device, module, yes } => {
            yes.confirm(&format!("delete module {device}/{module} and its twin"))?;
            hub.client.delete_module(&device, &module, &IfMatch::Any).await.map_err(failed)?;
            eprintln!("module {device}/{module} is deleted");
            Ok(())
        }
    }
}

async fn list(hub: &Hub, output: Output, device: &DeviceId) -> Result<(), Failure> {
    let mut modules = hub.client.modules(device).await.map_err(failed)?;
    for module in &mut modules {
        mask(&mut module.authentication);
    }
    output.list(&modules, || {
        let mut table = Table::new(["MODULE", "MANAGED BY", "CONNECTION", "LAST ACTIVITY"]);
        for module in &modules {
            table.row([
                &module.module_id,
                module.managed_by.as_deref().unwrap_or_default(),
                &module.connection_state,
                &shown_time(&module.last_activity_time),
            ]);
        }
        table
    })
}

fn show(output: Output, mut module: ModuleJson, show_keys: bool) -> Result<(), Failure> {
    if !show_keys {
        mask(&mut module.authentication);
    }
    output.one(&module, || {
        let mut table = Table::fields();
        table.row(["Device", &module.device_id]);
        table.row(["Module", &module.module_id]);
        table.row(["Managed by", module.managed_by.as_deref().unwrap_or_default()]);
        table.row(["Connection", &module.connection_state]);
        table.row(["Last activity", &shown_time(&module.last_activity_time)]);
        authentication_rows(&mut table, &module.authentication);
        table.row(["Generation", &module.generation_id]);
        table.row(["Etag", &module.etag]);
        table
    })
}
