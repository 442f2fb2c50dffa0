//! Opening a connection: a token, TCP, TLS, CONNECT, CONNACK; all of it within one deadline.

use std::sync::Arc;
use std::time::Duration;

use host::clock::{Clock, Mono};
use iot_proto::connect::ConnectName;
use mqtt::client::{ClientConnection, Event, Settings};
use mqtt::packet::{Connack, ConnackCode, Connect};

use super::error::ConnectError;
use super::link::{Link, Moved};
use super::{Options, TOKEN_RENEWAL_PERCENT};

/// Opens a connection and gets in. Also tells when to renew the token that it did so with.
pub(super) async fn open(
    options: Arc<Options>,
    clock: Clock,
) -> Result<(Link, Connack, Mono), ConnectError> {
    let dial = options.dial.clone();
    let attempt = async {
        let begun = clock.now();
        let token = options.token.token(&*options.signer, &clock).await;
        let token = token.map_err(ConnectError::Sign)?;
        let stream = options.dial.connect(&options.tls, CONNECT_LIMIT).await;
        let stream = stream.map_err(|error| ConnectError::Dial(Box::new(error)))?;
        let machine = ClientConnection::new(machine_settings(&options));
        let mut link = Link::new(Box::new(stream), machine, clock.clone());
        let now = link.now();
        let connect = connect_packet(&options, token);
        link.machine
            .connect(now, connect)
            .map_err(|source| ConnectError::Request { dial: options.dial.clone(), source })?;
        let connack = connack(&mut link, &options).await?;
        let renew_at = begun + options.token.lifetime * TOKEN_RENEWAL_PERCENT / 100;
        Ok((link, connack, renew_at))
    };
    match clock.timeout(CONNECT_LIMIT, attempt).await {
        Ok(outcome) => outcome,
        Err(_) => Err(ConnectError::Deadline { dial, limit: CONNECT_LIMIT }),
    }
}

fn machine_settings(options: &Options) -> Settings {
    // Subscriptions need packet ids beside the messages.
    let send_window = options.queues.in_flight_max + SUBSCRIPTIONS_IN_FLIGHT;
    Settings { send_window, ..Settings::default() }
}

fn connect_packet(options: &Options, token: String) -> Connect {
    let name = ConnectName {
        model_id: options.model_id.clone(),
        auth_chain: options.auth_chain.clone(),
        ..ConnectName::new(&*options.host_name, options.identity.clone(), &options.client_type)
    };
    Connect {
        user_name: Some(name.user_name()),
        password: Some(token.into_bytes().into()),
        clean_session: options.clean_session,
        keep_alive_s: u16::try_from(options.keep_alive.as_secs()).unwrap_or(u16::MAX),
        ..Connect::new(name.client_id())
    }
}

async fn connack(link: &mut Link, options: &Options) -> Result<Connack, ConnectError> {
    let dial = || options.dial.clone();
    loop {
        match link.poll_event() {
            Some(Event::Connack(connack)) if connack.code == ConnackCode::Accepted => {
                return Ok(connack);
            }
            Some(Event::Connack(Connack { code, .. })) => {
                let identity = options.identity.to_string();
                return Err(ConnectError::Refused { dial: dial(), identity, code });
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

/// From the token to the CONNACK; SDKs wait 30 to 60 s for the CONNACK alone
/// (`device-protocol.md` §3.2).
const CONNECT_LIMIT: Duration = Duration::from_secs(30);
/// One SUBSCRIBE at the start and one for each kind asked for later.
const SUBSCRIPTIONS_IN_FLIGHT: usize = 8;
