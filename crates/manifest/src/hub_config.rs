//! The desired properties of `$edgeHub` (er §5.1): routes, and how long messages are kept.
//!
//! Broker settings and signatures are not read. Routes: [`crate::route`].

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use model::twin::Object;
use serde_json::Value;

use crate::fields::{FieldError, Fields, kind_of, shortened};
use crate::route::{Route, RouteError};
use crate::version::SchemaVersion;

/// What the edge hub has to do.
#[derive(Debug, Clone, PartialEq)]
pub struct HubConfig {
    /// Version of the schema.
    pub schema_version: SchemaVersion,
    /// Routes by name.
    pub routes: BTreeMap<String, RouteConfig>,
    /// How long a message waits for delivery; `None` means for ever.
    pub time_to_live: Option<Duration>,
    /// `storeLimits.maxSizeBytes`: how much may wait, when the manifest says.
    pub store_size_bytes_max: Option<u64>,
}

/// A route and how its messages are treated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteConfig {
    /// The route.
    pub route: Route,
    /// 0 to 9, 0 first; [`PRIORITY_LAST`] without one.
    pub priority: u32,
    /// Own time to live; `None` means that of the configuration.
    pub time_to_live: Option<Duration>,
}

/// Why desired properties are not an edge hub's configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HubConfigError {
    /// There is nothing in it: no deployment yet.
    #[error("the desired properties of $edgeHub are empty; set a deployment manifest")]
    Empty,
    /// The schema is one that we don't know.
    #[error("schemaVersion {found:?} is not supported; use 1.0 to 1.3")]
    SchemaVersion {
        /// The text.
        found: String,
    },
    /// A property is missing or wrong.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// A route's text is wrong.
    #[error("routes.{name}: {error}")]
    Route {
        /// The route's name, shortened.
        name: String,
        /// What is wrong.
        error: RouteError,
    },
}

impl HubConfigError {
    /// The code that the edge hub reports in `lastDesiredStatus` (er §5.1).
    pub fn code(&self) -> u16 {
        400
    }
}

impl HubConfig {
    /// Reads the desired section of the edge hub's twin; `$version` and `$metadata` may be in it.
    pub fn parse(desired: &Object) -> Result<Self, HubConfigError> {
        let root = Fields::root(desired);
        if root.entries().all(|(name, _)| name.starts_with('$')) {
            return Err(HubConfigError::Empty);
        }
        let schema_version = schema_version(&root)?;
        let form = if schema_version < OBJECT_ROUTES_SINCE { Form::V10 } else { Form::V11 };
        let (routes, store) = match form {
            Form::V10 => (root.object("routes")?, root.object("storeAndForwardConfiguration")?),
            Form::V11 => (
                Some(root.required_object("routes")?),
                Some(root.required_object("storeAndForwardConfiguration")?),
            ),
        };
        let routes = routes.map(|fields| parse_routes(&fields, form)).transpose()?;
        let (time_to_live, store_size_bytes_max) = match store {
            Some(store) => (parse_time_to_live(&store)?, parse_store_limit(&store)?),
            None => (Some(TIME_TO_LIVE_DEFAULT), None),
        };
        Ok(Self {
            schema_version,
            routes: routes.unwrap_or_default(),
            time_to_live,
            store_size_bytes_max,
        })
    }
}

/// Schema 1.0 has routes as texts only, and optional sections.
#[derive(Clone, Copy, PartialEq)]
enum Form {
    V10,
    V11,
}

fn schema_version(root: &Fields<'_>) -> Result<SchemaVersion, HubConfigError> {
    let text = root.required_text("schemaVersion")?;
    match text.parse::<SchemaVersion>() {
        Ok(version) if version.major == 1 && version.minor <= SCHEMA_MINOR_MAX => Ok(version),
        _ => Err(HubConfigError::SchemaVersion { found: shortened(&text) }),
    }
}

