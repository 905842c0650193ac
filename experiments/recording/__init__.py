"""Recording a bank: questions, the conditions under which they are asked, and the engine that asks, so that nothing is
paid for twice. `recorder.Recorder` does it; `satisfice bank record` is its face."""
