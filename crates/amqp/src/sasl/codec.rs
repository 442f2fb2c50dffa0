//! SASL frames' bodies as bytes.

use bytes::{Bytes, BytesMut};

use super::{Init, Outcome, SaslFrame};
use crate::codec::format::descriptor;
use crate::codec::writer::{self, composite, optional};
use crate::codec::{DecodeError, Fields, Limits, Reader};

impl SaslFrame {
    /// Reads the body of a SASL frame.
    pub fn decode(body: &Bytes, limits: &Limits) -> Result<SaslFrame, DecodeError> {
        let mut reader = Reader::new(body, limits);
        let frame = decode(&mut reader)?;
        reader.finish()?;
        Ok(frame)
    }

    /// Writes the body of a SASL frame, without a frame around it.
    pub fn encode(&self, output: &mut BytesMut) {
        match self {
            SaslFrame::Mechanisms(mechanisms) => {
                composite(output, descriptor::MECHANISMS, 1, |output| {
                    writer::symbols(output, mechanisms);
                });
            }
            SaslFrame::Init(init) => composite(output, descriptor::INIT, 3, |output| {
                writer::symbol(output, &init.mechanism);
                optional(output, init.initial_response.as_deref(), writer::binary);
                optional(output, init.hostname.as_deref(), writer::string);
            }),
            SaslFrame::Challenge(challenge) => {
                composite(output, descriptor::CHALLENGE, 1, |output| {
                    writer::binary(output, challenge);
                });
            }
            SaslFrame::Response(response) => composite(output, descriptor::RESPONSE, 1, |output| {
                writer::binary(output, response);
            }),
            SaslFrame::Outcome { code, additional_data } => {
                composite(output, descriptor::OUTCOME, 2, |output| {
                    writer::ubyte(output, code.number());
                    optional(output, additional_data.as_deref(), writer::binary);
                });
            }
        }
    }
}

fn decode(reader: &mut Reader<'_>) -> Result<SaslFrame, DecodeError> {
    const EXPECTED: &str = "sasl frame";
    match reader.descriptor(EXPECTED)? {
        descriptor::MECHANISMS => {
            let mut fields = Fields::enter(reader, "sasl-mechanisms", 1)?;
            const FIELD: &str = "sasl-server-mechanisms";
            let mechanisms = fields.required(FIELD, Reader::symbols)?;
            fields.leave()?;
            // An array of none means the same as null. Part 1 §1.4
            if mechanisms.is_empty() {
                return Err(DecodeError::MissingField { field: FIELD });
            }
            Ok(SaslFrame::Mechanisms(mechanisms))
        }
        descriptor::INIT => {
            let mut fields = Fields::enter(reader, "sasl-init", 3)?;
            let init = Init {
                mechanism: fields.required("mechanism", Reader::symbol)?,
                initial_response: fields.optional("initial-response", Reader::binary)?,
                hostname: fields.optional("hostname", Reader::string)?,
            };
            fields.leave()?;
            Ok(SaslFrame::Init(init))
        }
        descriptor::CHALLENGE => {
            let mut fields = Fields::enter(reader, "sasl-challenge", 1)?;
            let challenge = fields.required("challenge", Reader::binary)?;
            fields.leave()?;
            Ok(SaslFrame::Challenge(challenge))
        }
        descriptor::RESPONSE => {
            let mut fields = Fields::enter(reader, "sasl-response", 1)?;
            let response = fields.required("response", Reader::binary)?;
            fields.leave()?;
            Ok(SaslFrame::Response(response))
        }
        descriptor::OUTCOME => {
            let mut fields = Fields::enter(reader, "sasl-outcome", 2)?;
            let code = fields.required("code", outcome)?;
            let additional_data = fields.optional("additional-data", Reader::binary)?;
            fields.leave()?;
            Ok(SaslFrame::Outcome { code, additional_data })
        }
        other => Err(DecodeError::UnknownDescriptor {
            expected: EXPECTED,
            descriptor: format!("{other:#04x}"),
        }),
    }
}

fn outcome(reader: &mut Reader<'_>) -> Result<Outcome, DecodeError> {
    match reader.ubyte()? {
        0 => Ok(Outcome::Ok),
        1 => Ok(Outcome::Auth),
        2 => Ok(Outcome::Sys),
        3 => Ok(Outcome::SysPerm),
        4 => Ok(Outcome::SysTemp),
        other => Err(DecodeError::WrongValue { field: "code", value: u64::from(other) }),
    }
}

impl Outcome {
    fn number(self) -> u8 {
        match self {
            Outcome::Ok => 0,
            Outcome::Auth => 1,
            Outcome::Sys => 2,
            Outcome::SysPerm => 3,
            Outcome::SysTemp => 4,
        }
    }
}
