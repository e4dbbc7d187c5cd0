"""adlfs: a file system of fsspec over Blob, by a connection string."""

import io
import os
import urllib.request
from urllib.error import HTTPError

import fsspec
import pytest
from azure.core.exceptions import ClientAuthenticationError

MIB = 1 << 20


@pytest.fixture
def tree(tmp_path):
    """A local folder with files in folders, one of them empty, and names that need escaping."""
    files = {
        "a.txt": b"first",
        "empty": b"",
        "deep/er/b.bin": os.urandom(300_000),
        "deep/sp ace+plus%20.txt": b"escaped",
        "deep/ünï/日本.txt": "words".encode(),
    }
    for name, content in files.items():
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path / "tree", files


def test_a_tree_goes_up_is_seen_and_comes_back(fs, root, tree, tmp_path):
    folder, files = tree
    fs.put(f"{folder}/", f"{root}/in/", recursive=True)
    assert sorted(fs.find(root)) == sorted(f"{root}/in/{name}" for name in files)
    assert sorted(fs.ls(f"{root}/in", detail=False)) == [f"{root}/in/{name}" for name in ("a.txt", "deep", "empty")]
    kinds = {each["name"]: (each["type"], each["size"]) for each in fs.ls(f"{root}/in/deep", detail=True)}
    assert kinds == {
        f"{root}/in/deep/er": ("directory", None),
        f"{root}/in/deep/sp ace+plus%20.txt": ("file", 7),
        f"{root}/in/deep/ünï": ("directory", None),
    }
    assert fs.glob(f"{root}/in/deep/**/*.txt") == [
        f"{root}/in/deep/sp ace+plus%20.txt",
        f"{root}/in/deep/ünï/日本.txt",
    ]
    assert fs.glob(f"{root}/in/?.txt") == [f"{root}/in/a.txt"]
    walked = {at: (sorted(folders), sorted(names)) for at, folders, names in fs.walk(f"{root}/in")}
    assert walked[f"{root}/in"] == (["deep"], ["a.txt", "empty"])
    assert walked[f"{root}/in/deep/er"] == ([], ["b.bin"])
    assert fs.du(f"{root}/in") == sum(map(len, files.values()))
    back = tmp_path / "back"
    fs.get(f"{root}/in/", f"{back}/", recursive=True)
    assert {name: (back / name).read_bytes() for name in files} == files
    assert sum(path.is_file() for path in back.rglob("*")) == len(files)


def test_ranges_of_several_files_at_once(fs, root):
    content = os.urandom(100_000)
    fs.pipe({f"{root}/one": content, f"{root}/two": content[::-1]})
    assert fs.cat([f"{root}/one", f"{root}/two"]) == {f"{root}/one": content, f"{root}/two": content[::-1]}
    parts = fs.cat_ranges([f"{root}/one"] * 3 + [f"{root}/two"], [0, 5, 99_990, 7], [3, 6, 100_000, 9])
    assert parts == [content[:3], content[5:6], content[99_990:], content[::-1][7:9]]
    assert fs.cat_file(f"{root}/one", start=50_000, end=50_010) == content[50_000:50_010]
    assert (fs.head(f"{root}/one", 4), fs.tail(f"{root}/one", 4)) == (content[:4], content[-4:])
    found = fs.cat([f"{root}/one", f"{root}/none"], on_error="return")
    assert found[f"{root}/one"] == content and isinstance(found[f"{root}/none"], FileNotFoundError)


def test_a_file_is_written_in_several_blocks_and_read_at_any_place(fs, blobs, root):
    content = os.urandom(11 * MIB)
    with fs.open(f"{root}/large", "wb", block_size=2 * MIB) as file:
        for at in range(0, len(content), 700_000):
            file.write(content[at : at + 700_000])
    committed, waiting = blobs.get_blob_client(root, "large").get_block_list("all")
    assert len(committed) > 3 and sum(block.size for block in committed) == len(content) and not waiting
    with fs.open(f"{root}/large", "rb", block_size=MIB) as file:
        assert file.size == len(content)
        file.seek(5 * MIB - 3)
        assert file.read(6) == content[5 * MIB - 3 : 5 * MIB + 3]
        file.seek(-4, io.SEEK_END)
        assert file.read() == content[-4:]
        file.seek(0)
        assert file.read() == content


