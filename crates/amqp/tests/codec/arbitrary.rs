//! Whatever can be built, for proptest.

use std::time::Duration;

use amqp::message::{Header, Properties};
use amqp::performative::{
    Attach, Begin, Close, Detach, Disposition, Durability, End, Error, Flow, Open,
    ReceiverSettleMode, SenderSettleMode, Source, Target, Transfer,
};
use amqp::sasl::{Init, Outcome, SaslFrame};
use amqp::types::{Array, Kind};
use amqp::{Body, DeliveryState, Map, Message, MessageId, Performative, Role, Symbol, Value};
use bytes::Bytes;
use proptest::array::uniform;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

pub(crate) fn value() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(4, 64, 8, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..8).prop_map(Value::List),
            vec((inner.clone(), inner.clone()), 0..5)
                .prop_map(|entries| Value::Map(Map::from(entries))),
            (inner.clone(), inner.clone())
                .prop_map(|(descriptor, value)| Value::described(descriptor, value)),
            (vec(inner.clone(), 0..2), vec(inner, 0..20)).prop_map(array),
        ]
    })
}

/// An array of those values that are like the first.
fn array((descriptors, items): (Vec<Value>, Vec<Value>)) -> Value {
    let kinds = items.iter().map(Value::kind);
    let kind = kinds.into_iter().find(|kind| *kind != Kind::Described).unwrap_or(Kind::Uint);
    let items = items.into_iter().filter(|item| item.kind() == kind).collect();
    Value::Array(Array::described(descriptors, kind, items).expect("all of one kind"))
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Boolean),
        any::<u8>().prop_map(Value::Ubyte),
        any::<u16>().prop_map(Value::Ushort),
        uint().prop_map(Value::Uint),
        ulong().prop_map(Value::Ulong),
        any::<i8>().prop_map(Value::Byte),
        any::<i16>().prop_map(Value::Short),
        (any::<i32>(), 0..32_u32).prop_map(|(number, shift)| Value::Int(number >> shift)),
        (any::<i64>(), 0..64_u32).prop_map(|(number, shift)| Value::Long(number >> shift)),
        any::<u32>().prop_map(|bits| Value::Float(f32::from_bits(bits))),
        any::<u64>().prop_map(|bits| Value::Double(f64::from_bits(bits))),
        uniform(any::<u8>()).prop_map(Value::Decimal32),
        uniform(any::<u8>()).prop_map(Value::Decimal64),
        uniform(any::<u8>()).prop_map(Value::Decimal128),
        any::<char>().prop_map(Value::Char),
        any::<i64>().prop_map(Value::Timestamp),
        uniform(any::<u8>()).prop_map(Value::Uuid),
        binary().prop_map(Value::Binary),
        string().prop_map(Value::String),
        symbol().prop_map(Value::Symbol),
    ]
}

fn uint() -> impl Strategy<Value = u32> {
    (any::<u32>(), 0..32_u32).prop_map(|(number, shift)| number >> shift)
}

fn ulong() -> impl Strategy<Value = u64> {
    (any::<u64>(), 0..64_u32).prop_map(|(number, shift)| number >> shift)
}

fn binary() -> impl Strategy<Value = Bytes> {
    prop_oneof![4 => vec(any::<u8>(), 0..20), 1 => vec(any::<u8>(), 250..600)].prop_map(Bytes::from)
}

fn string() -> impl Strategy<Value = String> {
    prop_oneof![4 => ".{0,12}", 1 => "[a-zä]{200,300}"]
}

fn symbol() -> impl Strategy<Value = Symbol> {
    prop_oneof![4 => "[ -~]{0,12}", 1 => "[a-z:.-]{250,260}"]
        .prop_map(|text| Symbol::try_from(text).expect("ascii"))
}

fn symbols() -> impl Strategy<Value = Vec<Symbol>> {
    vec(symbol(), 0..4)
}

fn map() -> impl Strategy<Value = Map> {
    vec((scalar(), value()), 0..4).prop_map(Map::from)
}

pub(crate) fn performative() -> impl Strategy<Value = Performative> {
    prop_oneof![
        open().prop_map(Performative::Open),
        begin().prop_map(Performative::Begin),
        attach().prop_map(|attach| Performative::Attach(Box::new(attach))),
        flow().prop_map(Performative::Flow),
        transfer().prop_map(Performative::Transfer),
        disposition().prop_map(Performative::Disposition),
        (uint(), any::<bool>(), option::of(error()))
            .prop_map(|(handle, closed, error)| Detach { handle, closed, error })
            .prop_map(Performative::Detach),
        option::of(error()).prop_map(|error| Performative::End(End { error })),
        option::of(error()).prop_map(|error| Performative::Close(Close { error })),
    ]
}

