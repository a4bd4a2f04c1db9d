"""Answers requests from a sweep's frontier, each with the configuration its budget allows.

Read ``router`` for the rule, ``engine`` for the models, ``http`` for the API, ``app`` for what Ray
Serve adds.
"""

from orchestrator.serving.app import build_app
from orchestrator.serving.server import TLS, Address, address_for, serve_sweep
from store.releases.release import Release, release_of

__all__ = [
    "TLS",
    "Address",
    "Release",
    "address_for",
    "build_app",
    "release_of",
    "serve_sweep",
]
