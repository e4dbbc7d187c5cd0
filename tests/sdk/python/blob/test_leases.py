"""Leases on blobs and containers, and blobs that grow at their end."""

import uuid

import pytest
from azure.core.exceptions import HttpResponseError
from azure.storage.blob import BlobLeaseClient


def code(raised):
    return raised.value.status_code, raised.value.error_code


def refused(call, status, error):
    with pytest.raises(HttpResponseError) as raised:
        call()
    assert code(raised) == (status, error)


def test_a_lease_is_acquired_and_released(container):
    blob = container.upload_blob("l", b"1")
    lease = blob.acquire_lease(15)
    refused(lambda: blob.upload_blob(b"2", overwrite=True), 412, "LeaseIdMissing")
    refused(blob.delete_blob, 412, "LeaseIdMissing")
    refused(lambda: blob.set_blob_metadata({"a": "b"}), 412, "LeaseIdMissing")
    blob.upload_blob(b"3", overwrite=True, lease=lease)
    assert blob.download_blob().readall() == b"3" == blob.download_blob(lease=lease).readall()
    lease.release()
    blob.upload_blob(b"4", overwrite=True)


def test_a_lease_is_seen(container):
    blob = container.upload_blob("l", b"1")
    seen = lambda: (lambda lease: (lease.state, lease.status, lease.duration))(blob.get_blob_properties().lease)
    assert seen() == ("available", "unlocked", None)
    lease = blob.acquire_lease(-1)
    assert seen() == ("leased", "locked", "infinite")
    [listed] = container.list_blobs()
    assert (listed.lease.state, listed.lease.duration) == ("leased", "infinite")
    assert lease.break_lease(30) == 30
    assert seen() == ("breaking", "locked", None)
    assert lease.break_lease(0) == 0
    assert seen() == ("broken", "unlocked", None)
    lease.release()
    assert seen() == ("available", "unlocked", None)


def test_a_lease_is_renewed_and_changed_by_its_holder(container):
    blob = container.upload_blob("l", b"1")
    own, other = str(uuid.uuid4()), str(uuid.uuid4())
    lease = blob.acquire_lease(60, lease_id=own)
    assert lease.id == own
    lease.renew()
    refused(lambda: blob.acquire_lease(60), 409, "LeaseAlreadyPresent")
    refused(BlobLeaseClient(blob, lease_id=other).renew, 409, "LeaseIdMismatchWithLeaseOperation")
    lease.change(other)
    assert lease.id == other
    refused(lambda: blob.upload_blob(b"2", overwrite=True, lease=own), 412, "LeaseIdMismatchWithBlobOperation")
    blob.delete_blob(lease=lease)
    refused(BlobLeaseClient(container.upload_blob("n", b"")).break_lease, 409, "LeaseNotPresentWithLeaseOperation")


def test_blocks_are_staged_under_a_lease(container):
    blob = container.upload_blob("l", b"1")
    lease = blob.acquire_lease(-1)
    refused(lambda: blob.stage_block("aa", b"2"), 412, "LeaseIdMissing")
    blob.stage_block("aa", b"2", lease=lease)
    refused(lambda: blob.commit_block_list(["aa"]), 412, "LeaseIdMissing")
    blob.commit_block_list(["aa"], lease=lease)
    assert blob.download_blob().readall() == b"2"


def test_a_leased_container_stays(container):
    lease = container.acquire_lease(-1)
    assert container.get_container_properties().lease.state == "leased"
    container.upload_blob("in it", b"1")
    refused(container.delete_container, 412, "LeaseIdMissing")
    refused(lambda: container.delete_container(lease=str(uuid.uuid4())), 412, "LeaseIdMismatchWithContainerOperation")
    container.set_container_metadata({"a": "b"}, lease=lease)
    container.delete_container(lease=lease)
    assert not container.exists()


def test_an_append_blob_grows(container):
    blob = container.get_blob_client("a")
    blob.create_append_blob(metadata={"k": "v"})
    assert blob.append_block(b"1")["blob_append_offset"] == "0"
    said = blob.append_block(b"2", appendpos_condition=1, maxsize_condition=2)
    assert (said["blob_append_offset"], said["blob_committed_block_count"]) == ("1", 2)
    assert blob.download_blob().readall() == b"12"
    seen = blob.get_blob_properties()
    assert (seen.blob_type, seen.size, seen.append_blob_committed_block_count, seen.metadata) == ("AppendBlob", 2, 2, {"k": "v"})
    refused(lambda: blob.append_block(b"3", appendpos_condition=1), 412, "AppendPositionConditionNotMet")
    refused(lambda: blob.append_block(b"3", maxsize_condition=2), 412, "MaxBlobSizeConditionNotMet")
    refused(lambda: container.upload_blob("b", b"").append_block(b"3"), 409, "InvalidBlobType")


def test_an_append_blob_is_uploaded_and_goes_on(container):
    blob = container.get_blob_client("a")
    blob.upload_blob(b"12", blob_type="AppendBlob")
    blob.upload_blob(b"34", blob_type="AppendBlob")
    assert blob.download_blob().readall() == b"1234"
    blob.upload_blob(b"5", blob_type="AppendBlob", overwrite=True)
    assert blob.download_blob().readall() == b"5"
    refused(blob.seal_append_blob, 501, "NotImplemented")
