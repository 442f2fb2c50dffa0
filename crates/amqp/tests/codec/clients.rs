//! Bytes of real clients' codecs are read as what they mean, and those clients read
//! ours: pyamqp, uamqp and rhea. `clients/` holds the bytes and what made them.
//!
//! `ours.txt` is what we write; when it changes, the clients must be asked again, by
//! the commands at the top of `clients/python.py` and `clients/rhea.js`.

use std::fmt::Write as _;
use std::time::Duration;

use amqp::frame::{self, Frame};
use amqp::message::{Header, Properties};
use amqp::performative::{
    Attach, Begin, Close, Detach, Disposition, End, Error, Flow, Open, ReceiverSettleMode,
    SenderSettleMode, Source, Target, Transfer, condition,
};
use amqp::sasl::{Init, SaslFrame};
use amqp::{
    Body, DeliveryState, Limits, Map, Message, MessageId, Performative, Role, Symbol, Value, batch,
};
use bytes::{Bytes, BytesMut};

const PYTHON: &str = include_str!("clients/python.txt");
const RHEA: &str = include_str!("clients/rhea.txt");
const OURS: &str = include_str!("clients/ours.txt");

/// What a case's bytes mean.
#[derive(Debug, PartialEq)]
enum Meaning {
    Performative(Performative, Bytes),
    Sasl(SaslFrame),
    Message(Box<Message>),
    Batch(Vec<Message>),
}

#[test]
fn clients_bytes_are_understood() {
    let mut count = 0;
    for line in PYTHON.lines().chain(RHEA.lines()) {
        let (client, name, encoded) = parts(line);
        let (_, meaning) = meanings().into_iter().find(|(case, _)| *case == name).unwrap();
        assert_eq!(read(encoded, &meaning), meaning, "{client} {name}");
        count += 1;
    }
    assert_eq!(count, 14 + 3 + 12, "pyamqp, uamqp and rhea");
}

#[test]
fn our_bytes_are_those_that_clients_read() {
    let mut written = String::new();
    for (name, meaning) in meanings() {
        let hex: String = write(&meaning).iter().map(|byte| format!("{byte:02x}")).collect();
        writeln!(written, "ours {name} {hex}").unwrap();
    }
    assert!(written == OURS, "ask the clients whether they read this, too:\n{written}");
}

#[test]
fn our_bytes_are_read_by_us() {
    for (line, (name, meaning)) in OURS.lines().zip(meanings()) {
        let (_, _, encoded) = parts(line);
        assert_eq!(read(encoded, &meaning), meaning, "{name}");
    }
}

fn meanings() -> Vec<(&'static str, Meaning)> {
    let none = Bytes::new();
    let amqp = |performative| Meaning::Performative(performative, none.clone());
    vec![
        ("open", amqp(Performative::Open(open()))),
        ("begin", amqp(Performative::Begin(begin()))),
        ("attach_events", amqp(Performative::Attach(Box::new(attach_events())))),
        ("flow", amqp(Performative::Flow(flow()))),
        ("transfer", {
            Meaning::Performative(Performative::Transfer(transfer()), Bytes::from_static(b"abc"))
        }),
        ("accepted", amqp(Performative::Disposition(accepted()))),
        ("rejected", amqp(Performative::Disposition(rejected()))),
        ("detach", amqp(Performative::Detach(detach()))),
        ("end", amqp(Performative::End(End::default()))),
        ("close", amqp(Performative::Close(Close::default()))),
        ("init", Meaning::Sasl(SaslFrame::Init(init()))),
        ("telemetry", Meaning::Message(Box::new(telemetry()))),
        ("put_token", Meaning::Message(Box::new(put_token()))),
        ("batch", Meaning::Batch(vec![only_data("1"), only_data("2")])),
    ]
}

fn open() -> Open {
    Open {
        container_id: "c1".to_owned(),
        hostname: Some("h.example".to_owned()),
        max_frame_size: 65536,
        channel_max: 65535,
        idle_time_out: Some(Duration::from_secs(240)),
        properties: Map::from_iter([(symbol("product"), "test")]),
        ..Open::default()
    }
}

fn begin() -> Begin {
    Begin { incoming_window: 65536, outgoing_window: 65536, ..Begin::default() }
}

fn attach_events() -> Attach {
    let filter = symbol("apache.org:selector-filter:string");
    let text = "amqp.annotation.x-opt-offset > '@latest'";
    let source = Source {
        filter: Map::from_iter([(filter.clone(), Value::described(filter, text))]),
        ..Source::at("amqps://h/e/ConsumerGroups/$Default/Partitions/0")
    };
    Attach {
        snd_settle_mode: SenderSettleMode::Unsettled,
        rcv_settle_mode: ReceiverSettleMode::First,
        source: Some(Box::new(source)),
        target: Some(Box::new(Target::at("t1"))),
        max_message_size: Some(1024 * 1024),
        desired_capabilities: vec![symbol("com.microsoft:enable-receiver-runtime-metric")],
        properties: Map::from_iter([(symbol("com.microsoft:epoch"), 300_i64)]),
        ..Attach::new("link-1", 1, Role::Receiver)
    }
}

