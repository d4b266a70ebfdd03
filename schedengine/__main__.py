"""``python -m schedengine``: the command line."""

from __future__ import annotations

from schedengine.cli.app import main

if __name__ == "__main__":
    main()
