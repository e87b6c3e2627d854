"""The worker: supervisor, ranks, ledger and pictures."""
