"""Where `xdit-fetch` puts a model in the cache volume and where workers find it."""

from pathlib import PurePosixPath


def directory(repo: str, revision: str) -> PurePosixPath:
    """Directory of a fetched model, relative to the root of the cache: models--org--name/<40 hex>."""
    return PurePosixPath("models--" + repo.replace("/", "--"), revision)
