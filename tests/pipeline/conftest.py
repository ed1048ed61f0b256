"""`predict` on the bundles of `tiny_bundles.py`, written once a session."""

import pytest
from click.testing import CliRunner
from tiny_bundles import write_bundles

from pipeline.cli import main


@pytest.fixture(scope="session")
def bundles(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIPELINE_STATE", str(folder / "state"))
        write_bundles(folder)
    return folder


@pytest.fixture
def ask(bundles, tmp_path, monkeypatch):
    """Runs `predict` in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def asked(bundle, *words, stdin=None):
        return CliRunner().invoke(main, ["predict", str(bundles / bundle), *map(str, words)], input=stdin)

    return asked
