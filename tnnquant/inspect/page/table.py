"""The table of all layers, sortable by every column."""

from __future__ import annotations

from tnnquant.inspect.advice import cause_of
from tnnquant.inspect.compare import LayerError
from tnnquant.inspect.page.marks import count_text, db_text, section, tag, text
from tnnquant.inspect.page.material import Material
from tnnquant.inspect.page.network import anchor
from tnnquant.inspect.page.shades import ErrorShades
from tnnquant.inspect.page.strip import worst_layers
from tnnquant.inspect.summary import LayerRow

__all__ = ["layers_section"]

KINDS = ("isolated", "weights", "activations", "cumulative")
#: Headings that would be wider than what stands below them.
SHORT = {"activations": "activ.", "cumulative": "cumul."}


def layers_section(material: Material) -> str:
    """The table; with a second model its errors stand beside, in the place of what the details tell too."""
    errors = {row.name: row for row in material.errors.layers} if material.errors else {}
    beside = material.other.errors if material.other else None
    others = {row.name: row for row in beside.layers} if beside else None
    worst = worst_layers(material.errors)
    heads = ["#", "layer"]
    if errors:
        heads += [SHORT.get(kind, kind) for kind in KINDS]
        heads += ["isolated, B", "cumul., B"] if others is not None else ["mostly", "RMSE", "cosine"]
    heads += ["MACs", "bytes", "precision"]
    left = {"layer", "mostly", "precision"}
    row_of = "".join(
        tag("th", tag("button", text(name), type="button"), scope="col", class_="num" if name not in left else None)
        for name in heads
    )
    body = [tag("h2", "Layers")]
    if errors:
        note = "SQNR in dB: 6 dB more is half the error. RMSE in steps of the output's scale; rounding costs 0.29."
        if others is not None and material.other is not None:
            note = f"SQNR in dB: 6 dB more is half the error. B: {material.other.title}."
        body.append(tag("p", text(note), class_="note"))
    rows = "".join(_row(row, errors.get(row.name), material.shades, bool(errors), others, worst)
                   for row in material.summary.layers)  # fmt: skip
    table = tag("table", tag("thead", tag("tr", row_of)), tag("tbody", rows), id="layers-table")
    body.append(tag("div", table, class_="scroll", tabindex="0", role="region",
                    aria_label="Table of layers, scrollable"))  # fmt: skip
    return section("layers", *body)


def _row(
    row: LayerRow, error: LayerError | None, shades: ErrorShades, has_errors: bool,
    others: dict[str, LayerError] | None, worst: dict[str, int],
) -> str:  # fmt: skip
    rank = worst.get(row.name)
    mark = tag("span", str(rank), class_="rank", title=f"number {rank} of the worst") if rank else ""
    name = tag("a", text(row.name), href=f"#{anchor(row)}", title=row.name)
    cells = [tag("td", str(row.index), class_="num"),
             tag("th", mark, name, tag("small", text(row.type)), scope="row", data_v=row.name)]  # fmt: skip
    if has_errors:
        cells += [_db_cell(error, kind, shades) for kind in KINDS]
        if others is not None:
            cells += [_db_cell(others.get(row.name), kind, shades) for kind in ("isolated", "cumulative")]
        else:
            figures = error.isolated if error else None
            steps = figures.rmse_steps if figures else None
            cells += [
                tag("td", text(cause_of(error)) if error and figures else ""),
                tag("td", "" if steps is None else f"{steps:.2f}", class_="num"),
                tag("td", f"{figures.cosine:.5f}" if figures else "", class_="num"),
            ]
    cells += [tag("td", count_text(row.macs) if row.macs else "", class_="num", data_v=row.macs),
              tag("td", count_text(row.bytes) if row.bytes else "", class_="num", data_v=row.bytes),
              _precision(row)]  # fmt: skip
    return tag("tr", *cells, id=f"row-{row.index}")


def _db_cell(error: LayerError | None, kind: str, shades: ErrorShades) -> str:
    figures = getattr(error, kind) if error else None
    if figures is None:
        return tag("td", "", class_="num")
    return tag("td", db_text(figures.sqnr_db), class_=f"num {shades.level(kind, figures.sqnr_db)}")


def _precision(row: LayerRow) -> str:
    """What the layer is, or becomes, and why it is not int8."""
    kind = row.precision.stored if row.precision.stored == "int8" else row.precision.planned
    shown = row.precision.stored if row.precision.stored != "fp32" or kind == "fp32" else "fp32 → int8"
    why = row.precision.problem or row.precision.reason
    told = tag("span", text(shown), class_="is") + (f" {text(why)}" if why else "")
    return tag("td", tag("div", told, title=why or None), class_="why")
