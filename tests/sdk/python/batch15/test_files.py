"""Files of tasks and of nodes."""

from urllib.parse import unquote

import pytest
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError

from shapes import task_of


@pytest.fixture
def written(batch, job, finished):
    """A job with a task `t` that left files behind."""
    batch.create_task(job, task_of("t", "echo 0123456789; mkdir -p d/e; echo deep > d/e/f.txt; : > empty"))
    finished(job)
    return job


def test_files_of_a_task_are_listed(batch, written):
    top = {file.name: file.is_directory for file in batch.list_task_files(written, "t")}
    assert top["wd"] is True and top["stdout.txt"] is False
    every = {file.name: file for file in batch.list_task_files(written, "t", recursive=True)}
    assert {"stdout.txt", "stderr.txt", "wd/empty", "wd/d", "wd/d/e", "wd/d/e/f.txt"} <= set(every)
    assert every["wd/d/e/f.txt"].properties.content_length == 5
    within = batch.list_task_files(written, "t", recursive=True, filter="startswith(name,'wd/d/')")
    assert {file.name for file in within} == {"wd/d/e", "wd/d/e/f.txt"}
    pages = batch.list_task_files(written, "t", recursive=True, max_results=2).by_page()
    assert sum(len(list(page)) for page in pages) == len(every)


def test_the_address_of_a_file_in_a_folder_has_slashes(batch, written):
    every = {file.name: file.url for file in batch.list_task_files(written, "t", recursive=True)}
    assert every["wd/d/e/f.txt"].endswith(f"/jobs/{written}/tasks/t/files/wd/d/e/f.txt")


def test_the_answer_to_a_download_names_the_address_that_was_asked(batch, written):
    headers = {}

    def keep_headers(answer):
        headers.update(answer.http_response.headers)

    b"".join(batch.download_task_file(written, "t", "stdout.txt", raw_response_hook=keep_headers))
    assert unquote(headers["ocp-batch-file-url"]).endswith(f"/jobs/{written}/tasks/t/files/stdout.txt")


@pytest.mark.parametrize(
    ("range", "content"),
    [
        (None, b"0123456789\n"),
        ("bytes=0-3", b"0123"),
        ("bytes=3-", b"3456789\n"),
        ("bytes=8-100", b"89\n"),
    ],
)
def test_a_file_is_read_in_part(batch, written, range, content):
    assert b"".join(batch.download_task_file(written, "t", "stdout.txt", ocp_range=range)) == content


def test_a_range_beyond_the_end_is_refused(batch, written):
    with pytest.raises(HttpResponseError) as beyond:
        b"".join(batch.download_task_file(written, "t", "stdout.txt", ocp_range="bytes=100-200"))
    beyond.value.response.read()
    assert (beyond.value.status_code, beyond.value.response.json()["code"]) == (416, "InvalidRange")


def test_properties_of_a_file(batch, written):
    seen = batch.get_task_file_properties(written, "t", "stdout.txt")
    assert int(seen.content_length) == 11 and str(seen.is_directory).lower() == "false"
    assert unquote(seen.url).endswith(f"/jobs/{written}/tasks/t/files/stdout.txt")
    assert seen.last_modified and seen.file_mode
    assert b"".join(batch.download_task_file(written, "t", "wd/empty")) == b""


def test_a_file_that_is_not_there(batch, written):
    with pytest.raises(ResourceNotFoundError) as none:
        b"".join(batch.download_task_file(written, "t", "wd/none"))
    # The client does not read the body of a response that it wanted to stream.
    none.value.response.read()
    assert none.value.response.json()["code"] == "FileNotFound"
    with pytest.raises(ResourceNotFoundError):
        batch.get_task_file_properties(written, "t", "wd/none")


@pytest.mark.parametrize("path", ["../../../../etc/passwd", "wd/../../../../../../etc/passwd", "/etc/passwd"])
def test_no_path_leads_out_of_the_task(batch, written, path):
    with pytest.raises(HttpResponseError) as out:
        b"".join(batch.download_task_file(written, "t", path))
    assert out.value.status_code in (400, 403, 404)


def test_a_file_is_deleted(batch, written):
    batch.delete_task_file(written, "t", "wd/empty")
    with pytest.raises(ResourceNotFoundError):
        batch.get_task_file_properties(written, "t", "wd/empty")
    with pytest.raises(HttpResponseError):
        batch.delete_task_file(written, "t", "wd/d")
    batch.delete_task_file(written, "t", "wd/d", recursive=True)
    names = {file.name for file in batch.list_task_files(written, "t", recursive=True)}
    assert not any(name.startswith("wd/d") for name in names)


def test_files_of_a_node(batch, pool, written):
    task = batch.get_task(written, "t")
    node = task.node_info.node_id
    assert task.node_info.pool_id == pool and task.node_info.node_url.endswith(f"/pools/{pool}/nodes/{node}")
    top = {file.name for file in batch.list_node_files(pool, node)}
    assert {"shared", "startup", "workitems"} <= top
    root = task.node_info.task_root_directory
    name = f"{root}/stdout.txt"
    assert name in {file.name for file in batch.list_node_files(pool, node, recursive=True)}
    assert b"".join(batch.download_node_file(pool, node, name)) == b"0123456789\n"
    assert b"".join(batch.download_node_file(pool, node, name, ocp_range="bytes=2-4")) == b"234"
    assert int(batch.get_node_file_properties(pool, node, name).content_length) == 11
    batch.delete_node_file(pool, node, f"{root}/wd/empty")
    with pytest.raises(ResourceNotFoundError):
        batch.get_node_file_properties(pool, node, f"{root}/wd/empty")
