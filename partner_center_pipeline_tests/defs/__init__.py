"""Tests of the Dagster half: definitions, runs on a real instance, schedule and sensor."""
