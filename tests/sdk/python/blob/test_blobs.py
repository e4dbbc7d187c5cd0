"""Blobs: contents large and small, blocks, ranges, headers, metadata, conditions, copies."""

import base64
import datetime as dt
import hashlib
import random

import pytest
from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceModifiedError
from azure.core.exceptions import ResourceNotFoundError
from azure.storage.blob import BlobBlock, ContentSettings, StandardBlobTier


def code(raised):
    return raised.value.status_code, raised.value.error_code


@pytest.fixture(scope="module")
def hundred_megabytes():
    return random.Random(1).randbytes(100 * 1024 * 1024)


@pytest.mark.slow
def test_a_hundred_megabytes_go_up_in_blocks_and_come_back_the_same(container, hundred_megabytes):
    blob = container.get_blob_client("large")
    blob.upload_blob(hundred_megabytes, max_concurrency=4)
    seen = blob.get_blob_properties()
    assert seen.size == len(hundred_megabytes)
    committed, uncommitted = blob.get_block_list("all")
    assert sum(block.size for block in committed) == seen.size and uncommitted == []
    back = blob.download_blob(max_concurrency=4).readall()
    assert hashlib.sha256(back).digest() == hashlib.sha256(hundred_megabytes).digest()


@pytest.mark.slow
def test_a_hundred_megabytes_go_up_as_one_stream_and_come_back_in_chunks(blobs, connection, container, hundred_megabytes):
    from azure.storage.blob import BlobClient

    blob = BlobClient.from_connection_string(
        connection["connection_string"], container.container_name, "large", max_single_put_size=256 << 20
    )
    blob.upload_blob(hundred_megabytes, length=len(hundred_megabytes))
    assert blob.get_block_list("committed")[0] == []
    sum = hashlib.sha256()
    for chunk in blob.download_blob().chunks():
        sum.update(chunk)
    assert sum.digest() == hashlib.sha256(hundred_megabytes).digest()


@pytest.mark.parametrize("size", [0, 1, 4095, 65_536, 65_537, 4 * 1024 * 1024 + 1])
def test_contents_of_any_size_come_back_the_same(container, size):
    content = random.Random(size).randbytes(size)
    blob = container.get_blob_client("sized")
    blob.upload_blob(content)
    assert blob.download_blob().readall() == content
    assert bytes(blob.get_blob_properties().content_settings.content_md5) == hashlib.md5(content).digest()


def test_a_stream_of_unknown_length_goes_up_in_blocks(connection, container):
    from azure.storage.blob import BlobClient

    blob = BlobClient.from_connection_string(
        connection["connection_string"], container.container_name, "s", max_block_size=100_000, max_single_put_size=1
    )
    parts = [bytes([n]) * 70_000 for n in range(10)]
    blob.upload_blob(iter(parts))
    assert blob.download_blob().readall() == b"".join(parts)
    assert [block.size for block in blob.get_block_list()[0]] == [100_000] * 7


@pytest.mark.parametrize(
    ("offset", "length", "content"),
    [(0, 1, b"0"), (2, 3, b"234"), (9, 1, b"9"), (5, None, b"56789"), (7, 100, b"789"), (0, 10, b"0123456789")],
)
def test_a_range_is_read(container, offset, length, content):
    blob = container.get_blob_client("r")
    blob.upload_blob(b"0123456789")
    assert blob.download_blob(offset=offset, length=length).readall() == content


def test_a_range_beyond_the_end_is_refused(container):
    blob = container.get_blob_client("r")
    blob.upload_blob(b"0123456789")
    with pytest.raises(HttpResponseError) as beyond:
        blob.download_blob(offset=10, length=5).readall()
    assert code(beyond) == (416, "InvalidRange")


def test_sums_of_ranges_and_of_uploads_are_checked(container):
    blob = container.get_blob_client("v")
    content = random.Random(3).randbytes(5 << 20)
    blob.upload_blob(content, validate_content=True)
    assert blob.download_blob(validate_content=True).readall() == content
    wrong = base64.b64encode(hashlib.md5(b"other").digest()).decode()
    with pytest.raises(HttpResponseError) as bad:
        blob.upload_blob(b"this", overwrite=True, headers={"Content-MD5": wrong})
    assert code(bad) == (400, "Md5Mismatch")
    assert blob.get_blob_properties().size == 5 << 20


