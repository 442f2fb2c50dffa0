//! How long the device does without its hub: messages, disk, certificates.

use jiff::{SignedDuration, Timestamp};

use super::Finding;
use super::numbers::{EdgeHubNumbers, size_words, time_words};
use crate::commands::iotedge::check::facts::Facts;
use crate::commands::iotedge::check::facts::production::{Production, Space};

/// What the edge hub's messages do with time and room.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Flow {
    messages_per_second: f64,
    bytes_per_message: f64,
    /// Bytes that messages may still take.
    room: f64,
    /// Seconds; none: for ever.
    time_to_live: Option<f64>,
}

impl Flow {
    /// Seconds until the room is used up; none: nothing comes.
    fn until_full(&self) -> Option<f64> {
        let per_second = self.messages_per_second * (self.bytes_per_message + STORED_BYTES);
        (per_second > 0.0).then(|| self.room / per_second)
    }
}

/// `offline-capacity`: until messages expire or have no room.
pub(super) fn capacity(facts: &Facts, production: &Production) -> Finding {
    let flow = match flow(facts, production) {
        Ok(flow) => flow,
        Err(finding) => return finding,
    };
    let full = flow.until_full();
    let (limit, reason, fix) = match (full, flow.time_to_live) {
        (None, None) => (f64::INFINITY, "nothing is sent yet", ""),
        (Some(full), time) if time.is_none_or(|time| full <= time) => {
            (full, "then the store has no room", MORE_ROOM)
        }
        (_, Some(time)) => (time, "then messages expire by their time to live", MORE_TIME),
        (Some(full), None) => (full, "then the store has no room", MORE_ROOM),
    };
    let room = full
        .map_or_else(|| "is not used".to_owned(), |full| format!("lasts for {}", time_words(full)));
    let live = flow.time_to_live.map_or_else(|| "for ever".to_owned(), time_words);
    let figures = format!(
        "{:.2} messages/s of {:.0} bytes; room of {} {room}; messages live {live}",
        flow.messages_per_second,
        flow.bytes_per_message,
        size_words(bytes(flow.room)),
    );
    let how_long = match limit.is_finite() {
        true => format!("this device can be offline for {}, {reason}", time_words(limit)),
        false => format!("this device can be offline for as long as {reason}"),
    };
    match production.offline_for {
        Some(wanted) if limit < wanted.as_secs_f64() => Finding::warn(
            format!("{how_long}; {} are planned ({figures})", time_words(wanted.as_secs_f64())),
            fix,
        ),
        _ => Finding::pass(format!("{how_long} ({figures})")),
    }
}

fn flow(facts: &Facts, production: &Production) -> Result<Flow, Finding> {
    let Some(module) = facts.module("edgeHub") else {
        return Err(Finding::unknown("no edge hub is deployed, or the daemon does not answer"));
    };
    let numbers = match &production.numbers {
        Some(Ok(numbers)) => *numbers,
        Some(Err(texts)) => {
            let why = format!("the edge hub's metrics cannot be read: {}", texts.join("; "));
            return Err(Finding::unknown_but(why, METRICS_FIX));
        }
        None => {
            return Err(Finding::unknown_but(
                "the edge hub's metrics are nowhere to be asked",
                METRICS_FIX,
            ));
        }
    };
    let began = module.status.start_time.as_deref().and_then(|text| text.parse::<Timestamp>().ok());
    let Some(began) = began else {
        return Err(Finding::unknown("the daemon does not tell when the edge hub began"));
    };
    let seconds = facts.now.duration_since(began).as_secs_f64();
    if seconds < MEASURED_SECONDS_MIN {
        return Err(Finding::unknown_but(
            format!(
                "the edge hub began {seconds:.0} seconds ago: too short to measure its messages"
            ),
            "run it again in a minute",
        ));
    }
    let Some(time_to_live) = numbers.time_to_live else {
        return Err(Finding::unknown("the edge hub does not tell how long messages live"));
    };
    let Some(room) = room(&numbers, production) else {
        return Err(Finding::unknown("the room for messages cannot be seen"));
    };
    let bytes_per_message =
        if numbers.received > 0.0 { numbers.received_bytes / numbers.received } else { 0.0 };
    Ok(Flow {
        messages_per_second: numbers.received / seconds,
        bytes_per_message,
        room,
        time_to_live: (time_to_live >= 0.0).then_some(time_to_live),
    })
}

