"""Tables of measurements: as text, as Markdown, and where another row is better than ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from dpedkit.core.console import table as text_table

MARGIN = 1.05  # a difference below a twentieth is no difference here
MORE, LESS, NEITHER = "more", "less", "neither"
UNKNOWN = "The reason is not known."


@dataclass(frozen=True)
class Column:
    """What is measured.

    Attributes
    ----------
    name : str
        With its unit.
    better : str
        `MORE`, `LESS` or `NEITHER`.
    form : str
        A format specification.
    least : float
        Values are not better than one another by less than this.
    """

    name: str
    better: str = NEITHER
    form: str = ".2f"
    least: float = 0.0

    def is_better(self, value: float, ours: float) -> bool:
        """Whether `value` is better than `ours`, by more than measurements differ."""
        if self.better == NEITHER or abs(value - ours) < self.least:
            return False
        low, high = (ours, value) if self.better == MORE else (value, ours)
        return high > low * MARGIN if low >= 0 else high > low


@dataclass(frozen=True)
class Row:
    """One way to do it.

    Attributes
    ----------
    name : str
    values : tuple of float or None
        One for each column; None where there is none.
    why : mapping of str to str
        A sentence why it is better than ours, by the name of the column, where that is known.
    absent : str
        Why it was not measured, in place of values.
    is_floor : bool
        It only does what no way can do without, so that it is not compared with ours.
    """

    name: str
    values: tuple[float | None, ...] = ()
    why: Mapping[str, str] = field(default_factory=dict)
    absent: str = ""
    is_floor: bool = False


@dataclass(frozen=True)
class Table:
    """What was measured of one job.

    Attributes
    ----------
    title : str
    columns : tuple of Column
    rows : tuple of Row
    ours : str or None
        The row that the others are compared with; None where nothing is compared.
    notes : tuple of str
        Paragraphs below it.
    """

    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    ours: str | None = None
    notes: tuple[str, ...] = ()

    def better_than_ours(self) -> list[tuple[Row, Column]]:
        """Where another row has a better value."""
        ours = next((row for row in self.rows if row.name == self.ours and row.values), None)
        if ours is None:
            return []
        return [
            (row, column)
            for row in self.rows
            if row is not ours and row.values and not row.is_floor
            for column, value, mine in zip(self.columns, row.values, ours.values, strict=True)
            if value is not None and mine is not None and column.is_better(value, mine)
        ]

    def remarks(self) -> list[str]:
        """Sentences: which rows are better than ours, in what and why; which are absent."""
        reasons: dict[str, tuple[list[str], list[str]]] = {}
        for row, column in self.better_than_ours():
            why = row.why.get(column.name, UNKNOWN)
            names, columns = reasons.setdefault(why, ([], []))
            names.extend([row.name] if row.name not in names else [])
            columns.extend([column.name] if column.name not in columns else [])
        better = [
            f"Better than {self.ours} in {_listed(columns)}: {_listed(names)}. {why}"
            for why, (names, columns) in reasons.items()
        ]
        return better + [
            f"{row.name}: not measured; {row.absent}" for row in self.rows if row.absent
        ]

    def text(self) -> str:
        """For a terminal; * marks what is better than ours."""
        header = (self.title, *(column.name for column in self.columns))
        body = text_table(header, self._cells("{}*"))
        return "\n".join([body, *self.remarks(), *self.notes])

    def markdown(self) -> str:
        """For the documentation; what is better than ours is bold."""
        lines = [
            f"### {self.title}",
            "",
            "| | " + " | ".join(column.name for column in self.columns) + " |",
            "| --- |" + " ---: |" * len(self.columns),
            *("| " + " | ".join(cells) + " |" for cells in self._cells("**{}**")),
        ]
        if remarks := self.remarks():
            lines += ["", *(f"- {remark}" for remark in remarks)]
        for note in self.notes:
            lines += ["", note]
        return "\n".join(lines)

    def _cells(self, mark: str) -> list[list[str]]:
        better = {(row.name, column.name) for row, column in self.better_than_ours()}
        rows = []
        for row in self.rows:
            cells = [row.name]
            for column, value in zip(
                self.columns, row.values or [None] * len(self.columns), strict=True
            ):
                shown = "-" if value is None else format(value, column.form)
                cells.append(mark.format(shown) if (row.name, column.name) in better else shown)
            rows.append(cells)
        return rows


def _listed(words: list[str]) -> str:
    """The words with commas and an "and"; semicolons where they have commas themselves."""
    comma = ";" if any("," in word for word in words) else ","
    return " and ".join([f"{comma} ".join(words[:-1]), words[-1]] if words[1:] else words)
