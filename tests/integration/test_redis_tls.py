"""A Redis that speaks TLS: every client of ours takes it when its certificate is good, and no other."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support.servers import free_port, wait_until

TOP = Path(__file__).parents[2]
PASSWORD = "a-password-of-tests"
ASK_STORE = """
import asyncio, os
from orchestrator.adapters.redis_client import connect, translated
async def ask():
    client = connect(os.environ["REDIS_URL"])
    try:
        with translated():
            await client.ping()
    finally:
        await client.aclose()
asyncio.run(ask())
"""
QUEUE_A_TASK = """
import asyncio
from orchestrator.bootstrap import celery_queue
asyncio.run(celery_queue().refill())
"""


@dataclass(frozen=True)
class Server:
    url: str
    certificate: Path

    def run(self, program: str, trusted: Path) -> subprocess.CompletedProcess[str]:
        ours = {
            "REDIS_URL": self.url,
            "LIVEKIT_API_KEY": "key",
            "LIVEKIT_API_SECRET": "s" * 32,
            "SSL_CERT_FILE": str(trusted),
        }
        argv = [sys.executable, "-c", program]
        return subprocess.run(argv, cwd=TOP, env=os.environ | ours, capture_output=True, text=True, check=False)


def _certificate(folder: Path, name: str) -> Path:
    """One that vouches for itself, with its key beside it."""
    key = ec.generate_private_key(ec.SECP256R1())
    who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(who)
        .issuer_name(who)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    form = serialization.PrivateFormat.PKCS8
    plain = serialization.NoEncryption()
    (folder / f"{name}.key").write_bytes(key.private_bytes(serialization.Encoding.PEM, form, plain))
    path = folder / f"{name}.crt"
    path.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tls")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    certificate, port = _certificate(folder, "server"), free_port()
    argv = [
        "redis-server", "--port", "0", "--tls-port", str(port), "--bind", "127.0.0.1", "--save", "",
        "--requirepass", PASSWORD, "--tls-auth-clients", "no", "--tls-ca-cert-file", str(certificate),
        "--tls-cert-file", str(certificate), "--tls-key-file", str(certificate.with_suffix(".key")),
        "--dir", str(folder),
    ]  # fmt: skip
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL)
    server = Server(f"rediss://:{PASSWORD}@127.0.0.1:{port}/0", certificate)
    try:
        wait_until(lambda: server.run(ASK_STORE, certificate).returncode == 0, what="Redis answers")
        yield server
    finally:
        process.terminate()
        process.wait(10)


@pytest.mark.parametrize("program", [ASK_STORE, QUEUE_A_TASK], ids=["store", "queue"])
def test_its_certificate_is_checked(server: Server, folder: Path, program: str) -> None:
    good = server.run(program, server.certificate)
    assert good.returncode == 0, good.stderr
    bad = server.run(program, _certificate(folder, "somebody-else"))
    assert bad.returncode != 0
    assert "CERTIFICATE_VERIFY_FAILED" in bad.stderr
