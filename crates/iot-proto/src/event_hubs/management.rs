//! Questions about the event log and their answers, on `$management` (sa §9.4).
//!
//! `status-code` is an int and the correlation id has the type of the request's message id, or
//! uamqp and pyamqp wait for ever (sa §9.7).

use ::amqp::message::{Body, Message, MessageId, Properties};
use ::amqp::types::Array;
use ::amqp::{Map, Symbol, Value};
use jiff::Timestamp;

use super::convert;
use crate::amqp::cbs;
use crate::status::condition;

/// What a client wants to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// About the log as a whole.
    Log {
        /// The name of the log.
        entity: String,
    },
    /// About a partition.
    Partition {
        /// The name of the log.
        entity: String,
        /// The partition's id, perhaps of none.
        partition: String,
    },
}

/// A request: a question, or why it is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What is asked.
    pub question: Result<Question, Refusal>,
    /// The token that Event Hubs clients repeat in each request.
    pub token: Option<String>,
    /// Names the request in the answer.
    pub correlation_id: Option<MessageId>,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status that says it best.
    pub status: u16,
    /// The AMQP condition.
    pub condition: Symbol,
    /// For people.
    pub description: String,
}

/// What is told of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogInfo {
    /// Its name.
    pub entity: String,
    /// When it was created.
    pub created: Timestamp,
    /// How many partitions it has; their ids are the numbers from 0 on.
    pub partitions: u32,
}

/// What is told of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionInfo {
    /// Its number.
    pub partition: u32,
    /// The oldest sequence number that is kept.
    pub oldest: u64,
    /// The number that the next event will get.
    pub next: u64,
    /// When the newest event that is kept was accepted.
    pub last_enqueued: Option<Timestamp>,
}

impl PartitionInfo {
    /// The newest event's number; -1 before the first one.
    pub fn last_sequence(&self) -> i64 {
        i64::try_from(self.next).unwrap_or(i64::MAX) - 1
    }

    /// When the newest event was accepted, on the wire; 1970 when none is kept.
    pub fn last_enqueued_ms(&self) -> i64 {
        self.last_enqueued.unwrap_or(Timestamp::UNIX_EPOCH).as_millisecond()
    }
}

impl Request {
    /// Reads a request.
    pub fn parse(message: &Message) -> Self {
        let properties = &message.application_properties;
        let text = |name| properties.get(name).and_then(convert::text);
        let Properties { message_id, correlation_id, .. } = &message.properties;
        Self {
            question: question(&text),
            token: text(SECURITY_TOKEN),
            correlation_id: message_id.as_ref().or(correlation_id.as_ref()).cloned(),
        }
    }
}

