//! `[edge_ca]`: the CA that issues modules' certificates.

use std::time::Duration;

use super::{file, shape};
use crate::config::reader::{Found, Section};
use crate::config::{EdgeCaConfig, Period};

impl EdgeCaConfig {
    /// What there is when nothing is said.
    pub(super) fn quickstart() -> Self {
        Self::Own {
            common_name: None,
            lifetime: Duration::from_secs(u64::from(QUICKSTART_DAYS) * DAY_SECONDS),
            renew_at: RENEW_AT,
            retry: RETRY,
        }
    }
}

/// None when the section is missing or wrong.
pub(super) fn section(root: &mut Section<'_, '_>) -> Option<EdgeCaConfig> {
    let mut section = root.section("edge_ca")?;
    let method = section.string("method");
    let quickstart_days = section.number("auto_generated_edge_ca_expiry_days", 1..=DAYS_MAX);
    let renewal = renewal(&mut section);
    let ca = match method.as_ref().map(|found| found.value) {
        None => given_or_quickstart(&mut section, quickstart_days, renewal),
        Some("self_signed") => self_signed(&mut section, renewal),
        Some(_) => {
            let found = method.as_ref()?;
            let what = match found.value {
                "est" | "local_ca" => format!(
                    "\"{}\" is not served yet; use \"self_signed\", or cert and pk with file URIs",
                    found.value
                ),
                _ => "is not one of \"self_signed\", \"est\", \"local_ca\"".to_owned(),
            };
            section.wrong(found, what);
            section.known(&KEYS);
            shape::look(&mut section, shape::ISSUED);
            None
        }
    };
    section.finish();
    ca
}

fn given_or_quickstart(
    section: &mut Section<'_, '_>,
    days: Option<Found<u32>>,
    (renew_at, retry): (Period, Period),
) -> Option<EdgeCaConfig> {
    for key in ISSUING_KEYS {
        section.refuse(key, "needs method = \"self_signed\", \"est\" or \"local_ca\" beside it");
    }
    let has = |found: &Option<_>| found.is_some();
    let (certificate, key) = (file(section, "cert"), file(section, "pk"));
    match (certificate, key) {
        (Some(certificate), Some(key)) => {
            if let Some(days) = days {
                section.remark(&days, "has no effect: the certificate is given by cert");
            }
            Some(EdgeCaConfig::Files { certificate, key })
        }
        (None, None) => {
            let days = days.map_or(QUICKSTART_DAYS, |found| found.value);
            let lifetime = Duration::from_secs(u64::from(days) * DAY_SECONDS);
            Some(EdgeCaConfig::Own { common_name: None, lifetime, renew_at, retry })
        }
        (certificate, _) => {
            let missing = if has(&certificate) { "pk" } else { "cert" };
            section.lacks(missing, "is missing: cert and pk belong together");
            None
        }
    }
}

fn self_signed(
    section: &mut Section<'_, '_>,
    (renew_at, retry): (Period, Period),
) -> Option<EdgeCaConfig> {
    for key in ["cert", "pk"] {
        section.refuse(key, "stands beside method; take one of them out");
    }
    for key in ISSUED_ELSEWHERE_KEYS {
        section.refuse(key, "belongs to method = \"est\", which is not served yet; take it out");
    }
    let mut common_name = section.string("common_name").map(|found| found.value.to_owned());
    if let Some(mut subject) = section.section("subject") {
        let found = subject.string("CN");
        if let (Some(_), Some(found)) = (&common_name, &found) {
            subject.wrong(found, "stands beside common_name; take one of them out");
        }
        common_name = common_name.or(found.map(|found| found.value.to_owned()));
        for key in ["C", "L", "O", "OU", "ST"] {
            subject.note(key, "has no effect yet: the certificate has a common name only");
        }
        subject.finish();
    }
    let days =
        section.number("expiry_days", 1..=DAYS_MAX).map_or(SELF_SIGNED_DAYS, |found| found.value);
    let lifetime = Duration::from_secs(u64::from(days) * DAY_SECONDS);
    Some(EdgeCaConfig::Own { common_name, lifetime, renew_at, retry })
}

fn renewal(section: &mut Section<'_, '_>) -> (Period, Period) {
    let mut periods = (RENEW_AT, RETRY);
    let Some(mut renew) = section.section("auto_renew") else { return periods };
    if let Some(found) = renew.boolean("rotate_key")
        && !found.value
    {
        renew.wrong(&found, "false is not served yet: a renewed CA gets a new key; write true");
    }
    for (key, period) in [("threshold", &mut periods.0), ("retry", &mut periods.1)] {
        let Some(found) = renew.string(key) else { continue };
        match Period::parse(found.value) {
            Some(parsed) => *period = parsed,
            None => renew
                .wrong(&found, "is not a period; write for example \"80%\", \"30min\" or \"1day\""),
        }
    }
    renew.finish();
    periods
}

impl Period {
    /// `N%` below 100, `Nmin`, `Nday`; not zero.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, unit) = text.split_at(digits);
        let number: u32 = number.parse().ok().filter(|number| *number > 0)?;
        match unit.trim_start() {
            "%" if number < 100 => Some(Self::Percent(u8::try_from(number).ok()?)),
            "min" => Some(Self::Time(Duration::from_secs(u64::from(number) * 60))),
            "day" => Some(Self::Time(Duration::from_secs(u64::from(number) * DAY_SECONDS))),
            _ => None,
        }
    }
}

const ISSUED_ELSEWHERE_KEYS: [&str; 7] = [
    "url",
    "username",
    "password",
    "identity_cert",
    "identity_pk",
    "bootstrap_identity_cert",
    "bootstrap_identity_pk",
];
const ISSUING_KEYS: [&str; 10] = [
    "common_name",
    "subject",
    "expiry_days",
    "url",
    "username",
    "password",
    "identity_cert",
    "identity_pk",
    "bootstrap_identity_cert",
    "bootstrap_identity_pk",
];
const KEYS: [&str; 12] = [
    "cert",
    "pk",
    "common_name",
    "subject",
    "expiry_days",
    "url",
    "username",
    "password",
    "identity_cert",
    "identity_pk",
    "bootstrap_identity_cert",
    "bootstrap_identity_pk",
];

const QUICKSTART_DAYS: u32 = 90;
/// Of certificates that are issued by method (`edge-runtime.md` §2.7).
const SELF_SIGNED_DAYS: u32 = 30;
/// A hundred years.
const DAYS_MAX: i64 = 36_500;
const DAY_SECONDS: u64 = 24 * 3600;
const RENEW_AT: Period = Period::Percent(80);
const RETRY: Period = Period::Percent(4);
