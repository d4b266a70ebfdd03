"""The page of a sweep in a real browser, headless Chromium: clicked, hovered, tabbed through, attacked."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sensitivity_frames import HOSTILE, sweep

from schedengine.reports.sensitivity_page import page

pytest.importorskip("selenium", reason="selenium is not installed")
from selenium import webdriver
from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

SUGGESTION = SimpleNamespace(levels={"conv1.weight": 0.5}, said=["Removes 216 of 3,376 weights."])
QUIET = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
         "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
         "--window-size=1000,1600")  # fmt: skip


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not browser or not driver:
        pytest.skip("chromium and chromedriver are not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for argument in (*QUIET, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    running = webdriver.Chrome(options=options, service=Service(driver))
    yield running
    running.quit()


@pytest.fixture
def shown(chromium: webdriver.Chrome, tmp_path: Path) -> webdriver.Chrome:
    """The page of the sweep, opened."""
    (tmp_path / "page.html").write_text(page(sweep(), SUGGESTION, title="Sensitivity of net"), encoding="utf-8")
    for log in ("browser", "performance"):
        chromium.get_log(log)
    chromium.get((tmp_path / "page.html").as_uri())
    return chromium


def drawings(shown: webdriver.Chrome) -> Any:
    return shown.find_elements(By.CSS_SELECTOR, "svg")


def column(shown: webdriver.Chrome, number: int) -> list[str]:
    return [cell.text for cell in shown.find_elements(By.CSS_SELECTOR, f"tbody tr > :nth-child({number})")]


def press(shown: webdriver.Chrome, *keys: str) -> str:
    """Send keys to what has the focus; returns the tip."""
    ActionChains(shown).send_keys(*keys).perform()
    return str(shown.find_element(By.ID, "tip").text)


def test_a_click_on_a_header_sorts_and_another_turns_it_round(shown: webdriver.Chrome) -> None:
    head = shown.find_elements(By.CSS_SELECTOR, "thead button")[1]
    head.click()
    assert column(shown, 2) == ["432", "640", "2,304"]
    head.click()
    assert column(shown, 2) == ["2,304", "640", "432"]
    assert head.find_element(By.XPATH, "..").get_attribute("aria-sort") == "descending"


def test_what_is_not_known_stands_last_both_ways(shown: webdriver.Chrome) -> None:
    heads = shown.find_elements(By.CSS_SELECTOR, "thead button")
    place = [head.text for head in heads].index("points lost at 0.9")
    for _ in range(2):
        heads[place].click()
        assert column(shown, place + 1)[-1] == "not known"


def test_the_pointer_on_the_heat_map_tells_level_accuracy_and_bounds(shown: webdriver.Chrome) -> None:
    second_row = shown.find_elements(By.CSS_SELECTOR, "svg rect[fill^=rgb]")[4]
    ActionChains(shown).move_to_element(second_row).perform()
    tip = shown.find_element(By.ID, "tip").text
    assert tip.splitlines()[1:] == [
        "level 0.5, removed 50.00 %",
        "top-1 89.75 %, loss 0.3250",
        "lost 0.25 points (95 %: 0.05 to 0.45)",
    ]


def test_the_pointer_near_a_curve_finds_its_point(shown: webdriver.Chrome) -> None:
    dots = shown.find_elements(By.CSS_SELECTOR, "svg circle.chosen")
    ActionChains(shown).move_to_element_with_offset(dots[0], 3, -3).perform()
    assert shown.find_element(By.ID, "tip").text.startswith("conv1.weight\nlevel 0.5")


def test_arrow_keys_go_from_cell_to_cell_and_a_note_is_read_as_text(shown: webdriver.Chrome) -> None:
    shown.execute_script("arguments[0].focus()", drawings(shown)[0])
    assert "<img src=x onerror" in press(shown, Keys.ARROW_RIGHT)
    assert press(shown, Keys.ARROW_DOWN).startswith(HOSTILE)
    assert press(shown, Keys.ARROW_DOWN, Keys.END).splitlines()[2:] == [
        "top-1 not known",
        "scores of 7 image(s) are not finite",
    ]
    assert press(shown, Keys.ESCAPE) == ""


def test_the_tab_key_reaches_every_drawing_and_header(shown: webdriver.Chrome) -> None:
    reached = []
    for _ in range(12):
        press(shown, Keys.TAB)
        reached.append(shown.execute_script("return document.activeElement.tagName"))
    assert reached[:4] == ["svg", "svg", "svg", "INPUT"] and reached[4:].count("BUTTON") == 8


def test_the_budget_decides_which_level_is_within_it(shown: webdriver.Chrome) -> None:
    assert column(shown, 3) == ["0", "0.5", "0.5"]
    budget = shown.find_element(By.ID, "budget")
    budget.clear()
    budget.send_keys("5")
    assert column(shown, 3) == ["0.5", "0.9", "0.5"]


def test_the_suggested_levels_are_in_the_table_and_on_the_drawings(shown: webdriver.Chrome) -> None:
    assert column(shown, len(shown.find_elements(By.CSS_SELECTOR, "thead th"))) == ["0.5", "stays", "stays"]
    assert len(shown.find_elements(By.CSS_SELECTOR, "rect.chosen, circle.chosen")) == 2
    assert "Removes 216 of 3,376 weights." in shown.find_element(By.TAG_NAME, "main").text


def test_hostile_names_are_inert_and_nothing_is_loaded_or_complained_of(shown: webdriver.Chrome) -> None:
    assert column(shown, 1)[1] == HOSTILE and shown.find_elements(By.TAG_NAME, "img") == []
    assert shown.title == "Sensitivity of net" and shown.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in shown.get_log("performance")]
    asked = {one["params"]["request"]["url"] for one in events if one["method"] == "Network.requestWillBeSent"}
    assert all(url.startswith("file:") and url.endswith("page.html") for url in asked) and len(asked) == 1


def test_a_request_or_a_foreign_script_is_forbidden(shown: webdriver.Chrome) -> None:
    shown.execute_script("""
        document.body.appendChild(Object.assign(document.createElement("script"), {textContent: "window.foreign = 1"}));
        document.body.appendChild(Object.assign(document.createElement("img"),
            {src: "data:image/gif;base64,R0lGODlhAQABAAAAACw="}));
    """)
    assert shown.execute_script("return window.foreign") is None
    assert any("Content Security Policy" in entry["message"] for entry in shown.get_log("browser"))


def test_it_is_readable_in_dark_and_light(shown: webdriver.Chrome) -> None:
    for scheme, darker in (("light", "color"), ("dark", "backgroundColor")):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        shown.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        look = shown.execute_script("const own = getComputedStyle(document.body); return {color: own.color, "
                                    "backgroundColor: own.backgroundColor}")  # fmt: skip
        shade = {key: sum(map(int, re.findall(r"\d+", value)[:3])) for key, value in look.items()}
        assert min(shade, key=shade.__getitem__) == darker and abs(shade["color"] - shade["backgroundColor"]) > 500
