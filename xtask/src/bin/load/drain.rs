//! A subscriber that takes what waits for it: the other half of store and forward, for brokers that
//! have no upstream of their own.

use std::io::{Read, Write};
use std::time::Instant;

use bytes::BytesMut;
use mqtt::packet::{Connect, Subscribe};
use mqtt::{Filter, Packet, PacketId, QoS, codec};

use super::stream::Stream;
use super::{Arguments, CONNECT_PATIENCE, Login, Problem, READ_BYTES};

/// Takes `count` messages and acknowledges each; with a count of 0 only the session is made.
pub(crate) fn run(arguments: &Arguments, login: &Login, count: u64) -> Result<(), Problem> {
    let mut stream = Stream::connect(arguments)?;
    stream.socket().set_read_timeout(Some(CONNECT_PATIENCE))?;
    let connect = Connect {
        user_name: login.user_name.clone(),
        password: login.password.clone().map(Into::into),
        clean_session: false,
        keep_alive_s: 0,
        ..Connect::new(login.client_id.clone())
    };
    let mut output = BytesMut::new();
    codec::encode(&Packet::Connect(Box::new(connect)), &mut output)?;
    let id = PacketId::new(1).ok_or("packet id 0")?;
    let filters = vec![(Filter::with_levels_max(&login.topic, 8)?, QoS::AtLeastOnce)];
    codec::encode(&Packet::Subscribe(Subscribe { packet_id: id, filters }), &mut output)?;
    stream.write_all(&output)?;
    stream.flush()?;
    let mut input = Vec::new();
    let mut buffer = vec![0; READ_BYTES];
    let mut taken = 0;
    let mut first = None;
    let mut granted = false;
    while taken < count || !granted {
        let read = stream.read(&mut buffer)?;
        if read == 0 {
            return Err("the server closed the connection".into());
        }
        input.extend_from_slice(&buffer[..read]);
        let mut at = 0;
        output.clear();
        while let Some((kind, body)) = packet(&input[at..]) {
            let length = body.end;
            let body = &input[at + body.start..at + length];
            match kind >> 4 {
                3 if kind & 6 != 0 => {
                    let topic = usize::from(u16::from_be_bytes([body[0], body[1]]));
                    output.extend_from_slice(&[0x40, 2, body[2 + topic], body[3 + topic]]);
                    first.get_or_insert_with(Instant::now);
                    taken += 1;
                }
                9 => granted = body[2] == 1,
                _ => {}
            }
            at += length;
        }
        input.drain(..at);
        if !output.is_empty() {
            stream.write_all(&output)?;
            stream.flush()?;
        }
    }
    let seconds = first.map_or(0.0, |first| first.elapsed().as_secs_f64());
    println!(
        "{}",
        serde_json::json!({
            "taken": taken, "seconds": seconds, "per_second": taken as f64 / seconds.max(1e-9),
        })
    );
    output.clear();
    codec::encode(&Packet::Disconnect, &mut output)?;
    stream.write_all(&output)?;
    Ok(stream.flush()?)
}

/// The first packet, when it is whole: its first byte, and where its body lies.
fn packet(input: &[u8]) -> Option<(u8, std::ops::Range<usize>)> {
    let (&kind, rest) = input.split_first()?;
    let mut length = 0;
    for (index, byte) in rest.iter().take(4).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            let body = index + 2..index + 2 + length;
            return (input.len() >= body.end).then_some((kind, body));
        }
    }
    None
}
