"""The steps of public tutorials: files are uploaded, tasks process them, outputs are downloaded."""

import datetime as dt

import azure.batch.models as m
import pytest
from azure.core.exceptions import ResourceNotFoundError
from azure.storage.blob import BlobSasPermissions, ContainerSasPermissions, generate_blob_sas, generate_container_sas

from shapes import job_of, pool_of, task_of


def later():
    return dt.datetime.now(dt.timezone.utc) + dt.timedelta(hours=2)


def input_of(blobs, container, name, content):
    """Uploads an input and returns the resource file, as the quickstart does."""
    blob = blobs.get_blob_client(container, name)
    blob.upload_blob(content, overwrite=True)
    sas = generate_blob_sas(
        blobs.account_name,
        container,
        name,
        account_key=blobs.credential.account_key,
        permission=BlobSasPermissions(read=True),
        expiry=later(),
    )
    return m.ResourceFile(http_url=f"{blob.url}?{sas}", file_path=name)


def output_url(blobs, container):
    sas = generate_container_sas(
        blobs.account_name,
        container,
        account_key=blobs.credential.account_key,
        permission=ContainerSasPermissions(read=True, add=True, create=True, write=True, delete=True, list=True),
        expiry=later(),
    )
    return f"{blobs.get_container_client(container).url}?{sas}"


def test_the_quickstart_prints_each_input_and_its_output_is_read_from_the_task(batch, blobs, pool, fresh, finished):
    container = fresh("in")
    blobs.create_container(container)
    files = [input_of(blobs, container, f"taskdata{n}.txt", f"Batch processing {n}\n") for n in range(3)]
    job = fresh("job")
    batch.create_job(job_of(job, pool))
    tasks = [
        task_of(f"Task{n}", f"cat {file.file_path}", resource_files=[file]) for n, file in enumerate(files)
    ]
    batch.create_task_collection(job_id=job, task_collection=m.BatchTaskGroup(task_values=tasks))
    for n in range(3):
        assert finished(job)[f"Task{n}"].execution_info.result == m.BatchTaskExecutionResult.SUCCESS
        stdout = b"".join(batch.download_task_file(job, f"Task{n}", "stdout.txt"))
        assert stdout.decode() == f"Batch processing {n}\n"
        node = batch.get_task(job, f"Task{n}").node_info.node_id
        assert node in [each.id for each in batch.list_nodes(pool)]
    batch.begin_delete_job(job, polling_interval=0.05).result()
    with pytest.raises(ResourceNotFoundError) as gone:
        batch.get_job(job)
    assert gone.value.error.code == "JobNotFound"
    blobs.delete_container(container)


