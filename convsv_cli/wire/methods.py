"""Documents of `methods`, schema 1.0: what the columns of an audit prove."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, field

from convsv_cli import report
from convsv_cli.wire.form import Form, Tool, identifier, members
from convsv_cli.wire.layer import Method

SCHEMA_VERSION = "1.0"
SCHEMA = identifier("methods", SCHEMA_VERSION)


class Methods(Form, frozen=True, kw_only=True):
    """All calculators.

    Attributes:
        schema: What the schema of the document is called.
        methods: In the order of the columns.
    """

    schema: Annotated[str, Meta(extra_json_schema={"const": SCHEMA})] = field(name="$schema", default=SCHEMA)
    schema_version: Annotated[str, Meta(pattern=r"^1\.")]
    tool: Tool
    command: Literal["methods"]
    methods: tuple[Method, ...]


def document(found: report.Methods) -> dict[str, Any]:
    """The JSON object."""
    form = Methods(
        schema_version=SCHEMA_VERSION,
        tool=Tool(version=found.version),
        command="methods",
        methods=tuple(map(Method.of, found.methods)),
    )
    return members(form)
