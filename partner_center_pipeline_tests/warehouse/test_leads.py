"""Leads: the newest version wins, whatever order windows run in, and the companies that a lead left are remembered."""

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, select

from partner_center_pipeline.leads import read_lead
from partner_center_pipeline.warehouse import leads as table
from partner_center_pipeline.warehouse import referrals
from partner_center_pipeline.warehouse.bulk import insert_new
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline.warehouse.leads import Written
from partner_center_pipeline.warehouse.referrals import Newest, newest
from partner_center_pipeline.warehouse.schema import leads, raw_referrals, row_dict
from partner_center_pipeline_tests.warehouse.pages import make_version
from partner_center_pipeline_tests.warehouse.rows import undone

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DOMAINS = ("a.com", "b.com.tr", None)


@dataclass(frozen=True)
class Version:
    """A version of a referral that names a company by its domain, or none."""

    referral_id: str
    updated_ticks: int
    version: str
    domain: str | None

    @property
    def row(self) -> dict[str, Any]:
        return lead_row(self.referral_id, self.updated_ticks, self.version, self.domain)


def lead_row(
    referral_id: str, ticks: int = 1, version: str = "v1", domain: str | None = "a.com", **payload: Any
) -> dict[str, Any]:
    profile = {"name": "Firma", "website": domain} if domain else {"name": "Firma"}
    whole = {"id": referral_id, "status": "New", "customerProfile": profile, **payload}
    return table.row_of(Newest(referral_id, version, ticks, "", whole), read_lead(whole, frozenset()), "digest")


def stored(connection: Connection) -> list[dict[str, Any]]:
    return [row_dict(row) for row in connection.execute(select(leads).order_by(leads.c.referral_id))]


def facts_of(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name != "former_domains"} for row in rows]


@st.composite
def histories(draw: st.DrawFn) -> list[Version]:
    """Versions of two referrals; some share an instant and differ in their eTag, upper and lower case among them."""
    drawn = draw(
        st.lists(
            st.tuples(
                st.sampled_from(["r1", "r2"]),
                st.integers(1, 3),
                st.sampled_from(["a", "B", "ı", "I", 'W/"1"']),
                st.sampled_from(DOMAINS),
            ),
            min_size=1,
            max_size=7,
            unique_by=lambda each: (each[0], each[2]),
        )
    )
    return [Version(*each) for each in drawn]


class TestOrder:
    @pytest.mark.slow
    @settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
    @given(history=histories(), data=st.data())
    def test_any_order_with_any_repetition_leaves_the_newest_version(
        self, warehouse: Warehouse, history: list[Version], data: st.DataObject
    ) -> None:
        repeated = data.draw(st.lists(st.sampled_from(history), max_size=4))
        order = data.draw(st.permutations([*history, *repeated]))
        was: dict[str, set[str | None]] = {"r1": {None}, "r2": {None}}
        with undone(warehouse) as connection:
            for version in order:
                table.write(connection, [version.row])
                found = stored(connection)
                for row in found:
                    was[row["referral_id"]].add(row["domain"])
        newest: dict[str, Version] = {}
        for each in order:  # of equal instants the one that came last
            if each.referral_id not in newest or each.updated_ticks >= newest[each.referral_id].updated_ticks:
                newest[each.referral_id] = each
        assert [(row["referral_id"], row["version"], row["domain"]) for row in found] == [
            (referral_id, newest[referral_id].version, newest[referral_id].domain) for referral_id in sorted(newest)
        ]
        for row in found:
            assert set(row["former_domains"]) == was[row["referral_id"]] - {None, row["domain"]}

    @pytest.mark.slow
    @settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
    @given(history=histories(), data=st.data())
    def test_the_newest_version_of_raw_referrals_is_the_one_that_leads_take(
        self, warehouse: Warehouse, history: list[Version], data: st.DataObject
    ) -> None:
        """However many versions are stored when a window is read, and whichever language PostgreSQL sorts by."""
        with undone(warehouse) as connection:
            for version in data.draw(st.permutations(history)):
                insert_new(connection, raw_referrals, [_raw(version)])
                domains = {(each.referral_id, each.version): each.domain for each in history}
                table.write(
                    connection,
                    [
                        lead_row(
                            found.referral_id,
                            found.updated_ticks,
                            found.version,
                            domains[found.referral_id, found.version],
                        )
                        for found in newest(connection, ["r1", "r2"])
                    ],
                )
            step_by_step = facts_of(stored(connection))
            assert [(row["referral_id"], row["version"]) for row in step_by_step] == [
                (found.referral_id, found.version) for found in newest(connection, ["r1", "r2"])
            ]

    def test_the_same_version_read_by_newer_rules_is_written(self, warehouse: Warehouse) -> None:
        with warehouse.write() as connection:
            table.write(connection, [lead_row("r1", domain="a.com")])
            assert table.write(connection, [lead_row("r1", domain="b.com.tr")]) == Written(changed=1)
            (row,) = stored(connection)
        assert (row["domain"], row["former_domains"]) == ("b.com.tr", ["a.com"])

    def test_a_replay_writes_nothing_and_says_so(self, warehouse: Warehouse) -> None:
        rows = [lead_row(f"r{number}", details={"dealValue": 1234.565, "currency": "try"}) for number in range(3)]
        with warehouse.write() as connection:
            assert table.write(connection, rows) == Written(new=3)
            assert table.write(connection, rows) == Written(unchanged=3)

    def test_an_older_version_is_unchanged_and_not_an_error(self, warehouse: Warehouse) -> None:
        with warehouse.write() as connection:
            table.write(connection, [lead_row("r1", ticks=2)])
            assert table.write(connection, [lead_row("r1", ticks=1, version="v0", domain="b.com.tr")]) == Written(
                unchanged=1
            )
            assert stored(connection)[0]["former_domains"] == []


