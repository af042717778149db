"""A small Flask app to put behind tollgate: what `make demo` runs and the tests talk to."""

import hashlib
import time

from flask import Flask, Response, jsonify, request

app = Flask(__name__)
seen = {}


@app.get("/")
def index():
    routes = sorted(str(rule) for rule in app.url_map.iter_rules() if rule.endpoint != "static")
    return jsonify(routes=routes)


@app.get("/health")
def health():
    return jsonify(status="ok")


@app.get("/json")
def some_json():
    return jsonify(message="hello from Flask", numbers=[1, 2, 3])


@app.get("/slow")
def slow():
    """Answers after `seconds`."""
    seconds = min(request.args.get("seconds", default=2.0, type=float), 60.0)
    time.sleep(seconds)
    return jsonify(slept=seconds)


@app.post("/upload")
def upload():
    """Reads the body piece by piece; answers with its size and SHA-256."""
    digest, size = hashlib.sha256(), 0
    while piece := request.stream.read(64 * 1024):
        digest.update(piece)
        size += len(piece)
    return jsonify(bytes=size, sha256=digest.hexdigest())


@app.get("/download")
def download():
    """Sends `bytes` zeros without a Content-Length, made as they are sent."""
    left = min(request.args.get("bytes", default=1024 * 1024, type=int), 4 * 1024**3)
    piece = bytes(64 * 1024)

    def pieces(left):
        while left > 0:
            part = piece[: min(left, len(piece))]
            left -= len(part)
            yield part

    return Response(pieces(left), mimetype="application/octet-stream")


@app.get("/events")
def events():
    """Server-sent events, `count` of them, one a second."""
    count = min(request.args.get("count", default=5, type=int), 3600)

    def lines():
        for number in range(1, count + 1):
            yield f"id: {number}\ndata: event {number} of {count}\n\n"
            if number < count:
                time.sleep(1)

    return Response(lines(), mimetype="text/event-stream", headers={"Cache-Control": "no-store"})


@app.get("/analysis")
def analysis():
    """Tells tollgate of its cache, of a language model, and of how long it took."""
    begun = time.perf_counter()
    text = request.args.get("text", default="nothing to say")
    hit = text in seen
    if len(seen) < 1000:
        seen[text] = True
    response = jsonify(words=len(text.split()))
    response.headers["X-Cache"] = "HIT" if hit else "MISS"
    response.headers["X-LLM-Tokens"] = str(0 if hit else len(text))
    response.headers["X-LLM-Model"] = "demo-1"
    response.headers["X-LLM-Operation"] = "count"
    took_ms = (time.perf_counter() - begun) * 1000
    response.headers["Server-Timing"] = f"analysis;dur={took_ms:.3f}"
    return response


@app.get("/error")
def error():
    raise RuntimeError("the demo app was asked to fail")


@app.route("/echo", methods=["GET", "POST", "PUT", "PATCH", "DELETE"])
def echo():
    """What arrived: method, path, client address as Gunicorn sees it, fields, size of the body."""
    return jsonify(
        method=request.method,
        path=request.full_path.rstrip("?"),
        remote_addr=request.remote_addr,
        scheme=request.scheme,
        headers=[[name, value] for name, value in request.headers.items()],
        body_bytes=len(request.get_data()),
    )


@app.get("/empty")
def empty():
    return "", 204
