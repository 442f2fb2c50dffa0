//! `farshore certificate`: the authorities whose certificates let devices and modules in. Verbs and
//! options are those of `az iot hub certificate`.

use std::path::PathBuf;

use iot_proto::etag::IfMatch;
use iot_proto::payload::certificate::{CertificateJson, CertificateWrite};
use model::AuthorityName;

use super::confirm::Yes;
use super::connection::Connection;
use super::devices::{shown_time, yes_no};
use super::{failure, input};
use crate::commands::{CONFLICT, Failure, NOT_FOUND};
use crate::output::{Output, Table};

/// Arguments of `farshore certificate`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    output: Output,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Register a certificate authority
    Create(Write),
    /// Give a registered authority another certificate
    Update(Write),
    /// List the registered authorities
    List,
    /// Show an authority
    Show {
        /// Its name
        name: AuthorityName,
    },
    /// Make the code that shows whether somebody holds an authority's key
    GenerateVerificationCode {
        /// Its name
        name: AuthorityName,
    },
    /// Verify an authority by a certificate of its with the code as common name
    Verify {
        /// Its name
        name: AuthorityName,
        /// The file of that certificate, PEM or DER
        #[arg(long, value_name = "FILE")]
        path: PathBuf,
    },
    /// Delete an authority; devices that prove themselves by it are cut off
    Delete {
        /// Its name
        name: AuthorityName,
        #[command(flatten)]
        yes: Yes,
    },
}

#[derive(Debug, clap::Args)]
struct Write {
    /// Its name: up to 64 letters, digits and . - _
    name: AuthorityName,
    /// The file of its certificate, PEM or DER
    #[arg(long, value_name = "FILE")]
    path: PathBuf,
    /// You know who holds its key: no verification is needed
    #[arg(long)]
    verified: bool,
}

pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let client = arguments.connection.hub()?.client;
    let output = arguments.output;
    match arguments.verb {
        Verb::Create(write) => {
            let made = client
                .put_certificate(&write.name, &read(&write)?, &IfMatch::Absent)
                .await
                .map_err(failed)?;
            eprintln!("certificate {} is registered", write.name);
            show_next_step(&made);
            show(output, &made)
        }
        Verb::Update(write) => {
            let found = client.certificate(&write.name).await.map_err(failed)?;
            let demand = IfMatch::Tag(found.etag);
            let changed = client.put_certificate(&write.name, &read(&write)?, &demand).await;
            let changed = changed.map_err(failed)?;
            eprintln!("certificate {} is changed", write.name);
            show_next_step(&changed);
            show(output, &changed)
        }
        Verb::List => list(output, &client.certificates().await.map_err(failed)?),
        Verb::Show { name } => show(output, &client.certificate(&name).await.map_err(failed)?),
        Verb::GenerateVerificationCode { name } => {
            let coded = client.generate_verification_code(&name).await.map_err(failed)?;
            let code = coded.properties.verification_code.as_deref().unwrap_or_default();
            eprintln!(
                "sign a certificate with the common name {code} by {name}'s key, then: \
                 farshore certificate verify {name} --path <file>"
            );
            show(output, &coded)
        }
        Verb::Verify { name, path } => {
            let proof = input::file(&path)?;
            let verified = client.verify_certificate(&name, &proof).await.map_err(failed)?;
            eprintln!("certificate {name} is verified; devices may chain to it");
            show(output, &verified)
        }
        Verb::Delete { name, yes } => {
            yes.confirm(&format!(
                "delete certificate {name} and cut off the devices that prove themselves by it"
            ))?;
            client.delete_certificate(&name, &IfMatch::Any).await.map_err(failed)?;
            eprintln!("certificate {name} is deleted");
            Ok(())
        }
    }
}

fn read(write: &Write) -> Result<CertificateWrite, Failure> {
    Ok(CertificateWrite { certificate: input::file(&write.path)?, is_verified: write.verified })
}

/// Registered is not yet enough.
fn show_next_step(certificate: &CertificateJson) {
    if !certificate.properties.is_verified {
        eprintln!(
            "no device may chain to it yet; show that you hold its key: \
             farshore certificate generate-verification-code {}",
            certificate.name
        );
    }
}

/// A refusal's next step is another for certificates than for devices.
fn failed(error: client::service::RestError) -> Failure {
    let next_step = match error.code_name() {
        Some("GenericNotFound") => (NOT_FOUND, "list them with: farshore certificate list"),
        Some("PreconditionFailed") => {
            (CONFLICT, "to change it: farshore certificate update <name> --path <file>")
        }
        _ => return failure::failed(error),
    };
    let said = failure::plain(&error);
    Failure::new(next_step.0, format!("{said}\n  {}", next_step.1))
}

fn list(output: Output, certificates: &[CertificateJson]) -> Result<(), Failure> {
    output.list(certificates, || {
        let mut table = Table::new(["NAME", "SUBJECT", "EXPIRY", "VERIFIED", "THUMBPRINT"]);
        for certificate in certificates {
            let properties = &certificate.properties;
            table.row([
                &certificate.name,
                &properties.subject,
                &shown_time(&properties.expiry),
                yes_no(properties.is_verified),
                &properties.thumbprint,
            ]);
        }
        table
    })
}

fn show(output: Output, certificate: &CertificateJson) -> Result<(), Failure> {
    output.one(certificate, || {
        let properties = &certificate.properties;
        let mut table = Table::fields();
        table.row(["Certificate", &certificate.name]);
        table.row(["Subject", &properties.subject]);
        table.row(["Expiry", &shown_time(&properties.expiry)]);
        table.row(["Thumbprint", &properties.thumbprint]);
        table.row(["Verified", yes_no(properties.is_verified)]);
        if let Some(code) = &properties.verification_code {
            table.row(["Verification code", code]);
        }
        table.row(["Created", &shown_time(&properties.created)]);
        table.row(["Updated", &shown_time(&properties.updated)]);
        table.row(["Etag", &certificate.etag]);
        table
    })
}
