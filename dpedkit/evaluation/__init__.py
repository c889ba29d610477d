"""How close a network's output comes to the DSLR, compared with two baselines."""

from __future__ import annotations

from dpedkit.core.lazy import lazy_exports

_HOME = {
    "ByScene": ".scenes",
    "EvaluateConfig": ".config",
    "Evaluation": ".evaluation",
    "Limitations": ".limitations",
    "PatchScores": ".scenes",
    "SceneScores": ".scenes",
    "Scores": ".scores",
    "SplitScores": ".evaluation",
}
__all__ = sorted(_HOME)
__getattr__ = lazy_exports(__name__, _HOME)
