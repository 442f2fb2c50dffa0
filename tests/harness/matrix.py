"""The matrix of clients: which test fills which cell, what came out, and the tables in
`docs/reference/compatibility.md` made of it.

A test belongs to a cell by the mark `cell(table, row, column)`, or by its id in `matrix/elsewhere.toml`. It
is filled by `passed`, unless the test records another word: `record_property("cell", "replay")`, or
`("cell", "not offered: REASON")`. A cell with several tests is as good as its worst."""

import fnmatch
import re
import tomllib
from dataclasses import dataclass, field

from harness.program import ROOT

DOCUMENT = ROOT / "docs/reference/compatibility.md"
BEGIN, END = "<!-- matrix: begin (written by pytest --matrix=write) -->", "<!-- matrix: end -->"
SKIPS = ROOT / "tests/matrix/skips.toml"
ELSEWHERE = ROOT / "tests/matrix/elsewhere.toml"

PASSED, REPLAY, NOT_OFFERED, SKIPPED, FAILED = "passed", "replay", "not offered", "skipped", "failed"
# The worst first.
ORDER = [FAILED, SKIPPED, NOT_OFFERED, REPLAY, PASSED]


@dataclass(frozen=True)
class Table:
    """One table: its rows and columns stand in the order given here."""

    name: str
    heading: str
    words: str
    headers: tuple
    columns: tuple
    rows: tuple
    may_have_gaps: bool = False


@dataclass
class Outcome:
    kind: str
    reason: str = ""


@dataclass
class Results:
    """What came out, by (table, row, column)."""

    outcomes: dict = field(default_factory=dict)

    def add(self, cell, outcome):
        there = self.outcomes.get(cell)
        if there is None or ORDER.index(outcome.kind) < ORDER.index(there.kind):
            self.outcomes[cell] = outcome

    def problems(self, tables):
        """Why this is not a matrix to be proud of."""
        allowed = [skip["cell"] for skip in tomllib.loads(SKIPS.read_text()).get("skip", [])]
        found = []
        for table in tables:
            for row in table.rows:
                for column in table.columns:
                    cell = (table.name, row, column)
                    outcome = self.outcomes.get(cell)
                    if outcome is None and table.may_have_gaps:
                        continue
                    if outcome is None:
                        found.append(f"{name_of(cell)}: no test fills it")
                    elif outcome.kind == FAILED:
                        found.append(f"{name_of(cell)}: {outcome.reason}")
                    elif outcome.kind == SKIPPED and not any(fits(flat(cell), one) for one in allowed):
                        found.append(f"{name_of(cell)}: skipped, and not listed in {SKIPS.name}")
        known = {(t.name, row, column) for t in tables for row in t.rows for column in t.columns}
        found += [f"{name_of(cell)}: not in any table" for cell in self.outcomes if cell not in known]
        return found

    def markdown(self, tables):
        """The part of the document between the two marks."""
        parts = [BEGIN]
        for table in tables:
            notes = []
            lines = [
                f"### {table.heading}", "", table.words, "",
                "| " + " | ".join([*table.headers, *table.columns]) + " |",
                "|" + "---|" * (len(table.headers) + len(table.columns)),
            ]  # fmt: skip
            for row in table.rows:
                cells = [self._text(table, row, column, notes) for column in table.columns]
                lines.append("| " + " | ".join([*row, *cells]) + " |")
            lines += [""] + [f"{letter(i)}: {note}.  " for i, note in enumerate(notes)] + ([""] if notes else [])
            parts += lines
        return "\n".join([*parts, END])

    def _text(self, table, row, column, notes):
        outcome = self.outcomes.get((table.name, row, column))
        if outcome is None:
            return " "
        if outcome.kind == PASSED:
            return "✓"
        if outcome.kind == REPLAY:
            return "replay"
        if outcome.reason not in notes:
            notes.append(outcome.reason)
        sign = {NOT_OFFERED: "–", SKIPPED: "skipped", FAILED: "fails"}[outcome.kind]
        return f"{sign} {letter(notes.index(outcome.reason))}"


def letter(number):
    return "abcdefghijklmnopqrstuvwxyz"[number]


def flat(cell):
    table, row, column = cell
    return (table, *row, column)


def fits(names, patterns):
    return len(names) == len(patterns) and all(map(fnmatch.fnmatchcase, names, patterns))


def name_of(cell):
    return " / ".join(flat(cell))


def elsewhere():
    """Tests of other folders that fill cells: `[(pattern of ids, cell), …]`."""
    entries = tomllib.loads(ELSEWHERE.read_text()).get("cell", [])
    return [(re.compile(e["test"]), (e["table"], tuple(e["row"]), e["column"])) for e in entries]


def not_offered_elsewhere(tables):
    """What the SDKs of these tables do not have: `[(cell, reason), …]`."""
    entries = tomllib.loads(ELSEWHERE.read_text()).get("not_offered", [])
    cells = [(table.name, row, column) for table in tables for row in table.rows for column in table.columns]
    return [(cell, one["reason"]) for cell in cells for one in entries if fits(flat(cell), one["cell"])]


def stale_part():
    """What the document says now."""
    text = DOCUMENT.read_text()
    return text[text.index(BEGIN) : text.index(END) + len(END)]


def write(part):
    text = DOCUMENT.read_text()
    before, after = text[: text.index(BEGIN)], text[text.index(END) + len(END) :]
    DOCUMENT.write_text(before + part + after)
