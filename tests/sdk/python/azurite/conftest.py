"""Batch of the service, storage of Azurite, and a web server that misbehaves."""

import base64
import contextlib
import datetime
import importlib.util
import os
import re
import ssl
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from azure.storage.blob import BlobServiceClient, ContainerSasPermissions, generate_container_sas
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

BATCH15 = Path(__file__).parent.parent / "batch15"
sys.path.insert(0, str(BATCH15))
_spec = importlib.util.spec_from_file_location("fixtures_of_batch15", BATCH15 / "conftest.py")
_fixtures = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_fixtures)
batch, pool, job, finished = _fixtures.batch, _fixtures.pool, _fixtures.job, _fixtures.finished

ACCOUNT = "elsewhere"
KEY = base64.b64encode(b"a key for these tests alone").decode()


@pytest.fixture(scope="session")
def azurite(tmp_path_factory):
    """The address of Azurite's account."""
    folder = tmp_path_factory.mktemp("azurite")
    command = [os.environ["AZURITE"], "--blobPort", "0", "--location", folder, "--disableTelemetry", "--silent"]
    command.append("--skipApiVersionCheck")
    variables = {**os.environ, "AZURITE_ACCOUNTS": f"{ACCOUNT}:{KEY}"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=variables)
    said = ""
    for line in process.stdout:
        said += line
        found = re.search(r"listens on (http://\S+)", line)
        if found:
            break
    else:
        pytest.fail(f"Azurite did not start: {said}")
    threading.Thread(target=process.stdout.read, daemon=True).start()
    yield f"{found[1]}/{ACCOUNT}"
    process.terminate()
    process.wait(30)


@pytest.fixture(scope="session")
def account():
    """Name and key of Azurite's account."""
    return ACCOUNT, KEY


@pytest.fixture(scope="session")
def other(azurite):
    """A client of Azurite's account."""
    return BlobServiceClient(azurite, credential={"account_name": ACCOUNT, "account_key": KEY})


@pytest.fixture
def container(other, fresh):
    """A new container of Azurite's account."""
    client = other.get_container_client(fresh("c"))
    client.create_container()
    return client


@pytest.fixture(scope="session")
def sas():
    """Makes the URL of a container with a SAS."""

    def sas(client, permission="racwl"):
        now = datetime.datetime.now(datetime.timezone.utc)
        token = generate_container_sas(
            ACCOUNT,
            client.container_name,
            account_key=KEY,
            permission=ContainerSasPermissions.from_string(permission),
            expiry=now + datetime.timedelta(hours=1),
        )
        return f"{client.url}?{token}"

    return sas


class Web(BaseHTTPRequestHandler):
    """Responds as the path says."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        name = self.path.split("?")[0].strip("/")
        self.server.asked.append(name)
        {
            "redirect": lambda: self.empty(302, ("Location", "/content")),
            "loop": lambda: self.empty(302, ("Location", "/loop")),
            "missing": lambda: self.empty(404),
            "forbidden": lambda: self.empty(403),
            "busy-once": self.busy_once,
            "parts": self.in_parts,
            "stalled": self.stalled,
        }.get(name, self.content)()

    def empty(self, status, *headers):
        self.send_response(status)
        for header in [*headers, ("Content-Length", "0")]:
            self.send_header(*header)
        self.end_headers()

    def content(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)

    def busy_once(self):
        return self.empty(503) if self.server.asked.count("busy-once") == 1 else self.content()

    def in_parts(self):
        """Sends ten parts without a length: the end of the connection is the end of the body."""
        self.close_connection = True
        self.send_response(200)
        self.send_header("Connection", "close")
        self.end_headers()
        part = len(self.server.body) // 10 + 1
        for start in range(0, len(self.server.body), part):
            self.wfile.write(self.server.body[start : start + part])
            self.wfile.flush()

    def stalled(self):
        """Sends nothing after the headers, until the client closes the connection."""
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Length", "10")
        self.end_headers()
        with contextlib.suppress(OSError):
            self.server.left.append(self.connection.recv(1))

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def served(context=None):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Web)
    server.daemon_threads = True
    server.asked, server.left, server.body = [], [], os.urandom(300_000)
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        server.handle_error = lambda *_: None
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    scheme, host = ("https", "localhost") if context else ("http", "127.0.0.1")
    server.url = f"{scheme}://{host}:{server.server_port}"
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def web():
    with served() as server:
        yield server


@pytest.fixture
def web_that_nobody_trusts(tmp_path):
    """A server with a self-signed certificate."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    pem = tmp_path / "both.pem"
    pem.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    with served(context) as server:
        yield server


@pytest.fixture(scope="session")
def shown_md5():
    """The MD5 of a blob as text."""
    return lambda properties: base64.b64encode(properties.content_settings.content_md5).decode()
