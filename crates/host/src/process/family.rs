//! Who descends from whom, from `/proc/<pid>/stat` (proc_pid_stat(5)).

use std::fs;

/// Ancestors looked at; nobody nests processes that deep by honest means.
const GENERATIONS_MAX: usize = 64;

/// Whether `pid` is `root`, is in the session that `root` leads, or has `root`
/// among its ancestors. The caller guarantees that `root` is alive or a zombie.
///
/// A process can leave a session but never join an existing one, so membership
/// proves descent, also for orphans, whose parents `/proc` no longer knows.
pub(super) fn belongs(pid: i32, root: i32) -> bool {
    let mut current = pid;
    for _ in 0..GENERATIONS_MAX {
        if current == root {
            return true;
        }
        let Some(kin) = kin(current) else {
            return false;
        };
        if kin.session == root {
            return true;
        }
        if kin.parent <= 1 {
            return false;
        }
        current = kin.parent;
    }
    false
}

struct Kin {
    parent: i32,
    session: i32,
}

fn kin(pid: i32) -> Option<Kin> {
    if pid <= 0 {
        return None;
    }
    parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// `pid (name) state ppid pgrp session ...`; the name may contain anything, so
/// the fields are counted from its last parenthesis.
fn parse(stat: &str) -> Option<Kin> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(1);
    let parent = fields.next()?.parse().ok()?;
    let session = fields.nth(1)?.parse().ok()?;
    Some(Kin { parent, session })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_forge_fields() {
        let kin = parse("7 (evil) S 1 1 1 (x) R 5 6 42 0").unwrap();
        assert_eq!((kin.parent, kin.session), (5, 42));
        assert!(parse("7 (broken").is_none());
    }

    #[test]
    fn we_do_not_belong_to_strangers() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(belongs(own, own));
        assert!(!belongs(1, own));
        assert!(!belongs(0, own) && !belongs(-1, own));
    }
}
