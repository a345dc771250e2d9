"""The bounds of an HTTP interface, and the reasons for which a request is refused before any app sees it."""

import json
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from http import HTTPStatus

from prometheus_client import Counter

from .problems import MEDIA_TYPE, Problem
from .settings import ServiceSettings

REQUESTS_REFUSED = Counter(
    "http_requests_refused_total",
    "Requests and connections that exceeded a bound of an HTTP interface.",
    ["interface", "reason"],
)

CHUNK_FRAME_BYTES = 16
"""Of the length and the line ends of a chunk: Graph, browsers and proxies need at most 12."""


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """What strangers may use of an interface.

    Attributes:
        connections: open at the same time.
        timeout: for the headers of a request, and again for its body. An idle connection is closed earlier.
        body_bytes: of one request.
        buffered_bytes: of all requests that are not answered yet.
        header_bytes: of one request, with its first line.
        headers: their number.
        chunks: of one body without a length; each costs time, however small it is.
        write_timeout: for a client that reads nothing of its response.
        linger: for a refused client to read why.
    """

    connections: int
    timeout: timedelta
    body_bytes: int = 1024 * 1024
    buffered_bytes: int = 32 * 1024 * 1024
    header_bytes: int = 32 * 1024
    headers: int = 100
    chunks: int = 4096
    write_timeout: timedelta = timedelta(seconds=30)
    linger: timedelta = timedelta(seconds=2)

    @property
    def raw_bytes(self) -> int:
        """Of one request with the lengths of its chunks and its trailers."""
        return self.header_bytes + self.body_bytes + CHUNK_FRAME_BYTES * self.chunks

    @classmethod
    def from_settings(cls, settings: ServiceSettings) -> "HttpLimits":
        """The limits as an operator has set them."""
        return cls(connections=settings.max_connections, timeout=settings.request_timeout)


class Refusal(Enum):
    """Why a request is refused: the label of the metric, the HTTP status, a sentence for people."""

    MALFORMED = "malformed_request", 400, "the request is not HTTP/1.1"
    HEADERS_LATE = "headers_late", 408, "the headers did not come in time"
    BODY_LATE = "body_late", 408, "the body did not come in time"
    BODY_TOO_LARGE = "body_too_large", 413, "the body is too large"
    HEADERS_TOO_LARGE = "headers_too_large", 431, "the headers are too large"
    CONNECTIONS = "connections", 503, "there are too many connections"
    BUFFERED_BYTES = "buffered_bytes", 503, "there are too many unfinished requests"
    PIPELINED = "pipelined", 503, "a request was sent before the answer to the last one"
    RESPONSE_NOT_READ = "response_not_read", 503, "the client does not read its response"

    def __init__(self, reason: str, status: int, detail: str) -> None:
        self.reason = reason
        self.status = status
        problem = Problem(title=HTTPStatus(status).phrase, status=status, detail=detail, code=reason)
        body = json.dumps(problem.model_dump(exclude_none=True)).encode()
        head = [
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
            f"content-type: {MEDIA_TYPE}",
            f"content-length: {len(body)}",
            "connection: close",
            *(["retry-after: 1"] if status == HTTPStatus.SERVICE_UNAVAILABLE else []),
        ]
        self.response = "\r\n".join([*head, "", ""]).encode() + body
        """The whole response: no app writes it."""
