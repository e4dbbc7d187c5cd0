"""A whole run of `dropmill`: Batch of the service, storage of Azurite, everything over sockets."""

import json
import os
import subprocess

RUN = """
[run]
name = "azurite"
[service]
kind = "azure"
batch_endpoint = {batch}
batch_account = {account}
batch_key = {{ env = "BATCH_KEY" }}
blob_endpoint = {blob}
storage_account = {storage}
storage_key = {{ env = "STORAGE_KEY" }}
[application]
files = ["tool.sh"]
start_task = "cp tool.sh \\"$AZ_BATCH_NODE_SHARED_DIR\\""
[input]
files = ["in/**/*"]
[task]
shell = "sh \\"$AZ_BATCH_NODE_SHARED_DIR/tool.sh\\" \\"$DROPMILL_INPUT\\""
outputs = ["copy.bin", "sum.txt"]
[pool]
nodes = 2
[output]
directory = "out"
[cleanup]
containers = "never"
"""


def test_a_run_with_storage_elsewhere_brings_every_result(connection, azurite, account, other, tmp_path):
    inputs = {"empty": b"", "a b.txt": b"text\n", "sub/one.bin": os.urandom(1_000_000), "sub/long.bin": os.urandom(9_000_000)}
    for name, content in inputs.items():
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (tmp_path / "tool.sh").write_text('cp "$1" copy.bin && wc -c < copy.bin > sum.txt\n')
    batch = connection["batch"]
    values = {"batch": batch["endpoint"], "account": batch["account"], "blob": azurite, "storage": account[0]}
    text = RUN.format(**{name: json.dumps(value) for name, value in values.items()})
    (tmp_path / "run.toml").write_text(text)
    variables = {**os.environ, "BATCH_KEY": batch["key"], "STORAGE_KEY": account[1], "XDG_STATE_HOME": str(tmp_path / "state")}
    before = {each.name for each in other.list_containers()}
    command = [os.environ["DROPMILL_PROGRAM"], "run", "run.toml"]
    run = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=180)
    assert run.returncode == 0, run.stdout + run.stderr
    for name, content in inputs.items():
        results = tmp_path / "out/in" / name
        assert (results / "copy.bin").read_bytes() == content, name
        assert int((results / "sum.txt").read_text()) == len(content), name
    # Azurite stored the files.
    kept = {each.name for each in other.list_containers()} - before
    stored = [blob.name for name in kept for blob in other.get_container_client(name).list_blobs()]
    assert sum(name.endswith("/copy.bin") for name in stored) == len(inputs), stored
    assert any(name.endswith("tool.sh") for name in stored), stored
    for name in kept:
        other.delete_container(name)