fn flow() -> Flow {
    Flow {
        next_incoming_id: Some(1),
        incoming_window: 65535,
        next_outgoing_id: 2,
        outgoing_window: 65536,
        handle: Some(0),
        delivery_count: Some(0),
        link_credit: Some(300),
        ..Flow::default()
    }
}

fn transfer() -> Transfer {
    Transfer {
        handle: 0,
        delivery_id: Some(300),
        delivery_tag: Some(Bytes::from_static(&[0, 1])),
        message_format: Some(0),
        settled: Some(false),
        ..Transfer::default()
    }
}

fn accepted() -> Disposition {
    Disposition {
        role: Role::Receiver,
        first: 1,
        last: Some(1),
        settled: true,
        state: Some(DeliveryState::Accepted),
        batchable: false,
    }
}

fn rejected() -> Disposition {
    let error = Error {
        info: Map::from_iter([(symbol("k"), "v")]),
        ..Error::new(condition::NOT_FOUND, "x".repeat(300))
    };
    Disposition { last: Some(2), state: Some(DeliveryState::Rejected(Some(error))), ..accepted() }
}

fn detach() -> Detach {
    Detach { handle: 3, closed: true, error: Some(Error::new(condition::STOLEN, "gone")) }
}

fn init() -> Init {
    Init {
        mechanism: symbol("PLAIN"),
        initial_response: Some(Bytes::from_static(b"\0u\0p")),
        hostname: Some("h.example".to_owned()),
    }
}

fn telemetry() -> Message {
    let uuid = 0x0011_2233_4455_6677_8899_aabb_ccdd_eeff_u128;
    Message {
        header: Some(Header { durable: true, ..Header::default() }),
        message_annotations: Map::from_iter([(symbol("dt-subject"), "s")]),
        properties: Properties {
            message_id: Some(MessageId::String("m1".to_owned())),
            to: Some("/devices/d/messages/events".to_owned()),
            correlation_id: Some(MessageId::Uuid(uuid.to_be_bytes())),
            content_type: Some(symbol("application/json")),
            content_encoding: Some(symbol("utf-8")),
            ..Properties::default()
        },
        application_properties: Map::from_iter([("a", "b"), ("long", &"x".repeat(300))]),
        body: Body::data("{}"),
        ..Message::default()
    }
}

fn put_token() -> Message {
    Message {
        properties: Properties {
            message_id: Some(MessageId::String("m2".to_owned())),
            to: Some("$cbs".to_owned()),
            reply_to: Some("cbs".to_owned()),
            ..Properties::default()
        },
        application_properties: Map::from_iter([("operation", "put-token")]),
        body: Body::Value(Value::from("SharedAccessSignature sr=h")),
        ..Message::default()
    }
}

fn only_data(content: &'static str) -> Message {
    Message { body: Body::data(content), ..Message::default() }
}

fn symbol(text: &'static str) -> Symbol {
    Symbol::from_static(text)
}

fn write(meaning: &Meaning) -> Bytes {
    let mut output = BytesMut::new();
    match meaning {
        Meaning::Performative(Performative::Transfer(transfer), payload) => {
            frame::encode_transfer(0, transfer, payload, 512, &mut output);
        }
        Meaning::Performative(performative, _) => frame::encode(0, performative, &mut output),
        Meaning::Sasl(sasl) => frame::encode_sasl(sasl, &mut output),
        Meaning::Message(message) => message.encode(&mut output),
        Meaning::Batch(messages) => batch::encode(messages, &mut output),
    }
    output.freeze()
}

/// Reads bytes as the same sort of thing as `like`.
fn read(encoded: Bytes, like: &Meaning) -> Meaning {
    let limits = Limits::default();
    let frame = || Frame::take(&mut BytesMut::from(&encoded[..]), 1024).unwrap().unwrap();
    match like {
        Meaning::Performative(..) => {
            let (performative, payload) = frame().performative(&limits).unwrap();
            Meaning::Performative(performative, payload)
        }
        Meaning::Sasl(_) => Meaning::Sasl(frame().sasl(&limits).unwrap()),
        Meaning::Message(like) => {
            let mut message = Message::decode(&encoded, &limits).unwrap();
            // rhea sends an empty header where nothing was set, and uamqp's Python
            // writes strings as keys of annotations.
            if like.header.is_none() && message.header == Some(Header::default()) {
                message.header = None;
            }
            let annotations = message.message_annotations.into_iter();
            let annotations = annotations.map(|(key, value)| {
                (Symbol::try_from(key.as_text().expect("a text")).expect("ascii"), value)
            });
            message.message_annotations = annotations.collect();
            Meaning::Message(Box::new(message))
        }
        Meaning::Batch(_) => {
            let messages = batch::open(&encoded, &limits).unwrap();
            Meaning::Batch(messages.map(|message| message.unwrap().1).collect())
        }
    }
}

fn parts(line: &'static str) -> (&'static str, &'static str, Bytes) {
    let mut words = line.split(' ');
    let (client, name) = (words.next().unwrap(), words.next().unwrap());
    let digits = words.next().unwrap().as_bytes();
    let bytes = digits.chunks(2).map(|pair| {
        let pair = std::str::from_utf8(pair).unwrap();
        u8::from_str_radix(pair, 16).unwrap()
    });
    (client, name, bytes.collect())
}
