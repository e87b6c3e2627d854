"""PipeFusion of xfuser 0.7.0 without its two ways to hang."""


def install() -> None:
    """Patch xfuser once."""
