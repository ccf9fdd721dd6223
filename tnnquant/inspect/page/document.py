"""The page as one string of HTML."""

from __future__ import annotations

from importlib.resources import files

from tnnquant.inspect.page.details import details_section
from tnnquant.inspect.page.marks import tag, text
from tnnquant.inspect.page.material import Material
from tnnquant.inspect.page.sections import (
    coverage_section,
    graph_section,
    head_section,
    layers_section,
    pictures_section,
    reading_section,
    stored_section,
)

__all__ = ["page_html"]

SECTIONS = (
    ("graph", "Graph"), ("layers", "Layers"), ("pictures", "Worst inputs"), ("inputs", "Inputs"),
    ("stored", "Stored beside"), ("details", "Details"), ("reading", "How to read"),
)  # fmt: skip


def page_html(material: Material) -> str:
    """The page; the same bytes for the same material.

    Parameters
    ----------
    material : Material
    """
    style, script = (files(__package__).joinpath(name).read_text("utf-8") for name in ("page.css", "page.js"))
    main = [graph_section(material), layers_section(material), pictures_section(material), coverage_section(material),
            stored_section(material), details_section(material), reading_section(material)]  # fmt: skip
    there = [where for where, _ in SECTIONS if any(part.startswith(f'<section id="{where}"') for part in main)]
    links = "".join(tag("a", name, href=f"#{where}") for where, name in SECTIONS if where in there)
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'\">"
        f"<title>{text(material.title)} - tnnquant inspect</title><style>{style}</style>"
    )
    body = head_section(material) + tag("nav", links, aria_label="Sections") + tag("main", *main)
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>{body}<script>{script}</script></body></html>\n'
