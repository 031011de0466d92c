"""The warehouse: SQLAlchemy tables, queries and idempotent writes. The same code runs on SQLite and PostgreSQL.

One module per part of the flow: `ledger` (which windows are done), `referrals`, `leads`, `companies`, `signals`,
`scores`; `schema` holds the tables, `database` opens and migrates them, `bulk` writes many rows at once. Functions
take a connection, so that the caller decides what commits together. Not here: business rules (`leads`, `scoring`).
"""
