"""`xdit-tiny-model`: a model of a few MB with random weights, as a diffusers directory, for tests, demos and clusters without
a GPU. The families are in tiny_models.
"""

import argparse
import sys
from pathlib import Path

from xdit_runtime import tiny_models
from xdit_runtime.tiny_models import DEFAULT_SEED

DEFAULT_FAMILY = "flux"


def write(directory: Path, seed: int = DEFAULT_SEED, family: str = DEFAULT_FAMILY) -> int:
    """Save the model into `directory`, readable by everyone; bytes written. Raises OSError as the file system does."""
    return tiny_models.write(directory, family, seed)


def main() -> None:
    """`xdit-tiny-model DIR`."""
    parser = argparse.ArgumentParser(
        prog="xdit-tiny-model",
        description="Write a model of a few MB with random weights to DIR, as a diffusers directory (safetensors). It loads and "
        "runs like the real one, on a CPU too, and draws clouds of colour that differ with every prompt and seed. "
        "In a resource the default one is the model id xdit-dev/tiny-flux.",
    )
    parser.add_argument("directory", type=Path, metavar="DIR", help="where to write; made if absent, files there are replaced")
    parser.add_argument(
        "--seed", type=int, default=DEFAULT_SEED, help="the same seed gives the same weights (default: %(default)s)"
    )
    parser.add_argument(
        "--family", choices=tiny_models.families(), default=DEFAULT_FAMILY, help="what it is like (default: %(default)s)"
    )
    arguments = parser.parse_args()
    size = write(arguments.directory, arguments.seed, arguments.family)
    sys.stdout.write(f"{arguments.directory}: {size / 1e6:.1f} MB, seed {arguments.seed}\n")


if __name__ == "__main__":
    main()