/// The lesser of what the store may still take and what the disk has.
fn room(numbers: &EdgeHubNumbers, production: &Production) -> Option<f64> {
    let by_bound = (numbers.store_bytes_max? - numbers.store_bytes?).max(0.0);
    match &production.store_space {
        Some(Ok(space)) => Some(by_bound.min(as_number(space.free))),
        Some(Err(_)) | None => None,
    }
}

/// `prod-disk-space`: an update has both versions of every image for a while.
pub(super) fn disk(_: &Facts, production: &Production) -> Finding {
    let space = match &production.image_space {
        None => return Finding::unknown("no container engine tells where images lie"),
        Some(Err(texts)) => {
            return Finding::unknown(format!(
                "the engine's disk cannot be seen: {}",
                texts.join("; ")
            ));
        }
        Some(Ok(space)) => space,
    };
    let mut images: u64 = 0;
    for image in production.images.values().flatten().flatten() {
        images = images.saturating_add(image.size);
    }
    let Space { path, free, total } = space;
    let text = format!(
        "{} has {} free of {}; the deployment's images take {}",
        path.display(),
        size_words(*free),
        size_words(*total),
        size_words(images)
    );
    let used_share = 1.0 - as_number(*free) / as_number(*total).max(1.0);
    if *free < images {
        return Finding::fail(format!("{text}: an update does not fit beside them"), DISK_FIX);
    }
    if used_share > USED_SHARE_MAX {
        return Finding::warn(format!("{text}: it is nearly full"), DISK_FIX);
    }
    Finding::pass(text)
}

/// `prod-certificates-offline`: what needs the operator must not end while nobody can come.
pub(super) fn certificates(facts: &Facts, production: &Production) -> Finding {
    let Ok(config) = &facts.config else { return Finding::unknown("there is no configuration") };
    let planned = production.offline_for.unwrap_or(OFFLINE_DEFAULT);
    let planned = SignedDuration::try_from(planned).unwrap_or(SignedDuration::MAX);
    let Ok(back) = facts.now.checked_add(planned) else {
        return Finding::fail("the planned offline time is beyond all dates", "plan a shorter one");
    };
    let mut ends = Vec::new();
    for (what, life) in [
        ("the device's identity certificate", facts.identity.as_ref().map(|pair| &pair.life)),
        ("the Edge CA certificate", facts.edge_ca.as_ref().map(|pair| &pair.life)),
        ("a certificate of trust_bundle_cert", facts.trust_bundle.as_ref()),
    ] {
        match life {
            None => {}
            Some(Ok(life)) => ends.push((what, life.end)),
            Some(Err(texts)) => {
                let why = format!("{what} cannot be read: {}", texts.join("; "));
                return Finding::fail(why, "sudo iotedge config apply");
            }
        }
    }
    let Some((what, end)) = ends.into_iter().min_by_key(|(_, end)| *end) else {
        let hub = &config.provisioning.hub_host_name;
        return Finding::pass(format!(
            "the daemon renews its own Edge CA without a network; nothing else of this device for {hub} expires"
        ));
    };
    match end < back {
        true => Finding::warn(
            format!("{what} ends at {end}, before the offline time does at {back}"),
            "issue a longer one, then: sudo iotedge config apply",
        ),
        false => Finding::pass(format!("{what} is the first to end, at {end}")),
    }
}

#[expect(clippy::cast_precision_loss, reason = "estimates need no more than 52 bits")]
fn as_number(bytes: u64) -> f64 {
    bytes as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an estimate that is never negative"
)]
fn bytes(number: f64) -> u64 {
    number as u64
}

/// What a stored message takes besides its body and properties: the record's head, its sender, and
/// its share of the index.
const STORED_BYTES: f64 = 200.0;
/// A shorter time says nothing about the rate.
const MEASURED_SECONDS_MIN: f64 = 30.0;
/// Where image collection begins to press (`tools.md` §4.2).
const USED_SHARE_MAX: f64 = 0.85;
/// Without a plan, what the guide calls a long time away.
const OFFLINE_DEFAULT: std::time::Duration = std::time::Duration::from_secs(30 * 86_400);
const MORE_ROOM: &str =
    "give edgeHub a larger FARSHORE_EDGE_STORE_BYTES and a larger disk for storageFolder";
const MORE_TIME: &str =
    "raise storeAndForwardConfiguration.timeToLiveSecs of $edgeHub in the deployment";
const METRICS_FIX: &str = "name where they are with --edge-hub-metrics HOST:PORT";
const DISK_FIX: &str = "docker image prune, or give the engine's data-root a larger disk";
