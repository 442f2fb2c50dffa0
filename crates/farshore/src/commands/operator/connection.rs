//! Which hub to ask, with which key, trusting whom.
//!
//! `--login` and `--ca`, or their variables, or the file that `farshore up` leaves in its data
//! directory, in that order. The key is never printed.

use std::path::{Path, PathBuf};

use client::Dial;
use client::dial::{AMQP_PORT, HTTPS_PORT};
use client::events::EventsLogin;
use client::service::HubClient;
use host::clock::Clock;
use host::tls::ClientTls;
use iot_proto::connection_string::ServiceConnectionString;
use iot_proto::event_hubs::connection_string::EventsConnectionString;
use serde::Deserialize;

use crate::commands::up::default_data_dir;
use crate::commands::{Failure, USAGE};

/// The options by which every operator command finds its hub.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Connection {
    /// Connection string of a shared access policy: "HostName=…;SharedAccessKeyName=…;SharedAccessKey=…"
    ///
    /// `HostName=host:port` when the hub's HTTPS is not at 443. Without --login, the hub of
    /// `farshore up` on this machine is asked.
    #[arg(
        long,
        env = "FARSHORE_LOGIN",
        hide_env_values = true,
        value_name = "STRING",
        global = true
    )]
    login: Option<Secret>,
    /// File with the CA certificates to trust, instead of the system's
    #[arg(long, env = "FARSHORE_CA", value_name = "FILE", global = true)]
    ca: Option<PathBuf>,
    /// Data directory of `farshore up`
    #[arg(long, env = "FARSHORE_DATA", value_name = "DIR", global = true)]
    data: Option<PathBuf>,
}

/// Text that `Debug` does not show.
#[derive(Clone)]
struct Secret(String);

impl std::str::FromStr for Secret {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// A hub that can be asked.
pub(crate) struct Hub {
    /// The client.
    pub(crate) client: HubClient,
    /// The hub's name as devices are told it, with the port of MQTT when it is another than usual.
    pub(crate) host_name: String,
}

/// What `farshore up` leaves for operators.
#[derive(Deserialize)]
pub(crate) struct LoginFile {
    /// A policy's connection string.
    login: String,
    /// The file of the hub's CA.
    pub(crate) ca: Option<PathBuf>,
    /// The hub's port of HTTPS.
    pub(crate) https_port: Option<u16>,
    /// The hub's port of MQTT.
    pub(crate) mqtt_port: Option<u16>,
    /// The port of AMQP over TLS.
    pub(crate) amqp_port: Option<u16>,
}

/// A hub as it was found, before anything is dialled.
#[derive(Debug, PartialEq)]
struct Found {
    login: ServiceConnectionString,
    https: Dial,
    ca: Option<PathBuf>,
    mqtt_port: Option<u16>,
}

impl Connection {
    /// The hub that the options name.
    pub(crate) fn hub(&self) -> Result<Hub, Failure> {
        let found = self.find()?;
        let tls = trust(found.ca.as_deref())?;
        let host_name = match found.mqtt_port {
            None | Some(client::dial::MQTT_PORT) => found.https.host.clone(),
            Some(port) => format!("{}:{port}", found.https.host),
        };
        let client = HubClient::new(&found.login, found.https, tls, Clock::system())?;
        Ok(Hub { client, host_name })
    }

    /// The event endpoint, when the options name one, or when the hub's is `wanted`: how to reach
    /// it, and whom to trust.
    pub(crate) fn events(&self, wanted: bool) -> Result<Option<(EventsLogin, ClientTls)>, Failure> {
        if let Some(Secret(login)) = &self.login
            && EventsConnectionString::is_meant_by(login)
        {
            let login: EventsConnectionString = login
                .trim()
                .parse()
                .map_err(|error| Failure::new(USAGE, format!("--login: {error}")))?;
            let Some(entity) = login.entity else {
                return Err(Failure::new(USAGE, "--login: EntityPath is missing"));
            };
            let dial = Dial::parse(&login.host_name, AMQP_PORT);
            let (policy, key, entity) = (login.policy, login.key, Some(entity));
            let tls = trust(self.ca.as_deref())?;
            return Ok(Some((EventsLogin { dial, policy, key, entity }, tls)));
        }
        if !wanted {
            return Ok(None);
        }
        let found = self.find()?;
        let port = match &self.login {
            Some(_) => None,
            None => read_login(&data_dir(self.data.as_deref())?.join(LOGIN_FILE))?
                .and_then(|file| file.amqp_port),
        };
        let dial = Dial::new(found.https.host, port.unwrap_or(AMQP_PORT));
        let ServiceConnectionString { policy, key, .. } = found.login;
        let tls = trust(found.ca.as_deref())?;
        Ok(Some((EventsLogin { dial, policy, key, entity: None }, tls)))
    }

