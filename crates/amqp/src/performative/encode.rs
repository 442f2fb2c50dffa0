//! Writes performatives, always with all their fields.

use std::time::Duration;

use bytes::BytesMut;

use super::{
    Attach, Begin, DeliveryState, Detach, Disposition, Durability, Error, Flow, Open, Performative,
    ReceiverSettleMode, Role, SenderSettleMode, Source, Target, Transfer,
};
use crate::codec::format::descriptor;
use crate::codec::writer::{self, composite, optional};

impl Performative {
    /// Writes the performative, without a frame around it.
    pub fn encode(&self, output: &mut BytesMut) {
        match self {
            Performative::Open(open) => encode_open(output, open),
            Performative::Begin(begin) => encode_begin(output, begin),
            Performative::Attach(attach) => encode_attach(output, attach),
            Performative::Flow(flow) => encode_flow(output, flow),
            Performative::Transfer(transfer) => encode_transfer_list(output, transfer),
            Performative::Disposition(disposition) => encode_disposition(output, disposition),
            Performative::Detach(detach) => encode_detach(output, detach),
            Performative::End(end) => only_error(output, descriptor::END, end.error.as_ref()),
            Performative::Close(close) => {
                only_error(output, descriptor::CLOSE, close.error.as_ref());
            }
        }
    }
}

fn encode_open(output: &mut BytesMut, open: &Open) {
    composite(output, descriptor::OPEN, 10, |output| {
        writer::string(output, &open.container_id);
        optional(output, open.hostname.as_deref(), writer::string);
        writer::uint(output, open.max_frame_size);
        writer::ushort(output, open.channel_max);
        optional(output, open.idle_time_out, milliseconds);
        writer::symbols(output, &open.outgoing_locales);
        writer::symbols(output, &open.incoming_locales);
        writer::symbols(output, &open.offered_capabilities);
        writer::symbols(output, &open.desired_capabilities);
        writer::map_or_null(output, &open.properties);
    });
}

fn encode_begin(output: &mut BytesMut, begin: &Begin) {
    composite(output, descriptor::BEGIN, 8, |output| {
        optional(output, begin.remote_channel, writer::ushort);
        writer::uint(output, begin.next_outgoing_id);
        writer::uint(output, begin.incoming_window);
        writer::uint(output, begin.outgoing_window);
        writer::uint(output, begin.handle_max);
        writer::symbols(output, &begin.offered_capabilities);
        writer::symbols(output, &begin.desired_capabilities);
        writer::map_or_null(output, &begin.properties);
    });
}

fn encode_attach(output: &mut BytesMut, attach: &Attach) {
    composite(output, descriptor::ATTACH, 14, |output| {
        writer::string(output, &attach.name);
        writer::uint(output, attach.handle);
        role(output, attach.role);
        sender_settle_mode(output, attach.snd_settle_mode);
        receiver_settle_mode(output, attach.rcv_settle_mode);
        optional(output, attach.source.as_deref(), source);
        match attach.coordinator {
            true => coordinator(output),
            false => optional(output, attach.target.as_deref(), target),
        }
        writer::map_or_null(output, &attach.unsettled);
        writer::boolean(output, attach.incomplete_unsettled);
        optional(output, attach.initial_delivery_count, writer::uint);
        optional(output, attach.max_message_size, writer::ulong);
        writer::symbols(output, &attach.offered_capabilities);
        writer::symbols(output, &attach.desired_capabilities);
        writer::map_or_null(output, &attach.properties);
    });
}

fn encode_flow(output: &mut BytesMut, flow: &Flow) {
    composite(output, descriptor::FLOW, 11, |output| {
        optional(output, flow.next_incoming_id, writer::uint);
        writer::uint(output, flow.incoming_window);
        writer::uint(output, flow.next_outgoing_id);
        writer::uint(output, flow.outgoing_window);
        optional(output, flow.handle, writer::uint);
        optional(output, flow.delivery_count, writer::uint);
        optional(output, flow.link_credit, writer::uint);
        optional(output, flow.available, writer::uint);
        writer::boolean(output, flow.drain);
        writer::boolean(output, flow.echo);
        writer::map_or_null(output, &flow.properties);
    });
}

/// Writes a transfer. What follows in the frame is its payload.
pub(crate) fn encode_transfer_list(output: &mut BytesMut, transfer: &Transfer) {
    composite(output, descriptor::TRANSFER, 11, |output| {
        writer::uint(output, transfer.handle);
        optional(output, transfer.delivery_id, writer::uint);
        optional(output, transfer.delivery_tag.as_deref(), writer::binary);
        optional(output, transfer.message_format, writer::uint);
        optional(output, transfer.settled, writer::boolean);
        writer::boolean(output, transfer.more);
        optional(output, transfer.rcv_settle_mode, receiver_settle_mode);
        optional(output, transfer.state.as_ref(), delivery_state);
        writer::boolean(output, transfer.resume);
        writer::boolean(output, transfer.aborted);
        writer::boolean(output, transfer.batchable);
    });
}

