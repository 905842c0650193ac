from __future__ import annotations

from pathlib import Path

import pytest

from satisfice.core.errors import BadSettings, CallerError
from satisfice.models import Settings, load_settings
from satisfice.scheduler.engine import Engine

GOOD = """
default = "fast"
journal = false
[models.cheap]
model = "openai/gpt-4o-mini"
api_key_env = "TEAM_KEY"
price = {prompt = 0.15, completion = 0.60, cached = 0.075}
params = {temperature = 0.7, stop = ["END"], top_k = 5}
[pools]
fast = ["cheap", "local/smollm2"]
[limits]
usd = 0.05
[prompts]
dir = "prompts"
terse = "In one word: {{ query }}"
"""


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("CONFIG", "HOME", "DEFAULT", "LIMITS__USD"):
        monkeypatch.delenv(f"SATISFICE_{name}", raising=False)


def write(text: str | bytes, name: str = "satisfice.toml") -> Path:
    path = Path(name)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def fault(text: str | bytes) -> str:
    with pytest.raises(BadSettings) as caught:
        load_settings(write(text))
    assert "satisfice.toml" in str(caught.value)
    assert "pydantic" not in str(caught.value)
    return str(caught.value)


def test_the_whole_shape() -> None:
    Path("prompts").mkdir()
    Path("prompts/terse.txt").write_text("hidden")
    Path("prompts/long.j2").write_text("At length: {{ query }}")
    settings = load_settings(write(GOOD))
    assert settings.default == "fast"
    assert settings.journal is False
    assert settings.models["cheap"].params.model_dump(exclude_none=True) == {
        "temperature": 0.7,
        "stop": ("END",),
        "top_k": 5,
    }
    assert settings.pools == {"fast": ("cheap", "local/smollm2")}
    assert settings.limits.usd == 0.05
    assert settings.prompts == {"terse": "In one word: {{ query }}", "long": "At length: {{ query }}"}


def test_where_it_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings().default is None
    write('default = "here"')
    assert load_settings().default == "here"
    monkeypatch.setenv("SATISFICE_CONFIG", str(write('default = "there"', "other.toml")))
    assert load_settings().default == "there"
    assert load_settings("satisfice.toml").default == "here"
    monkeypatch.setenv("SATISFICE_CONFIG", "gone.toml")
    with pytest.raises(BadSettings, match=r"gone\.toml: cannot be read"):
        load_settings()


def test_the_environment_overrides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SATISFICE_LIMITS__USD", "2")
    monkeypatch.setenv("SATISFICE_HOME", "/somewhere")
    monkeypatch.setenv("SATISFICE_JOURNAL", "false")
    settings = load_settings(write('[limits]\nusd = 1.0\ncalls = 3\n[models.m]\nmodel = "openai/x"'))
    assert (settings.limits.usd, settings.limits.calls) == (2.0, 3)
    assert settings.home == Path("/somewhere")
    assert settings.journal is False
    monkeypatch.setenv("SATISFICE_POOLS", "{broken")
    with pytest.raises(BadSettings, match="environment"):
        load_settings()


def test_home_follows_the_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert Settings().home == Path("/data/satisfice")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("default = \n", "line 1"),
        (b"\xff\xfe", "UTF-8"),
        ('defualt = "x"', "did you mean 'default'"),
        ('[models.a]\nmodel = "openai/x"\ntimeuot = 3', "models.a.timeuot: unknown key, did you mean 'timeout'"),
        ('[models.a]\nmodel = "openai/x"\nprice = {prompt = 1}', "models.a.price.completion"),
        ('[models.a]\nmodel = "openai/x"\nprice = {prompt = -1, completion = 1}', "models.a.price.prompt"),
        ('[models.a]\nmodel = "openai/x"\nparams = {temperature = "hot"}', "models.a.params.temperature"),
        ("[models.a]\nbatch = 2", "models.a.model"),
        ('[models."a/b"]\nmodel = "openai/x"', "no '/'"),
        ('[limits]\nusd = "much"', "limits.usd"),
        ("[limits]\nusd = nan", "limits.usd"),
        ("[limits]\ncalls = 0", "limits.calls"),
        ("[pools]\nfast = []", "pools.fast"),
        ('[models.a]\nmodel = "openai/x"\n[pools]\na = ["openai/x"]', "rename one"),
        ("journal = 3.5", "journal"),
        ('[prompts]\ndir = "satisfice.toml"', "prompts.dir"),
    ],
)
def test_faults_name_the_place(text: str | bytes, says: str) -> None:
    assert says in fault(text)


def test_keys_are_refused_and_not_repeated() -> None:
    secret = "sk-very-secret"
    for line in (f'api_key = "{secret}"', f'api_key_env = "{secret}"', f'params = {{api_key = "{secret}"}}'):
        message = fault(f'[models.a]\nmodel = "openai/x"\n{line}')
        assert "variable" in message
        assert secret not in message


def test_a_folder_is_no_file() -> None:
    Path("satisfice.toml").mkdir()
    with pytest.raises(BadSettings, match="cannot be read"):
        load_settings()


def test_caps_are_whole_nano_dollars() -> None:
    """A cap that is finer would be rounded up."""
    assert "limits.usd: finer than a nano-dollar" in fault("[limits]\nusd = 0.1234567891\n")
    assert load_settings(write("[limits]\nusd = 0.123456789\n")).limits.usd == 0.123456789
    assert load_settings(write("[limits]\nusd = 1e3\n")).limits.usd == 1000


ACCOUNTS = "[accounts.acme]\nlimits = [{usd = 1}]\n"


@pytest.mark.parametrize("text", [ACCOUNTS, 'account = "acme"\n'])
def test_accounts_without_a_ledger_are_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Their limits would bound nothing, and nobody would say so."""
    monkeypatch.delenv("SATISFICE_LEDGER", raising=False)
    with pytest.raises(BadSettings, match="ledger = true"):
        Engine("local/smollm2", settings=write(text))
    Engine("local/smollm2", settings=write("ledger = true\n" + text))
    Engine("local/smollm2", settings=write("ledger = false\n" + text))
    Engine("local/smollm2", settings=write(text), ledger=False)


def test_an_account_without_a_ledger_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SATISFICE_LEDGER", raising=False)
    settings = load_settings(write("journal = false\n"))
    with pytest.raises(CallerError, match="ledger=True"):
        Engine("local/smollm2", settings=settings, account="acme")
    Engine("local/smollm2", settings=settings, account="acme", ledger=False)
    Engine("local/smollm2", settings=settings, account="acme", limit=1.0)
