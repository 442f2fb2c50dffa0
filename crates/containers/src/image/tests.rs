use std::io::{Read, Write};

use tempfile::NamedTempFile;

use super::*;

/// The smallest thing that counts as an amd64 program here.
fn binary(filler: u8) -> Vec<u8> {
    let mut bytes = vec![filler; 200_000];
    bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
    bytes[18..20].copy_from_slice(&[0x3e, 0]);
    bytes
}

/// A program on the disk.
fn program(bytes: &[u8]) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    file
}

/// An image and the program that it is read from.
struct Built {
    image: BuiltImage,
    program: NamedTempFile,
}

fn image(filler: u8, config: &ImageConfig) -> Built {
    let program = program(&binary(filler));
    Built { image: assemble(&reference(), program.path(), config).unwrap(), program }
}

fn bytes(built: &Built) -> Vec<u8> {
    let mut all = Vec::new();
    let image = &built.image;
    image
        .write(|piece| {
            all.extend_from_slice(&piece);
            true
        })
        .unwrap();
    all
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
    let built = image(7, &config);
    let outer = entries(&bytes(&built));
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
    assert_eq!(image_json["config"]["Labels"][LABEL_CONTENT], built.image.content());

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
    let (first, again) = (image(7, &config), image(7, &config));
    assert_eq!(bytes(&first), bytes(&again));

    let other_binary = image(8, &config);
    let other_config = image(7, &ImageConfig { user: "1".into(), ..Default::default() });
    assert_ne!(first.image.content(), other_binary.image.content());
    assert_ne!(first.image.content(), other_config.image.content());
}

#[test]
fn a_program_that_changes_meanwhile_is_noticed() {
    let built = image(7, &ImageConfig::default());
    for changed in [&binary(7)[1..], &[binary(7), vec![0]].concat()] {
        host::fs::write_atomic(built.program.path(), changed, 0o755).unwrap();
        let error = built.image.write(|_| true).unwrap_err();
        assert!(error.to_string().contains("changed while an image was made"), "{error}");
    }
}

#[test]
fn what_cannot_become_an_image_is_refused() {
    let check =
        |reference: &ImageReference, binary: &'static [u8], config: &ImageConfig, what: &str| {
            let program = program(binary);
            let error = assemble(reference, program.path(), config).err().unwrap().to_string();
            assert!(error.contains(what), "{error}");
        };
    let config = ImageConfig::default();
    check(&reference(), b"#!/bin/sh", &config, "not an ELF binary");
    check(&reference(), b"\x7fELF", &config, "architecture");
    let pinned = format!("a@sha256:{}", "0".repeat(64)).parse().unwrap();
    check(&pinned, b"", &config, "give it a tag");
    let climbing = Directory { path: "/a/../../b".into(), mode: 0o755, owner: 0 };
    let climbing = ImageConfig { directories: vec![climbing], ..config };
    let program = program(&binary(1));
    let error = assemble(&reference(), program.path(), &climbing).err().unwrap().to_string();
    assert!(error.contains("not a plain path"), "{error}");
}