def test_the_media_tutorial_with_a_start_task_and_outputs_to_a_container(batch, blobs, fresh, until, finished):
    inputs, outputs, pool, job = fresh("in"), fresh("out"), fresh("pool"), fresh("job")
    for name in (inputs, outputs):
        blobs.create_container(name)
    tool = input_of(blobs, inputs, "tool.sh", '#!/bin/sh\ntr a-z A-Z < "$1" > "$2"\n')
    tool.file_mode = "0755"
    start = m.BatchStartTask(
        command_line='/bin/sh -c "cp tool.sh $AZ_BATCH_NODE_SHARED_DIR/"',
        resource_files=[tool],
        wait_for_success=True,
        max_task_retry_count=1,
        user_identity=m.UserIdentity(
            auto_user=m.AutoUserSpecification(
                scope=m.AutoUserScope.POOL, elevation_level=m.ElevationLevel.NON_ADMIN
            )
        ),
    )
    batch.create_pool(pool_of(pool, nodes=2, start_task=start))
    until("all nodes idle", lambda: [node.state for node in batch.list_nodes(pool)] == ["idle"] * 2)
    for node in batch.list_nodes(pool):
        assert (node.start_task_info.state, node.start_task_info.exit_code) == ("completed", 0)
    batch.create_job(job_of(job, pool))
    url = output_url(blobs, outputs)
    for n in range(5):
        name = f"LowPriVMs-{n}"
        file = input_of(blobs, inputs, f"{name}.txt", f"words of {n}")
        output = m.OutputFile(
            file_pattern=f"{name}.out",
            destination=m.OutputFileDestination(
                container=m.OutputFileBlobContainerDestination(container_url=url, path=f"{name}.out")
            ),
            upload_options=m.OutputFileUploadConfiguration(
                upload_condition=m.OutputFileUploadCondition.TASK_SUCCESS
            ),
        )
        logs = m.OutputFile(
            file_pattern="../std*.txt",
            destination=m.OutputFileDestination(
                container=m.OutputFileBlobContainerDestination(container_url=url, path=f"logs/{n}")
            ),
            upload_options=m.OutputFileUploadConfiguration(
                upload_condition=m.OutputFileUploadCondition.TASK_COMPLETION
            ),
        )
        line = f"$AZ_BATCH_NODE_SHARED_DIR/tool.sh {name}.txt {name}.out && echo done {n}"
        batch.create_task(job, task_of(f"Task{n}", line, resource_files=[file], output_files=[output, logs]))
    for task in finished(job).values():
        assert task.execution_info.result == "success", task.execution_info.failure_info
    names = sorted(blob.name for blob in blobs.get_container_client(outputs).list_blobs())
    logs = [f"logs/{n}/{kind}.txt" for n in range(5) for kind in ("stderr", "stdout")]
    assert names == sorted([f"LowPriVMs-{n}.out" for n in range(5)] + logs)
    for n in range(5):
        home = blobs.get_blob_client(outputs, f"LowPriVMs-{n}.out").download_blob().readall()
        assert home == f"WORDS OF {n}".encode()
        assert blobs.get_blob_client(outputs, f"logs/{n}/stdout.txt").download_blob().readall() == f"done {n}\n".encode()
    batch.begin_terminate_job(job, {"terminateReason": "done"}, polling_interval=0.05).result()
    assert batch.get_job(job).state == m.BatchJobState.COMPLETED
    batch.begin_delete_job(job, polling_interval=0.05).result()
    batch.begin_delete_pool(pool, polling_interval=0.05).result()
    with pytest.raises(ResourceNotFoundError):
        batch.get_pool(pool)


def test_a_container_as_resource_files_with_a_prefix(batch, blobs, job, fresh, finished):
    container = fresh("in")
    blobs.create_container(container)
    for name in ("data/one", "data/deep/two", "other"):
        blobs.get_blob_client(container, name).upload_blob(name)
    file = m.ResourceFile(storage_container_url=output_url(blobs, container), blob_prefix="data/", file_path="got")
    batch.create_task(job, task_of("tree", "find . -type f | sort", resource_files=[file]))
    task = finished(job)["tree"]
    assert task.execution_info.result == "success", task.execution_info.failure_info
    out = b"".join(batch.download_task_file(job, "tree", "stdout.txt")).decode().split()
    assert out == ["./got/data/deep/two", "./got/data/one"]


def test_an_unavailable_input_fails_its_task_before_it_runs(batch, blobs, job, fresh, finished):
    container = fresh("in")
    blobs.create_container(container)
    file = input_of(blobs, container, "gone.txt", "x")
    blobs.get_blob_client(container, "gone.txt").delete_blob()
    batch.create_task(job, task_of("poor", "true", resource_files=[file]))
    info = finished(job)["poor"].execution_info
    assert info.result == "failure" and info.exit_code is None
    assert info.failure_info.category == m.BatchErrorSourceCategory.USER_ERROR
    assert info.failure_info.code == "BlobNotFound" or info.failure_info.code == "ResourceContainerNotFound"


def test_an_output_that_cannot_be_stored_fails_a_task_that_exited_with_zero(batch, blobs, job, fresh, finished):
    container = fresh("out")
    blobs.create_container(container)
    url = output_url(blobs, container)
    blobs.delete_container(container)
    output = m.OutputFile(
        file_pattern="*.out",
        destination=m.OutputFileDestination(container=m.OutputFileBlobContainerDestination(container_url=url)),
        upload_options=m.OutputFileUploadConfiguration(upload_condition=m.OutputFileUploadCondition.TASK_COMPLETION),
    )
    batch.create_task(job, task_of("t", "echo 1 > a.out", output_files=[output]))
    info = finished(job)["t"].execution_info
    assert (info.result, info.exit_code) == ("failure", 0)
    assert info.failure_info.code in ("FileUploadContainerNotFound", "FileUploadAccessDenied", "FileUploadMiscError")
