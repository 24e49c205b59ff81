"""CPU ratios as bars: an SVG file written by hand."""

from __future__ import annotations

import math
from html import escape
from pathlib import Path
from typing import Any

from bench.measure import Cost

WIDTH, LABEL, NUMBER, BAR, GAP = 760, 170, 60, 18, 8
GROUP = 40
OURS, OTHERS = "#2a78b5", "#b0b0b0"

Group = tuple[str, dict[str, float]]


def groups_of(found: dict[str, Any]) -> list[Group]:
    """Titles, and figures of each client divided by rdl's: from the rows that tell of CPU."""
    groups = []
    for scheme in ("http", "https"):
        if costs := found.get(scheme):
            groups.append((f"{scheme}, CPU of the whole file", _cpu(costs)))
        if one := found.get("further", {}).get(scheme):
            groups.append((f"{scheme}, CPU of a further GiB", one["further"]))
    if small := found.get("small"):
        groups.append((f"{small['files']} files of 64 KiB, CPU a file", small["cpu"]))
    return [
        (title, {name: figure / figures["rdl"] for name, figure in figures.items()})
        for title, figures in groups
        if figures.get("rdl", 0) > 0
    ]


def _cpu(costs: dict[str, Cost]) -> dict[str, float]:
    return {name: cost.cpu for name, cost in costs.items()}


def write(path: Path, found: dict[str, Any]) -> None:
    """A bar for each client, rdl's as long as 1. Raises OSError."""
    groups = groups_of(found)
    longest = max((max(figures.values()) for _, figures in groups), default=1.0)
    unit = (WIDTH - LABEL - NUMBER) / max(1.0, longest)
    shapes, y = ['<text x="8" y="20" font-weight="bold">CPU, rdl is 1</text>'], 24
    for title, figures in groups:
        y += GROUP
        shapes.append(f'<text x="8" y="{y - 10}">{escape(title)}</text>')
        for name, figure in figures.items():
            shapes += _bar(name, figure, unit, y)
            y += BAR + GAP
    height = math.ceil(y + GAP)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        f'viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="13">'
    )
    background = f'<rect width="{WIDTH}" height="{height}" fill="white"/>'
    path.write_text("\n".join([head, background, *shapes, "</svg>"]) + "\n")


def _bar(name: str, figure: float, unit: float, y: int) -> list[str]:
    length, middle = max(1.0, figure * unit), y + BAR - 5
    colour = OURS if name == "rdl" else OTHERS
    return [
        f'<text x="{LABEL - 8}" y="{middle}" text-anchor="end">{escape(name)}</text>',
        f'<rect x="{LABEL}" y="{y}" width="{length:.1f}" height="{BAR}" fill="{colour}"/>',
        f'<text x="{LABEL + length + 6:.1f}" y="{middle}">{figure:.2f}</text>',
    ]