prop_compose! {
    fn open()(
        container_id in string(),
        hostname in option::of(string()),
        max_frame_size in uint(),
        channel_max in any::<u16>(),
        idle_time_out in option::of(uint().prop_map(|ms| Duration::from_millis(ms.into()))),
        locales in (symbols(), symbols()),
        capabilities in (symbols(), symbols()),
        properties in map(),
    ) -> Open {
        Open {
            container_id, hostname, max_frame_size, channel_max, idle_time_out,
            outgoing_locales: locales.0, incoming_locales: locales.1,
            offered_capabilities: capabilities.0, desired_capabilities: capabilities.1,
            properties,
        }
    }
}

prop_compose! {
    fn begin()(
        remote_channel in option::of(any::<u16>()),
        next_outgoing_id in uint(),
        incoming_window in uint(),
        outgoing_window in uint(),
        handle_max in uint(),
        capabilities in (symbols(), symbols()),
        properties in map(),
    ) -> Begin {
        Begin {
            remote_channel, next_outgoing_id, incoming_window, outgoing_window, handle_max,
            offered_capabilities: capabilities.0, desired_capabilities: capabilities.1,
            properties,
        }
    }
}

prop_compose! {
    fn attach()(
        name in string(),
        numbers in (uint(), option::of(uint()), option::of(ulong())),
        role in role(),
        snd_settle_mode in select(&[
            SenderSettleMode::Unsettled, SenderSettleMode::Settled, SenderSettleMode::Mixed,
        ][..]),
        rcv_settle_mode in receiver_settle_mode(),
        source in option::of(source()),
        target in option::of(target()),
        coordinator in any::<bool>(),
        unsettled in map(),
        incomplete_unsettled in any::<bool>(),
        capabilities in (symbols(), symbols()),
        properties in map(),
    ) -> Attach {
        Attach {
            name, handle: numbers.0, role, snd_settle_mode, rcv_settle_mode,
            source: source.map(Box::new),
            coordinator: coordinator && target.is_none(),
            target: target.map(Box::new),
            unsettled, incomplete_unsettled,
            initial_delivery_count: numbers.1, max_message_size: numbers.2,
            offered_capabilities: capabilities.0, desired_capabilities: capabilities.1,
            properties,
        }
    }
}

prop_compose! {
    fn flow()(
        session in (option::of(uint()), uint(), uint(), uint()),
        link in (option::of(uint()), option::of(uint()), option::of(uint()), option::of(uint())),
        drain in any::<bool>(),
        echo in any::<bool>(),
        properties in map(),
    ) -> Flow {
        Flow {
            next_incoming_id: session.0, incoming_window: session.1,
            next_outgoing_id: session.2, outgoing_window: session.3,
            handle: link.0, delivery_count: link.1, link_credit: link.2, available: link.3,
            drain, echo, properties,
        }
    }
}

prop_compose! {
    pub(crate) fn transfer()(
        handle in uint(),
        delivery_id in option::of(uint()),
        delivery_tag in option::of(vec(any::<u8>(), 0..32).prop_map(Bytes::from)),
        message_format in option::of(uint()),
        settled in option::of(any::<bool>()),
        more in any::<bool>(),
        rcv_settle_mode in option::of(receiver_settle_mode()),
        state in option::of(delivery_state()),
        flags in (any::<bool>(), any::<bool>(), any::<bool>()),
    ) -> Transfer {
        Transfer {
            handle, delivery_id, delivery_tag, message_format, settled, more, rcv_settle_mode,
            state, resume: flags.0, aborted: flags.1, batchable: flags.2,
        }
    }
}

prop_compose! {
    fn disposition()(
        role in role(),
        first in uint(),
        last in option::of(uint()),
        settled in any::<bool>(),
        state in option::of(delivery_state()),
        batchable in any::<bool>(),
    ) -> Disposition {
        Disposition { role, first, last, settled, state, batchable }
    }
}

fn role() -> impl Strategy<Value = Role> {
    select(&[Role::Sender, Role::Receiver][..])
}

fn receiver_settle_mode() -> impl Strategy<Value = ReceiverSettleMode> {
    select(&[ReceiverSettleMode::First, ReceiverSettleMode::Second][..])
}

fn delivery_state() -> impl Strategy<Value = DeliveryState> {
    prop_oneof![
        (uint(), ulong()).prop_map(|(section_number, section_offset)| DeliveryState::Received {
            section_number,
            section_offset,
        }),
        Just(DeliveryState::Accepted),
        option::of(error()).prop_map(DeliveryState::Rejected),
        Just(DeliveryState::Released),
        (any::<bool>(), any::<bool>(), map()).prop_map(
            |(delivery_failed, undeliverable_here, message_annotations)| DeliveryState::Modified {
                delivery_failed,
                undeliverable_here,
                message_annotations,
            }
        ),
    ]
}

