"""The key figures: size, time and error of fp32, of the model, and of the one beside it."""

from __future__ import annotations

from collections.abc import Mapping

from tnnquant.inspect.compare import Errors
from tnnquant.inspect.page.marks import count_text, section, tag, text
from tnnquant.inspect.page.material import Material
from tnnquant.inspect.summary import Summary

__all__ = ["figures_section"]


def figures_section(material: Material) -> str:
    """A row per model, a column per figure; on a narrow screen the other way round."""
    columns = []
    if material.fp32 is not None:
        columns.append(("fp32", _of(material.fp32, None, material.times.get("fp32"))))
    own = _of(material.summary, material.errors, material.times.get("int8"))
    columns.append((material.title if material.fp32 is not None else material.summary.precision, own))
    if material.other is not None:
        other = material.other
        columns.append((f"B: {other.title}", _of(other.summary, other.errors, material.times.get("other"))))
    base = columns[0][1] if material.fp32 is not None else {}
    head = tag("tr", tag("td", ""), *(tag("th", text(name), scope="col", class_="num") for name in own))
    rows = [tag("tr", tag("th", text(title), scope="row"), *(_cell(name, figures, base) for name in own))
            for title, figures in columns]  # fmt: skip
    table = tag("table", tag("thead", head), tag("tbody", *rows), id="key-figures", style=f"--rows:{len(own) + 1}")
    note = ""
    if material.times:
        note = tag("p", text(f"Time: median of runs in turns, {material.timed_on}."), class_="note")
    return section("figures", tag("h2", "Key figures"), tag("div", table, class_="scroll plain"), note)


def _cell(name: str, figures: Mapping[str, tuple[float | None, str]], base: Mapping) -> str:
    value, shown = figures.get(name, (None, ""))
    first = base.get(name, (None, ""))[0]
    ratio = ""
    if value and first and figures is not base and name in ("on disk", "time per run"):
        ratio = f" {first / value:.2f}x {'smaller' if name == 'on disk' else 'faster'}" if value < first else (
            f" {value / first:.2f}x {'larger' if name == 'on disk' else 'slower'}")  # fmt: skip
    return tag("td", text(shown), tag("span", text(ratio), class_="ratio") if ratio else "", class_="num")


def _of(summary: Summary, errors: Errors | None, seconds: float | None) -> dict[str, tuple[float | None, str]]:
    """Value, where it is to be divided, and text of each figure."""
    totals = summary.totals()
    found: dict[str, tuple[float | None, str]] = {}
    if errors is not None:
        worst = min(errors.outputs.values(), key=lambda figures: figures.sqnr_db, default=None)
        if worst is not None:
            found["output SQNR"] = None, f"{worst.sqnr_db:.1f} dB"
            found["output cosine"] = None, f"{worst.cosine:.5f}"
        if errors.agreement:
            found["same best score"] = None, "{} of {}".format(*errors.agreement)
        if errors.verdict.metric:
            found["your metric"] = None, errors.verdict.metric.check().text
    if summary.precision == "fp32":
        found["layers"] = None, str(totals["layers"])
        found["MACs per run"] = None, count_text(totals["macs"])
    else:
        share = 100 * totals["int8_macs"] / totals["macs"] if totals["macs"] else 0
        found["layers in int8"] = None, f"{totals['int8_layers']} of {totals['layers']}"
        found["of the arithmetic"] = None, f"{share:.1f} %"
        found["MACs per run"] = None, count_text(totals["macs"])
    if totals["file_bytes"]:
        found["on disk"] = totals["file_bytes"], count_text(totals["file_bytes"]) + "B"
    if seconds is not None:
        found["time per run"] = seconds, f"{1e3 * seconds:.3g} ms"
    return found
