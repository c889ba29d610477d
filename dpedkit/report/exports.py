"""Tables as CSV, for programs, and as LaTeX with booktabs, for papers."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dpedkit.core.atomic import write_text

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}


@dataclass(frozen=True)
class Table:
    """A table for people, and the same for programs.

    Attributes
    ----------
    header, rows
        As they are shown; the first column holds words.
    bold : collection of (int, int)
        Row and column of cells that stand out.
    columns, values
        The same with a column for each number, None where there is none.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    columns: Sequence[str]
    values: Sequence[Sequence[object]]
    bold: Collection[tuple[int, int]] = field(default_factory=tuple)

    def csv(self) -> str:
        """The values as CSV, empty where there is none."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows(self.values)
        return text.getvalue()

    def latex(self) -> str:
        r"""A `tabular` that needs `\usepackage{booktabs}`."""
        alignment = "l" + "r" * (len(self.header) - 1)
        lines = [r"% needs \usepackage{booktabs}", rf"\begin{{tabular}}{{{alignment}}}"]
        lines += [r"\toprule", _line(self.header), r"\midrule"]
        for number, row in enumerate(self.rows):
            cells = [latex(cell) for cell in row]
            for at, column in self.bold:
                if at == number:
                    cells[column] = rf"\textbf{{{cells[column]}}}"
            lines.append(" & ".join(cells) + r" \\")
        return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])

    def write(self, folder: Path, name: str) -> list[Path]:
        """Write NAME.csv and NAME.tex."""
        files = {folder / f"{name}.csv": self.csv(), folder / f"{name}.tex": self.latex()}
        for file, text in files.items():
            write_text(file, text)
        return list(files)


def _line(cells: Sequence[str]) -> str:
    return " & ".join(map(latex, cells)) + r" \\"


def latex(text: str) -> str:
    """Text in which nothing means anything to LaTeX; a minus sign is as long as in formulas."""
    escaped = "".join(_SPECIAL.get(sign, sign) for sign in text)
    return re.sub(r"(?<![\w.-])-(?=\d)", "$-$", escaped)
