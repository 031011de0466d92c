"""`partner-center matches`: identical names are one line; what is decided holds, and can be undone."""

from typing import Any

import pytest

from partner_center_pipeline.warehouse import views
from partner_center_pipeline_tests.cli.deciding import LEADS, Decided

pytestmark = pytest.mark.slow

ONE, TWO = "celik-as.com.tr", "celik.com.tr"


def group(decided: Decided) -> dict[str, Any]:
    """The one group that is suggested."""
    (found,) = decided.run("matches", "list")
    assert isinstance(found, dict)
    return found


def test_identical_names_are_one_line_and_the_lists_name_its_group(decided: Decided) -> None:
    found = group(decided)
    assert (found["reason"], found["pairs"]) == ("same_name", 3)
    assert [one["id"] for one in found["companies"]] == [TWO, ONE]
    assert [one["id"] for one in found["leads"]] == ["cccc-1"]
    row = decided.rows(views.leads_without_company)["cccc-1"]
    assert (row["suggested_group"], row["suggested_count"]) == (found["group"], 2)
    row = decided.rows(views.leads_ready)["bbbb-1"]
    assert (row["suggested_group"], row["suggested_count"], row["suggested_domain"]) == (found["group"], 1, TWO)
    assert "1 grup, 3 çift" in decided.invoke("matches", "list", "--language", "tr").output


def test_an_accepted_group_counts_as_one_company_until_it_is_undone(decided: Decided) -> None:
    before = decided.rows(views.leads_ready)
    found = group(decided)
    assert "more than one company" in decided.refused("matches", "accept", found["group"])
    decided.run("matches", "accept", found["group"], TWO, "--by", "Ali", "--note", "same tax number")
    assert decided.run("matches", "list") == []
    ready = decided.rows(views.leads_ready)
    assert ONE not in {row["domain"] for row in ready.values()}
    assert ready["aaaa-1"]["open_referrals"] == 4
    assert decided.domain("cccc-1") == decided.domain("bbbb-1") == (TWO, None)
    assert decided.open_leads() == sorted(LEADS)

    # What is synced later of the merged company counts as of the other one, too.
    decided.store({"bbbb-2": ("Çelik A.Ş.", ONE, 8)}, version=2)
    assert decided.domain("bbbb-2") == (TWO, None)
    assert decided.rows(views.leads_ready)["aaaa-1"]["open_referrals"] == 5
    listed = decided.run("matches", "list", "--decided")
    assert {(row["choice"], row["decided_by"], row["note"]) for row in listed} == {
        ("accepted", "Ali", "same tax number")
    }

    decided.run("matches", "undo", found["group"])
    assert decided.domain("cccc-1") == (None, "consumer_only")
    assert decided.domain("bbbb-1") == decided.domain("bbbb-2") == (ONE, None)
    after = decided.rows(views.leads_ready)
    assert after["aaaa-1"]["open_referrals"] == before["aaaa-1"]["open_referrals"] == 2
    assert group(decided)["group"] == found["group"]
    assert [row["choice"] for row in decided.decisions()] == ["accepted"] * 2 + ["undone"] * 2


def test_one_pair_of_a_group_may_be_accepted_by_its_ids_in_either_direction(decided: Decided) -> None:
    decided.run("matches", "accept", "cccc-1", ONE)
    assert decided.domain("cccc-1") == (ONE, None)
    decided.run("matches", "accept", TWO, ONE)
    assert decided.domain("aaaa-1") == (ONE, None)
    decided.run("matches", "undo", TWO, ONE)
    assert (decided.domain("aaaa-1"), decided.domain("cccc-1")) == ((TWO, None), (ONE, None))


def test_a_rejected_match_is_never_suggested_again_unless_that_is_undone(decided: Decided) -> None:
    found = group(decided)
    decided.run("matches", "reject", found["group"])
    assert decided.run("matches", "list") == []
    again = {name: LEADS[name] for name in ("aaaa-1", "bbbb-1", "cccc-1")}
    decided.store(again, version=2)
    decided.store({"aaaa-1": ("Çelik Limited Şirketi", TWO, 1)}, version=3)
    assert decided.run("matches", "list") == []
    assert decided.rows(views.leads_without_company)["cccc-1"]["suggested_domain"] is None

    decided.store({"ffff-1": ("Çelik", "celik.org", 9)}, version=4)  # nobody rejected that one
    assert group(decided)["pairs"] == 3
    decided.run("matches", "reject", "celik.org", TWO)
    assert group(decided)["pairs"] == 2
    decided.run("matches", "undo", found["group"])
    assert group(decided)["pairs"] > 2


def test_only_what_is_suggested_can_be_decided(on_sqlite: Decided) -> None:
    for arguments, said in {
        ("accept", "nothing"): "is no group; `partner-center matches list` shows them",
        ("accept", "dddd-1", TWO): "are not suggested as one",
        ("reject", "cam.com", TWO): "are not suggested as one",
        ("undo", "cam.com"): "`partner-center matches list --decided` shows",
    }.items():
        assert said in on_sqlite.refused("matches", *arguments)
    assert on_sqlite.decisions() == []