    fn find(&self) -> Result<Found, Failure> {
        if let Some(Secret(login)) = &self.login {
            return found(login, self.ca.clone(), None, None, "--login");
        }
        let path = data_dir(self.data.as_deref())?.join(LOGIN_FILE);
        let Some(file) = read_login(&path)? else {
            return Err(Failure::new(
                USAGE,
                format!(
                    "no hub to ask: give --login (or FARSHORE_LOGIN) with the connection string of a \
                     shared access policy, or start a hub here with: farshore up\n  \
                     looked for {}",
                    path.display()
                ),
            ));
        };
        let ca = self.ca.clone().or(file.ca);
        found(&file.login, ca, file.https_port, file.mqtt_port, &path.display().to_string())
    }
}

/// The data directory of `farshore up`.
pub(crate) fn data_dir(given: Option<&Path>) -> Result<PathBuf, Failure> {
    match given {
        Some(path) => Ok(path.to_owned()),
        None => default_data_dir(),
    }
}

/// Reads the login file of a data directory's `farshore up`; none when there is none.
pub(crate) fn read_login(path: &Path) -> Result<Option<LoginFile>, Failure> {
    let Some(text) = host::fs::read_optional(path)? else { return Ok(None) };
    // The parser's message would show the line, which holds a key.
    toml::from_str(&text).map(Some).map_err(|_| {
        let path = path.display();
        Failure::new(USAGE, format!("{path} is damaged; start farshore up again, which writes it"))
    })
}

fn found(
    login: &str,
    ca: Option<PathBuf>,
    https_port: Option<u16>,
    mqtt_port: Option<u16>,
    origin: &str,
) -> Result<Found, Failure> {
    let mut login: ServiceConnectionString = login.trim().parse().map_err(|error| {
        // Its words never repeat what it was given.
        Failure::new(
            USAGE,
            format!(
                "{origin}: {error}; write \"HostName=…;SharedAccessKeyName=…;SharedAccessKey=…\""
            ),
        )
    })?;
    let https = Dial::parse(&login.host_name, https_port.unwrap_or(HTTPS_PORT));
    // Tokens name the hub, not where it is dialled.
    login.host_name.clone_from(&https.host);
    Ok(Found { login, https, ca, mqtt_port })
}

fn trust(ca: Option<&Path>) -> Result<ClientTls, Failure> {
    let Some(path) = ca else { return Ok(ClientTls::new(&[])?.with_system_roots()?) };
    let pem = host::fs::read_to_string(path)?;
    ClientTls::new(&[&pem]).map_err(|error| {
        let reason = Failure::from(error);
        let reason = reason.message().unwrap_or_default();
        Failure::new(USAGE, format!("{} has no CA to trust: {reason}", path.display()))
    })
}

/// The name of the login file in the data directory of `farshore up`.
pub(crate) const LOGIN_FILE: &str = "login.toml";

#[cfg(test)]
mod tests {
    use super::*;

    const LOGIN: &str =
        "HostName=localhost;SharedAccessKeyName=iothubowner;SharedAccessKey=c2VjcmV0";

    fn connection(login: Option<&str>, data: Option<&Path>) -> Connection {
        Connection {
            login: login.map(|text| Secret(text.into())),
            ca: None,
            data: data.map(Path::to_owned),
        }
    }

    #[test]
    fn the_flag_wins_and_may_name_the_port() {
        let found =
            connection(Some(&LOGIN.replace("localhost", "hub.example:8443")), None).find().unwrap();
        assert_eq!(found.https, Dial::new("hub.example", 8443));
        assert_eq!(found.login.host_name, "hub.example");
        assert_eq!(connection(Some(LOGIN), None).find().unwrap().https.port, 443);
    }

    #[test]
    fn the_login_file_of_up_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let file =
            format!("login = '{LOGIN}'\nca = '/x/ca.pem'\nhttps_port = 10443\nmqtt_port = 18883\n");
        host::fs::write_atomic(&dir.path().join(LOGIN_FILE), file.as_bytes(), 0o600).unwrap();
        let found = connection(None, Some(dir.path())).find().unwrap();
        assert_eq!(found.https, Dial::new("localhost", 10443));
        assert_eq!(found.ca, Some("/x/ca.pem".into()));
        assert_eq!(found.mqtt_port, Some(18883));
    }

    #[test]
    fn what_is_wrong_is_said_without_the_key() {
        let dir = tempfile::tempdir().unwrap();
        let missing = connection(None, Some(dir.path())).find().unwrap_err();
        assert!(missing.message().unwrap().contains("farshore up"), "{missing:?}");
        assert_eq!(missing.code(), USAGE);
        let file = format!("login = '{LOGIN}'\nnonsense");
        host::fs::write_atomic(&dir.path().join(LOGIN_FILE), file.as_bytes(), 0o600).unwrap();
        for failure in [
            connection(None, Some(dir.path())).find().unwrap_err(),
            connection(Some("HostName=h;SharedAccessKey=c2VjcmV0"), None).find().unwrap_err(),
            connection(Some("HostName=h;DeviceId=d;SharedAccessKey=c2VjcmV0"), None)
                .find()
                .unwrap_err(),
        ] {
            assert!(!failure.message().unwrap().contains("c2VjcmV0"), "{failure:?}");
            assert_eq!(failure.code(), USAGE);
        }
        assert!(!format!("{:?}", connection(Some(LOGIN), None)).contains("c2VjcmV0"));
    }
}
