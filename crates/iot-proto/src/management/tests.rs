use http::Method;
use serde_json::{Value, json};

use super::*;

fn management(request: &str) -> Result<ManagementRoute, RouteError> {
    let (method, path) = request.split_once(' ').unwrap();
    ManagementRoute::parse(&method.parse().unwrap(), path)
}

fn workload(request: &str) -> Result<WorkloadRoute, RouteError> {
    let (method, path) = request.split_once(' ').unwrap();
    WorkloadRoute::parse(&method.parse().unwrap(), path)
}

#[test]
fn every_management_route_is_read() {
    use ManagementRoute as R;
    let name = || "edgeAgent".to_owned();
    for (request, route, agent_only) in [
        ("GET /modules", R::ListModules, false),
        ("POST /modules", R::CreateModule, true),
        ("GET /modules/edgeAgent", R::GetModule(name()), false),
        ("PUT /modules/edgeAgent", R::UpdateModule(name()), true),
        ("DELETE /modules/edgeAgent", R::DeleteModule(name()), true),
        ("POST /modules/edgeAgent/prepareupdate", R::PrepareUpdate(name()), true),
        ("POST /modules/edgeAgent/start", R::StartModule(name()), false),
        ("POST /modules/edgeAgent/stop", R::StopModule(name()), false),
        ("POST /modules/edgeAgent/restart", R::RestartModule(name()), false),
        ("GET /modules/edgeAgent/logs", R::Logs(name()), false),
        ("GET /systeminfo", R::SystemInfo, false),
        ("GET /systeminfo/resources", R::SystemResources, false),
        ("GET /systeminfo/supportbundle", R::SupportBundle, false),
        ("POST /device/reprovision", R::Reprovision, true),
        ("POST /device/restart", R::RestartRuntime, true),
        ("POST /device/stop", R::StopRuntime, true),
        ("PUT /device/loglevel", R::SetLogLevel, true),
        ("GET /pulls", R::ListPulls, false),
        ("GET /volumes", R::ListVolumes, false),
        ("POST /volumes/prune", R::PruneVolumes, true),
        ("GET /identities", R::ListIdentities, false),
        ("POST /identities", R::CreateIdentity, true),
        ("PUT /identities/%24edgeHub", R::UpdateIdentity("$edgeHub".into()), true),
        ("DELETE /identities/$edgeHub", R::DeleteIdentity("$edgeHub".into()), true),
    ] {
        assert_eq!(management(request), Ok(route.clone()), "{request}");
        assert_eq!(management(&format!("{request}/")), Ok(route.clone()), "{request}");
        assert_eq!(ManagementRoute::parse(&route.method(), &route.path()), Ok(route.clone()));
        assert_eq!(route.is_agent_only(), agent_only, "{request}");
    }
}

#[test]
fn every_workload_route_is_read() {
    use WorkloadRoute as R;
    let (module, generation) = (|| "$edgeHub".to_owned(), || "638".to_owned());
    for (request, route) in [
        ("GET /modules", R::ListModules),
        (
            "POST /modules/$edgeHub/genid/638/sign",
            R::Sign { module: module(), generation: generation() },
        ),
        (
            "POST /modules/%24edgeHub/genid/638/encrypt",
            R::Encrypt { module: module(), generation: generation() },
        ),
        (
            "POST /modules/$edgeHub/genid/638/decrypt",
            R::Decrypt { module: module(), generation: generation() },
        ),
        (
            "POST /modules/$edgeHub/genid/638/certificate/server",
            R::ServerCertificate { module: module(), generation: generation() },
        ),
        (
            "POST /modules/$edgeHub/certificate/identity",
            R::IdentityCertificate { module: module() },
        ),
        ("GET /trust-bundle", R::TrustBundle),
        ("GET /manifest-trust-bundle", R::ManifestTrustBundle),
    ] {
        assert_eq!(workload(request), Ok(route.clone()), "{request}");
        assert_eq!(WorkloadRoute::parse(&route.method(), &route.path()), Ok(route.clone()));
        assert_eq!(route.module().is_some(), route.method() == Method::POST, "{request}");
    }
}

