"""What a rank tells while it works, as often as is useful and no oftener."""

from collections.abc import Callable


class Every:
    """Calls through at most once in `seconds`; the first call goes through."""

    def __init__(self, seconds: float, action: Callable[[], None], clock: Callable[[], float]) -> None:
        self._seconds = seconds
        self._action = action
        self._clock = clock
        self._last: float | None = None

    def __call__(self, *, force: bool = False) -> None:
        """Do it if it is due, or now with `force`."""
        now = self._clock()
        if force or self._last is None or now - self._last >= self._seconds:
            self._last = now
            self._action()
