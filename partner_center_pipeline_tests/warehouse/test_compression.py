"""PostgreSQL compresses payloads by lz4 where it can, and stores them all the same where it cannot."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from sqlalchemy import make_url, text

from partner_center_pipeline.referral import payload_text
from partner_center_pipeline.warehouse import referrals
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline_tests.conftest import PostgresServer
from partner_center_pipeline_tests.postgres import running_server
from partner_center_pipeline_tests.warehouse.pages import make_version

pytestmark = pytest.mark.postgres

NOW = datetime(2026, 11, 29, tzinfo=UTC)
PAYLOAD = {"id": "r1", "notes": "Müşteri e-posta sunucusunu değiştirecek. " * 100}


@pytest.fixture(params=[False, pytest.param(True, marks=pytest.mark.slow)], ids=["machine's", "wheel's"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param:
        with running_server(wheel=True) as wheels:
            yield wheels
    else:
        server: PostgresServer = request.getfixturevalue("postgres")
        yield server.emptied()


def compression(url: str) -> tuple[str, list[str]]:
    """How a payload is compressed that is stored, and the ways that the server knows."""
    db = Warehouse(url)
    if not db.is_current():
        db.migrate()
    version = replace(make_version("r1", 1), payload=PAYLOAD, canonical=payload_text(PAYLOAD))
    with db.write() as writing:
        referrals.store(writing, [referrals.Placed(version, 0, late=False)], NOW)
    with db.read() as reading, db.read() as other:
        assert [one.payload for one in referrals.newest(other, ["r1"])] == [PAYLOAD]
        way = reading.scalar(text("SELECT pg_column_compression(payload) FROM raw_referrals"))
        known = reading.scalar(text("SELECT enumvals FROM pg_settings WHERE name = 'default_toast_compression'"))
    with db.write() as writing:
        writing.execute(text("DELETE FROM raw_referrals"))
    db.close()
    return str(way), list(known or [])


def test_a_payload_is_compressed_by_lz4_where_the_server_knows_it(url: str) -> None:
    way, known = compression(url)
    assert way == ("lz4" if "lz4" in known else "pglz")
    own = make_url(url).update_query_dict({"options": "-c default_toast_compression=pglz"})
    assert compression(own.render_as_string(hide_password=False))[0] == "pglz", "what the address says goes first"
