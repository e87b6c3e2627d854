"""`xdit-operator`: the command line. Every flag can also be set as XDIT_OPERATOR_<FLAG>."""

import asyncio
import enum
import logging
import sys
from typing import Annotated

import typer

from xdit_operator import logs
from xdit_operator.settings import Settings

log = logging.getLogger(__name__)

app = typer.Typer(
    add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True, help="Runs XDiTInference resources on Kubernetes."
)


class LogFormat(enum.StrEnum):
    """How log lines look."""

    json = "json"
    text = "text"


@app.callback()
def _commands() -> None:
    """Runs XDiTInference resources: one StatefulSet for each replica, images on a volume, GPUs back at the end."""


def _env(name: str) -> str:
    return f"XDIT_OPERATOR_{name}"


@app.command()
def run(
    worker_image: Annotated[
        str, typer.Option(envvar=_env("WORKER_IMAGE"), help="Image of worker pods whose resource has no spec.worker.image.")
    ],
    namespace: Annotated[
        list[str] | None,
        typer.Option(
            envvar=_env("NAMESPACE"),
            help="Watch this namespace; may be repeated (in the variable: separated by spaces). Default: all.",
        ),
    ] = None,
    operator_namespace: Annotated[
        str,
        typer.Option(
            envvar=_env("OPERATOR_NAMESPACE"), help="Where the operator itself runs; workers let it ask for their progress."
        ),
    ] = "xdit-system",
    monitoring_namespace: Annotated[
        str, typer.Option(envvar=_env("MONITORING_NAMESPACE"), help="Where Prometheus runs; workers let it scrape /metrics.")
    ] = "monitoring",
    log_format: Annotated[
        LogFormat, typer.Option(envvar=_env("LOG_FORMAT"), help="json: one object a line; text: for people.")
    ] = LogFormat.json,
    resync_seconds: Annotated[
        int,
        typer.Option(envvar=_env("RESYNC_SECONDS"), min=10, help="Seconds between two looks at everything, watch events or not."),
    ] = 600,
    probe_port: Annotated[
        int,
        typer.Option(
            envvar=_env("PROBE_PORT"), min=0, max=65535, help="Port of /healthz, /readyz and /metrics; 0 picks a free one."
        ),
    ] = 8080,
    workers: Annotated[
        int, typer.Option(envvar=_env("WORKERS"), min=1, max=64, help="Resources that are reconciled at the same time.")
    ] = 8,
) -> None:
    """Watch XDiTInference resources until SIGTERM.

    In a pod the service account is used, elsewhere KUBECONFIG or ~/.kube/config.
    """
    # imported here so that --help answers at once
    from xdit_operator import run as process

    logs.configure("json" if log_format == LogFormat.json else "text")
    settings = Settings(
        worker_image=worker_image,
        operator_namespace=operator_namespace,
        monitoring_namespace=monitoring_namespace,
        namespaces=tuple(namespace or ()),
        resync_seconds=resync_seconds,
        probe_port=probe_port,
        workers=workers,
    )
    log.info("starting", extra={"fields": {"worker_image": worker_image, "namespaces": ",".join(settings.namespaces) or "all"}})
    try:
        asyncio.run(process.run(settings))
    except process.CannotStart as error:
        log.error(str(error))
        raise typer.Exit(1) from error
    log.info("stopped")


def main() -> None:
    """Entry point of the console script."""
    sys.exit(app())
