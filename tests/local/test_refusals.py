"""What local bounds refuse, or take care of, as they would be wrong, or end, or fill the memory."""

from __future__ import annotations

import resource
from pathlib import Path

import numpy as np
import pytest
import torch

from convsv_cli.certification.local import RAW, normalizing
from convsv_cli.certification.samples import Normalization
from convsv_cli.local import QUICK, Problem, margins, radii
from convsv_cli.local.arithmetic import FLOAT16
from convsv_cli.local.lowering import lowered
from convsv_cli.local.places import Ball
from convsv_cli.local.propagation import places
from convsv_cli.local.steps import NoLocalCertificateError, Program
from convsv_cli.model.graph import Graph
from tests.support.local_nets import Net, own_norms, points_in_ball


def refused(graph: Graph, why: str) -> None:
    with pytest.raises(NoLocalCertificateError, match=why) as caught:
        lowered(graph, own_norms())
    assert "\n" not in str(caught.value)


KERNELS = {1: "it is of tensors without entries", 2: "its kernel is larger than what it slides over"}


@pytest.mark.parametrize("stride", KERNELS)
def test_kernels_larger_than_the_image(stride: int, tmp_path: Path) -> None:
    """Runtimes refuse them, or give an output of a size of their own."""
    net = Net(0, (1, 1, 2, 5))
    net.add("Conv", "x", net.normal(1, 1, 3, 3), shape=(1, 1, 1, 2), strides=[stride] * 2)
    refused(net.graph(tmp_path), f"Conv 'Conv_t0' is in the way: {KERNELS[stride]}")


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
def test_windows_larger_than_the_image(op: str, tmp_path: Path) -> None:
    net = Net(0, (1, 1, 2, 5))
    net.add(op, "x", shape=(1, 1, 1, 2), kernel_shape=[3, 3], strides=[2, 2])
    refused(
        net.graph(tmp_path), f"{op} '{op}_t0' is in the way: its window is larger than what it slides over"
    )


@pytest.mark.parametrize("op", ["Conv", "MaxPool", "AveragePool"])
def test_windows_with_gaps_and_automatic_padding(op: str, tmp_path: Path) -> None:
    """Of 1 to 8, onnxruntime's Conv takes 2 and 6, and others 1 and 5; of 1 to 6, all take 1 and 5."""
    for size in (8, 6):
        net = Net(0, (1, 1, size))
        weight = [net.normal(1, 1, 1)] if op == "Conv" else []
        net.add(op, "x", *weight, shape=(1, 1, 2), kernel_shape=[1], strides=[4], auto_pad="SAME_UPPER")
        if size == 8:
            refused(net.graph(tmp_path), "runtimes do not agree on its padding")
    assert lowered(net.graph(tmp_path), own_norms()).steps


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
def test_windows_that_are_nothing_but_padding(op: str, tmp_path: Path) -> None:
    net = Net(0, (1, 1, 4, 4))
    net.add(op, "x", shape=(1, 1, 6, 6), kernel_shape=[1, 1], pads=[1] * 4)
    refused(net.graph(tmp_path), "one of its windows is empty")


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
def test_large_windows_are_refused_before_there_is_anything_in_memory(op: str, tmp_path: Path) -> None:
    """All entries of all windows would take 16 GB."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    net = Net(0, (1, 1, 256, 256))
    net.add(op, "x", shape=(1, 1, 129, 129), kernel_shape=[128, 128])
    refused(net.graph(tmp_path), "it makes more than 8,388,608 entries of one sample")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**17  # KiB


def test_tensors_without_entries(tmp_path: Path) -> None:
    net = Net(0, (1, 3))
    net.add("Slice", "x", *(net.weight(np.array([each])) for each in (1, 1, 1)), shape=(1, 0))
    net.add("Concat", "t0", "x", shape=(1, 3), axis=1)
    refused(net.graph(tmp_path), "it is of tensors without entries")


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_scales_that_change_no_size(mode: str, tmp_path: Path) -> None:
    """Two entries times 1.25 are two: onnxruntime copies them where ONNX's reference interpolates."""
    x = np.array([[[[1.0, 0.0]]]], np.float32)
    net = Net(0, x.shape)
    scales = net.weight(np.array([1, 1, 1, 1.25], np.float32))
    net.add("Resize", "x", "", scales, shape=x.shape, mode=mode, coordinate_transformation_mode="half_pixel")
    refused(net.graph(tmp_path), "its scales change no size")


