"""Times as the API writes them: RFC 3339, UTC, whole seconds."""

from datetime import UTC, datetime


def now() -> datetime:
    """The present, cut to whole seconds."""
    return datetime.now(UTC).replace(microsecond=0)


def write(time: datetime) -> str:
    """'2026-11-21T10:00:00Z'."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def read(text: str | None) -> datetime | None:
    """The time in a field of the API; None for an absent or unreadable one."""
    if not text:
        return None
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        return None
    return parsed if parsed.tzinfo is not None else parsed.replace(tzinfo=UTC)
