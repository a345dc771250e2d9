"""The classes of MongoDB's errors: one table for codes, labels and the driver's own errors.

| class | leaves `shared.mongodb` as | recovery |
|---|---|---|
| retryable | `RetryableError` | the same work again, later: no answer, primary, majority, space or time |
| duplicate | `DuplicateDocumentError` | the same work again, which then finds the other document |
| refused | `WriteRefusedError` | MongoDB never accepts this document; its message becomes a dead letter |
| fatal | `DatabaseFaultError` | a command, a right or a setting is wrong; the process stops, uncommitted |

| what the driver raises | class |
|---|---|
| an error of the connection, a time-out, no primary | retryable |
| an error with a label of `RETRYABLE_LABELS` | retryable |
| a write-concern error of any code | retryable: the write is made, and a failover may take it back |
| any other error of MongoDB | by its code: `CODES`; a code that is not there is fatal |
| a bulk write with several errors | the first of retryable, fatal, refused, duplicate that one of them has |
| a document that cannot be encoded | refused |

A repetition after `RetryableError` is safe: the first attempt may have been made, may be made later, or may
be taken back, and all writes are idempotent.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum

from bson.errors import BSONError
from pymongo.errors import BulkWriteError, ConnectionFailure, PyMongoError, WriteConcernError

from .errors import InvalidMessageError, RetryableError

DUPLICATE_KEY = 11000


class ErrorClass(Enum):
    """What may be done after an error. Of several errors of one operation the first of these counts."""

    RETRYABLE = "retryable"
    FATAL = "fatal"
    REFUSED = "refused"
    DUPLICATE = "duplicate"


RETRYABLE_LABELS = (
    "RetryableError",
    "RetryableWriteError",
    "ResumableChangeStreamError",
    "SystemOverloadedError",
    "TransientTransactionError",
    "UnknownTransactionCommitResult",
)
"""Labels with which MongoDB or the driver marks an error that a repetition may not meet."""

LOST_POSITIONS: Mapping[int, str] = {
    136: "CappedPositionLost",
    222: "CloseChangeStream",
    260: "InvalidResumeToken",
    280: "ChangeStreamFatalError",
    286: "ChangeStreamHistoryLost",
    346: "ChangeStreamInvalidated",
}
"""A stream of changes cannot go on from its position: a new one begins with what changes from then on."""

CODES: Mapping[ErrorClass, Mapping[int, str]] = {
    ErrorClass.RETRYABLE: {
        # the network, and a member that stops or is not the primary
        6: "HostUnreachable",
        7: "HostNotFound",
        89: "NetworkTimeout",
        91: "ShutdownInProgress",
        94: "NotYetInitialized",
        95: "NotSecondary",
        133: "FailedToSatisfyReadPreference",
        145: "PooledConnectionsDropped",
        189: "PrimarySteppedDown",
        216: "ElectionInProgress",
        279: "ClientDisconnect",
        303: "SplitHorizonChange",
        9001: "SocketException",
        10058: "LegacyNotPrimary",
        10107: "NotWritablePrimary",
        11600: "InterruptedAtShutdown",
        11602: "InterruptedDueToReplStateChange",
        13435: "NotPrimaryNoSecondaryOk",
        13436: "NotPrimaryOrSecondary",
        # no majority, yet or in time
        64: "WriteConcernTimeout",
        75: "WriteConcernLegacyOK",
        79: "UnknownReplWriteConcern",
        100: "UnsatisfiableWriteConcern",
        134: "ReadConcernMajorityNotAvailableYet",
        308: "CurrentConfigNotCommittedYet",
        # time, space and load
        24: "LockTimeout",
        46: "LockBusy",
        50: "MaxTimeMSExpired",
        107: "LockFailed",
        202: "NetworkInterfaceExceededTimeLimit",
        208: "TooManyLocks",
        261: "TooManyLogicalSessions",
        262: "ExceededTimeLimit",
        264: "TooManyFilesOpen",
        365: "TemporarilyUnavailable",
        371: "UserWritesBlocked",
        388: "TransactionTooLargeForCache",
        402: "ResourceExhausted",
        407: "PooledConnectionAcquisitionExceededTimeLimit",
        433: "AdmissionQueueOverflow",
        449: "RateLimitExceeded",
        450: "PooledConnectionAcquisitionRejected",
        462: "IngressRequestRateLimitExceeded",
        14031: "OutOfDiskSpace",
        # MongoDB's own files
        37: "FileRenameFailed",
        38: "FileNotOpen",
        39: "FileStreamFailed",
        41: "FileAlreadyOpen",
        42: "LogWriteFailed",
        176: "FileOpenFailed",
        # interrupted, and what another operation changed meanwhile
        1: "InternalError",
        8: "UnknownError",
        43: "CursorNotFound",
        90: "CallbackCanceled",
        96: "OperationFailed",
        112: "WriteConflict",
        117: "ConflictingOperationInProgress",
        143: "CursorInUse",
        175: "QueryPlanKilled",
        194: "BalancerInterrupted",
        215: "DatabaseDropPending",
        237: "CursorKilled",
        276: "IndexBuildAborted",
        285: "IndexBuildAlreadyInProgress",
        234: "RetryChangeStream",
        314: "ObjectIsBusy",
        355: "InterruptedDueToStorageChange",
        391: "ReauthenticationRequired",
        11601: "Interrupted",
        12586: "BackgroundOperationInProgressForDatabase",
        12587: "BackgroundOperationInProgressForNamespace",
        46841: "ClientMarkedKilled",
        50915: "BackupCursorOpenConflictWithCheckpoint",
        91331: "RetriableRemoteCommandFailure",
        10045600: "InterruptedDueToFCVChange",
        # sessions, transactions and snapshots
        206: "NoSuchSession",
        217: "IncompleteTransactionHistory",
        225: "TransactionTooOld",
        239: "SnapshotTooOld",
        244: "TransactionAborted",
        246: "SnapshotUnavailable",
        251: "NoSuchTransaction",
        267: "PreparedTransactionInProgress",
        281: "TransactionCoordinatorSteppingDown",
        290: "TransactionExceededLifetimeLimitSeconds",
        363: "RetryableTransactionInProgress",
        # routers and shards
        63: "StaleShardVersion",
        150: "StaleEpoch",
        249: "StaleDbVersion",
        250: "StaleChunkHistory",
        272: "MigrationConflict",
        453: "InterruptedDueToReshardingCriticalSection",
        13388: "StaleConfig",
        **LOST_POSITIONS,
    },
    ErrorClass.DUPLICATE: {
        DUPLICATE_KEY: "DuplicateKey",
        11001: "DuplicateKey of an update",
        12582: "DuplicateKey of old routers",
    },
    ErrorClass.REFUSED: {
        14: "TypeMismatch",
        15: "Overflow",
        16: "InvalidLength",
        22: "InvalidBSON",
        28: "PathNotViable",
        52: "DollarPrefixedFieldName",
        53: "InvalidIdField",
        54: "NotSingleValueField",
        55: "InvalidDBRef",
        56: "EmptyFieldName",
        57: "DottedFieldName",
        66: "ImmutableField",
        116: "DocTooLargeForCapped",
        121: "DocumentValidationFailure",
        171: "CannotIndexParallelArrays",
        201: "CannotBuildIndexKeys",
        218: "UpdateOperationFailed",
        241: "ConversionFailure",
        357: "InvalidBSONType",
        378: "NonConformantBSON",
        10334: "BSONObjectTooLarge",
        17280: "KeyTooLong",
        17419: "an update makes the document too large",
        17420: "an update makes the document too large",
    },
}
"""Error class -> code -> MongoDB's name for it, of all releases.

