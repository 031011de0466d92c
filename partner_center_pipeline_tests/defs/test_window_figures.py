"""What a materialization says of its window: figures that are its own in a range, and that a second run keeps true."""

import pytest
from sqlalchemy import distinct, func, select

from partner_center_pipeline.defs.window_figures import WINDOWS_TAG, in_words
from partner_center_pipeline.warehouse import schema
from partner_center_pipeline.windows import SyncWindow, WindowGrid, parse_ticks
from partner_center_pipeline_tests.defs.project import Project
from partner_center_simulator import Simulator

ROWS = "dagster/partition_row_count"
CHAIN = ["raw_referrals", "normalized_leads", "companies", "domain_signals", "scored_segments"]


def held(project: Project, window: SyncWindow) -> dict[str, int]:
    """The rows of each table that follow from what is stored under a window, counted another way than the product's."""
    raw, leads = schema.raw_referrals, schema.leads
    with project.warehouse.read() as connection:
        rows = connection.execute(select(raw.c.referral_id).where(raw.c.window_start == window.start)).scalars().all()
        domains = connection.execute(
            select(func.count(distinct(leads.c.domain))).where(leads.c.referral_id.in_(rows))
        ).scalar_one()
    return {"raw_referrals": len(rows), "normalized_leads": len(set(rows)), **dict.fromkeys(CHAIN[2:], domains)}


def put(microsoft: Simulator, window: SyncWindow, count: int, name: str) -> list[str]:
    customer = {"customerProfile/team": [{"email": f"satin.alma@{name}.com.tr"}]}
    return [microsoft.world.create(window.start + at, customer)["id"] for at in range(count)]


@pytest.mark.slow
def test_a_second_run_of_a_window_shows_the_same_rows_and_nothing_new(project: Project) -> None:
    window = project.window(0)
    first, second = project.run(window).metadata, project.run(window).metadata
    expected = held(project, window)
    for shown in (first, second):
        assert {asset: shown[asset, window.key][ROWS] for asset in CHAIN} == expected
    assert expected["raw_referrals"] > 50
    raw = [shown["raw_referrals", window.key] for shown in (first, second)]
    assert [each["new_versions"] for each in raw] == [expected["raw_referrals"], 0]
    assert [each["unchanged"] for each in raw][1] >= expected["raw_referrals"]
    for asset in ("normalized_leads", "companies", "scored_segments"):
        assert [shown[asset, window.key]["new"] for shown in (first, second)] == [expected[asset], 0]


def suggested(project: Project) -> set[tuple[str, str, str]]:
    table = schema.suggested_matches
    with project.warehouse.read() as connection:
        return {(row.kind, row.subject, row.domain) for row in connection.execute(select(table))}


def domains_in(project: Project, window: SyncWindow) -> set[str]:
    """The companies that the referrals stored under a window name."""
    raw, leads = schema.raw_referrals, schema.leads
    with project.warehouse.read() as connection:
        named = select(leads.c.domain).join(raw, raw.c.referral_id == leads.c.referral_id)
        return set(connection.execute(named.where(raw.c.window_start == window.start)).scalars()) - {None}


@pytest.mark.slow
def test_each_window_of_a_range_says_of_how_many_companies_it_found_a_match(
    project: Project, microsoft: Simulator
) -> None:
    assert project.run(project.window(0)).success
    before = suggested(project)
    windows = [project.window(number) for number in range(1, 5)]
    for window, domain in ((windows[0], "anka-makine"), (windows[2], "ankamak")):
        team = [{"email": f"bilgi@{domain}.com.tr"}]
        customer = {"customerProfile/team": team, "customerProfile/name": "Anka Makine"}
        microsoft.world.create(window.start, customer)
    shown = project.run(windows[0], windows[-1]).metadata
    new = suggested(project) - before
    concerned = {domain for _, _, domain in new} | {subject for kind, subject, _ in new if kind == "company"}
    assert {"anka-makine.com.tr", "ankamak.com.tr"} <= concerned
    figures = [shown["companies", window.key] for window in windows]
    assert [each["with_new_suggestions"] for each in figures] == [
        len(concerned & domains_in(project, window)) for window in windows
    ]
    assert all(each["new"] + each["changed"] + each["unchanged"] == each[ROWS] for each in figures)
    shown = project.run(windows[0], force=True).metadata
    assert shown["companies", windows[0].key]["with_new_suggestions"] == 0


