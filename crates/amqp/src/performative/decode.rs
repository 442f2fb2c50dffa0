//! Reads performatives, and what stands in their fields.

use std::time::Duration;

use bytes::Bytes;

use super::{
    Attach, Begin, Close, DeliveryState, Detach, Disposition, Durability, End, Error, Flow, Open,
    Performative, ReceiverSettleMode, Role, SenderSettleMode, Source, Target, Transfer,
};
use crate::codec::format::descriptor;
use crate::codec::{DecodeError, Fields, Limits, Reader};
use crate::types::{Map, Symbol};

impl Performative {
    /// Reads the performative at the start of a frame's body. The rest of the body
    /// is the payload, which only a transfer has.
    pub fn decode(body: &Bytes, limits: &Limits) -> Result<(Performative, Bytes), DecodeError> {
        let mut reader = Reader::new(body, limits);
        let performative = performative(&mut reader)?;
        if !matches!(performative, Performative::Transfer(_)) {
            reader.finish()?;
        }
        Ok((performative, reader.into_rest()))
    }
}

fn performative(reader: &mut Reader<'_>) -> Result<Performative, DecodeError> {
    const EXPECTED: &str = "performative";
    Ok(match reader.descriptor(EXPECTED)? {
        descriptor::OPEN => Performative::Open(open(reader)?),
        descriptor::BEGIN => Performative::Begin(begin(reader)?),
        descriptor::ATTACH => Performative::Attach(Box::new(attach(reader)?)),
        descriptor::FLOW => Performative::Flow(flow(reader)?),
        descriptor::TRANSFER => Performative::Transfer(transfer(reader)?),
        descriptor::DISPOSITION => Performative::Disposition(disposition(reader)?),
        descriptor::DETACH => Performative::Detach(detach(reader)?),
        descriptor::END => Performative::End(End { error: only_error(reader, "end")? }),
        descriptor::CLOSE => Performative::Close(Close { error: only_error(reader, "close")? }),
        other => return Err(unknown(EXPECTED, other)),
    })
}

fn open(reader: &mut Reader<'_>) -> Result<Open, DecodeError> {
    let mut fields = Fields::enter(reader, "open", 10)?;
    let open = Open {
        container_id: fields.required("container-id", Reader::string)?,
        hostname: fields.optional("hostname", Reader::string)?,
        max_frame_size: fields.or("max-frame-size", Reader::uint, u32::MAX)?,
        channel_max: fields.or("channel-max", Reader::ushort, u16::MAX)?,
        idle_time_out: fields.optional("idle-time-out", milliseconds)?,
        outgoing_locales: fields.or_default("outgoing-locales", Reader::symbols)?,
        incoming_locales: fields.or_default("incoming-locales", Reader::symbols)?,
        offered_capabilities: fields.or_default("offered-capabilities", Reader::symbols)?,
        desired_capabilities: fields.or_default("desired-capabilities", Reader::symbols)?,
        properties: fields.or_default("properties", Reader::map)?,
    };
    fields.leave()?;
    Ok(open)
}

fn begin(reader: &mut Reader<'_>) -> Result<Begin, DecodeError> {
    let mut fields = Fields::enter(reader, "begin", 8)?;
    let begin = Begin {
        remote_channel: fields.optional("remote-channel", Reader::ushort)?,
        next_outgoing_id: fields.required("next-outgoing-id", Reader::uint)?,
        incoming_window: fields.required("incoming-window", Reader::uint)?,
        outgoing_window: fields.required("outgoing-window", Reader::uint)?,
        handle_max: fields.or("handle-max", Reader::uint, u32::MAX)?,
        offered_capabilities: fields.or_default("offered-capabilities", Reader::symbols)?,
        desired_capabilities: fields.or_default("desired-capabilities", Reader::symbols)?,
        properties: fields.or_default("properties", Reader::map)?,
    };
    fields.leave()?;
    Ok(begin)
}

