"""What a version is: whatever differs in a referral's content is one, and the one that was fetched last is the lead."""

import pytest
from sqlalchemy import select

from partner_center_pipeline.warehouse import schema
from partner_center_pipeline.windows import TICKS_PER_SECOND
from partner_center_pipeline_tests.defs.project import Project
from partner_center_simulator import Simulator

ETAGS = {
    "with an eTag that sorts after the first": '"zzzz"',
    "with an eTag that sorts before the first": '"0000"',
    "with the same eTag": None,
    "without an eTag": "",
}


@pytest.mark.slow
@pytest.mark.parametrize("etag", list(ETAGS.values()), ids=list(ETAGS))
def test_content_that_changes_at_the_same_instant_becomes_the_lead(
    etag: str | None, project: Project, microsoft: Simulator
) -> None:
    """As where a server rounds its stamps, or writes twice in 100 ns."""
    at = project.window(1).start + TICKS_PER_SECOND
    created = [microsoft.world.create(at, {"name": "first"})["id"] for _ in range(3)]
    assert project.run(project.window(1)).success
    for referral_id in created:
        before = microsoft.world.get(referral_id)
        assert before is not None
        kept = before["eTag"] if etag is None else etag or None
        microsoft.world.change(referral_id, at, {"name": "second", "eTag": kept})
    assert project.run(project.window(1)).success
    leads, raw = schema.leads, schema.raw_referrals
    with project.warehouse.read() as connection:
        names = connection.execute(select(leads.c.name).where(leads.c.referral_id.in_(created))).scalars().all()
        versions = connection.execute(select(raw).where(raw.c.referral_id.in_(created))).all()
    assert names == ["second"] * 3
    assert len(versions) == 6, "both versions are kept"
    before_replay = project.counts()
    assert project.run(project.window(1)).success
    assert project.counts() == before_replay
