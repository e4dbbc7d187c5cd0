"""Containers, lists of them and of their blobs, batches."""

import pytest
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.storage.blob import BlobPrefix


@pytest.mark.slow
def test_twelve_hundred_blobs_are_listed_in_pages(container):
    names = sorted(f"{'ab'[n % 2]}/{n:04}" for n in range(1200))
    for name in names:
        container.upload_blob(name, b"")
    assert [blob.name for blob in container.list_blobs()] == names
    pages = [[blob.name for blob in page] for page in container.list_blobs(results_per_page=500).by_page()]
    assert [len(page) for page in pages] == [500, 500, 200] and sum(pages, []) == names
    within = [blob.name for blob in container.list_blobs(name_starts_with="a/00", results_per_page=7)]
    assert within == [name for name in names if name.startswith("a/00")]
    first = container.list_blobs(results_per_page=100).by_page()
    list(next(first))
    rest = container.list_blobs(results_per_page=400).by_page(first.continuation_token)
    assert [blob.name for page in rest for blob in page] == names[100:]
    assert [each.name for each in container.walk_blobs()] == ["a/", "b/"]
    assert container.list_blob_names and list(container.list_blob_names()) == names


def test_folders_are_walked_by_their_delimiter(container):
    for name in ("top", "a/1", "a/2", "a/b/3", "c/4"):
        container.upload_blob(name, b"x")
    walked = {each.name: isinstance(each, BlobPrefix) for each in container.walk_blobs()}
    assert walked == {"top": False, "a/": True, "c/": True}
    # The client returns the folders of a page first.
    assert [each.name for each in container.walk_blobs("a/")] == ["a/b/", "a/1", "a/2"]


def test_a_listed_blob_has_its_properties(container):
    blob = container.upload_blob("one", b"12345", metadata={"k": "v"})
    [seen] = container.list_blobs(include=["metadata"])
    whole = blob.get_blob_properties()
    assert (seen.name, seen.size, seen.metadata) == ("one", 5, {"k": "v"})
    assert seen.etag == whole.etag.strip('"') and seen.last_modified == whole.last_modified
    assert seen.content_settings.content_type == whole.content_settings.content_type == "application/octet-stream"
    assert bytes(seen.content_settings.content_md5) == bytes(whole.content_settings.content_md5)
    assert seen.blob_type == "BlockBlob" and seen.blob_tier == "Hot" and seen.creation_time


def test_containers_are_made_listed_changed_and_deleted(blobs, fresh):
    name = fresh("c")
    made = blobs.create_container(name, metadata={"k": "v"})
    assert made.exists() and made.get_container_properties().metadata == {"k": "v"}
    with pytest.raises(ResourceExistsError) as twice:
        blobs.create_container(name)
    assert twice.value.error_code == "ContainerAlreadyExists"
    [seen] = blobs.list_containers(name_starts_with=name, include_metadata=True)
    assert (seen.name, seen.metadata) == (name, {"k": "v"}) and seen.last_modified and seen.etag
    made.set_container_metadata({"other": "1"})
    assert made.get_container_properties().metadata == {"other": "1"}
    made.delete_container()
    assert not made.exists()
    with pytest.raises(ResourceNotFoundError) as none:
        made.delete_container()
    assert none.value.error_code == "ContainerNotFound"
    assert list(blobs.list_containers(name_starts_with=name)) == []


def test_containers_are_listed_in_pages(blobs, fresh):
    stem = fresh("p")
    names = [f"{stem}-{n}" for n in range(7)]
    for name in names:
        blobs.create_container(name)
    pages = [[c.name for c in page] for page in blobs.list_containers(stem, results_per_page=3).by_page()]
    assert [len(page) for page in pages] == [3, 3, 1] and sum(pages, []) == names
    for name in names:
        blobs.delete_container(name)


@pytest.mark.parametrize("name", ["ab", "A-Capital", "two--hyphens", "-first", "last-", "a" * 64, "dot.dot"])
def test_a_name_that_no_container_can_have_is_refused(blobs, name):
    with pytest.raises(HttpResponseError) as bad:
        blobs.create_container(name)
    assert bad.value.status_code == 400 and bad.value.error_code in ("InvalidResourceName", "OutOfRangeInput")


def test_public_access_is_rejected(blobs, fresh):
    with pytest.raises(HttpResponseError) as public:
        blobs.create_container(fresh("c"), public_access="blob")
    assert (public.value.status_code, public.value.error_code) == (409, "PublicAccessNotPermitted")


def test_stored_access_policies_are_none(container):
    assert container.get_container_access_policy()["signed_identifiers"] == []


def test_many_blobs_are_deleted_in_one_request(container):
    for n in range(5):
        container.upload_blob(f"b{n}", b"")
    answers = list(container.delete_blobs("b0", "b1", "b2", "none", raise_on_any_failure=False))
    assert [answer.status_code for answer in answers] == [202, 202, 202, 404]
    assert [blob.name for blob in container.list_blobs()] == ["b3", "b4"]


def test_the_account_returns_its_kind(blobs):
    seen = blobs.get_account_information()
    assert (seen["sku_name"], seen["account_kind"]) == ("Standard_LRS", "StorageV2")


def test_the_service_returns_its_properties(blobs):
    assert blobs.get_service_properties()["static_website"].enabled in (False, None)


def test_a_snapshot_stays_as_it_was(container):
    blob = container.upload_blob("s", b"1")
    made = blob.create_snapshot()
    blob.upload_blob(b"2", overwrite=True)
    assert container.get_blob_client("s", snapshot=made["snapshot"]).download_blob().readall() == b"1"


def test_tags_find_a_blob(container, blobs):
    blob = container.upload_blob("t", b"1", tags={"k": "v", "two words": "a/b"})
    assert blob.get_blob_tags() == {"k": "v", "two words": "a/b"}
    assert blob.get_blob_properties().tag_count == 2
    container.upload_blob("other", b"1", tags={"k": "w"})
    found = lambda where: sorted(each.name for each in container.find_blobs_by_tags(where))
    assert found("\"k\"='v'") == ["t"] and found("\"k\">='v'") == ["other", "t"]
    blob.set_blob_tags({"only": container.container_name})
    assert found("\"k\"='v'") == []
    [seen] = blobs.find_blobs_by_tags(f"\"only\"='{container.container_name}'")
    assert (seen.name, seen.container_name, seen.tags) == ("t", container.container_name, {"only": container.container_name})
    assert {each.name: each.tags for each in container.list_blobs(include=["tags"])}["other"] == {"k": "w"}
