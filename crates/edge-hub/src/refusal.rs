//! An upstream protocol that there is not: refused where the operator looks, in the
//! reported properties of `$edgeHub` and in the log, and never replaced by another one silently.

use client::DeviceClient;
use serde_json::json;

use crate::upstream::Site;

/// The refusal, with the fix.
pub(crate) fn words(protocol: &str) -> String {
    format!(
        "UpstreamProtocol {protocol:?} is none of Amqp, AmqpWs, Mqtt and MqttWs; set one of them, or remove it from the environment of edgeHub"
    )
}

/// Tells the hub by the protocol that holds without a setting, as far as the hub can be reached; messages are
/// not sent this way.
pub(crate) async fn report(site: &Site, protocol: &str) {
    let (client, events) = DeviceClient::start(site.own_options(), site.clock.clone());
    // Nothing that the hub sends matters now.
    drop(events);
    let told = async {
        let version = client.twin_get().await?.desired_version;
        let status = json!({ "code": 400, "description": words(protocol) });
        let patch = json!({ "lastDesiredVersion": version, "lastDesiredStatus": status });
        client.report(patch.as_object().unwrap_or(&serde_json::Map::new())).await
    };
    match told.await {
        Ok(_) => tracing::error!(
            protocol,
            "upstream protocol is refused; this stands in the reported properties of $edgeHub, too"
        ),
        Err(error) => {
            tracing::error!(protocol, %error, "upstream protocol is refused, and the hub cannot be told");
        }
    }
    client.close().await;
}
