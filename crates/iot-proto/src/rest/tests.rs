use proptest::prelude::*;

use super::*;

fn d(text: &str) -> DeviceId {
    text.parse().unwrap()
}

fn id(text: &str) -> IdentityId {
    text.parse().unwrap()
}

fn parse(request: &str) -> Result<Route, RouteError> {
    let (method, path) = request.split_once(' ').unwrap();
    Route::parse(&method.parse().unwrap(), path)
}

#[test]
fn every_route_is_read() {
    let m: ModuleId = "m1".parse().unwrap();
    for (request, route) in [
        ("GET /devices", Route::ListDevices),
        ("GET /devices/d1", Route::GetDevice(d("d1"))),
        ("PUT /devices/d1", Route::PutDevice(d("d1"))),
        ("DELETE /devices/d1", Route::DeleteDevice(d("d1"))),
        ("GET /devices/d1/modules", Route::ListModules(d("d1"))),
        ("GET /devices/d1/modules/m1", Route::GetModule(d("d1"), m.clone())),
        ("PUT /devices/d1/modules/m1", Route::PutModule(d("d1"), m.clone())),
        ("DELETE /devices/d1/modules/m1", Route::DeleteModule(d("d1"), m)),
        ("GET /statistics/devices", Route::DeviceStatistics),
        ("GET /statistics/service", Route::ServiceStatistics),
        ("GET /twins/d1", Route::GetTwin(id("d1"))),
        ("PATCH /twins/d1", Route::PatchTwin(id("d1"))),
        ("PUT /twins/d1", Route::ReplaceTwin(id("d1"))),
        ("GET /twins/d1/modules/m1", Route::GetTwin(id("d1/m1"))),
        ("PATCH /twins/d1/modules/m1", Route::PatchTwin(id("d1/m1"))),
        ("PUT /twins/d1/modules/m1", Route::ReplaceTwin(id("d1/m1"))),
        ("POST /twins/d1/methods", Route::InvokeMethod(id("d1"))),
        ("POST /twins/d1/modules/$edgeAgent/methods", Route::InvokeMethod(id("d1/$edgeAgent"))),
        ("POST /devices/d1/applyConfigurationContent", Route::ApplyContent(d("d1"))),
        ("POST /devices/d1/messages/deviceBound", Route::SendCloudToDevice(d("d1"))),
        ("DELETE /devices/d1/commands", Route::PurgeCloudToDevice(d("d1"))),
        ("GET /messages/serviceBound/feedback", Route::ReceiveFeedback),
        (
            "DELETE /messages/serviceBound/feedback/10000000-0000-0000-0000-00000000000f",
            Route::CompleteFeedback(uuid::uuid!("10000000-0000-0000-0000-00000000000f")),
        ),
        (
            "POST /messages/servicebound/feedback/10000000-0000-0000-0000-00000000000f/abandon",
            Route::AbandonFeedback(uuid::uuid!("10000000-0000-0000-0000-00000000000f")),
        ),
        (
            "POST /devices/e1/modules/$edgeHub/devicesAndModulesInTargetDeviceScope",
            Route::Scope(d("e1")),
        ),
        (
            "POST /devices/e1/modules/$edgeHub/getDeviceAndModuleOnBehalfOf",
            Route::ScopeIdentity(d("e1")),
        ),
        (
            "GET /devices/e1/modules/$edgeHub/devicesAndModulesInDeviceScope",
            Route::ScopeByQuery(d("e1")),
        ),
        (
            "GET /devices/e1/modules/$edgeHub/deviceAndModuleInDeviceScope",
            Route::ScopeIdentityByQuery(d("e1")),
        ),
        ("GET /events/partitions", Route::ListPartitions),
        ("GET /events/partitions/3", Route::ReadPartition(3)),
        ("GET /events/consumerGroups", Route::ListConsumerGroups),
        ("PUT /events/consumerGroups/g", Route::CreateConsumerGroup("g".parse().unwrap())),
        ("DELETE /events/consumerGroups/g", Route::DeleteConsumerGroup("g".parse().unwrap())),
        ("GET /certificates", Route::ListAuthorities),
        ("GET /certificates/d1.Plant", Route::GetAuthority("d1.Plant".parse().unwrap())),
        ("PUT /certificates/d1", Route::PutAuthority("d1".parse().unwrap())),
        ("DELETE /certificates/d1", Route::DeleteAuthority("d1".parse().unwrap())),
        (
            "POST /certificates/d1/generateVerificationCode",
            Route::GenerateVerificationCode("d1".parse().unwrap()),
        ),
        ("POST /certificates/d1/verify", Route::VerifyAuthority("d1".parse().unwrap())),
    ] {
        assert_eq!(parse(request), Ok(route.clone()), "{request}");
        // Back again, and as other clients write it: a trailing slash, other case, all encoded.
        assert_eq!(Route::parse(&route.method(), &route.path()), Ok(route.clone()));
        let (method, path) = request.split_once(' ').unwrap();
        assert_eq!(parse(&format!("{method} {path}/")), Ok(route.clone()), "{request}");
        let encoded = path[1..].replace('/', "%2F");
        assert_eq!(parse(&format!("{method} /{encoded}")), Ok(route.clone()), "{request}");
        if !path.contains("d1") && !path.contains("e1") {
            let upper = path.to_ascii_uppercase();
            assert_eq!(parse(&format!("{method} {upper}")), Ok(route), "{request}");
        }
    }
}

