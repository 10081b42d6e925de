"""What an error of Azure's SDK means: wrong credentials, a wrong name, or a passing failure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from traceback import walk_tb

from paretune.core.errors import ParetuneError, TransientError, UsageError

SIGN_IN = (
    "Sign in with `az login`, or set AZURE_CLIENT_ID, AZURE_TENANT_ID and AZURE_CLIENT_SECRET. "
    "Then run the same command again: it continues."
)
_ROLES = (
    "Ask for the role 'AzureML Data Scientist' on the workspace and 'Storage Blob Data "
    "Contributor' on its storage account. Then run the same command again: it continues."
)
# https://learn.microsoft.com/entra/identity-platform/reference-error-codes
_EXPIRED = re.compile(
    r"AADSTS(50173|70008|70043|700082|700084|7000222|50078|50089)|expired|token is too old",
    re.IGNORECASE,
)
_REFUSED = re.compile(r"AADSTS\d+[^\n]*")
_NOT_REACHED = re.compile(
    r"unable to connect|connection (refused|reset|aborted)|timed out|failed to (resolve|establish)"
    r"|name or service not known|temporary failure in name",
    re.IGNORECASE,
)
_SIGNED = re.compile(r"\?[^\s'\"<>()]*=[^\s'\"<>()]*")
"""What follows the path of an address: it may be a signature that gives access (SAS)."""
_UNSIGNED = re.compile(
    r"failed to authenticate the request|AuthenticationFailed|InvalidAuthenticationInfo"
    r"|specified time frame",
    re.IGNORECASE,
)
_SIGNATURE = (
    "Was the key renewed, or has the token (SAS) expired? Then correct the datastore in the "
    "workspace. Is the clock of this machine right? Then run the same command again: it continues."
)
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
_QUOTED = 300


class CredentialsError(UsageError):
    """Azure does not accept the credentials: missing, expired, or without the permission."""


class SignatureError(CredentialsError):
    """A storage account does not accept the key or token of a datastore."""


class UnreachableError(TransientError):
    """The service is not reached, is busy or fails: nothing is wrong with what was asked for."""


def unsigned(text: str) -> str:
    """Return a text in which addresses have no signatures, which would give access to a file."""
    return _SIGNED.sub("?...", text)


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Have errors of Azure's SDK become errors of ours.

    Args:
        what: What was done, for the message, such as ``the workspace 'models' cannot be read``.

    Raises:
        CredentialsError: The credentials are missing, expired, or without the permission.
        UnreachableError: The service is not reached, is busy or fails, or its answer does
            not come from Azure.
        TransientError: What was asked for was changed meanwhile.
        UsageError: It refuses what was asked for.
    """
    try:
        yield
    except ParetuneError:
        raise
    except Exception as error:
        failure = failure_of(error, what)
        if failure is None:
            raise
        raise failure from error


def failure_of(error: Exception, what: str) -> ParetuneError | None:
    """Return what an error of Azure's SDK means; None if it is another one.

    Args:
        error: What was raised.
        what: What was done, for the message.
    """
    from azure.ai.ml.exceptions import MlException
    from azure.core import exceptions

    status = getattr(error, "status_code", None)
    code = getattr(error, "error_code", None)
    if status in (400, 403) and _UNSIGNED.search(f"{getattr(code, 'value', code)} {error}"):
        said = f"the storage account does not accept the datastore's key or token: {_said(error)}"
        return SignatureError(f"{what}: {said}", hint=_SIGNATURE)
    refused = isinstance(error, exceptions.ClientAuthenticationError)
    if status == 403 or (refused and status not in (None, 401)):
        return CredentialsError(f"{what}: permission denied: {_said(error)}", hint=_ROLES)
    if refused or status == 401:
        return _of_credentials(error, what)
    if status == 404:
        return UsageError(f"{what}: not found: {_said(error)}", hint="Is its name right?")
    if status == 412:
        return TransientError(f"{what}: it was changed meanwhile")
    if isinstance(error, exceptions.HttpResponseError):
        if status is None or status in _PASSING:
            return UnreachableError(f"{what}: {_status(status)}{_said(error)}")
        return UsageError(f"{what}: {_status(status)}{_said(error)}")
    if isinstance(error, exceptions.ServiceRequestError | exceptions.ServiceResponseError):
        return UnreachableError(f"{what}: the service cannot be reached: {_said(error)}")
    if isinstance(error, exceptions.AzureError | MlException):
        return UsageError(f"{what}: {_said(error)}")
    if not _is_of_the_sdk(error):
        return None
    said = f"{type(error).__name__}: {_said(error)}"
    if isinstance(error, OSError):  # a file that a variable names, such as REQUESTS_CA_BUNDLE
        return UsageError(f"{what}: {said}")
    return UnreachableError(f"{what}: Azure's SDK cannot read the answer: {said}")


def _is_of_the_sdk(error: Exception) -> bool:
    """Return whether an error was raised beneath Azure's SDK, and not by this program."""
    frames = (frame for frame, _ in walk_tb(error.__traceback__))
    return any(str(frame.f_globals.get("__name__")).startswith("azure.") for frame in frames)


def _of_credentials(error: Exception, what: str) -> ParetuneError:
    said = str(error)
    found = _REFUSED.search(said)
    # Where there is no managed identity, asking for one is a connection that fails, too.
    others = "\n".join(line for line in said.splitlines() if "ManagedIdentity" not in line)
    if found is None and _NOT_REACHED.search(others):
        return UnreachableError(f"{what}: the token service cannot be reached")
    reason = "" if found is None else f" ({_shortened(found[0])})"
    if _EXPIRED.search(said):
        return CredentialsError(f"{what}: the credentials have expired{reason}", hint=SIGN_IN)
    if found is not None:
        return CredentialsError(f"{what}: the credentials are refused{reason}", hint=SIGN_IN)
    if getattr(error, "status_code", None) == 401:  # there were some
        return CredentialsError(
            f"{what}: the credentials are refused: {_said(error)}", hint=SIGN_IN
        )
    return CredentialsError(f"{what}: no valid credentials for Azure are found", hint=SIGN_IN)


def _status(status: int | None) -> str:
    return "" if status is None else f"status {status}: "


def _said(error: Exception) -> str:
    """Return the service's own words of an error; else its first line."""
    inner = getattr(error, "error", None)
    text = getattr(inner, "message", None) or getattr(error, "message", None) or str(error)
    return _shortened(str(text))


def _shortened(text: str) -> str:
    lines = [line.strip() for line in unsigned(text).splitlines() if line.strip()]
    return (lines or ["no reason was given"])[0][:_QUOTED]
