"""Flask's hello."""

from flask import Flask, Response

app = Flask(__name__)


@app.get("/")
def hello() -> Response:
    return Response(b"Hello, World!", content_type="text/plain; charset=utf-8")
