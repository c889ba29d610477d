"""How each loss judges patch pairs: true ones, unrelated ones, and ones shifted by 1 to 8 px.

    python benchmarks/losses.py SHARDS [SHARDS ...] [--pairs 48] [--vgg FILE] [--json FILE]

The middle of each patch is compared (80 px of 100), so that there is something to shift in. All
numbers but the first two are shares of what the loss says of unrelated patches: a phone patch and
the DSLR patch that is half the split further on. `true is smaller`: the share of pairs for which
the loss is smaller for the true partner than for the unrelated one. `pair`: the partner, shifted.
`itself`: a DSLR patch and itself, shifted, as in the paper's figure 2. Directions are drawn at
random, from a fixed seed.

What stands in docs/losses.md was measured on patches of DPED's authors (18 scenes, phone photos
reduced to a width of 1,024 px, aligned and cut with the defaults), on the 300 patch pairs that they
published, and on City100 (iPhone X and Nikon D5500, aligned and cut with the defaults).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from dpedkit.core.console import table
from dpedkit.training.pair_losses import PairLosses, judge_folder

TOLD = (1, 2, 3, 5, 8)  # px


def as_table(found: PairLosses) -> str:
    header = ["loss", "true", "unrelated", "true / unrelated", "true is smaller"]
    header += [f"{kind} {shift} px" for kind in ("pair", "itself") for shift in TOLD]
    rows = []
    for name, loss in found.losses.items():
        row = [name, f"{loss.true:.4g}", f"{loss.shuffled:.4g}"]
        row += [f"{loss.true / loss.shuffled:.1%}", f"{loss.preferred:.0%}"]
        for curve in (loss.shifted, loss.itself):
            row += [f"{curve[shift] / loss.shuffled:.1%}" for shift in TOLD]
        rows.append(row)
    return table(header, rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("shards", type=Path, nargs="+")
    parser.add_argument("--pairs", type=int, default=48, help="patch pairs of each folder")
    parser.add_argument("--vgg", help="weights of VGG-19; by default those that are here")
    parser.add_argument("--json", type=Path, help="write all numbers there")
    options = parser.parse_args()
    everything = {}
    for folder in options.shards:
        found = judge_folder(folder, options.vgg, pairs=options.pairs)
        everything[str(folder)] = found.to_dict()
        print(f"{folder}: {found.pairs} patch pairs, the central {found.size} px")
        print(as_table(found), end="\n\n", flush=True)
    if options.json:
        options.json.write_text(json.dumps(everything, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
