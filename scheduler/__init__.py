"""Who thinks how, when and with what: the run, its drivers, the journal and the engine."""
