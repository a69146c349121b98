"""JUnit XML: a suite for each model, a case for each layer and one for the network."""

from __future__ import annotations

from collections import defaultdict
from xml.etree import ElementTree as ET

from convsv_cli.names import inert
from convsv_cli.renderers.columns import why_no_figures
from convsv_cli.renderers.renderer import Renderer, Terminal
from convsv_cli.renderers.verdict_text import about, node
from convsv_cli.report import (
    CHANGES,
    ERROR,
    IGNORED,
    INVALID,
    LEFT_OUT,
    NOT_APPLICABLE,
    PASSED,
    UNSETTLED,
    UNSUPPORTED,
    UNUSED,
    Audit,
    Failure,
    Finding,
    Gate,
    LayerAudit,
    Report,
)

NETWORK, BUDGET = "network", "budget"
DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>'


def render(report: Report, terminal: Terminal) -> str:  # noqa: ARG001
    """The document, in ASCII; a limit that is not shown to be kept is a failure of its layer's case.

    Texts from the files are made inert here, and only here.
    """
    report = inert(report)
    root = ET.Element("testsuites", name="convsv")
    root.extend([*map(_suite, report.audits), *map(_unreadable, report.failures)])
    totals = _counts(list(root.iter("testcase")))
    del totals["skipped"]  # which the schema does not have here
    root.attrib.update(totals)
    ET.indent(root)
    return f"{DECLARATION}\n{ET.tostring(root, encoding='us-ascii').decode()}\n"


def _suite(audit: Audit) -> ET.Element:
    """A case for the network if it has gates, one for each layer, and one for each other gate's.

    Layers that only a baseline has are cases, too. With a budget, whatever keeps it from passing is a failure
    or an error, including that of a layer without a limit, or of the budget itself, which then has a case.
    """
    left_open = _left_open(audit)
    changes = {finding.node: finding for finding in audit.findings if finding.rule in CHANGES}
    gates: dict[str, list[Gate]] = defaultdict(list)
    for gate in audit.verdict.gates if audit.verdict else ():
        gates[node(gate) if gate.aside else gate.node].append(gate)
    network = gates.pop("", [])
    path = audit.model.path
    cases = [_case(path, NETWORK, audit.bound.seconds, network)] if network else []
    for layer in audit.layers:
        seconds = sum(measurement.seconds for _, measurement in layer.measurements)
        case = _case(path, layer.name, seconds, gates.pop(layer.name, []))
        if not len(case):
            _status(layer, left_open.pop(layer.name, []), case)
        if layer.name in changes:
            _change(changes.pop(layer.name), case)
        cases.append(case)
    cases += [_case(path, name, 0.0, others) for name, others in gates.items()]
    for finding in changes.values():
        cases.append(_case(path, finding.node, 0.0, []))
        _change(finding, cases[-1])
    for finding in left_open.get("", []):
        cases.append(_case(path, BUDGET, 0.0, []))
        _add_error(cases[-1], finding)
    if not audit.verdict:
        cases += [_left_out(path, finding) for finding in audit.findings if finding.rule == LEFT_OUT]
    return _suite_of(path, cases, audit.seconds)


def _left_out(path: str, finding: Finding) -> ET.Element:
    """The case of weights that were not audited."""
    case = _case(path, "left out", 0.0, [])
    ET.SubElement(case, "skipped", message=finding.message)
    return case


def _case(path: str, name: str, seconds: float, gates: list[Gate]) -> ET.Element:
    """The case of a layer or of the network, with the outcomes of its gates."""
    case = ET.Element("testcase", name=name, classname=path, time=f"{seconds:.3f}")
    missed = [gate for gate in gates if gate.outcome not in (PASSED, IGNORED)]
    if missed:
        failure = ET.SubElement(case, "failure", type=missed[0].outcome, message=about(missed[0]))
        failure.text = "\n".join(f"{gate.outcome}: {about(gate)}" for gate in missed)
    elif gates and all(gate.outcome == IGNORED for gate in gates):
        ET.SubElement(case, "skipped", message=f"ignored: {gates[0].reason}")
    return case


def _left_open(audit: Audit) -> dict[str, list[Finding]]:
    """By node, the findings other than gates that keep a verdict from passing."""
    found: dict[str, list[Finding]] = defaultdict(list)
    for finding in audit.findings if audit.verdict else ():
        mistake = finding.rule == UNUSED and finding.severity == ERROR
        if mistake or finding.rule in UNSETTLED:
            found[finding.node].append(finding)
    return found


def _add_error(case: ET.Element, finding: Finding) -> None:
    ET.SubElement(case, ERROR, type=finding.rule, message=finding.message)


def _status(layer: LayerAudit, left_open: list[Finding], case: ET.Element) -> None:
    """Why a layer has no figures, or no limit although it should have one."""
    if left_open:
        _add_error(case, left_open[0])
    elif layer.status == UNSUPPORTED:
        ET.SubElement(case, "skipped", message=layer.reason)
    elif layer.status == NOT_APPLICABLE:
        ET.SubElement(case, "skipped", message=why_no_figures(layer))
    elif layer.status == INVALID:
        ET.SubElement(case, ERROR, type=INVALID, message=layer.reason)


def _change(finding: Finding, case: ET.Element) -> None:
    """How a layer differs from a baseline: a failure if that is strict, otherwise a remark."""
    if finding.severity == ERROR and case.find("failure") is None:
        ET.SubElement(case, "failure", type=finding.rule, message=finding.message)
    ET.SubElement(case, "system-out").text = f"{finding.rule}: {finding.message}"


def _unreadable(failure: Failure) -> ET.Element:
    path = failure.path
    case = ET.Element("testcase", name="read", classname=path, time="0.000")
    ET.SubElement(case, ERROR, type="unreadable-model", message=failure.message)
    return _suite_of(failure.path, [case], 0.0)


def _suite_of(path: str, cases: list[ET.Element], seconds: float) -> ET.Element:
    suite = ET.Element("testsuite", name=path)
    suite.attrib.update(**_counts(cases), time=f"{seconds:.3f}")
    suite.extend(cases)
    return suite


def _counts(cases: list[ET.Element]) -> dict[str, str]:
    kinds = {"failures": "failure", "errors": ERROR, "skipped": "skipped"}
    found = {name: sum(case.find(kind) is not None for case in cases) for name, kind in kinds.items()}
    return {name: str(count) for name, count in {"tests": len(cases), **found}.items()}


RENDERER = Renderer(name="junit", suffixes=(".xml",), render=render)
