//! `[provisioning]`: which hub, which device, which key or certificate.

use std::str::FromStr;

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use iot_proto::connection_string::{Credential, DeviceConnectionString, SharedKey};
use model::DeviceId;

use super::{file_of, shape};
use crate::config::reader::{Found, Section};
use crate::config::{DeviceCredential, Manual};

pub(super) fn section(root: &mut Section<'_, '_>) -> Option<Manual> {
    let Some(mut section) = root.section("provisioning") else {
        root.lacks(
            "provisioning",
            "is missing: add [provisioning] with source = \"manual\" and connection_string",
        );
        return None;
    };
    let source = section.string("source");
    let manual = match source.as_ref().map(|found| found.value) {
        Some("manual") => manual(&mut section),
        Some("dps" | "none") => {
            let found = source.as_ref()?;
            let what = format!(
                "\"{}\" is not served yet; use \"manual\" with connection_string",
                found.value
            );
            section.wrong(found, what);
            section.known(&KEYS);
            shape::look(&mut section, shape::PROVISIONING);
            None
        }
        Some(_) => {
            section.wrong(source.as_ref()?, "is not one of \"manual\", \"dps\", \"none\"");
            section.known(&KEYS);
            None
        }
        None => {
            section.lacks("source", "is missing: write source = \"manual\"");
            section.known(&KEYS);
            None
        }
    };
    section.finish();
    manual
}

fn manual(section: &mut Section<'_, '_>) -> Option<Manual> {
    for key in ["global_endpoint", "id_scope", "payload", "attestation"] {
        section.refuse(key, "belongs to source = \"dps\"; take it out");
    }
    let connection_string = section.string("connection_string");
    let host = section.string("iothub_hostname");
    let device = section.string("device_id");
    let authentication = section.section("authentication");
    match connection_string {
        Some(found) => {
            for other in [&host, &device].into_iter().flatten() {
                section.wrong(
                    other,
                    "stands beside connection_string, which says it too; take one out",
                );
            }
            if let Some(authentication) = authentication {
                authentication.lacks("method", "stands beside connection_string, which has the key; take [provisioning.authentication] out");
            }
            from_connection_string(section, &found)
        }
        None => from_parts(section, host, device, authentication),
    }
}

fn from_connection_string(section: &Section<'_, '_>, found: &Found<&str>) -> Option<Manual> {
    // Its words never repeat what it was given.
    let parsed = match DeviceConnectionString::from_str(&padded(found.value)) {
        Ok(parsed) => parsed,
        Err(error) => {
            section.wrong(found, format!("is wrong: {error}"));
            return None;
        }
    };
    let problem = if parsed.identity.module.is_some() {
        "is a module's; write the device's, without ModuleId"
    } else if parsed.gateway_host_name.is_some() {
        "names a gateway, which is not served yet; take GatewayHostName out"
    } else {
        match parsed.credential {
            Credential::Key(key) => {
                let host = host(section, found, &parsed.host_name)?;
                return Some(Manual {
                    hub_host_name: host.0,
                    mqtt_port: host.1,
                    device: parsed.identity.device,
                    credential: DeviceCredential::Key(key),
                });
            }
            Credential::X509 => {
                "uses x509, which takes files: write iothub_hostname, device_id and [provisioning.authentication] with method = \"x509\""
            }
            Credential::Token(_) => "has a token, which runs out; write SharedAccessKey",
            Credential::PolicyKey { .. } => {
                "has the key of a policy; write the device's own, without SharedAccessKeyName"
            }
        }
    };
    section.wrong(found, problem);
    None
}

/// Keys were taken without their padding, so they still are.
fn padded(text: &str) -> String {
    let parts = text.split(';').map(|part| match part.split_once('=') {
        Some((name, key)) if name.trim().eq_ignore_ascii_case("SharedAccessKey") => {
            let key = key.trim().trim_end_matches('=');
            format!("{name}={key}{}", "=".repeat((4 - key.len() % 4) % 4))
        }
        _ => part.to_owned(),
    });
    parts.collect::<Vec<_>>().join(";")
}

