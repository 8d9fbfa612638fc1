"""The worker of a job on a cluster: Dask's, at the address by which it reaches the scheduler.

Dask's own command listens on every network of its node unless it is given one.
"""

import sys


def main() -> None:
    """Start the worker of a job, bound to the network by which it reaches the scheduler."""
    from distributed.cli.dask_worker import main as dask_worker
    from distributed.comm.addressing import get_address_host
    from distributed.utils import get_ip

    scheduler, *options = sys.argv[1:]
    if "--interface" not in options:
        options += ["--host", get_ip(get_address_host(scheduler))]
    dask_worker([scheduler, *options])


if __name__ == "__main__":
    main()
