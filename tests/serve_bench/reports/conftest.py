"""The page that has everything, rendered once."""

import pytest
from full_report import classifier, regression

from export.registry import entries


@pytest.fixture(scope="session")
def full(tmp_path_factory):
    """A report of two bundles with every kind of content, side by side."""
    path = tmp_path_factory.mktemp("full") / "report.html"
    path.write_text(entries("serve_bench.reports")["html"].render([classifier(), regression()]))
    return path
