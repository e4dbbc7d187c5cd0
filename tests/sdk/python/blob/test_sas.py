"""Shared access signatures that the client creates: what each allows, and what it does not."""

import datetime as dt
import socket
from urllib.error import HTTPError
from urllib.parse import parse_qsl, urlencode, urlsplit
from urllib.request import urlopen

import pytest
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError
from azure.storage.blob import (
    AccountSasPermissions,
    BlobClient,
    BlobSasPermissions,
    BlobServiceClient,
    ContainerClient,
    ContainerSasPermissions,
    ResourceTypes,
    generate_account_sas,
    generate_blob_sas,
    generate_container_sas,
)

CALLS = {
    "read": lambda c: c.get_blob_client("one").download_blob().readall(),
    "properties": lambda c: c.get_blob_client("one").get_blob_properties(),
    "list": lambda c: list(c.list_blobs()),
    "create": lambda c: c.get_blob_client("new").upload_blob(b"n"),
    "replace": lambda c: c.get_blob_client("one").upload_blob(b"2", overwrite=True),
    "metadata": lambda c: c.get_blob_client("one").set_blob_metadata({"a": "b"}),
    "blocks": lambda c: c.get_blob_client("new").stage_block("aa", b"x"),
    "delete": lambda c: c.get_blob_client("one").delete_blob(),
}


@pytest.fixture
def one(container):
    container.upload_blob("one", b"1")
    return container


def allowed(client):
    """Returns which of the calls above succeed."""
    through = set()
    for name, call in CALLS.items():
        try:
            call(client)
            through.add(name)
        except HttpResponseError as refused:
            assert refused.status_code == 403, f"{name}: {refused}"
            assert refused.error_code in (
                "AuthorizationPermissionMismatch",
                "AuthorizationFailure",
                "AuthorizationResourceTypeMismatch",
                "AuthorizationServiceMismatch",
                "UnauthorizedBlobOverwrite",
            ), f"{name}: {refused.error_code}"
    return through


@pytest.mark.parametrize(
    ("permissions", "calls"),
    [
        ("r", {"read", "properties"}),
        ("l", {"list"}),
        ("rl", {"read", "properties", "list"}),
        ("w", {"create", "replace", "metadata", "blocks"}),
        ("c", {"create"}),
        ("a", set()),
        ("d", {"delete"}),
        ("racwdl", set(CALLS)),
    ],
)
def test_a_container_sas_allows_what_it_says(one, blobs, key, later, permissions, calls):
    sas = generate_container_sas(
        blobs.account_name,
        one.container_name,
        account_key=key,
        permission=ContainerSasPermissions.from_string(permissions),
        expiry=later(hours=1),
    )
    assert allowed(ContainerClient.from_container_url(f"{one.url}?{sas}", retry_total=0)) == calls


@pytest.mark.parametrize(
    ("permissions", "services", "types", "calls"),
    [
        ("rwdlac", "b", "sco", set(CALLS)),
        ("rwdlac", "b", "o", set(CALLS) - {"list"}),
        ("rwdlac", "b", "c", {"list"}),
        ("rwdlac", "b", "s", set()),
        ("r", "b", "sco", {"read", "properties"}),
        ("l", "b", "sco", {"list"}),
    ],
)
def test_an_account_sas_allows_what_it_says(one, blobs, key, later, permissions, services, types, calls):
    sas = generate_account_sas(
        blobs.account_name,
        key,
        resource_types=ResourceTypes.from_string(types),
        permission=AccountSasPermissions.from_string(permissions),
        expiry=later(hours=1),
    )
    client = BlobServiceClient(blobs.url.rstrip("/"), credential=sas, retry_total=0)
    assert allowed(client.get_container_client(one.container_name)) == calls
    containers = lambda: [each.name for each in client.list_containers()]
    if "l" in permissions and "s" in types:
        assert one.container_name in containers()
    else:
        with pytest.raises(HttpResponseError):
            containers()


def blob_sas(blobs, key, one, later, **more):
    given = dict(permission=BlobSasPermissions(read=True), expiry=later(hours=1)) | more
    return generate_blob_sas(blobs.account_name, one.container_name, "one", account_key=key, **given)


def reads(one, sas, name="one"):
    return BlobClient.from_blob_url(f"{one.get_blob_client(name).url}?{sas}", retry_total=0).download_blob()


