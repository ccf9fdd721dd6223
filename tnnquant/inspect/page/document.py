"""The page as one string of HTML."""

from __future__ import annotations

from importlib.resources import files

from tnnquant.inspect.page.details import details_section
from tnnquant.inspect.page.figures import figures_section
from tnnquant.inspect.page.marks import tag, text
from tnnquant.inspect.page.material import Material
from tnnquant.inspect.page.sections import (
    coverage_section,
    explore_section,
    head_section,
    made_section,
    pictures_section,
    reading_section,
    stored_section,
)
from tnnquant.inspect.page.shares import shares_section
from tnnquant.inspect.page.strip import strip_section

__all__ = ["page_html"]

SECTIONS = (
    ("depth", "Error by depth"), ("figures", "Key figures"), ("shares", "fp32 share"), ("graph", "Graph"),
    ("layers", "Layers"), ("pictures", "Worst inputs"), ("inputs", "Inputs"), ("stored", "Stored beside"),
    ("details", "Details"), ("reading", "How to read"), ("made", "Made by"),
)  # fmt: skip


def page_html(material: Material) -> str:
    """The page; the same bytes for the same material.

    Parameters
    ----------
    material : Material
    """
    style, script = (files(__package__).joinpath(name).read_text("utf-8") for name in ("page.css", "page.js"))
    drawn = (
        strip_section, figures_section, shares_section, explore_section, pictures_section, coverage_section,
        stored_section, details_section, reading_section, made_section,
    )  # fmt: skip
    main = [section(material) for section in drawn]
    there = [where for where, _ in SECTIONS if any(f'<section id="{where}"' in part for part in main)]
    links = "".join(tag("a", name, href=f"#{where}") for where, name in SECTIONS if where in there)
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'\">"
        f"<title>{text(material.title)} - tnnquant inspect</title><style>{style}</style>"
    )
    body = head_section(material) + tag("nav", links, aria_label="Sections") + tag("main", *main)
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>{body}<script>{script}</script></body></html>\n'
