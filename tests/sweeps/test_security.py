"""Whoever reaches a Dask scheduler can run code as its owner, so nobody else reaches a study's."""

import asyncio
import os
import pickle
import signal
import ssl
import stat
import subprocess
from pathlib import Path

import psutil
import pytest
from distributed import Client
from distributed.comm.addressing import get_address_host_port
from distributed.core import rpc
from distributed.security import Security

from gradflow.core.errors import GradflowError
from gradflow.sweeps import local
from gradflow.sweeps.credentials import credentials
from tests.support.processes import command, wait_for
from tests.support.slurm import slurm, why_not

LOOPBACK = "127.0.0.1"


def listening(*roots: psutil.Process) -> dict[int, str]:
    """The port and address of each socket on which these processes or their children listen."""
    processes = [p for root in roots for p in (root, *root.children(recursive=True))]
    found = {}
    for process in processes:
        try:
            sockets = process.net_connections("inet")
        except psutil.Error:  # it has just ended
            continue
        found |= {s.laddr.port: s.laddr.ip for s in sockets if s.status == psutil.CONN_LISTEN}
    return found


def mark(path):
    Path(path).write_text("code of a stranger")


def run_code(address, arguments, path):
    """Have a scheduler, nanny or worker run `mark`, as anybody could who may connect."""

    async def attack():
        async with rpc(address, connection_args=arguments, timeout=2) as remote:
            call = pickle.dumps(mark), pickle.dumps((str(path),))
            await asyncio.wait_for(remote.run(function=call[0], args=call[1]), 20)

    asyncio.run(attack())


def bare() -> dict:
    """A TLS client that takes any certificate and has none."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return {"ssl_context": context, "require_encryption": True}


def assert_refused(host, port, path):
    """Without encryption, without a certificate, and with one of one's own."""
    with credentials() as own:
        for scheme, arguments in (
            ("tcp", Security().get_connection_args("client")),
            ("tls", bare()),
            ("tls", own.get_connection_args("client")),
        ):
            with pytest.raises((OSError, TimeoutError)):
                run_code(f"{scheme}://{host}:{port}", arguments, path)
    assert not path.exists()


def test_a_stranger_runs_no_code_in_a_local_study(tmp_path, monkeypatch):
    monkeypatch.setattr(local, "PRELOADED", ["distributed"])  # no run is made
    launcher = local.LocalLauncher(1, None, 0, False)
    with launcher.cluster(1) as cluster:
        launcher.start(cluster, 1)
        with Client(cluster) as client:
            client.wait_for_workers(1)
            # Of the scheduler, a nanny and a worker, with no HTTP server.
            open_ports = listening(psutil.Process())
            assert set(open_ports.values()) == {LOOPBACK}
            [[worker, facts]] = client.scheduler_info(n_workers=-1)["workers"].items()
            addresses = [cluster.scheduler_address, worker, facts["nanny"]]
            ports = [get_address_host_port(address)[1] for address in addresses]
            assert set(open_ports) == set(ports)
            arguments = cluster.security.get_connection_args("client")
            run_code(worker, arguments, tmp_path / "own")
            assert (tmp_path / "own").exists()  # so the attack is one
            for port in ports:
                assert_refused(LOOPBACK, port, tmp_path / "stranger")
            with (
                pytest.raises(OSError, match="TLS certificate does not match|Timed out"),
                credentials() as other,
            ):
                Client(cluster.scheduler_address, security=other, timeout=2)


def test_a_key_is_for_its_owner_alone_and_removed(tmp_path):
    with credentials(tmp_path) as security:
        [folder] = tmp_path.iterdir()
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        files = list(folder.iterdir())
        assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
        assert {str(file) for file in files} == {security.tls_ca_file, security.tls_worker_key}
        assert security.require_encryption
    assert not list(tmp_path.iterdir())
    with pytest.raises(KeyboardInterrupt), credentials(tmp_path):
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


def test_an_unknown_network_is_refused(monkeypatch):
    from hydra.utils import instantiate
    from omegaconf import OmegaConf

    config = OmegaConf.load(Path(__file__).parents[2] / "conf/hydra/launcher/slurm.yaml")
    config.logs, config.interface, config._target_ = (
        "",
        "ib7",
        "gradflow.sweeps.slurm.SlurmLauncher",
    )
    monkeypatch.setattr("shutil.which", lambda name: name)
    with pytest.raises(GradflowError, match=r"interface=ib7: no such network.*choose.*\blo\b"):
        instantiate(config).check()


@pytest.mark.slow
@pytest.mark.skipif(why_not() is not None, reason=why_not() or "")
@pytest.mark.parametrize("interface", [None, "lo"])
def test_a_stranger_runs_no_code_in_a_study_on_slurm(tmp_path, interface):
    sweep = ["-m", "network.depth=8", "seed=0,1", "steps=100000", "study.name=s"]
    sweep += ["hydra/launcher=slurm", 'hydra.launcher.skip_directives=["--mem"]']
    sweep += [f"hydra.launcher.interface={interface or 'null'}", "checkpoint_seconds=0.5"]
    with slurm() as environment:
        process = subprocess.Popen(command(tmp_path, *sweep), env=environment)
        try:
            wait_for(lambda: len(list(tmp_path.glob("s/*/checkpoint.pt"))) == 2)
            workers = [
                p
                for p in psutil.process_iter(["cmdline"])
                if "gradflow.sweeps.job_worker" in (p.info["cmdline"] or ())
                and f"{tmp_path}" in " ".join(p.info["cmdline"])
            ]
            assert len(workers) == 2
            ports = listening(psutil.Process(process.pid), *workers)
            # A scheduler and for each job a nanny and a worker; each binds one address.
            assert len(ports) == 5
            assert len(set(ports.values())) == 1
            assert interface is None or set(ports.values()) == {LOOPBACK}
            assert not {"0.0.0.0", "::"} & set(ports.values())
            for port, host in ports.items():
                assert_refused(host, port, tmp_path / "stranger")
            keys = list(tmp_path.rglob("*.pem"))
            assert {stat.S_IMODE(key.stat().st_mode) for key in keys} == {0o600}
            assert len(keys) == 2
        finally:
            os.kill(process.pid, signal.SIGINT)
            process.wait(timeout=60)
    assert not list(tmp_path.rglob("*.pem"))