class TestRows:
    def test_every_fact_is_read_back_as_written(self, warehouse: Warehouse) -> None:
        row = lead_row(
            "r1",
            engagementId="e1",
            type="Shared",
            expirationDateTime="2026-02-01T00:00:00.1234567Z",
            details={
                "dealValue": 99.999,
                "currency": "usd",
                "notes": "çok\nuzun",
                "requirements": {"products": [{"id": "p1"}, {"id": "p2"}]},
            },
        )
        with warehouse.write() as connection:
            table.write(connection, [row])
            (found,) = stored(connection)
        assert found == {**row, "source": "partnercenter", "former_domains": [], "vanished_at": None}
        assert found["deal_value"] == Decimal("100.00")
        assert found["expires_ticks"] % 10_000_000 == 1_234_567
        assert found["products"] == ["p1", "p2"]

    @pytest.mark.parametrize("expires", [None, "soon", "2026-02-30T00:00:00Z"])
    def test_an_expiry_that_is_no_instant_has_no_ticks_and_stays_readable(self, expires: str | None) -> None:
        row = lead_row("r1", expirationDateTime=expires)
        assert (row["expires_ticks"], row["expires_text"]) == (None, expires)


class TestDomains:
    def test_leads_concern_what_they_name_and_what_they_named_before(self, warehouse: Warehouse) -> None:
        with warehouse.write() as connection:
            for version in (
                Version("r1", 1, "v1", "a.com"),
                Version("r2", 1, "v1", "c.com"),
                Version("r3", 1, "v1", None),
            ):
                insert_new(connection, raw_referrals, [_raw(version)])
                table.write(connection, [version.row])
            table.write(connection, [Version("r1", 2, "v2", "b.com.tr").row])
            assert table.domains_of(connection, ["r1", "r3"]) == {"a.com", "b.com.tr"}
            assert table.domains_of(connection, ["r2"]) == {"c.com"}
            assert {domain for (domain,) in connection.execute(table.named_by(0, 10))} == {"b.com.tr", "c.com"}
            assert connection.execute(table.named_by(5, 10)).all() == []

    def test_outdated_are_the_leads_that_other_code_made_and_referrals_without_a_lead(
        self, warehouse: Warehouse
    ) -> None:
        with warehouse.write() as connection:
            for number, digest in enumerate(("digest", "other", "")):
                version = Version(f"r{number}", 1, "v1", "a.com")
                insert_new(connection, raw_referrals, [_raw(version)])
                table.write(connection, [{**version.row, "derived_with": digest}])
            insert_new(connection, raw_referrals, [_raw(Version("without", 1, "v1", None))])

            def outdated(start: int, derived_with: str | None) -> set[str]:
                return {referral_id for (referral_id,) in connection.execute(table.outdated(start, 10, derived_with))}

            assert outdated(0, "digest") == {"r1", "r2", "without"}
            assert outdated(0, None) == {"r0", "r1", "r2", "without"}
            assert outdated(5, None) == set()

    def test_a_row_that_other_code_makes_equal_is_written_and_unchanged(self, warehouse: Warehouse) -> None:
        with warehouse.write() as connection:
            table.write(connection, [lead_row("r1")])
            written = table.write(connection, [{**lead_row("r1"), "derived_with": "newer"}])
            (row,) = stored(connection)
        assert (written, written.keys) == (Written(unchanged=1), ())
        assert row["derived_with"] == "newer"

    def test_a_domain_has_all_its_leads_the_newest_first_and_a_domain_without_has_none(
        self, warehouse: Warehouse
    ) -> None:
        with warehouse.write() as connection:
            table.write(
                connection,
                [lead_row("r1", 1), lead_row("r2", 3), lead_row("r3", 2), lead_row("r4", 2, domain="b.com.tr")],
            )
            found = table.of_domains(connection, ["a.com", "nobody.com"])
        assert [lead["referral_id"] for lead in found["a.com"]] == ["r2", "r3", "r1"]
        assert found["nobody.com"] == []


class TestStore:
    def test_versions_are_stored_once_and_only_the_new_ones_are_told(self, warehouse: Warehouse) -> None:
        def placed(*versions: tuple[str, str]) -> list[referrals.Placed]:
            return [
                referrals.Placed(make_version(referral_id, 0, version), 0, late=False)
                for referral_id, version in versions
            ]

        with warehouse.write() as connection:
            fresh = referrals.store(connection, placed(("a", "1"), ("a", "2"), ("b", "1"), ("a", "1")), NOW)
            assert [(each.row.referral_id, each.row.version) for each in fresh] == [("a", "1"), ("a", "2"), ("b", "1")]
            fresh = referrals.store(connection, placed(("b", "1"), ("b", "2"), ("a", "2")), NOW)
            assert [(each.row.referral_id, each.row.version) for each in fresh] == [("b", "2")]
            assert referrals.store(connection, [], NOW) == []


def _raw(version: Version) -> dict[str, Any]:
    return {
        "referral_id": version.referral_id,
        "version": version.version,
        "etag": version.version,
        "updated_ticks": version.updated_ticks,
        "updated_text": "",
        "window_start": 0,
        "late": False,
        "content_hash": "",
        "payload": {},
        "fetched_at": NOW,
    }