def test_a_blob_sas_is_for_its_blob_alone(one, blobs, key, later):
    one.upload_blob("two", b"2")
    sas = blob_sas(blobs, key, one, later)
    assert reads(one, sas).readall() == b"1"
    with pytest.raises(ClientAuthenticationError) as other:
        reads(one, sas, "two")
    assert other.value.error_code == "AuthenticationFailed"
    with pytest.raises(HttpResponseError) as lists:
        list(ContainerClient.from_container_url(f"{one.url}?{sas}", retry_total=0).list_blobs())
    assert lists.value.status_code == 403


def test_a_sas_sets_headers_of_the_answer(one, blobs, key, later):
    sas = blob_sas(
        blobs, key, one, later, content_disposition="attachment; filename=x", content_type="text/x", cache_control="no"
    )
    seen = reads(one, sas).properties.content_settings
    assert (seen.content_type, seen.content_disposition, seen.cache_control) == ("text/x", "attachment; filename=x", "no")


def test_a_sas_counts_from_its_start_to_its_end(one, blobs, key, later):
    good = dict(start=later(minutes=-5), expiry=later(minutes=5))
    assert reads(one, blob_sas(blobs, key, one, later, **good)).readall() == b"1"
    for moments in (dict(expiry=later(minutes=-1)), dict(start=later(minutes=5), expiry=later(minutes=9))):
        with pytest.raises(ClientAuthenticationError) as wrong:
            reads(one, blob_sas(blobs, key, one, later, **moments))
        assert (wrong.value.status_code, wrong.value.error_code) == (403, "AuthenticationFailed")


def test_a_sas_counts_for_its_addresses_alone(one, blobs, key, later):
    assert reads(one, blob_sas(blobs, key, one, later, ip="127.0.0.0-127.255.255.255")).readall() == b"1"
    with pytest.raises(HttpResponseError) as elsewhere:
        reads(one, blob_sas(blobs, key, one, later, ip="10.0.0.1"))
    assert elsewhere.value.status_code == 403
    assert elsewhere.value.error_code in ("AuthorizationSourceIPMismatch", "AuthorizationFailure")


