//! From what an engine says while it pulls to how far the pull is. Pure.
//!
//! An engine tells each layer's state in words (`Downloading`, `Extracting`, `Pull complete` …), with
//! bytes while they flow. Words that we do not know change nothing.

use std::collections::BTreeMap;

use bollard::models::CreateImageInfo;

use crate::PullProgress;

/// The layers of a pull.
#[derive(Debug, Default)]
pub(super) struct Layers(BTreeMap<String, Layer>);

#[derive(Debug, Default)]
struct Layer {
    is_done: bool,
    bytes: u64,
    bytes_done: u64,
}

impl Layers {
    /// Takes in what the engine says; how far it is now.
    pub(super) fn take(&mut self, step: &CreateImageInfo) -> PullProgress {
        if let (Some(id), Some(status)) = (&step.id, &step.status) {
            self.note(id, status, step);
        }
        self.sum()
    }

    fn note(&mut self, id: &str, status: &str, step: &CreateImageInfo) {
        // What is said of the image as a whole bears its tag as id.
        let is_layer = LAYER_WORDS.iter().any(|word| status.starts_with(word));
        if !is_layer || (self.0.len() >= LAYERS_MAX && !self.0.contains_key(id)) {
            return;
        }
        let layer = self.0.entry(id.to_owned()).or_default();
        let detail = step.progress_detail.as_ref();
        let bytes = |number: Option<i64>| number.and_then(|number| u64::try_from(number).ok());
        match status {
            "Downloading" => {
                if let Some(total) = bytes(detail.and_then(|detail| detail.total)) {
                    layer.bytes = layer.bytes.max(total);
                }
                if let Some(current) = bytes(detail.and_then(|detail| detail.current)) {
                    layer.bytes_done = current;
                    layer.bytes = layer.bytes.max(current);
                }
            }
            "Pull complete" | "Already exists" => {
                (layer.is_done, layer.bytes_done) = (true, layer.bytes);
            }
            "Verifying Checksum" | "Download complete" | "Extracting" => {
                layer.bytes_done = layer.bytes;
            }
            _ => {}
        }
    }

    fn sum(&self) -> PullProgress {
        let mut sum = PullProgress::default();
        for layer in self.0.values() {
            sum.layers += 1;
            sum.layers_done += u64::from(layer.is_done);
            sum.bytes = sum.bytes.saturating_add(layer.bytes);
            sum.bytes_done = sum.bytes_done.saturating_add(layer.bytes_done);
        }
        sum
    }
}

/// How an engine begins what it says of a layer.
const LAYER_WORDS: [&str; 9] = [
    "Pulling fs layer",
    "Waiting",
    "Retrying",
    "Downloading",
    "Verifying Checksum",
    "Download complete",
    "Extracting",
    "Pull complete",
    "Already exists",
];

/// Engines refuse images with more than 127 layers; with some room.
const LAYERS_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_add_up_from_the_engines_words() {
        let mut layers = Layers::default();
        for (id, status, current, total, expected) in [
            ("1.5", "Pulling from sensor", None, None, [0, 0, 0, 0]),
            ("a", "Pulling fs layer", None, None, [1, 0, 0, 0]),
            ("b", "Already exists", None, None, [2, 1, 0, 0]),
            ("c", "Waiting", None, None, [3, 1, 0, 0]),
            ("a", "Downloading", Some(10), Some(100), [3, 1, 100, 10]),
            ("c", "Downloading", Some(5), None, [3, 1, 105, 15]),
            ("c", "Downloading", Some(-5), Some(-1), [3, 1, 105, 15]),
            ("a", "Retrying in 5 seconds", None, None, [3, 1, 105, 15]),
            ("a", "Downloading", Some(2), Some(100), [3, 1, 105, 7]),
            ("a", "Download complete", None, None, [3, 1, 105, 105]),
            ("a", "Extracting", Some(3), Some(100), [3, 1, 105, 105]),
            ("a", "Pull complete", None, None, [3, 2, 105, 105]),
            ("c", "Pull complete", None, None, [3, 3, 105, 105]),
            ("sha256:1", "something else", Some(1), Some(2), [3, 3, 105, 105]),
        ] {
            let step = serde_json::json!({
                "id": id, "status": status,
                "progressDetail": { "current": current, "total": total },
            });
            let got = layers.take(&serde_json::from_value(step).unwrap());
            let got = [got.layers, got.layers_done, got.bytes, got.bytes_done];
            assert_eq!(got, expected, "{id} {status}");
        }
    }

    #[test]
    fn an_engine_that_invents_layers_fills_no_memory() {
        let mut layers = Layers::default();
        for number in 0..10_000 {
            let step = serde_json::json!({ "id": number.to_string(), "status": "Waiting" });
            layers.take(&serde_json::from_value(step).unwrap());
        }
        assert_eq!(layers.sum().layers, 256);
    }
}
