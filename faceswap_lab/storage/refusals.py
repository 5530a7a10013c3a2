"""What a store's client library raises, as a StorageError in three parts.

Messages of the libraries are not repeated: they may hold the address of a signed request. Their type and the service's own error
code say what happened; the original stands behind as the cause.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from faceswap_lab.errors import LabError, StorageError

_LIBRARIES = frozenset(
    {
        "adlfs",
        "aiobotocore",
        "aiohttp",
        "azure",
        "botocore",
        "fsspec",
        "gcsfs",
        "google",
        "oss2",
        "ossfs",
        "requests",
        "s3fs",
        "urllib3",
    }
)
_LATE = frozenset(
    {"ConnectTimeoutError", "ReadTimeoutError", "ServerTimeoutError", "FSTimeoutError", "ConnectTimeout", "ReadTimeout"}
)
_UNREACHABLE = frozenset({"EndpointConnectionError", "ClientConnectorError", "ServiceRequestError", "ConnectionClosedError"})
_NOBODY = frozenset({"NoCredentialsError", "PartialCredentialsError", "DefaultCredentialsError", "ClientAuthenticationError"})
_MISSING = frozenset({"FileNotFoundError", "ResourceNotFoundError", "NoSuchBucket", "NoSuchKey"})
_DENIED = frozenset({"PermissionError", "AccessDenied"})
_BROKEN = frozenset({"ClientPayloadError", "IncompleteRead", "IncompleteReadError", "ContentLengthError"})

CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or the machine's role",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS, `gcloud auth application-default login`, or the machine's service account",
    "az": "AZURE_STORAGE_ACCOUNT_NAME with AZURE_STORAGE_ACCOUNT_KEY, or the machine's managed identity",
    "oss": "OSS_ACCESS_KEY_ID and OSS_ACCESS_KEY_SECRET, with OSS_ENDPOINT",
}
"""Where each store's credentials come from."""


class BrokenOffError(StorageError):
    """A transfer that ended early; another attempt may succeed."""


@contextmanager
def asking(place: object) -> Iterator[None]:
    """Turns what a store's library raises about `place` into a StorageError. Errors of other origin pass unchanged."""
    try:
        yield
    except LabError:
        raise
    except Exception as error:
        if not (isinstance(error, OSError | asyncio.TimeoutError) or type(error).__module__.partition(".")[0] in _LIBRARIES):
            raise
        raise _told(str(place), error) from error


def short(place: object, expected: int, got: int) -> BrokenOffError:
    """The error for fewer or more bytes than the store had announced."""
    remedy = "repeat the call; if it happens again, look for a proxy in between, or put the object there anew"
    return BrokenOffError(expected=f"{expected} bytes from {place}", got=f"{got}: the transfer broke off", remedy=remedy)


def wrong_digest(place: object, expected: str, got: str) -> StorageError:
    """The error for content that is not what its digest says."""
    return StorageError(
        expected=f"{place} with SHA-256 {expected[:12]}…",
        got=f"{got[:12]}…: the object was altered, or only part of it arrived",
        remedy="repeat the call; if it happens again, export the data set anew",
    )


def _told(place: str, error: BaseException) -> StorageError:
    names, code = _names(error), _code(error)
    said = type(error).__name__ + (f" ({code})" if code else "")
    scheme = place.partition("://")[0]
    if names & _BROKEN:
        return BrokenOffError(expected=f"all of {place}", got=f"a transfer that broke off: {said}", remedy="repeat the call")
    if names & _LATE or isinstance(error, TimeoutError | asyncio.TimeoutError):
        got, remedy = f"no answer in time: {said}", "check the network and the endpoint, or give longer deadlines"
    elif names & _UNREACHABLE or isinstance(error, ConnectionError):
        got, remedy = f"no connection: {said}", "check the network, and the endpoint that the environment names"
    elif names & _NOBODY:
        got, remedy = f"no credentials: {said}", f"set {CREDENTIALS.get(scheme, 'the credentials of this store')}"
    elif names & _DENIED or code in ("403", "401") or (type(error) is OSError and str(error).startswith("Forbidden")):
        got = f"access denied: {said}"
        remedy = f"ask for the right to do this, or set other credentials ({CREDENTIALS.get(scheme, 'of this user')})"
    elif names & _MISSING or code == "404":
        got, remedy = f"nothing there: {said}", "check the bucket and the name; buckets are not made by the lab"
    else:
        got, remedy = f"{said}, which the store's library raised", "fix the reported cause, then repeat the call"
    return StorageError(expected=f"access to {place}", got=got, remedy=remedy)


def _names(error: BaseException | None) -> set[str]:
    """Names of the classes of an error and of its causes."""
    found: set[str] = set()
    while error is not None:
        found |= {kind.__name__ for kind in type(error).__mro__}
        error = error.__cause__
    return found


def _code(error: BaseException | None) -> str:
    """The service's error code, if the error or a cause has one: a word or a number, nothing longer."""
    while error is not None:
        response = getattr(error, "response", None)
        found = response.get("Error", {}).get("Code") if isinstance(response, dict) else None
        for name in ("error_code", "code", "status_code", "status"):
            found = found or getattr(error, name, None)
        if found and len(str(found)) <= 40 and str(found).replace("_", "").isalnum():
            return str(found)
        error = error.__cause__
    return ""
