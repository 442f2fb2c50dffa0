//! The keys of what is not served, and what their values must look like.
//!
//! A section without effect is read all the same: a file that is wrong is told so now, not when the
//! section begins to mean something (`edge-runtime.md` §3.2).

use toml::de::DeValue;

use crate::config::Period;
use crate::config::reader::{Findings, Found, Section};

/// Keys with the shape of their values.
pub(super) type Keys = &'static [(&'static str, Shape)];

/// What a value may be.
pub(super) enum Shape {
    Text,
    Flag,
    Number(i64, i64),
    /// `file:///path`, or a key or certificate in hardware.
    Uri,
    Url,
    Choice(&'static [&'static str]),
    Period,
    /// A number, or `"infinite"`.
    Retries,
    /// Whatever an engine takes.
    Anything,
    List(&'static Shape),
    /// A table whose keys are free.
    Free(&'static Shape),
    Table(Keys),
    /// The first shape for tables and lists, the second for the rest.
    Or(&'static Shape, &'static Shape),
}

/// Looks into a section that has no effect.
pub(super) fn look_inside(root: &mut Section<'_, '_>, name: &'static str, keys: Keys) {
    if let Some(mut section) = root.section(name) {
        look(&mut section, keys);
        section.finish();
    }
}

/// Looks at some keys of a section.
pub(super) fn look(section: &mut Section<'_, '_>, keys: Keys) {
    for (key, shape) in keys {
        if let Some(found) = section.any(key) {
            check(section.reporter(), &found, shape);
        }
    }
}

/// Reports a value that has not the shape.
pub(super) fn check<'d>(
    findings: &'d Findings<'_>,
    found: &Found<&'d DeValue<'d>>,
    shape: &'static Shape,
) {
    let wrong = |expected: &str| {
        let what = format!("is of type {}; write {expected}", found.value.type_str());
        findings.problem(found.line, &found.key, what);
    };
    match (shape, found.value) {
        (Shape::Or(inner, _), DeValue::Table(_) | DeValue::Array(_)) => {
            check(findings, found, inner);
        }
        (Shape::Or(_, plain), _) => check(findings, found, plain),
        (Shape::Anything, _) | (Shape::Text, DeValue::String(_)) => {}
        (Shape::Flag, DeValue::Boolean(_)) => {}
        (Shape::Table(keys), DeValue::Table(table)) => {
            let table = Found { value: table, line: found.line, key: found.key.clone() };
            let mut section = Section::at(&table, findings);
            look(&mut section, keys);
            section.finish();
        }
        (Shape::Free(shape), DeValue::Table(table)) => {
            for (name, value) in table {
                let key = format!("{}.{}", found.key, name.get_ref());
                let line = findings.line(name.span().start);
                check(findings, &Found { value: value.get_ref(), line, key }, shape);
            }
        }
        (Shape::List(shape), DeValue::Array(values)) => {
            for value in values {
                let line = findings.line(value.span().start);
                check(
                    findings,
                    &Found { value: value.get_ref(), line, key: found.key.clone() },
                    shape,
                );
            }
        }
        (Shape::Number(min, max), DeValue::Integer(number)) => {
            let value = i64::from_str_radix(number.as_str(), number.radix());
            if !value.is_ok_and(|value| (*min..=*max).contains(&value)) {
                let what = format!("is {}; write a number from {min} to {max}", number.as_str());
                findings.problem(found.line, &found.key, what);
            }
        }
        (Shape::Retries, DeValue::Integer(_)) => check(findings, found, &RETRIES),
        (shape, DeValue::String(text)) => match misfit(shape, text) {
            None => wrong(shape.expected()),
            Some("") => {}
            Some(what) => findings.problem(found.line, &found.key, what),
        },
        (shape, _) => wrong(shape.expected()),
    }
}

/// Why a text has not a shape; nothing when it has, none when the shape is no text's.
fn misfit(shape: &Shape, text: &str) -> Option<&'static str> {
    let (fits, what) = match shape {
        Shape::Uri => (
            text.starts_with("file:///") || text.starts_with("pkcs11:"),
            "is neither a file nor a PKCS #11 URI; write file:///path",
        ),
        Shape::Url => (
            ["https://", "http://"].iter().any(|scheme| {
                text.strip_prefix(scheme)
                    .is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
            }),
            "is not a URL; write for example https://example.org",
        ),
        Shape::Choice(choices) => {
            (choices.contains(&text), "is not one of the values that it may have")
        }
        Shape::Period => (
            Period::parse(text).is_some(),
            "is not a period; write for example \"80%\", \"30min\" or \"1day\"",
        ),
        Shape::Retries => (text == "infinite", "is neither a number nor \"infinite\""),
        _ => return None,
    };
    Some(if fits { "" } else { what })
}

impl Shape {
    fn expected(&self) -> &'static str {
        match self {
            Self::Flag => "true or false without quotes",
            Self::Number(..) => "a whole number without quotes",
            Self::Retries => "a whole number, or \"infinite\"",
            Self::List(_) => "a list in brackets",
            Self::Free(_) | Self::Table(_) => "a table",
            Self::Or(..) => "a quoted string or a table",
            _ => "a quoted string",
        }
    }
}