The other codes of MongoDB's `error_codes.yml` are those of a wrong command, right or setting, or of commands
that no service uses.
"""

_CLASS_OF_CODE = {code: error_class for error_class, codes in CODES.items() for code in codes}
_CANNOT_BE_ENCODED = (BSONError, OverflowError, UnicodeEncodeError)


class DuplicateDocumentError(RetryableError):
    """A unique index refuses a document that another process has stored meanwhile.

    The same work, done again, finds that one; a caller that expects it handles it at once.
    """


class WriteRefusedError(InvalidMessageError):
    """MongoDB never accepts a document.

    It holds error codes alone: the driver's own error holds the documents.

    Attributes:
        codes: MongoDB's error codes; none where the driver cannot encode the document.
    """

    def __init__(self, codes: Sequence[int]) -> None:
        codes = tuple(codes)
        why = f"codes {list(codes)}" if codes else "it cannot be encoded"
        super().__init__(f"MongoDB refuses the document, {why}")
        self.codes = codes


class DatabaseFaultError(Exception):
    """Fatal: a command, a right or a setting is wrong.

    It holds MongoDB's code and the error's name alone: the driver's own error may hold documents.
    """


def classify_code(code: int | None) -> ErrorClass:
    """The class of one of MongoDB's error codes."""
    return ErrorClass.FATAL if code is None else _CLASS_OF_CODE.get(code, ErrorClass.FATAL)


def classify(error: PyMongoError) -> ErrorClass:
    """The class of an error of the driver."""
    if any(map(error.has_error_label, RETRYABLE_LABELS)):
        return ErrorClass.RETRYABLE
    if isinstance(error, BulkWriteError):
        if error.details.get("writeConcernErrors"):
            return ErrorClass.RETRYABLE
        classes = set(map(classify_code, _write_codes(error)))
        return next((each for each in ErrorClass if each in classes), ErrorClass.FATAL)
    if isinstance(error, ConnectionFailure | WriteConcernError) or error.timeout:
        return ErrorClass.RETRYABLE
    return classify_code(code_of(error))


def code_of(error: PyMongoError) -> int | None:
    """MongoDB's code of an error, if it has one."""
    return getattr(error, "code", None)


def _write_codes(error: PyMongoError) -> list[int]:
    if isinstance(error, BulkWriteError):
        return sorted({each["code"] for each in error.details.get("writeErrors", ())})
    code = code_of(error)
    return [] if code is None else [code]


@contextlib.contextmanager
def translated_errors() -> Iterator[None]:
    """Translates the driver's errors by the table; others pass unchanged."""
    # Without their causes, which may hold documents.
    try:
        yield
    except PyMongoError as error:
        match classify(error):
            case ErrorClass.RETRYABLE:
                raise RetryableError(f"MongoDB does not answer: {_describe(error)}") from None
            case ErrorClass.DUPLICATE:
                raise DuplicateDocumentError("a unique index refuses the document") from None
            case ErrorClass.REFUSED:
                raise WriteRefusedError(_write_codes(error)) from None
            case ErrorClass.FATAL:
                raise DatabaseFaultError(f"MongoDB refuses the operation: {_describe(error)}") from None
    except _CANNOT_BE_ENCODED:
        raise WriteRefusedError(()) from None


def _describe(error: PyMongoError) -> str:
    codes = _write_codes(error)
    return f"{type(error).__name__}, codes {codes}" if codes else type(error).__name__
