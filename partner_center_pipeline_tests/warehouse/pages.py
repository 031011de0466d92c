"""Pages of a scan, made up for tests that write them into a warehouse."""

from collections.abc import Sequence
from typing import Any

import orjson

from partner_center_pipeline.referral import Breach, ReferralVersion, RejectedRow, ScanPage
from partner_center_pipeline.windows import render_ticks


def make_version(
    referral_id: str,
    updated_ticks: int,
    version: str = "v1",
    etag: str | None = None,
    content_hash: str = "hash",
    payload: dict[str, Any] | None = None,
) -> ReferralVersion:
    """Make a version of a referral; its payload is of status New unless another is given."""
    content = {"status": "New"} if payload is None else payload
    return ReferralVersion(
        referral_id=referral_id,
        version=version,
        etag=etag,
        updated_ticks=updated_ticks,
        updated_text=render_ticks(updated_ticks),
        payload=content,
        canonical=orjson.dumps(content).decode(),
        content_hash=content_hash,
    )


def make_rejected(fingerprint: str, referral_id: str | None = None) -> RejectedRow:
    """Make a row without an id, which breaks the contract."""
    return RejectedRow(Breach.NO_ID, "id", referral_id, fingerprint, "{}")


def make_page(
    versions: Sequence[ReferralVersion], position: int, rejected: Sequence[RejectedRow] = (), *, last: bool = False
) -> ScanPage:
    """Make a page without drift, for which the client waited two seconds."""
    return ScanPage(
        versions=tuple(versions),
        rejected=tuple(rejected),
        drift=(),
        position=position,
        fetched=len(versions) + len(rejected),
        server_ticks=position,
        skew_seconds=0.5,
        seconds_waited=2.0,
        last=last,
    )
