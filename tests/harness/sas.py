"""Shared access signatures, written from the specification and not from any SDK."""

import base64
import hashlib
import hmac
import time
from urllib.parse import quote


def token(resource, key, policy=None, expires=None):
    """`SharedAccessSignature sr=…&sig=…&se=…`, one hour from now unless told otherwise."""
    expires = int(time.time()) + 3600 if expires is None else int(expires)
    resource = quote(resource, safe="")
    digest = hmac.new(
        base64.b64decode(key), f"{resource}\n{expires}".encode(), hashlib.sha256
    ).digest()
    signature = quote(base64.b64encode(digest).decode(), safe="")
    text = f"SharedAccessSignature sr={resource}&sig={signature}&se={expires}"
    return text if policy is None else f"{text}&skn={policy}"


def wrong_key():
    """A well-formed key that is nobody's."""
    return base64.b64encode(b"not the key of anybody at all!!!").decode()