#[test]
fn words_ignore_case_and_ids_keep_theirs() {
    for (request, route) in [
        ("GET /Devices/D1/MODULES", Route::ListModules(d("D1"))),
        ("POST /devices/d1/messages/devicebound", Route::SendCloudToDevice(d("d1"))),
        ("POST /devices/d1/applyconfigurationcontent", Route::ApplyContent(d("d1"))),
        // Python and Node encode ids.
        ("GET /devices/d2%2B%23%25%24", Route::GetDevice(d("d2+#%$"))),
        ("GET /devices/a%2541", Route::GetDevice(d("a%41"))),
        // Devices whose ids are words of other routes.
        ("PUT /devices/query", Route::PutDevice(d("query"))),
        ("GET /devices/keys", Route::GetDevice(d("keys"))),
    ] {
        assert_eq!(parse(request), Ok(route), "{request}");
    }
}

#[test]
fn what_is_not_there_is_told_apart() {
    use RouteError as E;
    for (request, error) in [
        ("GET /", E::NotFound),
        ("GET /nothing", E::NotFound),
        ("GET /twins", E::NotFound),
        ("GET /statistics", E::NotFound),
        ("GET /devices/d/nothing", E::NotFound),
        ("GET /devices/d/modules/m/nothing", E::NotFound),
        ("GET /devices/d/modules/m/a/b/c/d/e/f", E::NotFound),
        ("GET /devices/%ff", E::NotFound),
        ("GET /events/partitions/x", E::NotFound),
        ("GET /certificates/c/nothing", E::NotFound),
        ("GET /certificates/a b", E::Authority(AuthorityNameError)),
        ("POST /certificates", E::MethodNotAllowed(&["GET"])),
        ("GET /certificates/c/verify", E::MethodNotAllowed(&["POST"])),
        ("GET /events/partitions/4294967296", E::NotFound),
        ("POST /devices", E::NotBuilt("bulk changes of the registry")),
        ("POST /devices/query", E::NotBuilt("queries")),
        ("POST /devices%2Fquery", E::NotBuilt("queries")),
        ("POST /devices/keys/regenerate", E::NotBuilt("regenerating keys")),
        ("GET /jobs/v2/x", E::NotBuilt("jobs")),
        ("GET /configurations", E::NotBuilt("automatic configurations")),
        ("POST /devices/d/messages/events", E::NotBuilt("messages over the HTTPS device API")),
        ("GET /devices/d/messages/devicebound", E::NotBuilt("messages over the HTTPS device API")),
        ("POST /devices/d/files", E::NotBuilt("file upload")),
        ("DELETE /messages/serviceBound/feedback/lock", E::Lock),
        ("POST /messages/serviceBound/feedback/lock/abandon", E::Lock),
        ("GET /messages/serviceBound/feedback/lock", E::MethodNotAllowed(&["DELETE"])),
        ("GET /messages/serviceBound/feedback/lock/abandon", E::MethodNotAllowed(&["POST"])),
        (
            "GET /messages/serviceBound/fileNotifications",
            E::NotBuilt("file upload notifications over HTTPS"),
        ),
        ("DELETE /devices", E::MethodNotAllowed(&["GET"])),
        ("PATCH /devices/d", E::MethodNotAllowed(&["GET", "PUT", "DELETE"])),
        ("POST /devices/d", E::MethodNotAllowed(&["GET", "PUT", "DELETE"])),
        ("DELETE /twins/d", E::MethodNotAllowed(&["GET", "PATCH", "PUT"])),
        ("GET /twins/d/methods", E::MethodNotAllowed(&["POST"])),
        ("POST /events/partitions", E::MethodNotAllowed(&["GET"])),
    ] {
        assert_eq!(parse(request), Err(error), "{request}");
    }
    for request in ["GET /devices/a%20b", "GET /devices/%C3%BC", "GET /twins/d/modules/a%20b"] {
        assert!(matches!(parse(request), Err(E::Id(_))), "{request}");
    }
    let fault = Fault::from(parse("PATCH /devices/d").unwrap_err());
    assert_eq!(fault.kind, FaultKind::GenericMethodNotAllowed);
    assert_eq!(fault.detail, "this path takes GET, PUT, DELETE, not this method");
}

