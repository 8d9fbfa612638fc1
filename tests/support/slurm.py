"""A real SLURM on this machine alone, on loopback: started for a test, stopped after it.

python -m tests.support.slurm sinfo        # any command that is to see it

Needs root and Debian's munge, slurmctld, slurmd, slurm-client and slurm-wlm-basic-plugins. It
starts daemons of its own with sockets, ports and folders of its own, and stops only those.
"""

import os
import secrets
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

DAEMONS = ("munged", "slurmctld", "slurmd")
PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/bin"])

CONF = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
ReturnToService=2
KillWait=5
MinJobAge=3600
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


# Jobs run at once, in a process group of their own, and scancel ends the group.
SBATCH = """#!/bin/bash
cp "${@: -1}" "$SHIM/script"
copy="$SHIM/script.$$"
cp "$SHIM/script" "$copy"  # as the caller deletes its own
setsid bash "$copy" > "$SHIM/log" 2>&1 &
echo "Submitted batch job $!"
"""
SCANCEL = """#!/bin/bash
for job in "$@"; do kill -TERM -- "-$job" 2> /dev/null; done; true
"""


def why_not() -> str | None:
    """Why SLURM cannot be started here, or None."""
    missing = [name for name in (*DAEMONS, "sbatch") if not shutil.which(name, path=PATH)]
    if missing:
        return f"SLURM is not installed: no {', '.join(missing)}"
    return None if os.geteuid() == 0 else "SLURM's daemons are started as root"


@contextmanager
def slurm(cpus: int = 2) -> Iterator[dict[str, str]]:
    """The environment in which SLURM's commands reach a controller with one idle node."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="slurm-")))
        folder.chmod(0o755)
        for name in ("state", "spool"):
            (folder / name).mkdir()
        key = folder / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(secrets.token_bytes(128))
        conf = folder / "slurm.conf"
        controller_port, node_port = _free_ports(2)
        conf.write_text(
            CONF.format(
                host=socket.gethostname().split(".")[0],
                folder=folder,
                cpus=cpus,
                controller_port=controller_port,
                node_port=node_port,
            )
        )
        environment = {**os.environ, "SLURM_CONF": str(conf), "PATH": PATH}
        own = [f"--{name}-file={folder}/munge.{name}" for name in ("key", "pid", "seed", "log")]
        own.append(f"--socket={folder}/munge.socket")
        _start(stack, ["munged", "--foreground", *own], environment, folder)
        _wait_for(lambda: (folder / "munge.socket").exists(), "munged", folder)
        _start(stack, ["slurmctld", "-D", "-f", str(conf)], environment, folder)
        _start(stack, ["slurmd", "-D", "-f", str(conf)], environment, folder)
        _wait_for(lambda: _ask(environment, "sinfo", "-h", "-o", "%T") == "idle", "SLURM", folder)
        try:
            yield environment
        finally:
            _ask(environment, "scancel", "--full", "--user=root")
            deadline = time.monotonic() + 30
            while _ask(environment, "squeue", "-h") and time.monotonic() < deadline:
                time.sleep(0.2)


def shim(folder: Path) -> dict[str, str]:
    """An environment in which sbatch and scancel are scripts in `folder`, without any SLURM."""
    for name, text in (("sbatch", SBATCH), ("scancel", SCANCEL)):
        (folder / name).write_text(text)
        (folder / name).chmod(stat.S_IRWXU)
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "SHIM": str(folder)}


def jobs(environment: dict[str, str], *states: str) -> list[str]:
    """Numbers of the jobs that are in one of the states, such as RUNNING or TIMEOUT."""
    return _ask(
        environment, "squeue", "-h", "-o", "%i", f"--states={','.join(states) or 'all'}"
    ).split()


def _ask(environment: dict[str, str], *command: str) -> str:
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    return done.stdout.strip()


def _start(stack: ExitStack, command: list[str], environment: dict[str, str], folder: Path) -> None:
    with open(folder / f"{command[0]}.out", "w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)

    def stop() -> None:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    stack.callback(stop)


def _wait_for(condition: Callable[[], bool], what: str, folder: Path) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        if time.monotonic() > deadline:
            logs = "\n".join(p.read_text()[-2000:] for p in folder.glob("*.[ol][ou][tg]"))
            raise RuntimeError(f"{what} did not start:\n{logs}")
        time.sleep(0.1)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for s in sockets:
        s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


if __name__ == "__main__":
    if reason := why_not():
        sys.exit(f"error: {reason}")
    with slurm() as environment:
        sys.exit(subprocess.run(sys.argv[1:], env=environment).returncode)
