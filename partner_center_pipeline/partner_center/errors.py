"""What can go wrong between the pipeline and Microsoft, said to a person, with the next step.

Here belong the error classes and the facts they carry. What does not belong here: deciding which of them an
answer deserves (`client`, `sign_in`). No message holds a name, an e-mail address, a token or a key.
"""
# ruff: noqa: N818  the names say what happened, as `except TooEarly` reads; all end in PartnerCenterError


class PartnerCenterError(Exception):
    """Partner Center cannot be used as asked. The message says what happened and what to do next.

    `transient` says whether the same call can succeed later without anybody doing anything. `code` is
    Microsoft's own error code, `status` the HTTP status, `request_id` Microsoft's id of the call (for a
    support case), `retry_after` the seconds it asks to wait; each where there is one.
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


class SignInRequired(PartnerCenterError):
    """Nobody is signed in, or Microsoft wants the person back. The message ends with what to run."""


class TokenStoreError(PartnerCenterError):
    """The stored sign-in cannot be used: others can read it, or the key does not fit. Nothing was changed."""


class AccessDenied(PartnerCenterError):
    """403: the signed-in account may not read referrals."""


class TooEarly(PartnerCenterError):
    """The server's clock is not yet past the window's end plus the safety lag."""

    transient = True


class Throttled(PartnerCenterError):
    """Microsoft asks to wait for longer than the run may take."""

    transient = True


class Unreachable(PartnerCenterError):
    """No usable answer: no connection, a broken one, or 5xx until the deadline."""

    transient = True


class ApiRefused(PartnerCenterError):
    """Any other answer that is no success. The message holds the API's code, message and request id."""


class ForeignHost(PartnerCenterError):
    """A next link leads to another host. It was not followed, so the token was not sent there."""


class ScanIncomplete(PartnerCenterError):
    """The pages do not add up: what was delivered is right, but more may be missing."""

    transient = True
