"""One history, synced in many ways: whatever the page, the window, the order and the database, the tables are equal."""
