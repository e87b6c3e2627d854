"""Seconds per image by GPUs, as an SVG: `plot.py RESULT.json OUT.svg`."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 640, 360, 56, 40, 44
_COLOURS = {"bare": "#9aa5b1", "bare, compiled": "#5f7285", "ours": "#2f7d4f"}

Bars = list[tuple[str, dict[str, float]]]


def bars(result: dict[str, Any]) -> Bars:
    """(label, seconds by side) of each comparison, from one GPU on."""
    out: Bars = []
    for name in sorted(key for key in result if key.startswith("u") and key[1:].isdigit()):
        found = result[name].get("ab", {})
        values = {side: float(found[side]["median"]) for side in ("bare", "ours") if side in found}
        compiled = result.get(f"compiled_{name}", {}).get("bare_compiled")
        if compiled:
            values["bare, compiled"] = float(compiled["median"])
        if values:
            gpus = int(name[1:])
            out.append((f"{gpus} GPU{'s' if gpus > 1 else ''}", values))
    return out


def text(x: float, y: float, words: str, anchor: str = "middle", size: int = 12) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}">{words}</text>'


def svg(groups: Bars, title: str) -> str:
    """The picture; groups may not be empty."""
    top = max(value for _, values in groups for value in values.values()) * 1.08
    high, wide = _HEIGHT - _TOP - _BOTTOM, (_WIDTH - _LEFT - 16) / len(groups)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" fill="#222">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        text(_WIDTH / 2, 18, title, size=14),
        *_axis(top, high),
    ]
    for number, (label, values) in enumerate(groups):
        middle = _LEFT + wide * (number + 0.5)
        width = wide * 0.7 / len(_COLOURS)
        for k, (side, value) in enumerate(sorted(values.items(), key=lambda item: list(_COLOURS).index(item[0]))):
            x, tall = middle + (k - len(values) / 2) * width, high * value / top
            y = _TOP + high - tall
            box = f'x="{x:.1f}" y="{y:.1f}" width="{width - 4:.1f}" height="{tall:.1f}"'
            lines.append(f'<rect {box} fill="{_COLOURS[side]}"/>')
            lines.append(text(x + width / 2 - 2, y - 4, f"{value:.2f}", size=11))
        lines.append(text(middle, _HEIGHT - 22, label))
    for k, (side, colour) in enumerate(_COLOURS.items()):
        x = _LEFT + 130 * k
        lines.append(f'<rect x="{x}" y="26" width="10" height="10" fill="{colour}"/>')
        lines.append(text(x + 16, 35, side, "start"))
    return "\n".join([*lines, "</svg>"]) + "\n"


def _axis(top: float, high: float) -> Sequence[str]:
    step = next(s for s in (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 1000) if top / s <= 8)
    out = []
    for k in range(int(top / step) + 1):
        y = _TOP + high * (1 - k * step / top)
        out.append(f'<line x1="{_LEFT}" x2="{_WIDTH - 16}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
        out.append(text(_LEFT - 6, y + 4, f"{k * step:g}", "end"))
    return out


def main() -> None:
    result = json.loads(Path(sys.argv[1]).read_text())
    setting = result["setting"]
    title = f"Seconds per image: FLUX.1-dev in shape, {setting['pixels']}², {setting['steps']} steps"
    Path(sys.argv[2]).write_text(svg(bars(result), title))


if __name__ == "__main__":
    main()