def test_a_writer_that_fails_leaves_what_was_there(fs, root):
    fs.pipe(f"{root}/kept", b"before")
    with pytest.raises(ZeroDivisionError), fs.open(f"{root}/kept", "wb", block_size=MIB) as file:
        file.write(b"x" * (3 * MIB))
        assert fs.cat(f"{root}/kept") == b"before"
        # Like a program that crashes: nothing is committed.
        file.closed = True
        raise ZeroDivisionError
    fs.invalidate_cache()
    assert fs.cat(f"{root}/kept") == b"before"


def test_a_file_is_appended_to(fs, blobs, root):
    path = f"{root}/log"
    for line in (b"one\n", b"two\n", b"three\n"):
        with fs.open(path, "ab") as file:
            file.write(line)
    assert fs.cat(path) == b"one\ntwo\nthree\n"
    assert blobs.get_blob_client(root, "log").get_blob_properties().blob_type == "AppendBlob"
    fs.invalidate_cache()
    with fs.open(path, "r") as file:
        assert file.readlines() == ["one\n", "two\n", "three\n"]
    # Only block blobs have blocks.
    with pytest.raises(FileExistsError):
        with fs.open(path, "wb") as file:
            file.write(b"new")
    assert fs.cat(path) == b"one\ntwo\nthree\n"


def test_text_lines_and_compression(fs, root, options):
    with fsspec.open(f"abfs://{root}/t.txt.gz", "wt", compression="gzip", **options) as file:
        file.write("first\nzweite Zeile: äöü\n")
    with fsspec.open(f"abfs://{root}/t.txt.gz", "rt", compression="infer", **options) as file:
        assert list(file) == ["first\n", "zweite Zeile: äöü\n"]
    assert fs.cat(f"{root}/t.txt.gz").startswith(b"\x1f\x8b")


def test_files_and_folders_are_copied_moved_and_removed(fs, root):
    for name in ("a", "d/b", "d/e/c"):
        fs.pipe(f"{root}/from/{name}", name.encode())
    fs.cp(f"{root}/from/a", f"{root}/a2")
    assert fs.cat(f"{root}/a2") == b"a"
    fs.cp(f"{root}/from/", f"{root}/copy/", recursive=True)
    assert sorted(fs.find(f"{root}/copy")) == [f"{root}/copy/{name}" for name in ("a", "d/b", "d/e/c")]
    assert fs.cat(f"{root}/copy/d/e/c") == b"d/e/c"
    fs.mv(f"{root}/a2", f"{root}/a3")
    assert not fs.exists(f"{root}/a2") and fs.cat(f"{root}/a3") == b"a"
    fs.rm(f"{root}/copy", recursive=True)
    fs.invalidate_cache()
    assert not fs.exists(f"{root}/copy")
    assert sorted(fs.find(root)) == [f"{root}/a3"] + [f"{root}/from/{name}" for name in ("a", "d/b", "d/e/c")]
    with pytest.raises(FileNotFoundError):
        fs.rm(f"{root}/none")
    with pytest.raises(FileNotFoundError):
        fs.cp(f"{root}/none", f"{root}/other")
    assert not fs.exists(f"{root}/other")


def test_many_files_are_listed_in_pages_and_removed(fs, blobs, root):
    names = [f"{root}/many/{n // 100:02}/{n:05}" for n in range(700)]
    fs.pipe({name: b"" for name in names})
    assert fs.find(f"{root}/many") == names
    pages = blobs.get_container_client(root).list_blobs(results_per_page=300).by_page()
    assert [len(list(page)) for page in pages] == [300, 300, 100]
    fs.rm(f"{root}/many/03", recursive=True)
    fs.invalidate_cache()
    assert fs.find(f"{root}/many") == names[:300] + names[400:]
    fs.rm(f"{root}/many", recursive=True)
    fs.invalidate_cache()
    assert fs.find(root) == [] and root in fs.ls("")


def test_metadata_that_marks_a_folder_has_any_case(fs, blobs, root):
    container = blobs.get_container_client(root)
    for name, metadata in [
        ("small", {"hdi_isfolder": "true"}),
        ("capital", {"Hdi_isfolder": "true"}),
        ("other", {"is_directory": "true"}),
        ("plain", {"Is_Something": "true"}),
    ]:
        container.upload_blob(name, b"", metadata=metadata)
    kinds = {each["name"]: each["type"] for each in fs.ls(root, detail=True)}
    assert kinds == {
        f"{root}/small": "directory",
        f"{root}/capital": "directory",
        f"{root}/other": "directory",
        f"{root}/plain": "file",
    }
    assert fs.isdir(f"{root}/capital") and fs.info(f"{root}/capital")["type"] == "directory"


