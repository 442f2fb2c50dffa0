//! `farshore deployment`: which modules an edge device runs.

use std::path::PathBuf;

use manifest::AgentConfig;
use manifest::content::{TwinReplacement, plan_apply};
use model::twin::Object;
use model::{DeviceId, ModuleId};
use serde::Serialize;
use serde_json::Value;

use super::connection::Connection;
use super::failure::failed;
use super::input;
use crate::commands::{FAILED, Failure, USAGE};
use crate::output::{Output, Table, harmless};

/// Arguments of `farshore deployment`.
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
    /// Set the modules of one edge device
    Apply {
        /// Device id
        device: DeviceId,
        /// The deployment manifest, JSON; - is standard input
        #[arg(long, value_name = "FILE")]
        manifest: PathBuf,
    },
}

pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let Verb::Apply { device, manifest } = &arguments.verb;
    let text = input::file(manifest)?;
    let name = manifest.display().to_string();
    let (content, plan) = check(&text, &name)?;
    let hub = arguments.connection.hub()?;
    let found = hub.client.device(device).await.map_err(failed)?;
    if !found.capabilities.iot_edge {
        return Err(Failure::new(
            FAILED,
            format!(
                "device {device} is not an edge device; modules run on devices created with --edge"
            ),
        ));
    }
    let body = serde_json::to_vec(&content)?;
    hub.client.apply_content(device, body).await.map_err(failed)?;
    eprintln!(
        "deployment is applied to {device}; see what it makes of it: farshore twin show {device} --module '$edgeAgent'"
    );
    let rows = rows(&plan);
    arguments.output.list(&rows, || {
        let mut table = Table::new(["MODULE", "STATUS", "IMAGE"]);
        for row in &rows {
            table.row([&row.module, row.status, &row.image]);
        }
        table
    })
}

/// A module that the device is to have.
#[derive(Debug, PartialEq, Serialize)]
struct Row {
    module: String,
    status: &'static str,
    image: String,
}

/// What the manifest wants to run; a part of a manifest does not tell.
fn rows(plan: &[TwinReplacement]) -> Vec<Row> {
    let agent = plan.iter().find(|entry| entry.module == ModuleId::edge_agent());
    let whole = agent.and_then(|entry| entry.resulting_desired(&Object::new()).ok());
    let Some(config) = whole.and_then(|whole| AgentConfig::parse(&whole).ok()) else {
        return Vec::new();
    };
    let rows = config.all_modules().map(|(module, config)| Row {
        module: module.to_string(),
        status: config.status.as_str(),
        image: config.image.as_str().to_owned(),
    });
    rows.collect()
}

/// Reads a manifest and says what is wrong with it before anything is sent. A file may hold the
/// content itself or, as configurations do, have it in `content`.
fn check(text: &[u8], name: &str) -> Result<(Object, Vec<TwinReplacement>), Failure> {
    let wrong = |what: String| Failure::new(USAGE, format!("{name}: {}", harmless(&what)));
    let mut document = model::twin::parse_object(text).map_err(|error| wrong(error.to_string()))?;
    if !document.contains_key("modulesContent")
        && let Some(Value::Object(content)) = document.shift_remove("content")
    {
        document = content;
    }
    let plan = plan_apply(&document).map_err(|error| {
        let failure = Failure::from(error);
        wrong(failure.message().unwrap_or_default().to_owned())
    })?;
    Ok((document, plan))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"modulesContent":{"$edgeAgent":{"properties.desired":{"schemaVersion":"1.1",
        "runtime":{"type":"docker","settings":{}},
        "systemModules":{"edgeAgent":{"type":"docker","settings":{"image":"mcr.microsoft.com/azureiotedge-agent:1.5"}}},
        "modules":{}}}}}"#;

    #[test]
    fn content_is_found_alone_or_in_a_configuration() {
        let (_, plan) = check(GOOD.as_bytes(), "m.json").unwrap();
        assert_eq!(plan[0].module.as_str(), "$edgeAgent");
        let wrapped = format!(r#"{{"id":"c1","content":{GOOD}}}"#);
        let (content, plan) = check(wrapped.as_bytes(), "m.json").unwrap();
        assert_eq!(plan.len(), 1);
        assert!(content.contains_key("modulesContent"));
    }

    #[test]
    fn what_will_run_is_told() {
        let module = r#""modules":{"m1":{"type":"docker","status":"stopped","settings":{"image":"registry/m1:2"}}}"#;
        let (_, plan) =
            check(GOOD.replace(r#""modules":{}"#, module).as_bytes(), "m.json").unwrap();
        let expected =
            Row { module: "m1".into(), status: "stopped", image: "registry/m1:2".into() };
        assert_eq!(rows(&plan), [expected]);
        let part =
            br#"{"modulesContent":{"$edgeAgent":{"properties.desired.modules.m1":{"a":1}}}}"#;
        assert_eq!(rows(&check(part, "m.json").unwrap().1), []);
    }

    #[test]
    fn a_bad_manifest_is_refused_with_file_path_and_fix() {
        for (from, to, says) in [
            ("\"1.1\"", "\"2.0\"", "use 1.0 or 1.1"),
            ("\"type\":\"docker\",\"settings\":{}", "\"settings\":{}", "runtime.type"),
            ("azureiotedge-agent:1.5", "azure iot", "systemModules.edgeAgent.settings.image"),
            ("modulesContent", "moduleContents", "modulesContent"),
            ("{\"modulesContent\"", "{{\"modulesContent\"", "not a JSON object"),
        ] {
            let failure = check(GOOD.replacen(from, to, 1).as_bytes(), "m.json").unwrap_err();
            let message = failure.message().unwrap();
            assert!(message.starts_with("m.json: ") && message.contains(says), "{message}");
            assert_eq!(failure.code(), USAGE);
        }
    }
}
