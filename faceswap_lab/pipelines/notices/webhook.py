"""A notice as JSON to a web address, signed as Standard Webhooks describe: receivers have libraries that check it."""

import base64
import binascii
import hashlib
import hmac
import json
import ssl
import time
import uuid
from collections.abc import Mapping
from typing import Any

from faceswap_lab.compute.security import names_loopback
from faceswap_lab.errors import ScheduleError
from faceswap_lab.files import VERSION
from faceswap_lab.pipelines.notices.attempts import Delivered, RefusedError, TransientError, attempt
from faceswap_lab.pipelines.notices.targets import check_address

TIMEOUT_S = 10.0
_LEAST_BYTES = 24
_PREFIX = "whsec_"
_LATER = {408, 425, 429, 500, 502, 503, 504}
"""Answers that may be another one in a moment."""


def post(url: str, message: Mapping[str, Any], *, secret: str | None = None, plain: bool = False) -> Delivered:
    """POST the message. No redirect is followed, and of the answer only its status is read.

    Tries three times where the address cannot be reached or asks for patience. Raises ScheduleError for an address or a secret that
    cannot be used; what went wrong on the way is in the answer.
    """
    parts = check_address(url, plain=plain)
    key = signing_key(secret) if secret else None
    body = json.dumps(message, ensure_ascii=False, allow_nan=False).encode()
    delivery = f"msg_{uuid.uuid4().hex}"  # the same for every try, so that a receiver can drop one that it already has
    local = names_loopback(parts.hostname or "")
    return attempt(lambda: _post(url, body, _headers(delivery, body, key), through_proxy=not local))


def signing_key(secret: str) -> bytes:
    """The key in a secret written as `whsec_` and base64, of 24 bytes or more."""
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except (ValueError, binascii.Error):
        key = b""
    if not secret.startswith(_PREFIX) or len(key) < _LEAST_BYTES:
        raise ScheduleError(
            expected=f"a secret for webhooks: {_PREFIX} and {_LEAST_BYTES} bytes or more in base64",
            got="another text",
            remedy=f'make one: echo "{_PREFIX}$(openssl rand -base64 32)"',
        )
    return key


def signature(key: bytes, delivery: str, moment: int, body: bytes) -> str:
    """HMAC-SHA256 over id, time and body, joined with dots."""
    digest = hmac.new(key, f"{delivery}.{moment}.".encode() + body, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"


def _headers(delivery: str, body: bytes, key: bytes | None) -> dict[str, str]:
    moment = int(time.time())
    headers = {"content-type": "application/json", "user-agent": f"faceswap-lab/{VERSION}", "webhook-id": delivery}
    headers["webhook-timestamp"] = str(moment)
    return headers | ({"webhook-signature": signature(key, delivery, moment, body)} if key else {})


def _post(url: str, body: bytes, headers: Mapping[str, str], *, through_proxy: bool) -> str:
    import httpx

    try:
        with (
            httpx.Client(verify=ssl.create_default_context(), timeout=TIMEOUT_S, trust_env=through_proxy) as client,
            client.stream("POST", url, content=body, headers=headers) as answer,
        ):
            status = answer.status_code
    except httpx.HTTPError as error:
        # Its text may repeat the address.
        raise TransientError(_reason(error)) from error
    if status in _LATER:
        raise TransientError(f"status {status}")
    if not 200 <= status < 300:
        raise RefusedError(f"status {status}" + (", a redirect, which is not followed" if 300 <= status < 400 else ""))
    return f"status {status}"


def _reason(error: BaseException) -> str:
    """The kinds of an error and of what it came from; a certificate's fault in its own words."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"the certificate is not accepted: {cause.verify_message}"
        cause = cause.__cause__ or cause.__context__
    return type(error).__name__
