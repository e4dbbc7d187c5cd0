"""Records requests signed by the official Python SDKs, for `sdk.rs`.

Run it once for each SDK, each installed in its own folder:

    PYTHONPATH=FOLDER python3 make.py blob|batch > NAME.json

The SDK sends requests to a listener on the loopback address, which accepts and records all of them. Keys are
invented for this file (the blob key is the public one of the storage emulator).
"""

import datetime
import importlib.metadata
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BLOB_ACCOUNT = "devstoreaccount1"
BLOB_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
BATCH_ACCOUNT = "devacct"
BATCH_KEY = "YmF0Y2gtZGV2LWFjY291bnQta2V5LTAxMjM0NTY3ODk="

requests = []

LIST_BLOBS = b"""<?xml version="1.0" encoding="utf-8"?><EnumerationResults ServiceEndpoint="http://h/"
 ContainerName="c"><Blobs></Blobs><NextMarker /></EnumerationResults>"""
LIST_CONTAINERS = b"""<?xml version="1.0" encoding="utf-8"?><EnumerationResults ServiceEndpoint="http://h/"
><Containers></Containers><NextMarker /></EnumerationResults>"""


class Listener(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        length = int(self.headers.get("Content-Length") or 0)
        self.rfile.read(length)
        headers = [[name.lower(), value] for name, value in self.headers.items()]
        requests.append({"method": self.command, "uri": self.path, "headers": headers})
        body, kind, status = b"", "application/json", 201
        if "comp=list" in self.path:
            body = LIST_BLOBS if "restype=container" in self.path else LIST_CONTAINERS
            kind, status = "application/xml", 200
        elif self.command == "GET":
            body, status = b"{}", 200
        elif self.command in ("HEAD", "PATCH", "PUT") and "restype" not in self.path:
            status = 201 if BLOB_ACCOUNT in self.path else 200
        if self.command == "DELETE":
            status = 202 if "/tasks/" not in self.path else 200
        if self.command == "POST":
            status = {"terminate": 202, "resize": 202, "disable": 202}.get(self.path.split("?")[0].split("/")[-1], 201)
            if "/tasks/" in self.path:
                status = 204
            if "addtaskcollection" in self.path:
                body, status = b'{"value":[]}', 200
        if "comp=metadata" in self.path or "comp=properties" in self.path or self.command == "HEAD":
            status = 200
        if self.command == "GET" and BLOB_ACCOUNT in self.path and "comp=" not in self.path:
            body, kind, status = b"hello", "text/plain", 200
        self.send_response(status)
        for name, value in {
            "ETag": '"0x1"', "Last-Modified": "Mon, 02 Mar 2026 10:11:12 GMT", "x-ms-request-id": "1",
            "x-ms-version": "2025-01-05", "x-ms-blob-type": "BlockBlob", "x-ms-copy-status": "success",
            "x-ms-copy-id": "1", "Content-Type": kind, "x-ms-request-server-encrypted": "true",
        }.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = do_PATCH = answer

    def log_message(self, *args):
        pass


def quietly(call, *args, **named):
    """Calls the SDK and ignores errors: only the request matters, the SDK may reject the response."""
    try:
        result = call(*args, **named)
        if hasattr(result, "by_page") or hasattr(result, "__next__"):
            list(result)
    except Exception as error:  # noqa: BLE001
        print(f"{getattr(call, '__name__', call)}: {error}"[:200], file=sys.stderr)


def blob_requests(base):
    from azure.storage.blob import BlobServiceClient, ContentSettings

    service = BlobServiceClient(
        f"{base}/{BLOB_ACCOUNT}", credential={"account_name": BLOB_ACCOUNT, "account_key": BLOB_KEY}, retry_total=0
    )
    container = service.get_container_client("c1")
    metadata = {"ab": "1", "a_b": "two  spaces", "a0": "3", "A1": "x y", "abc": "", "z_1": "9", "z1": "8", "Z": "ä".encode().hex()}
    quietly(service.list_containers, name_starts_with="c")
    quietly(service.list_containers, include_metadata=True, results_per_page=5)
    quietly(container.create_container, metadata=metadata)
    quietly(container.list_blobs, name_starts_with="dir a/ä+&=%")
    quietly(container.walk_blobs, name_starts_with="x", delimiter="/")
    quietly(container.list_blobs, include=["metadata", "tags", "snapshots"], results_per_page=3)
    for name in ["plain.txt", "dir a/b.txt", "dir/ä+&=%?#.txt", "a'(b)*!~;,@$[x].txt"]:
        blob = container.get_blob_client(name)
        quietly(blob.upload_blob, b"hello", metadata=metadata, content_settings=ContentSettings(
            content_type="text/plain; charset=utf-8", content_md5=bytearray(16), cache_control="no-cache",
            content_disposition='attachment; filename="x y"', content_language="en"))
        quietly(blob.upload_blob, b"", overwrite=True)
        quietly(blob.upload_blob, b"hello", overwrite=True, validate_content=True, tags={"k": "v w"})
        quietly(blob.download_blob, offset=1, length=3)
        quietly(blob.get_blob_properties, if_match='"0x1"')
        quietly(blob.get_blob_properties, if_modified_since=datetime.datetime(2026, 3, 2, 10, 11, 12))
        quietly(blob.stage_block, "block-1", b"hello", length=5)
        quietly(blob.commit_block_list, [])
        quietly(blob.get_block_list, "all")
        quietly(blob.set_blob_metadata, metadata)
        quietly(blob.start_copy_from_url, "http://127.0.0.1/x?sig=a%2Bb&se=1")
        quietly(blob.delete_blob, delete_snapshots="include")
        quietly(blob.download_blob, snapshot="2026-03-02T10:11:12.1234567Z")
    quietly(container.delete_container)


def blob_sas():
    from azure.storage import blob as b

    expiry = datetime.datetime(2027, 1, 1)
    start = datetime.datetime(2026, 1, 1, 12, 30)
    more = {
        "start": start, "ip": "127.0.0.1-127.0.0.9", "protocol": "https,http", "cache_control": "no-cache",
        "content_disposition": "attachment; filename=x", "content_encoding": "gzip", "content_language": "en",
        "content_type": "text/plain; charset=utf-8", "encryption_scope": "scope",
    }
    sas = []
    for blob in ["plain.txt", "dir a/b.txt", "dir/ä+&=%?#.txt"]:
        for permission in ["r", "racwdxt"]:
            for named in [{}, more]:
                query = b.generate_blob_sas(BLOB_ACCOUNT, "c1", blob, account_key=BLOB_KEY, permission=permission,
                                            expiry=expiry, **named)
                sas.append({"container": "c1", "blob": blob, "query": query})
    for permission in ["rl", "racwdxltf", "r"]:
        for named in [{}, more]:
            query = b.generate_container_sas(BLOB_ACCOUNT, "c1", account_key=BLOB_KEY, permission=permission,
                                             expiry=expiry, **named)
            sas.append({"container": "c1", "blob": "any/thing", "query": query})
    account_more = {name: more[name] for name in ["start", "ip", "protocol", "encryption_scope"]}
    for named in [{}, account_more]:
        query = b.generate_account_sas(BLOB_ACCOUNT, BLOB_KEY, b.ResourceTypes(service=True, container=True, object=True),
                                       b.AccountSasPermissions(read=True, list=True), expiry, **named)
        sas.append({"container": "c1", "blob": "any/thing", "query": query})
    return sas


def batch_requests(base):
    version = importlib.metadata.version("azure-batch")
    when = datetime.datetime(2026, 3, 2, 10, 11, 12)
    if version.startswith("14."):
        from azure.batch import BatchServiceClient, models as m
        from azure.batch.batch_auth import SharedKeyCredentials

        client = BatchServiceClient(SharedKeyCredentials(BATCH_ACCOUNT, BATCH_KEY), batch_url=base)
        client.config.retry_policy.policy.total = 0
        quietly(client.task.list, "job1", m.TaskListOptions(
            filter="state eq 'completed' and id gt 'a+b'", select="id,executionInfo", max_results=10))
        quietly(client.task.get, "job1", "t1", m.TaskGetOptions(if_none_match="0x1"))
        quietly(client.job.add, m.JobAddParameter(id="job1", pool_info=m.PoolInformation(pool_id="p")))
        quietly(client.job.patch, "job1", m.JobPatchParameter(priority=1), m.JobPatchOptions(if_match="0x1"))
        quietly(client.job.delete, "job1")
        quietly(client.job.terminate, "job1")
        quietly(client.job.terminate, "job1", terminate_reason="done")
        quietly(client.pool.exists, "p")
        quietly(client.pool.resize, "p", m.PoolResizeParameter(target_dedicated_nodes=1))
        quietly(client.task.add_collection, "job1", [m.TaskAddParameter(id="t1", command_line="c")])
        quietly(client.task.terminate, "job1", "t1")
        quietly(client.task.update, "job1", "t1", constraints=m.TaskConstraints(max_task_retry_count=1))
        quietly(client.file.get_from_task, "job1", "t1", "wd/out 1+2.txt", m.FileGetFromTaskOptions(
            ocp_range="bytes=0-10", if_modified_since=when))
        quietly(client.file.list_from_compute_node, "p", "n", recursive=True)
        quietly(client.file.delete_from_task, "job1", "t1", "wd/ä.txt")
        quietly(client.account.list_pool_node_counts)
    else:
        from azure.batch import BatchClient, models as m
        from azure.core import MatchConditions
        from azure.core.credentials import AzureNamedKeyCredential

        client = BatchClient(base, AzureNamedKeyCredential(BATCH_ACCOUNT, BATCH_KEY), retry_total=0)
        quietly(client.list_tasks, "job1", filter="state eq 'completed' and id gt 'a+b'",
                select=["id", "executionInfo"], max_results=10, service_timeout=20)
        quietly(client.get_task, "job1", "t1", etag="0x1", match_condition=MatchConditions.IfModified)
        quietly(client.create_job, m.BatchJobCreateOptions(id="job1", pool_info=m.BatchPoolInfo(pool_id="p")))
        quietly(client.update_job, "job1", m.BatchJobUpdateOptions(priority=1), etag="0x1",
                match_condition=MatchConditions.IfNotModified)
        quietly(client.begin_delete_job, "job1", force=True, polling_interval=60)
        quietly(client.pool_exists, "p")
        quietly(client.begin_resize_pool, "p", m.BatchPoolResizeOptions(target_dedicated_nodes=1), polling_interval=60)
        quietly(client.create_tasks, "job1", [m.BatchTaskCreateOptions(id="t1", command_line="c")])
        quietly(client.terminate_task, "job1", "t1")
        quietly(client.download_task_file, "job1", "t1", "wd/out 1+2.txt", ocp_range="bytes=0-10", if_modified_since=when)
        quietly(client.list_node_files, "p", "n", recursive=True)
        quietly(client.delete_task_file, "job1", "t1", "wd/ä.txt")
        quietly(client.list_pool_node_counts, max_results=10)
    return f"azure-batch {version}"


def main():
    listener = ThreadingHTTPServer(("127.0.0.1", 0), Listener)
    threading.Thread(target=listener.serve_forever, daemon=True).start()
    base = f"http://127.0.0.1:{listener.server_port}"
    if sys.argv[1] == "blob":
        blob_requests(base)
        made = {"sdk": f"azure-storage-blob {importlib.metadata.version('azure-storage-blob')}", "sas": blob_sas()}
    else:
        made = {"sdk": batch_requests(base)}
    drop = ("host", "user-agent", "accept-encoding", "connection", "accept")
    for request in requests:
        request["headers"] = [pair for pair in request["headers"] if pair[0] not in drop]
    json.dump(made | {"requests": requests}, sys.stdout, indent=1)


main()
