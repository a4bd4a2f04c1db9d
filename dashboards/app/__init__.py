"""The dashboard: sweeps as they run, frontiers, methods, single examples, what is served.

:func:`dashboards.app.factory.build_dashboard` makes an application of it that any WSGI server can
hold. The store is only read.
"""
