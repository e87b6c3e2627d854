"""Claims: who works on a prompt. Generation n of a prompt's claim is a file that exactly one lane can create.

The highest generation owns. A claim is never removed: taking one over means creating the next generation, so that two
lanes that both find a claim stale cannot both win.
"""

from xdit_runtime.ledger.owner import Owner
from xdit_runtime.paths import Layout, is_shard
from xdit_runtime.volume import create_exclusive, guarded, listing


def name_of(prompt_id: str, generation: int) -> str:
    """A claim in one word, as lane and supervisor tell it each other."""
    return f"{prompt_id}.{generation}"


def parse(name: str) -> tuple[str, int] | None:
    """Prompt id and generation of a claim's name; None for what is not one."""
    prompt_id, _, generation = name.rpartition(".")
    return (prompt_id, int(generation)) if prompt_id and generation.isdecimal() else None


class Claims:
    """The claims as one lane sees them."""

    def __init__(self, layout: Layout, me: Owner) -> None:
        self._layout = layout
        self._me = str(me)

    def listing(self) -> dict[str, int]:
        """Highest generation of every prompt that was ever claimed."""
        found: dict[str, int] = {}
        for folder in listing(self._layout.claims):
            for name in listing(self._layout.claims / folder) if is_shard(folder) else ():
                claim = parse(name)  # NFS leaves .nfs… files behind, desktops theirs
                if claim is not None:
                    found[claim[0]] = max(found.get(claim[0], 0), claim[1])
        return found

    def take(self, prompt_id: str, generation: int) -> bool:
        """Try to become the owner of that generation; True for one lane only."""
        return create_exclusive(self._layout.claim(prompt_id, generation), self._me.encode())

    def give_back(self, prompt_id: str, generation: int) -> None:
        """Others may take it at once."""
        create_exclusive(self._layout.released(prompt_id, generation), b"")

    def highest(self, prompt_id: str, known: int) -> int:
        """The generation that owns the prompt now; `known` is a lower bound that exists, or 0."""
        with guarded(self._layout.claims):
            while self._layout.claim(prompt_id, known + 1).exists():
                known += 1
        return known

    def owner(self, prompt_id: str, generation: int) -> str | None:
        """Who holds that generation; None when it was given back or its owner died drawing it.

        A name of its own when it died while claiming.
        """
        path = self._layout.claim(prompt_id, generation)
        with guarded(path):
            if self._layout.released(prompt_id, generation).exists() or self._layout.crashed(prompt_id, generation).exists():
                return None
            name = path.read_bytes().decode(errors="replace")
        return name if Owner.parse(name) else f"{path.name}?"
