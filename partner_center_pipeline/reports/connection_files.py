"""The files by which Power BI and Excel connect to the warehouse: a .pbids and an .odc file, as text.

They name a server and a database, never a user or a password: both programs ask for these themselves. Sources: the
.pbids format of Microsoft Learn ("Use PBIDS files to get data"), and [MS-ODCFF], 2.1.1 and 2.2.1, for the .odc file.
"""

import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

POSTGRES_DRIVER: Final = "PostgreSQL Unicode(x64)"
"""The name under which psqlODBC registers itself on Windows, in 64 bits as Excel is today."""
SQLITE_DRIVER: Final = "SQLite3 ODBC Driver"

_NEEDS_BRACES: Final = frozenset("[]{}(),;?*=!@")
"""Characters that a value of an ODBC connection string may have only in braces ([MS-ODBCSTR])."""

_ODC: Final = """\
<html xmlns:o="urn:schemas-microsoft-com:office:office"
xmlns="http://www.w3.org/TR/REC-html40">

<head>
<meta http-equiv=Content-Type content="text/x-ms-odc; charset=utf-8">
<meta name=ProgId content=ODC.Database>
<meta name=SourceType content=ODBC>
<title>{name}</title>
<xml id=docprops><o:DocumentProperties
  xmlns:o="urn:schemas-microsoft-com:office:office"
  xmlns="http://www.w3.org/TR/REC-html40">
  <o:Description>{description}</o:Description>
  <o:Name>{name}</o:Name>
 </o:DocumentProperties>
</xml><xml id=msodc><odc:OfficeDataConnection
  xmlns:odc="urn:schemas-microsoft-com:office:odc"
  xmlns="http://www.w3.org/TR/REC-html40">
  <odc:Connection odc:Type="ODBC">
   <odc:ConnectionString>{connection}</odc:ConnectionString>
   <odc:CommandText>{query}</odc:CommandText>
  </odc:Connection>
 </odc:OfficeDataConnection>
</xml>
</head>

<body></body>

</html>
"""


def powerbi_file(server: str, database: str) -> str:
    """Return a .pbids file for a PostgreSQL database; `server` is HOST or HOST:PORT.

    The mode is Import: the views compare deadlines with the clock when they are read.
    """
    address = {"server": server, "database": database}
    connection = {"details": {"protocol": "postgresql", "address": address}, "options": {}, "mode": "Import"}
    return json.dumps({"version": "0.1", "connections": [connection]}, ensure_ascii=False, indent=2) + "\n"


def excel_file(name: str, description: str, connection: str, query: str) -> str:
    """Return an .odc file that lets Excel run a query over an ODBC connection string.

    It has no CommandType, which [MS-ODCFF] forbids for ODBC.
    """
    texts = {"name": name, "description": description, "connection": connection, "query": query}
    return _ODC.format_map({key: escape(text) for key, text in texts.items()})


def postgres_connection(host: str, port: int, database: str, *, driver: str, ssl_mode: str) -> str:
    """Return psqlODBC's connection string. Booleans come as such, not as the text "1"; nothing can be written."""
    return odbc_string(
        {
            "Driver": f"{{{driver}}}",
            "Server": host,
            "Port": str(port),
            "Database": database,
            "SSLmode": ssl_mode,
            "ReadOnly": "1",
            "BoolsAsChar": "0",
        }
    )


def sqlite_connection(path: str, *, driver: str) -> str:
    """Return the connection string of the SQLite ODBC driver. `NoCreat`: it makes no file where there is none."""
    return odbc_string({"Driver": f"{{{driver}}}", "Database": path, "NoCreat": "1"})


def odbc_string(parts: Mapping[str, str]) -> str:
    """Return an ODBC connection string, with values in braces where they need them."""
    return "".join(f"{name}={value if name == 'Driver' else _value(value)};" for name, value in parts.items())


def list_query(view: str, columns: Sequence[str]) -> str:
    """Return the query for the columns of a view, in the view's order if it has one."""
    order = " ORDER BY rank" if "rank" in columns else ""
    return f"SELECT {', '.join(columns)} FROM {view}{order}"  # noqa: S608  names of the schema


def _value(text: str) -> str:
    if text.strip() == text and not _NEEDS_BRACES & set(text):
        return text
    return "{" + text.replace("}", "}}") + "}"
