"""One file that a reviewer can open anywhere, and that says the same in every format."""

from __future__ import annotations

import io
import re
from pathlib import Path

import bibtexparser
import pytest
import yaml
from pylatexenc.latexwalker import LatexWalker
from pypdf import PdfReader

from dashboards.report.writing import write_report
from methods.registry import entry
from store.repository import Store
from sweeps.load import load_sweep
from sweeps.plan import plan
from tests.browser import page
from tests.dashboards.small import HOSTILE, measured


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return measured(tmp_path_factory.mktemp("measured"))


@pytest.fixture(scope="module")
def reports(store: Store, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("reports")
    files = [folder / f"report.{ending}" for ending in ("html", "pdf", "md", "tex")]
    return {file.suffix[1:]: write_report(store, "quickstart", None, file) for file in files}


def said(report: Path) -> str:
    """Every word of a report."""
    if report.suffix == ".pdf":
        pages = PdfReader(io.BytesIO(report.read_bytes())).pages
        return " ".join(page.extract_text() for page in pages)
    return report.read_text()


@pytest.mark.parametrize("ending", ["html", "pdf", "md", "tex"])
def test_every_format_names_the_frontier_the_failure_the_papers_and_the_machine(
    reports: dict[str, Path], store: Store, ending: str
) -> None:
    text = said(reports[ending])
    best = [point for point in store.points("quickstart") if point.method == "identity"]
    assert best[0].trial[:8] in text
    assert "the worker went away" in text
    assert str(entry("tome").method.paper.arxiv) in text  # type: ignore[union-attr]
    assert "transformers" in text
    assert "paretoken reproduce" in text
    assert "latency" in text
    assert reports[ending].stat().st_size < 2**21


def test_the_page_opens_without_a_network_and_shows_its_figure(reports: dict[str, Path]) -> None:
    with page() as opened:
        asked: list[str] = []
        opened.on("request", lambda request: asked.append(request.url))
        opened.goto(reports["html"].as_uri())
        assert opened.locator("p.subtitle").inner_text() == HOSTILE
        assert opened.evaluate("document.querySelector('figure img').naturalWidth") > 500
        assert opened.get_by_role("table").count() >= 5
        opened.get_by_role("link", name="Methods and their papers").click()
        assert opened.locator("li", has_text="Token Merging").is_visible()
        wide = opened.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert wide <= 0
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []


def test_the_bibliography_is_bibtex(reports: dict[str, Path]) -> None:
    entries = re.search(r"```bibtex\n(.*?)```", reports["md"].read_text(), re.DOTALL)
    assert entries
    library = bibtexparser.parse_string(entries[1])
    assert not library.failed_blocks
    paper = entry("tome").method.paper
    assert paper is not None
    (tome,) = (e for e in library.entries if e.fields_dict["eprint"].value == paper.arxiv)
    assert tome.fields_dict["year"].value == "2022"
    assert f"\\cite{{{tome.key}}}" in reports["tex"].read_text()


def test_the_latex_is_well_formed_whatever_is_in_the_names(reports: dict[str, Path]) -> None:
    text = reports["tex"].read_text()
    nodes, *_ = LatexWalker(text, tolerant_parsing=False).get_latex_nodes()
    assert nodes
    assert r"50 \% of <b>x\_y</b> \& \{z\} | `w` \textbackslash{} \#1" in text
    for table in re.findall(r"\\endfoot\n(.*?)\\end{longtable}", text, re.DOTALL):
        cells = [len(re.findall(r"(?<!\\)&", line)) for line in table.strip().splitlines()]
        assert len(set(cells)) == 1, table


def test_the_resolved_sweep_plans_the_very_same_trials(
    reports: dict[str, Path], store: Store, tmp_path: Path
) -> None:
    listed = re.search(r"```yaml\n(.*?)```", reports["md"].read_text(), re.DOTALL)
    assert listed
    assert yaml.safe_load(listed[1]) == store.spec("quickstart")
    (tmp_path / "quickstart.yaml").write_text(listed[1])
    again = plan(load_sweep(tmp_path / "quickstart.yaml"))
    stored = store.planned_trials("quickstart") or []
    assert {trial.spec.id for trial in again.trials} == {trial for _, trial, *_ in stored}


def test_mistakes_are_said_before_anything_is_written(store: Store, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="quickstart"):
        write_report(store, "quickstar", None, tmp_path / "report.html")
    with pytest.raises(ValueError, match="end it in html, pdf, md, tex, or give --format"):
        write_report(store, "quickstart", None, tmp_path / "report.docx")
    assert list(tmp_path.iterdir()) == []
