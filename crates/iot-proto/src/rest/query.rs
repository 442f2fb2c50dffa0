//! Query strings of the REST interfaces.

use jiff::Timestamp;
use model::{Fault, FaultKind, limits};

use crate::{percent, time};

/// A query string, read into pairs. Names are compared without case; the first of two wins.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Query {
    pairs: Vec<(String, String)>,
}

/// More parameters than any call has.
const PARAMETERS_MAX: usize = 32;

impl Query {
    /// Reads what stands after the `?`; what is beyond [`PARAMETERS_MAX`] pairs is not looked at.
    pub fn parse(text: Option<&str>) -> Self {
        let pairs = text
            .unwrap_or_default()
            .split('&')
            .filter(|pair| !pair.is_empty())
            .take(PARAMETERS_MAX)
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                (percent::decode(name).into_owned(), percent::decode(value).into_owned())
            })
            .collect();
        Self { pairs }
    }

    /// A parameter's value.
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.pairs.iter().find(|(n, _)| n.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// The API version, which every request must name; any well-formed one is taken (sa §1.4).
    pub fn api_version(&self) -> Result<&str, Fault> {
        let well_formed = |text: &&str| {
            text.len() <= API_VERSION_LENGTH_MAX
                && text.len() >= "2021-04-12".len()
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        self.get("api-version").filter(well_formed).ok_or_else(|| {
            Fault::new(
                FaultKind::InvalidProtocolVersion,
                "the request has no api-version; add ?api-version=2021-04-12",
            )
        })
    }

    /// `top` of the device list: 1 to 1000; anything else means 1000 (sa §2.1).
    pub fn top(&self) -> usize {
        let top = self.get("top").and_then(|text| text.parse().ok());
        top.filter(|top| (1..=limits::LIST_PAGE_MAX).contains(top)).unwrap_or(limits::LIST_PAGE_MAX)
    }
}

/// `2020-03-13-preview` and the like.
const API_VERSION_LENGTH_MAX: usize = 32;

/// Where reading of a partition begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EventStart {
    /// At the oldest event.
    #[default]
    Start,
    /// After the newest event.
    End,
    /// At this sequence number.
    Sequence(u64),
    /// At the first event enqueued at or after this time.
    Time(Timestamp),
}

/// The query of `GET /events/partitions/{p}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EventsQuery {
    /// `from=start`, `end`, a sequence number or an ISO 8601 time; `start` when absent.
    pub from: EventStart,
    /// `follow=true`: wait for more at the end.
    pub follow: bool,
}

impl EventsQuery {
    /// Reads it.
    pub fn parse(query: &Query) -> Result<Self, Fault> {
        let from = match query.get("from") {
            None | Some("" | "start") => EventStart::Start,
            Some("end") => EventStart::End,
            Some(text) if text.bytes().all(|b| b.is_ascii_digit()) => EventStart::Sequence(
                text.parse().map_err(|_| Fault::argument("from is too large a number"))?,
            ),
            Some(text) => EventStart::Time(time::parse(text).ok_or_else(|| {
                Fault::argument("from is not start, end, a sequence number or an ISO 8601 time")
            })?),
        };
        let follow = match query.get("follow") {
            None | Some("false") => false,
            Some("true" | "") => true,
            Some(_) => return Err(Fault::argument("follow is not true or false")),
        };
        Ok(Self { from, follow })
    }

    /// The parameters as a client writes them.
    pub fn parameters(&self) -> Vec<(&'static str, String)> {
        let from = match self.from {
            EventStart::Start => "start".to_owned(),
            EventStart::End => "end".to_owned(),
            EventStart::Sequence(number) => number.to_string(),
            EventStart::Time(at) => time::round_trip(at),
        };
        vec![("from", from), ("follow", self.follow.to_string())]
    }
}
