"""`az batch` with its own configuration, as a user at a terminal runs it."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from terminal import Refused

CONNECTION = json.loads(Path(os.environ["DROPMILL_CONNECTION"]).read_text())


@pytest.fixture(scope="session")
def az(tmp_path_factory):
    """Runs `az …` with the account of the service; returns its output, parsed as JSON."""
    home = tmp_path_factory.mktemp("az")
    batch = CONNECTION["batch"]
    variables = {
        **os.environ,
        "AZURE_CONFIG_DIR": str(home / "config"),
        "AZURE_EXTENSION_DIR": str(home / "extensions"),
        "AZURE_CORE_COLLECT_TELEMETRY": "no",
        "AZURE_CORE_NO_COLOR": "yes",
        "AZURE_BATCH_ACCOUNT": batch["account"],
        "AZURE_BATCH_ACCESS_KEY": batch["key"],
        "AZURE_BATCH_ENDPOINT": batch["endpoint"],
        "AZURE_STORAGE_CONNECTION_STRING": CONNECTION["connection_string"],
    }

    def az(*arguments):
        command = [os.environ["AZ"], *map(str, arguments), "--output", "json", "--only-show-errors"]
        done = subprocess.run(command, env=variables, cwd=home, capture_output=True, text=True, timeout=120)
        if done.returncode != 0:
            raise Refused(done.stderr)
        return json.loads(done.stdout) if done.stdout.strip() else None

    az.home = home
    return az
