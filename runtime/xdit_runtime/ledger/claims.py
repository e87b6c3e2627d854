"""Claims: who works on a prompt. Generation n of a prompt's claim is a file that exactly one lane can create.

The highest generation owns. A claim is never removed: taking one over means creating the next generation, so that two
lanes that both find a claim stale cannot both win.
"""

from xdit_runtime.ledger.owner import Owner
from xdit_runtime.paths import Layout
from xdit_runtime.volume import create_exclusive, guarded


class Claims:
    """The claims directory as one lane sees it."""

    def __init__(self, layout: Layout, me: Owner) -> None:
        self._layout = layout
        self._me = str(me)

    def listing(self) -> dict[str, int]:
        """Highest generation of every prompt that was ever claimed."""
        found: dict[str, int] = {}
        with guarded(self._layout.claims):
            for path in self._layout.claims.iterdir():
                prompt_id, _, generation = path.name.removesuffix(".released").rpartition(".")
                if generation.isdigit():  # NFS leaves .nfs… files behind, desktops theirs
                    found[prompt_id] = max(found.get(prompt_id, 0), int(generation))
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
        """Who holds that generation; None when it was given back. A name of its own when it died while claiming."""
        path = self._layout.claim(prompt_id, generation)
        with guarded(path):
            if self._layout.released(prompt_id, generation).exists():
                return None
            name = path.read_bytes().decode(errors="replace")
        return name if Owner.parse(name) else f"{path.name}?"
