"""Where a bound comes from, by block: factors that are bounds by themselves, and factors that are not."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from convsv_cli.renderers import RENDERERS
from convsv_cli.renderers.renderer import Terminal
from convsv_cli.report import COVARIANCE, RULES, Audit, Block
from tests.support.documents import AUDIT, BLOCKS, of
from tests.support.outline import Outline

FORMATS = {renderer.name: renderer.render for renderer in RENDERERS}
AT_ONCE = "bounded at once, by covariance: the product of the factors is a bound"


def routed(*routes: str) -> Audit:
    """With a block for each of the routes."""
    blocks: tuple[Block, ...] = tuple(
        replace(BLOCKS[0], name=f"block{i}", factor=2.0, share=1 / len(routes), route=route)
        for i, route in enumerate(routes)
    )
    return replace(AUDIT, bound=replace(AUDIT.bound, blocks=blocks, lipschitz=2.0 ** len(routes)))


def explained(name: str, audit: Audit) -> str:
    return FORMATS[name](of(audit), Terminal(explain=True))


@pytest.mark.parametrize("name", ["table", "html"])
def test_factors_that_are_bounds_by_themselves_need_no_remark(name: str) -> None:
    text = explained(name, routed(RULES, RULES))
    assert "covariance" not in text
    assert "route" not in text


@pytest.mark.parametrize("name", ["table", "html"])
def test_factors_that_hold_together_only_are_said_to(name: str) -> None:
    text = explained(name, routed(COVARIANCE, COVARIANCE, COVARIANCE))
    assert f"3 blocks were {AT_ONCE}" in text
    assert "route" not in text, "it is the same for all"


@pytest.mark.parametrize("name", ["table", "html"])
def test_where_routes_differ_each_block_has_its_own(name: str) -> None:
    text = explained(name, routed(RULES, COVARIANCE, COVARIANCE))
    assert f"2 blocks were {AT_ONCE}" in text
    said = Outline(text).texts if name == "html" else text.split()
    assert [said.count(word) for word in ("route", RULES)] == [1, 1]
    assert sum(word == COVARIANCE for word in said) == 2


def test_a_block_by_itself_is_bounded_whatever_the_route() -> None:
    assert AT_ONCE not in explained("table", routed(RULES, COVARIANCE, RULES))


def test_json_says_which_route_gave_what() -> None:
    network = json.loads(explained("json", routed(RULES, COVARIANCE)))["audits"][0]["network"]
    assert [block["route"] for block in network["blocks"]] == [RULES, COVARIANCE]
    assert "covariances" in network["method"]
    assert "covariances" not in explained("json", routed(RULES))
