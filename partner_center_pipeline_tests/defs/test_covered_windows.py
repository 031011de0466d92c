"""Windows that are covered do not show as missing: after an earlier start, and where Dagster's storage is new."""

from datetime import datetime, timedelta

import dagster as dg
import pytest

from partner_center_pipeline.defs.covered_windows import MOST_SHOWN, NAME
from partner_center_pipeline.vocabulary import Asset
from partner_center_pipeline_tests.defs.project import Project

pytestmark = pytest.mark.slow

SHOWN = "{} windows are shown as covered now; no run is needed for them"
DONE = "every window that is covered is shown as materialized"


def tick(project: Project, cursor: str | None) -> tuple[str | None, int, str | None]:
    """Evaluate the sensor and do what Dagster's daemon does: its cursor, the windows it reported, and why none."""
    with dg.build_sensor_context(
        instance=project.instance,
        cursor=cursor,
        repository_def=project.definitions.get_repository_def(),
        resources=project.definitions.resources,
    ) as context:
        data = project.definitions.resolve_sensor_def(NAME).evaluate_tick(context)
    for event in data.asset_events:
        assert isinstance(event, dg.AssetMaterialization)
        project.instance.report_runless_asset_event(event)
    windows = {event.partition for event in data.asset_events if isinstance(event, dg.AssetMaterialization)}
    return data.cursor or cursor, len(windows), data.skip_message


def shown(project: Project, asset: str = "raw_referrals") -> set[str]:
    return project.instance.get_materialized_partitions(dg.AssetKey(asset))


def test_windows_before_an_earlier_start_are_shown_as_covered_by_the_first_one(
    project: Project, sync_start: datetime
) -> None:
    genesis = project.window(0)
    cursor, reported, why = tick(project, None)
    assert (reported, why) == (0, DONE)
    assert project.run(genesis).success
    assert tick(project, cursor)[1:] == (0, DONE)  # its own run showed it

    earlier = sync_start - timedelta(days=1)
    project.edit_env(HUNTER_SYNC_START=f"{earlier:%Y-%m-%dT%H:%M:%SZ}")
    moved = Project(project.home, project.variables, project.instance)
    before = {window.key for window in moved.grid.between(moved.window(0).start, genesis.start)}
    assert len(before) == 144 > MOST_SHOWN
    cursor, reported, why = tick(moved, cursor)
    assert (reported, why) == (MOST_SHOWN, SHOWN.format(MOST_SHOWN))
    cursor, reported, why = tick(moved, cursor)
    assert (reported, why) == (44, SHOWN.format(44))
    for asset in Asset:
        assert shown(moved, asset) == before | {genesis.key}
    assert tick(moved, cursor)[1:] == (0, DONE)

    key = dg.AssetKey("scored_segments")
    records = moved.instance.fetch_materializations(
        dg.AssetRecordsFilter(key, asset_partitions=[moved.window(0).key]), limit=1
    ).records
    said = records[0].asset_materialization
    assert said is not None
    assert (
        said.metadata["covered_by"].value
        == f"covered by the window {genesis.key}, which answers for [the beginning, " + str(genesis).split(", ")[1]
    )
    moved.warehouse.close()


def test_a_new_storage_of_dagsters_shows_what_the_ledger_has_and_nothing_that_is_open(project: Project) -> None:
    project.mark_done((project.window(0), project.window(2)))
    project.mark_failed(project.window(3))
    assert project.run(project.window(4), assets=["raw_referrals"]).success
    assert tick(project, None)[1] == 3
    assert shown(project) == {project.window(number).key for number in (0, 1, 2, 4)}
    assert shown(project, "companies") == {project.window(number).key for number in (0, 1, 2)}
