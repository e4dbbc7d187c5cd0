"""Airflow's hook, operators, sensors and paths over Blob."""

import os

import pytest
from airflow.providers.microsoft.azure.operators.wasb_delete_blob import WasbDeleteBlobOperator
from airflow.providers.microsoft.azure.sensors.wasb import WasbBlobSensor, WasbPrefixSensor
from airflow.providers.microsoft.azure.transfers.local_to_wasb import LocalFilesystemToWasbOperator
from airflow.sdk import ObjectStoragePath
from airflow.sdk.exceptions import AirflowException


def test_files_are_loaded_listed_read_copied_and_deleted(container, tmp_path):
    wasb, name = container
    content = os.urandom(300_000)
    (tmp_path / "a.bin").write_bytes(content)
    wasb.load_file(tmp_path / "a.bin", name, "d/a.bin")
    wasb.load_string("häll\u00f6", name, "d/e/b.txt")
    assert wasb.get_blobs_list(name, prefix="d/") == ["d/e/", "d/a.bin"]
    assert wasb.get_blobs_list_recursive(name) == ["d/a.bin", "d/e/b.txt"]
    assert wasb.read_file(name, "d/e/b.txt") == "häll\u00f6"
    wasb.get_file(tmp_path / "back", name, "d/a.bin")
    assert (tmp_path / "back").read_bytes() == content
    wasb.copy_blobs(name, "d/a.bin", name, "copy")
    assert wasb.download(name, "copy").readall() == content
    wasb.delete_blobs(name, "d/a.bin", "copy")
    assert wasb.get_blobs_list_recursive(name) == ["d/e/b.txt"]
    assert wasb.test_connection()[0]


def test_operators_and_sensors(container, tmp_path):
    wasb, name = container
    (tmp_path / "in.txt").write_text("words")
    asked = {"container_name": name, "blob_name": "in/in.txt"}
    sensor = WasbBlobSensor(task_id="s", **asked)
    prefix = WasbPrefixSensor(task_id="p", container_name=name, prefix="in/")
    assert (sensor.poke({}), prefix.poke({})) == (False, False)
    LocalFilesystemToWasbOperator(task_id="l", file_path=str(tmp_path / "in.txt"), **asked).execute({})
    assert (sensor.poke({}), prefix.poke({})) == (True, True)
    WasbDeleteBlobOperator(task_id="d", **asked).execute({})
    assert not sensor.poke({})
    with pytest.raises(AirflowException, match="not found"):
        WasbDeleteBlobOperator(task_id="d", **asked).execute({})
    wasb.load_string("1", name, "in/1")
    wasb.load_string("2", name, "in/2")
    WasbDeleteBlobOperator(task_id="d", container_name=name, blob_name="in/", is_prefix=True).execute({})
    assert wasb.get_blobs_list_recursive(name) == []


def test_a_path_of_an_object_store(container):
    wasb, name = container
    root = ObjectStoragePath(f"abfs://wasb_default@{name}/data")
    (root / "d").mkdir(exist_ok=True)
    (root / "d" / "x.txt").write_text("written")
    assert (root / "d" / "x.txt").read_text() == "written"
    assert [path.name for path in (root / "d").iterdir()] == ["x.txt"]
    assert (root / "d" / "x.txt").stat().st_size == 7
    (root / "d" / "x.txt").unlink()
    assert not (root / "d" / "x.txt").exists()
