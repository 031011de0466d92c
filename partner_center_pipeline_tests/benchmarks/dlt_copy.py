"""Copies the referrals of an API to one table with dlt, as a user of dlt would: rest_api source, merge on the id.

Run as `python -m ...dlt_copy BASE_URL DATABASE_URL FOLDER PAGE_SIZE BEFORE`, in a process of its own, whose time counts
as a whole. FOLDER keeps dlt's state between runs. Prints how many rows dlt loaded, and the seconds of its pipeline. dlt
is of the extra `benchmarks`; nothing else imports it.
"""

import sys
import time
from typing import Any
from urllib.parse import quote

import dlt
from dlt.sources.helpers.rest_client.paginators import JSONLinkPaginator
from dlt.sources.rest_api import rest_api_source
from sqlalchemy import make_url


class _Links(JSONLinkPaginator):  # type: ignore[misc]  # mypy does not look into dlt
    """Next links, which Microsoft leaves at another host name: only their query counts."""

    _next_reference: str | None

    def update_state(self, response: Any, data: Any = None) -> None:
        super().update_state(response, data)
        if self._next_reference is not None:
            self._next_reference = f"{response.url.partition('?')[0]}?{self._next_reference.partition('?')[2]}"


def main(base_url: str, database_url: str, folder: str, page_size: str, before: str) -> None:
    """Load everything that the API has before an instant."""
    source = rest_api_source(
        {
            "client": {
                "base_url": f"{base_url}/v1.0/engagements/",
                "auth": {"type": "bearer", "token": "any"},
                "paginator": _Links(next_url_path="['@odata.nextLink']"),
            },
            "resources": [
                {
                    "name": "referrals",
                    "primary_key": "id",
                    "write_disposition": "merge",
                    "endpoint": {
                        "path": "referrals",
                        "params": {
                            "$filter": f"updatedDateTime lt {before}",
                            "$orderby": "updatedDateTime asc",
                            "$top": page_size,
                        },
                        "data_selector": "value",
                    },
                }
            ],
        },
        max_table_nesting=0,  # one table: what is nested stays JSON, as in raw_referrals
    )
    if database_url.startswith("sqlite"):
        destination: Any = dlt.destinations.sqlalchemy(database_url)
    else:
        url = make_url(database_url)
        # psycopg2 takes the folder of a server's socket in the place of its host.
        destination = dlt.destinations.postgres(
            f"postgresql://{url.username}:any@{quote(str(url.query['host']), safe='')}:5432/{url.database}"
        )
    pipeline = dlt.pipeline("referrals", pipelines_dir=folder, destination=destination, dataset_name="copied")
    start = time.perf_counter()
    pipeline.run(source)
    seconds = time.perf_counter() - start
    normalized = pipeline.last_trace.last_normalize_info
    print(0 if normalized is None else normalized.row_counts.get("referrals", 0), seconds)


if __name__ == "__main__":
    main(*sys.argv[1:])
