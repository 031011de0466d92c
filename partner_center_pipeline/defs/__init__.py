"""All that is Dagster: assets, jobs, schedules, the sensor, checks, resources. Not here: rules, SQL and HTTP."""
