"""A sweep on one page for whoever reviews it: :func:`dashboards.report.writing.write_report`."""
