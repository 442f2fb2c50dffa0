//! A client that publishes with QoS 1. Packets are made once; a packet id is a place in its window.

use std::collections::VecDeque;
use std::io::{IoSlice, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use mqtt::packet::{ConnackCode, Connect, Publish};
use mqtt::{Packet, PacketId, QoS, Topic, codec};

use super::stream::Stream;
use super::tally::Tally;
use super::{Arguments, CONNECT_PATIENCE, Client, Login, Pace, Problem, payload};

/// One client.
pub(crate) struct Connection {
    stream: Stream,
    /// The PUBLISH of every place in the window; its packet id is the place and 1.
    packets: Vec<Vec<u8>>,
    free: VecDeque<u16>,
    in_flight: VecDeque<(u16, Instant)>,
    input: Vec<u8>,
    pace: Pace,
}

impl Client for Connection {
    fn open(arguments: &Arguments, login: &Login) -> Result<Self, Problem> {
        let mut stream = Stream::connect(arguments)?;
        stream.socket().set_read_timeout(Some(CONNECT_PATIENCE))?;
        let connect = Connect {
            user_name: login.user_name.clone(),
            password: login.password.clone().map(Into::into),
            clean_session: true,
            keep_alive_s: 0,
            ..Connect::new(login.client_id.clone())
        };
        let mut output = BytesMut::new();
        codec::encode(&Packet::Connect(Box::new(connect)), &mut output)?;
        stream.write_all(&output)?;
        stream.flush()?;
        let mut connack = [0; 4];
        stream.read_exact(&mut connack)?;
        if connack[0] != 0x20 || connack[3] != ConnackCode::Accepted as u8 {
            return Err(format!("refused with CONNACK {}", connack[3]).into());
        }
        stream.socket().set_read_timeout(None)?;
        let packets = (1..=arguments.in_flight).map(|id| publish(login, id, arguments.size));
        Ok(Self {
            packets: packets.collect::<Result<_, _>>()?,
            free: (0..arguments.in_flight).collect(),
            in_flight: VecDeque::new(),
            input: Vec::new(),
            pace: Pace::new(),
            stream,
        })
    }

    fn stream(&self) -> &TcpStream {
        self.stream.socket()
    }

    fn pace(&mut self) -> &mut Pace {
        &mut self.pace
    }

    fn has_room(&self) -> bool {
        !self.free.is_empty()
    }

    fn send(&mut self, now: Instant, interval: Option<Duration>) -> Result<(), Problem> {
        let mut places = [0; WRITE_MAX];
        let mut count = 0;
        while count < WRITE_MAX
            && let Some(place) = self.free.front().copied()
            && let Some(sent) = self.pace.next(now, interval)
        {
            self.free.pop_front();
            self.in_flight.push_back((place, sent));
            places[count] = place;
            count += 1;
        }
        if count == 0 {
            return Ok(());
        }
        let mut slices = [IoSlice::new(&[]); WRITE_MAX];
        for (slice, place) in slices.iter_mut().zip(&places[..count]) {
            *slice = IoSlice::new(&self.packets[usize::from(*place)]);
        }
        // The socket blocks: a server that stops reading stops this generator, and shows in its rate.
        let mut left = &mut slices[..count];
        while !left.is_empty() {
            let written = self.stream.write_vectored(left)?;
            IoSlice::advance_slices(&mut left, written);
        }
        Ok(self.stream.flush()?)
    }

    fn read(&mut self, buffer: &mut [u8], tally: &mut Tally) -> Result<(), Problem> {
        let count = self.stream.read(buffer)?;
        if count == 0 {
            return Err("the server closed a connection".into());
        }
        self.input.extend_from_slice(&buffer[..count]);
        let now = Instant::now();
        let (pubacks, rest) = self.input.as_chunks::<PUBACK_BYTES>();
        for puback in pubacks {
            let &[0x40, 2, high, low] = puback else {
                return Err(format!("no PUBACK: {puback:02x?}").into());
            };
            let place = u16::from_be_bytes([high, low]) - 1;
            let at = self.in_flight.iter().position(|(known, _)| *known == place);
            let at = at.ok_or_else(|| format!("PUBACK of {} that is not in flight", place + 1))?;
            if let Some((_, sent)) = self.in_flight.remove(at) {
                tally.add(at, now - sent);
            }
            self.free.push_back(place);
        }
        let rest = rest.len();
        self.input.drain(..self.input.len() - rest);
        Ok(())
    }
}

fn publish(login: &Login, id: u16, size: usize) -> Result<Vec<u8>, Problem> {
    let packet = Publish {
        topic: Topic::new(login.topic.as_str())?,
        payload: payload(size).into(),
        packet_id: Some(PacketId::new(id).ok_or("packet id 0")?),
        qos: QoS::AtLeastOnce,
        retain: false,
        dup: false,
    };
    let mut output = BytesMut::new();
    codec::encode_publish(&packet, &mut output)?;
    Ok(output.to_vec())
}

const PUBACK_BYTES: usize = 4;
/// Packets in one write.
const WRITE_MAX: usize = 64;
