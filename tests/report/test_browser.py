"""The page in a real browser: three widths, light and dark, both languages, with and without JS."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Page, expect

from hw2.report.content import collect
from hw2.report.page import render
from hw2.report.stand_ins import PARTS
from hw2.report.writing import find_browser, print_pdf
from tests.report.small_report import SmallReport

if TYPE_CHECKING:  # imported here it would come before pytest takes it for a plugin
    from tests.browser import NewPage

pytest_plugins = ["tests.browser"]
pytestmark = pytest.mark.slow
WIDTHS = {"phone": 390, "laptop": 1280, "print": 718}  # the last: A4 less its margins
# Elements that stick out of the page and cannot be scrolled to in a box of their own.
OVERFLOWING = """() => [...document.querySelectorAll('body *')].filter(e =>
  e.getBoundingClientRect().right > document.documentElement.clientWidth + 1
  && !e.closest('.scroll, .formula, pre')).map(e => e.outerHTML.slice(0, 80))"""
BROKEN = "() => [...document.images].filter(i => !i.alt || !i.naturalWidth).length"


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A page a language, in files."""
    root = tmp_path_factory.mktemp("report")
    content = collect(SmallReport(root).all())
    found = {}
    for language in ("en", "zh-TW"):
        found[language] = root / f"report.{language}.html"
        text = render(content, language, ui="mlflow ui", code="0123", made=tuple(PARTS))
        found[language].write_text(text, encoding="utf-8")
    return found


def opened(new_page: "NewPage", path: Path, **profile: object) -> tuple[Page, list[str]]:
    """The page, and what it asked for or complained of."""
    page, told = new_page(**profile), []
    page.on("request", lambda r: told.append(r.url) if not r.url.startswith("data:") else None)
    page.on("console", lambda message: told.append(message.text))
    page.on("pageerror", lambda error: told.append(str(error)))
    page.goto(path.as_uri())
    return page, told


@pytest.mark.parametrize(("language", "scheme"), [("en", "dark"), ("zh-TW", "light")])
def test_it_fits_at_all_widths(
    pages: dict[str, Path], new_page: "NewPage", screenshots: Path, language: str, scheme: str
) -> None:
    page, told = opened(new_page, pages[language], color_scheme=scheme)
    paper = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert paper == ("rgb(255, 255, 255)" if scheme == "light" else "rgb(21, 23, 26)")
    for name, width in WIDTHS.items():
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(media="print" if name == "print" else "screen")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate(OVERFLOWING) == []
        assert page.evaluate(BROKEN) == 0
        page.screenshot(path=screenshots / f"report-{language}-{scheme}-{name}.png", full_page=True)
    sharp = page.evaluate("getComputedStyle(document.querySelector('.cell img')).imageRendering")
    assert sharp == "pixelated"
    assert told == [pages[language].as_uri()]


def test_sliders_swap_the_pictures(pages: dict[str, Path], new_page: "NewPage") -> None:
    page, told = opened(new_page, pages["en"])
    for place, (first, label, next_label) in enumerate(
        [(3, "w = 2", "w = 1"), (0, "η = 0", "η = 0.5")]
    ):
        slider = page.locator(".slider").nth(place)
        shown = slider.locator(".frame:visible img").first
        expect(slider.locator("output")).to_have_text(label)
        before = shown.get_attribute("src")
        slider.get_by_role("slider").press("ArrowLeft" if first else "ArrowRight")
        expect(slider.locator("output")).to_have_text(next_label)
        assert shown.get_attribute("src") != before
        expect(slider.locator(".frame:visible")).to_have_count(1)
    assert told == [pages["en"].as_uri()]


def test_lines_differ_without_their_colours(pages: dict[str, Path], new_page: "NewPage") -> None:
    page, _ = opened(new_page, pages["en"])
    chart = page.locator(".chart:has(.line-1)").first
    sign = "e => getComputedStyle(e, '::before').content"
    for place, (dashes, key) in enumerate((("none", "● "), ("5px, 3px", "○ "))):
        line = chart.locator(f".line-{place} polyline")
        expect(line).to_have_css("stroke-dasharray", dashes)
        assert chart.locator(f".key-{place}").evaluate(sign) == f'"{key}"'


