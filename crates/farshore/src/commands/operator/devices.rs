//! `farshore device`: identities of devices.

use iot_proto::connection_string::{Credential, DeviceConnectionString, SharedKey};
use iot_proto::etag::IfMatch;
use iot_proto::payload::AuthenticationJson;
use iot_proto::payload::device::{DeviceJson, DeviceWrite};
use model::identity::Status;
use model::limits::LIST_PAGE_MAX;
use model::{DeviceId, IdentityId, ModuleId};

use super::confirm::Yes;
use super::connection::{Connection, Hub};
use super::failure::failed;
use super::proof::Proof;
use crate::commands::{FAILED, Failure, USAGE};
use crate::output::{Output, Table, print};

/// Arguments of `farshore device`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    output: Output,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Create a device; the hub makes its keys, unless a certificate is named
    Create(Create),
    /// Show a device
    Show {
        /// Device id
        device: DeviceId,
        /// Show its keys instead of asterisks
        #[arg(long)]
        show_keys: bool,
    },
    /// List devices
    List {
        /// At most this many
        #[arg(long, default_value_t = LIST_PAGE_MAX, value_name = "COUNT")]
        top: usize,
    },
    /// Change whether a device may connect, or whose child it is
    Update(Update),
    /// Delete a device with its modules and twins
    Delete {
        /// Device id
        device: DeviceId,
        #[command(flatten)]
        yes: Yes,
    },
    /// Print what a device or module connects with
    ConnectionString {
        /// Device id
        device: DeviceId,
        /// Module of the device
        #[arg(long, value_name = "MODULE")]
        module: Option<ModuleId>,
        /// With the secondary key
        #[arg(long)]
        secondary: bool,
    },
}

#[derive(Debug, clap::Args)]
struct Create {
    /// Device id
    device: DeviceId,
    /// It runs the edge runtime
    #[arg(long)]
    edge: bool,
    /// The edge device that it connects through
    #[arg(long, value_name = "DEVICE")]
    parent: Option<DeviceId>,
    /// Whether it may connect
    #[arg(long, value_enum, default_value = "enabled")]
    status: StatusWord,
    #[command(flatten)]
    proof: Proof,
}

#[derive(Debug, clap::Args)]
struct Update {
    /// Device id
    device: DeviceId,
    /// Whether it may connect
    #[arg(long, value_enum)]
    status: Option<StatusWord>,
    /// Why it has that status
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// The edge device that it connects through
    #[arg(long, value_name = "DEVICE", conflicts_with = "no_parent")]
    parent: Option<DeviceId>,
    /// It connects through no edge device
    #[arg(long)]
    no_parent: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum StatusWord {
    /// It may connect
    Enabled,
    /// It may not
    Disabled,
}

impl From<StatusWord> for Status {
    fn from(word: StatusWord) -> Self {
        match word {
            StatusWord::Enabled => Self::Enabled,
            StatusWord::Disabled => Self::Disabled,
        }
    }
}

pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let hub = arguments.connection.hub()?;
    let output = arguments.output;
    match arguments.verb {
        Verb::Create(create) => self::create(&hub, output, create).await,
        Verb::Show { device, show_keys } => {
            let found = hub.client.device(&device).await.map_err(failed)?;
            show(output, found, show_keys)
        }
        Verb::List { top } => list(&hub, output, top).await,
        Verb::Update(update) => self::update(&hub, output, update).await,
        Verb::Delete { device, yes } => {
            yes.confirm(&format!("delete device {device}, its modules and their twins"))?;
            hub.client.delete_device(&device, &IfMatch::Any).await.map_err(failed)?;
            eprintln!("device {device} is deleted");
            Ok(())
        }
        Verb::ConnectionString { device, module, secondary } => {
            connection_string(&hub, IdentityId { device, module }, secondary).await
        }
    }
}

async fn create(hub: &Hub, output: Output, create: Create) -> Result<(), Failure> {
    let mut write = DeviceWrite {
        status: Some(create.status.into()),
        edge: Some(create.edge),
        authentication: create.proof.into(),
        ..DeviceWrite::default()
    };
    if let Some(parent) = &create.parent {
        set_parent(&mut write, parent_scope(hub, parent).await?, create.edge);
    }
    let device = create.device;
    let made = hub.client.put_device(&device, &write, &IfMatch::Absent).await.map_err(failed)?;
    eprintln!(
        "device {device} is created; what it connects with: farshore device connection-string {device}"
    );
    show(output, made, false)
}

