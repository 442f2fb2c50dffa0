use std::io::Read;

use super::*;

/// The smallest thing that counts as an amd64 program here.
fn binary(filler: u8) -> Bytes {
    let mut bytes = vec![filler; 1000];
    bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
    bytes[18..20].copy_from_slice(&[0x3e, 0]);
    bytes.into()
}

fn reference() -> ImageReference {
    "farshore:test".parse().unwrap()
}

fn entries(archive: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
    let mut archive = tar::Archive::new(archive);
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().to_string_lossy().into_owned();
        let mode = entry.header().mode().unwrap();
        assert_eq!(entry.header().mtime().unwrap(), 0);
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        (path, mode, content)
    });
    entries.collect()
}

#[test]
fn archive_has_manifest_config_and_a_layer_that_fit_together() {
    let config = ImageConfig {
        cmd: vec!["edge-hub".into()],
        env: [("A".to_owned(), "1".to_owned())].into(),
        user: "13623".into(),
        exposed_ports: vec!["8883/tcp".into()],
        directories: vec![Directory { path: "/data/".into(), mode: 0o700, owner: 13623 }],
        ..Default::default()
    };
    let image = assemble(&reference(), binary(7), &config).unwrap();
    let outer = entries(&image.pieces().concat());
    let names: Vec<&str> = outer.iter().map(|(path, ..)| path.as_str()).collect();
    let manifest: Value = serde_json::from_slice(&outer[0].2).unwrap();
    assert_eq!(names, ["manifest.json", manifest[0]["Config"].as_str().unwrap(), "layer.tar"]);
    assert_eq!(manifest[0]["RepoTags"], json!(["farshore:test"]));

    let image_json: Value = serde_json::from_slice(&outer[1].2).unwrap();
    assert_eq!(names[1], format!("{}.json", hex(digest(&SHA256, &outer[1].2).as_ref())));
    let diff_id = format!("sha256:{}", hex(digest(&SHA256, &outer[2].2).as_ref()));
    assert_eq!(image_json["rootfs"]["diff_ids"], json!([diff_id]));
    assert_eq!(image_json["architecture"], "amd64");
    assert_eq!(image_json["config"]["Entrypoint"], json!(["/farshore"]));
    assert_eq!(image_json["config"]["ExposedPorts"], json!({ "8883/tcp": {} }));
    assert_eq!(image_json["config"]["Labels"][LABEL_CONTENT], image.content());

    let layer = entries(&outer[2].2);
    let find = |name: &str| layer.iter().find(|(path, ..)| path == name).unwrap();
    assert_eq!(find("farshore").2, binary(7));
    assert_eq!(find("farshore").1, 0o755);
    assert_eq!(find("tmp").1, 0o1777);
    assert_eq!(find("data").1, 0o700);
}

#[test]
fn same_input_gives_same_bytes_and_any_change_another_content() {
    let config = ImageConfig::default();
    let first = assemble(&reference(), binary(7), &config).unwrap();
    let again = assemble(&reference(), binary(7), &config).unwrap();
    assert_eq!(first.pieces().concat(), again.pieces().concat());

    let other_binary = assemble(&reference(), binary(8), &config).unwrap();
    let other_config =
        assemble(&reference(), binary(7), &ImageConfig { user: "1".into(), ..Default::default() })
            .unwrap();
    assert_ne!(first.content(), other_binary.content());
    assert_ne!(first.content(), other_config.content());
}

#[test]
fn what_cannot_become_an_image_is_refused() {
    let check =
        |reference: &ImageReference, binary: &'static [u8], config: &ImageConfig, what: &str| {
            let error =
                assemble(reference, Bytes::from_static(binary), config).err().unwrap().to_string();
            assert!(error.contains(what), "{error}");
        };
    let config = ImageConfig::default();
    check(&reference(), b"#!/bin/sh", &config, "not an ELF binary");
    check(&reference(), b"\x7fELF", &config, "architecture");
    let pinned = format!("a@sha256:{}", "0".repeat(64)).parse().unwrap();
    check(&pinned, b"", &config, "give it a tag");
    let climbing = Directory { path: "/a/../../b".into(), mode: 0o755, owner: 0 };
    let climbing = ImageConfig { directories: vec![climbing], ..config };
    let error = assemble(&reference(), binary(1), &climbing).err().unwrap().to_string();
    assert!(error.contains("not a plain path"), "{error}");
}
