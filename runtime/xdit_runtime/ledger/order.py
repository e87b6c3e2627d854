"""In which order a lane walks the prompts."""

import math

import numpy as np
import numpy.typing as npt


def first_position(number: int, prompts: int) -> int:
    """Where lane `number` starts among `prompts`. Any number of lanes is spread evenly, without knowing how many there are."""
    fraction, weight = 0.0, 0.5
    while number:
        fraction += weight * (number & 1)
        number, weight = number >> 1, weight / 2
    return math.floor(fraction * prompts)


def walk(bucket: npt.NDArray[np.uint32], number: int) -> npt.NDArray[np.uint32]:
    """All positions as lane `number` walks them: bucket by bucket, the one with the most prompts first, each from its own start.

    bucket: equal numbers for prompts that one batch may hold. Lanes that share a bucket meet late; a shape that is drawn
    last has had its compiled kernels the whole time.
    """
    _, first, inverse, counts = np.unique(bucket, return_index=True, return_inverse=True, return_counts=True)
    rank = np.empty(len(counts), dtype=np.int64)
    rank[np.lexsort((first, -counts))] = np.arange(len(counts))
    order = np.argsort(rank[inverse], kind="stable").astype(np.uint32)
    begin = 0
    for count in sorted(counts.tolist(), reverse=True):
        own = order[begin : begin + count]
        own[:] = np.roll(own, -first_position(number, count))
        begin += count
    return order
