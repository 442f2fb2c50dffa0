//! The daemon's place for an edge hub that is measured alone: a workload API that signs with its
//! key and gives it the hub's own certificate. It costs next to nothing, so that a cold start is the
//! edge hub's.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use iot_proto::connection_string::SharedKey;
use serde_json::{Value, json};

use crate::bench::Problem;

/// What it answers with.
struct Secrets {
    key: Vec<u8>,
    certificate: String,
    private_key: String,
    authority: String,
}

/// Serves at a socket until the process ends. `hub` is the data directory of a hub of ours, whose
/// certificate carries the name `localhost`.
pub(super) fn serve(socket: &Path, key: &SharedKey, hub: &Path) -> Result<(), Problem> {
    let read = |name: &str| std::fs::read_to_string(hub.join(name));
    let secrets = Arc::new(Secrets {
        key: key.decode()?,
        certificate: read("server.pem")?,
        private_key: read("server.key")?,
        authority: read("ca.pem")?,
    });
    let listener = UnixListener::bind(socket)?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let secrets = Arc::clone(&secrets);
            // Whoever hangs up has what it wanted.
            std::thread::spawn(move || drop(converse(stream, &secrets)));
        }
    });
    Ok(())
}

fn converse(mut stream: UnixStream, secrets: &Secrets) -> Result<(), Problem> {
    let mut reader = BufReader::new(stream.try_clone()?);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let path = line.split_whitespace().nth(1).unwrap_or_default().to_owned();
        let mut length = 0;
        loop {
            let mut header = String::new();
            reader.read_line(&mut header)?;
            let Some((name, value)) = header.trim().split_once(':') else { break };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse()?;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let text = answer(&path, &body, secrets)?.to_string();
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{text}",
            text.len()
        )?;
    }
}

fn answer(path: &str, body: &Value, secrets: &Secrets) -> Result<Value, Problem> {
    let path = path.split('?').next().unwrap_or_default();
    let last = path.rsplit('/').next().unwrap_or_default();
    let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    Ok(match last {
        "sign" => {
            let key = hmac::Key::new(hmac::HMAC_SHA256, &secrets.key);
            let data = STANDARD.decode(text("data"))?;
            json!({ "digest": STANDARD.encode(hmac::sign(&key, &data)) })
        }
        // Not a cipher: nothing here is a secret.
        "encrypt" => json!({ "ciphertext": text("plaintext") }),
        "decrypt" => json!({ "plaintext": text("ciphertext") }),
        "server" => json!({
            "privateKey": { "type": "key", "bytes": secrets.private_key },
            "certificate": secrets.certificate,
            "expiration": (jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24)).to_string(),
        }),
        "trust-bundle" => json!({ "certificate": secrets.authority }),
        other => return Err(format!("the edge hub asks for {other}").into()),
    })
}
