"""Distiller's dialect (version 1) -> ours: each of its classes is a row that rewrites it onto our axes.

dialect.py       a file: its sections, and what only the whole of it tells
instances.py     a section of it: instances, each by the row of its class
rows.py          what a row is, and how the arguments of a class are read
pruners.py       the rows of the pruners
regularizers.py  the rows of the regularizers
extensions.py    the rows of what thins
structures.py    which weights go together: Distiller's words and our granularities
policies.py      policies: what acts, and the keys of our windows
windows.py       epochs, as a policy writes them
args.py          a policy's ``args``, which become axes of its pruner

Nodes keep the places of the file, and the rows check what only version 1 knows, so problems speak its words. Semantics
as read from Distiller d859fc85; where it has a bug, the row does what was meant and says so.
"""

from __future__ import annotations

from schedengine.schedule.distiller.dialect import SECTIONS, rewrite
from schedengine.schedule.distiller.extensions import EXTENSIONS
from schedengine.schedule.distiller.policies import KINDS
from schedengine.schedule.distiller.pruners import COMMON, PRUNERS
from schedengine.schedule.distiller.regularizers import REGULARIZERS
from schedengine.schedule.distiller.rows import Row
from schedengine.schedule.distiller.windows import WINDOW

__all__ = [
    "COMMON",
    "EXTENSIONS",
    "KINDS",
    "PRUNERS",
    "REGULARIZERS",
    "SECTIONS",
    "WINDOW",
    "Row",
    "rewrite",
]
