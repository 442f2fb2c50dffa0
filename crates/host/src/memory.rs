//! Memory that only the start needed.
//!
//! A start walks through settings, stores, certificates and handshakes once, and the kernel maps
//! 64 KiB around every page of the program that was touched: soon nearly all of it is resident,
//! though an idle runtime needs a fraction. Given back, those pages are the first that a small
//! machine can use for something else; what is needed again comes back from the page cache, 64 KiB
//! with each fault.

use std::io;
use std::path::Path;

use rustix::mm::{Advice, madvise};

/// Lets go of the program's code; gives the bytes that were mapped. Costs a few hundred faults over
/// the next seconds, so it is for when a start is over.
#[expect(unsafe_code, reason = "advice that may drop pages is unsafe for memory that is written")]
pub fn give_back_code() -> io::Result<usize> {
    let program = std::fs::read_link("/proc/self/exe")?;
    let mut bytes = 0;
    for (start, length) in code_of(&std::fs::read_to_string("/proc/self/maps")?, &program) {
        // SAFETY: the range is our own program's code, mapped from its file, never writable and
        // (position-independent, without text relocations) never written: the kernel reads the same
        // bytes again when they are next touched.
        unsafe { madvise(start as *mut _, length, Advice::LinuxDontNeed)? };
        bytes += length;
    }
    Ok(bytes)
}

/// The ranges of a process's map that hold the program's code: start and length.
fn code_of(maps: &str, program: &Path) -> Vec<(usize, usize)> {
    let range = |line: &str| {
        // address, permissions, offset, device, inode, path
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let [range, "r-xp", _, _, _, path] = fields[..] else { return None };
        if Path::new(path) != program {
            return None;
        }
        let (start, end) = range.split_once('-')?;
        let start = usize::from_str_radix(start, 16).ok()?;
        Some((start, usize::from_str_radix(end, 16).ok()?.checked_sub(start)?))
    };
    maps.lines().filter_map(range).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_programs_own_code_is_found() {
        let maps = "\
55550000-55560000 r--p 00000000 fe:00 77 /usr/bin/farshore
55560000-55580000 r-xp 00010000 fe:00 77 /usr/bin/farshore
55580000-55590000 r--p 00030000 fe:00 77 /usr/bin/farshore
55590000-555a0000 rw-p 00000000 00:00 0 [heap]
7fff0000-7fff1000 r-xp 00000000 00:00 0 [vdso]
7ffe0000-7ffe1000 rwxp 00000000 fe:00 77 /usr/bin/farshore
";
        assert_eq!(code_of(maps, Path::new("/usr/bin/farshore")), [(0x5556_0000, 0x2_0000)]);
        assert_eq!(code_of(maps, Path::new("/usr/bin/other")), []);
    }

    #[test]
    fn a_program_goes_on_after_its_code_was_given_back() {
        let bytes = give_back_code().unwrap();
        assert!(bytes > 100_000, "{bytes}");
        assert!(give_back_code().unwrap() == bytes);
    }
}
