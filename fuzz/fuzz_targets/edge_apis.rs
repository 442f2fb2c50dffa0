//! What modules, operators and strangers send over HTTP: method, path, query and body of the management
//! and workload APIs and of the hub's REST. A route that is known is spelled as it is parsed.

#![no_main]

use std::str::FromStr;

use http::Method;
use iot_proto::management::{
    DecryptRequest, EncryptRequest, IdentityCertificateRequest, IdentityCreate, IdentityUpdate,
    LogLevel, LogsQuery, ManagementRoute, ModuleSpec, ServerCertificateRequest, SignRequest,
    WorkloadRoute, check_version,
};
use iot_proto::payload::certificate::{CertificateWrite, read_proof};
use iot_proto::rest::{Query, Route};
use libfuzzer_sys::fuzz_target;
use serde::de::DeserializeOwned;

fuzz_target!(|data: &[u8]| {
    let Some((first, data)) = data.split_first() else { return };
    let method = ["GET", "POST", "PUT", "DELETE", "PATCH"][usize::from(first % 5)];
    let Ok(method) = Method::from_str(method) else { return };
    let (target, body) = match data.iter().position(|byte| *byte == b'\n') {
        Some(end) => (&data[..end], &data[end + 1..]),
        None => (data, &[][..]),
    };
    if let Ok(target) = std::str::from_utf8(target) {
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        let query = Query::parse(query);
        let _ = check_version(&query);
        let _ = LogsQuery::parse(&query);
        let _ = Route::parse(&method, path);
        if let Ok(route) = ManagementRoute::parse(&method, path) {
            let again = ManagementRoute::parse(&route.method(), &route.path());
            assert_eq!(again.as_ref().ok(), Some(&route), "{path}");
        }
        if let Ok(route) = WorkloadRoute::parse(&method, path) {
            let again = WorkloadRoute::parse(&route.method(), &route.path());
            assert_eq!(again.as_ref().ok(), Some(&route), "{path}");
        }
    }
    if let Ok(write) = CertificateWrite::read(body) {
        assert_eq!(CertificateWrite::read(&write.body()), Ok(write));
    }
    let _ = read_proof(body);
    if let Ok(spec) = serde_json::from_slice::<ModuleSpec>(body) {
        let _ = spec.check();
    }
    reads::<SignRequest>(body);
    reads::<EncryptRequest>(body);
    reads::<DecryptRequest>(body);
    reads::<ServerCertificateRequest>(body);
    reads::<IdentityCertificateRequest>(body);
    reads::<IdentityCreate>(body);
    reads::<IdentityUpdate>(body);
    reads::<LogLevel>(body);
});

fn reads<T: DeserializeOwned>(body: &[u8]) {
    let _ = serde_json::from_slice::<T>(body);
}
