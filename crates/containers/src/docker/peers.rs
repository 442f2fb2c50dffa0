//! Which container a process belongs to (`edge-runtime.md` §1.4).
//!
//! The kernel's own answer first: the process' control groups, which no module
//! can forge upwards. Engines that name them otherwise are asked for the list of
//! the container's processes, as the original does.

use std::path::Path;

use bollard::query_parameters::TopOptionsBuilder;

use super::engine::Engine;
use crate::RuntimeError;

/// Whether process `pid` is in the container with this full id.
pub(super) async fn is_in_container(
    engine: &Engine,
    id: &str,
    pid: u32,
) -> Result<bool, RuntimeError> {
    // Unreadable means gone or hidden: then the engine decides.
    let groups =
        host::fs::read_to_string(Path::new(&format!("/proc/{pid}/cgroup"))).unwrap_or_default();
    if container_of(&groups) == Some(id) {
        return Ok(true);
    }
    // Other names, or a daemon that is in a container itself.
    is_listed(engine, id, pid).await
}

async fn is_listed(engine: &Engine, id: &str, pid: u32) -> Result<bool, RuntimeError> {
    // Asked as usual, podman runs `ps` inside of the container and gives the numbers that processes
    // have in there, which on this machine are those of others.
    let (column, options) = match engine.is_podman() {
        true => ("HPID", Some(TopOptionsBuilder::new().ps_args("hpid").build())),
        false => ("PID", None),
    };
    let top =
        engine.docker().top_processes(id, options).await.map_err(|source| engine.error(source));
    let top = match top {
        Ok(top) => top,
        // Not running.
        Err(RuntimeError::Engine { status: 409 | 500, .. }) => return Ok(false),
        Err(error) => return Err(error),
    };
    let titles = top.titles.unwrap_or_default();
    let Some(column) = titles.iter().position(|title| title == column) else {
        return Ok(false);
    };
    let pid = pid.to_string();
    let processes = top.processes.unwrap_or_default();
    Ok(processes.iter().any(|process| process.get(column) == Some(&pid)))
}

/// The container named by the outermost group that names one: `/docker/<id>`,
/// `docker-<id>.scope`, `libpod-<id>.scope`. What is below may have been made by
/// the container itself.
fn container_of(groups: &str) -> Option<&str> {
    let paths = groups.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    paths.flat_map(|path| path.split('/')).find_map(|group| {
        let name = group.strip_suffix(".scope").unwrap_or(group);
        let id = name.rsplit_once('-').map_or(name, |(_, id)| id);
        let is_id =
            id.len() == 64 && id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        is_id.then_some(id)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outermost_container_counts() {
        let (a, b) = ("a".repeat(64), "b".repeat(64));
        for text in [
            format!("9:name=systemd:/docker/{a}\n4:memory:/docker/{a}/x\n"),
            format!("0::/system.slice/docker-{a}.scope\n"),
            format!("0::/machine.slice/libpod-{a}.scope/container\n"),
            format!("0::/docker/{a}/{b}\n"),
        ] {
            assert_eq!(container_of(&text), Some(a.as_str()), "{text}");
        }
        assert_eq!(container_of("0::/user.slice/session-1.scope\n"), None);
        assert_eq!(container_of(""), None);
    }
}