def test_the_numbers_of_a_chart_open_below_it(pages: dict[str, Path], new_page: "NewPage") -> None:
    page, _ = opened(new_page, pages["en"], viewport={"width": 360, "height": 740})
    chart = page.locator(".chart:has(.line-1)").first
    numbers = chart.locator(".values table")
    expect(numbers).to_be_hidden()
    chart.locator("summary").click()
    expect(numbers).to_be_visible()
    title = chart.locator(".line-0 title").first.text_content() or ""
    row = numbers.locator("tbody tr").first
    value, estimate = (row.get_by_role(role).first for role in ("rowheader", "cell"))
    head = numbers.get_by_role("columnheader")
    expect(head.first).to_have_text("w")
    told = f"{head.nth(1).text_content()} w = {value.text_content()}: {estimate.text_content()}"
    assert told == title
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.emulate_media(media="print")
    expect(numbers).to_be_visible()
    chart.locator("summary").click()
    expect(chart.locator(".values")).to_be_hidden()


def test_sliders_have_names(pages: dict[str, Path], new_page: "NewPage") -> None:
    page, _ = opened(new_page, pages["zh-TW"])
    for place, (name, value) in enumerate((("引導權重 w", "w = 2"), ("隨機程度 η", "η = 0"))):
        slider = page.locator(".slider").nth(place).get_by_role("slider", name=name, exact=True)
        expect(slider).to_have_attribute("aria-valuetext", value)
        # Read aloud as the slider's value, and not once more.
        expect(page.locator(".slider output").nth(place)).to_have_attribute("aria-live", "off")


def test_rows_of_faces_are_scrolled_on_a_phone(pages: dict[str, Path], new_page: "NewPage") -> None:
    page, _ = opened(new_page, pages["en"], viewport={"width": 390, "height": 844})
    rows = page.locator(".grid.wide")
    expect(rows).to_have_count(2)  # given faces, and those between two noises
    for place in range(2):
        assert rows.nth(place).evaluate("e => e.offsetWidth") == 576
        assert rows.nth(place).evaluate("e => e.closest('.scroll').offsetWidth") <= 390
    # So is the matrix of similarities, whose numbers are part of the picture.
    assert page.locator(".scroll > .paper").evaluate("e => e.offsetWidth") == 576


@pytest.mark.parametrize("language", ["en", "zh-TW"])
def test_tab_stops_where_there_is_something_to_scroll_to(
    pages: dict[str, Path], new_page: "NewPage", language: str
) -> None:
    page, _ = opened(new_page, pages[language])
    scrolled = "e => e.scrollWidth > e.clientWidth"
    for width in (360, 1280):
        page.set_viewport_size({"width": width, "height": 740})
        boxes = page.locator(".scroll[role], .formula, pre").all()
        assert any(box.evaluate(scrolled) for box in boxes) == (width == 360)
        for box in boxes:
            if box.evaluate(scrolled):
                expect(box).to_have_attribute("tabindex", "0")
            else:
                expect(box).not_to_have_attribute("tabindex", "0")
        for named in page.locator("[tabindex='0']").all():
            assert named.get_attribute("aria-label") or named.get_attribute("aria-labelledby")


def test_on_paper_a_head_comes_again_and_no_row_or_formula_is_torn_off(
    pages: dict[str, Path], new_page: "NewPage"
) -> None:
    page, _ = opened(new_page, pages["en"])
    page.emulate_media(media="print")
    # Chromium leaves a button's box out of the heads of the next pages.
    expect(page.locator("th button").first).to_have_css("display", "contents")
    expect(page.locator("#runs tbody tr").first).to_have_css("break-inside", "avoid")
    expect(page.locator(".formula").first).to_have_css("break-before", "avoid")


def test_a_pdf_has_bookmarks_tags_and_a_language(pages: dict[str, Path]) -> None:
    pdf = print_pdf(find_browser(), pages["zh-TW"]).read_bytes()
    assert b"/Outlines" in pdf and b"/StructTreeRoot" in pdf and b"/Lang (zh-TW)" in pdf


def test_a_faint_cell_has_a_frame(pages: dict[str, Path], new_page: "NewPage") -> None:
    page, _ = opened(new_page, pages["en"])
    for kind, colour in ((".hit:not(.wrong)", "rgb(43, 108, 176)"), (".wrong", "rgb(192, 90, 0)")):
        expect(page.locator(f".matrix {kind}").first).to_have_css("stroke", colour)