def test_limits_and_slopes_that_are_no_numbers(tmp_path: Path) -> None:
    net = Net(0, (1, 3))
    net.add("Clip", "x", net.weight(np.float32(np.nan)), net.weight(np.float32(1)))
    refused(net.graph(tmp_path), "one of its limits is not a number")
    for slope in (np.nan, np.inf):
        net = Net(0, (1, 3))
        net.add("PRelu", "x", net.weight(np.array([0.5, slope, 0.5], np.float32)))
        refused(net.graph(tmp_path), "one of its slopes is not a number")


def test_a_normalization_behind_matrices_scales_rows_of_images(tmp_path: Path) -> None:
    """[1, channels, n] W: what it scales are not the columns of W."""
    net = Net(0, (1, 4, 4))
    weight = np.zeros((4, 4), np.float32)
    weight[:, 0] = 10
    net.add("MatMul", "x", net.weight(weight))
    scale, one = net.weight(np.array([1e-3, 1, 1, 1], np.float32)), net.weight(np.ones(4, np.float32))
    zero = net.weight(np.zeros(4, np.float32))
    net.add("BatchNormalization", "t0", scale, zero, zero, one, epsilon=0.0)
    program = lowered(net.graph(tmp_path), own_norms())
    x = torch.zeros(1, 1, 4, 4, dtype=torch.float64)
    place = places(program, Ball(x=x, radius=torch.ones(1, dtype=torch.float64)))[program.output]
    move = torch.zeros_like(x)
    move[0, 0, 1] = 0.5
    far = program.values(move)[program.output].norm()
    assert float(far) == pytest.approx(20)
    assert float(place.radius) >= 20


def named(name: str, folder: Path) -> Program:
    """x -> 2 x + 1, by way of a tensor of that name."""
    net = Net(0, (1, 2))
    net.add("MatMul", "x", net.weight(2 * np.eye(2, dtype=np.float32)))
    net.add("Add", name, net.weight(np.ones((1, 2), np.float32)), shape=(1, 2))
    net.nodes[0].output[0] = name
    return lowered(net.graph(folder), own_norms())


@pytest.mark.parametrize("name", ["x.limited", RAW, f"{RAW}.limited", f"{RAW}.new", "x.limited.new"])
def test_tensors_with_names_of_steps_put_in_front(name: str, tmp_path: Path) -> None:
    program = normalizing(named(name, tmp_path), Normalization(mean=(1.0,), std=(0.5,))).limited()
    made = [program.source, *(step.output for step in program.steps)]
    assert len(made) == len(set(made))
    x = points_in_ball(torch.zeros(1, 1, 2, dtype=torch.float64), 3.0, 5)
    assert torch.allclose(program.values(x)[program.output], 2 * (x - 1) / 0.5 + 1)


@pytest.mark.parametrize("op", ["Sigmoid", "Clip", "MaxPool"])
def test_what_overflows_proves_nothing_and_ends_nothing(op: str, tmp_path: Path) -> None:
    """Behind an infinite error are all other steps."""
    net = Net(0, (1, 2, 2, 2))
    net.add("Mul", "x", net.weight(np.array([1e5], np.float32).reshape(1, 1, 1)))
    net.add("Conv", "t0", net.normal(2, 2, 1, 1))
    constants = [net.weight(np.float32(each)) for each in (0, 6)] if op == "Clip" else []
    attributes = {"kernel_shape": [1, 2]} if op == "MaxPool" else {}
    made = net.add(op, "t1", *constants, **attributes, shape=(1, 2, 2, 1) if attributes else None)
    net.add("Flatten", made, shape=(1, int(np.prod(net.shapes[made]))))
    net.add("MatMul", net.last, net.normal(net.shapes[net.last][1], 3), shape=(1, 3))
    program = lowered(net.graph(tmp_path), own_norms())
    x = torch.randn(1, 1, 2, 2, 2, dtype=torch.float64)
    classes = program.values(x)[program.output].flatten(1).argmax(1)
    problem = Problem(program=program, x=x, classes=classes, arithmetic=FLOAT16)
    assert not (margins(problem, torch.full((1,), 1e-6, dtype=torch.float64), QUICK) > 0).any()
    assert not radii(problem, QUICK).any()
