//! Unix sockets: listening at a path, connecting, and the peer's credentials.

use std::ffi::{c_int, c_void};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::net::sockopt;
use tokio::net::UnixStream;

use super::{NetError, rest_after};

/// A listening unix socket; its path is removed when it is dropped.
#[derive(Debug)]
pub struct UnixListener {
    inner: tokio::net::UnixListener,
    path: PathBuf,
}

/// Listens at `path` with the permission bits `mode`, which hold from the
/// first moment that the path is there.
///
/// A socket left over by a process that is gone is replaced, and so is an empty
/// directory (Docker creates one when it is told to mount a path that is
/// missing). A socket that still answers, and any other file, is left alone.
pub fn listen_unix(path: &Path, mode: u32) -> Result<UnixListener, NetError> {
    let open = || -> io::Result<UnixListener> {
        clear_way(path)?;
        // Bound under another name first: permissions can only be set after
        // binding, and a peer must not slip in between.
        let temporary = temporary_name(path);
        match std::fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let inner = tokio::net::UnixListener::bind(&temporary)?;
        std::fs::set_permissions(&temporary, std::fs::Permissions::from_mode(mode))?;
        std::fs::rename(&temporary, path)?;
        Ok(UnixListener { inner, path: path.to_owned() })
    };
    open().map_err(|source| NetError::Listen { address: path.display().to_string(), source })
}

fn clear_way(path: &Path) -> io::Result<()> {
    let kind = match std::fs::symlink_metadata(path) {
        Ok(metadata) => metadata.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if kind.is_dir() {
        return std::fs::remove_dir(path);
    }
    if !kind.is_socket() {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "another kind of file is in the way; move it away",
        ));
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => Err(io::ErrorKind::AddrInUse.into()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path)
        }
        Err(error) => Err(error),
    }
}

/// One byte longer than the path, because a socket's path may have 107 at most.
fn temporary_name(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("~");
    name.into()
}

impl UnixListener {
    /// The next connection; see [`super::TcpListener::accept`] about errors.
    pub async fn accept(&self) -> UnixStream {
        loop {
            match self.inner.accept().await {
                Ok((stream, _)) => return stream,
                Err(error) => rest_after(&error).await,
            }
        }
    }

    /// Where it listens.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for UnixListener {
    fn drop(&mut self) {
        // A leftover is replaced at the next start.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Connects to the socket at `path` within `limit`.
pub async fn connect_unix(path: &Path, limit: Duration) -> Result<UnixStream, NetError> {
    let peer = || path.display().to_string();
    match tokio::time::timeout(limit, UnixStream::connect(path)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(source)) => Err(NetError::Connect { peer: peer(), source }),
        Err(_) => Err(NetError::Deadline { peer: peer(), limit }),
    }
}

/// Who is at the other end of a unix socket, as the kernel recorded it when the
/// connection was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerCredentials {
    /// The process; 0 when it is not visible in our pid namespace.
    pub pid: i32,
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

/// The peer's credentials. Whether its process is a child of ours is told by
/// [`crate::process::Child::is_self_or_descendant`].
pub fn peer_credentials(stream: &UnixStream) -> io::Result<PeerCredentials> {
    let credentials = sockopt::socket_peercred(stream)?;
    Ok(PeerCredentials {
        pid: credentials.pid.as_raw_pid(),
        uid: credentials.uid.as_raw(),
        gid: credentials.gid.as_raw(),
    })
}

/// A handle on the very process that connected, however late this is asked: its number may be
/// another's by then. `None` on kernels before 6.5, which don't tell; an error when the process is gone.
#[expect(unsafe_code, reason = "a socket option that rustix has no wrapper for")]
pub fn peer_process(stream: &UnixStream) -> io::Result<Option<OwnedFd>> {
    let mut pidfd: c_int = -1;
    let mut length = size_of::<c_int>() as u32;
    // SAFETY: the option's value is one `int`, for which there is room, and the length says so; the
    // socket is open for the call.
    let result = unsafe {
        getsockopt(
            stream.as_raw_fd(),
            SOL_SOCKET,
            SO_PEERPIDFD,
            (&raw mut pidfd).cast::<c_void>(),
            &raw mut length,
        )
    };
    if result == 0 && pidfd >= 0 {
        // SAFETY: the kernel made this descriptor for us alone.
        return Ok(Some(unsafe { OwnedFd::from_raw_fd(pidfd) }));
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(ENOPROTOOPT) => Ok(None),
        _ => Err(error),
    }
}

#[expect(unsafe_code, reason = "the C library's own function")]
unsafe extern "C" {
    fn getsockopt(
        socket: c_int,
        level: c_int,
        name: c_int,
        value: *mut c_void,
        length: *mut u32,
    ) -> c_int;
}

// Linux `include/uapi/asm-generic/socket.h` and `errno.h`; the same on all machines that we know.
const SOL_SOCKET: c_int = 1;
const SO_PEERPIDFD: c_int = 77;
const ENOPROTOOPT: c_int = 92;
