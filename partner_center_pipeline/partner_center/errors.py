"""Errors of the sign-in and of the Referrals API. Each message tells a person what happened and what to do next.

PartnerCenterError      Partner Center cannot be used as asked. Where "later" is below, `transient` is True.
  * SignInRequired      Nobody is signed in, or Microsoft ended the sign-in. Only a new sign-in helps.
  * TokenStoreError     The stored sign-in cannot be used. A person has to act; later, where another process locks it.
  * AccessDenied        HTTP 403: the account may not read referrals. An administrator has to act.
  * TooEarly            The server's clock is not yet past the window's end plus the safety lag. Later.
  * Throttled           HTTP 429 or 509, and the wait would be longer than the run may take. Later.
  * Unreachable         No usable answer until the deadline. Later, but not for a certificate that is not trusted.
    + NotConnected      No connection could be made. Later, but soon given up where nothing was ever reached.
  * ApiRefused          Any other answer that is no success. The same request is refused again.
    + FilterRefused     The filter on `updatedDateTime` is refused. The same query without it works.
  * ForeignHost         A next link that leads to another host. It was not followed; a new scan gets new links.
  * ScanIncomplete      The pages contradict each other. What was delivered is right, the rest may come later.

The first sentence of a message says what happened, the others what to do. No message holds a name, an e-mail address, a
token or a key. Not here: which answer leads to which error (`client`, `http`, `refusals`).
"""
# ruff: noqa: N818  the names say what happened, as `except TooEarly` reads; all end in PartnerCenterError


class PartnerCenterError(Exception):
    """The base class of all errors here.

    `transient` says whether the same call can succeed later without anybody doing anything. The others are None where
    there is none: `code` is Microsoft's own error code, `status` the HTTP status, `request_id` Microsoft's id of the
    call (for a support case), `retry_after` the seconds that it asks to wait.
    """

    transient = False

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        status: int | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
        transient: bool | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.status = status
        self.request_id = request_id
        self.retry_after = retry_after
        if transient is not None:
            self.transient = transient

    @property
    def what_happened(self) -> str:
        """The first sentence of the message, without its full stop: for a line of progress."""
        return str(self).split(". ", 1)[0].rstrip(".")


class SignInRequired(PartnerCenterError):
    """A person has to sign in. The message ends with the command."""


class TokenStoreError(PartnerCenterError):
    """The stored sign-in cannot be used. Nothing was changed."""


class AccessDenied(PartnerCenterError):
    """The signed-in account may not read referrals."""


class TooEarly(PartnerCenterError):
    """The interval may not be read yet."""

    transient = True


class Throttled(PartnerCenterError):
    """Microsoft asks to wait."""

    transient = True


class Unreachable(PartnerCenterError):
    """There is no usable answer."""

    transient = True


class NotConnected(Unreachable):
    """No connection could be made."""


class ApiRefused(PartnerCenterError):
    """The API refuses the request. The message holds its code, its message and the request id."""


class FilterRefused(ApiRefused):
    """The API takes no filter on `updatedDateTime`, in neither form of a date."""


class ForeignHost(PartnerCenterError):
    """A next link leads to another host. The token was not sent there."""


class ScanIncomplete(PartnerCenterError):
    """The scan is not proven complete."""

    transient = True
