"""Each recorded session of the real service against ours: every difference is listed in differences.toml, with its reason."""

import json
import os
import subprocess
import tempfile
import tomllib
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from replay import Service, Session

HERE = Path(__file__).resolve().parent
RECORDINGS = HERE.parent.parent / "recordings"
SESSIONS = sorted(RECORDINGS.glob("*/*.json"))
RULES = tomllib.loads((HERE / "differences.toml").read_text())["difference"]
seen, played = set(), set()


def fits(text, pattern):
    return fnmatchcase(text, pattern.replace("[", "[[]"))


def listed(call, place, what):
    """Marks every rule that allows a difference; whether there is one."""
    found = False
    for number, rule in enumerate(RULES):
        places = rule["at"] if isinstance(rule["at"], list) else [rule["at"]]
        if fits(call, rule["call"]) and any(fits(place, at) for at in places) and fits(what, rule.get("what", "*")):
            seen.add(number)
            found = True
    return found


@pytest.fixture
def service():
    with tempfile.TemporaryDirectory() as state:
        command = [os.environ["DROPMILL_PROGRAM"], "serve", "--state", state]
        command += ["--batch", "127.0.0.1:0", "--blob", "127.0.0.1:0", "--json"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        try:
            yield Service(json.loads(process.stdout.readline()))
        finally:
            process.terminate()
            process.wait(30)


@pytest.mark.parametrize("path", SESSIONS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_session_goes_as_it_was_recorded(service, path):
    session = Session(json.loads(path.read_text()), service)
    unlisted = [difference for difference in session.play() if not listed(*difference)]
    played.add(path)
    assert not unlisted, "\n".join(" | ".join(each) for each in unlisted)


def test_no_difference_is_listed_that_is_none():
    if len(played) < len(SESSIONS):
        pytest.skip("not all sessions were played")
    unused = [rule for number, rule in enumerate(RULES) if number not in seen and not rule.get("sometimes")]
    assert not unused, "\n".join(f"{rule['call']} | {rule['at']}: is none any more" for rule in unused)
