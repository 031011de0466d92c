"""What the Referrals API was found to take where Microsoft's documents leave it open, and how long that is believed.

Here belong the finding as plain data and its age. What does not belong here: finding it out (`client`), keeping it
(`warehouse.capabilities`), showing it to a person (`probe`).
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from partner_center_pipeline.partner_center.odata import DateLiteral

BELIEVED_FOR: Final = timedelta(days=30)
"""After this the API is asked anew: it may have learned to filter, which a full read of the list never shows."""


@dataclass(frozen=True, slots=True)
class Capability:
    """Whether the API filters on `updatedDateTime`, and how a date is written there.

    Only the 2019 documentation promises the filter, and none shows a date (partner_center_api.md, section 2).
    `date_literal` is None exactly when there is no such filter. `found_at` is aware, by this machine's clock.
    """

    date_literal: DateLiteral | None
    found_at: datetime

    @property
    def updated_filter(self) -> bool:
        """Whether a filter on `updatedDateTime` is taken."""
        return self.date_literal is not None

    def is_believed(self, now: datetime) -> bool:
        """Whether the finding still counts at `now`. One from the future is from a clock that was wrong."""
        return timedelta(0) <= now - self.found_at < BELIEVED_FOR