fn attach(reader: &mut Reader<'_>) -> Result<Attach, DecodeError> {
    let mut fields = Fields::enter(reader, "attach", 14)?;
    let name = fields.required("name", Reader::string)?;
    let handle = fields.required("handle", Reader::uint)?;
    let role = fields.required("role", role)?;
    let snd_settle_mode = fields.or_default("snd-settle-mode", sender_settle_mode)?;
    let rcv_settle_mode = fields.or_default("rcv-settle-mode", receiver_settle_mode)?;
    let source = fields.optional("source", source)?;
    let target = fields.optional("target", target_or_coordinator)?;
    let (target, coordinator) = match target {
        Some(Some(target)) => (Some(Box::new(target)), false),
        Some(None) => (None, true),
        None => (None, false),
    };
    let attach = Attach {
        name,
        handle,
        role,
        snd_settle_mode,
        rcv_settle_mode,
        source: source.map(Box::new),
        target,
        coordinator,
        unsettled: fields.or_default("unsettled", Reader::map)?,
        incomplete_unsettled: fields.or("incomplete-unsettled", Reader::boolean, false)?,
        initial_delivery_count: fields.optional("initial-delivery-count", Reader::uint)?,
        max_message_size: fields.optional("max-message-size", Reader::ulong)?,
        offered_capabilities: fields.or_default("offered-capabilities", Reader::symbols)?,
        desired_capabilities: fields.or_default("desired-capabilities", Reader::symbols)?,
        properties: fields.or_default("properties", Reader::map)?,
    };
    fields.leave()?;
    Ok(attach)
}

fn flow(reader: &mut Reader<'_>) -> Result<Flow, DecodeError> {
    let mut fields = Fields::enter(reader, "flow", 11)?;
    let flow = Flow {
        next_incoming_id: fields.optional("next-incoming-id", Reader::uint)?,
        incoming_window: fields.required("incoming-window", Reader::uint)?,
        next_outgoing_id: fields.required("next-outgoing-id", Reader::uint)?,
        outgoing_window: fields.required("outgoing-window", Reader::uint)?,
        handle: fields.optional("handle", Reader::uint)?,
        delivery_count: fields.optional("delivery-count", Reader::uint)?,
        link_credit: fields.optional("link-credit", Reader::uint)?,
        available: fields.optional("available", Reader::uint)?,
        drain: fields.or("drain", Reader::boolean, false)?,
        echo: fields.or("echo", Reader::boolean, false)?,
        properties: fields.or_default("properties", Reader::map)?,
    };
    fields.leave()?;
    Ok(flow)
}

fn transfer(reader: &mut Reader<'_>) -> Result<Transfer, DecodeError> {
    let mut fields = Fields::enter(reader, "transfer", 11)?;
    let transfer = Transfer {
        handle: fields.required("handle", Reader::uint)?,
        delivery_id: fields.optional("delivery-id", Reader::uint)?,
        delivery_tag: fields.optional("delivery-tag", Reader::binary)?,
        message_format: fields.optional("message-format", Reader::uint)?,
        settled: fields.optional("settled", Reader::boolean)?,
        more: fields.or("more", Reader::boolean, false)?,
        rcv_settle_mode: fields.optional("rcv-settle-mode", receiver_settle_mode)?,
        state: fields.optional("state", delivery_state)?,
        resume: fields.or("resume", Reader::boolean, false)?,
        aborted: fields.or("aborted", Reader::boolean, false)?,
        batchable: fields.or("batchable", Reader::boolean, false)?,
    };
    fields.leave()?;
    Ok(transfer)
}

fn disposition(reader: &mut Reader<'_>) -> Result<Disposition, DecodeError> {
    let mut fields = Fields::enter(reader, "disposition", 6)?;
    let disposition = Disposition {
        role: fields.required("role", role)?,
        first: fields.required("first", Reader::uint)?,
        last: fields.optional("last", Reader::uint)?,
        settled: fields.or("settled", Reader::boolean, false)?,
        state: fields.optional("state", delivery_state)?,
        batchable: fields.or("batchable", Reader::boolean, false)?,
    };
    fields.leave()?;
    Ok(disposition)
}

