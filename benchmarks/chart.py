"""A result as a picture: one group of bars per workload, as SVG that README files can show."""

from __future__ import annotations

from typing import Any
from xml.sax.saxutils import escape

from .report import rows

WIDTH = 860
LABEL = 170
BAR = 18
GAP = 4
COLOURS = {"ours": "#0b6e4f", "peer": "#8d99ae", "limit": "#d9dde3"}
STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#1f2933}.t{font-weight:600}"
    "@media (prefers-color-scheme:dark){text{fill:#e4e7eb}}"
)


def svg(result: dict[str, Any]) -> str:
    """Requests per second of every row that did the work, the longest bar of a workload being the fastest."""
    marks: list[str] = []
    top = 10
    for key, title in result["workloads"].items():
        found = [row for row in rows(result, key) if row.counts and not row.failure]
        if not found:
            continue
        top += 22
        heading = escape(f"{key}  {title}, requests per second")
        marks.append(f'<text class="t" x="0" y="{top}">{heading}</text>')
        top += 8
        room = WIDTH - LABEL - 175
        for row in found:
            length = max(1.0, room * row.requests / found[0].requests)
            base = top + BAR - 5
            marks.append(f'<text x="{LABEL - 8}" y="{base}" text-anchor="end">{escape(row.server)}</text>')
            colour = COLOURS[row.role]
            marks.append(f'<rect x="{LABEL}" y="{top}" width="{length:.1f}" height="{BAR}" fill="{colour}"/>')
            value = f"{row.requests:,.0f}  ({row.cpu:.1f} us CPU)"
            marks.append(f'<text x="{LABEL + length + 8:.1f}" y="{base}">{value}</text>')
            top += BAR + GAP
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top + 10}" width="{WIDTH}">',
            f"<style>{STYLE}</style>",
            *marks,
            "</svg>\n",
        ]
    )
