"""The app behind the shield: each of its routes holds a worker for a known time."""

import time

from flask import Flask, request

app = Flask(__name__)
MEBIBYTE = b"x" * (1 << 20)


@app.get("/quick")
def quick():
    """What a normal client asks for: 10 ms, as of a query or two."""
    time.sleep(0.01)
    return "ok"


@app.get("/work")
def work():
    """50 ms, the service time of the contest between callers."""
    time.sleep(0.05)
    return "ok"


@app.get("/mebibyte")
def mebibyte():
    return MEBIBYTE


@app.post("/upload")
def upload():
    return str(len(request.get_data()))
