"""Recurrent layers: TNN's LSTM where it fits, else every step written out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tnnquant.onnx.builder import Builder
from tnnquant.onnx.common import binary, constant_of, ints
from tnnquant.onnx.refusal import Refused
from tnnquant.onnx.registry import operator
from tnnquant.onnx.value import FLOAT, Value

#: Steps that are written out; each is a dozen layers.
MOST_STEPS = 400
_DIRECTIONS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}


class _Sequence:
    """What the three operators share: the operands, checked, and the steps in each direction."""

    def __init__(self, g: Builder, x: Value, w: Value, r: Value, b: Value | None, lengths: Value | None, *, gates: int,
                 hidden_size: int | None, direction: str, layout: int) -> None:  # fmt: skip
        self.g = g
        self.x = g.permute(x, (1, 0, 2)) if layout else x
        self.layout = layout
        self.steps, self.batch, self.inputs = self.x.dims
        if not self.steps:
            raise Refused("its sequences have no steps; TNN has no empty tensors")
        self.w = constant_of(w, "weights").astype(FLOAT)
        self.r = constant_of(r, "recurrent weights").astype(FLOAT)
        self.hidden = hidden_size or self.r.shape[2]
        if direction not in _DIRECTIONS:
            raise Refused(f"its direction {direction!r} is unknown")
        self.directions = _DIRECTIONS[direction]
        count, rows = len(self.directions), gates * self.hidden
        if self.w.shape != (count, rows, self.inputs) or self.r.shape != (count, rows, self.hidden):
            raise Refused(
                f"its weights {self.w.shape} and {self.r.shape} do not fit {self.inputs} inputs, {self.hidden} units"
            )
        biases = constant_of(b, "biases")
        self.b = np.zeros((count, 2 * rows), np.float32) if biases is None else biases.astype(FLOAT).reshape(count, -1)
        found = ints(lengths, "sequence lengths")
        if found is not None and set(found) != {self.steps}:
            raise Refused(f"its sequences have the lengths {sorted(set(found))}, TNN runs all of {self.steps} steps")

    def initial(self, state: Value | None, number: int) -> Value | None:
        """The initial state of a direction, (B, H); None where it is 0."""
        if state is None or (state.is_constant and not state.elements.any()):
            return None
        state = self.g.permute(state, (1, 0, 2)) if self.layout else state
        piece = self.g.cut(state, 0, number, number + 1)
        return self.g.reshape(piece, (self.batch, self.hidden))

    def projected(self, number: int, bias: np.ndarray) -> list[Value]:
        """The weighted inputs of every step, (B, gates * H), in the order in which they are taken."""
        from tnnquant.onnx.ops.convolution import inner_product

        if self.steps > MOST_STEPS:
            raise Refused(f"it has {self.steps} steps, too many to be written out (at most {MOST_STEPS})")
        made = inner_product(self.g, self.x, self.w[number], bias)
        order = range(self.steps - 1, -1, -1) if self.directions[number] else range(self.steps)
        pieces, steps = [made], self.steps
        if steps > 1:
            pieces = self.g.add_many("SplitV", [made], 0, (1,) * steps, outputs=steps)
        return [self.g.reshape(pieces[k], (self.batch, made.dims[2])) for k in order]

    def outputs(self, runs: list[list[Value]], lasts: list[list[Value]]) -> tuple[Value, ...]:
        """Y and the last states, from those of each direction."""
        g = self.g
        columns = []
        for number, run in enumerate(runs):
            ordered = run[::-1] if self.directions[number] else run
            rows = [g.reshape(h, (1, 1, self.batch, self.hidden)) for h in ordered]
            columns.append(g.add("Concat", rows, 0) if len(rows) > 1 else rows[0])
        y = g.add("Concat", columns, 1) if len(columns) > 1 else columns[0]
        ends = [[g.reshape(h, (1, self.batch, self.hidden)) for h in last] for last in lasts]
        joined = [g.add("Concat", last, 0) if len(last) > 1 else last[0] for last in ends]
        return self.placed(y, joined)

    def placed(self, y: Value, lasts: list[Value]) -> tuple[Value, ...]:
        """As the layout wants them."""
        if not self.layout:
            return (y, *lasts)
        return (self.g.permute(y, (2, 0, 1, 3)), *(self.g.permute(h, (1, 0, 2)) for h in lasts))


_PLAIN = {"Sigmoid": "Sigmoid", "Tanh": "Tanh", "Relu": "ReLU", "Softsign": "", "Softplus": "Softplus"}


def _activation(g: Builder, name: str, alpha: float | None, beta: float | None, x: Value, clip: float | None) -> Value:
    """One of the activations that recurrent operators name."""
    if clip:
        x = g.add("Clip", [x], -float(clip), float(clip))
    match name:
        case "Sigmoid" | "Tanh" | "Softplus":
            return g.add(name, [x])
        case "Relu":
            return g.add("ReLU", [x])
        case "LeakyRelu":
            return g.add(
                "PReLU", [x], 1, 0, tensors={"slope": np.array([0.01 if alpha is None else alpha], np.float32)}
            )
        case "Elu":
            return g.add("Elu", [x], 1.0 if alpha is None else alpha)
        case "HardSigmoid":
            return g.add("HardSigmoid", [x], 0.2 if alpha is None else alpha, 0.5 if beta is None else beta)
        case "Affine":
            scaled = binary(g, "Mul", x, g.constant(1.0 if alpha is None else alpha, np.float32))
            return binary(g, "Add", scaled, g.constant(0.0 if beta is None else beta, np.float32))
        case "ScaledTanh":
            inner = binary(g, "Mul", x, g.constant(1.0 if beta is None else beta, np.float32))
            return binary(g, "Mul", g.add("Tanh", [inner]), g.constant(1.0 if alpha is None else alpha, np.float32))
        case "Softsign":
            return binary(g, "Div", x, binary(g, "Add", g.add("Abs", [x]), g.constant(1, np.float32)))
    raise Refused(f"its activation {name!r} is none that TNN can express")


class _Activations:
    """The activations of each direction, with their parameters."""

    def __init__(
        self, g: Builder, names: Sequence[str] | None, alphas: Sequence[float] | None, betas: Sequence[float] | None,
        defaults: tuple[str, ...], clip: float | None,
    ) -> None:  # fmt: skip
        self._g, self._clip = g, clip
        self._names = [_titled(name) for name in names] if names else list(defaults)
        self._alphas, self._betas = list(alphas or ()), list(betas or ())

    def run(self, position: int, x: Value, *, clipped: bool = True) -> Value:
        """The activation at that position."""
        if position >= len(self._names):
            raise Refused(f"it names {len(self._names)} activations, more are needed")
        takes = [
            name in ("LeakyRelu", "Elu", "HardSigmoid", "Affine", "ScaledTanh", "ThresholdedRelu")
            for name in self._names
        ]
        number = sum(takes[:position])
        alpha = self._alphas[number] if takes[position] and number < len(self._alphas) else None
        beta = self._betas[number] if takes[position] and number < len(self._betas) else None
        return _activation(self._g, self._names[position], alpha, beta, x, self._clip if clipped else None)


def _titled(name: str) -> str:
    known = (
        "Sigmoid",
        "Tanh",
        "Relu",
        "LeakyRelu",
        "Elu",
        "HardSigmoid",
        "Affine",
        "ScaledTanh",
        "Softsign",
        "Softplus",
    )
    return next((k for k in known if k.lower() == name.lower()), name)


def _recurrent(g: Builder, h: Value | None, shared: Value) -> Value | None:
    """``h @ R``; the matrix is one constant of the model that all steps read."""
    return None if h is None else g.add("MatMul", [h, shared], -1)


def _plus(g: Builder, a: Value, b: Value | None) -> Value:
    return a if b is None else binary(g, "Add", a, b)


def _parts(g: Builder, x: Value, count: int) -> list[Value]:
    """Equal pieces of the last axis."""
    if count == 1:
        return [x]
    return g.add_many("SplitV", [x], 1, (x.dims[1] // count,) * count, outputs=count)


@operator()
def RNN(
    g: Builder, x: Value, w: Value, r: Value, b: Value | None = None, lengths: Value | None = None,
    initial_h: Value | None = None, *, activations: Sequence[str] | None = None,
    activation_alpha: Sequence[float] | None = None, activation_beta: Sequence[float] | None = None,
    clip: float | None = None, direction: str = "forward", hidden_size: int | None = None, layout: int = 0,
    output_sequence: int = 0,
) -> tuple[Value, ...]:  # fmt: skip
    s = _Sequence(g, x, w, r, b, lengths, gates=1, hidden_size=hidden_size, direction=direction, layout=layout)
    acts = _Activations(g, activations, activation_alpha, activation_beta, ("Tanh",) * len(s.directions), clip)
    runs, lasts = [], []
    for number in range(len(s.directions)):
        wb, rb = np.split(s.b[number], 2)
        shared = g.constant(np.ascontiguousarray(s.r[number].T))
        h = s.initial(initial_h, number)
        run: list[Value] = []
        for step in s.projected(number, wb + rb):
            h = acts.run(number, _plus(g, step, _recurrent(g, h, shared)))
            run.append(h)
        runs.append(run)
        lasts.append(run[-1])
    return s.outputs(runs, [lasts])


@operator()
def GRU(
    g: Builder, x: Value, w: Value, r: Value, b: Value | None = None, lengths: Value | None = None,
    initial_h: Value | None = None, *, activations: Sequence[str] | None = None,
    activation_alpha: Sequence[float] | None = None, activation_beta: Sequence[float] | None = None,
    clip: float | None = None, direction: str = "forward", hidden_size: int | None = None, layout: int = 0,
    linear_before_reset: int = 0, output_sequence: int = 0,
) -> tuple[Value, ...]:  # fmt: skip
    s = _Sequence(g, x, w, r, b, lengths, gates=3, hidden_size=hidden_size, direction=direction, layout=layout)
    defaults = ("Sigmoid", "Tanh") * len(s.directions)
    acts = _Activations(g, activations, activation_alpha, activation_beta, defaults, clip)
    runs, lasts, hidden = [], [], s.hidden
    for number in range(len(s.directions)):
        wb, rb = np.split(s.b[number], 2)
        # The recurrent bias of the new state is scaled by the reset gate where that comes last.
        late = rb[2 * hidden :] if linear_before_reset else np.zeros(hidden, np.float32)
        early = rb if not linear_before_reset else np.concatenate([rb[: 2 * hidden], np.zeros(hidden, np.float32)])
        gates = g.constant(np.ascontiguousarray(s.r[number][: 2 * hidden].T))
        new = g.constant(np.ascontiguousarray(s.r[number][2 * hidden :].T))
        bias = g.constant(late.reshape(1, hidden))
        h = s.initial(initial_h, number)
        run: list[Value] = []
        for step in s.projected(number, wb + early):
            zr = g.cut(step, 1, 0, 2 * hidden)
            z, reset = _parts(g, acts.run(2 * number, _plus(g, zr, _recurrent(g, h, gates))), 2)
            inner = g.cut(step, 1, 2 * hidden, 3 * hidden)
            if linear_before_reset:
                turned = _recurrent(g, h, new)
                turned = bias if turned is None else binary(g, "Add", turned, bias)
                inner = (
                    inner
                    if turned is bias and not late.any()
                    else binary(g, "Add", inner, binary(g, "Mul", reset, turned))
                )
            elif h is not None:
                inner = _plus(g, inner, _recurrent(g, binary(g, "Mul", reset, h), new))
            candidate = acts.run(2 * number + 1, inner)
            # (1 - z) * n + z * h = n + z * (h - n)
            if h is None:
                h = binary(g, "Sub", candidate, binary(g, "Mul", z, candidate))
            else:
                h = binary(g, "Add", candidate, binary(g, "Mul", z, binary(g, "Sub", h, candidate)))
            run.append(h)
        runs.append(run)
        lasts.append(run[-1])
    return s.outputs(runs, [lasts])


@operator()
def LSTM(
    g: Builder, x: Value, w: Value, r: Value, b: Value | None = None, lengths: Value | None = None,
    initial_h: Value | None = None, initial_c: Value | None = None, peepholes: Value | None = None, *,
    activations: Sequence[str] | None = None, activation_alpha: Sequence[float] | None = None,
    activation_beta: Sequence[float] | None = None, clip: float | None = None, direction: str = "forward",
    hidden_size: int | None = None, input_forget: int = 0, layout: int = 0, output_sequence: int = 0,
) -> tuple[Value, ...]:  # fmt: skip
    s = _Sequence(g, x, w, r, b, lengths, gates=4, hidden_size=hidden_size, direction=direction, layout=layout)
    defaults = ("Sigmoid", "Tanh", "Tanh") * len(s.directions)
    named = tuple(_titled(name) for name in activations) if activations else defaults
    peeps = constant_of(peepholes, "peepholes")
    if named == defaults and not clip and not input_forget and (peeps is None or not peeps.any()):
        return _lstm_layer(s, initial_h, initial_c, direction)
    acts = _Activations(g, activations, activation_alpha, activation_beta, defaults, clip)
    p = np.zeros((len(s.directions), 3 * s.hidden), np.float32) if peeps is None else peeps.astype(FLOAT)
    runs, lasts, cells = [], [], []
    for number in range(len(s.directions)):
        wb, rb = np.split(s.b[number], 2)
        shared = g.constant(np.ascontiguousarray(s.r[number].T))
        h, c = s.initial(initial_h, number), s.initial(initial_c, number)
        run: list[Value] = []
        memory: list[Value] = []
        pi, po, pf = (g.constant(part.reshape(1, -1)) for part in np.split(p[number], 3))

        def seen(gate: Value, cell: Value | None, weights: Value) -> Value:
            return (
                gate
                if cell is None or not weights.elements.any()
                else binary(g, "Add", gate, binary(g, "Mul", cell, weights))
            )

        for step in s.projected(number, wb + rb):
            i, o, f, n = _parts(g, _plus(g, step, _recurrent(g, h, shared)), 4)
            i = acts.run(3 * number, seen(i, c, pi))
            f = binary(g, "Sub", g.constant(1, np.float32), i) if input_forget else acts.run(3 * number, seen(f, c, pf))
            made = binary(g, "Mul", i, acts.run(3 * number + 1, n))
            c = made if c is None else binary(g, "Add", binary(g, "Mul", f, c), made)
            o = acts.run(3 * number, seen(o, c, po))
            h = binary(g, "Mul", o, acts.run(3 * number + 2, c, clipped=False))
            run.append(h)
            memory.append(c)
        runs.append(run)
        lasts.append(run[-1])
        cells.append(memory[-1])
    return s.outputs(runs, [lasts, cells])


def _lstm_layer(s: _Sequence, initial_h: Value | None, initial_c: Value | None, direction: str) -> tuple[Value, ...]:
    g, count = s.g, len(s.directions)
    code = {"forward": 0, "reverse": 1, "bidirectional": 2}[direction]
    operands = [s.x, *(g.constant(a) for a in (s.w, s.r, s.b))]
    if initial_h is not None or initial_c is not None:
        zero = g.constant(np.zeros((count, s.batch, s.hidden), np.float32))
        states = [zero if v is None else g.permute(v, (1, 0, 2)) if s.layout else v for v in (initial_h, initial_c)]
        operands += states
    y, h, c = g.add_many("LSTMONNX", operands, 0.0, s.hidden, code, outputs=3)
    y = g.permute(g.reshape(y, (s.steps, s.batch, count, s.hidden)), (0, 2, 1, 3))
    return s.placed(y, [h, c])
