"""An OpenAPI document as a page of HTML that loads nothing, of this host or of another."""

import json
from collections.abc import Iterator
from html import escape
from typing import Any

Schema = dict[str, Any]

METHODS = ("get", "post", "put", "delete", "patch", "head", "options")
# What the page may do, for browsers: be shown, with its own style.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
  color: #1b1f24; background: #fff }
section { border-top: 1px solid #d0d7de; padding: .5rem 0 1rem }
h2 { font: 600 1.1rem ui-monospace, monospace; overflow-wrap: anywhere }
h2 b { display: inline-block; min-width: 3.5rem; color: #0550ae }
pre { background: #f6f8fa; padding: .75rem; overflow-x: auto }
table { border-collapse: collapse } td { padding: .1rem 1rem .1rem 0; vertical-align: top }
"""


def page(document: Schema, source: str) -> str:
    """The page of an OpenAPI document.

    Args:
        source: where the document itself is served.
    """
    info = document.get("info", {})
    title = f"{info.get('title', '')} {info.get('version', '')}".strip()
    body = [
        f"<h1>{escape(title)}</h1>",
        _text(info.get("description")),
        f'<p>The same as <a href="{escape(source)}">OpenAPI</a>.</p>',
        *_operations(document),
        "<h1>Schemas</h1>",
        *_schemas(document),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>"
        f"<body>{''.join(body)}</body></html>"
    )


def _operations(document: Schema) -> Iterator[str]:
    for path, item in document.get("paths", {}).items():
        for method in METHODS:
            if method not in item:
                continue
            operation = item[method]
            yield f"<section><h2><b>{method.upper()}</b> {escape(path)}</h2>"
            yield _text(operation.get("summary"))
            yield _text(operation.get("description"))
            rows = [
                (f"header {each['name']}", escape(each.get("description", "")))
                for each in operation.get("parameters", [])
                if each.get("in") == "header"
            ]
            if "requestBody" in operation:
                rows.append(("body", _content(operation["requestBody"])))
            rows += [
                (status, " ".join((escape(answer.get("description", "")), _content(answer))))
                for status, answer in operation.get("responses", {}).items()
            ]
            yield "<table>"
            yield from (f"<tr><td>{escape(str(a))}</td><td>{b}</td></tr>" for a, b in rows)
            yield "</table></section>"


def _content(owner: Schema) -> str:
    """What a body or an answer is: its kinds, each with its schemas."""
    return "; ".join(
        f"{escape(kind)} {_links(held.get('schema', {}))}".strip()
        for kind, held in owner.get("content", {}).items()
    )


def _links(schema: Schema) -> str:
    names = [
        each["$ref"].rpartition("/")[2]
        for each in (schema, *schema.get("anyOf", []), *schema.get("oneOf", []))
        if "$ref" in each
    ]
    return " or ".join(f'<a href="#{escape(name)}">{escape(name)}</a>' for name in names)


def _schemas(document: Schema) -> Iterator[str]:
    for name, schema in document.get("components", {}).get("schemas", {}).items():
        text = json.dumps(schema, indent=2, ensure_ascii=False)
        name = escape(name)
        yield f'<section id="{name}"><h2>{name}</h2><pre>{escape(text)}</pre></section>'


def _text(text: str | None) -> str:
    return f"<p>{escape(text)}</p>" if text else ""
