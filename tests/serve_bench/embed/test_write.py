"""Where an app may be written, and what is never replaced."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from export.bundle.errors import BackendFailed, UnknownName, UsageError
from pipeline.cli import main
from serve_bench.embed import _write, python
from serve_bench.embed._base import EmbedOptions
from serve_bench.embed._write import MARK, embed
from tests.serve_bench.embed import small_bundles


@pytest.fixture
def bundle(tmp_path):
    return small_bundles.bundle("vectors", tmp_path / "bundle")


def test_an_app_is_replaced_only_where_that_is_asked_for(bundle, tmp_path):
    out = tmp_path / "app"
    embed(bundle, "python", EmbedOptions(), out)
    (out / "mine.txt").write_text("notes")
    with pytest.raises(UsageError, match=r"holds an app already; .* replace it with --force"):
        embed(bundle, "python", EmbedOptions(), out)
    embed(bundle, "python", EmbedOptions(), out, force=True)
    assert not (out / "mine.txt").exists()
    assert (out / MARK).is_file()


def test_a_folder_of_something_else_is_never_replaced(bundle, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    for force in (False, True):
        with pytest.raises(UsageError, match=r"holds files that are no app of `pipeline embed`"):
            embed(bundle, "python", EmbedOptions(), tmp_path, force=force)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"
    with pytest.raises(UsageError, match="is a file"):
        embed(bundle, "python", EmbedOptions(), tmp_path / "thesis.txt", force=True)


def test_a_failure_leaves_the_app_that_was_there(bundle, tmp_path, monkeypatch):
    out = tmp_path / "app"
    embed(bundle, "python", EmbedOptions(), out)
    before = sorted(p.name for p in out.iterdir())

    def broken(self, kit, options, folder):
        (folder / "half").write_text("x")
        raise BackendFailed("the disk is full")

    monkeypatch.setattr(python.Python, "write", broken)
    with pytest.raises(BackendFailed):
        embed(bundle, "python", EmbedOptions(), out, force=True)
    assert sorted(p.name for p in out.iterdir()) == before
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".app")] == []


def test_an_unknown_target_lists_the_known_ones(bundle, tmp_path):
    with pytest.raises(UnknownName, match="c, node, python, triton, web"):
        embed(bundle, "rust", EmbedOptions(), tmp_path / "app")
    assert set(_write.targets()) == {"c", "node", "python", "triton", "web"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--single-file",), "--single-file is of --target web, not of python"),
        (("--instance", "gpu"), "--instance is of --target triton, not of python"),
    ],
)
def test_an_option_of_another_target_is_refused(words, said, tmp_path):
    result = CliRunner().invoke(main, ["embed", "bundle", "--target", "python", "--out", str(tmp_path / "x"), *words])
    assert result.exit_code == 2
    assert said in str(result.exception or "") + result.output


def test_the_first_page_of_help_shows_the_options():
    said = CliRunner().invoke(main, ["embed", "--help"]).output
    for option in ("--target", "--out", "--force", "--single-file"):
        assert option in said
