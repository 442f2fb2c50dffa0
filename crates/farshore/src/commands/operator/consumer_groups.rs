//! `farshore consumer-group`: names under which back ends read the event log side by side.

use model::ConsumerGroup;

use super::connection::Connection;
use super::failure::failed;
use crate::commands::{Failure, NOT_FOUND};
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
        Action::Create { name } => {
            hub.client.create_consumer_group(name.clone()).await.map_err(failed)?;
            eprintln!(
                "consumer group {name} is there; read with: farshore monitor --consumer-group {name}"
            );
            Ok(())
        }
        Action::Delete { name } => {
            match hub.client.delete_consumer_group(name.clone()).await {
                Ok(()) => {}
                Err(error) if error.code_name() == Some("GenericNotFound") => {
                    return Err(Failure::new(
                        NOT_FOUND,
                        format!(
                            "there is no consumer group {name}; list them with: farshore consumer-group list"
                        ),
                    ));
                }
                Err(error) => return Err(failed(error)),
            }
            eprintln!("consumer group {name} is deleted");
            Ok(())
        }
    }
}
