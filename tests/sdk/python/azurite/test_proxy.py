"""Files of other services through the proxy in the service's environment."""

import json
import os
import signal
import subprocess

import azure.batch.models as m
import pytest
from azure.batch import BatchClient
from azure.core.credentials import AzureNamedKeyCredential

from shapes import job_of, pool_of, task_of


@pytest.fixture
def proxied(web, tmp_path):
    """Another service, whose proxy is the web server."""
    command = [os.environ["DROPMILL_PROGRAM"], "serve", "--state", tmp_path / "state", "--json"]
    command += ["--batch", "127.0.0.1:0", "--blob", "127.0.0.1:0"]
    without = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    variables = {**without, "HTTP_PROXY": web.url, "HTTPS_PROXY": web.url, "NO_PROXY": "direct.invalid"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=variables)
    batch = json.loads(process.stdout.readline())["batch"]
    yield BatchClient(batch["endpoint"], AzureNamedKeyCredential(batch["account"], batch["key"]), retry_total=0)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0


def test_a_proxy_stands_before_other_machines_and_not_before_this_one(proxied, web, until):
    proxied.create_pool(pool_of("p", nodes=1))
    proxied.create_job(job_of("j", "p"))
    task = task_of("t", "cat far near")
    sources = {"far": "http://files.invalid/content?sig=x", "near": f"{web.url}/content"}
    task.resource_files = [m.ResourceFile(http_url=url, file_path=name) for name, url in sources.items()]
    proxied.create_task("j", task)
    until("the task is completed", lambda: proxied.get_task("j", "t").state == "completed")
    done = proxied.get_task("j", "t").execution_info
    assert done.result == "success", done.failure_info
    assert b"".join(proxied.download_task_file("j", "t", "stdout.txt")) == web.body * 2
    assert web.asked == ["http://files.invalid/content", "content"]
