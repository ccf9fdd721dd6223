"""Pieces of HTML and SVG: escaped text and numbers."""

from __future__ import annotations

import html

__all__ = ["attribute", "count_text", "db_text", "section", "shorten", "tag", "text"]


def text(value: object) -> str:
    """Text for between tags."""
    return html.escape(str(value), quote=False)


def attribute(value: object) -> str:
    """Text for an attribute in double quotes."""
    return html.escape(str(value), quote=True)


def tag(name: str, *content: str, **attributes: object) -> str:
    """An element; ``class_`` is class, ``_`` in a name is ``-``, an attribute that is None is not written."""
    pairs = (
        f' {key.rstrip("_").replace("_", "-")}="{attribute(value)}"'
        for key, value in attributes.items() if value is not None
    )  # fmt: skip
    return f"<{name}{''.join(pairs)}>{''.join(content)}</{name}>"


def section(name: str, *content: str) -> str:
    """A section with an id."""
    return f'<section id="{name}">{"".join(content)}</section>'


def db_text(db: float | None) -> str:
    """An SQNR with one decimal; empty without one."""
    return "" if db is None else f"{db:.1f}"


def count_text(value: float) -> str:
    """A number in at most five characters: 1.24 M."""
    for limit, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= limit:
            return f"{value / limit:.3g}{unit}"
    return f"{value:.0f}"


def shorten(name: str, most: int) -> str:
    """A name cut to ``most`` characters; what is kept is its end, which tells layers apart."""
    return name if len(name) <= most else "…" + name[len(name) - most + 1 :]

