"""The JSON schemas that the package ships, written from the forms of its documents.

python -m tests.support.json_schemas --write
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, get_args

from msgspec import UNSET, structs
from msgspec.json import schema_components

import convsv_cli
from convsv_cli.wire import audit, certification, comparison, spectra
from convsv_cli.wire.form import ADDED, Form

FOLDER = Path(convsv_cli.__file__).parent / "renderers" / "schema"
DRAFT = "https://json-schema.org/draft/2020-12/schema"
ENTRY = re.compile(r"^ {4}(\w+): *(.*(?:\n {8}.*)*)", re.MULTILINE)
GROWS = "Fields are only ever added within a major version. Numbers that are not finite are null."


def schema(
    title: str, about: str, *forms: type[Form], alternatives: tuple[type[Form], ...] = ()
) -> dict[str, Any]:
    """The schema of a document in which the members of forms stand beside each other.

    Args:
        title: of the schema.
        about: the document, in a sentence.
        forms: that all documents have.
        alternatives: of which a document has one as well.
    """
    references, components = schema_components((*forms, *alternatives))
    every = {form.__name__: form for root in (*forms, *alternatives) for form in forms_of(root)}
    together = list(references[: len(forms)])
    if alternatives:
        together.append({"anyOf": list(references[len(forms) :])})
    return {
        "$schema": DRAFT,
        "title": title,
        "description": f"{about} {GROWS}",
        "allOf": together,
        "$defs": {name: complete(found, every[name]) for name, found in components.items()},
    }


def forms_of(kind: Any) -> Iterator[type[Form]]:
    """Those that a type mentions, and those that these do."""
    if isinstance(kind, type) and issubclass(kind, Form):
        yield kind
        for field in structs.fields(kind):
            yield from forms_of(field.type)
    for inner in get_args(kind):
        yield from forms_of(inner)


def complete(found: dict[str, Any], form: type[Form]) -> dict[str, Any]:
    """The schema of a form, with what its docstring says, and with the fields that are always written."""
    text = inspect.getdoc(form) or ""
    remarks = {name: " ".join(said.split()) for name, said in ENTRY.findall(text.partition("Attributes:")[2])}
    properties = {}
    for field in structs.fields(form):
        remark = {"description": remarks[field.name]} if field.name in remarks else {}
        known = {name: v for name, v in found["properties"][field.encode_name].items() if name != "default"}
        properties[field.encode_name] = {**remark, **known}
    return {
        "description": text.partition("\n")[0],
        "type": "object",
        "properties": properties,
        "required": [field.encode_name for field in structs.fields(form) if always(field)],
        **form.CONDITION,
    }


def always(field: structs.FieldInfo) -> bool:
    """Whether documents of all versions have it."""
    return field.default is not UNSET and ADDED not in getattr(field.type, "__metadata__", ())


SCHEMAS: Mapping[str, Callable[[], dict[str, Any]]] = {
    "audit-1.schema.json": partial(
        schema,
        "convsv report",
        "What `convsv ... --format json` prints: one audit, or lists of audits and failures.",
        audit.Head,
        alternatives=(audit.Audit, audit.Several),
    ),
    "certification-1.schema.json": partial(
        schema, "convsv certify", "What `convsv certify --format json` prints.", certification.Certification
    ),
    "diff-1.schema.json": partial(
        schema, "convsv diff", "What `convsv diff --format json` prints.", comparison.Difference
    ),
    "spectrum-1.schema.json": partial(
        schema, "convsv spectrum", "What `convsv spectrum --format json` prints.", spectra.Spectra
    ),
    "trend-1.schema.json": partial(
        schema,
        "convsv report",
        "What `convsv report --format json` prints of several reports.",
        comparison.Trend,
    ),
}


def text(name: str) -> str:
    """The file, as it has to be."""
    return json.dumps(SCHEMAS[name](), indent=2) + "\n"


if __name__ == "__main__":
    for name in SCHEMAS:
        if "--write" in sys.argv:
            (FOLDER / name).write_text(text(name), encoding="utf-8")
        else:
            sys.stdout.write(text(name))
