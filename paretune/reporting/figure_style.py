"""What the report's figures look like: colors, and a background that lets the page through."""

from __future__ import annotations

from typing import Final

PICK: Final = "#c2410c"
BASE: Final = "#2456c4"
OTHERS: Final = ("#0f8a5f", "#8a5fc2", "#a17a00", "#0b7f96", "#b0407a", "#5c6b7d")
CLEAR: Final = {"paper_bgcolor": "rgba(0,0,0,0)", "plot_bgcolor": "rgba(0,0,0,0)"}
"""Of a Plotly layout."""
