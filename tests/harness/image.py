"""Container images with this Python or this Node, the device SDK and our programs, made without a registry.

The interpreter is taken as it stands: its binary, its library and every shared object that they need, at
the paths where they are; the loader finds them there. Kept as a tar file in `target/`, by the digest of
everything that goes in. All programs of a folder are in it; images differ in what they start."""

import hashlib
import io
import json
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from importlib import metadata
from pathlib import Path

from harness.program import TARGET

REPOSITORY = "farshore-test"
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
    language = LANGUAGES[program.suffix]
    digest = _digest(language, program)
    reference = f"{REPOSITORY}/{language.name}-{program.stem}:{digest}"
    if subprocess.run(["docker", "image", "inspect", reference], capture_output=True).returncode == 0:
        return reference
    tar = TARGET / f"{language.name}-module-{digest}.tar"
    if not tar.exists():
        for old in TARGET.glob(f"{language.name}-module-*.tar"):
            old.unlink()
        partial = tar.with_suffix(".partial")
        _write(partial, language, program)
        partial.rename(tar)
    command = [
        "docker", "import",
        "--change", f"ENV {language.environment}",
        "--change", f"ENTRYPOINT {json.dumps([*language.command(), f'{APP}/{program.name}'])}",
        "--change", "USER 1000:1000",
        str(tar), reference,
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    return reference


def _digest(language, program):
    parts = [*language.versions(), Path(__file__).read_text()]
    parts += [part for path in _programs(program) for part in (path.name, path.read_text())]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _programs(program):
    """All of its language beside it."""
    return sorted(program.parent.glob(f"*{program.suffix}"))


class Python:
    """The interpreter that runs the tests, with the packages that are installed for it."""

    name = "python"
    environment = f"PYTHONPATH={APP}/packages PYTHONDONTWRITEBYTECODE=1"

    @staticmethod
    def command():
        return [str(_interpreter()), "-s"]

    @staticmethod
    def versions():
        return [sys.version, str(_interpreter()), *(f"{name}=={metadata.version(name)}" for name in sorted(_packages()))]

    @staticmethod
    def files():
        """`(file here, path in the image)` of each."""
        yield _interpreter(), str(_interpreter())
        yield from ((file, str(file)) for file in _files(_library()))
        for name in _packages():
            distribution = metadata.distribution(name)
            for entry in distribution.files or []:
                file = Path(distribution.locate_file(entry))
                if ".." not in entry.parts and "__pycache__" not in entry.parts and file.is_file():
                    yield file, f"{APP}/packages/{entry}"


class Node:
    """The Node that drives the SDK elsewhere, with the SDK that `cargo xtask test` installed."""

    name = "node"
    environment = f"NODE_PATH={APP}/node_modules NODE_NO_WARNINGS=1"
    modules = TARGET / "node/node_modules"
    # Parts of packages that run nowhere.
    left_out = (".map", ".ts", ".md", ".markdown")
    # Debian's Node keeps some of its own library outside of the binary.
    library = Path("/usr/share/nodejs")

    @staticmethod
    def command():
        return [str(Node._binary())]

    @staticmethod
    def _binary():
        return Path(shutil.which("node")).resolve()

    @staticmethod
    def versions():
        said = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout
        return [said, str(Node._binary()), (Node.modules / ".package-lock.json").read_text()]

    @staticmethod
    def files():
        yield Node._binary(), str(Node._binary())
        packages = Node._needed("azure-iot-device-mqtt") | Node._needed("azure-iot-device-amqp")
        folders = [(Node.modules / name, f"{APP}/node_modules/{name}") for name in sorted(packages)]
        folders += [(Node.library / name, str(Node.library / name)) for name in Node._own_library()]
        for folder, place in folders:
            for file in sorted(folder.rglob("*")):
                if file.is_file() and not file.name.endswith(Node.left_out):
                    yield file, f"{place}/{file.relative_to(folder)}"

    @staticmethod
    def _needed(package, found=None):
        """It and all that it requires."""
        found = set() if found is None else found
        description = Node.modules / package / "package.json"
        if package not in found and description.exists():
            found.add(package)
            for name in json.loads(description.read_text()).get("dependencies", {}):
                Node._needed(name, found)
        return found

    @staticmethod
    def _own_library():
        names = ("acorn", "acorn-walk", "busboy", "cjs-module-lexer", "minimatch", "undici")
        return [name for name in names if (Node.library / name).is_dir()]


LANGUAGES = {".py": Python, ".js": Node}


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


def _write(path, language, program):
    interpreter = Path(language.command()[0])
    objects = [interpreter]
    with tarfile.open(path, "w", dereference=False) as tar:
        for file, place in language.files():
            _add_file(tar, file, place)
            if ".so" in file.suffixes or file.suffix == ".node":
                objects.append(file)
        for needed in _shared_objects(objects):
            _add_file(tar, needed.resolve(), str(needed))
        for one in _programs(program):
            _add_file(tar, one, f"{APP}/{one.name}")
        for name, text in FILES.items():
            info = tarfile.TarInfo(name)
            info.size = len(text)
            info.mode = 0o644
            tar.addfile(info, io.BytesIO(text.encode()))
        # Every directory on the way to the interpreter must be open to its user.
        for directory in sorted({str(parent) for parent in interpreter.parents} | {"/tmp"}):
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
