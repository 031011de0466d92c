"""Reads a quarantined payload anew, with today's contract.

What belongs here: when the kept text still is what Microsoft sent. What does not: the contract (`contract`), what
becomes of the row (`warehouse.quarantine`).
"""

from typing import Final

from partner_center_pipeline.partner_center.contract import (
    Breach,
    ReferralVersion,
    Rejected,
    decode,
    read_referral,
)

NOT_AS_SENT: Final = frozenset({Breach.UNSTORABLE_NUMBER, Breach.TOO_DEEP})
"""Breaches whose `Rejected.payload_text` is not the row itself: a number stands there as text, a depth may be cut."""


def reread(payload_text: str, reason: str) -> ReferralVersion | Breach:
    """A kept row as a version, or how it breaks the contract today.

    `reason` is why it was kept. A row whose text is not as sent stays rejected for that reason whatever the contract
    says by now: to store it would be to store what Microsoft never sent, and a reconcile fetches it whole. Raises
    nothing for a text that `Rejected` holds.
    """
    if reason in NOT_AS_SENT:
        return Breach(reason)
    try:
        found = read_referral(decode(payload_text.encode()))
    except ValueError:
        return Breach.TOO_DEEP
    return found.reason if isinstance(found, Rejected) else found
