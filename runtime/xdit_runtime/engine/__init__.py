"""Engines: what turns a prompt into a picture. This package itself imports no torch: preflight needs `options` alone."""