WIDENED = {
    "other permissions": dict(sp="rwd"),
    "another end": dict(se="2099-01-01T00:00:00Z"),
    "another resource": dict(sr="c"),
    "another version": dict(sv="2018-11-09"),
    "another signature": dict(sig="AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
    "no signature": dict(sig=None),
    "no permissions": dict(sp=None),
    "no end": dict(se=None),
    "no version": dict(sv=None),
    "a start that was not signed": dict(st="2020-01-01T00:00:00Z"),
    "a policy that was not signed": dict(si="policy"),
    "an address that was not signed": dict(sip="127.0.0.1"),
    "a protocol that was not signed": dict(spr="https,http"),
    "a header that was not signed": dict(rsct="text/html"),
    "a snapshot that was not signed": dict(snapshot="2020-01-01T00:00:00.0000000Z"),
}


@pytest.mark.parametrize("change", WIDENED, ids=lambda name: name.replace(" ", "-"))
def test_a_sas_that_was_tampered_with_is_none(one, blobs, key, later, change):
    parts = dict(parse_qsl(blob_sas(blobs, key, one, later), keep_blank_values=True)) | WIDENED[change]
    tampered = urlencode({name: value for name, value in parts.items() if value is not None})
    with pytest.raises(HttpResponseError) as refused:
        reads(one, tampered)
    statuses = {"no signature": 401, "a snapshot that was not signed": 404}
    assert refused.value.status_code == statuses.get(change, 403)


def test_a_sas_with_something_twice_is_none(one, blobs, key, later):
    sas = blob_sas(blobs, key, one, later)
    for twice in ("sp=rwd", "se=2099-01-01T00:00:00Z", "sr=c", "sig=x"):
        for whole in (f"{sas}&{twice}", f"{twice}&{sas}"):
            # Sent without the client, which would send only one of them.
            with pytest.raises(HTTPError) as refused:
                urlopen(f"{one.get_blob_client('one').url}?{whole}")
            assert refused.value.code == 403, whole


def test_a_sas_of_another_key_is_none(one, blobs, later):
    with pytest.raises(ClientAuthenticationError):
        reads(one, blob_sas(blobs, "d3Jvbmc=", one, later))


def test_without_a_signature_nothing_is_returned(one, blobs, connection):
    nobody = BlobServiceClient(blobs.url.rstrip("/"), retry_total=0)
    for call in (
        lambda: list(nobody.list_containers()),
        lambda: list(nobody.get_container_client(one.container_name).list_blobs()),
        lambda: nobody.get_blob_client(one.container_name, "one").download_blob(),
    ):
        with pytest.raises(HttpResponseError) as refused:
            call()
        assert refused.value.status_code in (401, 403, 404, 409)
    wrong = BlobServiceClient(
        blobs.url.rstrip("/"),
        credential={"account_name": blobs.account_name, "account_key": "d3Jvbmc="},
        retry_total=0,
    )
    with pytest.raises(ClientAuthenticationError) as refused:
        list(wrong.list_containers())
    assert (refused.value.status_code, refused.value.error_code) == (403, "AuthenticationFailed")


def test_a_copy_within_a_sas_needs_to_read_its_source(one, blobs, key, later):
    sas = generate_container_sas(
        blobs.account_name,
        one.container_name,
        account_key=key,
        permission=ContainerSasPermissions(write=True, create=True),
        expiry=later(hours=1),
    )
    to = ContainerClient.from_container_url(f"{one.url}?{sas}", retry_total=0).get_blob_client("to")
    with pytest.raises(HttpResponseError) as refused:
        to.start_copy_from_url(one.get_blob_client("one").url)
    assert (refused.value.status_code, refused.value.error_code) == (401, "CannotVerifyCopySource")
    readable = blob_sas(blobs, key, one, later)
    to.start_copy_from_url(f"{one.get_blob_client('one').url}?{readable}")
    assert one.get_blob_client("to").download_blob().readall() == b"1"


def delegated(blobs, one, later, **more):
    key = blobs.get_user_delegation_key(more.pop("key_start", later(minutes=-5)), more.pop("key_expiry", later(hours=1)))
    given = dict(permission=BlobSasPermissions(read=True), expiry=later(hours=1)) | more
    return generate_blob_sas(blobs.account_name, one.container_name, "one", user_delegation_key=key, **given)


def test_a_user_delegation_sas_allows_what_it_says(one, blobs, later):
    one.upload_blob("two", b"2")
    sas = delegated(blobs, one, later)
    assert reads(one, sas).readall() == b"1"
    for call in (
        lambda: reads(one, sas, "two"),
        lambda: BlobClient.from_blob_url(f"{one.get_blob_client('one').url}?{sas}", retry_total=0).delete_blob(),
        lambda: reads(one, sas.replace("sp=r", "sp=rd")),
        lambda: reads(one, sas.replace("skoid=0", "skoid=1")),
    ):
        with pytest.raises(HttpResponseError) as refused:
            call()
        assert refused.value.status_code == 403


def test_a_user_delegation_sas_counts_no_longer_than_its_key(one, blobs, later):
    with pytest.raises(ClientAuthenticationError) as early:
        reads(one, delegated(blobs, one, later, key_start=later(minutes=30)))
    assert early.value.error_code == "AuthenticationFailed"
    with pytest.raises(HttpResponseError) as long:
        blobs.get_user_delegation_key(later(minutes=-5), later(days=8))
    assert long.value.status_code == 400


def test_the_accounts_own_host_leads_to_the_same_blobs(one, blobs, key, connection, monkeypatch):
    port = urlsplit(connection["blob"]["endpoint"]).port
    own, resolve = f"{blobs.account_name}.blob.localhost", socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *more, **named: resolve("127.0.0.1" if host == own else host, *more, **named))
    client = BlobServiceClient(
        f"http://{own}:{port}", credential={"account_name": blobs.account_name, "account_key": key}, retry_total=0
    )
    blob = client.get_blob_client(one.container_name, "one")
    assert blob.download_blob().readall() == b"1"
    assert [each.name for each in client.get_container_client(one.container_name).list_blobs()] == ["one"]
    sas = blob_sas(blobs, key, one, later=lambda **delta: dt.datetime.now(dt.timezone.utc) + dt.timedelta(**delta))
    # Not from a URL: if the host contains `localhost`, the client uses the first path segment as the account.
    with_sas = BlobServiceClient(f"http://{own}:{port}", credential=sas, retry_total=0)
    assert with_sas.get_blob_client(one.container_name, "one").download_blob().readall() == b"1"
