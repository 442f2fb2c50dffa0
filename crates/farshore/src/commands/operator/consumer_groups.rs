//! `farshore consumer-group`: names under which back ends read the event log side by side.

use model::ConsumerGroup;

use super::connection::Connection;
use super::failure::failed;
use crate::commands::Failure;
use crate::output::print;

/// Arguments of `farshore consumer-group`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// List the consumer groups
    List,
    /// Create a consumer group; one that exists stays as it is
    Create {
        /// Its name: up to 50 letters, digits and . - _
        name: ConsumerGroup,
    },
    /// Delete a consumer group; its readers are ended
    Delete {
        /// Its name
        name: ConsumerGroup,
    },
}

pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let hub = arguments.connection.hub()?;
    match arguments.action {
        Action::List => {
            for name in hub.client.consumer_groups().await.map_err(failed)? {
                print(&format!("{name}\n"))?;
            }
            Ok(())
        }
        Action::Create { name } => hub.client.create_consumer_group(name).await.map_err(failed),
        Action::Delete { name } => hub.client.delete_consumer_group(name).await.map_err(failed),
    }
}
