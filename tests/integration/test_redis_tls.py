"""A Redis that speaks TLS, by its own address and by its sentinel's: every client of ours takes it when its certificate
is good, and no other."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from orchestrator.adapters.celery_queue import POOL_QUEUE
from orchestrator.cli.redis_server import client_of
from tests.support.sentinel import SERVICE
from tests.support.servers import Program, free_port, running, wait_until
from tests.support.stack import PATIENCE_S, PartProgram

pytestmark = pytest.mark.timeout(180)
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
ASK_AS_BEAT = """
from orchestrator.tasks import app
from redbeat.schedulers import get_redis
get_redis(app).ping()
"""


@dataclass(frozen=True)
class Server:
    url: str
    certificate: Path

    def environment(self, trusted: Path) -> dict[str, str]:
        return os.environ | {
            "REDIS_URL": self.url,
            "LIVEKIT_API_KEY": "key",
            "LIVEKIT_API_SECRET": "s" * 32,
            "GREENROOM_HOME": str(trusted.parent),
            "PREWARM_POOL_SIZE": "0",
            "SSL_CERT_FILE": str(trusted),
        }

    def run(self, program: str, trusted: Path) -> subprocess.CompletedProcess[str]:
        argv, environment = [sys.executable, "-c", program], self.environment(trusted)
        return subprocess.run(argv, cwd=TOP, env=environment, capture_output=True, text=True, check=False)


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
    server = Server(f"rediss://:{PASSWORD}@127.0.0.1:{port}/0", certificate)
    with running(Program(argv, folder / "redis.log")):
        wait_until(lambda: server.run(ASK_STORE, certificate).returncode == 0, what="Redis answers")
        yield server


@pytest.fixture(scope="module")
def sentinel(folder: Path, server: Server) -> Iterator[Server]:
    """The same server, by the address of a sentinel."""
    certificate, port = server.certificate, free_port()
    config = folder / "sentinel.conf"
    config.write_text(
        f"port {port}\nbind 127.0.0.1\ndir {folder}\ntls-replication yes\ntls-ca-cert-file {certificate}\n"
        f"tls-cert-file {certificate}\ntls-key-file {certificate.with_suffix('.key')}\n"
        f"sentinel monitor {SERVICE} 127.0.0.1 {urlsplit(server.url).port} 1\n"
        f"sentinel auth-pass {SERVICE} {PASSWORD}\n"
    )
    found = Server(f"rediss+sentinel://:{PASSWORD}@127.0.0.1:{port}/{SERVICE}/0", certificate)
    with running(Program(["redis-server", str(config), "--sentinel"], folder / "sentinel.log")):
        wait_until(lambda: found.run(ASK_STORE, certificate).returncode == 0, what="Redis is found")
        yield found


@pytest.fixture(params=["server", "sentinel"])
def by(request: pytest.FixtureRequest) -> Server:
    found: Server = request.getfixturevalue(request.param)
    return found


@pytest.mark.parametrize("program", [ASK_STORE, QUEUE_A_TASK, ASK_AS_BEAT], ids=["store", "queue", "beat"])
def test_its_certificate_is_checked(by: Server, folder: Path, program: str) -> None:
    good = by.run(program, by.certificate)
    assert good.returncode == 0, good.stderr
    bad = by.run(program, _certificate(folder, "somebody-else"))
    assert bad.returncode != 0
    assert "CERTIFICATE_VERIFY_FAILED" in bad.stderr


def test_a_worker_takes_what_is_queued_and_a_beat_leads(by: Server, server: Server, folder: Path) -> None:
    celery = [sys.executable, "-m", "celery", "-A", "orchestrator.tasks:app"]
    environment = by.environment(by.certificate)
    worker = PartProgram([*celery, "worker", "--without-mingle"], folder / "worker.log", environment=environment)
    beat = PartProgram([*celery, "beat", "--pidfile", ""], folder / "beat.log", environment=environment)
    with client_of(server.url, ssl_ca_certs=str(server.certificate)) as client:
        client.flushdb()
        assert by.run(QUEUE_A_TASK, by.certificate).returncode == 0
        assert client.llen(POOL_QUEUE) == 1
        with running(worker), running(beat):
            wait_until(lambda: client.llen(POOL_QUEUE) == 0, timeout_s=PATIENCE_S, what="a worker took it")
            wait_until(lambda: client.exists("redbeat::lock"), timeout_s=PATIENCE_S, what="a beat leads")
