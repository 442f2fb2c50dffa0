//! Any JSON as a deployment: what an operator applies, what the agent and the edge hub read of their
//! twins, with createOptions in chunks and routes. What is taken can be written again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use manifest::content::plan_apply;
use manifest::{AgentConfig, HubConfig, Image, Route};
use serde_json::{Map, Value};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(image) = text.parse::<Image>() {
        assert_eq!(image.to_string().parse::<Image>(), Ok(image));
    }
    if let Ok(route) = text.parse::<Route>() {
        let written = route.to_string();
        // A later `*/` makes a comment of the path's end, in the grammar's own words.
        if !written.contains("*/") {
            let again: Route = written.parse().expect("a route reads back");
            assert_eq!(again.source_prefix(), route.source_prefix());
            assert_eq!(again.sink(), route.sink());
        }
        let _ = route.matches("/messages/modules/a/outputs/b/");
    }
    let Ok(Value::Object(object)) = serde_json::from_str(text) else { return };
    if let Ok(config) = AgentConfig::parse(&object) {
        let _ = config.all_modules().count();
    }
    let _ = HubConfig::parse(&object);
    for replacement in plan_apply(&object).unwrap_or_default() {
        let _ = replacement.resulting_desired(&Map::new());
        let _ = replacement.resulting_desired(&object);
    }
});
