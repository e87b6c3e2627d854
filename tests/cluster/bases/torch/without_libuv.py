"""Makes torchrun of a torch that was built without libuv ask for the store that is there (runs while the image is built)."""

import importlib.util
import pathlib
import re
import sys


def patch(path: pathlib.Path, pattern: str, replacement: str) -> None:
    """Replace `pattern`, which has to be there: a torch that looks different must fail the build, not the job."""
    text, count = re.subn(pattern, replacement, path.read_text())
    if not count:
        sys.exit(f"{path}: nothing to patch, look at the new torch")
    path.write_text(text)


spec = importlib.util.find_spec("torch")
if spec is None or spec.origin is None:
    sys.exit("torch is not installed")
distributed = pathlib.Path(spec.origin).parent / "distributed"
for name in ("static_tcp_rendezvous.py", "c10d_rendezvous_backend.py"):
    patch(distributed / "elastic/rendezvous" / name, r"multi_tenant=True,", r"multi_tenant=True, use_libuv=False,")
# the agents' store is reached by the ranks as a client that does not pass on USE_LIBUV
patch(
    distributed / "rendezvous.py",
    r"is_master=False,\s*timeout=timeout,?\s*\)",
    r"is_master=False, timeout=timeout, use_libuv=use_libuv)",
)
