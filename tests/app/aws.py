"""moto's server on a free port, and in front of it the protocol that the AWS SDK speaks with CloudWatch.

CloudWatch is asked in CBOR (Smithy's RPC v2), which moto does not know: such a request is handed to moto as the same
request in JSON, and its answer back as CBOR. Everything else goes through as it is.
"""

import gzip
import io
import json
from datetime import datetime
from email.utils import formatdate

import botocore.session
from botocore.parsers import RpcV2CBORParser
from botocore.serialize import RpcV2CBORSerializer
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

PREFIX = "/service/GraniteServiceVersion20100801/operation/"
MODEL = botocore.session.get_session().get_service_model("cloudwatch")


def plain(value):
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value.timestamp() if isinstance(value, datetime) else value


def from_cbor(body):
    parser = RpcV2CBORParser()
    return plain(parser.parse_data_item(parser.get_peekable_stream_from_bytes(body)))


class Serializer(RpcV2CBORSerializer):
    """Writes times as CloudWatch does, as floating point."""

    def _convert_timestamp_to_str(self, value, timestamp_format=None):
        return float(super()._convert_timestamp_to_str(value))


def to_cbor(value, shape):
    out = bytearray()
    Serializer()._serialize_data_item(out, value, shape)
    return bytes(out)


def error_in_cbor(error):
    """A map of texts, none longer than 64 KiB."""
    out = bytearray([0xA0 | len(error)])
    for text in (text for item in error.items() for text in item):
        data = str(text).encode()
        out += bytes([0x79]) + len(data).to_bytes(2, "big") + data
    return bytes(out)


class Cbor:
    def __init__(self, app):
        self.app = app

    def __call__(self, environ, start_response):
        path = environ.get("PATH_INFO", "")
        if not path.startswith(PREFIX):
            return self.app(environ, start_response)
        operation = MODEL.operation_model(path.removeprefix(PREFIX))
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        if environ.pop("HTTP_CONTENT_ENCODING", "") == "gzip":
            body = gzip.decompress(body)
        asked = json.dumps(from_cbor(body) if body else {}).encode()
        environ |= {
            "PATH_INFO": "/",
            "RAW_URI": "/",
            "REQUEST_URI": "/",
            "CONTENT_TYPE": "application/x-amz-json-1.0",
            "CONTENT_LENGTH": str(len(asked)),
            "HTTP_X_AMZ_TARGET": f"GraniteServiceVersion20100801.{operation.name}",
            "wsgi.input": io.BytesIO(asked),
        }
        environ.pop("HTTP_SMITHY_PROTOCOL", None)
        status = []
        answer = b"".join(self.app(environ, lambda line, headers, *_: status.append(line)))
        answer = json.loads(answer or b"{}")
        if status[0].startswith("200"):
            shape = operation.output_shape
            encoded = to_cbor(answer, shape) if shape else b"\xa0"
        else:
            message = answer.get("message") or answer.get("Message") or ""
            encoded = error_in_cbor({"__type": answer.get("__type", "InternalFailure"), "message": message})
        fields = [
            ("Content-Type", "application/cbor"),
            ("Content-Length", str(len(encoded))),
            ("smithy-protocol", "rpc-v2-cbor"),
            ("Date", formatdate(usegmt=True)),
        ]
        start_response(status[0], fields)
        return [encoded]


if __name__ == "__main__":
    server = make_server("127.0.0.1", 0, Cbor(DomainDispatcherApplication(create_backend_app)), threaded=True)
    print(f"listening at 127.0.0.1:{server.port}", flush=True)
    server.serve_forever()
