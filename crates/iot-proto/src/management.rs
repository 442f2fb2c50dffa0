//! The management and workload APIs of the edge daemon: paths, bodies, versions.
//!
//! Spec: er §1.3, §2.1, §2.2. `edge-daemon` serves them over unix sockets, `client` calls them.
//! Here an unknown path is 404 and a wrong method is 400, and every error body is
//! `{"message":…}`; causes follow on lines of their own.

mod body;
mod moment;
mod own;
mod route;

pub use body::{
    CertificateResponse, DecryptRequest, DecryptResponse, DiskInfo, EncryptRequest,
    EncryptResponse, EnvVar, ExitStatus, Identities, Identity, IdentityCertificateRequest,
    IdentityCreate, IdentityUpdate, ImagePullPolicy, LogLevel, ModuleConfig, ModuleDetails,
    ModuleList, ModuleSpec, ModuleStatus, PrivateKey, Provisioning, RuntimeStatus,
    ServerCertificateRequest, SignRequest, SignResponse, SpecError, SystemInfo, SystemResources,
    TrustBundle,
};
pub use moment::{MomentError, moment};
pub use own::{Pull, Pulls, Volume, VolumeUse, Volumes};
pub use route::{LogsQuery, LogsQueryError, ManagementRoute, RouteError, Tail, WorkloadRoute};

use http::StatusCode;
use serde::{Deserialize, Serialize};

use crate::rest::Query;

/// The API versions that both APIs take. `2021-05-11` was announced and is refused.
pub const API_VERSIONS: [&str; 7] = [
    "2018-06-28",
    "2019-01-30",
    "2019-10-22",
    "2019-11-05",
    "2020-07-07",
    "2021-12-07",
    "2022-08-03",
];

/// The version that our own clients name.
pub const API_VERSION: &str = "2022-08-03";

/// The body of every error answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// What went wrong.
    pub message: String,
}

impl ErrorBody {
    /// The body for an error with its causes, each on a line of its own.
    pub fn new(error: &dyn std::error::Error) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            message.push_str("\ncaused by: ");
            message.push_str(&cause.to_string());
            source = cause.source();
        }
        Self { message }
    }

    /// Its bytes.
    pub fn to_body(&self) -> Vec<u8> {
        crate::payload::write(self)
    }
}

/// Why a request is refused before its route is looked at.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VersionError {
    /// It names no version.
    #[error("api-version not specified")]
    Missing,
    /// It names one that does not exist.
    #[error("invalid api-version \"{0}\"")]
    Unknown(String),
}

impl VersionError {
    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        StatusCode::BAD_REQUEST
    }
}

/// The version that a request names, which must be one of [`API_VERSIONS`].
pub fn check_version(query: &Query) -> Result<&'static str, VersionError> {
    let named = query.get("api-version").ok_or(VersionError::Missing)?;
    let known = API_VERSIONS.into_iter().find(|version| *version == named);
    known.ok_or_else(|| VersionError::Unknown(named.chars().take(40).collect()))
}

#[cfg(test)]
mod tests;
