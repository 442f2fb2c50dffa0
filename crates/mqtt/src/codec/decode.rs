//! Bytes to packets.

use bytes::{Buf, Bytes, BytesMut};

use super::header::{DUP_BIT, FixedHeader, QOS_BITS, RETAIN_BIT};
use super::{DecodeError, Limits};
use crate::packet::{
    Connack, ConnackCode, Connect, Packet, PacketId, PacketKind, Publish, QoS, Suback, SubackCode,
    Subscribe, Unsubscribe, Will,
};
use crate::{Filter, Topic};

/// Takes one packet off the front of `input`; `None` if it isn't complete yet.
///
/// Topic and payload are slices of `input`'s memory. After an error `input` is in
/// an unspecified state and the connection must be closed.
pub fn decode(input: &mut BytesMut, limits: &Limits) -> Result<Option<Packet>, DecodeError> {
    let Some(header) = FixedHeader::parse(input, limits)? else { return Ok(None) };
    if input.len() < header.packet_bytes() {
        return Ok(None);
    }
    input.advance(header.header_bytes);
    // Acknowledgements and pings are read in place: no slice, no reference count.
    let packet = match header.kind {
        PacketKind::Connack => connack(input.get_u8(), input.get_u8())?,
        PacketKind::Puback => Packet::Puback(packet_id(input)?),
        PacketKind::Pubrec => Packet::Pubrec(packet_id(input)?),
        PacketKind::Pubrel => Packet::Pubrel(packet_id(input)?),
        PacketKind::Pubcomp => Packet::Pubcomp(packet_id(input)?),
        PacketKind::Unsuback => Packet::Unsuback(packet_id(input)?),
        PacketKind::Pingreq => Packet::Pingreq,
        PacketKind::Pingresp => Packet::Pingresp,
        PacketKind::Disconnect => Packet::Disconnect,
        kind => {
            let bytes = input.split_to(header.remaining_bytes).freeze();
            let body = Body { kind, bytes };
            match kind {
                PacketKind::Publish => publish(body, header.flags)?,
                PacketKind::Connect => connect(body)?,
                PacketKind::Subscribe => subscribe(body, limits)?,
                PacketKind::Unsubscribe => unsubscribe(body, limits)?,
                _ => suback(body)?,
            }
        }
    };
    Ok(Some(packet))
}

fn publish(mut body: Body, flags: u8) -> Result<Packet, DecodeError> {
    let topic = Topic::from_bytes(body.binary("topic name")?)?;
    let qos = match flags & QOS_BITS {
        0b0000 => QoS::AtMostOnce,
        0b0010 => QoS::AtLeastOnce,
        // The header's check left no other.
        _ => QoS::ExactlyOnce,
    };
    let packet_id = match qos {
        QoS::AtMostOnce => None,
        _ => Some(body.packet_id()?),
    };
    Ok(Packet::Publish(Publish {
        dup: flags & DUP_BIT != 0,
        qos,
        retain: flags & RETAIN_BIT != 0,
        topic,
        packet_id,
        payload: body.bytes,
    }))
}

fn connect(mut body: Body) -> Result<Packet, DecodeError> {
    let name = body.binary("protocol name")?;
    if !matches!(&name[..], b"MQTT" | b"MQIsdp") {
        return Err(DecodeError::WrongProtocolName);
    }
    let level = body.u8("protocol level")?;
    if &name[..] != b"MQTT" || level != PROTOCOL_LEVEL {
        // What follows has another shape in other versions (MQTT 5: properties).
        return Err(DecodeError::UnsupportedProtocol { level });
    }
    let flags = ConnectFlags::parse(body.u8("connect flags")?)?;
    let keep_alive_s = body.u16("keep-alive")?;
    let client_id = body.string("client id")?;
    let will = match flags.will {
        None => None,
        Some((qos, retain)) => Some(Will {
            topic: Topic::from_bytes(body.binary("will topic")?)?,
            payload: body.binary("will message")?,
            qos,
            retain,
        }),
    };
    let user_name = flags.user_name.then(|| body.string("user name")).transpose()?;
    let password = flags.password.then(|| body.binary("password")).transpose()?;
    body.finish()?;
    Ok(Packet::Connect(Box::new(Connect {
        client_id,
        user_name,
        password,
        will,
        clean_session: flags.clean_session,
        keep_alive_s,
    })))
}

/// The connect flags, free of contradictions. §3.1.2.3–9
struct ConnectFlags {
    clean_session: bool,
    will: Option<(QoS, bool)>,
    user_name: bool,
    password: bool,
}

impl ConnectFlags {
    fn parse(flags: u8) -> Result<ConnectFlags, DecodeError> {
        let wrong = || DecodeError::WrongConnectFlags(flags);
        let qos = QoS::from_u8((flags >> 3) & 0b11).ok_or_else(wrong)?;
        let retain = flags & 0x20 != 0;
        let will = match flags & 0x04 != 0 {
            true => Some((qos, retain)),
            false if qos == QoS::AtMostOnce && !retain => None,
            false => return Err(wrong()),
        };
        let user_name = flags & 0x80 != 0;
        let password = flags & 0x40 != 0;
        let reserved = flags & 0x01 != 0;
        if reserved || (password && !user_name) {
            return Err(wrong());
        }
        Ok(ConnectFlags { clean_session: flags & 0x02 != 0, will, user_name, password })
    }
}

