"""What identifies a person in a referral, and how a person's data is taken out of it: rules over plain data.

Not here: where rows are stored and tombstones are kept (`warehouse.erasures`), what a lead is (`leads`).
"""

from partner_center_pipeline.privacy.blanking import (
    Blanked,
    Change,
    Tombstone,
    Tombstones,
    stones_in_referral,
    stones_of,
)
from partner_center_pipeline.privacy.identifiers import Identifier, Keyed, Kind, UnusableIdentifierError

__all__ = [
    "Blanked",
    "Change",
    "Identifier",
    "Keyed",
    "Kind",
    "Tombstone",
    "Tombstones",
    "UnusableIdentifierError",
    "stones_in_referral",
    "stones_of",
]
