"""Errors of the services' HTTP interfaces: problem details (RFC 9457), one form for all."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from .message_parts import UNDECLARED

MEDIA_TYPE = "application/problem+json"


class Problem(BaseModel):
    """The body of an error response."""

    type: str = Field(default="about:blank", description="Always this: `status` and `code` name the problem.")
    title: str = Field(description="The HTTP status as a phrase.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="A sentence for people.")
    code: str = Field(description="A word for programs.")
    field: str | None = Field(default=None, description="The part of the request that is wrong.")


def problem_response(
    status: int,
    code: str,
    detail: str,
    *,
    field: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """A problem response.

    Args:
        status: the HTTP status.
        code: a word for programs.
        detail: a sentence for people; it holds no value that the caller sent.
        field: the part of the request that is wrong.
        headers: further headers, such as `Retry-After`.
    """
    problem = Problem(title=HTTPStatus(status).phrase, status=status, detail=detail, code=code, field=field)
    return JSONResponse(problem.model_dump(exclude_none=True), status, headers, MEDIA_TYPE)


def validation_problem(error: RequestValidationError) -> JSONResponse:
    """The 422 for a request that a route's model refuses: where it is wrong, never the value there."""
    first = error.errors()[0]
    detail = first["msg"].removeprefix("Value error, ")
    location = [str(part) for part in first["loc"]]
    if first["type"] == "extra_forbidden":
        location[-1] = UNDECLARED  # the caller has made up the name
    return problem_response(422, "invalid", detail, field=".".join(location))


def http_problem(error: HTTPException) -> JSONResponse:
    """The problem of an HTTPException: an unknown path, a wrong method, or what a route raises."""
    code = HTTPStatus(error.status_code).name.lower()
    return problem_response(error.status_code, code, error.detail, headers=error.headers)


def use_problem_details(app: FastAPI) -> None:
    """Makes an application answer its own errors, unknown paths included, as problem details."""

    async def on_http_error(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)  # noqa: S101  # registered for that type below
        return http_problem(error)

    async def on_validation_error(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)  # noqa: S101  # as above
        return validation_problem(error)

    handlers: dict[Any, Any] = {HTTPException: on_http_error, RequestValidationError: on_validation_error}
    for error, handler in handlers.items():
        app.add_exception_handler(error, handler)
