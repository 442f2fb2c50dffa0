//! The new file as it is written: keys without a section come first in TOML, whenever they are found.

use std::fmt::Write as _;

use toml::Value as Toml;

use crate::commands::iotedge::config::yaml::{Node, Value};

/// A `config.toml` that grows.
#[derive(Default)]
pub(super) struct Out {
    top: String,
    sections: String,
}

impl Out {
    /// A key without a section.
    pub(super) fn top(&mut self, key: &str, text: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.top, "{key} = {}", Toml::from(text));
    }

    /// Begins a section.
    pub(super) fn section(&mut self, name: &str) {
        let _ = write!(self.sections, "\n[{name}]\n");
    }

    pub(super) fn text(&mut self, key: &str, text: &str) {
        self.raw(key, &Toml::from(text).to_string());
    }

    /// With a name that is not ours.
    pub(super) fn named(&mut self, name: &str, text: &str) {
        self.raw(&Toml::from(name).to_string(), &Toml::from(text).to_string());
    }

    /// A key in Base64, in the file itself.
    pub(super) fn symmetric_key(&mut self, key: &str, base64: &str) {
        self.raw(key, &format!("{{ value = {} }}", Toml::from(base64)));
    }

    /// A value that is TOML already.
    pub(super) fn raw(&mut self, key: &str, value: &str) {
        let _ = writeln!(self.sections, "{key} = {value}");
    }

    pub(super) fn into_text(self) -> String {
        format!("{HEAD}{}{}", self.top, self.sections)
    }
}

/// A whole tree, where its shape is not ours: plain numbers and truth values become such, what is
/// nothing is left out.
pub(super) fn value(node: &Node) -> Toml {
    match &node.value {
        Value::Null => Toml::from(""),
        Value::Scalar { text, is_plain } => scalar(text, *is_plain),
        Value::List(nodes) => Toml::Array(nodes.iter().map(value).collect()),
        Value::Map(entries) => {
            let there = entries.iter().filter(|(_, node)| !matches!(node.value, Value::Null));
            Toml::Table(there.map(|(name, node)| (name.clone(), value(node))).collect())
        }
    }
}

fn scalar(text: &str, is_plain: bool) -> Toml {
    if !is_plain {
        return Toml::from(text);
    }
    let starts_as_number = text.starts_with(|c: char| c.is_ascii_digit() || c == '-');
    match text {
        "true" | "True" | "TRUE" => Toml::from(true),
        "false" | "False" | "FALSE" => Toml::from(false),
        _ if starts_as_number => match (text.parse::<i64>(), text.parse::<f64>()) {
            (Ok(number), _) => Toml::from(number),
            (_, Ok(number)) if number.is_finite() => Toml::from(number),
            _ => Toml::from(text),
        },
        _ => Toml::from(text),
    }
}

const HEAD: &str = "\
# Settings of this edge device, in the form of Azure IoT Edge; converted by `iotedge config import`.
# The file holds the device's keys: keep it readable by its owner only (mode 0600).

";