fn error() -> impl Strategy<Value = Error> {
    (symbol(), option::of(string()), map()).prop_map(|(condition, description, info)| Error {
        condition,
        description,
        info,
    })
}

prop_compose! {
    fn target()(
        address in option::of(string()),
        durable in select(&[
            Durability::None, Durability::Configuration, Durability::UnsettledState,
        ][..]),
        expiry_policy in symbol(),
        timeout in uint().prop_map(|seconds| Duration::from_secs(seconds.into())),
        dynamic in any::<bool>(),
        dynamic_node_properties in map(),
        capabilities in symbols(),
    ) -> Target {
        Target {
            address, durable, expiry_policy, timeout, dynamic, dynamic_node_properties,
            capabilities,
        }
    }
}

prop_compose! {
    fn source()(
        common in target(),
        distribution_mode in option::of(symbol()),
        filter in map(),
        default_outcome in option::of(delivery_state()),
        outcomes in symbols(),
    ) -> Source {
        Source {
            address: common.address,
            durable: common.durable,
            expiry_policy: common.expiry_policy,
            timeout: common.timeout,
            dynamic: common.dynamic,
            dynamic_node_properties: common.dynamic_node_properties,
            distribution_mode, filter, default_outcome, outcomes,
            capabilities: common.capabilities,
        }
    }
}

pub(crate) fn sasl() -> impl Strategy<Value = SaslFrame> {
    let codes = &[Outcome::Ok, Outcome::Auth, Outcome::Sys, Outcome::SysPerm, Outcome::SysTemp];
    prop_oneof![
        vec(symbol(), 1..5).prop_map(SaslFrame::Mechanisms),
        (symbol(), option::of(binary()), option::of(string())).prop_map(
            |(mechanism, initial_response, hostname)| SaslFrame::Init(Init {
                mechanism,
                initial_response,
                hostname,
            })
        ),
        binary().prop_map(SaslFrame::Challenge),
        binary().prop_map(SaslFrame::Response),
        (select(&codes[..]), option::of(binary()))
            .prop_map(|(code, additional_data)| SaslFrame::Outcome { code, additional_data }),
    ]
}

prop_compose! {
    pub(crate) fn message()(
        header in option::of(header()),
        delivery_annotations in map(),
        message_annotations in map(),
        properties in prop_oneof![Just(Properties::default()), properties()],
        application_properties in map(),
        body in body(),
        footer in map(),
    ) -> Message {
        Message {
            header, delivery_annotations, message_annotations, properties,
            application_properties, body, footer,
        }
    }
}

fn header() -> impl Strategy<Value = Header> {
    let ttl = option::of(uint().prop_map(|ms| Duration::from_millis(ms.into())));
    (any::<bool>(), any::<u8>(), ttl, any::<bool>(), uint()).prop_map(
        |(durable, priority, ttl, first_acquirer, delivery_count)| Header {
            durable,
            priority,
            ttl,
            first_acquirer,
            delivery_count,
        },
    )
}

prop_compose! {
    fn properties()(
        ids in (option::of(message_id()), option::of(message_id())),
        user_id in option::of(binary()),
        texts in (option::of(string()), option::of(string()), option::of(string())),
        types in (option::of(symbol()), option::of(symbol())),
        times in (option::of(any::<i64>()), option::of(any::<i64>())),
        group in (option::of(string()), option::of(uint()), option::of(string())),
    ) -> Properties {
        Properties {
            message_id: ids.0, user_id, to: texts.0, subject: texts.1, reply_to: texts.2,
            correlation_id: ids.1, content_type: types.0, content_encoding: types.1,
            absolute_expiry_time: times.0, creation_time: times.1,
            group_id: group.0, group_sequence: group.1, reply_to_group_id: group.2,
        }
    }
}

fn message_id() -> impl Strategy<Value = MessageId> {
    prop_oneof![
        ulong().prop_map(MessageId::Ulong),
        uniform(any::<u8>()).prop_map(MessageId::Uuid),
        binary().prop_map(MessageId::Binary),
        string().prop_map(MessageId::String),
    ]
}

fn body() -> impl Strategy<Value = Body> {
    prop_oneof![
        Just(Body::Empty),
        vec(binary(), 1..4).prop_map(Body::Data),
        vec(vec(value(), 0..4), 1..3).prop_map(Body::Sequence),
        value().prop_map(Body::Value),
    ]
}
