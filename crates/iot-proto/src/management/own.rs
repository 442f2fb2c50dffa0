//! Bodies of what the management API has beyond the original: pulls under way, and volumes.

use serde::{Deserialize, Serialize};

/// What `GET /pulls` answers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pulls {
    /// The pulls under way.
    pub pulls: Vec<Pull>,
}

/// A pull under way, as far as the engine tells how far it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pull {
    /// The image.
    pub image: String,
    /// The modules that wait for it.
    pub modules: Vec<String>,
    /// Layers of the image, as far as known.
    pub layers: u64,
    /// Of those, here and unpacked.
    pub layers_done: u64,
    /// Bytes to download, as far as known.
    pub bytes: u64,
    /// Of those, downloaded.
    pub bytes_done: u64,
}

impl Pull {
    /// How far it is, for people: `12.3 of 45.6 MB, 3 of 7 layers`; nothing before anything is known.
    pub fn progress(&self) -> Option<String> {
        if self.layers == 0 {
            return None;
        }
        let layers = format!("{} of {} layers", self.layers_done, self.layers);
        if self.bytes == 0 {
            return Some(layers);
        }
        // Tenths of a megabyte.
        let tenths = |bytes: u64| format!("{}.{}", bytes / 1_000_000, bytes / 100_000 % 10);
        Some(format!("{} of {} MB, {layers}", tenths(self.bytes_done), tenths(self.bytes)))
    }
}

/// What `GET /volumes` and `POST /volumes/prune` answer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volumes {
    /// Volumes that this runtime made; of a pruning, those that went or would go.
    pub volumes: Vec<Volume>,
}

/// A named volume that this runtime made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Volume {
    /// Its name.
    pub name: String,
    /// The module for which it was made.
    pub module: String,
    /// Why it stays, or that nothing needs it.
    pub r#use: VolumeUse,
    /// What it holds, where the engine tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<u64>,
}

/// Who needs a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VolumeUse {
    /// A container, running or not.
    Container,
    /// The deployment in force, or the last good one.
    Deployment,
    /// The edge hub, whose messages may lie in it.
    EdgeHub,
    /// Nobody.
    Nothing,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_reads_well() {
        let pull = |layers, layers_done, bytes, bytes_done| {
            Pull { layers, layers_done, bytes, bytes_done, ..Pull::default() }.progress()
        };
        assert_eq!(pull(0, 0, 0, 0), None);
        assert_eq!(pull(3, 1, 0, 0).unwrap(), "1 of 3 layers");
        let expected = "12.3 of 1045.0 MB, 2 of 7 layers";
        assert_eq!(pull(7, 2, 1_045_000_000, 12_345_678).unwrap(), expected);
    }

    #[test]
    fn volumes_are_spelled_for_scripts() {
        let volume = Volume {
            name: "data".into(),
            module: "sensor".into(),
            r#use: VolumeUse::EdgeHub,
            size_bytes: None,
        };
        let text = serde_json::to_string(&volume).unwrap();
        assert_eq!(text, r#"{"name":"data","module":"sensor","use":"edge-hub"}"#);
    }
}
