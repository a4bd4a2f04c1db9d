"""The real pages in a real browser, over a sweep that was really measured."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Page, expect

from store.repository import Store
from store.sql.leases import Leases, Partner
from sweeps.load import parse_sweep
from sweeps.plan import plan
from tests.browser import page as new_page
from tests.dashboards.app.measured import YAML

POINTS = "#frontier .scatterlayer .points path"


@pytest.fixture(scope="module")
def page(served: str) -> Iterator[Page]:
    with new_page() as opened:
        yield opened


def opened(page: Page, served: str, **asked: str) -> Page:
    query = "&".join(f"{name}={value}" for name, value in asked.items())
    page.goto(f"{served}/?{query}")
    return page


def test_the_frontier_shows_every_configuration_and_a_toggle_hides_a_method(
    page: Page, served: str
) -> None:
    opened(page, served, workload="digits")
    expect(page.locator(POINTS)).to_have_count(9)  # the baseline's star among them
    expect(page.locator("#verdict")).to_have_text("9 configurations shown")
    page.get_by_label("tome").uncheck()
    expect(page.locator(POINTS)).to_have_count(7)
    page.get_by_label("vision").uncheck()  # its family
    expect(page.locator(POINTS)).to_have_count(1)
    page.get_by_role("button", name="All", exact=True).click()
    expect(page.locator(POINTS)).to_have_count(9)


def test_limits_are_drawn_and_say_what_they_buy(page: Page, served: str) -> None:
    opened(page, served, workload="digits")
    page.get_by_label("Cost at most").fill("0.7")
    expect(page.locator("#verdict")).to_contain_text("within the limits; best: ")
    expect(page.locator("#frontier .shapelayer path")).to_have_count(2)  # and the baseline's line


def test_a_row_opens_its_configuration_which_can_be_taken_elsewhere(
    page: Page, served: str, measured: Store
) -> None:
    opened(page, served, workload="digits")
    page.locator("#frontier-table button").first.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#panel h2")).to_contain_text("keep")
    text = page.locator("#yaml-text").text_content() or ""
    shown = {trial.spec.id for trial in plan(parse_sweep(text)).trials}
    assert shown <= {trial.spec.id for trial in plan(parse_sweep(YAML)).trials}
    assert page.evaluate("new URLSearchParams(location.search).get('point')") in shown
    curl = page.locator("#curl-text").text_content() or ""
    assert any(trial in curl for trial in shown)


def test_the_view_is_chosen_by_keyboard(page: Page, served: str) -> None:
    opened(page, served, workload="digits", view="progress")
    expect(page.get_by_role("cell", name="small")).to_be_visible()
    page.get_by_label("Progress").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#rank tbody tr")).to_have_count(4)
    expect(page.locator("#heat .heatmaplayer image")).to_have_count(1)
    expect(page.locator("#curves .scatterlayer .trace")).not_to_have_count(0)


def test_examples_show_which_patches_and_which_words_were_kept(page: Page, served: str) -> None:
    opened(page, served, workload="digits", view="examples")
    page.get_by_label("all", exact=True).check()
    expect(page.locator("#maps .map:not(.small)")).to_have_count(2)
    expect(page.locator("#maps")).to_contain_text("36 tokens left of 144")
    expect(page.locator("#maps")).to_contain_text("keeps every token")
    opened(page, served, workload="recall", view="examples")
    page.get_by_label("all", exact=True).check()
    expect(page.locator("#maps .token.gone")).not_to_have_count(0)
    kept = page.locator("#maps .half").first.locator(".token:not(.gone):not(.whole)")
    assert kept.first.text_content() == "⊢"  # streaming-llm never lets go of the first tokens


def test_a_running_sweep_shows_how_far_it_is_until_it_ends(
    page: Page, served: str, measured: Store
) -> None:
    leases = Leases(measured.url)
    leases.enter(Partner("d1", "small", "node:7", "machine", "7"))
    try:
        opened(page, served, view="progress")
        card = page.locator(".card")
        expect(card).to_contain_text("12 of 12")
        expect(card).to_contain_text("run by node:7")
        assert card.locator("progress").get_attribute("value") == "12"
    finally:
        leases.leave("d1")
        leases.close()
    expect(card).to_have_count(0)  # at the next tick, without a click


def test_strangers_names_are_refused(served: str) -> None:
    for path in ("/", "/_dash-layout"):
        answer = httpx.get(f"{served}{path}", headers={"Host": "attacker.example"}, trust_env=False)
        assert answer.status_code == 400
