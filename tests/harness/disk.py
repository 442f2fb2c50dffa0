"""A disk that is easily filled."""

import contextlib
import subprocess

# Room for a few segments of the journal (64 MiB each).
SIZE = "256m"


@contextlib.contextmanager
def small_disk(parent, size=SIZE, name="small"):
    """A file system in memory, below `parent`."""
    path = parent / name
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=0755", "tmpfs", str(path)], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


def fill(directory, name="ballast"):
    """Somebody else takes what is left of the disk; gives the file."""
    ballast = directory / name
    with open(ballast, "wb", buffering=0) as file:
        for piece in (1 << 20, 4096):
            with contextlib.suppress(OSError):
                while True:
                    file.write(b"x" * piece)
    return ballast
