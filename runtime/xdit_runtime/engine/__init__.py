"""Engines: what turns a prompt into a picture. This package itself imports no torch: preflight needs `options` alone."""

import logging

# transformers and diffusers import torchao, and torch has something to say about its classes on every rank
logging.getLogger("torch.utils._pytree").setLevel(logging.ERROR)
