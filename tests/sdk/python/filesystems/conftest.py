"""File systems on top of Blob, and the Blob client that checks their contents."""

import fsspec
import pytest
from azure.storage.blob import BlobServiceClient


@pytest.fixture(scope="session")
def blobs(connection):
    return BlobServiceClient.from_connection_string(connection["connection_string"], retry_total=0)


@pytest.fixture
def options(connection):
    """Options of the file system, for tests that open it by a URL."""
    return {"connection_string": connection["connection_string"]}


@pytest.fixture
def fs(options):
    """A file system of adlfs without cached data of other tests."""
    fsspec.filesystem("abfs", **options).clear_instance_cache()
    return fsspec.filesystem("abfs", **options)


@pytest.fixture
def root(fs, blobs, fresh):
    """A new container for the test."""
    name = fresh("fs")
    fs.mkdir(name)
    yield name
    if name in [each.name for each in blobs.list_containers(name_starts_with=name)]:
        blobs.delete_container(name)
