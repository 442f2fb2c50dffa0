//! Asking before something is lost.

use std::io::{BufRead, IsTerminal, Write};

use crate::commands::{FAILED, Failure, USAGE};

/// The option that answers the question beforehand.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Yes {
    /// Do it without asking
    #[arg(long)]
    yes: bool,
}

impl Yes {
    /// Goes on if `--yes` was given or whoever sits at the terminal says so; `what` tells what is
    /// lost, such as `delete device d and its modules`.
    pub(crate) fn confirm(self, what: &str) -> Result<(), Failure> {
        if self.yes {
            return Ok(());
        }
        let stdin = std::io::stdin();
        if !stdin.is_terminal() || !std::io::stderr().is_terminal() {
            return Err(Failure::new(USAGE, format!("this would {what}; add --yes to do it")));
        }
        let mut stderr = std::io::stderr();
        write!(stderr, "This will {what}. Go on? [y/N] ")?;
        stderr.flush()?;
        let mut answer = String::new();
        stdin.lock().read_line(&mut answer)?;
        match answer.trim().to_ascii_lowercase().as_str() {
            "y" | "yes" => Ok(()),
            _ => Err(Failure::new(FAILED, "nothing was changed")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tests have no terminal, as scripts don't.
    #[test]
    fn off_a_terminal_only_the_flag_confirms() {
        assert!(Yes { yes: true }.confirm("delete all").is_ok());
        if std::io::stdin().is_terminal() && std::io::stderr().is_terminal() {
            return;
        }
        let refused = Yes { yes: false }.confirm("delete all").unwrap_err();
        assert_eq!(refused.code(), USAGE);
        assert!(refused.message().unwrap().contains("--yes"));
    }
}