@pytest.mark.slow
def test_the_windows_of_a_range_each_carry_their_own_figures_in_all_assets(
    project: Project, microsoft: Simulator
) -> None:
    assert project.run(project.window(0)).success
    windows = [project.window(number) for number in range(1, 7)]
    known = put(microsoft, windows[1], 2, "bir-firma")
    put(microsoft, windows[4], 3, "iki-firma")
    put(microsoft, windows[5], 1, "bir-firma")
    shown = project.run(windows[0], windows[-1]).metadata
    for window in windows:
        assert {asset: shown[asset, window.key][ROWS] for asset in CHAIN} == held(project, window)
        for asset in CHAIN:
            assert shown[asset, window.key]["window"] == window.key
            assert shown[asset, window.key]["interval"] == str(window)
        leads = shown["normalized_leads", window.key]
        assert (leads["new"], leads["changed"], leads["unchanged"]) == (leads[ROWS], 0, 0)
        signals = shown["domain_signals", window.key]
        # A company that a lead of the windows before names too has its answer already.
        assert signals["without_an_answer"] == 0 <= signals["asked"] <= signals[ROWS]
    asked = [shown["domain_signals", windows[number].key]["asked"] for number in (1, 4, 5)]
    assert all(asked)

    microsoft.world.change(known[0], windows[1].start + 5, {"status": "Closed"})
    shown = project.run(windows[0], windows[-1]).metadata
    changed = {window.key: shown["normalized_leads", window.key]["changed"] for window in windows}
    assert changed == {window.key: int(window is windows[1]) for window in windows}
    # The company is named by leads of two windows, and both say that it changed.
    changed = {window.key: shown["companies", window.key]["changed"] for window in windows}
    assert changed == {window.key: int(window in (windows[1], windows[5])) for window in windows}
    assert {shown[asset, window.key]["new"] for asset in CHAIN[1:3] for window in windows} == {0}


@pytest.mark.slow
def test_a_person_may_choose_a_page_size_for_one_run(project: Project, microsoft: Simulator) -> None:
    window = project.window(0)
    pages = project.run(window, assets=["raw_referrals"]).metadata["raw_referrals", window.key]["pages"]
    chosen = project.run(window, assets=["raw_referrals"], config={"raw_referrals": {"page_size": 5}})
    assert chosen.metadata["raw_referrals", window.key]["pages"] > 3 * pages


@pytest.mark.slow
def test_a_run_that_a_person_starts_is_tagged_with_its_windows_in_words(project: Project) -> None:
    one = project.run(project.window(0), assets=["raw_referrals"])
    run = project.instance.get_run_by_id(one.run_id)
    assert run is not None
    assert run.tags[WINDOWS_TAG] == in_words([project.window(0)])


@pytest.mark.parametrize(
    ("start", "count", "words"),
    [
        ("2026-11-28T09:00:00Z", 1, "2026-11-28 09:00 to 09:10 UTC, 1 window"),
        ("2026-11-28T09:00:00Z", 18, "2026-11-28 09:00 to 12:00 UTC, 18 windows"),
        ("2026-11-28T23:00:00Z", 12, "2026-11-28 23:00 to 2026-11-29 01:00 UTC, 12 windows"),
    ],
)
def test_windows_in_words_name_their_first_and_last_instant(start: str, count: int, words: str) -> None:
    grid = WindowGrid(parse_ticks("2026-11-01T00:00:00Z"), 600, 120)
    first = parse_ticks(start)
    assert in_words(list(grid.between(first, first + count * grid.width))) == words