fn connack(flags: u8, code: u8) -> Result<Packet, DecodeError> {
    let code = ConnackCode::from_u8(code).ok_or(DecodeError::InvalidConnackCode(code))?;
    let session_present = match flags {
        0 => false,
        1 if code == ConnackCode::Accepted => true,
        _ => return Err(DecodeError::WrongConnackFlags(flags)),
    };
    Ok(Packet::Connack(Connack { session_present, code }))
}

fn subscribe(mut body: Body, limits: &Limits) -> Result<Packet, DecodeError> {
    let packet_id = body.packet_id()?;
    let mut filters = Vec::new();
    while body.has_filter(filters.len(), limits)? {
        let filter = body.filter(limits)?;
        let qos = body.u8("quality of service")?;
        filters.push((filter, QoS::from_u8(qos).ok_or(DecodeError::InvalidQos(qos))?));
    }
    Ok(Packet::Subscribe(Subscribe { packet_id, filters }))
}

fn unsubscribe(mut body: Body, limits: &Limits) -> Result<Packet, DecodeError> {
    let packet_id = body.packet_id()?;
    let mut filters = Vec::new();
    while body.has_filter(filters.len(), limits)? {
        filters.push(body.filter(limits)?);
    }
    Ok(Packet::Unsubscribe(Unsubscribe { packet_id, filters }))
}

fn suback(mut body: Body) -> Result<Packet, DecodeError> {
    let packet_id = body.packet_id()?;
    let codes = body
        .bytes
        .iter()
        .map(|&code| SubackCode::from_u8(code).ok_or(DecodeError::InvalidSubackCode(code)))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Packet::Suback(Suback { packet_id, codes }))
}

/// A packet id at the front of `input`, which the header's length check made sure of.
fn packet_id(input: &mut BytesMut) -> Result<PacketId, DecodeError> {
    PacketId::new(input.get_u16()).ok_or(DecodeError::PacketIdZero)
}

/// What is left of a packet's body.
struct Body {
    kind: PacketKind,
    bytes: Bytes,
}

impl Body {
    fn truncated(&self, field: &'static str) -> DecodeError {
        DecodeError::Truncated { kind: self.kind, field }
    }

    fn u8(&mut self, field: &'static str) -> Result<u8, DecodeError> {
        self.bytes.try_get_u8().map_err(|_| self.truncated(field))
    }

    fn u16(&mut self, field: &'static str) -> Result<u16, DecodeError> {
        self.bytes.try_get_u16().map_err(|_| self.truncated(field))
    }

    fn packet_id(&mut self) -> Result<PacketId, DecodeError> {
        PacketId::new(self.u16("packet id")?).ok_or(DecodeError::PacketIdZero)
    }

    /// A field with a length of two bytes in front.
    fn binary(&mut self, field: &'static str) -> Result<Bytes, DecodeError> {
        let length = usize::from(self.u16(field)?);
        if length > self.bytes.len() {
            return Err(self.truncated(field));
        }
        Ok(self.bytes.split_to(length))
    }

    fn string(&mut self, field: &'static str) -> Result<String, DecodeError> {
        let bytes = self.binary(field)?;
        let text = std::str::from_utf8(&bytes).map_err(|_| DecodeError::NotUtf8 { field })?;
        if text.contains('\0') {
            return Err(DecodeError::Nul { field });
        }
        Ok(text.to_owned())
    }

    /// Whether another filter follows, after `count` of them.
    fn has_filter(&self, count: usize, limits: &Limits) -> Result<bool, DecodeError> {
        let kind = self.kind;
        match (self.bytes.is_empty(), count) {
            (true, 0) => Err(DecodeError::NoFilters { kind }),
            (true, _) => Ok(false),
            (false, _) if count >= limits.filters_max => {
                Err(DecodeError::TooManyFilters { kind, limit: limits.filters_max })
            }
            (false, _) => Ok(true),
        }
    }

    fn filter(&mut self, limits: &Limits) -> Result<Filter, DecodeError> {
        const FIELD: &str = "topic filter";
        let bytes = self.binary(FIELD)?;
        let text =
            std::str::from_utf8(&bytes).map_err(|_| DecodeError::NotUtf8 { field: FIELD })?;
        Ok(Filter::with_levels_max(text, limits.filter_levels_max)?)
    }

    fn finish(self) -> Result<(), DecodeError> {
        match self.bytes.len() {
            0 => Ok(()),
            count => Err(DecodeError::TrailingBytes { kind: self.kind, count }),
        }
    }
}

/// MQTT 3.1.1. §3.1.2.2
const PROTOCOL_LEVEL: u8 = 4;
