"""Wires the pytest plugins in fixtures/; scenarios/conftest.py provisions the platform for scenarios only."""

pytest_plugins = ["fixtures.options", "fixtures.scenario"]
