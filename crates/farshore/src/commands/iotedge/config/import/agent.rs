//! `agent`: the first module, with its environment, image and registry.

use super::out::{Out, value};
use super::section::Section;
use crate::commands::iotedge::config::yaml::Value;

pub(super) fn section(root: &mut Section<'_>, out: &mut Out) {
    let Some(mut section) = root.section("agent") else { return };
    out.section("agent");
    for key in ["name", "type", "imagePullPolicy"] {
        if let Some(text) = section.text(key) {
            out.text(key, text.value);
        }
    }
    if let Some(config) = section.section("config") {
        image(config, out);
    }
    if let Some(env) = section.section("env") {
        environment(env, out);
    }
    section.finish();
}

fn image(mut section: Section<'_>, out: &mut Out) {
    out.section("agent.config");
    for key in ["image", "digest"] {
        if let Some(text) = section.text(key) {
            out.text(key, text.value);
        }
    }
    if let Some(text) = section.text("imageHash") {
        section.note(text.line, "imageHash", "has no counterpart: write digest");
    }
    if let Some(options) = section.any("createOptions") {
        match &options.value {
            Value::Map(entries) if !entries.is_empty() => {
                out.raw("createOptions", &value(options).to_string());
            }
            Value::Map(_) | Value::Null => {}
            Value::Scalar { .. } | Value::List(_) => {
                section.problem(options.line, "createOptions", "is not a list of keys and values");
            }
        }
    }
    if let Some(mut auth) = section.section("auth") {
        let told: Vec<_> = ["serveraddress", "username", "password"]
            .into_iter()
            .filter_map(|key| Some((key, auth.text(key)?)))
            .collect();
        if !told.is_empty() {
            out.section("agent.config.auth");
            for (key, text) in told {
                out.text(key, text.value);
            }
        }
        auth.finish();
    }
    section.finish();
}

fn environment(section: Section<'_>, out: &mut Out) {
    let texts = section.texts();
    if texts.is_empty() {
        return;
    }
    out.section("agent.env");
    for (name, text) in texts {
        out.named(name, text);
    }
}
