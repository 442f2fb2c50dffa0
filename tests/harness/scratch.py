"""Directories that last as long as the tests' process, for what needs a short path or many of them.
`FARSHORE_KEEP` keeps them, to look into what a failed test left."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path


def directory(prefix):
    path = Path(tempfile.mkdtemp(prefix=prefix, dir="/tmp"))
    if not os.environ.get("FARSHORE_KEEP"):
        # Before whoever has files there registers its own end: that comes first then.
        atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path
