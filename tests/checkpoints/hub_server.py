"""A hub on the loopback interface, and calls of `resolve_source` against it; run as a script.

    python -m tests.checkpoints.hub_server REPOSITORIES CALLS

REPOSITORIES: a folder with OWNER/NAME/REVISION/files. CALLS: a JSON list of the arguments of
`resolve_source`, or with "tokenizer" of `resolve_tokenizer_source`. Prints a JSON list: for each
call the folder or the error, and what was asked of the server meanwhile. A process of its own,
because the hub's library reads its settings from the environment when it is imported.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

REPOSITORIES = Path(sys.argv[1])
ASKED: list[str] = []


def commit_of(repository: Path) -> str:
    """Forty digits that stand for a revision."""
    return hashlib.sha1(str(repository).encode()).hexdigest()


class Hub(BaseHTTPRequestHandler):
    """The few addresses of the hub that downloads use."""

    def do_GET(self) -> None:
        self.answer(with_body=True)

    def do_HEAD(self) -> None:
        self.answer(with_body=False)

    def answer(self, *, with_body: bool) -> None:
        ASKED.append(f"{self.command} {urlsplit(self.path).path}")
        match urlsplit(self.path).path.strip("/").split("/"):
            case ["api", "models", owner, name, kind, revision]:
                self.answer_api(owner, name, kind, revision)
            case [owner, name, "resolve", revision, file]:
                self.answer_file(self.find(owner, name, revision), file, with_body=with_body)
            case _:
                self.send(404, {})

    def answer_file(self, folder: Path | None, file: str, *, with_body: bool) -> None:
        if folder is None:
            self.send(404, {"X-Error-Code": "RepoNotFound"})
            return
        headers = {"X-Repo-Commit": commit_of(folder)}
        if not (folder / file).is_file():
            self.send(404, {"X-Error-Code": "EntryNotFound", **headers})
            return
        data = (folder / file).read_bytes()
        headers["ETag"] = f'"{hashlib.sha1(data).hexdigest()}"'
        self.send(200, headers, data, with_body=with_body)

    def answer_api(self, owner: str, name: str, kind: str, revision: str) -> None:
        folder = self.find(owner, name, revision)
        if folder is None:
            self.send(404, {"X-Error-Code": "RepoNotFound"})
            return
        files = sorted(path.name for path in folder.iterdir())
        tree = [
            {"type": "file", "path": f, "size": (folder / f).stat().st_size, "oid": "0" * 40}
            for f in files
        ]
        info = {"sha": commit_of(folder), "siblings": [{"rfilename": file} for file in files]}
        self.send(200, {}, json.dumps(tree if kind == "tree" else info).encode())

    def find(self, owner: str, name: str, revision: str) -> Path | None:
        """The folder of a revision, which may be given as a commit."""
        revisions = (REPOSITORIES / owner / name).glob("*")
        return next((r for r in revisions if revision in (r.name, commit_of(r))), None)

    def send(
        self, status: int, headers: dict[str, str], data: bytes = b"", *, with_body: bool = True
    ) -> None:
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(key, value)
        self.end_headers()
        if with_body:
            self.wfile.write(data)

    def log_message(self, format: str, *_: object) -> None:
        """Say nothing."""


def main() -> None:
    """Serve, call, report."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    os.environ["HF_ENDPOINT"] = f"http://127.0.0.1:{server.server_port}"
    from spacy_deberta.checkpoints import resolve_source, resolve_tokenizer_source
    from spacy_deberta.errors import CheckpointError

    reports = []
    for call in json.loads(sys.argv[2]):
        ASKED.clear()
        report = {"folder": None, "error": None}
        try:
            resolve = resolve_tokenizer_source if call.pop("tokenizer", False) else resolve_source
            report["folder"] = str(resolve(**call))
        except CheckpointError as error:
            report["error"] = str(error)
        reports.append({**report, "asked": list(ASKED)})
    sys.stdout.write(json.dumps(reports))


if __name__ == "__main__":
    main()
