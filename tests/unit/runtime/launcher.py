"""torchrun's part in tests that are not about torchrun: the same arguments, environment, habits and report, without torch."""

import argparse
import os
import signal
import subprocess
import sys
import time


def main() -> int:
    parser = argparse.ArgumentParser()
    for name in ("nnodes", "node-rank", "nproc-per-node", "master-port", "max-restarts"):
        parser.add_argument(f"--{name}", type=int)
    for name in ("master-addr", "role", "log-dir"):
        parser.add_argument(f"--{name}")
    parser.add_argument("-m", dest="module")
    a = parser.parse_args()
    ranks = {}
    for local in range(a.nproc_per_node):
        rank = a.node_rank * a.nproc_per_node + local
        env = {"RANK": rank, "LOCAL_RANK": local, "WORLD_SIZE": a.nnodes * a.nproc_per_node, "MASTER_ADDR": a.master_addr}
        texts = {name: str(value) for name, value in env.items()}
        ranks[rank] = subprocess.Popen([sys.executable, "-m", a.module], env={**os.environ, **texts}, start_new_session=True)
    while all(p.poll() is None or p.returncode == 0 for p in ranks.values()) and any(p.poll() is None for p in ranks.values()):
        time.sleep(0.1)
    bad = [rank for rank, p in ranks.items() if p.poll() not in (None, 0)]
    if not bad:
        return 0
    for p in ranks.values():
        p.send_signal(signal.SIGTERM)
    for rank, p in ranks.items():
        print(
            f"  rank      : {rank} (local_rank: {rank % a.nproc_per_node})\n  exitcode  : {p.wait()} (pid: {p.pid})", flush=True
        )
    return 1


if __name__ == "__main__":
    sys.exit(main())
