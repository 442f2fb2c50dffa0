//! Packets to bytes.

use bytes::{BufMut, BytesMut};

use super::header::{DUP_BIT, RETAIN_BIT};
use super::{EncodeError, REMAINING_LENGTH_MAX, STRING_BYTES_MAX};
use crate::Topic;
use crate::packet::{
    Connack, ConnackCode, Connect, Packet, PacketId, PacketKind, Publish, QoS, Suback, Subscribe,
    Unsubscribe,
};

/// Appends `packet` to `output`; on an error nothing is appended.
pub fn encode(packet: &Packet, output: &mut BytesMut) -> Result<(), EncodeError> {
    match packet {
        Packet::Connect(packet) => connect(packet, output),
        Packet::Connack(packet) => connack(*packet, output),
        Packet::Publish(packet) => encode_publish(packet, output),
        Packet::Puback(id) => short(PacketKind::Puback, 0, *id, output),
        Packet::Pubrec(id) => short(PacketKind::Pubrec, 0, *id, output),
        Packet::Pubrel(id) => short(PacketKind::Pubrel, 0b0010, *id, output),
        Packet::Pubcomp(id) => short(PacketKind::Pubcomp, 0, *id, output),
        Packet::Subscribe(packet) => subscribe(packet, output),
        Packet::Suback(packet) => suback(packet, output),
        Packet::Unsubscribe(packet) => unsubscribe(packet, output),
        Packet::Unsuback(id) => short(PacketKind::Unsuback, 0, *id, output),
        Packet::Pingreq => empty(PacketKind::Pingreq, output),
        Packet::Pingresp => empty(PacketKind::Pingresp, output),
        Packet::Disconnect => empty(PacketKind::Disconnect, output),
    }
}

/// Appends a PUBACK: four bytes, no way to fail.
pub fn encode_puback(packet_id: PacketId, output: &mut impl BufMut) {
    let [high, low] = packet_id.get().to_be_bytes();
    output.put_slice(&[(PacketKind::Puback as u8) << 4, 2, high, low]);
}

/// Appends a PUBLISH; on an error nothing is appended.
pub fn encode_publish(packet: &Publish, output: &mut BytesMut) -> Result<(), EncodeError> {
    let Publish { dup, qos, retain, topic, packet_id, payload } = packet;
    if packet_id.is_some() != (*qos != QoS::AtMostOnce) {
        return Err(EncodeError::PacketIdMismatch);
    }
    if *dup && packet_id.is_none() {
        return Err(EncodeError::DupWithoutAcknowledgement);
    }
    let dup = if *dup { DUP_BIT } else { 0 };
    let retain = if *retain { RETAIN_BIT } else { 0 };
    put_publish(dup | (*qos as u8) << 1 | retain, topic, *packet_id, payload, output)
}

/// Appends a PUBLISH of QoS 1 with a packet id, of QoS 0 without.
pub(crate) fn encode_delivery(
    topic: &Topic,
    packet_id: Option<PacketId>,
    payload: &[u8],
    output: &mut BytesMut,
) -> Result<(), EncodeError> {
    let flags = if packet_id.is_some() { (QoS::AtLeastOnce as u8) << 1 } else { 0 };
    put_publish(flags, topic, packet_id, payload, output)
}

fn put_publish(
    flags: u8,
    topic: &Topic,
    packet_id: Option<PacketId>,
    payload: &[u8],
    output: &mut BytesMut,
) -> Result<(), EncodeError> {
    let topic = topic.as_bytes();
    let id_bytes = if packet_id.is_some() { 2 } else { 0 };
    header(PacketKind::Publish, flags, 2 + topic.len() + id_bytes + payload.len(), output)?;
    put_field(topic, output);
    if let Some(id) = packet_id {
        output.put_u16(id.get());
    }
    output.put_slice(payload);
    Ok(())
}

fn connect(packet: &Connect, output: &mut BytesMut) -> Result<(), EncodeError> {
    check_string(&packet.client_id, "client id")?;
    let mut flags = 0;
    let mut remaining = 10 + 2 + packet.client_id.len();
    if packet.clean_session {
        flags |= 0x02;
    }
    if let Some(will) = &packet.will {
        check_field(&will.payload, "will message")?;
        flags |= 0x04 | (will.qos as u8) << 3 | if will.retain { 0x20 } else { 0 };
        remaining += 2 + will.topic.as_bytes().len() + 2 + will.payload.len();
    }
    if let Some(user_name) = &packet.user_name {
        check_string(user_name, "user name")?;
        flags |= 0x80;
        remaining += 2 + user_name.len();
    }
    if let Some(password) = &packet.password {
        check_field(password, "password")?;
        if packet.user_name.is_none() {
            return Err(EncodeError::PasswordWithoutUserName);
        }
        flags |= 0x40;
        remaining += 2 + password.len();
    }
    header(PacketKind::Connect, 0, remaining, output)?;
    put_field(b"MQTT", output);
    output.put_u8(4);
    output.put_u8(flags);
    output.put_u16(packet.keep_alive_s);
    put_field(packet.client_id.as_bytes(), output);
    if let Some(will) = &packet.will {
        put_field(will.topic.as_bytes(), output);
        put_field(&will.payload, output);
    }
    if let Some(user_name) = &packet.user_name {
        put_field(user_name.as_bytes(), output);
    }
    if let Some(password) = &packet.password {
        put_field(password, output);
    }
    Ok(())
}

