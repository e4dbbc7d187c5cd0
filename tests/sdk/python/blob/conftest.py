"""The Blob client of this environment, and a container for each test."""

import datetime as dt

import pytest
from azure.storage.blob import BlobServiceClient


@pytest.fixture(scope="session")
def blobs(connection):
    return BlobServiceClient.from_connection_string(connection["connection_string"], retry_total=0)


@pytest.fixture(scope="session")
def key(connection):
    return connection["blob"]["key"]


@pytest.fixture
def container(blobs, fresh):
    client = blobs.create_container(fresh("c"))
    yield client
    try:
        client.delete_container()
    except Exception:  # the test deleted it itself
        pass


@pytest.fixture(scope="session")
def later():
    """Moments from now on."""
    return lambda **delta: dt.datetime.now(dt.timezone.utc) + dt.timedelta(**delta)
