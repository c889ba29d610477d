"""A stand-in for the Hugging Face Hub on this computer: it takes uploads and keeps them."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Hub:
    """What was uploaded, by repository: "models/me/mine"."""

    address: str = ""
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    created: list[dict[str, Any]] = field(default_factory=list)
    headers_to_validate: list[str] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)

    def answer(self, path: str, body: bytes) -> Any:
        """What the Hub's API answers, as far as an upload asks."""
        kind, _, rest = path.removeprefix("/api/").partition("/")
        repository, _, action = rest.partition("/preupload/")
        if action:
            names = [file["path"] for file in json.loads(body)["files"]]
            plain = {"uploadMode": "regular", "shouldIgnore": False}
            return {"files": [{"path": name, **plain} for name in names]}
        repository, _, action = rest.partition("/commit/")
        if action:
            kept = self.files.setdefault(f"{kind}/{repository}", {})
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    kept[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            commit = "1" * 40
            url = f"{self.address}/{repository}/commit/{commit}"
            return {"commitUrl": url, "commitOid": commit, "success": True}
        if path == "/api/repos/create":
            self.created.append(json.loads(body))
            name = "/".join(filter(None, map(self.created[-1].get, ("organization", "name"))))
            return {"url": f"{self.address}/{name}", "id": name}
        if path == "/api/validate-yaml":
            self.headers_to_validate.append(json.loads(body)["content"])
            return {"errors": [], "warnings": []}
        return {}


@contextmanager
def local_hub() -> Iterator[Hub]:
    """Serve a hub on 127.0.0.1 during this block."""
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            hub.tokens.add(self.headers.get("Authorization", ""))
            content = json.dumps(hub.answer(self.path.partition("?")[0], body)).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = answer  # noqa: N815, the names that the base class calls

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
