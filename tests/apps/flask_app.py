"""A Flask application as people write them."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator

from flask import Flask, Response, jsonify, make_response, redirect, request, send_file, session, stream_with_context
from werkzeug.middleware.proxy_fix import ProxyFix

app = Flask(__name__)
app.secret_key = "only for tests"

DATA = bytes(range(256)) * 1000


@app.get("/")
def index() -> str:
    return f"Hello, {request.args.get('name', 'world')}!"


@app.route("/about", methods=["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
@app.route("/about/<path:rest>")
def about(rest: str = "") -> Response:
    return jsonify(
        method=request.method,
        path=request.path,
        full_path=request.full_path,
        url=request.url,
        host=request.host,
        scheme=request.scheme,
        remote=request.remote_addr,
        root=request.script_root,
        header=request.headers.get("X-Custom"),
        cookies=request.cookies,
        query=request.args,
        length=request.content_length,
        rest=rest,
    )


@app.post("/json")
def json_() -> Response:
    return jsonify(request.get_json())


@app.post("/form")
def form() -> Response:
    return jsonify(request.form)


@app.post("/upload")
def upload() -> Response:
    files = {
        name: {
            "name": file.filename,
            "size": len(data := file.read()),
            "sha256": hashlib.sha256(data).hexdigest(),
        }
        for name, file in request.files.items()
    }
    return jsonify(files=files, fields=request.form)


@app.post("/body")
def body() -> Response:
    """The raw content as a stream, of any framing."""
    digest, size = hashlib.sha256(), 0
    while data := request.stream.read(40_000):
        digest.update(data)
        size += len(data)
    return jsonify(size=size, sha256=digest.hexdigest())


@app.get("/stream")
def stream() -> Response:
    @stream_with_context
    def lines() -> Iterator[str]:
        for number in range(int(request.args.get("n", 5))):
            yield f"line {number}\n"

    return Response(lines(), mimetype="text/plain")


@app.get("/file")
def file() -> Response:
    """send_file: wsgi.file_wrapper, ranges, conditional requests."""
    return send_file(request.args["path"], conditional=True, mimetype="application/octet-stream")


@app.get("/memory")
def memory() -> Response:
    return send_file(io.BytesIO(DATA), mimetype="application/octet-stream")


@app.get("/visits")
def visits() -> Response:
    session["visits"] = session.get("visits", 0) + 1
    return jsonify(visits=session["visits"])


@app.get("/redirect")
def redirect_() -> Response:
    response = make_response(redirect("/about"))
    response.set_cookie("first", "1")
    response.set_cookie("second", "2")
    return response


@app.get("/nothing")
def nothing() -> tuple[str, int]:
    return "", 204


@app.get("/fails")
def fails() -> str:
    raise RuntimeError("the view failed on purpose")


behind_proxy = ProxyFix(app, x_for=1, x_proto=1)
"""The same behind Werkzeug's own proxy middleware."""


def create_app(greeting: str = "created") -> Flask:
    """An application factory."""
    created = Flask("created")
    created.add_url_rule("/", view_func=lambda: greeting)
    return created