#[test]
fn edge_components_have_their_own_calls() {
    let of = |request| parse(request).unwrap();
    assert_eq!(of("PUT /devices/d/modules/m").is_for_edge(), Some(EdgeCaller::Device(&d("d"))));
    assert_eq!(of("GET /devices/d/modules").is_for_edge(), Some(EdgeCaller::Device(&d("d"))));
    assert_eq!(of("PUT /devices/d").is_for_edge(), None);
    assert_eq!(
        of("POST /devices/d/modules/$edgeHub/getDeviceAndModuleOnBehalfOf").is_for_edge(),
        Some(EdgeCaller::EdgeHub(&d("d")))
    );
    assert_eq!(of("PUT /devices/d").right(), Right::RegistryWrite);
    assert_eq!(of("GET /events/partitions").right(), Right::ServiceConnect);
}

#[test]
fn websocket_paths() {
    for path in ["/$iothub/websocket", "/%24iothub/websocket", "/mqtt", "/"] {
        assert!(is_websocket_path(path), "{path}");
    }
    assert!(!is_websocket_path("/devices"));
}

#[test]
fn queries_are_read() {
    let query = Query::parse(Some("top=5&API-Version=2021-04-12&x=a%2Fb&flag&top=6"));
    assert_eq!(query.get("x"), Some("a/b"));
    assert_eq!(query.get("flag"), Some(""));
    assert_eq!(query.top(), 5);
    assert_eq!(query.api_version(), Ok("2021-04-12"));
    for (text, top) in
        [("", 1000), ("top=0", 1000), ("top=1001", 1000), ("top=x", 1000), ("top=1", 1)]
    {
        assert_eq!(Query::parse(Some(text)).top(), top, "{text}");
    }
    for text in
        [None, Some(""), Some("api-version="), Some("api-version=x y"), Some("api-version=1")]
    {
        let fault = Query::parse(text).api_version().map(str::to_owned).unwrap_err();
        assert_eq!(fault.kind, FaultKind::InvalidProtocolVersion, "{text:?}");
    }
    assert!(Query::parse(Some("api-version=2020-06-30-preview")).api_version().is_ok());
}

#[test]
fn event_queries_are_read() {
    let parse = |text: &str| EventsQuery::parse(&Query::parse(Some(text)));
    for (text, from, follow) in [
        ("", EventStart::Start, false),
        ("from=start&follow=false", EventStart::Start, false),
        ("from=end&follow=true", EventStart::End, true),
        ("from=0&follow", EventStart::Sequence(0), true),
        ("from=18446744073709551615", EventStart::Sequence(u64::MAX), false),
        (
            "from=2026-11-25T00%3A00%3A00Z",
            EventStart::Time("2026-11-25T00:00:00Z".parse().unwrap()),
            false,
        ),
    ] {
        let query = parse(text).unwrap();
        assert_eq!(query, EventsQuery { from, follow }, "{text}");
        let text: Vec<String> = query
            .parameters()
            .iter()
            .map(|(name, value)| format!("{name}={}", percent::encode(value)))
            .collect();
        assert_eq!(parse(&text.join("&")).unwrap(), query);
    }
    for text in ["from=soon", "from=18446744073709551616", "from=-1", "follow=maybe"] {
        assert!(parse(text).is_err(), "{text}");
    }
}

proptest! {
    #[test]
    fn paths_read_back_with_any_legal_id(
        device in "[A-Za-z0-9:.+%_#*?!(),=@;$'-]{1,30}",
        module in "[A-Za-z0-9:.+%_#*?!(),=@;$'-]{1,30}",
    ) {
        let (device, module) = (d(&device), module.parse::<ModuleId>().unwrap());
        for route in [
            Route::PutDevice(device.clone()),
            Route::PutModule(device.clone(), module.clone()),
            Route::SendCloudToDevice(device.clone()),
            Route::InvokeMethod(IdentityId::module(device, module)),
        ] {
            prop_assert_eq!(Route::parse(&route.method(), &route.path()), Ok(route));
        }
    }

    #[test]
    fn no_path_makes_it_panic(path in "/(devices|twins|events)\\PC{0,60}") {
        for method in [Method::GET, Method::POST, Method::PUT, Method::DELETE, Method::PATCH] {
            let _ = Route::parse(&method, &path);
        }
    }
}
