"""All that is Dagster, and nothing else: assets, automation, checks, resources. Rules and I/O live outside."""
