"""The JSON schemas that the package ships, written from the forms of its documents.

python -m tests.support.json_schemas --write
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, get_args

from msgspec import UNSET, structs
from msgspec.json import schema_components

import convsv_cli
from convsv_cli.wire import audit, certification, clipping, comparison, methods, spectra, sweep
from convsv_cli.wire.form import ADDED, Form

FOLDER = Path(convsv_cli.__file__).parent / "renderers" / "schema"
DRAFT = "https://json-schema.org/draft/2020-12/schema"
ENTRY = re.compile(r"^ {4}(\w+): *(.*(?:\n {8}.*)*)", re.MULTILINE)
GROWS = "Fields are only ever added within a major version. Numbers that are not finite are null."


def schema(title: str, about: str, form: type[Form]) -> dict[str, Any]:
    """The schema of a document.

    Args:
        title: of the schema.
        about: the document, in a sentence.
        form: of the document, whose field `$schema` says what the schema is called.
    """
    (root,), components = schema_components((form,))
    every = {each.__name__: each for each in forms_of(form)}
    return {
        "$schema": DRAFT,
        "$id": called(form),
        "title": title,
        "description": f"{about} {GROWS}",
        **root,
        "$defs": {name: complete(found, every[name]) for name, found in components.items()},
    }


def called(form: type[Form]) -> str:
    """What the schema of a form is called."""
    return next(str(field.default) for field in structs.fields(form) if field.encode_name == "$schema")


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


ABOUT: Sequence[tuple[type[Form], str, str]] = (
    (
        audit.Report,
        "convsv audit and check",
        "What `convsv audit` and `convsv check` print with `--format json`.",
    ),
    (certification.Certification, "convsv certify", "What `convsv certify --format json` prints."),
    (clipping.Clipping, "convsv clip", "What `convsv clip --format json` prints."),
    (comparison.Difference, "convsv diff", "What `convsv diff --format json` prints."),
    (methods.Methods, "convsv methods", "What `convsv methods --format json` prints."),
    (spectra.Spectra, "convsv spectrum", "What `convsv spectrum --format json` prints."),
    (comparison.Trend, "convsv report", "What `convsv report --format json` prints of several reports."),
    (sweep.Sweep, "convsv report of a sweep", "What `convsv report FOLDER --format json` prints."),
)
SCHEMAS: Mapping[str, Callable[[], dict[str, Any]]] = {
    called(form).rpartition(":")[2]: partial(schema, title, about, form) for form, title, about in ABOUT
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
