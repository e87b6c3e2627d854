"""What `huggingface_hub` reads from the environment when it is imported."""

from collections.abc import MutableMapping

from xdit_runtime.fetch.options import ENV_TOKEN

_REMOVED = (
    # the worker image is offline; so is its transformers
    "HF_HUB_OFFLINE",
    "TRANSFORMERS_OFFLINE",
    # would print requests with the token in them
    "HF_DEBUG",
    # the token is handed over by hand, to the hub only
    ENV_TOKEN,
    "HUGGING_FACE_HUB_TOKEN",
    "HUGGINGFACE_CO_STAGING",
    "HF_HUB_ENABLE_HF_TRANSFER",
)


def apply(env: MutableMapping[str, str], endpoint: str) -> None:
    """Online, quiet, no token of its own, nothing on disk, plain HTTP."""
    for name in _REMOVED:
        env.pop(name, None)
    env.update({"HF_ENDPOINT": endpoint, "HF_HOME": "/nonexistent", "HF_HUB_VERBOSITY": "critical"})
    env.update({f"HF_HUB_DISABLE_{what}": "1" for what in ("IMPLICIT_TOKEN", "PROGRESS_BARS", "TELEMETRY", "XET")})
