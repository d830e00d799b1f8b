"""``/docs``: the OpenAPI document as a plain page, with nothing to load and nothing to run."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from fastapi import APIRouter, Request, Response

router = APIRouter(include_in_schema=False)

STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { margin: 2rem auto; max-width: 60rem; padding: 0 1rem; }
section { border-top: 1px solid #8886; margin-top: 1.5rem; }
h2 code { font-size: 1.1rem; }
pre { background: #8882; border-radius: 6px; overflow-x: auto; padding: .75rem; }
summary { cursor: pointer; }
dt { font-weight: 600; }
dd { margin: 0 0 .5rem 1.5rem; }
"""
POLICY = (
    f"default-src 'none'; style-src 'sha256-{base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()}';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@router.get("/docs")
async def docs(request: Request) -> Response:
    """The page."""
    page = "".join(_page(request.app.openapi()))
    return Response(page, media_type="text/html", headers={"Content-Security-Policy": POLICY})


def _page(document: Mapping[str, Any]) -> Iterator[str]:
    title = escape(document["info"]["title"])
    yield "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
    yield "<meta name='viewport' content='width=device-width'>"
    yield f"<title>{title}: the API</title><style>{STYLE}</style></head><body><main><h1>{title}: the API</h1>"
    yield f"<p>{escape(document['info'].get('description', ''))} The same for programs: "
    yield "<a href='/openapi.json'>/openapi.json</a>.</p>"
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield from _operation(method, path, operation, document["components"]["schemas"])
    yield "</main></body></html>"


def _operation(method: str, path: str, operation: Mapping[str, Any], schemas: Mapping[str, Any]) -> Iterator[str]:
    yield f"<section><h2><code>{escape(method.upper())} {escape(path)}</code></h2>"
    yield f"<p><strong>{escape(operation.get('summary', ''))}</strong>. {escape(operation.get('description', ''))}"
    yield f" {_who(operation)}</p>"
    if parameters := operation.get("parameters"):
        yield "<dl>"
        for parameter in parameters:
            yield f"<dt><code>{escape(parameter['name'])}</code> ({escape(parameter['in'])})</dt>"
            yield f"<dd>{escape(parameter.get('description', ''))}</dd>"
        yield "</dl>"
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        yield f"<p>Body, <code>{escape(kind)}</code>:</p>{_shown(content, schemas)}"
    for status, answer in operation["responses"].items():
        yield f"<details><summary>{escape(status)}: {escape(answer.get('description', ''))}</summary>"
        for content in answer.get("content", {}).values():
            yield _shown(content, schemas)
        yield "</details>"
    yield "</section>"


def _who(operation: Mapping[str, Any]) -> str:
    schemes = {name for scheme in operation.get("security", []) for name in scheme}
    if "adminToken" in schemes:
        return "Admin only."
    return "Callers present a key, where keys are set." if schemes else ""


def _shown(content: Mapping[str, Any], schemas: Mapping[str, Any]) -> str:
    """Its examples; without any, its schema."""
    schema = content.get("schema", {})
    if "$ref" in schema:
        schema = schemas[schema["$ref"].rpartition("/")[2]]
    examples = [example["value"] for example in content.get("examples", {}).values()]
    examples += [content["example"]] if "example" in content else []
    examples += schema.get("examples", [])
    shown = examples or [{"properties": schema["properties"]}] if "properties" in schema or examples else []
    texts = (one if isinstance(one, str) else json.dumps(one, indent=2, ensure_ascii=False) for one in shown)
    return "".join(f"<pre>{escape(text)}</pre>" for text in texts)