def test_blocks_are_staged_listed_and_committed_in_any_order(container):
    blob = container.get_blob_client("b")
    for name in ("aa", "bb", "cc"):
        blob.stage_block(name, name.encode() * 3)
    assert not blob.exists()
    committed, staged = blob.get_block_list("all")
    assert committed == [] and sorted(block.id for block in staged) == ["aa", "bb", "cc"]
    blob.commit_block_list([BlobBlock("cc"), BlobBlock("aa")])
    assert blob.download_blob().readall() == b"ccccccaaaaaa"
    committed, staged = blob.get_block_list("all")
    assert [(block.id, block.size) for block in committed] == [("cc", 6), ("aa", 6)] and staged == []
    blob.stage_block("dd", b"d")
    blob.commit_block_list([BlobBlock("aa"), BlobBlock("dd"), BlobBlock("aa")])
    assert blob.download_blob().readall() == b"aaaaaadaaaaaa"
    with pytest.raises(HttpResponseError) as none:
        blob.commit_block_list([BlobBlock("zz")])
    assert code(none) == (400, "InvalidBlockList")
    assert blob.download_blob().readall() == b"aaaaaadaaaaaa"


def test_headers_are_kept_and_set_anew(container):
    settings = ContentSettings(
        content_type="text/csv",
        content_encoding="identity",
        content_language="de",
        content_disposition='attachment; filename="a b.csv"',
        cache_control="no-store",
    )
    blob = container.get_blob_client("h")
    blob.upload_blob(b"a;b", content_settings=settings)
    seen = blob.get_blob_properties().content_settings
    for name in ("content_type", "content_encoding", "content_language", "content_disposition", "cache_control"):
        assert getattr(seen, name) == getattr(settings, name), name
    blob.set_http_headers(ContentSettings(content_type="text/plain"))
    seen = blob.get_blob_properties().content_settings
    assert seen.content_type == "text/plain" and seen.cache_control is None
    assert container.get_blob_client("h").download_blob().properties.content_settings.content_type == "text/plain"


def test_metadata_is_kept_and_set_anew(container):
    blob = container.get_blob_client("m")
    blob.upload_blob(b"x", metadata={"one": "1", "two_2": "zwei und mehr"})
    assert blob.get_blob_properties().metadata == {"one": "1", "two_2": "zwei und mehr"}
    blob.set_blob_metadata({"three": "3"})
    assert blob.get_blob_properties().metadata == {"three": "3"}
    assert [b.metadata for b in container.list_blobs(include=["metadata"])] == [{"three": "3"}]
    with pytest.raises(HttpResponseError) as bad:
        blob.set_blob_metadata({"not-a-name": "x"})
    assert code(bad) == (400, "InvalidMetadata")
    with pytest.raises(HttpResponseError) as large:
        blob.set_blob_metadata({"a": "x" * 9000})
    assert code(large) == (400, "MetadataTooLarge")


def test_names_of_metadata_keep_their_capitals(container):
    blob = container.upload_blob("m", b"x", metadata={"CamelCase": "1"})
    assert blob.get_blob_properties().metadata == {"CamelCase": "1"}
    blob.set_blob_metadata({"camelCASE": "2", "lower": "3"})
    assert blob.get_blob_properties().metadata == {"camelCASE": "2", "lower": "3"}
    assert blob.download_blob().properties.metadata == {"camelCASE": "2", "lower": "3"}
    assert [each.metadata for each in container.list_blobs(include=["metadata"])] == [{"camelCASE": "2", "lower": "3"}]
    container.set_container_metadata({"OfContainer": "4"})
    assert container.get_container_properties().metadata == {"OfContainer": "4"}


def test_tiers(container):
    blob = container.get_blob_client("t")
    blob.upload_blob(b"x", standard_blob_tier=StandardBlobTier.COOL)
    assert blob.get_blob_properties().blob_tier == "Cool"
    blob.set_standard_blob_tier(StandardBlobTier.HOT)
    assert blob.get_blob_properties().blob_tier == "Hot"


def test_what_exists_is_replaced_only_if_that_is_wanted(container):
    blob = container.get_blob_client("x")
    blob.upload_blob(b"1")
    with pytest.raises(ResourceExistsError) as exists:
        blob.upload_blob(b"2")
    assert code(exists) == (409, "BlobAlreadyExists")
    blob.upload_blob(b"3", overwrite=True)
    assert blob.download_blob().readall() == b"3"


