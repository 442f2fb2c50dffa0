//! The environment that modules get beside what their manifest says (er §2.4).
//!
//! The identity's variables win over the manifest's; inherited ones give way to it. What
//! `createOptions.Env` says wins over all of them, in the daemon (T-ENV-WINS).

use manifest::agent::Env;
use model::ModuleId;

use crate::settings::Surroundings;

/// The variables of a module, all but its generation, which is known when its identity is.
pub(crate) fn environment(surroundings: &Surroundings, module: &ModuleId, manifest: &Env) -> Env {
    let mut env = manifest.clone();
    for (name, value) in &surroundings.inherited_env {
        // .NET modules read names in any case, so one in another case is a setting too.
        if !env.keys().any(|key| key.eq_ignore_ascii_case(name)) {
            env.insert(name.clone(), value.clone());
        }
    }
    let mut set = |name: &str, value: &str| env.insert(name.to_owned(), value.to_owned());
    set("IOTEDGE_WORKLOADURI", &surroundings.module_workload_uri);
    set("IOTEDGE_AUTHSCHEME", "sasToken");
    set("IOTEDGE_APIVERSION", API_VERSION);
    set("IOTEDGE_IOTHUBHOSTNAME", &surroundings.hub_host_name);
    set("IOTEDGE_DEVICEID", surroundings.device.as_str());
    set("IOTEDGE_MODULEID", module.as_str());
    if *module == ModuleId::edge_hub() {
        set("EdgeDeviceHostName", &surroundings.edge_host_name);
        if let Some(parent) = &surroundings.parent_host_name {
            set("IOTEDGE_GATEWAYHOSTNAME", parent);
        }
        env.extend(surroundings.edge_hub_env.clone());
    } else {
        set("IOTEDGE_GATEWAYHOSTNAME", &surroundings.edge_host_name);
        if let Some(parent) = &surroundings.parent_host_name {
            set("IOTEDGE_PARENTHOSTNAME", parent);
        }
        env.extend(surroundings.module_env.clone());
    }
    env
}

/// The variable that is added when the identity is known.
pub(crate) const GENERATION: &str = "IOTEDGE_MODULEGENERATIONID";
/// The version of the workload API that modules are told (er §2.4).
const API_VERSION: &str = "2022-08-03";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_surroundings;

    #[track_caller]
    fn check(surroundings: &Surroundings, module: &str, manifest: &[(&str, &str)], expected: &str) {
        let manifest = manifest.iter().map(|(k, v)| (String::from(*k), String::from(*v))).collect();
        let env = environment(surroundings, &module.parse().unwrap(), &manifest);
        let lines: Vec<String> =
            env.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let expected: Vec<&str> =
            expected.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
        assert_eq!(lines, expected);
    }

    #[test]
    fn a_module_is_told_who_it_is_and_where_its_edge_hub_is() {
        let mut surroundings = test_surroundings();
        surroundings.inherited_env.insert("RuntimeLogLevel".into(), "debug".into());
        surroundings.edge_hub_env.insert("FARSHORE_UPSTREAM_ADDRESS".into(), "10.0.0.1".into());
        surroundings.module_env.insert("FARSHORE_GATEWAY_ADDRESS".into(), "127.0.0.2".into());
        check(
            &surroundings,
            "sensor",
            &[("MessageCount", "-1"), ("IOTEDGE_MODULEID", "other")],
            "FARSHORE_GATEWAY_ADDRESS=127.0.0.2
             IOTEDGE_APIVERSION=2022-08-03
             IOTEDGE_AUTHSCHEME=sasToken
             IOTEDGE_DEVICEID=edge1
             IOTEDGE_GATEWAYHOSTNAME=edge1.local
             IOTEDGE_IOTHUBHOSTNAME=hub.test
             IOTEDGE_MODULEID=sensor
             IOTEDGE_WORKLOADURI=unix:///var/run/iotedge/workload.sock
             MessageCount=-1
             RuntimeLogLevel=debug",
        );
    }

    #[test]
    fn the_edge_hub_is_told_its_name_and_its_upstream() {
        let mut surroundings = test_surroundings();
        surroundings.inherited_env.insert("RuntimeLogLevel".into(), "debug".into());
        surroundings.edge_hub_env.insert("FARSHORE_UPSTREAM_ADDRESS".into(), "10.0.0.1".into());
        surroundings.parent_host_name = Some("parent.local".into());
        check(
            &surroundings,
            "$edgeHub",
            &[("runtimeloglevel", "warn"), ("FARSHORE_UPSTREAM_ADDRESS", "6.6.6.6")],
            "EdgeDeviceHostName=edge1.local
             FARSHORE_UPSTREAM_ADDRESS=10.0.0.1
             IOTEDGE_APIVERSION=2022-08-03
             IOTEDGE_AUTHSCHEME=sasToken
             IOTEDGE_DEVICEID=edge1
             IOTEDGE_GATEWAYHOSTNAME=parent.local
             IOTEDGE_IOTHUBHOSTNAME=hub.test
             IOTEDGE_MODULEID=$edgeHub
             IOTEDGE_WORKLOADURI=unix:///var/run/iotedge/workload.sock
             runtimeloglevel=warn",
        );
    }
}
