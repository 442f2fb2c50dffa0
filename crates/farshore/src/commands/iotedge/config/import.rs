//! From the `config.yaml` of IoT Edge 1.0 and 1.1 to a `config.toml` (`edge-runtime.md` §3.3).
//!
//! Every key of the old form is known; what has no counterpart is left out and named, and so is what is
//! no key at all. Whether this runtime serves what comes out is for the check of `config.toml` to say:
//! provisioning by DPS, for example, is converted. What equals the default of both forms is left out.
//! Reading and writing files is up to the caller.

mod agent;
mod out;
mod section;

use super::yaml::{self, Node, Value, YamlError};
use out::Out;
use section::{Findings, Remark, Section};

/// What came out.
pub(super) struct Imported {
    /// The text of the `config.toml`. It holds keys.
    pub(super) text: String,
    /// What was left out, in the order of the lines.
    pub(super) notes: Vec<Remark>,
}

/// Why nothing did.
#[derive(Debug, thiserror::Error)]
pub(super) enum ImportError {
    /// It is no YAML, or more than is read here.
    #[error(transparent)]
    Yaml(#[from] YamlError),
    /// It says something wrong: everything that is.
    #[error("{}", lines(.0))]
    Wrong(Vec<Remark>),
}

fn lines(remarks: &[Remark]) -> String {
    remarks.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Converts a text.
pub(super) fn convert(text: &str) -> Result<Imported, ImportError> {
    let document = yaml::parse(text)?;
    let findings = Findings::default();
    let entries = match &document.value {
        Value::Map(entries) => entries.as_slice(),
        Value::Null => &[],
        Value::Scalar { .. } | Value::List(_) => {
            findings.problem(document.line, "the document", "is not a list of keys and values");
            &[]
        }
    };
    let mut out = Out::default();
    let mut root = Section::root(entries, &findings);
    if document_is_read(&mut root, &mut out).is_none() {
        findings.problem(1, "provisioning", "is missing: there is no device to import");
    }
    root.finish();
    let (problems, notes) = findings.into_parts();
    match problems.is_empty() {
        true => Ok(Imported { text: out.into_text(), notes }),
        false => Err(ImportError::Wrong(problems)),
    }
}

fn document_is_read(root: &mut Section<'_>, out: &mut Out) -> Option<()> {
    for key in ["hostname", "parent_hostname"] {
        if let Some(text) = root.text(key) {
            out.top(key, text.value);
        }
    }
    certificates(root, out);
    let provisioning = root.section("provisioning").map(|section| provisioning(section, out));
    agent::section(root, out);
    connect(root, out);
    listen(root, out);
    watchdog(root, out);
    engine(root, out);
    if let Some(homedir) = root.text("homedir")
        && homedir.value != OLD_HOME
    {
        root.note(
            homedir.line,
            "homedir",
            "has no counterpart: state lies in /var/lib/aziot/edged",
        );
    }
    provisioning
}

fn provisioning(mut section: Section<'_>, out: &mut Out) {
    let source = section.text("source");
    let dynamic = section.truth("dynamic_reprovisioning");
    let always = section.truth("always_reprovision_on_startup");
    // As the original converts it: the first also covers the second.
    out.top(
        "auto_reprovisioning_mode",
        match (dynamic, always) {
            (Some(true), _) => "Dynamic",
            (_, Some(true)) => "AlwaysOnStartup",
            _ => "OnErrorOnly",
        },
    );
    out.section("provisioning");
    match source.as_ref().map_or("manual", |source| source.value) {
        "manual" => manual(&mut section, out),
        "dps" => dps(&mut section, out),
        other => {
            let line = source.as_ref().map_or(section.line, |source| source.line);
            let what = match other {
                "external" => {
                    "\"external\" has no counterpart: write source = \"manual\" or \"dps\""
                }
                _ => "is not one of \"manual\", \"dps\"",
            };
            section.problem(line, "source", what);
            section.forget();
        }
    }
    section.finish();
}

fn manual(section: &mut Section<'_>, out: &mut Out) {
    out.text("source", "manual");
    let string = section.text("device_connection_string");
    let Some(mut authentication) = section.section("authentication") else {
        match string {
            Some(string) => out.text("connection_string", string.value),
            None => section.lacks("device_connection_string"),
        }
        return;
    };
    if let Some(string) = string {
        section.problem(
            string.line,
            "device_connection_string",
            "stands beside authentication; take one out",
        );
    }
    match authentication.needed("method") {
        Some("device_connection_string") => {
            if let Some(string) = authentication.needed("device_connection_string") {
                out.text("connection_string", string);
            }
        }
        Some("x509") => {
            for key in ["iothub_hostname", "device_id"] {
                if let Some(text) = authentication.needed(key) {
                    out.text(key, text);
                }
            }
            out.section("provisioning.authentication");
            out.text("method", "x509");
            identity(&mut authentication, out);
        }
        Some(_) => authentication.problem(
            authentication.line,
            "method",
            "is not one of \"device_connection_string\", \"x509\"",
        ),
        None => {}
    }
    authentication.finish();
}

fn dps(section: &mut Section<'_>, out: &mut Out) {
    out.text("source", "dps");
    for (old, new) in [("global_endpoint", "global_endpoint"), ("scope_id", "id_scope")] {
        if let Some(text) = section.needed(old) {
            out.text(new, text);
        }
    }
    out.section("provisioning.attestation");
    // Before there was a choice, it was a TPM.
    let registration = section.text("registration_id");
    let Some(mut attestation) = section.section("attestation") else {
        match registration {
            Some(registration) => {
                out.text("method", "tpm");
                out.text("registration_id", registration.value);
            }
            None => section.lacks("attestation"),
        }
        return;
    };
    if let Some(registration) = registration {
        section.problem(
            registration.line,
            "registration_id",
            "stands beside attestation; take it out",
        );
    }
    let method = attestation.needed("method");
    if let Some(method) = method {
        out.text("method", method);
    }
    let registration = match method {
        Some("x509") => attestation.text("registration_id").map(|text| text.value),
        _ => attestation.needed("registration_id"),
    };
    if let Some(registration) = registration {
        out.text("registration_id", registration);
    }
    match method {
        Some("symmetric_key") => {
            if let Some(key) = attestation.needed("symmetric_key") {
                out.symmetric_key("symmetric_key", key);
            }
        }
        Some("x509") => identity(&mut attestation, out),
        Some("tpm") | None => {}
        Some(_) => attestation.problem(
            attestation.line,
            "method",
            "is not one of \"symmetric_key\", \"x509\", \"tpm\"",
        ),
    }
    attestation.finish();
}

fn identity(section: &mut Section<'_>, out: &mut Out) {
    for key in ["identity_cert", "identity_pk"] {
        if let Some(uri) = section.needed_file(key) {
            out.text(key, &uri);
        }
    }
}

/// The authority that modules' certificates are issued by, and what modules trust.
fn certificates(root: &mut Section<'_>, out: &mut Out) {
    let Some(mut section) = root.section("certificates") else { return };
    if let Some(uri) = section.file("trusted_ca_certs") {
        out.top("trust_bundle_cert", &uri);
    }
    let days = section.number("auto_generated_ca_lifetime_days");
    match (section.file("device_ca_cert"), section.file("device_ca_pk")) {
        (Some(certificate), Some(key)) => {
            out.section("edge_ca");
            out.text("cert", &certificate);
            out.text("pk", &key);
        }
        (Some(_), None) => section.lacks("device_ca_pk"),
        (None, Some(_)) => section.lacks("device_ca_cert"),
        (None, None) => {
            if let Some(days) = days {
                out.section("edge_ca");
                out.raw("auto_generated_edge_ca_expiry_days", &days.to_string());
            }
        }
    }
    section.finish();
}

fn connect(root: &mut Section<'_>, out: &mut Out) {
    let Some(mut section) = root.section("connect") else { return };
    let told: Vec<_> =
        SOCKETS.into_iter().map(|(key, default)| (key, default, section.text(key))).collect();
    // Both or neither: the one that is default is left out only with the other.
    if told
        .iter()
        .any(|(_, default, text)| text.as_ref().is_some_and(|text| text.value != *default))
    {
        out.section("connect");
        for (key, default, text) in told {
            out.text(key, text.map_or(default, |text| text.value));
        }
    }
    section.finish();
}

fn listen(root: &mut Section<'_>, out: &mut Out) {
    let Some(mut section) = root.section("listen") else { return };
    let mut told = Vec::new();
    for (key, default) in SOCKETS {
        let Some(text) = section.text(key) else { continue };
        match text.value {
            // The same socket, under the unit's new name the default.
            "fd://iotedge.mgmt.socket" | "fd://iotedge.socket" => {}
            value if value == default => {}
            value if value.starts_with("fd://") => section.problem(
                text.line,
                key,
                "names a unit of systemd that there never was; write unix:///path/to/socket",
            ),
            value => told.push((key, value)),
        }
    }
    if !told.is_empty() {
        out.section("listen");
        for (key, value) in told {
            out.text(key, value);
        }
    }
    if let Some(text) = section.text("min_tls_version") {
        section.note(
            text.line,
            "min_tls_version",
            "has no counterpart: it is TLS 1.2, and no TLS is spoken on sockets",
        );
    }
    section.finish();
}

fn watchdog(root: &mut Section<'_>, out: &mut Out) {
    let Some(mut section) = root.section("watchdog") else { return };
    match section.text("max_retries") {
        Some(text) if text.value == "infinite" => {}
        Some(text) if text.value.parse::<u32>().is_ok() => {
            out.section("watchdog");
            out.raw("max_retries", text.value);
        }
        Some(text) => {
            section.problem(text.line, "max_retries", "is neither \"infinite\" nor a number");
        }
        None => {}
    }
    section.finish();
}

fn engine(root: &mut Section<'_>, out: &mut Out) {
    let Some(mut section) = root.section("moby_runtime") else { return };
    let uri = section.text("uri").map_or(OLD_ENGINE, |text| text.value);
    let network = section.any("network");
    let network = match network {
        None | Some(Node { value: Value::Null, .. }) => OLD_NETWORK.into(),
        Some(node) => out::value(node),
    };
    if uri != OLD_ENGINE || network.as_str() != Some(OLD_NETWORK) {
        out.section("moby_runtime");
        out.text("uri", uri);
        out.raw("network", &network.to_string());
    }
    if let Some(node) = section.any("content_trust") {
        section.note(node.line, "content_trust", "is left out: no engine checks it any more");
    }
    section.finish();
}

/// Of both forms.
const SOCKETS: [(&str, &str); 2] = [
    ("management_uri", "unix:///var/run/iotedge/mgmt.sock"),
    ("workload_uri", "unix:///var/run/iotedge/workload.sock"),
];
const OLD_HOME: &str = "/var/lib/iotedge";
const OLD_ENGINE: &str = "unix:///var/run/docker.sock";
const OLD_NETWORK: &str = "azure-iot-edge";

#[cfg(test)]
mod tests;
