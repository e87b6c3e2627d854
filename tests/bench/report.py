"""From what the phases found to figures: pure functions over their JSON."""

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Picture = npt.NDArray[np.uint8]
Json = dict[str, Any]

STEADY = 3
"""Images of a lane after which its steady window begins."""


def percent(a: float, b: float) -> float:
    return round(100 * (a / b - 1), 3)


def side(blocks: Sequence[Sequence[float]]) -> Json:
    """Seconds per image of one side, from its blocks; noise is how far its first and second half of blocks are apart."""
    every = [seconds for block in blocks for seconds in block]
    half = len(blocks) // 2
    halves = [[s for block in part for s in block] for part in (blocks[:half], blocks[half:])]
    medians = [statistics.median(part) for part in halves if part]
    return {
        "images": len(every),
        "median": round(statistics.median(every), 4),
        "mean": round(statistics.mean(every), 4),
        "block_medians": [round(statistics.median(block), 4) for block in blocks],
        "noise_percent": percent(max(medians), min(medians)) if len(medians) > 1 else None,
    }


def comparison(ranks: Sequence[Json]) -> Json:
    """One group's A/B, large pictures and what else its ranks found; ours is seen on the first rank, bare on the last."""
    out: Json = {}
    for name in ("ab", "big"):
        if name not in ranks[0]:
            continue
        blocks = {"bare": ranks[-1][name]["bare"], "ours": ranks[0][name]["ours"]}
        out[name] = {key: side(value) for key, value in blocks.items() if value}
        if len(out[name]) == 2:
            out[name]["images_a_side"] = out[name]["ours"]["images"]
            out[name]["overhead_percent"] = percent(out[name]["ours"]["median"], out[name]["bare"]["median"])
            out[name]["overhead_percent_of_means"] = percent(out[name]["ours"]["mean"], out[name]["bare"]["mean"])
        out[name]["seconds"] = blocks
    if compiled := ranks[-1].get("bare_compiled"):
        out["bare_compiled"] = side([compiled])
        ours = ranks[0].get("ours_beside_compiled")
        if ours:
            out["ours_beside_compiled"] = side([ours])
            out["against_compiled_bare_percent"] = percent(out["ours_beside_compiled"]["median"], out["bare_compiled"]["median"])
    known = ("ab", "big", "bare_compiled", "ours_beside_compiled")
    out["ranks"] = [{key: value for key, value in rank.items() if key not in known} for rank in ranks]
    return out


def lanes(images: Sequence[tuple[str, float]]) -> Json:
    """images: (lane, time on the volume). Images a second of every lane after its first STEADY ones, and of all together."""
    times: dict[str, list[float]] = defaultdict(list)
    for lane, moment in sorted(images, key=lambda item: item[1]):
        times[lane].append(moment)
    rates, medians = {}, {}
    for lane, taken in sorted(times.items()):
        steady = taken[STEADY - 1 :]
        if len(steady) > 1:
            rates[lane] = (len(steady) - 1) / (steady[-1] - steady[0])
            medians[lane] = round(float(np.median(np.diff(steady))), 4)
    return {
        "images": len(images),
        "images_of_lanes": [len(taken) for _, taken in sorted(times.items())],
        "seconds_per_image_of_lanes": [round(1 / rate, 4) for rate in rates.values()],
        "median_intervals": list(medians.values()),
        "images_per_second": round(sum(rates.values()), 5),
    }


def difference(a: Mapping[str, Picture], b: Mapping[str, Picture]) -> Json | None:
    """How far pictures of the same names are apart, in levels of 255."""
    names = [name for name in a if name in b]
    if not names:
        return None
    off = [np.abs(a[name].astype(int) - b[name].astype(int)) for name in names]
    return {
        "images": len(off),
        "max": int(max(o.max() for o in off)),
        "mean": round(float(np.mean([o.mean() for o in off])), 4),
        "share_above_8": round(float(np.mean([(o > 8).mean() for o in off])), 6),
    }


def levels(sides: Mapping[str, Mapping[str, Picture]]) -> Json:
    """Every two sides; and one against itself with the names shifted, for a scale."""
    names = sorted(sides)
    out: Json = {}
    for i, a in enumerate(names):
        for b in names[i + 1 :]:
            if (found := difference(sides[a], sides[b])) is not None:
                out[f"{a} {b}"] = found
    for name in names[:1]:
        ids = sorted(sides[name])
        if len(ids) > 1:
            shifted = {here: sides[name][there] for here, there in zip(ids, [*ids[1:], ids[0]], strict=True)}
            out["another prompt and seed"] = difference(sides[name], shifted)
    return out


def table(result: Json) -> str:
    """The comparisons in Markdown."""
    lines = ["| | bare | ours | difference | noise bare / ours | images a side |", "|---|---|---|---|---|---|"]
    for name in sorted(key for key in result if key.startswith("u") and key[1:].isdigit()):
        for part in ("ab", "big"):
            found = result[name].get(part, {})
            if "overhead_percent" in found:
                bare, ours = found["bare"], found["ours"]
                noise = " / ".join("-" if n is None else f"{n} %" for n in (bare["noise_percent"], ours["noise_percent"]))
                label = f"{name[1:]} GPU, {result['setting']['pixels' if part == 'ab' else 'big_pixels']}²"
                lines.append(
                    f"| {label} | {bare['median']} | {ours['median']} | {found['overhead_percent']} % | {noise} | "
                    f"{found['images_a_side']} |"
                )
    for name in ("lanes", "single"):
        if name in result:
            found = result[name]
            lines.append(f"\n{name}: {found['images_per_second']} images/s, {found['seconds_per_image_of_lanes']} s/image")
    if "lanes_against_one" in result:
        lines.append(f"lanes against one: {result['lanes_against_one']}")
    return "\n".join(lines)
