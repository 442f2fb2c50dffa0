//! `iotedge volume`: named volumes that modules brought, and removing those that nothing needs.
//!
//! The daemon answers: it knows what the deployments need, and it has the engine.

use client::edge::ManagementClient;
use iot_proto::management::{Volume, VolumeUse};
use serde_json::json;

use super::Form;
use super::failure::failed;
use crate::commands::Failure;
use crate::output::{Table, harmless, print, print_json};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// List the volumes that were made for modules, and who needs them
    List {
        #[command(flatten)]
        output: super::Output,
    },
    /// Remove the volumes that no deployment and no container needs, with what they hold
    Prune {
        /// Only say which they are
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        output: super::Output,
    },
}

pub(super) async fn run(management: &ManagementClient, command: &Command) -> Result<(), Failure> {
    match command {
        Command::List { output } => {
            let volumes = management.volumes().await.map_err(failed)?;
            match output.form {
                Form::Text => print(&table(&volumes)),
                Form::Json => print_json(&volumes),
            }
        }
        Command::Prune { dry_run, output } => {
            let volumes = management.prune_volumes(*dry_run).await.map_err(failed)?;
            match output.form {
                Form::Text => print(&told(&volumes, *dry_run)),
                Form::Json => print_json(&json!({ "volumes": volumes, "dryRun": dry_run })),
            }
        }
    }
}

fn table(volumes: &[Volume]) -> String {
    let mut table = Table::new(["NAME", "MODULE", "SIZE", "NEEDED BY"]);
    for volume in volumes {
        table.row([&volume.name, &volume.module, &size(volume), needed_by(volume.r#use)]);
    }
    table.to_text()
}

fn needed_by(r#use: VolumeUse) -> &'static str {
    match r#use {
        VolumeUse::Container => "a container",
        VolumeUse::Deployment => "the deployment, or the last good one",
        VolumeUse::EdgeHub => "the edge hub: messages may lie in it",
        VolumeUse::Nothing => "nothing",
    }
}

/// What a pruning did or would do, and how much room that makes.
fn told(volumes: &[Volume], is_dry_run: bool) -> String {
    let verb = if is_dry_run { "Would remove" } else { "Removed" };
    let mut text = String::new();
    for volume in volumes {
        let (name, module) = (harmless(&volume.name), harmless(&volume.module));
        text.push_str(&format!("{verb} {name} of {module} ({})\n", size(volume)));
    }
    let bytes: u64 = volumes.iter().filter_map(|volume| volume.size_bytes).sum();
    let count = match volumes.len() {
        0 => return "No volume is unused\n".to_owned(),
        1 => "1 volume".to_owned(),
        count => format!("{count} volumes"),
    };
    text.push_str(&format!("{verb} {count}, {}\n", bytes_text(bytes)));
    text
}

fn size(volume: &Volume) -> String {
    volume.size_bytes.map_or_else(|| "size unknown".to_owned(), bytes_text)
}

/// Powers of ten, as engines show sizes.
fn bytes_text(bytes: u64) -> String {
    let units = [(1_000_000_000, "GB"), (1_000_000, "MB"), (1000, "kB")];
    match units.iter().find(|(unit, _)| bytes >= *unit) {
        Some((unit, name)) => format!("{}.{} {name}", bytes / unit, bytes / (unit / 10) % 10),
        None => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(name: &str, r#use: VolumeUse, size_bytes: Option<u64>) -> Volume {
        Volume { name: name.into(), module: "sensor".into(), r#use, size_bytes }
    }

    #[test]
    fn volumes_are_listed_with_who_needs_them() {
        let volumes = [
            volume("cache", VolumeUse::Nothing, Some(12_345_678)),
            volume("data", VolumeUse::Container, None),
        ];
        let expected = "\
NAME             MODULE           SIZE             NEEDED BY
cache            sensor           12.3 MB          nothing
data             sensor           size unknown     a container
";
        let squeezed = |text: &str| -> Vec<String> {
            let words = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
            words.map(|words| words.join(" ")).collect()
        };
        assert_eq!(squeezed(&table(&volumes)), squeezed(expected));
    }

    #[test]
    fn a_pruning_says_what_it_did_and_how_much_room_it_made() {
        let unused = |name, size| volume(name, VolumeUse::Nothing, size);
        assert_eq!(told(&[], true), "No volume is unused\n");
        assert_eq!(
            told(&[unused("a", Some(999)), unused("b", Some(2_000))], true),
            "Would remove a of sensor (999 B)\nWould remove b of sensor (2.0 kB)\n\
             Would remove 2 volumes, 2.9 kB\n"
        );
        assert_eq!(
            told(&[unused("a", Some(3_000_000_000))], false),
            "Removed a of sensor (3.0 GB)\nRemoved 1 volume, 3.0 GB\n"
        );
    }
}