fn from_parts(
    section: &Section<'_, '_>,
    host_name: Option<Found<&str>>,
    device: Option<Found<&str>>,
    authentication: Option<Section<'_, '_>>,
) -> Option<Manual> {
    let (Some(host_name), Some(device), Some(authentication)) = (host_name, device, authentication)
    else {
        section.lacks(
            "connection_string",
            "is missing: write it, or iothub_hostname, device_id and [provisioning.authentication]",
        );
        return None;
    };
    let credential = credential(authentication);
    let host = host(section, &host_name, host_name.value);
    let id = match device.value.parse::<DeviceId>() {
        Ok(id) => Some(id),
        Err(error) => {
            section.wrong(&device, format!("is wrong: {error}"));
            None
        }
    };
    let (hub_host_name, mqtt_port) = host?;
    Some(Manual { hub_host_name, mqtt_port, device: id?, credential: credential? })
}

fn credential(mut section: Section<'_, '_>) -> Option<DeviceCredential> {
    let method = section.string("method");
    let credential = match method.as_ref().map(|found| found.value) {
        Some("sas") => {
            for key in ["identity_cert", "identity_pk"] {
                section.refuse(key, "belongs to method = \"x509\"; take it out");
            }
            key_value(&mut section)
        }
        Some("x509") => {
            section.refuse("device_id_pk", "belongs to method = \"sas\"; take it out");
            certificate(&mut section)
        }
        _ => {
            section.lacks("method", "must be \"sas\" or \"x509\"");
            section.known(&["identity_cert", "identity_pk", "device_id_pk"]);
            None
        }
    };
    section.finish();
    credential
}

/// The certificate that the device has; one that is to be issued first is not served.
fn certificate(section: &mut Section<'_, '_>) -> Option<DeviceCredential> {
    if section.has_table("identity_cert") {
        section.refuse(
            "identity_cert",
            "tells how to have a certificate issued, which is not served yet; write \"file:///path\" of one that there is",
        );
        shape::look(section, shape::CERTIFICATE);
        section.known(&["identity_pk"]);
        return None;
    }
    let mut file = |key: &'static str, what: &'static str| match section.string(key) {
        Some(found) => file_of(section, &found),
        None => {
            section.lacks(key, what);
            None
        }
    };
    let certificate =
        file("identity_cert", "is missing: write \"file:///path\" of the device's certificate");
    let key = file("identity_pk", "is missing: write \"file:///path\" of the certificate's key");
    Some(DeviceCredential::Certificate { certificate: certificate?, key: key? })
}

fn key_value(section: &mut Section<'_, '_>) -> Option<DeviceCredential> {
    let Some(mut key) = section.section("device_id_pk") else {
        section.lacks(
            "device_id_pk",
            "is missing: write { value = \"<Base64>\" } or { uri = \"file:///path\" }",
        );
        return None;
    };
    let (value, uri) = (key.string("value"), key.string("uri"));
    let read = match (value, uri) {
        (Some(value), None) => match ANY_PADDING.decode(value.value.trim()) {
            Ok(bytes) => {
                let text = base64::engine::general_purpose::STANDARD.encode(bytes);
                Some(DeviceCredential::Key(SharedKey::new(text)))
            }
            Err(_) => {
                key.wrong(&value, "is not Base64; copy the whole key, with the `=` at its end");
                None
            }
        },
        (None, Some(uri)) => file_of(&key, &uri).map(DeviceCredential::KeyFile),
        _ => {
            key.lacks("value", "is needed, or uri: one of the two");
            None
        }
    };
    key.finish();
    read
}

/// The hub's name and the port that may stand behind it.
fn host(
    section: &Section<'_, '_>,
    found: &Found<&str>,
    text: &str,
) -> Option<(String, Option<u16>)> {
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) => (name, Some(port)),
        None => (text, None),
    };
    let port = port.map(|port| port.parse::<u16>().ok().filter(|port| *port != 0));
    match (name.parse::<pki::ServerName>(), port) {
        (Ok(_), None) => Some((name.to_owned(), None)),
        (Ok(_), Some(Some(port))) => Some((name.to_owned(), Some(port))),
        _ => {
            section.wrong(found, "names a hub that is not a host name, with or without :port");
            None
        }
    }
}

const ANY_PADDING: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Every key of the section, whatever the source.
const KEYS: [&str; 9] = [
    "source",
    "connection_string",
    "iothub_hostname",
    "device_id",
    "authentication",
    "global_endpoint",
    "id_scope",
    "payload",
    "attestation",
];
