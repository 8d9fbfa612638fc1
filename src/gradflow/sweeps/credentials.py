"""Who may reach a study's scheduler and workers: processes that hold its certificate's key.

Whoever reaches a Dask scheduler can run code as the user that started it. So each study has a
certificate of its own: both ends of every connection present it and trust no other.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from gradflow.core.interrupts import undone_at_the_limit

CERTIFICATE, KEY = "certificate.pem", "key.pem"
BEFORE = timedelta(days=1)  # the clocks of a cluster's nodes differ
LASTING = timedelta(days=3650)  # it is deleted with the study's end


@contextmanager
def credentials(folder: Path | None = None) -> Iterator[Any]:
    """A Dask `Security` of a new certificate, whose files are deleted at the end.

    Args:
        folder: which all machines share; None: this machine's own for temporary files.
    """
    from distributed.security import Security

    place = Path(tempfile.mkdtemp(prefix=".tls-", dir=folder))  # for its owner alone

    def remove() -> None:
        shutil.rmtree(place, ignore_errors=True)

    with undone_at_the_limit(remove):
        try:
            certificate, key = (str(place / name) for name in (CERTIFICATE, KEY))
            for path, content in zip((certificate, key), _drawn(), strict=True):
                with open(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
                    file.write(content)
            roles = ("client", "scheduler", "worker")
            yield Security(
                require_encryption=True,
                tls_ca_file=certificate,
                **{f"tls_{role}_cert": certificate for role in roles},
                **{f"tls_{role}_key": key for role in roles},
            )
        finally:
            remove()


def _drawn() -> tuple[bytes, bytes]:
    """A self-signed certificate and its private key, as PEM.

    On an elliptic curve: a key is drawn in less than a millisecond, RSA's in a tenth of a second.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "gradflow study")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BEFORE)
        .not_valid_after(now + LASTING)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(pem), private
