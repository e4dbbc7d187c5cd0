"""Replays each recorded session of the real service against ours: every difference is listed in differences.toml with its reason."""

import ast
import json
import os
import subprocess
import tempfile
import tomllib
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from replay import ABOUT, Service, Session

HERE = Path(__file__).resolve().parent
RECORDINGS = HERE.parent.parent / "recordings"


def unwrapped(value):
    """Returns the object in a text that a recorder wrote as Python source, once or several times: `b'{"id": ...}'`."""
    while isinstance(value, (str, bytes)):
        value = value.decode() if isinstance(value, bytes) else value
        for read in (json.loads, ast.literal_eval):
            try:
                value = read(value)
                break
            except (ValueError, SyntaxError):
                pass
        else:
            return value
    return value


def whole(calls):
    """Returns the calls, each with its body as an object."""
    for call in calls:
        if call.get("request_body") and not call.get("request_body_json"):
            call["request_body_json"] = unwrapped(call["request_body"])
        if isinstance(call.get("response_body_json"), str):
            call["response_body_json"] = unwrapped(call["response_body_json"])
    return calls


def sessions():
    """Yields every recorded session with its name, its calls, and the headers that occur in its file. A session is a file of its
    own or one of the cases of a file."""
    for path in sorted(RECORDINGS.glob("*/*.json")):
        recording = json.loads(path.read_text())
        name = f"{path.parent.name}/{path.stem}"
        if "interactions" in recording:
            yield name, (whole(recording["interactions"]), carried(recording["interactions"]))
        cases = recording.get("cases", {})
        of_file = carried(call for calls in cases.values() for call in calls)
        for case, calls in cases.items():
            yield f"{name}/{case}", (whole(calls), of_file)


def carried(calls):
    """Returns the headers that describe the object of a response and occur in any of these responses."""
    names = {name.lower() for call in calls for name in call.get("response_headers") or {}}
    return [name for name in ABOUT if name in names]


SESSIONS = dict(sessions())
RULES = tomllib.loads((HERE / "differences.toml").read_text())["difference"]
seen, played = set(), set()


def fits(text, pattern):
    return fnmatchcase(text, pattern.replace("[", "[[]"))


def many(value):
    return value if isinstance(value, list) else [value]


def listed(session, call, place, what):
    """Marks every place of a rule that allows a difference; returns whether there is one."""
    found = False
    for number, rule in enumerate(RULES):
        of = [rule.get("of", "*"), rule["call"], rule.get("what", "*")]
        if all(any(fits(text, one) for one in many(each)) for text, each in zip((session, call, what), of)):
            places = {(number, at) for at in many(rule["at"]) if fits(place, at)}
            seen.update(places)
            found |= bool(places)
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


@pytest.mark.parametrize("name", SESSIONS)
def test_a_session_goes_as_it_was_recorded(service, name):
    calls, headers = SESSIONS[name]
    session = Session(calls, service, headers)
    unlisted = [difference for difference in session.play() if not listed(name, *difference)]
    played.add(name)
    assert not unlisted, "\n".join(" | ".join(each) for each in unlisted)


def test_no_difference_is_listed_that_is_none():
    if len(played) < len(SESSIONS):
        pytest.skip("not all sessions were played")
    lines = [(number, rule, at) for number, rule in enumerate(RULES) for at in many(rule["at"])]
    unused = [(rule, at) for number, rule, at in lines if (number, at) not in seen and not rule.get("sometimes")]
    assert not unused, "\n".join(f"{rule['call']} | {at}: is none any more" for rule, at in unused)
