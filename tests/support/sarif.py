"""Checks that hold of every SARIF document."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema

from convsv_cli.renderers.renderer import Terminal
from convsv_cli.renderers.sarif import RENDERER
from convsv_cli.report import Audit, Report

SCHEMA = json.loads((Path(__file__).parent / "schemas" / "sarif-2.1.0-rtm.5.json").read_text())


VALIDATOR = jsonschema.Draft4Validator(SCHEMA)


HERE = Terminal(here="/build/repo/models", root="/build/repo")


URI = re.compile(r"(?:[A-Za-z0-9_.~/-]|%[0-9A-F]{2})+")


def sarif(document: Report, terminal: Terminal = HERE) -> dict[str, Any]:
    return json.loads(RENDERER.render(document, terminal))


def values(value: Any):
    """Every value in a document, with its key."""
    entries = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in entries:
        yield key, inner
        if isinstance(inner, (dict, list)):
            yield from values(inner)


def check(document: dict[str, Any]) -> None:
    """What the schema demands, and what GitHub's and Azure's readers demand beyond it."""
    VALIDATOR.validate(document)
    found = list(values(document))
    assert not [key for key, value in found if value is None]
    for uri in (value for key, value in found if key == "uri"):
        assert URI.fullmatch(uri)
        assert not uri.startswith("/")
        assert ".." not in uri.split("/")
    (run,) = document["runs"]
    driver = run["tool"]["driver"]
    for result in run["results"]:
        assert driver["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["message"]["text"]
        (location,) = result["locations"]
        assert location["physicalLocation"]["region"]["startLine"] >= 1
    for notice in run["invocations"][0]["toolExecutionNotifications"]:
        assert driver["notifications"][notice["descriptor"]["index"]]["id"] == notice["descriptor"]["id"]
    fingerprints = [result["partialFingerprints"]["convsvFinding/v1"] for result in run["results"]]
    assert len(set(fingerprints)) == len(fingerprints)


def fingerprints(audit: Audit) -> dict[str, dict[str, str]]:
    (run,) = sarif(Report(command="check", audits=(audit,)))["runs"]
    return {result["ruleId"]: result["partialFingerprints"] for result in run["results"]}