const RETRIES: Shape = Shape::Number(0, i64::MAX);

pub(super) const LOCALID: Keys = &[("domain", Shape::Text)];
pub(super) const WATCHDOG: Keys = &[("max_retries", Shape::Retries)];
pub(super) const TPM: Keys = &[
    ("tcti", Shape::Text),
    ("auth_key_index", Shape::Number(0, 0x7F_FFFF)),
    (
        "hierarchy_authorization",
        Shape::Table(&[("endorsement", Shape::Text), ("owner", Shape::Text)]),
    ),
];
const AUTO_RENEW: Shape = Shape::Table(&[
    ("rotate_key", Shape::Flag),
    ("threshold", Shape::Period),
    ("retry", Shape::Period),
]);
const SUBJECT: Shape = Shape::Free(&Shape::Text);
/// How a certificate is to be issued, beside `method`.
pub(super) const ISSUED: Keys = &[
    ("common_name", Shape::Text),
    ("subject", SUBJECT),
    ("expiry_days", Shape::Number(1, 36_500)),
    ("url", Shape::Url),
    ("username", Shape::Text),
    ("password", Shape::Text),
    ("identity_cert", Shape::Or(&ISSUED_AT_MOST, &Shape::Uri)),
    ("identity_pk", Shape::Uri),
    ("bootstrap_identity_cert", Shape::Uri),
    ("bootstrap_identity_pk", Shape::Uri),
];
/// A certificate with which another is fetched is itself issued by these few words.
const ISSUED_AT_MOST: Shape = Shape::Table(&[
    ("method", Shape::Choice(&["est", "local_ca", "self_signed"])),
    ("common_name", Shape::Text),
    ("subject", SUBJECT),
    ("expiry_days", Shape::Number(1, 36_500)),
    ("url", Shape::Url),
    ("username", Shape::Text),
    ("password", Shape::Text),
    ("identity_cert", Shape::Uri),
    ("identity_pk", Shape::Uri),
    ("bootstrap_identity_cert", Shape::Uri),
    ("bootstrap_identity_pk", Shape::Uri),
    ("auto_renew", AUTO_RENEW),
]);
/// `identity_cert` of a device: a file, or how it is issued.
pub(super) const CERTIFICATE: Keys =
    &[("identity_cert", Shape::Or(&ISSUED_AT_MOST, &Shape::Uri)), ("identity_pk", Shape::Uri)];
const SECRET: Shape = Shape::Table(&[("value", Shape::Text), ("uri", Shape::Uri)]);
pub(super) const PROVISIONING: Keys = &[
    ("connection_string", Shape::Text),
    ("iothub_hostname", Shape::Text),
    ("device_id", Shape::Text),
    (
        "authentication",
        Shape::Table(&[
            ("method", Shape::Choice(&["sas", "x509"])),
            ("device_id_pk", SECRET),
            ("identity_cert", Shape::Or(&ISSUED_AT_MOST, &Shape::Uri)),
            ("identity_pk", Shape::Uri),
        ]),
    ),
    ("global_endpoint", Shape::Url),
    ("id_scope", Shape::Text),
    ("payload", Shape::Table(&[("uri", Shape::Uri)])),
    (
        "attestation",
        Shape::Table(&[
            ("method", Shape::Choice(&["symmetric_key", "x509", "tpm"])),
            ("registration_id", Shape::Text),
            ("symmetric_key", SECRET),
            ("identity_cert", Shape::Or(&ISSUED_AT_MOST, &Shape::Uri)),
            ("identity_pk", Shape::Uri),
        ]),
    ),
];
pub(super) const CERT_ISSUANCE: Keys = &[
    (
        "est",
        Shape::Table(&[
            ("trusted_certs", Shape::List(&Shape::Uri)),
            (
                "auth",
                Shape::Table(&[
                    ("username", Shape::Text),
                    ("password", Shape::Text),
                    ("identity_cert", Shape::Uri),
                    ("identity_pk", Shape::Uri),
                    ("bootstrap_identity_cert", Shape::Uri),
                    ("bootstrap_identity_pk", Shape::Uri),
                ]),
            ),
            ("identity_auto_renew", AUTO_RENEW),
            ("urls", Shape::Free(&Shape::Url)),
        ]),
    ),
    (
        "local_ca",
        Shape::Table(&[("cert", Shape::Or(&ISSUED_AT_MOST, &Shape::Uri)), ("pk", Shape::Uri)]),
    ),
];
/// One entry of `[preloaded_keys]` or `[preloaded_certs]`.
pub(super) const PRELOADED: Shape = Shape::Or(&Shape::List(&Shape::Text), &Shape::Uri);
pub(super) const AGENT_CONFIG: Keys = &[
    ("createOptions", Shape::Free(&Shape::Anything)),
    ("digest", Shape::Text),
    (
        "auth",
        Shape::Table(&[
            ("serveraddress", Shape::Text),
            ("username", Shape::Text),
            ("password", Shape::Text),
        ]),
    ),
];
