"""The table of MongoDB's errors, on the driver's own errors."""

from typing import Any

import pytest
from bson.errors import InvalidDocument
from pymongo import client_session_shared, helpers_shared
from pymongo.errors import (
    AutoReconnect,
    BulkWriteError,
    DuplicateKeyError,
    NotPrimaryError,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
    WriteConcernError,
    WriteError,
    WTimeoutError,
)

from shared.errors import RetryableError
from shared.mongodb_errors import (
    CODES,
    DatabaseFaultError,
    DuplicateDocumentError,
    ErrorClass,
    WriteRefusedError,
    classify,
    classify_code,
    translated_errors,
)

SUBJECT = "Between us"


def bulk(*codes: int, majority: bool = True) -> BulkWriteError:
    """The error of a bulk write whose writes are refused with these codes."""
    return BulkWriteError(
        {
            "writeErrors": [{"code": code, "op": {"subject": SUBJECT}} for code in codes],
            "writeConcernErrors": [] if majority else [{"code": 11602, "errmsg": "stepped down"}],
        }
    )


def labelled(label: str) -> PyMongoError:
    return OperationFailure("failed", 13, {"errorLabels": [label]})


@pytest.mark.parametrize(
    "error,expected",
    [
        (AutoReconnect("closed"), ErrorClass.RETRYABLE),
        (NotPrimaryError("not primary"), ErrorClass.RETRYABLE),
        (ServerSelectionTimeoutError("none"), ErrorClass.RETRYABLE),
        (WriteConcernError("no label", 11602), ErrorClass.RETRYABLE),
        (WriteConcernError("of any code", 13), ErrorClass.RETRYABLE),
        (WTimeoutError("late", 64), ErrorClass.RETRYABLE),
        (labelled("TransientTransactionError"), ErrorClass.RETRYABLE),
        (labelled("UnknownTransactionCommitResult"), ErrorClass.RETRYABLE),
        (labelled("unknown"), ErrorClass.FATAL),
        (OperationFailure("full", 14031), ErrorClass.RETRYABLE),
        (OperationFailure("no code"), ErrorClass.FATAL),
        (DuplicateKeyError("there", 11000), ErrorClass.DUPLICATE),
        (WriteError("too large", 17419), ErrorClass.REFUSED),
        (bulk(majority=False), ErrorClass.RETRYABLE),
        (bulk(11000, majority=False), ErrorClass.RETRYABLE),
        (bulk(11000), ErrorClass.DUPLICATE),
        (bulk(11000, 121), ErrorClass.REFUSED),
        (bulk(11000, 121, 13), ErrorClass.FATAL),
        (bulk(11000, 121, 13, 11602), ErrorClass.RETRYABLE),
    ],
    ids=repr,
)
def test_error_has_one_class(error: PyMongoError, expected: ErrorClass) -> None:
    assert classify(error) is expected


def test_all_that_the_driver_retries_is_retryable() -> None:
    retried = helpers_shared._RETRYABLE_ERROR_CODES | client_session_shared._UNKNOWN_COMMIT_ERROR_CODES
    assert {code for code in retried if classify_code(code) is not ErrorClass.RETRYABLE} == set()


def test_code_has_one_class() -> None:
    codes = [code for codes in CODES.values() for code in codes]
    assert len(codes) == len(set(codes))


@pytest.mark.parametrize(
    "error,expected",
    [
        (bulk(121), WriteRefusedError),
        (bulk(121, majority=False), RetryableError),
        (bulk(11000), DuplicateDocumentError),
        (bulk(13), DatabaseFaultError),
        (InvalidDocument(SUBJECT), WriteRefusedError),
        (OverflowError(SUBJECT), WriteRefusedError),
    ],
    ids=repr,
)
def test_error_leaves_without_its_documents(error: Exception, expected: type[Exception]) -> None:
    with pytest.raises(expected) as raised, translated_errors():
        raise error
    assert type(raised.value) is expected
    assert SUBJECT not in str(raised.value)
    assert raised.value.__suppress_context__


def test_other_errors_pass_unchanged() -> None:
    error: Any = KeyError("ours")
    with pytest.raises(KeyError) as raised, translated_errors():
        raise error
    assert raised.value is error
