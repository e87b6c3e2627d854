"""What this pod answers on HTTP: /progress for the operator, /metrics for Prometheus, /healthz for people."""

import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from xdit_api.report import GpuProgress, HostMemory, LaneProgress, Progress

Source = Callable[[], Progress]


def serve(source: Source, port: int) -> ThreadingHTTPServer:
    """Answer on `port` (0: any free one) of all addresses, in threads. Raises OSError."""
    registry = CollectorRegistry()
    registry.register(_Metrics(source))

    class Handler(BaseHTTPRequestHandler):
        timeout = 10

        def do_GET(self) -> None:
            if self.path == "/progress":
                self._answer(200, "application/json", source().model_dump_json(by_alias=True, exclude_none=True).encode())
            elif self.path == "/metrics":
                self._answer(200, "text/plain; version=0.0.4; charset=utf-8", generate_latest(registry))
            elif self.path == "/healthz":
                self._answer(200, "text/plain", b"ok\n")
            else:
                self._answer(404, "text/plain", b"there are /progress, /metrics and /healthz\n")

        def _answer(self, code: int, kind: str, body: bytes) -> None:
            self.send_response(code)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: object) -> None:
            """A probe every few seconds is no news."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        address_family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET

        def server_bind(self) -> None:
            if self.address_family == socket.AF_INET6:
                self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            # not HTTPServer's, which asks the DNS for this host's name
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.socket.bind(self.server_address)
            self.server_address = self.socket.getsockname()

    server = Server(("", port), Handler)
    threading.Thread(target=server.serve_forever, name="http", daemon=True).start()
    return server


class _Metrics(Collector):
    def __init__(self, source: Source) -> None:
        self._source = source

    def collect(self) -> Iterator[Metric]:
        progress = self._source()
        images = GaugeMetricFamily("xdit_images", "Images of the whole job, read from the output volume", labels=["state"])
        for state in ("total", "completed", "failed", "skipped"):
            images.add_metric([state], getattr(progress.counts, state))
        yield images
        yield from _lanes(progress.lanes)
        yield from _gpus(progress.gpus)
        yield _one("xdit_worker_phase", "1 for the phase that this pod is in", "phase", {str(progress.phase): 1})
        memory = progress.memory or HostMemory()
        yield _one("xdit_host_memory_bytes", "Memory of the container as its cgroup counts it", "kind",
                   {"current": memory.current, "peak": memory.peak, "limit": memory.limit})  # fmt: skip
        if progress.eta_seconds is not None:
            yield GaugeMetricFamily("xdit_eta_seconds", "Seconds until the whole job is done", value=progress.eta_seconds)
        if progress.start_seconds is not None:
            text = "Seconds from the start of the worker to the start of its lanes"
            yield GaugeMetricFamily("xdit_start_seconds", text, value=progress.start_seconds)


def _lanes(lanes: Sequence[LaneProgress]) -> Iterator[Metric]:
    yield _one(
        "xdit_lane_images", "Images made by a lane in this attempt", "lane", {lane.index: lane.completed for lane in lanes}
    )
    restarts = CounterMetricFamily("xdit_lane_restarts", "Restarts of a lane by this pod's supervisor", labels=["lane"])
    phases = GaugeMetricFamily("xdit_lane_phase", "1 for the phase that a lane is in", labels=["lane", "phase"])
    for lane in lanes:
        restarts.add_metric([str(lane.index)], lane.restarts)
        phases.add_metric([str(lane.index), lane.phase], 1)
    yield restarts
    yield phases
    for name, text in (
        ("seconds_per_image", "Seconds between images of a lane"),
        ("load_seconds", "Loading the model"),
        ("first_step_seconds", "From a lane's start to the end of its first denoising step"),
        ("blocked_seconds", "How long a lane has waited for the output volume"),
        ("step", "Denoising step of the image in work"),
        ("steps", "Denoising steps of the image in work"),
    ):
        yield _one(f"xdit_lane_{name}", text, "lane", {lane.index: getattr(lane, name) for lane in lanes})


def _gpus(gpus: Sequence[GpuProgress]) -> Iterator[Metric]:
    for name, text, values in (
        ("memory_used_bytes", "GPU memory in use", {gpu.index: gpu.memory_used for gpu in gpus}),
        ("memory_total_bytes", "GPU memory", {gpu.index: gpu.memory_total for gpu in gpus}),
        ("utilization_ratio", "Part of the last second or so in which a GPU was busy",
         {gpu.index: None if gpu.utilization is None else gpu.utilization / 100 for gpu in gpus}),
    ):  # fmt: skip
        yield _one(f"xdit_gpu_{name}", text, "gpu", values)


def _one(name: str, text: str, label: str, values: Mapping[int, float | None] | Mapping[str, float | None]) -> Metric:
    """A gauge with one label; absent values are left out."""
    family = GaugeMetricFamily(name, text, labels=[label])
    for key, value in values.items():
        if value is not None:
            family.add_metric([str(key)], value)
    return family
