from __future__ import annotations

import anyio
import pytest

from satisfice.core.completions import Completion, Message, Model, Params, Request, Response, Usage
from satisfice.core.errors import ModelUnavailable
from satisfice.models import ScriptedModel
from satisfice.testing.model import ModelContract


class TestScriptedContract(ModelContract):
    @pytest.fixture
    def model(self) -> Model:
        return ScriptedModel(["four", "it is 4, I think, or maybe five", "4"])


def ask(n: int = 1, max_tokens: int = 8) -> Request:
    return Request((Message("user", "one two three"),), Params(max_tokens=max_tokens), n)


def texts(model: Model, request: Request) -> list[str]:
    return [c.text for c in anyio.run(model.complete, request).completions]


def test_replies_cycle_over_completions() -> None:
    model = ScriptedModel(["a", "b"])
    assert texts(model, ask(3)) == ["a", "b", "a"]
    assert texts(model, ask()) == ["b"]
    assert [r.n for r in model.requests] == [3, 1]


def test_tokens_are_words_and_max_tokens_cuts() -> None:
    response = anyio.run(ScriptedModel(["a b c d"]).complete, ask(2, max_tokens=3))
    assert response.usage == Usage(prompt=3, completion=6)
    assert response.completions[0] == Completion("a b c", "length", 3)


def test_exceptions_functions_and_whole_responses() -> None:
    down = ModelUnavailable("down")
    with pytest.raises(ModelUnavailable):
        texts(ScriptedModel([down]), ask())
    assert texts(ScriptedModel(lambda request, index: f"{request.n}:{index}"), ask(2)) == ["2:0", "2:1"]
    whole = Response((Completion("x"),), None)
    assert anyio.run(ScriptedModel(lambda request, index: whole).complete, ask()) is whole


def test_nothing_to_say_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one reply"):
        ScriptedModel([])
