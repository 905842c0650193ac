"""What every model keeps to. Subclass `ModelContract` in a test file and define its fixture `model`:

    class TestMine(ModelContract):
        @pytest.fixture
        def model(self) -> Model:
            return MyModel()

Each test runs under asyncio, and under trio where it is installed.
"""

from __future__ import annotations

from importlib.util import find_spec

import anyio
import pytest

from ..core.completions import Message, Model, Params, Request, Response
from ..core.errors import SatisficeError

BACKENDS = ["asyncio", *(["trio"] if find_spec("trio") else [])]


class ModelContract:
    """`tokens` is the `max_tokens` that the calls ask for: raise it for a model that thinks first."""

    tokens = 4

    @pytest.fixture(params=BACKENDS)
    def anyio_backend(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)

    @pytest.fixture
    def model(self) -> Model:
        raise NotImplementedError("define the fixture `model`")

    def ask(self, text: str = "How much is 2 + 2?", n: int = 1, seed: int | None = 1) -> Request:
        return Request((Message("user", text),), Params(temperature=0.7, max_tokens=self.tokens), n, seed)

    def sane(self, response: Response, n: int) -> None:
        assert 1 <= len(response.completions) <= n
        assert all(isinstance(c.text, str) and c.finish for c in response.completions)
        if (usage := response.usage) is not None:
            assert 0 <= usage.cached <= usage.prompt
            assert 0 <= usage.reasoning <= usage.completion <= n * self.tokens

    @pytest.mark.anyio
    async def test_one_completion(self, model: Model) -> None:
        self.sane(await model.complete(self.ask()), 1)

    @pytest.mark.anyio
    async def test_several_completions_of_one_call(self, model: Model) -> None:
        self.sane(await model.complete(self.ask(n=3)), 3)

    @pytest.mark.anyio
    async def test_text_that_is_no_unicode_is_sent_all_the_same(self, model: Model) -> None:
        self.sane(await model.complete(self.ask("a\ud800b \U0001f642 é")), 1)

    @pytest.mark.anyio
    async def test_it_is_usable_after_a_cancelled_call(self, model: Model) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(model.complete, self.ask())
            await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()
        self.sane(await model.complete(self.ask()), 1)

    @pytest.mark.anyio
    async def test_sixteen_calls_at_once(self, model: Model) -> None:
        done: list[Response] = []

        async def call(seed: int) -> None:
            done.append(await model.complete(self.ask(f"Question {seed}", seed=seed)))

        async with anyio.create_task_group() as group:
            for seed in range(16):
                group.start_soon(call, seed)
        assert len(done) == 16
        for response in done:
            self.sane(response, 1)

    @pytest.mark.anyio
    async def test_what_it_raises_is_ours(self, model: Model) -> None:
        # Whether a prompt without messages is served is the model's affair, but not what is raised if it is not.
        try:
            await model.complete(Request((), Params(max_tokens=self.tokens)))
        except Exception as error:
            assert isinstance(error, SatisficeError)
