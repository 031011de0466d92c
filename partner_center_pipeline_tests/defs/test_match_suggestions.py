"""Suggested matches come of the chain itself, the same whatever order windows run in, and merge nothing."""

from typing import Any

import pytest
from sqlalchemy import select

from partner_center_pipeline.warehouse import schema
from partner_center_pipeline_tests.defs.project import Project
from partner_center_simulator import Simulator

pytestmark = pytest.mark.slow

CUSTOMERS = {
    "two.com.tr": "Karadeniz Çay Sanayi ve Ticaret A.Ş.",
    "one.com.tr": "KARADENIZ CAY LTD. ŞTİ.",
    None: "Karadeniz Çay",
    "other.com.tr": "Karadeniz Fındık A.Ş.",
}


def put(microsoft: Simulator, at: int, name: str, domain: str | None) -> str:
    email = f"bilgi@{domain}" if domain else "karadeniz.cay@gmail.com"
    changes = {"customerProfile/name": name, "customerProfile/team": [{"email": email}]}
    return str(microsoft.world.create(at, changes)["id"])


@pytest.mark.parametrize("order", [(5, 6, 7, 8), (8, 7, 6, 5), (6, 8, 5, 7)], ids=str)
def test_the_chain_suggests_what_may_be_one_and_merges_nothing(
    order: tuple[int, ...], project: Project, microsoft: Simulator
) -> None:
    ids = {
        domain: put(microsoft, project.window(number).start + 1, name, domain)
        for number, (domain, name) in enumerate(CUSTOMERS.items(), start=5)
    }
    for number in order:
        assert project.run(project.window(number)).success
    found = suggestions(project, ids.values(), {name for name in CUSTOMERS if name})
    assert found == {
        ("company", "one.com.tr", "two.com.tr", "same_name", 100),
        ("lead", ids[None], "one.com.tr", "same_name", 100),
        ("lead", ids[None], "two.com.tr", "same_name", 100),
    }
    with project.warehouse.read() as connection:
        known = set(connection.execute(select(schema.companies.c.domain)).scalars())
        lead = connection.execute(select(schema.leads).where(schema.leads.c.referral_id == ids[None])).one()
    assert {name for name in CUSTOMERS if name} <= known
    assert (lead.domain, lead.domain_reason) == (None, "consumer_only")

    # The customer gave an address of the company's own: nothing is left to suggest for that lead.
    microsoft.world.change(
        ids[None], project.window(9).start + 1, {"customerProfile/team": [{"email": "a@one.com.tr"}]}
    )
    assert project.run(project.window(9)).success
    assert not [each for each in suggestions(project, ids.values(), set()) if each[0] == "lead"]


def suggestions(project: Project, referral_ids: Any, domains: set[str]) -> set[tuple[str, str, str, str, int]]:
    """Those that concern these leads and companies; other tests' referrals are in the same local Microsoft."""
    table = schema.suggested_matches
    with project.warehouse.read() as connection:
        rows = connection.execute(select(table)).all()
    return {
        (row.kind, row.subject, row.domain, row.reason, row.similarity)
        for row in rows
        if row.subject in {*referral_ids, *domains} and (not domains or row.domain in domains)
    }
