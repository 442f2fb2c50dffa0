//! `farshore twin`: what devices and modules shall be, and what they say they are. A twin is a
//! JSON document and is printed as one.

use std::path::PathBuf;

use iot_proto::etag::IfMatch;
use iot_proto::payload::twin::read_change;
use model::twin::{Object, TwinChange};

use super::confirm::Yes;
use super::connection::Connection;
use super::failure::failed;
use super::input::{self, Target};
use crate::commands::{Failure, USAGE};
use crate::output::Output;

/// Arguments of `farshore twin`.
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
    /// Show a twin
    Show(Target),
    /// Merge changes into desired properties and tags; null removes a property
    Update {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        change: Change,
    },
    /// Put other desired properties and tags in the place of those that there are
    Replace {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        change: Change,
        #[command(flatten)]
        yes: Yes,
    },
}

#[derive(Debug, clap::Args)]
struct Change {
    /// Desired properties
    #[arg(long, value_name = "JSON")]
    desired: Option<String>,
    /// Tags
    #[arg(long, value_name = "JSON")]
    tags: Option<String>,
    /// A file with tags and properties.desired, such as a twin that was shown; - is standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["desired", "tags"])]
    file: Option<PathBuf>,
}

impl Change {
    fn read(&self) -> Result<TwinChange, Failure> {
        let change = match &self.file {
            Some(path) => {
                let bytes = input::file(path)?;
                read_change(&bytes).map_err(|fault| {
                    Failure::new(USAGE, format!("{}: {}", path.display(), fault.detail))
                })?
            }
            None => TwinChange {
                desired: section(self.desired.as_deref(), "--desired")?,
                tags: section(self.tags.as_deref(), "--tags")?,
            },
        };
        if change == TwinChange::default() {
            return Err(Failure::new(
                USAGE,
                "nothing to change: give --desired, --tags or --file with tags or properties.desired",
            ));
        }
        Ok(change)
    }
}

fn section(text: Option<&str>, option: &str) -> Result<Option<Object>, Failure> {
    text.map(|text| input::object(text.as_bytes(), option)).transpose()
}

pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let output = arguments.output;
    let hub = || arguments.connection.hub();
    let twin = match &arguments.verb {
        Verb::Show(target) => hub()?.client.twin(&target.identity()).await,
        Verb::Update { target, change } => {
            let change = change.read()?;
            hub()?.client.patch_twin(&target.identity(), &change, &IfMatch::Any).await
        }
        Verb::Replace { target, change, yes } => {
            let change = change.read()?;
            let identity = target.identity();
            yes.confirm(&format!("replace tags and desired properties of {identity}"))?;
            hub()?.client.replace_twin(&identity, &change, &IfMatch::Any).await
        }
    };
    output.document(&twin.map_err(failed)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(desired: Option<&str>, tags: Option<&str>) -> Change {
        Change { desired: desired.map(str::to_owned), tags: tags.map(str::to_owned), file: None }
    }

    #[test]
    fn a_change_is_read_from_options_or_a_shown_twin() {
        let from_options = change(Some(r#"{"a":null}"#), None).read().unwrap();
        assert_eq!(from_options.tags, None);
        assert!(from_options.desired.unwrap()["a"].is_null());

        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("twin.json");
        let shown = br#"{"deviceId":"d","tags":{"t":1},"properties":{"desired":{"a":2},"reported":{"r":3}}}"#;
        host::fs::write_atomic(&path, shown, 0o600).unwrap();
        let read = Change { desired: None, tags: None, file: Some(path) }.read().unwrap();
        assert_eq!(read.tags.unwrap()["t"], 1);
        assert_eq!(read.desired.unwrap()["a"], 2);
    }

    #[test]
    fn what_changes_nothing_or_is_no_object_is_refused() {
        for (given, says) in [
            (change(None, None), "nothing to change"),
            (change(Some("3"), None), "--desired"),
            (change(None, Some(r#"{"a":1,"a":2}"#)), "--tags"),
        ] {
            let failure = given.read().unwrap_err();
            assert!(failure.message().unwrap().contains(says), "{failure:?}");
            assert_eq!(failure.code(), USAGE);
        }
    }
}
