"""A container image with this Python, the device SDK and one program, made without a registry.

The interpreter that runs the tests is taken as it stands: its binary, its library and every shared
object that they need, at the paths where they are; the loader finds them there. Kept as a tar file
in `target/`, by the digest of everything that goes in."""

import hashlib
import io
import subprocess
import sys
import sysconfig
import tarfile
from importlib import metadata
from pathlib import Path

from harness.program import TARGET

REPOSITORY = "farshore-test/python-module"
# Where the program and the packages are in the image.
APP = "/app"
# Parts of the library that no module needs.
LEFT_OUT = {"test", "tests", "idlelib", "tkinter", "turtledemo", "lib2to3", "ensurepip", "__pycache__", "site-packages", "dist-packages"}
FILES = {
    "etc/passwd": "root:x:0:0:root:/:/bin/false\nmodule:x:1000:1000::/:/bin/false\n",
    "etc/group": "root:x:0:\nmodule:x:1000:\n",
    "etc/nsswitch.conf": "hosts: files dns\n",
}


def ensure(program):
    """Gives the reference of an image that runs this program; makes it if the engine lacks it."""
    program = Path(program)
    digest = _digest(program)
    reference = f"{REPOSITORY}:{digest}"
    if subprocess.run(["docker", "image", "inspect", reference], capture_output=True).returncode == 0:
        return reference
    tar = TARGET / f"python-module-{digest}.tar"
    if not tar.exists():
        for old in TARGET.glob("python-module-*.tar"):
            old.unlink()
        partial = tar.with_suffix(".partial")
        _write(partial, program)
        partial.rename(tar)
    command = [
        "docker", "import",
        "--change", f"ENV PYTHONPATH={APP}/packages PYTHONDONTWRITEBYTECODE=1",
        "--change", f'ENTRYPOINT ["{_interpreter()}", "-s", "{APP}/{program.name}"]',
        "--change", "USER 1000:1000",
        str(tar), reference,
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    return reference


def _digest(program):
    parts = [sys.version, str(_interpreter()), program.read_text(), Path(__file__).read_text()]
    parts += [f"{name}=={metadata.version(name)}" for name in sorted(_packages())]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _interpreter():
    return Path(sys.executable).resolve()


def _library():
    return Path(sysconfig.get_path("stdlib", vars={"base": sys.base_prefix, "installed_base": sys.base_prefix}))


def _packages(name="azure-iot-device", found=None):
    """The SDK and all that it requires."""
    found = set() if found is None else found
    if name.lower() in found:
        return found
    found.add(name.lower())
    for requirement in metadata.requires(name) or []:
        text, _, marker = requirement.partition(";")
        if "extra ==" in marker:
            continue
        required = text.strip()
        for end in "<>=!~[( ":
            required = required.split(end)[0]
        try:
            metadata.version(required)
        except metadata.PackageNotFoundError:
            continue  # For another platform or an older Python.
        _packages(required, found)
    return found


def _write(path, program):
    objects = [_interpreter()]
    with tarfile.open(path, "w", dereference=False) as tar:
        _add_file(tar, _interpreter(), str(_interpreter()))
        library = _library()
        for file in _files(library):
            _add_file(tar, file, str(file))
            if ".so" in file.suffixes:
                objects.append(file)
        for name in _packages():
            distribution = metadata.distribution(name)
            for entry in distribution.files or []:
                file = Path(distribution.locate_file(entry))
                if ".." in entry.parts or "__pycache__" in entry.parts or not file.is_file():
                    continue
                _add_file(tar, file, f"{APP}/packages/{entry}")
                if ".so" in file.suffixes:
                    objects.append(file)
        for needed in _shared_objects(objects):
            _add_file(tar, needed.resolve(), str(needed))
        _add_file(tar, program, f"{APP}/{program.name}")
        for name, text in FILES.items():
            info = tarfile.TarInfo(name)
            info.size = len(text)
            info.mode = 0o644
            tar.addfile(info, io.BytesIO(text.encode()))
        # Every directory on the way to the interpreter must be open to its user.
        for directory in sorted({str(parent) for parent in _interpreter().parents} | {"/tmp"}):
            info = tarfile.TarInfo(directory.lstrip("/") or ".")
            info.type = tarfile.DIRTYPE
            info.mode = 0o1777 if directory == "/tmp" else 0o755
            tar.addfile(info)


def _files(directory):
    for file in sorted(directory.iterdir()):
        if file.name in LEFT_OUT or file.name.startswith("config-"):
            continue
        if file.is_dir():
            yield from _files(file)
        elif file.is_file():
            yield file


def _add_file(tar, source, name):
    info = tarfile.TarInfo(name.lstrip("/"))
    data = source.read_bytes()
    info.size = len(data)
    info.mode = 0o755 if source.stat().st_mode & 0o111 else 0o644
    tar.addfile(info, io.BytesIO(data))


def _shared_objects(objects):
    """What the loader would load for these, with the loader itself."""
    found = {}
    output = subprocess.run(["ldd", *map(str, objects)], capture_output=True, text=True).stdout
    for line in output.splitlines():
        words = line.split()
        paths = [word for word in words if word.startswith("/") and not word.endswith(":")]
        for path in paths:
            found[path] = Path(path)
    return found.values()