async fn update(hub: &Hub, output: Output, update: Update) -> Result<(), Failure> {
    let device = update.device;
    let found = hub.client.device(&device).await.map_err(failed)?;
    let mut write = DeviceWrite {
        status: update.status.map(Status::from),
        status_reason: update.reason,
        ..DeviceWrite::default()
    };
    if let Some(parent) = &update.parent {
        set_parent(&mut write, parent_scope(hub, parent).await?, found.capabilities.iot_edge);
    }
    if update.no_parent {
        write.parent_scopes = Some(Vec::new());
        if !found.capabilities.iot_edge {
            write.scope = Some(String::new());
        }
    }
    if write == DeviceWrite::default() {
        return Err(Failure::new(
            USAGE,
            "nothing to change: give --status, --reason, --parent or --no-parent",
        ));
    }
    let demand = IfMatch::Tag(found.etag);
    let changed = hub.client.put_device(&device, &write, &demand).await.map_err(failed)?;
    show(output, changed, false)
}

/// A leaf takes its parent's scope; an edge device keeps its own and names its parent's.
fn set_parent(write: &mut DeviceWrite, scope: String, edge: bool) {
    match edge {
        true => write.parent_scopes = Some(vec![scope]),
        false => write.scope = Some(scope),
    }
}

async fn parent_scope(hub: &Hub, parent: &DeviceId) -> Result<String, Failure> {
    let found = hub.client.device(parent).await.map_err(failed)?;
    match found.device_scope {
        Some(scope) if found.capabilities.iot_edge => Ok(scope),
        _ => Err(Failure::new(
            FAILED,
            format!(
                "device {parent} is not an edge device; only those can be parents (create one with --edge)"
            ),
        )),
    }
}

async fn list(hub: &Hub, output: Output, top: usize) -> Result<(), Failure> {
    if !(1..=LIST_PAGE_MAX).contains(&top) {
        return Err(Failure::new(USAGE, format!("--top is not within 1 to {LIST_PAGE_MAX}")));
    }
    let mut devices = hub.client.devices(top).await.map_err(failed)?;
    for device in &mut devices {
        mask(&mut device.authentication);
    }
    if devices.len() == top {
        eprintln!("only the first {top} devices are shown");
    }
    output.list(&devices, || {
        let mut table = Table::new(["DEVICE", "STATUS", "EDGE", "CONNECTION", "LAST ACTIVITY"]);
        for device in &devices {
            table.row([
                &device.device_id,
                &device.status,
                yes_no(device.capabilities.iot_edge),
                &device.connection_state,
                &shown_time(&device.last_activity_time),
            ]);
        }
        table
    })
}

fn show(output: Output, mut device: DeviceJson, show_keys: bool) -> Result<(), Failure> {
    if !show_keys {
        mask(&mut device.authentication);
    }
    output.one(&device, || fields(&device))
}

fn fields(device: &DeviceJson) -> Table {
    let mut table = Table::fields();
    table.row(["Device", &device.device_id]);
    table.row(["Status", &device.status]);
    if let Some(reason) = device.status_reason.as_deref().filter(|text| !text.is_empty()) {
        table.row(["Reason", reason]);
    }
    table.row(["Edge device", yes_no(device.capabilities.iot_edge)]);
    table.row(["Connection", &device.connection_state]);
    table.row(["Last activity", &shown_time(&device.last_activity_time)]);
    table.row(["Waiting messages", &device.cloud_to_device_message_count.to_string()]);
    authentication_rows(&mut table, &device.authentication);
    if let Some(scope) = &device.device_scope {
        table.row(["Scope", scope]);
    }
    for scope in &device.parent_scopes {
        table.row(["Parent scope", scope]);
    }
    table.row(["Generation", &device.generation_id]);
    table.row(["Etag", &device.etag]);
    table
}

