"""What this pod answers on HTTP: /progress for the operator, /metrics for Prometheus, /healthz for people."""

import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from xdit_api.report import Progress

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
        made = GaugeMetricFamily("xdit_lane_images", "Images made by a lane in this attempt", labels=["lane"])
        pace = GaugeMetricFamily("xdit_lane_seconds_per_image", "Seconds between images of a lane", labels=["lane"])
        for lane in progress.lanes:
            made.add_metric([str(lane.index)], lane.completed)
            if lane.seconds_per_image is not None:
                pace.add_metric([str(lane.index)], lane.seconds_per_image)
        yield made
        yield pace
        phase = GaugeMetricFamily("xdit_worker_phase", "1 for the phase that this pod is in", labels=["phase"])
        phase.add_metric([progress.phase], 1)
        yield phase
