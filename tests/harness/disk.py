"""A disk that is easily filled."""

import contextlib
import subprocess

# Room for a few segments of the journal (64 MiB each).
SIZE = "256m"


@contextlib.contextmanager
def small_disk(parent):
    """A file system in memory, below `parent`."""
    path = parent / "small"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=0755", "tmpfs", str(path)], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)
