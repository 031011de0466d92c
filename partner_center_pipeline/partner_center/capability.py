"""What the Referrals API was found to accept where Microsoft's documents leave it open, and for how long that counts.

Not here: finding it out (`client`), storing it (`warehouse.capabilities`), showing it to a person (`probe`).
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from partner_center_pipeline.partner_center.odata import DateLiteral

BELIEVED_FOR: Final = timedelta(days=30)
"""After this the API is asked again: it may filter by now, and reading the list without a filter does not show that."""


@dataclass(frozen=True, slots=True)
class Capability:
    """Whether the API filters on `updatedDateTime`, and how a date is written there.

    Only the 2019 documents name the filter, and none shows a date (partner_center_api.md, section 2). `date_literal` is
    None when the API has no such filter. `found_at` is aware, by this machine's clock.
    """

    date_literal: DateLiteral | None
    found_at: datetime

    @property
    def updated_filter(self) -> bool:
        """Whether the API accepts a filter on `updatedDateTime`."""
        return self.date_literal is not None

    def is_believed(self, now: datetime) -> bool:
        """Say whether the finding still counts at `now`. One from the future comes from a clock that was wrong."""
        return timedelta(0) <= now - self.found_at < BELIEVED_FOR
