"""The client of Data Lake: requests to its own endpoint are rejected with a clear error; requests to Blob work."""

import pytest
from azure.core.exceptions import HttpResponseError
from azure.storage.filedatalake import DataLakeServiceClient


@pytest.fixture
def lake(connection, blobs, root):
    blobs.get_blob_client(root, "d/kept").upload_blob(b"kept")
    blob = connection["blob"]
    return DataLakeServiceClient(blob["endpoint"], credential=blob["key"], retry_total=0).get_file_system_client(root)


@pytest.mark.parametrize(
    "call",
    [
        lambda lake: list(lake.get_paths()),
        lambda lake: lake.create_directory("d2"),
        lambda lake: lake.create_file("f"),
        lambda lake: lake.get_file_client("f").upload_data(b"x", overwrite=True),
        lambda lake: lake.get_file_client("f").append_data(b"x", 0),
        lambda lake: lake.get_file_client("f").flush_data(1),
        lambda lake: lake.get_file_client("d/kept").rename_file(f"{lake.file_system_name}/d/other"),
        lambda lake: lake.get_file_client("d/kept").set_access_control(owner="me"),
        lambda lake: lake.get_directory_client("d").delete_directory(),
        lambda lake: lake.get_directory_client("d").set_access_control_recursive(acl="user::rwx"),
    ],
)
def test_calls_of_data_lake_are_refused_by_name_and_change_nothing(lake, blobs, root, call):
    with pytest.raises(HttpResponseError) as refused:
        call(lake)
    assert (refused.value.status_code, refused.value.error_code) == (501, "NotImplemented")
    assert "Data Lake Storage" in refused.value.message
    assert [each.name for each in blobs.get_container_client(root).list_blobs()] == ["d/kept"]
    assert blobs.get_blob_client(root, "d/kept").download_blob().readall() == b"kept"


def test_the_namespace_is_flat(lake):
    with pytest.raises(HttpResponseError) as flat:
        lake.get_directory_client("/").get_access_control()
    assert (flat.value.status_code, flat.value.error_code) == (400, "HierarchicalNamespaceNotEnabled")


def test_what_is_of_blob_too_is_answered(lake, root):
    assert lake.get_file_system_properties().name == root
    assert lake.get_file_client("d/kept").download_file().readall() == b"kept"
    assert lake.get_file_client("d/kept").get_file_properties().size == 4
    assert not lake.get_file_client("none").exists()