#[test]
fn refusals_are_400_and_404() {
    for (request, error) in [
        ("GET /", RouteError::NotFound),
        ("GET /nothing", RouteError::NotFound),
        ("GET /modules/a/b/c/d/e/f", RouteError::NotFound),
        ("GET /modules//logs", RouteError::NotFound),
        ("GET /modules/%ff", RouteError::NotFound),
        ("PATCH /modules", RouteError::MethodNotAllowed),
        ("GET /modules/a/start", RouteError::MethodNotAllowed),
    ] {
        assert_eq!(management(request), Err(error), "{request}");
    }
    assert_eq!(workload("POST /modules/a/genid/b/nothing"), Err(RouteError::NotFound));
    assert_eq!(workload("GET /modules/a/genid/b/sign"), Err(RouteError::MethodNotAllowed));
    assert_eq!(RouteError::MethodNotAllowed.status(), 400);
    assert_eq!(RouteError::NotFound.status(), 404);
    assert_eq!(ErrorBody::new(&RouteError::NotFound).to_body(), br#"{"message":"not found"}"#);
}

#[test]
fn an_encoded_slash_stays_within_its_segment() {
    assert_eq!(
        management("GET /modules/a%2Flogs"),
        Ok(ManagementRoute::GetModule("a/logs".into()))
    );
}

#[test]
fn versions_are_checked() {
    let check = |text: &str| check_version(&Query::parse(Some(text)));
    for version in API_VERSIONS {
        assert_eq!(check(&format!("api-version={version}")), Ok(version));
    }
    assert_eq!(check("").unwrap_err().to_string(), "api-version not specified");
    assert_eq!(
        check("api-version=2021-05-11").unwrap_err().to_string(),
        "invalid api-version \"2021-05-11\""
    );
}

#[test]
fn error_bodies_tell_causes() {
    #[derive(Debug, thiserror::Error)]
    #[error("cannot start module")]
    struct Outer(#[source] RouteError);
    assert_eq!(
        ErrorBody::new(&Outer(RouteError::NotFound)).message,
        "cannot start module\ncaused by: not found"
    );
}

#[test]
fn specs_keep_what_they_do_not_know() {
    let text = json!({
        "name": "m", "type": "docker", "imagePullPolicy": "on-create",
        "config": {
            "settings": {"image": "i:1", "createOptions": {"HostConfig": {"X": [1]}}, "odd": true},
            "env": [{"key": "A", "value": "1"}],
        },
    });
    let spec: ModuleSpec = serde_json::from_value(text.clone()).unwrap();
    assert_eq!(serde_json::to_value(&spec).unwrap(), text);
    assert_eq!(spec.check_for("m"), Ok(()));
    assert!(matches!(spec.check_for("n"), Err(SpecError::Name { .. })));
    assert!(!format!("{spec:?}").contains("HostConfig"));
    let mut twice = spec.clone();
    twice.config.env.push(EnvVar { key: "A".into(), value: "2".into() });
    assert_eq!(twice.check(), Err(SpecError::DuplicateEnv("A".into())));
    let nameless = ModuleSpec { name: " ".into(), ..spec };
    assert_eq!(nameless.check(), Err(SpecError::Empty("name")));
    let bare: ModuleSpec =
        serde_json::from_value(json!({"name":"m","type":"docker","config":{"settings":{}}}))
            .unwrap();
    assert_eq!(bare.image_pull_policy, None);
}

#[test]
fn bodies_are_spelled_as_documented() {
    let details = ModuleDetails {
        id: ModuleDetails::ID.into(),
        name: "m".into(),
        r#type: "docker".into(),
        config: ModuleConfig::default(),
        status: ModuleStatus {
            start_time: None,
            exit_status: Some(ExitStatus {
                exit_time: "2026-11-25T00:00:00Z".into(),
                status_code: "137".into(),
            }),
            runtime_status: RuntimeStatus { status: "stopped".into(), description: None },
        },
    };
    assert_eq!(
        serde_json::to_value(ModuleList { modules: vec![details] }).unwrap(),
        json!({"modules": [{
            "id": "id", "name": "m", "type": "docker", "config": {"settings": {}, "env": []},
            "status": {
                "exitStatus": {"exitTime": "2026-11-25T00:00:00Z", "statusCode": "137"},
                "runtimeStatus": {"status": "stopped"},
            },
        }]})
    );
    // As Python asks (dp §14).
    let sign: SignRequest = serde_json::from_value(
        json!({"keyId": "primary", "algo": "HMACSHA256", "data": "ZGF0YQ=="}),
    )
    .unwrap();
    assert_eq!(sign.data, "ZGF0YQ==");
    let certificate = CertificateResponse {
        private_key: PrivateKey::from_pem("PEM"),
        certificate: "CHAIN".into(),
        expiration: "2026-12-25T00:00:00+00:00".into(),
    };
    assert_eq!(
        serde_json::to_value(&certificate).unwrap(),
        json!({
            "privateKey": {"type": "key", "bytes": "PEM"}, "certificate": "CHAIN",
            "expiration": "2026-12-25T00:00:00+00:00",
        })
    );
    assert!(!format!("{certificate:?}").contains("PEM"));
    let identity: Identity =
        serde_json::from_value(json!({"moduleId": "m", "generationId": "1"})).unwrap();
    assert_eq!(identity.auth_type, "sas");
    let info = SystemInfo {
        os_type: "linux".into(),
        additional: json!({"site": "a"}).as_object().unwrap().clone(),
        ..SystemInfo::default()
    };
    let json = serde_json::to_value(&info).unwrap();
    assert_eq!(json["osType"], "linux");
    assert_eq!(json["site"], "a");
    assert_eq!(
        json["provisioning"],
        json!({
            "type": "ProvisioningType", "dynamicReprovisioning": false,
            "alwaysReprovisionOnStartup": false,
        })
    );
    assert_eq!(serde_json::from_value::<SystemInfo>(json).unwrap(), info);
    let encrypt: Value = serde_json::to_value(EncryptRequest {
        plaintext: "cA==".into(),
        initialization_vector: "aQ==".into(),
    })
    .unwrap();
    assert_eq!(encrypt, json!({"plaintext": "cA==", "initializationVector": "aQ=="}));
}

#[test]
fn log_queries_are_read() {
    let parse = |text: &str| LogsQuery::parse(&Query::parse(Some(text)));
    let query = parse("follow=true&tail=10&since=1%20day%202h&timestamps=true").unwrap();
    assert_eq!(
        query,
        LogsQuery {
            follow: true,
            tail: Tail::Lines(10),
            since: Some("1 day 2h".into()),
            until: None,
            timestamps: true,
        }
    );
    let text: Vec<String> = query
        .parameters()
        .iter()
        .map(|(name, value)| format!("{name}={}", crate::percent::encode(value)))
        .collect();
    assert_eq!(parse(&text.join("&")), Ok(query));
    assert_eq!(parse("tail=all"), Ok(LogsQuery::default()));
    assert_eq!(parse("tail=-1"), Err(LogsQueryError("tail")));
    assert_eq!(parse("follow=yes"), Err(LogsQueryError("follow")));
}
