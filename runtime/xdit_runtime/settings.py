"""What a pod's supervisor is told by its environment."""

import os
import socket
import tempfile
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from xdit_api import pod
from xdit_runtime.logs import Style
from xdit_runtime.restarts import LIMIT

ENV_LIFE_DIR = "XDIT_LIFE_DIR"
ENV_TERMINATION_LOG = "XDIT_TERMINATION_LOG"
ENV_HTTP_PORT = "XDIT_HTTP_PORT"
ENV_PEER_PORT = "XDIT_PEER_PORT"
ENV_PEER_DEADLINE = "XDIT_PEER_DEADLINE"
ENV_GRACE = "XDIT_GRACE"
ENV_LANE_RESTARTS = "XDIT_LANE_RESTARTS"
ENV_LANE_BACKOFF = "XDIT_LANE_BACKOFF"
ENV_PATIENCE = "XDIT_PATIENCE"
ENV_LOG_FORMAT = "XDIT_LOG_FORMAT"
ENV_RANK_MODULE = "XDIT_RANK_MODULE"
ENV_LAUNCH_MODULE = "XDIT_LAUNCH_MODULE"


@dataclass(frozen=True, slots=True)
class Settings:
    """One pod of one attempt of one replica."""

    job_path: Path
    replica: int
    attempt: int
    node_rank: int
    """Index of the pod in its replica."""
    master_addr: str
    master_port: int
    pod: str
    pod_uid: str
    life_dir: Path
    """Outlives the container, not the pod."""
    termination_log: Path | None
    """None outside Kubernetes."""
    http_port: int
    """0: any free one."""
    peer_port: int
    peer_deadline: float
    """Seconds in which the other pods of the replica must appear."""
    grace: float | None
    """Seconds from SIGTERM until ranks that do not reach an image boundary are killed; None: as the job says."""
    lane_restarts: int
    """Restarts in a row of a lane that makes no image."""
    lane_backoff: float
    """Seconds before the first restart of a lane; twice as long before each further one."""
    patience: float | None
    """Seconds that the supervisor itself may stand still; None: as long as the job says of its ranks."""
    log_style: Style
    rank_module: str
    """What torchrun starts; tests put a light stand-in here."""
    launch_module: str
    """torchrun; most tests put one here that takes the same arguments and needs no torch."""

    @classmethod
    def read(cls, env: Mapping[str, str], job: Path | None = None) -> "Settings":
        """Settings of a pod; without its variables those of one machine without Kubernetes. Raises ValueError."""
        termination = env.get(ENV_TERMINATION_LOG)
        default_termination = Path(pod.TERMINATION_LOG)
        life = env.get(ENV_LIFE_DIR)
        default_life = Path(pod.LIFE_DIR)
        if life is None and not default_life.is_dir():
            life = tempfile.mkdtemp(prefix="xdit-life-")
        return cls(
            job_path=(job or Path(env.get(pod.ENV_JOB) or str(pod.JOB_FILE))).absolute(),
            replica=_number(env, pod.ENV_REPLICA, 0),
            attempt=_number(env, pod.ENV_ATTEMPT, 0),
            node_rank=_number(env, pod.ENV_NODE_RANK, 0),
            master_addr=env.get(pod.ENV_MASTER_ADDR, "127.0.0.1"),
            master_port=_number(env, pod.ENV_MASTER_PORT, pod.MASTER_PORT),
            pod=env.get(pod.ENV_POD_NAME) or socket.gethostname(),
            pod_uid=env.get(pod.ENV_POD_UID) or uuid.uuid4().hex,
            life_dir=Path(life) if life else default_life,
            termination_log=Path(termination) if termination else default_termination if default_termination.exists() else None,
            http_port=_number(env, ENV_HTTP_PORT, pod.HTTP_PORT),
            peer_port=_number(env, ENV_PEER_PORT, pod.PEER_PORT),
            peer_deadline=float(_number(env, ENV_PEER_DEADLINE, 900)),
            grace=float(_number(env, ENV_GRACE, 0)) if env.get(ENV_GRACE) else None,
            lane_restarts=_number(env, ENV_LANE_RESTARTS, LIMIT),
            lane_backoff=float(_number(env, ENV_LANE_BACKOFF, 1)),
            patience=float(_number(env, ENV_PATIENCE, 0)) if env.get(ENV_PATIENCE) else None,
            log_style=_style(env),
            rank_module=env.get(ENV_RANK_MODULE, "xdit_runtime.worker"),
            launch_module=env.get(ENV_LAUNCH_MODULE, "torch.distributed.run"),
        )


def _style(env: Mapping[str, str]) -> Style:
    text = env.get(ENV_LOG_FORMAT) or "text"
    if text not in ("text", "json"):
        raise ValueError(f"{ENV_LOG_FORMAT} must be text or json, not {text!r}")
    return "json" if text == "json" else "text"


def _number(env: Mapping[str, str], name: str, default: int) -> int:
    text = env.get(name, "")
    if not text:
        return default
    if not text.isdecimal():
        raise ValueError(f"{name} must be a whole number, not {text!r}")
    return int(text)


def inherited(env: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment without anything that would tell torchrun or a rank who it is."""
    exact = {"RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK", "GROUP_WORLD_SIZE", "ROLE_RANK", "ROLE_NAME",
             "ROLE_WORLD_SIZE", pod.ENV_NNODES, pod.ENV_NODE_RANK, pod.ENV_NPROC_PER_NODE}  # fmt: skip
    prefixes = ("PET_", "MASTER_", "TORCHELASTIC_")
    return {name: value for name, value in env.items() if name not in exact and not name.startswith(prefixes)}