fn connack(packet: Connack, output: &mut BytesMut) -> Result<(), EncodeError> {
    if packet.session_present && packet.code != ConnackCode::Accepted {
        return Err(EncodeError::SessionPresentInRefusal);
    }
    header(PacketKind::Connack, 0, 2, output)?;
    output.put_u8(u8::from(packet.session_present));
    output.put_u8(packet.code as u8);
    Ok(())
}

fn subscribe(packet: &Subscribe, output: &mut BytesMut) -> Result<(), EncodeError> {
    if packet.filters.is_empty() {
        return Err(EncodeError::NoFilters);
    }
    let remaining = 2 + packet.filters.iter().map(|(filter, _)| filter.len() + 3).sum::<usize>();
    header(PacketKind::Subscribe, 0b0010, remaining, output)?;
    output.put_u16(packet.packet_id.get());
    for (filter, qos) in &packet.filters {
        put_field(filter.as_bytes(), output);
        output.put_u8(*qos as u8);
    }
    Ok(())
}

fn suback(packet: &Suback, output: &mut BytesMut) -> Result<(), EncodeError> {
    if packet.codes.is_empty() {
        return Err(EncodeError::NoFilters);
    }
    header(PacketKind::Suback, 0, 2 + packet.codes.len(), output)?;
    output.put_u16(packet.packet_id.get());
    output.extend(packet.codes.iter().map(|code| code.to_u8()));
    Ok(())
}

fn unsubscribe(packet: &Unsubscribe, output: &mut BytesMut) -> Result<(), EncodeError> {
    if packet.filters.is_empty() {
        return Err(EncodeError::NoFilters);
    }
    let remaining = 2 + packet.filters.iter().map(|filter| filter.len() + 2).sum::<usize>();
    header(PacketKind::Unsubscribe, 0b0010, remaining, output)?;
    output.put_u16(packet.packet_id.get());
    for filter in &packet.filters {
        put_field(filter.as_bytes(), output);
    }
    Ok(())
}

fn short(
    kind: PacketKind,
    flags: u8,
    id: PacketId,
    output: &mut BytesMut,
) -> Result<(), EncodeError> {
    header(kind, flags, 2, output)?;
    output.put_u16(id.get());
    Ok(())
}

fn empty(kind: PacketKind, output: &mut BytesMut) -> Result<(), EncodeError> {
    header(kind, 0, 0, output)
}

/// Appends the fixed header and makes room for the body, in one go.
fn header(
    kind: PacketKind,
    flags: u8,
    remaining: usize,
    output: &mut BytesMut,
) -> Result<(), EncodeError> {
    if remaining > REMAINING_LENGTH_MAX {
        return Err(EncodeError::PacketTooLarge);
    }
    output.reserve(5 + remaining);
    output.put_u8((kind as u8) << 4 | flags);
    let mut rest = remaining;
    loop {
        // Seven bits: always fits.
        let low = (rest & 0x7f) as u8;
        rest >>= 7;
        match rest {
            0 => {
                output.put_u8(low);
                return Ok(());
            }
            _ => output.put_u8(low | 0x80),
        }
    }
}

/// Appends a field whose length was checked, with two bytes of length in front.
fn put_field(field: &[u8], output: &mut BytesMut) {
    debug_assert!(field.len() <= STRING_BYTES_MAX);
    output.put_u16(field.len() as u16);
    output.put_slice(field);
}

fn check_field(bytes: &[u8], field: &'static str) -> Result<(), EncodeError> {
    match bytes.len() > STRING_BYTES_MAX {
        true => Err(EncodeError::FieldTooLong { field }),
        false => Ok(()),
    }
}

fn check_string(text: &str, field: &'static str) -> Result<(), EncodeError> {
    check_field(text.as_bytes(), field)?;
    match text.contains('\0') {
        true => Err(EncodeError::Nul { field }),
        false => Ok(()),
    }
}
