"""The lists of `README.md` name tests that exist."""

import re
from pathlib import Path

from harness.program import ROOT

NAMED = re.compile(r"`([a-z0-9_]+)`")
DEFINED = re.compile(r"^\s*(?:async )?(?:fn|def) ([a-z0-9_]+)\(", re.MULTILINE)
# Where nothing is served there is nothing to show.
WITHOUT = {"T-OUTPUT-LOST", "25", "34"}


def rows():
    """`(first word of the entry, names of its tests)` of both tables."""
    for line in (Path(__file__).parent / "README.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 3 and re.match(r"T-|\d", cells[0]):
            yield cells[0].split()[0], NAMED.findall(cells[2])


def test_every_entry_names_tests_that_exist():
    sources = [*ROOT.glob("crates/*/src/**/*.rs"), *ROOT.glob("crates/*/tests/**/*.rs"), *ROOT.glob("tests/**/*.py")]
    defined = {name for path in sources for name in DEFINED.findall(path.read_text())}
    named = dict(rows())
    assert {entry for entry in named if entry.isdigit()} == {str(number) for number in range(1, 41)}
    assert {entry for entry, tests in named.items() if not tests} == WITHOUT
    missing = {entry: [t for t in tests if t not in defined] for entry, tests in named.items()}
    assert not any(missing.values()), {entry: tests for entry, tests in missing.items() if tests}