fn detach(reader: &mut Reader<'_>) -> Result<Detach, DecodeError> {
    let mut fields = Fields::enter(reader, "detach", 3)?;
    let detach = Detach {
        handle: fields.required("handle", Reader::uint)?,
        closed: fields.or("closed", Reader::boolean, false)?,
        error: fields.optional("error", error)?,
    };
    fields.leave()?;
    Ok(detach)
}

/// The one field of `end` and `close`, and of `rejected`.
fn only_error(
    reader: &mut Reader<'_>,
    composite: &'static str,
) -> Result<Option<Error>, DecodeError> {
    let mut fields = Fields::enter(reader, composite, 1)?;
    let error = fields.optional("error", error)?;
    fields.leave()?;
    Ok(error)
}

fn error(reader: &mut Reader<'_>) -> Result<Error, DecodeError> {
    const EXPECTED: &str = "error";
    match reader.descriptor(EXPECTED)? {
        descriptor::ERROR => {}
        other => return Err(unknown(EXPECTED, other)),
    }
    let mut fields = Fields::enter(reader, EXPECTED, 3)?;
    let error = Error {
        condition: fields.required("condition", Reader::name)?,
        description: fields.optional("description", Reader::text)?,
        info: fields.or_default("info", Reader::map)?,
    };
    fields.leave()?;
    Ok(error)
}

fn delivery_state(reader: &mut Reader<'_>) -> Result<DeliveryState, DecodeError> {
    const EXPECTED: &str = "delivery state";
    match reader.descriptor(EXPECTED)? {
        descriptor::RECEIVED => {
            let mut fields = Fields::enter(reader, "received", 2)?;
            let section_number = fields.required("section-number", Reader::uint)?;
            let section_offset = fields.required("section-offset", Reader::ulong)?;
            fields.leave()?;
            Ok(DeliveryState::Received { section_number, section_offset })
        }
        descriptor::ACCEPTED => {
            Fields::enter(reader, "accepted", 0)?.leave()?;
            Ok(DeliveryState::Accepted)
        }
        descriptor::REJECTED => Ok(DeliveryState::Rejected(only_error(reader, "rejected")?)),
        descriptor::RELEASED => {
            Fields::enter(reader, "released", 0)?.leave()?;
            Ok(DeliveryState::Released)
        }
        descriptor::MODIFIED => {
            let mut fields = Fields::enter(reader, "modified", 3)?;
            let delivery_failed = fields.or("delivery-failed", Reader::boolean, false)?;
            let undeliverable_here = fields.or("undeliverable-here", Reader::boolean, false)?;
            let message_annotations = fields.or_default("message-annotations", Reader::map)?;
            fields.leave()?;
            Ok(DeliveryState::Modified { delivery_failed, undeliverable_here, message_annotations })
        }
        other => Err(unknown(EXPECTED, other)),
    }
}

fn source(reader: &mut Reader<'_>) -> Result<Source, DecodeError> {
    const EXPECTED: &str = "source";
    match reader.descriptor(EXPECTED)? {
        descriptor::SOURCE => {}
        other => return Err(unknown(EXPECTED, other)),
    }
    let mut fields = Fields::enter(reader, EXPECTED, 11)?;
    let node = node(&mut fields)?;
    let source = Source {
        address: node.address,
        durable: node.durable,
        expiry_policy: node.expiry_policy,
        timeout: node.timeout,
        dynamic: node.dynamic,
        dynamic_node_properties: node.properties,
        distribution_mode: fields.optional("distribution-mode", Reader::name)?,
        filter: fields.or_default("filter", Reader::map)?,
        default_outcome: fields.optional("default-outcome", delivery_state)?,
        outcomes: fields.or_default("outcomes", Reader::symbols)?,
        capabilities: fields.or_default("capabilities", Reader::symbols)?,
    };
    fields.leave()?;
    Ok(source)
}

