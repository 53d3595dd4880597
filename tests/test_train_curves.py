"""Curves are drawn where that is possible, and training goes on where it is not."""

import sys

import pytest

from model.train.curves import _can_draw, draw_curves


@pytest.fixture
def table(tmp_path):
    _can_draw.cache_clear()
    path = tmp_path / "curves.csv"
    path.write_text('step,minutes,loss,"error, dB"\n50,0.5,0.9,-3\n100,1.0,0.1,-2\n')
    yield path
    _can_draw.cache_clear()


def test_every_column_is_drawn(table):
    draw_curves(table)
    first = table.with_suffix(".png").read_bytes()
    table.write_text(table.read_text() + "150,1.5,0.05,-1\n")
    draw_curves(table)
    assert first.startswith(b"\x89PNG") and table.with_suffix(".png").read_bytes() != first


def test_without_matplotlib_nothing_is_drawn_and_that_is_said_once(table, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    draw_curves(table)
    draw_curves(table)
    assert not table.with_suffix(".png").exists()
    assert [record.message for record in caplog.records] == [
        "curves are not drawn: that takes matplotlib (pip install -e '.[train]')"
    ]
