//! From the management API's module specification to the runtime's.

use std::collections::BTreeMap;

use containers::{
    Bind, ImageReference, InvalidImageReference, ModuleSpec, PullPolicy, RegistryAuth,
};
use host::http::StatusCode;
use iot_proto::management::{self, ImagePullPolicy};
use serde_json::{Map, Value};

use super::{Modules, parse};
use crate::http::Refusal;
use crate::workload::HUB_NAME;

impl Modules {
    /// What the runtime is to create.
    pub(super) fn to_runtime(&self, spec: management::ModuleSpec) -> Result<ModuleSpec, Refusal> {
        if !spec.r#type.eq_ignore_ascii_case("docker") {
            return Err(bad(format!(
                "module type {:?} is not served; use \"docker\"",
                spec.r#type
            )));
        }
        let name = parse(&spec.name)?;
        let settings = spec.config.settings;
        let image = self.image(&settings)?;
        let env: BTreeMap<String, String> =
            spec.config.env.into_iter().map(|variable| (variable.key, variable.value)).collect();
        let binds = self.socket_bind(&name).into_iter().collect();
        let network_aliases = match name.as_str() {
            HUB_NAME => vec![self.place.gateway.clone()],
            _ => Vec::new(),
        };
        Ok(ModuleSpec {
            digest: text(&settings, "digest")?.map(str::to_owned),
            create_options: create_options(&settings)?,
            env,
            pull_policy: match spec.image_pull_policy.unwrap_or_default() {
                ImagePullPolicy::OnCreate => PullPolicy::OnCreate,
                ImagePullPolicy::Never => PullPolicy::Never,
            },
            auth: auth(&settings)?,
            network_aliases,
            binds,
            ..ModuleSpec::new(name, image)
        })
    }

    fn image(&self, settings: &Map<String, Value>) -> Result<ImageReference, Refusal> {
        let image = text(settings, "image")?.filter(|image| !image.trim().is_empty());
        let image = image.ok_or_else(|| bad("config.settings.image is missing"))?.trim();
        image_reference(image, &self.place.upstream).map_err(|error| Refusal::bad(&error))
    }

    /// The directory of the module's socket, where modules look for it. Read-only is enough to
    /// connect, and a module cannot put something else in its place.
    fn socket_bind(&self, name: &containers::ModuleName) -> Option<Bind> {
        let inside = self.place.connect_workload.parent()?;
        Some(Bind { read_only: true, ..Bind::new(self.sockets.dir_of(name), inside) })
    }
}

/// The image that a manifest's words mean on a device below this upstream.
pub(crate) fn image_reference(
    text: &str,
    upstream: &str,
) -> Result<ImageReference, InvalidImageReference> {
    match text.strip_prefix("$upstream") {
        Some(rest) if rest.starts_with([':', '/']) => format!("{upstream}{rest}").parse(),
        _ => text.parse(),
    }
}

fn create_options(settings: &Map<String, Value>) -> Result<Value, Refusal> {
    match settings.get("createOptions") {
        None | Some(Value::Null) => Ok(Value::Null),
        Some(options @ Value::Object(_)) => Ok(options.clone()),
        // As it stands in manifests.
        Some(Value::String(text)) if text.trim().is_empty() => Ok(Value::Null),
        Some(Value::String(text)) => match serde_json::from_str(text) {
            Ok(options @ Value::Object(_)) => Ok(options),
            _ => Err(bad("config.settings.createOptions is text, but not of a JSON object")),
        },
        Some(_) => Err(bad("config.settings.createOptions is not an object")),
    }
}

fn auth(settings: &Map<String, Value>) -> Result<Option<RegistryAuth>, Refusal> {
    let auth = match settings.get("auth") {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Object(auth)) => auth,
        Some(_) => return Err(bad("config.settings.auth is not an object")),
    };
    let field = |name| Ok::<_, Refusal>(text(auth, name)?.unwrap_or_default().to_owned());
    Ok(Some(RegistryAuth {
        server_address: field("serveraddress")?,
        username: field("username")?,
        password: field("password")?,
    }))
}

fn text<'a>(object: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, Refusal> {
    match object.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(bad(format!("config.settings: {name} is not text"))),
    }
}

fn bad(message: impl Into<String>) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, message)
}
