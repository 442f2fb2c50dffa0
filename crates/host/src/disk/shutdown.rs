//! The power cut of a whole filesystem, for crash tests: the shutdown ioctl that
//! ext4, xfs and f2fs share (`FS_IOC_SHUTDOWN`, 0x8004587D; linux
//! `include/uapi/linux/fs.h`, flags in `fs/ext4/ext4.h` and `fs/xfs/xfs_fs.h`).
//!
//! Needs CAP_SYS_ADMIN. Only ever meant for a loop-mounted image of the test's own.

use std::io;
use std::path::Path;

use rustix::ioctl::{Setter, ioctl, opcode};

/// Stops the filesystem that holds `mount_point` as a power cut would: nothing
/// that is only in memory reaches the disk, the filesystem's own log included.
#[expect(unsafe_code, reason = "an ioctl that rustix has no wrapper for; used by crash tests")]
pub fn shut_filesystem_down(mount_point: &Path) -> io::Result<()> {
    let fd = super::open_dir(mount_point)?;
    // SAFETY: FS_IOC_SHUTDOWN reads one `__u32` through the pointer that
    // `Setter` passes and writes nothing; the opcode is built from that type,
    // and `fd` is open for the call.
    unsafe {
        ioctl(&fd, Setter::<{ opcode::read::<u32>(b'X', 125) }, u32>::new(WITHOUT_LOG_FLUSH))?;
    }
    Ok(())
}

/// `EXT4_GOING_FLAGS_NOLOGFLUSH`, `XFS_FSOP_GOING_FLAGS_NOLOGFLUSH`.
const WITHOUT_LOG_FLUSH: u32 = 2;