/// How an identity proves itself, as rows.
pub(super) fn authentication_rows(table: &mut Table, authentication: &AuthenticationJson) {
    table.row(["Authentication", &authentication.r#type]);
    let keys = &authentication.symmetric_key;
    for (name, key) in [("Primary key", &keys.primary_key), ("Secondary key", &keys.secondary_key)]
    {
        if let Some(key) = key {
            table.row([name, key]);
        }
    }
    let thumbprints = &authentication.x509_thumbprint;
    for (name, thumbprint) in [
        ("Thumbprint", &thumbprints.primary_thumbprint),
        ("Second thumbprint", &thumbprints.secondary_thumbprint),
    ] {
        if let Some(thumbprint) = thumbprint {
            table.row([name, thumbprint]);
        }
    }
}

/// Puts asterisks in the place of keys.
pub(super) fn mask(authentication: &mut AuthenticationJson) {
    let keys = &mut authentication.symmetric_key;
    for key in [&mut keys.primary_key, &mut keys.secondary_key].into_iter().flatten() {
        MASK.clone_into(key);
    }
}

async fn connection_string(
    hub: &Hub,
    identity: IdentityId,
    secondary: bool,
) -> Result<(), Failure> {
    let client = &hub.client;
    let authentication = match &identity.module {
        Some(module) => {
            client.module(&identity.device, module).await.map_err(failed)?.authentication
        }
        None => client.device(&identity.device).await.map_err(failed)?.authentication,
    };
    let keys = authentication.symmetric_key;
    let key = if secondary { keys.secondary_key } else { keys.primary_key };
    let credential = match key.filter(|key| !key.is_empty()) {
        Some(key) => Credential::Key(SharedKey::new(key)),
        None if matches!(&*authentication.r#type, "selfSigned" | "certificateAuthority") => {
            Credential::X509
        }
        None => {
            return Err(Failure::new(
                FAILED,
                format!("{identity} has no keys: it proves itself by {}", authentication.r#type),
            ));
        }
    };
    let host_name = hub.host_name.clone();
    let text = DeviceConnectionString { host_name, identity, credential, gateway_host_name: None };
    print(&format!("{text}\n"))
}

/// A time of the hub's, to the second; the year 1 is never.
pub(super) fn shown_time(text: &str) -> String {
    match iot_proto::time::parse_or_never(text) {
        Some(time) => time.strftime("%Y-%m-%d %H:%M:%SZ").to_string(),
        None => "never".to_owned(),
    }
}

/// `yes` or `no`.
pub(super) fn yes_no(yes: bool) -> &'static str {
    if yes { "yes" } else { "no" }
}

const MASK: &str = "********";

#[cfg(test)]
mod tests {
    use super::*;
    use iot_proto::payload::SymmetricKeyJson;

    #[test]
    fn keys_are_masked_everywhere() {
        let mut device = DeviceJson {
            device_id: "d1".into(),
            status: "enabled".into(),
            ..DeviceJson::default()
        };
        device.authentication.r#type = "sas".into();
        device.authentication.symmetric_key = SymmetricKeyJson {
            primary_key: Some("c2VjcmV0".into()),
            secondary_key: Some("c2VjcmV0".into()),
        };
        assert!(fields(&device).to_text().contains("c2VjcmV0"));
        mask(&mut device.authentication);
        let shown = fields(&device).to_text() + &serde_json::to_string(&device).unwrap();
        assert!(!shown.contains("c2VjcmV0"), "{shown}");
        assert!(shown.contains("Primary key       ********\n"), "{shown}");
    }

    #[test]
    fn a_parent_is_a_scope_for_leaves_and_a_parent_scope_for_edge_devices() {
        let mut leaf = DeviceWrite::default();
        set_parent(&mut leaf, "s".into(), false);
        assert_eq!((leaf.scope, leaf.parent_scopes), (Some("s".into()), None));
        let mut edge = DeviceWrite::default();
        set_parent(&mut edge, "s".into(), true);
        assert_eq!((edge.scope, edge.parent_scopes), (None, Some(vec!["s".into()])));
    }

    #[test]
    fn times_are_shown_to_the_second() {
        assert_eq!(shown_time("2026-11-25T01:02:03.1234567Z"), "2026-11-25 01:02:03Z");
        assert_eq!(shown_time(iot_proto::time::NEVER), "never");
        assert_eq!(shown_time("rubbish"), "never");
    }
}