fn question(text: &impl Fn(&'static str) -> Option<String>) -> Result<Question, Refusal> {
    let wrong = |what: &str| Refusal::bad_request(format!("the request's {what}"));
    match text(OPERATION) {
        Some(operation) if operation.eq_ignore_ascii_case(READ) => {}
        Some(_) => return Err(wrong("operation is not READ")),
        None => return Err(wrong("application property operation is missing")),
    }
    let entity = text(NAME).ok_or_else(|| wrong("application property name is missing"))?;
    match text(TYPE).as_deref() {
        Some(LOG_TYPE) => Ok(Question::Log { entity }),
        Some(PARTITION_TYPE) => match text(PARTITION) {
            Some(partition) => Ok(Question::Partition { entity, partition }),
            None => Err(wrong("application property partition is missing")),
        },
        _ => Err(wrong("type is neither com.microsoft:eventhub nor com.microsoft:partition")),
    }
}

impl Question {
    /// The question as a client asks it; `reply_to` names the client's receiver.
    pub fn to_message(&self, id: MessageId, reply_to: &str) -> Message {
        let (kind, entity, partition) = match self {
            Self::Log { entity } => (LOG_TYPE, entity, None),
            Self::Partition { entity, partition } => (PARTITION_TYPE, entity, Some(partition)),
        };
        let mut properties = Map::new();
        properties.push(OPERATION, READ);
        properties.push(NAME, entity.as_str());
        properties.push(TYPE, kind);
        if let Some(partition) = partition {
            properties.push(PARTITION, partition.as_str());
        }
        Message {
            properties: Properties {
                message_id: Some(id),
                to: Some(super::address::MANAGEMENT.to_owned()),
                reply_to: Some(reply_to.to_owned()),
                ..Properties::default()
            },
            application_properties: properties,
            body: Body::Value(Value::Null),
            ..Message::default()
        }
    }
}

impl Refusal {
    /// The request makes no sense.
    pub fn bad_request(description: impl Into<String>) -> Self {
        Self { status: 400, condition: condition::ARGUMENT_ERROR, description: description.into() }
    }

    /// What is asked about is not there.
    pub fn not_found(description: impl Into<String>) -> Self {
        Self { status: 404, condition: condition::NOT_FOUND, description: description.into() }
    }

    /// Who asks may not know.
    pub fn unauthorized(description: impl Into<String>) -> Self {
        Self {
            status: 401,
            condition: condition::UNAUTHORIZED_ACCESS,
            description: description.into(),
        }
    }

    /// This server failed.
    pub fn unavailable(description: impl Into<String>) -> Self {
        Self { status: 500, condition: condition::INTERNAL_ERROR, description: description.into() }
    }

    /// The answer that says so.
    pub fn to_message(&self, correlation_id: Option<MessageId>) -> Message {
        let mut message = cbs::answer(correlation_id, self.status, &self.description);
        message.application_properties.push(ERROR_CONDITION, self.condition.clone());
        message.body = Body::Value(Value::Map(Map::new()));
        message
    }
}

impl LogInfo {
    /// The answer that tells it.
    pub fn to_message(&self, correlation_id: Option<MessageId>) -> Message {
        let mut map = Map::new();
        map.push(NAME, self.entity.as_str());
        map.push(TYPE, LOG_TYPE);
        map.push(CREATED_AT, Value::Timestamp(self.created.as_millisecond()));
        map.push(PARTITION_COUNT, i32::try_from(self.partitions).unwrap_or(i32::MAX));
        map.push(PARTITION_IDS, Array::of_strings((0..self.partitions).map(|id| id.to_string())));
        ok(map, correlation_id)
    }

    /// Reads the answer: the client's end.
    pub fn from_message(message: &Message) -> Result<Self, Refusal> {
        let map = told(message)?;
        let missing = || Refusal::unavailable("the answer about the event log lacks a field");
        let number = map.get(PARTITION_COUNT).and_then(Value::as_i64);
        let created = map.get(CREATED_AT).and_then(convert::time);
        Ok(Self {
            entity: map.get(NAME).and_then(convert::text).ok_or_else(missing)?,
            created: created.unwrap_or(Timestamp::UNIX_EPOCH),
            partitions: number.and_then(|n| u32::try_from(n).ok()).ok_or_else(missing)?,
        })
    }
}

impl PartitionInfo {
    /// The answer that tells it.
    pub fn to_message(&self, entity: &str, correlation_id: Option<MessageId>) -> Message {
        let mut map = Map::new();
        let last = self.last_sequence();
        map.push(NAME, entity);
        map.push(TYPE, PARTITION_TYPE);
        map.push(PARTITION, self.partition.to_string());
        map.push(BEGIN_SEQUENCE_NUMBER, i64::try_from(self.oldest).unwrap_or(i64::MAX));
        map.push(LAST_SEQUENCE_NUMBER, last);
        map.push(LAST_OFFSET, last.to_string());
        map.push(LAST_TIME, Value::Timestamp(self.last_enqueued_ms()));
        map.push(IS_EMPTY, self.oldest >= self.next);
        ok(map, correlation_id)
    }

    /// Reads the answer: the client's end.
    pub fn from_message(message: &Message) -> Result<Self, Refusal> {
        let map = told(message)?;
        let missing = || Refusal::unavailable("the answer about a partition lacks a field");
        let number = |name| map.get(name).and_then(Value::as_i64).ok_or_else(missing);
        let text = map.get(PARTITION).and_then(convert::text).ok_or_else(missing)?;
        let is_empty = map.get(IS_EMPTY).and_then(Value::as_bool) == Some(true);
        let last_enqueued = map.get(LAST_TIME).and_then(convert::time).filter(|_| !is_empty);
        let next = number(LAST_SEQUENCE_NUMBER)?.saturating_add(1);
        Ok(Self {
            partition: text.parse().map_err(|_| missing())?,
            oldest: u64::try_from(number(BEGIN_SEQUENCE_NUMBER)?).unwrap_or(0),
            next: u64::try_from(next).unwrap_or(0),
            last_enqueued,
        })
    }
}

fn ok(map: Map, correlation_id: Option<MessageId>) -> Message {
    Message { body: Body::Value(Value::Map(map)), ..cbs::answer(correlation_id, 200, "OK") }
}

/// The map of an answer that is no refusal.
fn told(message: &Message) -> Result<&Map, Refusal> {
    let (status, description) = cbs::read_answer(message).unwrap_or((500, "no status"));
    match (&message.body, status) {
        (Body::Value(Value::Map(map)), 200..=299) => Ok(map),
        (_, 404) => Err(Refusal::not_found(description)),
        (_, 401) => Err(Refusal::unauthorized(description)),
        (_, 400) => Err(Refusal::bad_request(description)),
        _ => Err(Refusal::unavailable(description)),
    }
}

const OPERATION: &str = "operation";
const READ: &str = "READ";
const TYPE: &str = "type";
const NAME: &str = "name";
const PARTITION: &str = "partition";
const SECURITY_TOKEN: &str = "security_token";
const LOG_TYPE: &str = "com.microsoft:eventhub";
const PARTITION_TYPE: &str = "com.microsoft:partition";
const ERROR_CONDITION: &str = "error-condition";
const CREATED_AT: &str = "created_at";
const PARTITION_COUNT: &str = "partition_count";
const PARTITION_IDS: &str = "partition_ids";
const BEGIN_SEQUENCE_NUMBER: &str = "begin_sequence_number";
const LAST_SEQUENCE_NUMBER: &str = "last_enqueued_sequence_number";
const LAST_OFFSET: &str = "last_enqueued_offset";
const LAST_TIME: &str = "last_enqueued_time_utc";
const IS_EMPTY: &str = "is_partition_empty";

#[cfg(test)]
mod tests {
    use super::*;

    fn log() -> Question {
        Question::Log { entity: "hub".into() }
    }

    #[test]
    fn questions_are_read_as_they_are_asked() {
        let partition = Question::Partition { entity: "hub".into(), partition: "0".into() };
        for (id, question) in [
            (MessageId::Ulong(0), log()),
            (MessageId::Uuid([7; 16]), partition),
            (MessageId::String("x".into()), log()),
        ] {
            let mut message = question.to_message(id.clone(), "me");
            message.application_properties.push("security_token", "SharedAccessSignature sr=…");
            let request = Request::parse(&message);
            assert_eq!(request.question, Ok(question));
            // The same type, and not only the same text.
            assert_eq!(request.correlation_id, Some(id));
            assert!(request.token.is_some());
        }
    }

    #[test]
    fn what_is_no_question_is_refused() {
        for (name, value) in [
            ("operation", Value::from("WRITE")),
            ("operation", Value::Null),
            ("type", Value::from("com.microsoft:else")),
            ("name", Value::Null),
        ] {
            let mut message = log().to_message(MessageId::Ulong(1), "me");
            let others = message.application_properties.into_iter();
            let mut changed: Map = others.filter(|(key, _)| key.as_text() != Some(name)).collect();
            changed.push(name, value);
            message.application_properties = changed;
            let refusal = Request::parse(&message).question.unwrap_err();
            assert_eq!(refusal.status, 400, "{name}");
        }
    }

    /// The types of sa §9.4, each one of which some client insists on.
    #[test]
    fn answers_have_the_exact_types() {
        let created = Timestamp::from_millisecond(1_700_000_000_123).unwrap();
        let info = LogInfo { entity: "hub".into(), created, partitions: 2 };
        let answer = info.to_message(Some(MessageId::Ulong(3)));
        assert_eq!(answer.properties.correlation_id, Some(MessageId::Ulong(3)));
        let status = answer.application_properties.get("status-code");
        assert_eq!(status, Some(&Value::Int(200)));
        let Body::Value(Value::Map(map)) = &answer.body else { panic!("no map") };
        assert_eq!(map.get("created_at"), Some(&Value::Timestamp(1_700_000_000_123)));
        assert_eq!(map.get("partition_count"), Some(&Value::Int(2)));
        let ids = Array::of_strings(["0".to_owned(), "1".to_owned()]);
        assert_eq!(map.get("partition_ids"), Some(&Value::Array(ids)));
        assert!(map.iter().all(|(key, _)| matches!(key, Value::String(_))));
        assert_eq!(LogInfo::from_message(&answer), Ok(info));

        let info =
            PartitionInfo { partition: 1, oldest: 3, next: 10, last_enqueued: Some(created) };
        let answer = info.to_message("hub", None);
        let Body::Value(Value::Map(map)) = &answer.body else { panic!("no map") };
        for (name, value) in [
            ("partition", Value::from("1")),
            ("begin_sequence_number", Value::Long(3)),
            ("last_enqueued_sequence_number", Value::Long(9)),
            ("last_enqueued_offset", Value::from("9")),
            ("last_enqueued_time_utc", Value::Timestamp(1_700_000_000_123)),
            ("is_partition_empty", Value::Boolean(false)),
        ] {
            assert_eq!(map.get(name), Some(&value), "{name}");
        }
        assert_eq!(PartitionInfo::from_message(&answer), Ok(info));
    }

    #[test]
    fn an_empty_partition_says_so() {
        let info = PartitionInfo { partition: 0, oldest: 0, next: 0, last_enqueued: None };
        let answer = info.to_message("hub", None);
        let Body::Value(Value::Map(map)) = &answer.body else { panic!("no map") };
        for (name, value) in [
            ("last_enqueued_sequence_number", Value::Long(-1)),
            ("last_enqueued_offset", Value::from("-1")),
            ("last_enqueued_time_utc", Value::Timestamp(0)),
            ("is_partition_empty", Value::Boolean(true)),
        ] {
            assert_eq!(map.get(name), Some(&value), "{name}");
        }
        assert_eq!(PartitionInfo::from_message(&answer), Ok(info));
    }

    #[test]
    fn refusals_are_read_back() {
        for refusal in [
            Refusal::not_found("no such log"),
            Refusal::bad_request("x"),
            Refusal::unauthorized("x"),
            Refusal::unavailable("x"),
        ] {
            let answer = refusal.to_message(Some(MessageId::String("a".into())));
            let status = answer.application_properties.get("status-code").unwrap();
            assert_eq!(status, &Value::Int(refusal.status.into()));
            assert_eq!(LogInfo::from_message(&answer), Err(refusal));
        }
    }
}
