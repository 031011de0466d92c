"""The running Dagster UI: webserver, daemon and code server as a person starts them, driven over GraphQL."""
