"""Texts of bounded length, and durations for people."""


def cut(text: str, limit: int) -> str:
    """`text` in at most `limit` bytes of UTF-8, with an ellipsis when something was cut."""
    raw = text.encode()
    if len(raw) <= limit:
        return text
    return raw[: limit - len("…".encode())].decode(errors="ignore") + "…"


def duration(seconds: int) -> str:
    """'45s', '5m58s', '2h5m', '3d4h'."""
    minutes, second = divmod(seconds, 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    if days:
        return f"{days}d{hour}h"
    if hours:
        return f"{hours}h{minute}m"
    return f"{minutes}m{second}s" if minutes else f"{second}s"