def test_on_paper_a_slider_names_its_picture_and_tells_all_scores(
    pages: dict[str, Path], new_page: "NewPage"
) -> None:
    page, _ = opened(new_page, pages["en"])
    page.emulate_media(media="print")
    slider = page.locator(".slider").first
    expect(slider.locator(".shown:visible")).to_have_text(["Shown: w = 2"])
    expect(slider.locator(".scores:visible b")).to_have_text(["w = -1", "w = 0", "w = 1", "w = 2"])
    assert slider.locator(".frame .grids:visible").count() == 1


def test_the_matrix_shows_pictures_of_a_cell(pages: dict[str, Path], new_page: "NewPage") -> None:
    page, _ = opened(new_page, pages["en"])
    words, picture = page.locator("#cell-told"), page.locator(".examples img").first
    expect(words).to_have_text("true brick, said red <b>grass</b>: 1 of 3")  # without a hand
    before = picture.get_attribute("src")
    cell = page.locator(".matrix rect.hit").last
    cell.hover()
    expect(words).to_have_text("true coin, said coin: 2 of 3")
    assert picture.get_attribute("src") != before
    page.locator(".matrix svg").press("Home")
    expect(words).to_have_text("true brick, said brick: 2 of 3")
    page.locator(".matrix svg").press("ArrowRight")
    expect(words).to_have_text("true brick, said red <b>grass</b>: 1 of 3")
    page.locator(".matrix svg").press("ArrowDown")
    expect(words).to_have_text("true red <b>grass</b>, said red <b>grass</b>: 3 of 3")
    assert page.evaluate(BROKEN) == 0


def test_arrow_keys_keep_the_column_and_leave_the_browser_its_own(
    pages: dict[str, Path], new_page: "NewPage"
) -> None:
    page, _ = opened(new_page, pages["en"])
    words, matrix = page.locator("#cell-told"), page.locator(".matrix svg")
    matrix.press("Home")
    matrix.press("Alt+ArrowRight")
    expect(words).to_have_text("true brick, said brick: 2 of 3")
    matrix.press("End")
    matrix.press("ArrowUp")
    matrix.press("ArrowUp")
    expect(words).to_have_text("true brick, said red <b>grass</b>: 1 of 3")


def test_the_ring_is_scrolled_to_on_a_phone(pages: dict[str, Path], new_page: "NewPage") -> None:
    page, _ = opened(new_page, pages["en"], viewport={"width": 390, "height": 844})
    for key in ("End", "Home"):
        page.locator(".matrix svg").press(key)
        box, ring = (page.locator(f".matrix {one}").bounding_box() for one in (".scroll", ".ring"))
        assert box is not None and ring is not None
        assert box["x"] <= ring["x"] + 3  # half a line of the ring may stick out
        assert ring["x"] + ring["width"] <= box["x"] + box["width"] + 3


def test_a_tap_shows_them_on_a_phone(pages: dict[str, Path], new_page: "NewPage") -> None:
    phone = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
    page, _ = opened(new_page, pages["en"], **phone)
    page.locator(".matrix rect.hit").first.tap()
    expect(page.locator("#cell-told")).to_have_text("true brick, said brick: 2 of 3")


def test_tables_are_sorted_by_their_heads(pages: dict[str, Path], new_page: "NewPage") -> None:
    page, _ = opened(new_page, pages["en"])
    table = page.locator("#runs table")
    first = table.locator("tbody tr").first.get_by_role("rowheader")
    expect(first).to_have_text("samples")
    head = table.get_by_role("button", name="step")
    head.click()
    expect(first).to_have_text("clip")
    expect(table.locator("th").first).to_have_attribute("aria-sort", "ascending")
    head.press("Enter")
    expect(first).to_have_text("samples")
    expect(table.locator("th").first).to_have_attribute("aria-sort", "descending")


def test_without_javascript_the_states_at_the_start_are_there(
    pages: dict[str, Path], new_page: "NewPage"
) -> None:
    page, _ = opened(new_page, pages["en"], java_script_enabled=False)
    for place, label in enumerate(("w = 2", "η = 0")):
        slider = page.locator(".slider").nth(place)
        expect(slider.locator(".frame:visible")).to_have_count(1)
        expect(slider.locator(".frame:visible .scores b")).to_have_text(label)
        expect(slider.locator("noscript p")).to_contain_text(f"Shown: {label};")
        expect(slider.get_by_role("slider")).to_be_hidden()
    expect(page.locator(".examples img").first).to_be_visible()
