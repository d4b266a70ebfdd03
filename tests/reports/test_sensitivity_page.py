"""The page of a sweep: what it says, and that it says it safely."""

from __future__ import annotations

import json
import re
from typing import Any

import pandas as pd
from sensitivity_frames import HOSTILE, sweep

from schedengine.reports.sensitivity_page import page


def embedded(text: str) -> Any:
    (found,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, flags=re.DOTALL)
    return json.loads(found)


def test_a_name_that_ends_a_script_stays_in_the_data() -> None:
    text = page(sweep(), title=HOSTILE)
    assert text.count("</script>") == 2 and "<img" not in text
    assert embedded(text)["layers"][1]["name"] == embedded(text)["title"] == HOSTILE


def test_it_names_no_place_to_load_from() -> None:
    text = page(sweep().replace(HOSTILE, "conv2.weight").assign(note=""))
    assert "src=" not in text and "url(http" not in text and "@import" not in text
    assert set(re.findall(r"https?://[^\"]+", text)) == {"http://www.w3.org/2000/svg"}


def test_a_number_that_is_not_known_is_null() -> None:
    cell = embedded(page(sweep()))["layers"][2]["cells"][2]
    assert cell["top1"] is None and cell["drop"] is None and cell["nonfinite"] == 7


def test_the_page_of_a_large_network_is_small() -> None:
    names = [f"layer{number}.conv.weight" for number in range(54)]
    levels = [step / 20 for step in range(20)]
    rows = [
        {"parameter": name, "sparsity": level, "top1": 76.1234, "loss": 0.9876} for name in names for level in levels
    ]
    text = page(pd.DataFrame(rows))
    assert len(text) - len(json.dumps(embedded(text))) < 40_000 and len(text) < 200_000
