"""A result as a picture: our requests per second as a multiple of the best peer's, as SVG for README files."""

from __future__ import annotations

from typing import Any
from xml.sax.saxutils import escape

from . import bars
from .report import Row, rows
from .workloads import WORKLOADS

WIDTH = 880
LABEL = 300
"""Pixels for the names of the rows."""
VALUE = 250
"""Pixels for what stands behind a bar."""
LINE = 26
BAR = 16
LONGEST = 4.0
"""The multiple at which bars end; longer ones are cut, and their figure says how long they are."""
STYLE = """\
text{font:13px system-ui,-apple-system,"Segoe UI",sans-serif;fill:#1f2328}
.note{fill:#59636e}.rule{stroke:#8c959f}.ahead{fill:#1a7f64}.behind{fill:#bc6c1a}
@media (prefers-color-scheme:dark){
text{fill:#e6edf3}.note{fill:#9198a1}.rule{stroke:#6e7681}.ahead{fill:#2fa383}.behind{fill:#d98a3d}}"""


def svg(result: dict[str, Any]) -> str:
    """One bar for each workload and server of ours that can be compared."""
    # At half of peak load the rate is given, beside slow requests there is no peer, and idle sockets are about memory.
    left_out = {one.key for one in WORKLOADS if one.kind in ("half", "beside", "sockets")}
    found = [line for key in result["workloads"] if key not in left_out for line in _lines(result, key)]
    scale = (WIDTH - LABEL - VALUE) / max(1.2, *(min(LONGEST, ratio) for _, ratio, _ in found), 0.0)
    one = LABEL + scale
    bottom = 30 + LINE * len(found)
    marks = [
        f'<text class="note" x="{one:.1f}" y="14" text-anchor="middle">as fast as the best peer</text>',
        f'<line class="rule" x1="{one:.1f}" y1="22" x2="{one:.1f}" y2="{bottom}" stroke-dasharray="3 3"/>',
    ]
    for number, (label, ratio, remark) in enumerate(found):
        top = 30 + LINE * number
        base = top + BAR - 3
        length = scale * min(LONGEST, ratio)
        kind = "ahead" if ratio >= 1 else "behind"
        # A short bar's figure stands behind the line, which would cross it otherwise.
        after = max(LABEL + length, one) + 8
        marks.append(f'<text x="{LABEL - 10}" y="{base}" text-anchor="end">{escape(label)}</text>')
        marks.append(f'<rect class="{kind}" x="{LABEL}" y="{top}" width="{length:.1f}" height="{BAR}" rx="2"/>')
        marks.append(
            f'<text x="{after:.1f}" y="{base}">{ratio:.2f} <tspan class="note">{escape(remark)}</tspan></text>'
        )
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {bottom + 6}" width="{WIDTH}" role="img">',
            "<title>gateway beside the best peer, by workload</title>",
            f"<style>{STYLE}</style>",
            *marks,
            "</svg>\n",
        ]
    )


def _lines(result: dict[str, Any], key: str) -> list[tuple[str, float, str]]:
    """(label, multiple of the best peer, that peer) for the servers of ours that the chart shows."""
    found = [row for row in rows(result, key) if row.counts and not row.failure]
    against = [row for row in found if row.role == "peer"]
    lines = []
    for row in sorted(found, key=lambda row: row.server):
        if row.role != "ours" or not against or not _shown(row, found):
            continue
        ratio, by_cpu, peer = min(((*bars.compare(row, other), other) for other in against), key=lambda one: one[0])
        threads = ", no threads" if row.server.endswith("-inline") else ""
        remark = f"x {peer.server}" + " (CPU)" * by_cpu
        lines.append((result["workloads"][key] + threads, ratio, remark))
    return lines


def _shown(row: Row, found: list[Row]) -> bool:
    """Variants of a server are shown only where they are all that there is."""
    plain = {"gateway-wsgi", "gateway-wsgi-inline", "gateway-asgi"}
    return row.server in plain or not any(other.server in plain for other in found)
