"""Resource files from any URL, and containers of another storage account."""

import base64
import hashlib
import os
import time

import azure.batch.models as m
import pytest

from shapes import task_of


def output(pattern, container_url, path=None):
    """Returns an output file that is stored whatever the task's exit code is."""
    return m.OutputFile(
        file_pattern=pattern,
        destination=m.OutputFileDestination(
            container=m.OutputFileBlobContainerDestination(container_url=container_url, path=path)
        ),
        upload_options=m.OutputFileUploadConfiguration(upload_condition=m.OutputFileUploadCondition.TASK_COMPLETION),
    )


def failure(task):
    """Returns category, code and details of a task's failure."""
    info = task.execution_info.failure_info
    return info.category, info.code, {pair.name: pair.value for pair in info.details or []}


def test_files_come_from_the_web_and_go_to_another_account(batch, job, finished, web, container, sas, shown_md5):
    sources = {"plain": "content?sig=secret", "redirected": "redirect", "late": "busy-once", "parts": "parts"}
    task = task_of("t", "cat plain redirected late parts > all; head -c 9000000 /dev/zero > zeros")
    task.resource_files = [m.ResourceFile(http_url=f"{web.url}/{path}", file_path=name) for name, path in sources.items()]
    url = sas(container)
    task.output_files = [output("*", url, "found"), output("../std*.txt", url, "streams")]
    batch.create_task(job, task)
    done = finished(job)["t"]
    assert done.execution_info.result == "success", done.execution_info.failure_info
    names = {blob.name for blob in container.list_blobs()}
    assert names == {f"found/{name}" for name in [*sources, "all", "zeros"]} | {
        "streams/stdout.txt",
        "streams/stderr.txt",
    }
    assert container.download_blob("found/all").readall() == web.body * 4
    # One file is longer than a block.
    zeros = container.get_blob_client("found/zeros")
    assert zeros.download_blob().readall() == bytes(9_000_000)
    properties = zeros.get_blob_properties()
    assert shown_md5(properties) == base64.b64encode(hashlib.md5(bytes(9_000_000)).digest()).decode()
    assert properties.content_settings.content_type == "application/octet-stream"


@pytest.mark.parametrize(
    ("path", "category", "code"),
    [
        ("missing", "usererror", "BlobNotFound"),
        ("forbidden", "usererror", "BlobAccessDenied"),
        ("loop", "servererror", "BlobDownloadMiscError"),
    ],
)
def test_a_file_that_does_not_come_fails_the_task(batch, job, finished, web, path, category, code):
    task = task_of("t")
    task.resource_files = [m.ResourceFile(http_url=f"{web.url}/{path}?sig=secret", file_path="f")]
    batch.create_task(job, task)
    found, found_code, details = failure(finished(job)["t"])
    assert (found, found_code) == (category, code)
    assert details["FilePath"] == "f" and "secret" not in str(details)


def test_a_certificate_that_nobody_trusts_fails_the_task(batch, job, finished, web_that_nobody_trusts):
    task = task_of("t")
    task.resource_files = [m.ResourceFile(http_url=f"{web_that_nobody_trusts.url}/content", file_path="f")]
    batch.create_task(job, task)
    category, code, details = failure(finished(job)["t"])
    assert (category, code) == ("servererror", "BlobDownloadMiscError")
    assert "certificate" in details["Message"], details
    assert web_that_nobody_trusts.asked == []


def test_a_task_that_waits_for_a_file_can_be_terminated(batch, job, finished, web, until):
    task = task_of("t")
    task.resource_files = [m.ResourceFile(http_url=f"{web.url}/stalled", file_path="f")]
    batch.create_task(job, task)
    until("the file is asked for", lambda: "stalled" in web.asked)
    began = time.monotonic()
    batch.terminate_task(job, "t")
    assert failure(finished(job)["t"])[1] == "TaskEnded"
    assert time.monotonic() - began < 20
    until("the connection is closed", lambda: web.left == [b""])


def test_all_blobs_of_a_container_of_another_account_come(batch, job, finished, container, sas):
    contents = {"in/a.txt": b"a", "in/sub/b c#?%.bin": os.urandom(200_000), "other": b"no"}
    for name, content in contents.items():
        container.upload_blob(name, content)
    task = task_of("t", "find . -type f | sort; cat to/in/sub/*")
    task.resource_files = [
        m.ResourceFile(storage_container_url=sas(container, "rl"), blob_prefix="in/", file_path="to")
    ]
    batch.create_task(job, task)
    done = finished(job)["t"]
    assert done.execution_info.result == "success", done.execution_info.failure_info
    printed = b"".join(batch.download_task_file(job, "t", "stdout.txt"))
    assert printed == b"./to/in/a.txt\n./to/in/sub/b c#?%.bin\n" + contents["in/sub/b c#?%.bin"]


def test_a_container_without_rights_or_none_at_all_fails_the_task(batch, job, finished, other, container, sas, fresh):
    absent = other.get_container_client(fresh("absent"))
    inputs = {
        "denied": (sas(container, "w"), "ResourceContainerAccessDenied"),
        "absent": (sas(absent), "ResourceContainerNotFound"),
    }
    outputs = {
        "closed": (sas(container, "rl"), "FileUploadAccessDenied"),
        "gone": (sas(absent), "FileUploadContainerNotFound"),
    }
    for name, (url, _) in inputs.items():
        task = task_of(name)
        task.resource_files = [m.ResourceFile(storage_container_url=url)]
        batch.create_task(job, task)
    for name, (url, _) in outputs.items():
        task = task_of(name, "echo x > f")
        task.output_files = [output("f", url)]
        batch.create_task(job, task)
    tasks = finished(job)
    for name, (url, code) in (inputs | outputs).items():
        category, found_code, details = failure(tasks[name])
        assert (category, found_code) == ("usererror", code), name
        assert url.split("sig=")[1] not in str(details)
