//! What a refusal of the daemon means for whoever typed the command.

use client::edge::EdgeError;
use host::net::NetError;

use crate::commands::{CONFLICT, DENIED, FAILED, Failure, NOT_FOUND, UNREACHABLE, USAGE};
use crate::output::harmless;

/// The failure of a command whose call to the daemon failed: message, causes, exit code.
pub(super) fn failed(error: EdgeError) -> Failure {
    let code = match &error {
        EdgeError::Connect { source, .. } if is_denied(source) => DENIED,
        EdgeError::Connect { .. } | EdgeError::Http { .. } => UNREACHABLE,
        EdgeError::Answer { status: 404, .. } => NOT_FOUND,
        EdgeError::Answer { status: 401 | 403, .. } => DENIED,
        EdgeError::Answer { status: 409 | 412, .. } => CONFLICT,
        EdgeError::Uri(_) => USAGE,
        _ => FAILED,
    };
    Failure::new(code, words(error).join("\n  caused by: "))
}

/// An error and its causes, one text each.
pub(super) fn words(error: impl std::error::Error + 'static) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(cause) = next {
        // The daemon sends the causes of its own errors on lines of their own.
        let text = cause.to_string();
        let lines = text.lines().map(|line| line.trim().trim_start_matches("caused by: "));
        for line in lines.filter(|line| !line.is_empty()) {
            let line = harmless(line).into_owned();
            if words.last() != Some(&line) {
                words.push(line);
            }
        }
        next = cause.source();
    }
    words
}

/// Whether the socket is there but not for this user.
pub(super) fn is_denied(error: &NetError) -> bool {
    match error {
        NetError::Connect { source, .. } => source.kind() == std::io::ErrorKind::PermissionDenied,
        _ => false,
    }
}
