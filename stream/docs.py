"""The page at /docs: the OpenAPI description as plain HTML. Knows nothing of the routes it describes.

FastAPI's own page loads its scripts from a public server, which a closed network does not reach.
"""

from __future__ import annotations

from html import escape
from typing import Any

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
:root { color-scheme: light dark }
article { border-top: 1px solid #8886; padding: .5rem 0 } h3 { font: 600 1rem ui-monospace, monospace; margin: .5rem 0 }
.get { color: #2a7 } .post { color: #27c } .patch { color: #b70 } .delete { color: #c33 } .options { color: #777 }
pre, code { font: .9rem ui-monospace, monospace } pre { overflow-x: auto; background: #8882; padding: .5rem }
td { padding: 0 1rem 0 0; vertical-align: top }
"""


def render(openapi: dict[str, Any]) -> str:
    """One HTML page for the whole description."""
    info = openapi["info"]
    operations = "".join(
        _operation(path, method, operation)
        for path, methods in openapi["paths"].items()
        for method, operation in methods.items()
    )
    models = "".join(_model(name, schema) for name, schema in openapi.get("components", {}).get("schemas", {}).items())
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(info["title"])}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style>'
        f"<h1>{escape(info['title'])} {escape(info['version'])}</h1><p>{escape(info.get('description', ''))}</p>"
        f'<p>Machine-readable: <a href="openapi.json">openapi.json</a></p>'
        f"<h2>Routes</h2>{operations}<h2>Models</h2>{models}</html>"
    )


def _operation(path: str, method: str, operation: dict[str, Any]) -> str:
    rows = [
        (f"<code>{escape(one['name'])}</code>", f"in {one['in']}: {_type(one.get('schema', {}))}")
        for one in operation.get("parameters", [])
    ]
    for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
        rows.append(("body", f"<code>{escape(media_type)}</code> {_type(content.get('schema', {}))}"))
    for status, response in operation.get("responses", {}).items():
        schemas = [
            f"<code>{escape(media_type)}</code> {_type(content.get('schema', {}))}"
            for media_type, content in response.get("content", {}).items()
        ]
        rows.append((escape(status), " ".join([escape(response.get("description", "")), *schemas])))
    return (
        f'<article><h3><span class="{method}">{method.upper()}</span> {escape(path)}</h3>'
        f"<p>{escape(operation.get('description', operation.get('summary', '')))}</p>{_table(rows)}</article>"
    )


def _model(name: str, schema: dict[str, Any]) -> str:
    required = set(schema.get("required", []))
    rows = [
        (
            f"<code>{escape(field)}</code>{' *' if field in required else ''}",
            f"{_type(facts)} {escape(facts.get('description', ''))}",
        )
        for field, facts in schema.get("properties", {}).items()
    ]
    return (
        f'<article id="{escape(name)}"><h3>{escape(name)}</h3>'
        f"<p>{escape(schema.get('description', ''))}</p>{_table(rows)}</article>"
    )


def _table(rows: list[tuple[str, str]]) -> str:
    return "<table>" + "".join(f"<tr><td>{left}<td>{right}" for left, right in rows) + "</table>"


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#{name}">{name}</a>'
    if "anyOf" in schema:
        return " or ".join(_type(one) for one in schema["anyOf"])
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    if "enum" in schema:
        return " | ".join(escape(str(one)) for one in schema["enum"])
    return escape(str(schema.get("type", "")))
