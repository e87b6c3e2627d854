"""What the API server last said, by kind. Filled by watches, lists and our own writes; never older than our own writes."""

from collections.abc import Iterator

from xdit_api.base import Json
from xdit_operator import names

Key = tuple[str, str]
"""(namespace, name)."""


def key_of(obj: Json) -> Key:
    """(namespace, name) of an object."""
    return obj["metadata"]["namespace"], obj["metadata"]["name"]


def version(obj: Json) -> int:
    """The resource version as a number, which grows with time; 0 when it is none."""
    text = str(obj["metadata"].get("resourceVersion", ""))
    return int(text) if text.isdecimal() else 0


def owner_key(obj: Json) -> Key | None:
    """Key of the resource that the object's labels name; a hint, never a proof."""
    name = (obj["metadata"].get("labels") or {}).get(names.LABEL_NAME)
    return None if name is None else (obj["metadata"]["namespace"], name)


class Cache:
    """Objects of one kind."""

    def __init__(self) -> None:
        self._objects: dict[Key, Json] = {}
        self._of: dict[Key, set[Key]] = {}

    def get(self, key: Key) -> Json | None:
        """The newest known state."""
        return self._objects.get(key)

    def __iter__(self) -> Iterator[Json]:
        return iter(list(self._objects.values()))

    def __len__(self) -> int:
        return len(self._objects)

    def of(self, owner: Key) -> list[Json]:
        """Objects whose labels name this resource."""
        return [self._objects[key] for key in sorted(self._of.get(owner, ()))]

    def put(self, obj: Json) -> bool:
        """Keep `obj` unless something newer of that name is known. Returns whether it was kept."""
        key = key_of(obj)
        known = self._objects.get(key)
        if known is not None and version(obj) and version(obj) < version(known):
            return False
        self._forget(key)
        metadata = {name: value for name, value in obj["metadata"].items() if name != "managedFields"}
        self._objects[key] = {**obj, "metadata": metadata}
        owner = owner_key(obj)
        if owner is not None:
            self._of.setdefault(owner, set()).add(key)
        return True

    def drop(self, key: Key, uid: str) -> bool:
        """Forget the object of that name if it is the one with this uid. Returns whether it was known."""
        known = self._objects.get(key)
        if known is None or known["metadata"].get("uid") != uid:
            return False
        self._forget(key)
        return True

    def replace(self, objects: list[Json], list_version: str, namespace: str | None) -> set[Key]:
        """Take over a LIST: what it does not have is forgotten, unless it is newer than the list. Returns the forgotten keys.

        namespace: what was listed; None means all.
        """
        listed = {key_of(obj) for obj in objects}
        limit = int(list_version) if list_version.isdecimal() else None
        gone = {
            key
            for key, obj in self._objects.items()
            if key not in listed and namespace in (None, key[0]) and (limit is None or version(obj) <= limit)
        }
        for key in gone:
            self._forget(key)
        for obj in objects:
            self.put(obj)
        return gone

    def _forget(self, key: Key) -> None:
        known = self._objects.pop(key, None)
        owner = None if known is None else owner_key(known)
        if owner is not None:
            mine = self._of[owner]
            mine.discard(key)
            if not mine:
                del self._of[owner]


class Caches:
    """The three kinds that are watched."""

    def __init__(self) -> None:
        self.resources = Cache()
        self.statefulsets = Cache()
        self.pods = Cache()
