"""The file system of Apache Arrow, which uses Azure's client for C++; tables of pandas and Dask through it and adlfs."""

import os

import dask.dataframe
import pandas
import pyarrow
import pyarrow.dataset
import pyarrow.fs
import pyarrow.parquet
import pytest

MIB = 1 << 20


@pytest.fixture
def arrow(connection):
    blob = connection["blob"]
    authority = blob["endpoint"].split("/")[2]
    return pyarrow.fs.AzureFileSystem(
        blob["account"],
        account_key=blob["key"],
        blob_storage_authority=authority,
        blob_storage_scheme="http",
        # For this request, Arrow asks whether the account has a hierarchical namespace.
        dfs_storage_authority=authority,
        dfs_storage_scheme="http",
    )


@pytest.fixture
def table():
    return pandas.DataFrame({"n": range(50_000), "words": [f"word {n % 7}" for n in range(50_000)]})


def names(fs, root):
    return {each.path: each.size for each in fs.get_file_info(pyarrow.fs.FileSelector(root, recursive=True))}


def test_arrow_writes_reads_appends_copies_and_lists(arrow, blobs, root):
    content = os.urandom(9 * MIB)
    with arrow.open_output_stream(f"{root}/d/large", metadata={"Content-Type": "text/x", "Owner": "me"}) as file:
        for at in range(0, len(content), 700_000):
            file.write(content[at : at + 700_000])
    seen = blobs.get_blob_client(root, "d/large").get_blob_properties()
    # The client sends names of metadata in lower case.
    assert (seen.size, seen.content_settings.content_type, seen.metadata) == (len(content), "text/x", {"owner": "me"})
    with arrow.open_input_file(f"{root}/d/large") as file:
        assert (file.size(), file.read_at(10, 4 * MIB)) == (len(content), content[4 * MIB : 4 * MIB + 10])
        assert file.read() == content
    with arrow.open_append_stream(f"{root}/d/large") as file:
        file.write(b"the end")
    assert arrow.open_input_stream(f"{root}/d/large").read() == content + b"the end"
    arrow.copy_file(f"{root}/d/large", f"{root}/e/copy")
    size = len(content) + 7
    assert names(arrow, root) == {f"{root}/d": None, f"{root}/d/large": size, f"{root}/e": None, f"{root}/e/copy": size}


def test_arrow_distinguishes_files_folders_and_nothing(arrow, blobs, root):
    arrow.create_dir(f"{root}/marked/inner", recursive=True)
    blobs.get_blob_client(root, "implied/file").upload_blob(b"12")
    kinds = {each.path: each.type.name for each in arrow.get_file_info(
        [root, f"{root}/marked", f"{root}/marked/inner", f"{root}/implied", f"{root}/implied/file", f"{root}/no", "no-such/x"]
    )}
    assert list(kinds.values()) == ["Directory"] * 4 + ["File", "NotFound", "NotFound"]
    with pytest.raises(FileNotFoundError):
        arrow.open_input_file(f"{root}/no")
    with pytest.raises(FileNotFoundError):
        names(arrow, f"{root}/no")
    arrow.delete_file(f"{root}/implied/file")
    arrow.delete_dir(f"{root}/marked")
    assert f"{root}/marked/inner" not in names(arrow, root)
    with pytest.raises(NotImplementedError, match="Hierarchical Namespace"):
        arrow.move(f"{root}/a", f"{root}/b")


def test_arrow_empties_a_container_of_more_than_one_batch(arrow, blobs, root):
    container = blobs.get_container_client(root)
    for n in range(300):
        container.upload_blob(f"d/{n:03}", b"x")
    assert len(names(arrow, f"{root}/d")) == 300
    arrow.delete_dir_contents(root)
    assert names(arrow, root) == {} and list(container.list_blobs()) == []
    arrow.delete_dir(root)
    assert not container.exists()


def test_a_dataset_in_parts_is_read_with_a_filter(arrow, root, table):
    whole = pyarrow.Table.from_pandas(table)
    pyarrow.parquet.write_to_dataset(whole, f"{root}/set", partition_cols=["words"], filesystem=arrow)
    assert len(arrow.get_file_info(pyarrow.fs.FileSelector(f"{root}/set"))) == 7
    found = pyarrow.dataset.dataset(f"{root}/set", filesystem=arrow, partitioning="hive")
    some = found.to_table(filter=pyarrow.dataset.field("words") == "word 3").to_pandas()
    assert sorted(some["n"]) == list(range(3, 50_000, 7))


@pytest.mark.parametrize("kind", ["csv", "parquet", "json.gz"])
def test_pandas_writes_and_reads_by_a_url(blobs, root, options, table, kind):
    url, more = f"abfs://{root}/t.{kind}", {"storage_options": options}
    if kind == "csv":
        table.to_csv(url, index=False, **more)
        back = pandas.read_csv(url, **more)
    elif kind == "parquet":
        table.to_parquet(url, **more)
        back = pandas.read_parquet(url, **more)
    else:
        table.to_json(url, orient="records", lines=True, **more)
        back = pandas.read_json(url, orient="records", lines=True, **more)
    pandas.testing.assert_frame_equal(back, table, check_dtype=False)
    assert [each.name for each in blobs.get_container_client(root).list_blobs()] == [f"t.{kind}"]


def test_columns_and_rows_of_a_parquet_file_are_read_alone(root, options, table):
    url = f"abfs://{root}/t.parquet"
    table.to_parquet(url, storage_options=options, row_group_size=5000)
    some = pandas.read_parquet(url, columns=["n"], filters=[("n", ">=", 49_990)], storage_options=options)
    assert list(some.columns) == ["n"] and list(some["n"]) == list(range(49_990, 50_000))


def test_dask_writes_in_parts_and_sums_them(fs, root, options, table):
    parts = dask.dataframe.from_pandas(table, npartitions=5)
    parts.to_parquet(f"abfs://{root}/parts", storage_options=options)
    assert len(fs.glob(f"{root}/parts/*.parquet")) == 5
    back = dask.dataframe.read_parquet(f"abfs://{root}/parts", storage_options=options)
    assert int(back["n"].sum().compute()) == sum(range(50_000))
