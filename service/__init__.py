"""The HTTP face, the dashboard and telemetry. Nothing here yet: the engine is used from Python and the command line."""