def test_conditions_on_the_version(container):
    blob = container.get_blob_client("c")
    first = blob.upload_blob(b"1")["etag"]
    second = blob.upload_blob(b"2", overwrite=True)["etag"]
    assert first != second == blob.get_blob_properties().etag
    same, other = MatchConditions.IfNotModified, MatchConditions.IfModified
    assert blob.download_blob(etag=second, match_condition=same).readall() == b"2"
    for what in (
        lambda: blob.download_blob(etag=first, match_condition=same),
        lambda: blob.set_blob_metadata({"a": "b"}, etag=first, match_condition=same),
        lambda: blob.delete_blob(etag=first, match_condition=same),
        lambda: blob.upload_blob(b"4", overwrite=True, etag=first, match_condition=same),
    ):
        with pytest.raises(ResourceModifiedError) as stale:
            what()
        assert code(stale) == (412, "ConditionNotMet")
    with pytest.raises(HttpResponseError) as unchanged:
        blob.download_blob(etag=second, match_condition=other)
    assert unchanged.value.status_code == 304
    assert blob.download_blob(etag=first, match_condition=other).readall() == b"2"
    blob.delete_blob(etag=second, match_condition=same)
    assert not blob.exists()


def test_conditions_on_the_moment(container):
    blob = container.get_blob_client("c")
    blob.upload_blob(b"1")
    changed = blob.get_blob_properties().last_modified
    before, after = changed - dt.timedelta(hours=1), changed + dt.timedelta(hours=1)
    assert blob.download_blob(if_modified_since=before).readall() == b"1"
    assert blob.download_blob(if_unmodified_since=after).readall() == b"1"
    with pytest.raises(HttpResponseError) as unchanged:
        blob.download_blob(if_modified_since=after)
    assert unchanged.value.status_code == 304
    with pytest.raises(HttpResponseError) as stale:
        blob.download_blob(if_unmodified_since=before)
    assert code(stale) == (412, "ConditionNotMet")


def test_a_blob_that_is_not_there_and_a_container_that_is_not_there(container, blobs):
    blob = container.get_blob_client("none")
    assert not blob.exists()
    for what in (blob.download_blob, blob.delete_blob, blob.get_blob_properties):
        with pytest.raises(ResourceNotFoundError) as none:
            what()
        assert code(none) == (404, "BlobNotFound")
    with pytest.raises(ResourceNotFoundError) as nowhere:
        blobs.get_blob_client("no-such-container", "x").upload_blob(b"")
    assert code(nowhere) == (404, "ContainerNotFound")


def test_a_copy_has_contents_headers_and_metadata_of_its_source(container, readable):
    source = container.get_blob_client("from")
    source.upload_blob(b"content", metadata={"k": "v"}, content_settings=ContentSettings(content_type="text/x"))
    for copied in (
        lambda to: to.start_copy_from_url(source.url),
        lambda to: to.start_copy_from_url(readable(source), requires_sync=True),
    ):
        to = container.get_blob_client("to")
        assert copied(to)["copy_status"] == "success"
        seen = to.get_blob_properties()
        assert (seen.metadata, seen.content_settings.content_type) == ({"k": "v"}, "text/x")
        assert to.download_blob().readall() == b"content"
        to.delete_blob()
    to = container.get_blob_client("with-other-metadata")
    to.start_copy_from_url(source.url, metadata={"o": "p"})
    assert to.get_blob_properties().metadata == {"o": "p"}
    assert to.get_blob_properties().copy.status == "success"
    assert to.get_blob_properties().copy.source == source.url
    source.delete_blob()
    assert to.download_blob().readall() == b"content"
    with pytest.raises(HttpResponseError) as gone:
        to.start_copy_from_url(source.url)
    assert code(gone) == (404, "BlobNotFound")


def test_a_copy_from_elsewhere_is_refused(container):
    with pytest.raises(HttpResponseError) as foreign:
        container.get_blob_client("to").start_copy_from_url("http://127.0.0.1:1/devstoreaccount1/c/b")
    assert code(foreign) == (404, "CannotVerifyCopySource")


AT_ONCE = {
    "a copy": lambda to, source: to.start_copy_from_url(source, requires_sync=True),
    "a blob": lambda to, source: to.upload_blob_from_url(source),
    "a block": lambda to, source: to.stage_block_from_url("aa", source, source_offset=0, source_length=1),
    "an append": lambda to, source: to.append_block_from_url(source, source_offset=0, source_length=1),
}


