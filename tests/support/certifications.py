"""Certifications as values: a usual one, and what is at the edges."""

from __future__ import annotations

from dataclasses import replace

from convsv_cli.report import (
    BOUNDED,
    CURVATURE,
    FLOAT32,
    LOCAL,
    MARGIN,
    UNBOUNDED,
    Attack,
    Block,
    Certification,
    CertifySettings,
    Model,
    NetworkBound,
    Obstacle,
    Route,
    SampleRadius,
)

INF = float("inf")
SAMPLES = (
    SampleRadius(label=0, predicted=0, radius=0.40001, broken=INF),
    SampleRadius(label=1, predicted=1, radius=0.2, broken=0.5),
    SampleRadius(label=1, predicted=1, radius=0.7, broken=INF),
    SampleRadius(label=2, predicted=1, radius=3.0),
    SampleRadius(label=2, predicted=2, radius=0.0, broken=0.1),
    SampleRadius(label=2, predicted=2, radius=0.5, broken=INF),
)
BOUND = NetworkBound(
    status=BOUNDED,
    lipschitz=12.34567,
    log10=1.0915,
    blocks=(
        Block(name="conv1", ops=("Conv",), layers=("conv1",), start="", end="a", factor=4.0, share=0.55),
        Block(name="fc", ops=("Gemm",), layers=("fc",), start="a", end="", factor=3.0864, share=0.45),
    ),
)
SETTINGS = CertifySettings(
    data="data.npz", eps=(0.1, 0.5), attack=True, input_std=(0.25,), arithmetic=FLOAT32
)
CERTIFICATION = Certification(
    version="9.9",
    model=Model(
        path="net.onnx",
        format="onnx",
        sha256="0" * 64,
        files=("net.onnx",),
        opset=20,
        input_shape=(("image", (1, 3, 32, 32)),),
    ),
    settings=SETTINGS,
    samples=SAMPLES,
    routes=(
        Route(name=MARGIN, constants=(("lipschitz", 12.34567),), best=4, arithmetic=FLOAT32),
        Route(name=CURVATURE, reason="Relu is neither a linear layer nor a smooth activation"),
        Route(name=LOCAL, best=1, arithmetic=FLOAT32),
    ),
    bound=BOUND,
    attack=Attack(steps=50, restarts=2, seconds=1.25),
    typical_margin=3.5,
    notes=("a note",),
    seconds=2.5,
)
NOTHING = replace(
    CERTIFICATION,
    samples=tuple(replace(s, radius=0.0) for s in SAMPLES),
    routes=(
        replace(CERTIFICATION.routes[0], reason="the network has no bound"),
        CERTIFICATION.routes[1],
        Route(name=LOCAL, reason="Mul is in the way"),
    ),
    bound=NetworkBound(status=UNBOUNDED, obstacles=(Obstacle(node="gate", op="Mul", reason="of two"),)),
)
EDGES = {
    "usual": CERTIFICATION,
    "nothing": NOTHING,
    "not attacked": replace(CERTIFICATION, attack=None, settings=replace(SETTINGS, eps=(0.5,), attack=False)),
    "attack failed": replace(CERTIFICATION, attack=Attack(failure="no gradient of Resize")),
    "nothing right": replace(
        CERTIFICATION, samples=tuple(replace(s, label=9, broken=None) for s in SAMPLES), typical_margin=None
    ),
    "constant": replace(
        CERTIFICATION,
        samples=tuple(replace(s, radius=INF, broken=INF if s.correct else None) for s in SAMPLES),
    ),
    "tiny": replace(CERTIFICATION, samples=tuple(replace(s, radius=s.radius * 1e-12) for s in SAMPLES)),
}


def named(text: str) -> Certification:
    """With the same text wherever a file or a user may have put one."""
    return replace(
        CERTIFICATION,
        model=replace(CERTIFICATION.model, path=text, input_shape=((text, (1, text)),)),
        settings=replace(CERTIFICATION.settings, data=text),
        routes=tuple(replace(route, reason=text) for route in CERTIFICATION.routes),
        bound=replace(BOUND, blocks=tuple(replace(block, name=text) for block in BOUND.blocks)),
        notes=(text,),
    )