fn encode_disposition(output: &mut BytesMut, disposition: &Disposition) {
    composite(output, descriptor::DISPOSITION, 6, |output| {
        role(output, disposition.role);
        writer::uint(output, disposition.first);
        optional(output, disposition.last, writer::uint);
        writer::boolean(output, disposition.settled);
        optional(output, disposition.state.as_ref(), delivery_state);
        writer::boolean(output, disposition.batchable);
    });
}

fn encode_detach(output: &mut BytesMut, detach: &Detach) {
    composite(output, descriptor::DETACH, 3, |output| {
        writer::uint(output, detach.handle);
        writer::boolean(output, detach.closed);
        optional(output, detach.error.as_ref(), error);
    });
}

/// `end`, `close` and `rejected`.
fn only_error(output: &mut BytesMut, code: u8, content: Option<&Error>) {
    composite(output, code, 1, |output| optional(output, content, error));
}

fn error(output: &mut BytesMut, error: &Error) {
    composite(output, descriptor::ERROR, 3, |output| {
        writer::symbol(output, &error.condition);
        optional(output, error.description.as_deref(), writer::string);
        writer::map_or_null(output, &error.info);
    });
}

fn delivery_state(output: &mut BytesMut, state: &DeliveryState) {
    match state {
        DeliveryState::Received { section_number, section_offset } => {
            composite(output, descriptor::RECEIVED, 2, |output| {
                writer::uint(output, *section_number);
                writer::ulong(output, *section_offset);
            });
        }
        DeliveryState::Accepted => composite(output, descriptor::ACCEPTED, 0, |_| {}),
        DeliveryState::Rejected(error) => {
            only_error(output, descriptor::REJECTED, error.as_ref());
        }
        DeliveryState::Released => composite(output, descriptor::RELEASED, 0, |_| {}),
        DeliveryState::Modified { delivery_failed, undeliverable_here, message_annotations } => {
            composite(output, descriptor::MODIFIED, 3, |output| {
                writer::boolean(output, *delivery_failed);
                writer::boolean(output, *undeliverable_here);
                writer::map_or_null(output, message_annotations);
            });
        }
    }
}

fn source(output: &mut BytesMut, source: &Source) {
    composite(output, descriptor::SOURCE, 11, |output| {
        optional(output, source.address.as_deref(), writer::string);
        durability(output, source.durable);
        writer::symbol(output, &source.expiry_policy);
        seconds(output, source.timeout);
        writer::boolean(output, source.dynamic);
        writer::map_or_null(output, &source.dynamic_node_properties);
        optional(output, source.distribution_mode.as_ref(), writer::symbol);
        writer::map_or_null(output, &source.filter);
        optional(output, source.default_outcome.as_ref(), delivery_state);
        writer::symbols(output, &source.outcomes);
        writer::symbols(output, &source.capabilities);
    });
}

fn target(output: &mut BytesMut, target: &Target) {
    composite(output, descriptor::TARGET, 7, |output| {
        optional(output, target.address.as_deref(), writer::string);
        durability(output, target.durable);
        writer::symbol(output, &target.expiry_policy);
        seconds(output, target.timeout);
        writer::boolean(output, target.dynamic);
        writer::map_or_null(output, &target.dynamic_node_properties);
        writer::symbols(output, &target.capabilities);
    });
}

fn coordinator(output: &mut BytesMut) {
    composite(output, descriptor::COORDINATOR, 1, writer::null);
}

fn role(output: &mut BytesMut, role: Role) {
    writer::boolean(output, role == Role::Receiver);
}

fn sender_settle_mode(output: &mut BytesMut, mode: SenderSettleMode) {
    writer::ubyte(
        output,
        match mode {
            SenderSettleMode::Unsettled => 0,
            SenderSettleMode::Settled => 1,
            SenderSettleMode::Mixed => 2,
        },
    );
}

fn receiver_settle_mode(output: &mut BytesMut, mode: ReceiverSettleMode) {
    writer::ubyte(
        output,
        match mode {
            ReceiverSettleMode::First => 0,
            ReceiverSettleMode::Second => 1,
        },
    );
}

fn durability(output: &mut BytesMut, durability: Durability) {
    writer::uint(
        output,
        match durability {
            Durability::None => 0,
            Durability::Configuration => 1,
            Durability::UnsettledState => 2,
        },
    );
}

fn milliseconds(output: &mut BytesMut, duration: Duration) {
    writer::uint(output, u32::try_from(duration.as_millis()).unwrap_or(u32::MAX));
}

fn seconds(output: &mut BytesMut, duration: Duration) {
    writer::uint(output, u32::try_from(duration.as_secs()).unwrap_or(u32::MAX));
}