@pytest.mark.parametrize("how", AT_ONCE)
def test_a_private_source_is_read_with_its_own_sas_alone(container, readable, how):
    source, to = container.get_blob_client("from"), container.get_blob_client("to")
    source.upload_blob(b"content")
    if how == "an append":
        to.create_append_blob()
    missing = readable(container.get_blob_client("none"))
    for url, status in [
        (source.url, 401),
        (readable(source, write=True), 403),
        (readable(source).replace("sp=r", "sp=rw"), 403),
        (missing, 404),
    ]:
        with pytest.raises(HttpResponseError) as refused:
            AT_ONCE[how](to, url)
        assert code(refused) == (status, "CannotVerifyCopySource"), url
    AT_ONCE[how](to, readable(source))


def test_a_tier_is_no_change_of_the_blob(container):
    blob = container.upload_blob("b", b"x")
    before = blob.get_blob_properties()
    blob.set_standard_blob_tier(StandardBlobTier.COOL)
    after = blob.get_blob_properties()
    assert (after.etag, after.last_modified) == (before.etag, before.last_modified)
    assert after.blob_tier == "Cool" and after.blob_tier_change_time and not before.blob_tier_change_time


def test_an_empty_block_is_refused(container):
    with pytest.raises(HttpResponseError) as empty:
        container.get_blob_client("b").stage_block("aa", b"")
    assert code(empty) == (400, "InvalidHeaderValue")


def test_blocks_are_staged_from_another_blob(container, readable):
    source = container.get_blob_client("from")
    source.upload_blob(b"0123456789")
    to = container.get_blob_client("to")
    to.stage_block_from_url("aa", readable(source), source_offset=2, source_length=3)
    to.stage_block_from_url("bb", readable(source))
    to.commit_block_list([BlobBlock("aa"), BlobBlock("bb")])
    assert to.download_blob().readall() == b"2340123456789"


def test_a_blob_is_put_from_the_url_of_another(container, readable):
    source = container.get_blob_client("from")
    source.upload_blob(b"content")
    to = container.get_blob_client("to")
    to.upload_blob_from_url(readable(source))
    assert to.download_blob().readall() == b"content"


@pytest.mark.parametrize(
    "name",
    [
        "a//b",
        "/leading",
        "trailing/",
        "with space",
        "  edges  ",
        "percent%2Fin%20it%",
        "question?mark=1&b=2#frag",
        "plus+and=and;and,and'and\"",
        "back\\slash",
        "ünïcödé/日本語/😀",
        "a" * 1024,
        "/".join("d" * 3 for _ in range(200)),
        "$root",
        "<xml>&amp;</xml>",
        "CON.txt",
        "\u202egnp.exe",
    ],
)
def test_names_are_keys_and_never_paths(container, name):
    blob = container.get_blob_client(name)
    content = name.encode()
    blob.upload_blob(content)
    assert blob.download_blob().readall() == content
    assert [each.name for each in container.list_blobs()] == [name]
    assert [each.name for each in container.list_blobs(name_starts_with=name[:5])] == [name]
    copy = container.get_blob_client("copy")
    copy.start_copy_from_url(blob.url)
    assert copy.download_blob().readall() == content
    blob.delete_blob()
    assert [each.name for each in container.list_blobs()] == ["copy"]


@pytest.mark.parametrize("name", ["../../etc/passwd", "..", ".", "a/../b", "a/./b"])
def test_a_name_with_dots_leads_nowhere(container, name):
    """The client removes the dots from the URL after it has signed it, so that the signature does not match."""
    with pytest.raises(HttpResponseError) as refused:
        container.get_blob_client(name).upload_blob(b"x")
    assert refused.value.status_code in (400, 403, 404)
    assert list(container.list_blobs()) == []


@pytest.mark.parametrize("name", ["new\nline", "tab\t", "\x01", "del\x7f", "\x85"])
def test_a_name_with_control_characters_is_refused(container, name):
    with pytest.raises(HttpResponseError) as control:
        container.get_blob_client(name).upload_blob(b"")
    assert code(control) == (400, "InvalidResourceName")


def test_a_name_that_is_too_long_is_refused(container):
    with pytest.raises(HttpResponseError) as long:
        container.get_blob_client("a" * 1025).upload_blob(b"")
    assert long.value.status_code == 400
