"""Dask's scheduler and worker without their HTTP servers, which nothing protects.

Dask starts one in each, with or without a dashboard. Imported where Dask is already.
"""

from typing import Any

from distributed import Scheduler, Worker


class ClosedScheduler(Scheduler):
    """A scheduler without an HTTP server, which Dask starts even without a dashboard."""

    def start_http_server(self, *_: Any, **__: Any) -> None:
        """Start none."""


class ClosedWorker(Worker):
    """A worker without an HTTP server."""

    def start_http_server(self, *_: Any, **__: Any) -> None:
        """Start none."""


def scheduler_options(dashboard: str | None) -> dict[str, Any]:
    """What a scheduler is given besides its class: the dashboard at that address, or none."""
    return {"dashboard_address": dashboard, "dashboard": dashboard is not None}


def scheduler_class(dashboard: str | None) -> type[Scheduler]:
    """Dask's own scheduler with a dashboard, else one without an HTTP server."""
    return Scheduler if dashboard else ClosedScheduler
