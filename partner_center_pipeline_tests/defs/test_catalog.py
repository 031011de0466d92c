"""What the catalog says of the assets is true: sources of columns, owners, versions of code, descriptions, views."""

from pathlib import Path

import dagster as dg
import pytest

from partner_center_pipeline.defs import catalog
from partner_center_pipeline.scoring.rules import DEFAULT_RULES
from partner_center_pipeline.settings import Settings
from partner_center_pipeline.vocabulary import Asset
from partner_center_pipeline.warehouse import views
from partner_center_pipeline.warehouse.schema import TABLE_OF, columns_of
from partner_center_pipeline_tests.defs.project import load_definitions


@pytest.fixture
def specs(home: Path) -> dict[str, dg.AssetSpec]:
    graph = load_definitions(Settings.load().grid).get_repository_def().asset_graph
    return {key.to_user_string(): graph.get(key).to_asset_spec() for key in graph.get_all_asset_keys()}


def test_each_source_of_a_column_exists_and_lies_before_it() -> None:
    chain = list(Asset)
    for asset in Asset:
        for column, sources in catalog.lineage_of(asset).deps_by_column.items():
            assert column in columns_of(TABLE_OF[asset])
            for source in sources:
                before = Asset(source.asset_key.to_user_string())
                assert chain.index(before) < chain.index(asset)
                assert source.column_name in columns_of(TABLE_OF[before])


def test_every_column_of_a_derived_table_has_a_source_or_is_made_by_the_pipeline_itself() -> None:
    own = {
        Asset.NORMALIZED_LEADS: {"source", "former_domains", "vanished_at", "derived_with"},
        Asset.COMPANIES: {"derived_with"},
        Asset.SCORED_SEGMENTS: {"scored_at", "rules_version", "derived_with"},
    }
    for asset, without in own.items():
        sources = catalog.lineage_of(asset).deps_by_column
        assert {column for column in columns_of(TABLE_OF[asset]) if column not in sources} == without


def test_each_asset_and_view_says_what_a_person_does_with_it_and_who_owns_it(specs: dict[str, dg.AssetSpec]) -> None:
    assert {table.name for table in views.VIEWS} < specs.keys()
    for name, spec in specs.items():
        assert spec.description is not None
        first = spec.description.split(".")[0]
        assert first[0].isupper(), name
        assert spec.owners in (["team:operations"], ["team:sales"]), name
        if name in (*map(str, Asset), *(table.name for table in views.VIEWS)):
            assert "dagster/column_schema" in spec.metadata


def test_the_lists_are_in_the_graph_between_the_scores_and_the_report(specs: dict[str, dg.AssetSpec]) -> None:
    def sources(name: str) -> set[str]:
        return {dep.asset_key.to_user_string() for dep in specs[name].deps}

    assert sources("lead_report") == {"leads_ready", "leads_without_company", "due_first"}
    assert "scored_segments" in sources("leads_ready")
    assert "leads_ready" in sources("company_card")


def test_the_version_of_the_scores_code_follows_the_rules_and_the_settings(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = catalog.rules_of_scores()
    assert first == catalog.rules_of_scores() != catalog.rules_of_mail()
    monkeypatch.setenv("HUNTER_PARTNER_CENTER_COSELL_BONUS", "29")
    by_setting = catalog.rules_of_scores()
    (home / "rules.toml").write_text(
        DEFAULT_RULES.read_text(encoding="utf-8").replace('version = "', 'version = "own ', 1), encoding="utf-8"
    )
    monkeypatch.setenv("HUNTER_SCORING_RULES", "rules.toml")
    assert len({first, by_setting, catalog.rules_of_scores()}) == 3
    (home / "rules.toml").write_text("no rules", encoding="utf-8")
    assert catalog.rules_of_scores()  # the code location loads; the runs say what is wrong


def test_each_asset_of_the_chain_has_a_version_of_its_code(specs: dict[str, dg.AssetSpec]) -> None:
    versions = {asset: specs[asset].code_version for asset in Asset}
    assert None not in versions.values()
    assert versions[Asset.NORMALIZED_LEADS] == versions[Asset.COMPANIES] != versions[Asset.DOMAIN_SIGNALS]
