//! The file; identities themselves are tested against a hub in `tests/daemon/identities.rs`.

use super::*;

fn backup() -> Backup {
    let known = |generation: &str, managed_by: Option<&str>| Known {
        generation: GenerationId::from_text(generation),
        managed_by: managed_by.map(str::to_owned),
    };
    Backup {
        modules: [
            (ModuleId::edge_agent(), known("638", None)),
            ("sensor".parse().unwrap(), known("7", Some("IotEdge"))),
        ]
        .into(),
        is_complete: true,
    }
}

#[test]
fn what_is_known_survives_and_belongs_to_one_device_of_one_hub() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("modules.json");
    let device: DeviceId = "edge1".parse().unwrap();
    assert_eq!(Backup::read(&file, "hub.test", &device).unwrap(), Backup::default());
    backup().write(&file, "hub.test", &device).unwrap();
    assert_eq!(Backup::read(&file, "HUB.test", &device).unwrap(), backup());
    assert_eq!(Backup::read(&file, "other.test", &device).unwrap(), Backup::default());
    assert_eq!(
        Backup::read(&file, "hub.test", &"edge2".parse().unwrap()).unwrap(),
        Backup::default()
    );
}

/// Written by the first version; must be read for ever.
const FIRST_FORMAT: &str = r#"{"version":1,"hub":"hub.test","device":"edge1","complete":true,"modules":[
    {"id":"$edgeAgent","generation":"638","managed_by":null},
    {"id":"sensor","generation":"7","managed_by":"IotEdge"},
    {"id":"bad","generation":"a:b","managed_by":null},
    {"id":"a/b","generation":"1","managed_by":null}]}"#;

#[test]
fn the_first_format_is_read_a_newer_one_refused_and_damage_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("modules.json");
    let device: DeviceId = "edge1".parse().unwrap();
    let read = |text: &str| {
        host::fs::write_atomic(&file, text.as_bytes(), 0o600).unwrap();
        Backup::read(&file, "hub.test", &device)
    };
    assert_eq!(read(FIRST_FORMAT).unwrap(), backup());
    let newer = FIRST_FORMAT.replace("\"version\":1", "\"version\":2");
    assert!(matches!(read(&newer), Err(BackupError::Newer { version: 2, .. })));
    assert_eq!(read(&FIRST_FORMAT[..50]).unwrap(), Backup::default());
}

#[test]
fn a_generation_never_holds_what_keys_are_joined_by() {
    for good in ["638123456789012345", "1", "abc1"] {
        assert!(is_generation(good));
    }
    for bad in ["", "1:2", "1 ", "ü", &"1".repeat(65)] {
        assert!(!is_generation(bad), "{bad}");
    }
}
