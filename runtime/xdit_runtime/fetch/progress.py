"""What a download says about itself while it runs."""

import threading
from collections import deque
from collections.abc import Mapping


def size(count: float) -> str:
    """Bytes for people, in the units of disks and hubs: 9.98 GB."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def duration(seconds: float) -> str:
    """5m58s."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m" if hours else f"{minutes}m{rest}s" if minutes else f"{rest}s"


class Progress:
    """Bytes of all files that are on the volume. Safe to use from several threads."""

    WINDOW = 60.0
    """Seconds over which the rate is taken."""

    def __init__(self, total: int, done: Mapping[str, int], now: float) -> None:
        self._lock = threading.Lock()
        self._total = total
        self._done = dict(done)
        self._history: deque[tuple[float, int]] = deque([(now, sum(done.values()))])

    def at(self, path: str, count: int) -> None:
        """That many bytes of a file are there now."""
        with self._lock:
            self._done[path] = count

    def line(self, now: float) -> str:
        """Share, bytes, rate and what is left to wait. `now` in seconds of any steady clock, never earlier than before."""
        with self._lock:
            done = sum(self._done.values())
        self._history.append((now, done))
        while len(self._history) > 2 and self._history[0][0] < now - self.WINDOW:
            self._history.popleft()
        then, before = self._history[0]
        rate = max(0.0, (done - before) / (now - then)) if now > then else 0.0
        share = 100 if not self._total else int(100 * done / self._total)
        eta = duration((self._total - done) / rate) if rate > 0 else "unknown"
        return f"{share}% ({size(done)} of {size(self._total)}), {size(rate)}/s, {eta} left"
