"""Distiller's dialect -> version 2 text, with every comment where it belongs.

conversion.py    `convert`: a file as the text that does the same
places.py        where pieces of the old tree are in the new one; the new one in the order of the old
comments.py      the comments of the old text, and the pieces they belong to
layout.py        the new tree as lines, with the comments between them

The tree is that of ``distiller/``, as for ``load_schedule``; here it gets a layout, and the comments of the old text.
A comment belongs to a piece of the old file (a section, an instance, a policy, a key, an item) and goes where that one
went. YAML libraries that keep comments lose those of a piece that changes its shape, and here nearly every piece does.
"""

from __future__ import annotations

from schedengine.schedule.convert.conversion import convert

__all__ = ["convert"]
