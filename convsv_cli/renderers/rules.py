"""What each kind of finding means, and what to do about it."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from convsv_cli.report import Audit, Finding


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A kind of finding.

    Attributes:
        id: `Finding.rule`.
        title: what it is, one line.
        help: what it means and what to do, one paragraph.
        notice: it is about how the audit went, not about the model.
    """

    id: str
    title: str
    help: str
    notice: bool = False


UNREADABLE = Rule(
    id="unreadable-model",
    title="A model could not be audited",
    help="It is missing, damaged, in a format that convsv does not read, or was refused as unsafe.",
    notice=True,
)
RULES = (
    Rule(
        id="layer-budget",
        title="A layer's certified norm exceeds its budget",
        help="The spectral norm of the layer is proven to exceed the budget: some perturbation is amplified"
        " by more. Train with a penalty on it, or raise the budget deliberately.",
    ),
    Rule(
        id="network-budget",
        title="The network's certified Lipschitz bound exceeds its budget",
        help="The certified bound of the whole network is larger than the budget allows. `convsv audit"
        " --explain` shows which blocks it comes from; a higher --network-effort may prove a smaller one.",
    ),
    Rule(
        id="pair-budget",
        title="The certified Lipschitz bound from one tensor to another exceeds its budget",
        help="The certified bound between the two tensors of a [[pair]], all else held fixed, is larger than"
        " the budget allows. `convsv audit --from A --to B --explain` shows which blocks it comes from.",
    ),
    Rule(
        id="quantised-budget",
        title="A term of what is proven of a quantised network exceeds its budget",
        help="For a network that rounds, |f(x) - f(y)| <= L |x - y| + A is proven; the budget limits L by"
        " max-quantised-lipschitz, and A, what the steps add, by max-quantised-step.",
    ),
    Rule(
        id="layer-baseline",
        title="A layer's certified norm grew beyond the baseline",
        help="The norm is proven to have grown by more than the baseline allows. If that is intended, write"
        " a new baseline.",
    ),
    Rule(
        id="network-baseline",
        title="The network's certified Lipschitz bound grew beyond the baseline",
        help="The bound has grown by more than the baseline allows. If that is intended, write"
        " a new baseline.",
    ),
    Rule(
        id="layer-undecided",
        title="Neither proven nor refuted: the budget is within the certified interval of a layer's norm",
        help="The budget still lies within the interval after refinement. A higher --work-limit may decide;"
        " otherwise change the budget.",
    ),
    Rule(
        id="network-undecided",
        title="Neither proven nor refuted: the network's budget",
        help="The certified bound does not decide. A higher --work-limit may; otherwise change the budget.",
    ),
    Rule(
        id="pair-undecided",
        title="Neither proven nor refuted: the budget between two tensors",
        help="The run ended before a smaller bound was looked for. Raise --time-limit, or leave it out.",
    ),
    Rule(
        id="quantised-undecided",
        title="Neither proven nor refuted: the budget of a quantised network",
        help="The run ended before a smaller bound was looked for. Raise --time-limit, or leave it out.",
    ),
    Rule(
        id="interrupted",
        title="The audit was interrupted",
        help="Ctrl-C ended it: what is proven by then holds, the rest has no figures, and no budget passes.",
        notice=True,
    ),
    Rule(
        id="time-limit",
        title="The audit was stopped by --time-limit",
        help="Searches ended with what was proven by then, which holds. A larger --time-limit, or none, may"
        " prove smaller figures; how much is done by then depends on the machine.",
        notice=True,
    ),
    Rule(
        id="layer-bound-missing",
        title="A layer with a budget has no certified norm",
        help="The layer could not be audited, so there is nothing to compare with its budget. Ignore it with"
        " a reason, or leave it out of the budget.",
    ),
    Rule(
        id="network-bound-missing",
        title="A network with a budget has no certified bound",
        help="The message says why: some node has no bound, or there is no graph. For inputs from a box,"
        " given by --input-range, products of activations have one; --graph supplies that of a checkpoint.",
    ),
    Rule(
        id="pair-bound-missing",
        title="Two tensors with a budget have no certified bound",
        help="The message says why: some node between the two has no bound. For inputs from a box, given by"
        " --input-range, products of activations have one.",
    ),
    Rule(
        id="quantised-bound-missing",
        title="Nothing is proven of a network whose steps have a budget",
        help="The message says why: some node has no bound, even where steps have a term of their own. Scales"
        " that the input decides on are bounded for inputs from a box, given by --input-range.",
    ),
    Rule(
        id="absent-pair",
        title="A model does not have the tensors of a limit",
        help="A [[pair]] of the budget holds only models that have both of its tensors. It is a mistake where"
        " no model has.",
        notice=True,
    ),
    Rule(
        id="expired-ignore",
        title="An ignore has expired",
        help="The limit applies again. Fix the layer, or renew the ignore with a reason.",
    ),
    Rule(
        id="unused-budget",
        title="A glob of the budget applies to no layer, or a pair to no model",
        help="No layer matches it, or other globs match first, so it limits nothing; or no model has the two"
        " tensors. Correct the glob or the names, or remove it.",
    ),
    Rule(
        id="nothing-gated",
        title="No limit applies to a model",
        help="The budget limits none of its layers nor the network, or everything that it limits is ignored."
        " A gate that checks nothing does not pass.",
    ),
    Rule(
        id="no-layers",
        title="A model has no layers with weights",
        help="There is nothing to audit, so no budget passes. Weights may have been lost when the file was"
        " written, or it may be the wrong file.",
    ),
    Rule(
        id="no-baseline",
        title="The baseline proves nothing about a layer or the network",
        help="Its bound there is infinite, or missing because the layer was not audited. Write a new"
        " baseline, set a limit in a budget, or ignore the layer with a reason.",
    ),
    Rule(
        id="ignored",
        title="A layer is ignored by the budget",
        help="An ignore with a reason covers it.",
    ),
    Rule(
        id="invalid-layer",
        title="A layer's weight is not a valid kernel",
        help="The weight is empty, holds NaN or infinity, or does not fit its operator. Training has"
        " diverged, or the file is damaged.",
    ),
    Rule(
        id="unbounded-node",
        title="A node has no certified Lipschitz bound",
        help="The message says why. Products of activations, Exp and LayerNorm without an epsilon have no"
        " global Lipschitz constant; for inputs from a box, given by --input-range, most of them have one.",
    ),
    Rule(
        id="rank-1-spike",
        title="An adapter's update is nearly of rank 1",
        help="One singular value has at least 95 % of the update's squared Frobenius norm, though its rank"
        " may be more: the adapter amplifies one direction, and next to nothing else. Trainings that"
        " collapsed look so, and edits of a single fact or trigger.",
    ),
    Rule(
        id="unsupported-layer",
        title="A layer was not audited",
        help="The message says why: its operator, the shape of its weight, or what the file leaves open.",
        notice=True,
    ),
    Rule(
        id="not-applicable",
        title="Stored like a weight, but not a layer",
        help="A look-up table, and constants that are only added, amplify nothing: there is no norm to audit."
        " --as-layer audits it as a layer anyway.",
        notice=True,
    ),
    Rule(
        id="left-out-weights",
        title="The file contains tensors that could be weights, but were not audited",
        help="They are not part of the network that was audited, or their names suggest something else. Save"
        " what is to be audited in a file of its own.",
        notice=True,
    ),
    Rule(
        id="exact-unavailable",
        title="A layer has no exact norm",
        help="The size of its input is not known. Where the file leaves it open, --input-size or"
        " --input-shape sets it.",
        notice=True,
    ),
    Rule(
        id="spectrum-unavailable",
        title="A layer has no spectrum",
        help="The message says why its singular values were not computed.",
        notice=True,
    ),
    Rule(
        id="work-limit",
        title="The search for a norm stopped early",
        help="The interval is proven, but wider than --tolerance. A higher --work-limit makes it narrower,"
        " as far as rounding allows.",
        notice=True,
    ),
    Rule(
        id="assumed",
        title="An assumption was made about something that the file does not say",
        help="The message says which. A bare state dict, for example, has no strides, dilations or groups; an"
        " ONNX graph does.",
        notice=True,
    ),
    Rule(id="file", title="A remark about the file", help="The message has the details.", notice=True),
    Rule(
        id="network-not-held",
        title="The network has no bound in the baseline",
        help="Only its layers are compared with the baseline. `convsv audit` says why there is no bound.",
        notice=True,
    ),
    Rule(
        id="added-layer",
        title="A layer is not in the baseline",
        help="The baseline sets no limit for it. Write a new baseline to give it one; --baseline-strict fails"
        " until then.",
    ),
    Rule(
        id="removed-layer",
        title="A layer of the baseline is gone",
        help="Its limit checks nothing any more. Write a new baseline; --baseline-strict fails until then.",
    ),
    Rule(
        id="renamed-layer",
        title="A layer has another name in the baseline",
        help="It was matched by its weight or, where that has changed too, by shape and order, which is a"
        " guess. Write a new baseline to match it by name.",
    ),
)


def fingerprinted(
    found: Iterable[tuple[Audit, Finding]], path: Callable[[str], str]
) -> Iterator[tuple[Audit, Finding, str]]:
    """Findings with what tells each from all others, and stays while figures and lines change.

    It depends on rule, model and layer only; of several alike, on the order, too.

    Args:
        found: findings and the audits that they are of.
        path: where the model is in the checkout.
    """
    seen: Counter[tuple[str, ...]] = Counter()
    for audit, finding in found:
        key = (finding.rule, path(audit.model.path), finding.node)
        yield audit, finding, digest(*key, str(seen[key]))
        seen[key] += 1


def digest(*parts: str) -> str:
    """Of texts, whatever is in them."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def rule_of(name: str) -> Rule:
    """The rule; one without further words where none has that name, as in reports of later versions."""
    known = next((rule for rule in RULES if rule.id == name), None)
    return known or Rule(id=name, title=name, help="See the changelog of convsv.")
