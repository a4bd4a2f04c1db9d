"""The dashboard as an application: ``build_dashboard(url).server`` is what a WSGI server holds."""

from __future__ import annotations

import threading
from pathlib import Path

from dash import Dash, Input, Output

from dashboards.app.examples_page import ExamplesPage
from dashboards.app.frontier_page import FrontierPage
from dashboards.app.methods_page import MethodsPage
from dashboards.app.point_panel import PointPanel
from dashboards.app.progress_page import ProgressPage
from dashboards.app.seen import Provenance
from dashboards.app.serving_page import ServingPage
from dashboards.app.shelf import Shelf
from dashboards.app.shell import Navigation, Page, shell
from store.repository import Store

_ASSETS = Path(__file__).parent / "assets"


def build_dashboard(
    store_url: str,
    provenance: Provenance | None = None,
    serve_url: str | None = None,
    mlflow_url: str | None = None,
    prefix: str = "/",
) -> Dash:
    """An application over one store, which it only reads; its ``server`` speaks WSGI.

    ``provenance`` runs a trial on one example and says which tokens it kept; without it, examples
    are listed and not shown. ``serve_url`` is a running ``paretoken serve``, ``mlflow_url`` is
    linked to, ``prefix`` is the path that another application mounts this one at. Raises ValueError
    for a URL that cannot be a store.
    """
    shelf = Shelf(Store(store_url))
    pages = _pages(shelf, provenance, store_url, serve_url)
    named = {page.title.lower(): page for page in pages}
    views = {name: page.title for name, page in named.items()}
    app = Dash(
        "paretoken",
        title="Paretoken",
        assets_folder=str(_ASSETS),
        serve_locally=True,
        suppress_callback_exceptions=True,  # pages come and go
        update_title="",
        requests_pathname_prefix=prefix,
        routes_pathname_prefix=prefix,
    )
    app.layout = shell(views, mlflow_url)
    app.callback(Output("page", "children"), Input("view", "value"))(
        lambda view: named[view].layout() if view in named else ""
    )
    Navigation(shelf, views).register(app)
    PointPanel(shelf, serve_url).register(app)
    for page in pages:
        page.register(app)
    threading.Thread(target=shelf.warm, daemon=True).start()
    return app


def _pages(
    shelf: Shelf, provenance: Provenance | None, store_url: str, serve_url: str | None
) -> tuple[Page, ...]:
    """In the order of the row of views."""
    return (
        ProgressPage(shelf),
        FrontierPage(shelf),
        MethodsPage(shelf),
        ExamplesPage(shelf, provenance),
        ServingPage(store_url, serve_url),
    )
