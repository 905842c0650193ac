"""Curves: what an evaluation found, as pictures, a page and numbers. Everything here is made from a `Report` alone.

`save` writes accuracy against spend (a page that works offline, pictures for papers, CSV and JSON), per-topic small
multiples, reliability diagrams and where the money went; `compare` and `save_comparison` set two rows side by side.
matplotlib and plotly load when something is drawn.
"""

from __future__ import annotations

from .comparing import Comparison, compare
from .comparison_page import save_comparison
from .saving import save
from .series import Curves, Point, Series, curves_of, frontier

__all__ = [
    "Comparison",
    "Curves",
    "Point",
    "Series",
    "compare",
    "curves_of",
    "frontier",
    "save",
    "save_comparison",
]