def test_metadata_and_types_of_content_come_back(fs, root):
    path = f"{root}/with"
    with fs.open(path, "wb", metadata={"Owner": "me", "lower": "1"}) as file:
        file.write(b"x")
    assert fs.info(path)["metadata"] == {"Owner": "me", "lower": "1"}
    assert fs.getxattr(path, "Owner") == "me"
    fs.setxattrs(path, Owner="you")
    fs.invalidate_cache()
    assert fs.info(path)["metadata"] == {"Owner": "you"}
    fs.pipe_file(f"{root}/page.html", b"<p>", content_settings={"content_type": "text/html", "cache_control": "no-store"})
    settings = fs.info(f"{root}/page.html")["content_settings"]
    assert (settings["content_type"], settings["cache_control"]) == ("text/html", "no-store")


def test_what_is_there_and_what_is_not(fs, root):
    fs.pipe(f"{root}/d/f", b"12345")
    info = fs.info(f"{root}/d/f")
    assert (info["type"], info["size"], info["name"]) == ("file", 5, f"{root}/d/f")
    assert fs.created(f"{root}/d/f") <= fs.modified(f"{root}/d/f")
    assert (fs.exists(f"{root}/d"), fs.isdir(f"{root}/d"), fs.isfile(f"{root}/d")) == (True, True, False)
    assert (fs.exists(root), fs.isdir(root), fs.info(root)["type"]) == (True, True, "directory")
    for none in (f"{root}/no", f"{root}/d/f/g", "no-such-container", "no-such-container/x"):
        assert not fs.exists(none) and not fs.isfile(none)
        with pytest.raises(FileNotFoundError):
            fs.info(none)
        with pytest.raises(FileNotFoundError):
            fs.cat(none)
    with pytest.raises(FileExistsError):
        fs.makedir(root)
    with pytest.raises(FileExistsError):
        fs.pipe_file(f"{root}/d/f", b"other", mode="create")
    assert fs.cat(f"{root}/d/f") == b"12345"


def test_a_container_goes_with_all_that_is_in_it(fs, fresh):
    name = fresh("gone")
    fs.mkdir(name)
    fs.pipe({f"{name}/a": b"1", f"{name}/d/b": b"2"})
    assert name in fs.ls("")
    fs.rm(name, recursive=True)
    fs.invalidate_cache()
    assert name not in fs.ls("") and not fs.exists(f"{name}/a")


def test_a_signed_url_reads_one_file_and_writes_none(fs, root):
    fs.pipe(f"{root}/d/a b.txt", b"signed")
    fs.pipe(f"{root}/other", b"not signed")
    url = fs.url(f"{root}/d/a b.txt", content_type="text/plain", content_disposition="inline")
    with urllib.request.urlopen(url) as answer:
        assert answer.read() == b"signed"
        assert (answer.headers["content-type"], answer.headers["content-disposition"]) == ("text/plain", "inline")
    ranged = urllib.request.Request(fs.sign(f"{root}/d/a b.txt"), headers={"Range": "bytes=1-3"})
    with urllib.request.urlopen(ranged) as answer:
        assert (answer.status, answer.read()) == (206, b"ign")
    put = urllib.request.Request(url, b"x", {"x-ms-blob-type": "BlockBlob"}, method="PUT")
    for refused in (put, url.replace("d/a%20b.txt", "other"), url.replace("sig=", "sig=A")):
        with pytest.raises(HTTPError) as error:
            urllib.request.urlopen(refused)
        assert error.value.code == 403
    assert fs.cat(f"{root}/d/a b.txt") == b"signed"


def test_another_key_may_nothing(root, connection):
    account, key = connection["blob"]["account"], connection["blob"]["key"]
    wrong = connection["connection_string"].replace(key, "d3Jvbmc=")
    assert account in wrong and key not in wrong
    with pytest.raises((ClientAuthenticationError, PermissionError, OSError)) as error:
        fsspec.filesystem("abfs", connection_string=wrong, skip_instance_cache=True).ls(root)
    assert "AuthenticationFailed" in str(error.value) or "AuthenticationFailed" in str(error.value.__cause__)


def test_a_cache_of_blocks_and_one_of_files(fs, root, options, tmp_path):
    content = os.urandom(MIB)
    fs.pipe(f"{root}/c.bin", content)
    for kind in ("blockcache", "simplecache"):
        url = f"{kind}::abfs://{root}/c.bin"
        more = {"abfs": options, kind: {"cache_storage": str(tmp_path / kind)}}
        with fsspec.open(url, "rb", **more) as file:
            file.seek(MIB // 2)
            assert file.read(10) == content[MIB // 2 : MIB // 2 + 10]
            file.seek(0)
            assert file.read() == content
