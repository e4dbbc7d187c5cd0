"""A pytest plugin that runs the tests in the package of adlfs unchanged, with this service in the place of Azurite.

The tests start Azurite in a Docker container on a fixed port and expect an account without containers. The plugin starts
a service for them alone and replaces the `docker` module by one that starts nothing.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import types

import pytest

pytest_plugins = ["conftest"]

# Uploads 3 GB, of which the client keeps three copies in memory.
TOO_LARGE = "test_large_upload_overflow"


def pytest_configure(config):
    config.stash[WORK] = work = tempfile.TemporaryDirectory(prefix="dropmill-adlfs-")
    command = [os.environ["DROPMILL_PROGRAM"], "serve", "--state", work.name, "--json"]
    command += ["--batch", "127.0.0.1:0", "--blob", "127.0.0.1:0"]
    with open(os.path.join(work.name, "serve.log"), "w") as log:
        service = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log)
    config.stash[SERVICE] = service
    stand_in_for_azurite(json.loads(service.stdout.readline()))


def stand_in_for_azurite(connection):
    started = types.SimpleNamespace(stop=lambda: None)
    docker = types.ModuleType("docker")
    docker.from_env = lambda: types.SimpleNamespace(
        containers=types.SimpleNamespace(run=lambda *_, **__: started)
    )
    sys.modules["docker"] = docker
    from adlfs.tests import constants

    blob = connection["blob"]
    constants.ACCOUNT_NAME, constants.KEY = blob["account"], blob["key"]
    constants.CONN_STR = connection["connection_string"]
    constants.URL = blob["endpoint"].removesuffix(f"/{blob['account']}")
    constants.HOST = constants.URL.removeprefix("http://")


def pytest_unconfigure(config):
    service = config.stash[SERVICE]
    service.send_signal(signal.SIGTERM)
    service.wait(30)
    config.stash[WORK].cleanup()


def pytest_collection_modifyitems(config, items):
    dropped = [item for item in items if item.name == TOO_LARGE]
    config.hook.pytest_deselected(items=dropped)
    items[:] = [item for item in items if item.name != TOO_LARGE]


WORK, SERVICE = pytest.StashKey(), pytest.StashKey()
