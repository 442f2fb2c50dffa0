//! Opening a connection: a token, TCP, TLS, CONNECT, CONNACK. The deadline is the caller's.

use std::sync::Arc;

use host::clock::Clock;
use iot_proto::connect::ConnectName;
use mqtt::client::{ClientConnection, Event, Settings};
use mqtt::packet::{Connack, ConnackCode, Connect};

use super::session::MqttSession;
use crate::device::error::{ConnectError, Refusal};
use crate::device::link::Link;
use crate::device::session::{CONNECT_LIMIT, Moved, Session};
use crate::device::transport::connect;
use crate::device::{Options, TOKEN_RENEWAL_PERCENT};

/// Opens a connection and gets in.
pub(in crate::device) async fn open(
    options: Arc<Options>,
    clock: Clock,
) -> Result<Box<dyn Session>, ConnectError> {
    let begun = clock.now();
    let token = options.proof.token(&clock).await.map_err(ConnectError::Sign)?;
    let connected = connect(options.transport, &options.dial, &options.tls, CONNECT_LIMIT);
    let machine = ClientConnection::new(machine_settings(&options));
    let mut link = Link::new(connected.await?, machine, clock);
    let now = link.now();
    let packet = connect_packet(&options, token);
    link.machine
        .connect(now, packet)
        .map_err(|source| ConnectError::Request { dial: options.dial.clone(), source })?;
    let connack = connack(&mut link, &options).await?;
    let lifetime = options.proof.lifetime();
    let renew_at = lifetime.map(|lifetime| begun + lifetime * TOKEN_RENEWAL_PERCENT / 100);
    Ok(Box::new(MqttSession::new(link, options, connack.session_present, renew_at)))
}

fn machine_settings(options: &Options) -> Settings {
    // Subscriptions need packet ids beside the messages.
    let send_window = options.queues.in_flight_max + SUBSCRIPTIONS_IN_FLIGHT;
    Settings { send_window, ..Settings::default() }
}

fn connect_packet(options: &Options, token: Option<String>) -> Connect {
    let name = ConnectName {
        model_id: options.model_id.clone(),
        auth_chain: options.auth_chain.clone(),
        ..ConnectName::new(&*options.host_name, options.identity.clone(), &options.client_type)
    };
    Connect {
        user_name: Some(name.user_name()),
        password: token.map(|token| token.into_bytes().into()),
        clean_session: options.clean_session,
        keep_alive_s: u16::try_from(options.keep_alive.as_secs()).unwrap_or(u16::MAX),
        ..Connect::new(name.client_id())
    }
}

async fn connack(
    link: &mut Link<ClientConnection>,
    options: &Options,
) -> Result<Connack, ConnectError> {
    let dial = || options.dial.clone();
    loop {
        match link.poll_event() {
            Some(Event::Connack(connack)) if connack.code == ConnackCode::Accepted => {
                return Ok(connack);
            }
            Some(Event::Connack(Connack { code, .. })) => {
                let identity = options.identity.to_string();
                let refusal = Refusal::Connack(code);
                return Err(ConnectError::Refused { dial: dial(), identity, refusal });
            }
            Some(Event::Violation(source)) => {
                return Err(ConnectError::Violation { dial: dial(), source });
            }
            Some(_) => {}
            None => match link.exchange().await {
                Ok(Moved::Ended) => return Err(ConnectError::Closed { dial: dial() }),
                Ok(Moved::Read | Moved::Written) => {}
                Err(source) => return Err(ConnectError::Broken { dial: dial(), source }),
            },
        }
    }
}

/// One SUBSCRIBE at the start and one for each kind asked for later.
const SUBSCRIPTIONS_IN_FLIGHT: usize = 8;
