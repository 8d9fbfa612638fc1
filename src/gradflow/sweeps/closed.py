"""Dask's scheduler and worker without their HTTP servers, which nothing protects.

Dask starts one in each, with or without a dashboard. Imported where Dask is already.
"""

from typing import Any

from distributed import Scheduler, Worker


class ClosedScheduler(Scheduler):
    def start_http_server(self, *_: Any, **__: Any) -> None:
        """None."""


class ClosedWorker(Worker):
    def start_http_server(self, *_: Any, **__: Any) -> None:
        """None."""


def scheduler_options(dashboard: str | None) -> dict[str, Any]:
    """What a scheduler is given besides its class: the dashboard at that address, or none."""
    return {"dashboard_address": dashboard, "dashboard": dashboard is not None}


def scheduler_class(dashboard: str | None) -> type[Scheduler]:
    return Scheduler if dashboard else ClosedScheduler