/// A target, or None for a transaction coordinator, whose capabilities don't matter
/// as it is refused.
fn target_or_coordinator(reader: &mut Reader<'_>) -> Result<Option<Target>, DecodeError> {
    const EXPECTED: &str = "target";
    match reader.descriptor(EXPECTED)? {
        descriptor::TARGET => {}
        descriptor::COORDINATOR => {
            let mut fields = Fields::enter(reader, "coordinator", 1)?;
            fields.optional("capabilities", Reader::symbols)?;
            fields.leave()?;
            return Ok(None);
        }
        other => return Err(unknown(EXPECTED, other)),
    }
    let mut fields = Fields::enter(reader, EXPECTED, 7)?;
    let node = node(&mut fields)?;
    let target = Target {
        address: node.address,
        durable: node.durable,
        expiry_policy: node.expiry_policy,
        timeout: node.timeout,
        dynamic: node.dynamic,
        dynamic_node_properties: node.properties,
        capabilities: fields.or_default("capabilities", Reader::symbols)?,
    };
    fields.leave()?;
    Ok(Some(target))
}

/// The first six fields, which sources and targets share.
struct Node {
    address: Option<String>,
    durable: Durability,
    expiry_policy: Symbol,
    timeout: Duration,
    dynamic: bool,
    properties: Map,
}

fn node(fields: &mut Fields<'_, '_>) -> Result<Node, DecodeError> {
    Ok(Node {
        address: fields.optional("address", Reader::text)?,
        durable: fields.or_default("durable", durability)?,
        expiry_policy: fields.or("expiry-policy", Reader::name, super::terminus::SESSION_END)?,
        timeout: fields.or_default("timeout", seconds)?,
        dynamic: fields.or("dynamic", Reader::boolean, false)?,
        properties: fields.or_default("dynamic-node-properties", Reader::map)?,
    })
}

fn role(reader: &mut Reader<'_>) -> Result<Role, DecodeError> {
    Ok(match reader.boolean()? {
        false => Role::Sender,
        true => Role::Receiver,
    })
}

fn sender_settle_mode(reader: &mut Reader<'_>) -> Result<SenderSettleMode, DecodeError> {
    match reader.ubyte()? {
        0 => Ok(SenderSettleMode::Unsettled),
        1 => Ok(SenderSettleMode::Settled),
        2 => Ok(SenderSettleMode::Mixed),
        other => Err(wrong_value("snd-settle-mode", other)),
    }
}

fn receiver_settle_mode(reader: &mut Reader<'_>) -> Result<ReceiverSettleMode, DecodeError> {
    match reader.ubyte()? {
        0 => Ok(ReceiverSettleMode::First),
        1 => Ok(ReceiverSettleMode::Second),
        other => Err(wrong_value("rcv-settle-mode", other)),
    }
}

fn durability(reader: &mut Reader<'_>) -> Result<Durability, DecodeError> {
    match reader.uint()? {
        0 => Ok(Durability::None),
        1 => Ok(Durability::Configuration),
        2 => Ok(Durability::UnsettledState),
        other => Err(wrong_value("durable", other)),
    }
}

fn milliseconds(reader: &mut Reader<'_>) -> Result<Duration, DecodeError> {
    Ok(Duration::from_millis(u64::from(reader.uint()?)))
}

fn seconds(reader: &mut Reader<'_>) -> Result<Duration, DecodeError> {
    Ok(Duration::from_secs(u64::from(reader.uint()?)))
}

fn wrong_value(field: &'static str, value: impl Into<u64>) -> DecodeError {
    DecodeError::WrongValue { field, value: value.into() }
}

fn unknown(expected: &'static str, descriptor: u8) -> DecodeError {
    DecodeError::UnknownDescriptor { expected, descriptor: format!("{descriptor:#04x}") }
}
