"""Snakemake with its storage plugin for Azure: a workflow whose files are blobs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from azure.storage.blob import BlobServiceClient

HERE = Path(__file__).resolve().parent
LARGE = os.urandom(5 << 20)


@pytest.fixture
def container(connection, fresh):
    blobs = BlobServiceClient.from_connection_string(connection["connection_string"], retry_total=0)
    client = blobs.create_container(fresh("flow"))
    for name in ("a", "b", "c"):
        client.upload_blob(f"in/{name}.txt", f"words of {name}\n")
    client.upload_blob("in/large.bin", LARGE)
    yield client
    client.delete_container()


@pytest.fixture
def snakemake(connection, container, tmp_path):
    """Runs the workflow; returns the rules that ran, sorted by name, and the output of Snakemake."""
    ran = tmp_path / "ran"

    def snakemake(*options, fails=False):
        ran.write_text("")
        command = [sys.executable, "-m", "snakemake", "--cores", "2", "--snakefile", HERE / "Snakefile"]
        command += ["--storage-azure-account-name", connection["blob"]["account"], *options]
        command += ["--config", f"container={container.container_name}", f"ran={ran}", "names=a+b+c"]
        variables = {
            **os.environ,
            # The plugin has no other way to use an account that is not on Azure.
            "AZURITE_CONNECTION_STRING": connection["connection_string"],
            "XDG_CACHE_HOME": str(tmp_path / "cache"),
        }
        done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=100)
        assert (done.returncode != 0) == fails, done.stdout + done.stderr
        return sorted(ran.read_text().split()), done.stdout + done.stderr

    return snakemake


@pytest.fixture
def change(container, until):
    """Stores an input that is newer than an output: times of blobs are whole seconds."""

    def change(name, content, output):
        def newer():
            container.upload_blob(name, content, overwrite=True)
            modified = [container.get_blob_client(each).get_blob_properties().last_modified for each in (name, output)]
            return modified[0] > modified[1]

        until(f"{name} is newer than {output}", newer)

    return change


def read(container, name):
    return container.download_blob(name).readall()


def test_only_what_follows_from_a_change_runs_again(snakemake, container, change):
    ran, _ = snakemake()
    assert ran == ["a", "b", "c", "large", "together"]
    assert read(container, "out/all.txt") == b"WORDS OF A\nWORDS OF B\nWORDS OF C\n"
    assert read(container, "tree/sub/copy") == LARGE
    names = [f"in/{name}.txt" for name in "abc"] + ["in/large.bin", "out/a.up", "out/all.txt", "out/b.up", "out/c.up"]
    assert [blob.name for blob in container.list_blobs()] == names + ["tree/one", "tree/sub/copy"]
    ran, said = snakemake()
    assert ran == [] and "Nothing to be done" in said
    change("in/b.txt", b"other words\n", "out/all.txt")
    ran, _ = snakemake()
    assert ran == ["b", "together"]
    assert read(container, "out/all.txt") == b"WORDS OF A\nOTHER WORDS\nWORDS OF C\n"
    container.delete_blob("out/c.up")
    container.delete_blob("out/all.txt")
    assert snakemake()[0] == ["c", "together"]
    assert snakemake("--dry-run")[0] == []


def test_what_failed_is_not_stored_and_runs_again_when_it_is_mended(snakemake, container):
    container.upload_blob("in/b.txt", b"broken", overwrite=True)
    ran, said = snakemake("--keep-going", fails=True)
    assert ran == ["a", "b", "c", "large"] and "Error in rule capitals" in said
    stored = [blob.name for blob in container.list_blobs(name_starts_with="out/")]
    assert stored == ["out/a.up", "out/c.up"]
    container.upload_blob("in/b.txt", b"mended\n", overwrite=True)
    assert snakemake()[0] == ["b", "together"]
    assert read(container, "out/all.txt") == b"WORDS OF A\nMENDED\nWORDS OF C\n"


def test_an_input_that_does_not_exist_is_named(snakemake, container):
    container.delete_blob("in/c.txt")
    ran, said = snakemake(fails=True)
    assert ran == [] and "MissingInputException" in said and "in/c.txt" in said


def test_every_output_is_deleted_and_no_input(snakemake, container):
    snakemake()
    snakemake("--delete-all-output")
    names = [blob.name for blob in container.list_blobs()]
    assert [name for name in names if name.startswith("in/")] == ["in/a.txt", "in/b.txt", "in/c.txt", "in/large.bin"]
    assert not [name for name in names if name.startswith("out/")]
