"""Whose referrals the warehouse holds: another account is refused before anything is asked for."""

import shutil

import pytest
from sqlalchemy import select

from partner_center_pipeline.defs.resources import PartnerCenterResource
from partner_center_pipeline.partner_center import PageQuery, SignInRequired, connect_sign_in
from partner_center_pipeline.settings import Settings
from partner_center_pipeline.warehouse import accounts, schema
from partner_center_pipeline_tests.defs.project import Project
from partner_center_pipeline_tests.defs.test_reconcile import reconcile
from partner_center_simulator import HttpFault, Simulator

pytestmark = pytest.mark.slow


def sign_in(microsoft: Simulator) -> None:
    with connect_sign_in(Settings.load()) as signing_in:
        code = signing_in.begin()
        microsoft.approve(code.user_code)
        signing_in.finish(code)


def connected(project: Project) -> accounts.Connected | None:
    with project.warehouse.read() as connection:
        return accounts.load(connection)


def test_the_first_answer_records_the_account_without_a_name(project: Project, microsoft: Simulator) -> None:
    microsoft.faults.plan(HttpFault.FORBIDDEN)
    assert not project.run(project.window(0)).success
    assert connected(project) is None, "an address or account that never worked is not kept"
    assert project.run(project.window(0)).success
    kept = connected(project)
    assert kept is not None
    assert (kept.base_url, kept.tenant_id) == ("https://localhost", microsoft.tenant_id)
    with project.warehouse.read() as connection:
        row = connection.execute(select(schema.connected_account)).one()
    assert not any("entegrasyon" in str(value) for value in row)


def test_the_same_account_may_sign_in_again_and_another_one_is_refused_until_accepted(
    project: Project, microsoft: Simulator
) -> None:
    assert project.run(project.window(0)).success
    before = connected(project)
    sign_in(microsoft)
    assert project.run(project.window(0)).success

    microsoft.faults.another_account = True
    sign_in(microsoft)
    asked = microsoft.api.requests
    for failure in (project.run(project.window(1)).failure, reconcile(project)[0].failure):
        assert failure is not None
        assert "what differs is the account that is signed in" in failure
        assert "partner-center accept-account" in failure
    assert microsoft.api.requests == asked
    assert [state for state, _ in project.attempts(project.window(1))] == ["failed"]
    assert connected(project) == before

    with project.warehouse.write() as connection:
        connection.execute(schema.connected_account.delete())
    assert project.run(project.window(1)).success
    after = connected(project)
    assert after is not None
    assert before is not None
    assert after.account != before.account


def test_another_tenant_or_address_is_refused(project: Project, microsoft: Simulator) -> None:
    assert project.run(project.window(0)).success
    asked = microsoft.api.requests
    for name, value, words in (
        ("HUNTER_PARTNER_CENTER_TENANT_ID", "another.example", "the tenant"),
        ("HUNTER_PARTNER_CENTER_BASE_URL", "https://api.partner.microsoft.com", "the API"),
    ):
        before = project.variables[name]
        project.edit_env(**{name: value})
        failure = project.run(project.window(1)).failure
        assert failure is not None
        assert f"what differs is {words}" in failure
        project.edit_env(**{name: before})
    assert microsoft.api.requests == asked
    assert project.run(project.window(1)).success


def test_a_late_version_near_the_edge_widens_the_overlap_of_the_next_run(
    project: Project, microsoft: Simulator
) -> None:
    assert project.run(project.window(0)).success
    assert project.run(project.window(1)).success
    edge = microsoft.world.create(project.window(1).start + 1)["id"]  # nearly ten of fifteen minutes before window 2
    outcome = project.run(project.window(2))
    assert outcome.success
    figures = outcome.metadata["raw_referrals", project.window(2).key]
    assert (figures["overlap_seconds"], figures["late"]) == (900, 1)
    assert 599 < figures["latest_late_seconds"] <= 600
    with project.warehouse.read() as connection:
        late = select(schema.raw_referrals.c.late).where(schema.raw_referrals.c.referral_id == edge)
        assert connection.execute(late).scalar_one()
    outcome = project.run(project.window(3))
    assert outcome.metadata["raw_referrals", project.window(3).key]["overlap_seconds"] == 1800


def test_who_is_not_signed_in_is_told_so_and_nothing_is_recorded(project: Project) -> None:
    shutil.rmtree(project.home / ".token_cache")
    failure = project.run(project.window(0)).failure
    assert failure is not None
    assert "Nobody is signed in" in failure
    assert connected(project) is None


def test_an_account_that_signs_in_during_a_run_is_not_used_by_it(project: Project, microsoft: Simulator) -> None:
    with PartnerCenterResource().open(Settings.load(), deadline=20.0) as client:
        client.get_page(PageQuery(1))
        microsoft.faults.another_account = True
        sign_in(microsoft)
        microsoft.faults.plan(HttpFault.UNAUTHORIZED)
        with pytest.raises(SignInRequired, match="Another account signed in while this run was under way"):
            client.get_page(PageQuery(1))
    assert connected(project) is not None
