"""One HTML page of all scores, plots and sheets that needs no other file."""

import base64
import html
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image

from model.evaluation.report import HEADER, Line

STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #2d333b; background: #faf9f6; margin: 2em auto; max-width: 1320px;
       padding: 0 1em }
table { border-collapse: collapse; margin: 1em 0; display: block; overflow-x: auto }
th, td { padding: .25em .7em; border-bottom: 1px solid #ddd8cf; text-align: right; font-variant-numeric: tabular-nums }
th:first-child, td:first-child { text-align: left }
td.goal { color: #2f7d4f; font-weight: 600 } td.reached { color: #8a7428; font-weight: 600 }
td.missed { color: #b23a48; font-weight: 600 } tr.told { color: #8a8a86 }
img { max-width: 100%; display: block; margin: .6em 0 1.6em } h2 { margin-top: 2em; font-size: 1.15em }
"""


def write_page(
    path: Path, about: Mapping[str, str], lines: Sequence[Line], kinds: Sequence[Sequence[str]],
    pictures: Mapping[str, Figure | Image.Image],
) -> None:  # fmt: skip
    """`pictures` stand under the tables, each under its title."""
    parts = [f"<!doctype html><html lang=en><meta charset=utf-8><title>Scores</title><style>{STYLE}</style><h1>Scores</h1>"]
    parts += [f"<p><b>{html.escape(name)}</b>: {html.escape(text)}</p>" for name, text in about.items()]
    parts.append(_scores(lines))
    if len(kinds) > 1:
        parts.append("<h2>Strangers by kind</h2>" + _plain(kinds))
    for title, picture in pictures.items():
        parts.append(f"<h2>{html.escape(title)}</h2><img alt='{html.escape(title)}' src='{_inline(picture)}'>")
    path.write_text("\n".join(parts) + "</html>\n")


def _scores(lines: Sequence[Line]) -> str:
    rows = ["<tr>" + "".join(f"<th>{html.escape(name)}</th>" for name in HEADER) + "</tr>"]
    for line in lines:
        cells = (f"<td class='{line.mark if cell == line.mark else ''}'>{html.escape(cell)}</td>" for cell in line.cells())
        rows.append(f"<tr class='{'' if line.row.reach else 'told'}'>{''.join(cells)}</tr>")
    return f"<table>{''.join(rows)}</table>"


def _plain(table: Sequence[Sequence[str]]) -> str:
    rows = ("".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in table)
    return "<table>" + "".join(f"<tr>{row}</tr>" for row in rows) + "</table>"


def _inline(picture: Figure | Image.Image) -> str:
    buffer = io.BytesIO()
    if isinstance(picture, Figure):
        picture.savefig(buffer, format="png", dpi=110)
    else:
        picture.save(buffer, format="webp", quality=88)
    kind = "png" if isinstance(picture, Figure) else "webp"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
