"""/healthz, /readyz and /metrics of the operator."""

from collections.abc import Callable

from aiohttp import web

STUCK_SECONDS = 300.0
"""A key that waits or runs for longer means that the operator hangs."""


async def serve(port: int, age: Callable[[], float], synced: Callable[[], bool], metrics: Callable[[], bytes]) -> web.AppRunner:
    """Start the server; the caller cleans the runner up. age: seconds that the oldest key has waited or run."""

    async def healthz(_: web.Request) -> web.Response:
        seconds = age()
        if seconds > STUCK_SECONDS:
            return web.Response(status=500, text=f"stuck: a resource has waited {seconds:.0f} s\n")
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        return web.Response(text="ok\n") if synced() else web.Response(status=503, text="caches are not filled yet\n")

    async def exposition(_: web.Request) -> web.Response:
        return web.Response(body=metrics(), content_type="text/plain", charset="utf-8")

    app = web.Application()
    app.add_routes([web.get("/healthz", healthz), web.get("/readyz", readyz), web.get("/metrics", exposition)])
    runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, port=port).start()
    return runner