fn parse_routes(
    fields: &Fields<'_>,
    form: Form,
) -> Result<BTreeMap<String, RouteConfig>, HubConfigError> {
    let mut routes = BTreeMap::new();
    for (name, value) in fields.entries() {
        if name.trim().is_empty() {
            return Err(fields.error("\"\"", "is not a route's name; give it one").into());
        }
        let config = match value {
            Value::String(text) => parse_plain(name, text)?,
            Value::Object(_) if form == Form::V11 => {
                parse_object(name, &fields.child(name, value)?)?
            }
            Value::Object(_) => {
                let problem = "is an object; schemaVersion 1.0 has texts only, use 1.1";
                return Err(fields.error(name, problem).into());
            }
            other => {
                let problem = format!("is {}; it has to be a route's text", kind_of(other));
                return Err(fields.error(name, problem).into());
            }
        };
        routes.extend(config.map(|config| (name.to_owned(), config)));
    }
    if routes.len() > ROUTES_MAX {
        let problem = format!("has {} entries; at most {ROUTES_MAX} are allowed", routes.len());
        return Err(FieldError::new("routes", problem).into());
    }
    Ok(routes)
}

/// A blank text is no route, as in the original.
fn parse_plain(name: &str, text: &str) -> Result<Option<RouteConfig>, HubConfigError> {
    if text.trim().is_empty() {
        return Ok(None);
    }
    let route = parse_route(name, text)?;
    Ok(Some(RouteConfig { route, priority: PRIORITY_LAST, time_to_live: None }))
}

fn parse_object(name: &str, fields: &Fields<'_>) -> Result<Option<RouteConfig>, HubConfigError> {
    let text = fields.required_text("route")?;
    if text.trim().is_empty() {
        return Ok(None);
    }
    let priority = match fields.integer("priority")? {
        None => PRIORITY_LAST,
        Some(priority @ 0..=9) => u32::try_from(priority).unwrap_or(PRIORITY_LAST),
        Some(other) => {
            return Err(fields.error("priority", format!("is {other}; use 0 to 9")).into());
        }
    };
    let time_to_live = match fields.integer("timeToLiveSecs")?.map(u32::try_from) {
        None | Some(Ok(0)) => None,
        Some(Ok(seconds)) => Some(Duration::from_secs(seconds.into())),
        Some(Err(_)) => {
            return Err(fields.error("timeToLiveSecs", "is not within 0 to 4294967295").into());
        }
    };
    Ok(Some(RouteConfig { route: parse_route(name, &text)?, priority, time_to_live }))
}

fn parse_route(name: &str, text: &str) -> Result<Route, HubConfigError> {
    text.parse().map_err(|error| HubConfigError::Route { name: shortened(name), error })
}

fn parse_time_to_live(store: &Fields<'_>) -> Result<Option<Duration>, FieldError> {
    match store.integer("timeToLiveSecs")? {
        None => Ok(Some(TIME_TO_LIVE_DEFAULT)),
        // Negative means for ever.
        Some(seconds) => Ok(u64::try_from(seconds).ok().map(Duration::from_secs)),
    }
}

fn parse_store_limit(store: &Fields<'_>) -> Result<Option<u64>, FieldError> {
    let Some(limits) = store.object("storeLimits")? else { return Ok(None) };
    match limits.integer("maxSizeBytes")?.map(u64::try_from) {
        None => Ok(None),
        Some(Ok(bytes)) if bytes > 0 => Ok(Some(bytes)),
        Some(_) => Err(limits.error("maxSizeBytes", "has to be greater than 0")),
    }
}

/// Priority of routes that name none: after all others (er §5.1).
pub const PRIORITY_LAST: u32 = 2_000_000_000;
/// Routes of one configuration; 32 KiB of desired properties hold fewer.
pub const ROUTES_MAX: usize = 1_000;
/// How long messages are kept when the manifest does not say (er §5.1).
pub const TIME_TO_LIVE_DEFAULT: Duration = Duration::from_secs(7200);
/// The first schema with routes as objects.
const OBJECT_ROUTES_SINCE: SchemaVersion = SchemaVersion { major: 1, minor: 1, patch: 0 };
/// The newest schema is 1.3.
const SCHEMA_MINOR_MAX: u32 = 3;
