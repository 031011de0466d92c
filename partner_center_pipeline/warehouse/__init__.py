"""The warehouse: SQLAlchemy tables, queries and idempotent writes, on SQLite and PostgreSQL by the same code.

One module per part of the flow: `ledger` (which windows are done), `referrals`, `leads`, `companies`, `signals`,
`scores`; `schema` holds the tables, `database` opens and migrates them, `bulk` writes many rows at once. Functions
take a connection, so that the caller decides what commits together. No business rule lives here.
"""
