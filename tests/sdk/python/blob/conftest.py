"""The Blob client of this environment, and a container for each test."""

import datetime as dt

import pytest
from azure.storage.blob import BlobSasPermissions, BlobServiceClient, generate_blob_sas


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
    """Returns times relative to now."""
    return lambda **delta: dt.datetime.now(dt.timezone.utc) + dt.timedelta(**delta)


@pytest.fixture(scope="session")
def readable(blobs, key, later):
    """The URL of a blob, with a SAS that allows to read it."""

    def url(blob, **permissions):
        sas = generate_blob_sas(
            blobs.account_name,
            blob.container_name,
            blob.blob_name,
            account_key=key,
            permission=BlobSasPermissions(**(permissions or {"read": True})),
            expiry=later(hours=1),
        )
        return f"{blob.url}?{sas}"

    return url
