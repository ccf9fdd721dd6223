"""Draw docs/architecture.svg: the folders of tnnquant in the order of the import contracts, and who imports whom.

`python tools/draw_architecture.py` writes the picture, with `--check` it fails where the picture is not up to date.
Imports inside functions count. An arrow that follows from others (a imports b, b imports c) is not drawn.
"""

import ast
import sys
import tomllib
from pathlib import Path
from xml.sax.saxutils import escape

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "docs" / "architecture.svg"

#: What each folder is for, in a few words.
CAPTIONS = {
    "cli": "commands and options",
    "health": "doctor, warm-up",
    "bench": "latency, accuracy, kernels",
    "example": "SqueezeNet and photographs",
    "inspect": "where int8 hurts",
    "pipeline": "from files to files",
    "search": "--auto",
    "recipes": "tnn, best, dynamic",
    "quantization": "statistics to int8",
    "verdict": "is it good?",
    "config": "settings",
    "observers": "ranges of blobs",
    "weights": "int8 weights",
    "engine": "how a graph runs",
    "format": ".tnnproto, .tnnmodel",
    "inputs": "pictures, tensors",
    "graph": "what a model is",
    "layers": "types and arithmetic",
    "kernels": "compiled loops",
    "base": "tensors, registry",
    "errors": "messages for people",
    "onnx": "ONNX in and out",
    "devices": "what each device runs",
}

WIDTH, ROW, BOX, HEIGHT, MARGIN = 860, 74, 186, 42, 20


def rows() -> list[list[str]]:
    """The layers contract, top to bottom."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        contracts = tomllib.load(file)["tool"]["importlinter"]["contracts"]
    lines = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    return [[name.strip(" ()") for name in line.split("|")] for line in lines if line != "__main__"]


def imports(names: set[str]) -> dict[str, set[str]]:
    """The folders that each folder imports."""
    found: dict[str, set[str]] = {name: set() for name in names}
    for name in names:
        place = ROOT / "kernels" if name == "kernels" else ROOT / "tnnquant" / name
        files = place.rglob("*.py") if place.is_dir() else [place.with_suffix(".py")]
        for file in files:
            for node in ast.walk(ast.parse(file.read_text("utf-8"))):
                modules = [a.name for a in node.names] if isinstance(node, ast.Import) else []
                if isinstance(node, ast.ImportFrom) and node.module:
                    deeper = [f"tnnquant.{a.name}" for a in node.names] if node.module == "tnnquant" else []
                    modules = [node.module, *deeper]
                targets = {m.split(".")[1] for m in modules if m.startswith("tnnquant.")}
                found[name] |= (targets & names) - {name}
    return found


def reduced(edges: dict[str, set[str]]) -> dict[str, set[str]]:
    """The edges that do not follow from others."""

    def reach(start: str, seen: set[str]) -> set[str]:
        for name in edges[start]:
            if name not in seen:
                seen.add(name)
                reach(name, seen)
        return seen

    beyond = {name: reach(name, set()) for name in edges}
    return {a: {b for b in edges[a] if not any(b in beyond[c] for c in edges[a] - {b})} for a in edges}


def draw() -> str:
    """The picture as SVG."""
    order = rows()
    names = {name for row in order for name in row}
    place: dict[str, tuple[float, float]] = {}
    for y, row in enumerate(order):
        for x, name in enumerate(row):
            left = WIDTH / 2 + (x - (len(row) - 1) / 2) * (BOX + 60) - BOX / 2
            # A single box stands left and right in turn, so that arrows between distant rows do not run through it.
            shift = 0 if len(row) > 1 else (-1, 0, 1)[y % 3] * 215
            place[name] = (left + shift, MARGIN + y * ROW)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {MARGIN * 2 + len(order) * ROW}" '
        'font-family="sans-serif" font-size="14">',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0 8 4 0 8z" fill="#888"/></marker></defs>',
        f'<rect width="{WIDTH}" height="100%" fill="#fff"/>',
    ]
    for source, targets in sorted(reduced(imports(names)).items()):
        for target in sorted(targets):
            (x0, y0), (x1, y1) = place[source], place[target]
            start, end = (x0 + BOX / 2, y0 + HEIGHT), (x1 + BOX / 2, y1)
            bend = (end[1] - start[1]) / 2
            lines.append(
                f'<path d="M{start[0]:g} {start[1]:g}C{start[0]:g} {start[1] + bend:g} {end[0]:g} {end[1] - bend:g} '
                f'{end[0]:g} {end[1]:g}" fill="none" stroke="#999" marker-end="url(#tip)"/>'
            )
    for name, (left, top) in place.items():
        lines += [
            f'<rect x="{left:g}" y="{top:g}" width="{BOX}" height="{HEIGHT}" rx="6" fill="#eef3fb" stroke="#4a6fa5"/>',
            f'<text x="{left + BOX / 2:g}" y="{top + 18:g}" text-anchor="middle" font-weight="bold">'
            f"{escape(name)}</text>",
            f'<text x="{left + BOX / 2:g}" y="{top + 34:g}" text-anchor="middle" font-size="11" fill="#555">'
            f"{escape(CAPTIONS.get(name, ''))}</text>",
        ]
    return "\n".join([*lines, "</svg>", ""])


def main() -> int:
    """Write the picture, or check it."""
    picture = draw()
    if "--check" in sys.argv[1:]:
        if PICTURE.is_file() and PICTURE.read_text("utf-8") == picture:
            return 0
        print("docs/architecture.svg is not up to date: run python tools/draw_architecture.py")
        return 1
    PICTURE.write_text(picture, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
