"""`satisfice.toml`: which models there are, under which names, and the defaults of a request.

    default = "cheap"                 # alias, pool or model used when a caller names none
    journal = true                    # or false, or a path
    home = "~/.local/share/satisfice"
    policies = true                   # which policy serves is what the registry says, see docs/lifecycle.md; or a path
    ledger = true                     # accounts that cannot be overdrawn, see `accounts` in this package
    prices = "prices.toml"            # or a list: price files, which go before litellm's list (see `pricebook`)

    [models.cheap]
    model = "openai/gpt-4o-mini"      # provider/model as litellm writes it, or local/smollm2
    api_key_env = "TEAM_OPENAI_KEY"   # the NAME of a variable; keys themselves never stand in the file
    price = {prompt = 0.15, completion = 0.60, cached = 0.075}   # USD per million tokens
    params = {temperature = 0.7}      # defaults of this alias
    rpm = 500                         # requests a minute; tpm: tokens, concurrency: calls at once; see docs/dispatch.md
    fallbacks = ["local/smollm2"]     # who is asked when it is down

    [providers.openai]
    tpm = 2000000                     # rpm, tpm, concurrency of all its models together

    [dispatch]
    cache = true                      # equal requests of one tenant are answered once

    [pools]
    fast = ["cheap", "local/smollm2"]

    [limits]
    usd = 0.05                        # a request's default budget: usd, tokens, calls, seconds

    [agents.support_bot]              # a way to an answer of your own, see docs/agents.md
    url = "https://bots.example.com/ask"
    usd = 0.02                        # the most that a call costs
    headers_env = {Authorization = "BOT_TOKEN"}   # the NAME of a variable

    [learning]
    explore = 0.02                    # the share of the spend that may be given up to learn, see docs/learning.md

    [prompts]
    terse = "Answer in one word: {{ query }}"   # or dir = "prompts", a folder of .txt, .md and .j2 files

Every key can be overridden from the environment: SATISFICE_DEFAULT, SATISFICE_LIMITS__USD, SATISFICE_POOLS (JSON) ...
SATISFICE_PRICES is a path, or several as in PATH.
"""

from __future__ import annotations

import os
import tomllib
from contextvars import ContextVar
from decimal import Decimal
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from ..budgets.ledger.accounts import ROOT
from ..core.errors import BadSettings, CallerError
from .accounts import AccountLimit, AccountSettings, declared
from .agent_settings import AgentSettings, LearningSettings
from .limits import QUEUE_SECONDS, RETRIES
from .reserved import reserved

FILE = "satisfice.toml"
PREFIX = "SATISFICE_"
_file: ContextVar[Path | None] = ContextVar("satisfice_settings_file", default=None)

Money = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Name = Annotated[str, Field(min_length=1, pattern=r"^[^/\s]+$")]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PriceSettings(_Table):
    """USD per million tokens; `per_call` USD per call. `cached` and `cache_write` are prompt tokens read from and
    written to the provider's cache, `reasoning` hidden reasoning. Tiers, hours and dates go into a price file."""

    prompt: Money
    completion: Money
    cached: Money | None = None
    cache_write: Money | None = None
    reasoning: Money | None = None
    per_call: Money = 0.0


Plain = str | int | float | bool


class ParamSettings(BaseModel):
    """Sampling defaults of an alias. Keys not named here are passed to the provider as they stand."""

    model_config = ConfigDict(extra="allow", frozen=True)
    __pydantic_extra__: dict[str, Plain | tuple[Plain, ...]]

    temperature: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    stop: tuple[str, ...] | None = None
    effort: str | None = None


class Rates(_Table):
    """Requests and tokens per minute, and calls at once, that a model or a provider takes."""

    rpm: Annotated[int, Field(ge=1)] | None = None
    tpm: Annotated[int, Field(ge=1)] | None = None
    concurrency: Annotated[int, Field(ge=1)] | None = None


Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class DispatchSettings(_Table):
    """How calls are sent. `cache`: equal requests of one tenant share a reply, at most `cache_entries` kept.
    `breaker_failures` failures in a row (0: never) stop calls to a model for `breaker_seconds`. `stale`: where every
    model fails, the last good solution of the same question is returned, and says so."""

    cache: bool = False
    cache_entries: Annotated[int, Field(ge=1)] = 10_000
    breaker_failures: Annotated[int, Field(ge=0)] = 8
    breaker_seconds: Seconds = 30.0
    stale: bool = False


class ModelSettings(Rates):
    """One alias. `context` in tokens, `batch` the most completions in one call, `timeout` in seconds,
    `concurrency` the most calls at once, `rpm` and `tpm` requests and tokens per minute, `provider` whose limits it
    shares ("": what stands before the / of its name). A call waits `queue_seconds` for its turn at the most, is tried
    again `retries` times and then goes to the `fallbacks`, in this order. `hedge_after`: seconds after which, or "p95":
    the share of replies after which, a second equal call is sent."""

    model: Annotated[str, Field(min_length=1)]
    api_base: str | None = None
    api_key_env: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] | None = None
    price: PriceSettings | None = None
    context: Annotated[int, Field(ge=1)] | None = None
    batch: Annotated[int, Field(ge=1)] | None = None
    timeout: Seconds = 120.0
    params: ParamSettings = ParamSettings()
    provider: str = ""
    queue_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = QUEUE_SECONDS
    retries: Annotated[int, Field(ge=0, le=20)] = RETRIES
    fallbacks: tuple[str, ...] = ()
    hedge_after: Seconds | Literal["p95"] | None = None

    @model_validator(mode="before")
    @classmethod
    def _no_keys(cls, data: Any) -> Any:
        if isinstance(data, dict) and ("api_key" in data or "api_key" in (data.get("params") or ())):
            raise ValueError("keys do not belong in this file: give the name of a variable as api_key_env instead")
        params = data.get("params") if isinstance(data, dict) else None
        taken = [name for name in reserved(params if isinstance(params, dict) else ()) if name != "max_tokens"]
        if taken:
            raise ValueError(f"params: {', '.join(taken)} cannot be set here: it would change what a call may cost")
        return data


class LimitSettings(_Table):
    """What one request may spend when the caller does not say: dollars, tokens, calls, seconds. `length_quantile`
    (0.99, say): calls are sent with, and held at, this upper quantile of the lengths of earlier replies, where those
    are known, instead of all of `max_tokens`: less lies idle in holds, and one reply in a hundred is cut short."""

    usd: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    tokens: Annotated[int, Field(ge=1)] | None = None
    calls: Annotated[int, Field(ge=1)] | None = None
    seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    length_quantile: Annotated[float, Field(ge=0.5, lt=1)] | None = None

    @field_validator("usd")
    @classmethod
    def _whole_nanos(cls, value: float | None) -> float | None:
        # A cap that is not a whole number of nano-dollars would be rounded up.
        if value is not None and Decimal(repr(value)).normalize().as_tuple().exponent < -9:  # type: ignore[operator]
            raise ValueError("finer than a nano-dollar ($0.000000001)")
        return value


class RecordSettings(_Table):
    """A `share` of served requests (0 to 1) is put aside in the folder `bank` (inside the data home, unless it is
    absolute), with whatever matches one of `redact` hidden: regular expressions, or email, card, phone
    (which are hidden unless you say otherwise)."""

    share: Annotated[float, Field(ge=0, le=1)] = 0.0
    bank: Annotated[str, Field(min_length=1)] = "served"
    redact: tuple[str, ...] = ("email", "card", "phone")


def _data_home() -> Path:
    base = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(base).expanduser() / "satisfice"


class Settings(BaseSettings):
    """The settings of a process. `Settings()` reads the environment only; `load_settings` the file as well."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True)

    default: Annotated[str, Field(min_length=1)] | None = None
    journal: bool | str | None = None
    ledger: bool | str | None = None
    account: Annotated[str, Field(min_length=1)] = ROOT
    accounts: dict[str, AccountSettings] = {}
    home: Path = Field(default_factory=_data_home)
    prices: Annotated[tuple[Path, ...], NoDecode] = ()
    models: dict[Name, ModelSettings] = {}
    pools: dict[Name, Annotated[tuple[str, ...], Field(min_length=1)]] = {}
    limits: LimitSettings = LimitSettings()
    providers: dict[Name, Rates] = {}
    dispatch: DispatchSettings = DispatchSettings()
    switches: Path | None = None
    policies: bool | str | None = None
    channel: Annotated[str, Field(min_length=1)] = "main"
    agents: dict[Name, AgentSettings] = {}
    learning: LearningSettings = LearningSettings()
    record: RecordSettings = RecordSettings()
    prompts: dict[str, str] = {}

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        path = _file.get()
        files = () if path is None else (TomlConfigSettingsSource(settings_cls, toml_file=path),)
        return (init_settings, env_settings, *files)

    @field_validator("journal", "ledger", "policies", mode="before")
    @classmethod
    def _truth(cls, value: Any) -> Any:
        # From the environment it comes as text, and "false" is no path.
        words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
        return words.get(value.lower(), value) if isinstance(value, str) else value

    @field_validator("ledger", "policies")
    @classmethod
    def _somewhere(cls, value: Any, info: ValidationInfo) -> Any:
        if value == "":
            server = " or a postgresql:// address" if info.field_name == "ledger" else ""
            raise ValueError(f"expected true, or a file{server}")
        return value

    @field_validator("accounts")
    @classmethod
    def _a_tree(cls, value: dict[str, AccountSettings]) -> dict[str, AccountSettings]:
        try:
            declared(value)
        except CallerError as error:
            raise ValueError(str(error)) from None
        return value

    @field_validator("prices", mode="before")
    @classmethod
    def _files(cls, value: Any) -> Any:
        texts = value.split(os.pathsep) if isinstance(value, str) else value
        return tuple(t for t in texts if t) if isinstance(texts, list | tuple) else texts

    @field_validator("home")
    @classmethod
    def _home(cls, value: Path) -> Path:
        return value.expanduser()

    @model_validator(mode="after")
    def _names_differ(self) -> Settings:
        for name in self.pools:
            if name in self.models:
                raise ValueError(f"{name!r} is both an alias in [models] and a pool in [pools]: rename one")
        for name in self.agents:
            if name in self.models or name in self.pools:
                raise ValueError(f"{name!r} is both an agent in [agents] and a model or pool: rename one")
        return self


def load_settings(path: str | Path | None = None) -> Settings:
    """The settings from `path`, else from SATISFICE_CONFIG, else from ./satisfice.toml if it is there, with what the
    environment overrides. Raises BadSettings, which names the file and the line or the key."""
    named = path if path is not None else os.environ.get(PREFIX + "CONFIG")
    file = Path(named).expanduser() if named else Path(FILE)
    if not named and not file.exists():
        return _read(None)
    return _read(file)


def _read(file: Path | None) -> Settings:
    where = "the environment" if file is None else str(file)
    token = _file.set(file)
    try:
        if file is not None:
            file.open("rb").close()  # the TOML source takes a missing file for an empty one
        settings = Settings()
    except OSError as error:
        raise BadSettings(f"{where}: cannot be read: {error.strerror or error}", file=where) from None
    except UnicodeDecodeError as error:
        raise BadSettings(f"{where}: not UTF-8 (byte {error.start}): save it as UTF-8", file=where) from None
    except tomllib.TOMLDecodeError as error:
        raise BadSettings(f"{where}: not TOML: {error}", file=where) from None
    except SettingsError as error:
        raise BadSettings(f"the environment: {error}: tables and lists are given as JSON", file=where) from None
    except ValidationError as error:
        raise _explained(error, where) from None
    finally:
        _file.reset(token)
    return _with_prompts(_with_prices(settings, file), Path() if file is None else file.parent)


def _explained(error: ValidationError, where: str) -> BadSettings:
    """One line per fault: the dotted key, what is wrong and what is expected. Values are not shown: a value in the
    wrong place may be a secret."""
    faults, keys = [], []
    for fault in error.errors(include_url=False, include_input=False):
        path = [str(part) for part in fault["loc"] if part not in ("[key]", "bool", "str")]
        key = ".".join(path) or "(file)"
        text = fault["msg"].removeprefix("Value error, ")
        if fault["type"] == "extra_forbidden":
            known = _known(path[:-1])
            near = get_close_matches(path[-1], known, n=1)
            text = f"unknown key{f', did you mean {near[0]!r}?' if near else ''} (known: {', '.join(known)})"
        elif "[key]" in fault["loc"]:
            text = "a name has no '/' and no space"
        elif path[-1:] == ["api_key_env"] and fault["type"] == "string_pattern_mismatch":
            text = "must be the name of an environment variable, not the key itself"
        faults.append(f"{key}: {text[:1].lower()}{text[1:]}")
        keys.append(key)
    return BadSettings(f"{where}: " + "; ".join(dict.fromkeys(faults)), file=where, keys=keys)


def _known(table: list[str]) -> list[str]:
    if table[:1] == ["models"]:
        return list(PriceSettings.model_fields if table[-1] == "price" else ModelSettings.model_fields)
    if table[:1] == ["accounts"]:
        return list(AccountLimit.model_fields if "limits" in table else AccountSettings.model_fields)
    if table[:1] == ["providers"]:
        return list(Rates.model_fields)
    if table[:1] == ["agents"]:
        return list(AgentSettings.model_fields)
    tables: dict[str, type[BaseModel]] = {
        "limits": LimitSettings,
        "dispatch": DispatchSettings,
        "learning": LearningSettings,
    }
    return list(tables.get(table[0] if table else "", Settings).model_fields)


def _with_prices(settings: Settings, file: Path | None) -> Settings:
    """Paths of price files from the file are relative to it, those from the environment to the current folder."""
    if not settings.prices:
        return settings
    named = any(name.upper() == PREFIX + "PRICES" for name in os.environ)
    base = Path() if file is None or named else file.parent
    return settings.model_copy(update={"prices": tuple(base / path.expanduser() for path in settings.prices)})


def _with_prompts(settings: Settings, base: Path) -> Settings:
    """`prompts.dir` replaced by the templates in that folder, by file name; those written in the file win."""
    if "dir" not in settings.prompts:
        return settings
    texts = dict(settings.prompts)
    folder = base / Path(texts.pop("dir")).expanduser()
    try:
        files = sorted(f for f in folder.iterdir() if f.suffix in (".txt", ".md", ".j2", ".jinja"))
        found = {f.stem: f.read_text("utf-8") for f in files}
    except (OSError, UnicodeDecodeError) as error:
        raise BadSettings(f"prompts.dir: {folder} cannot be read: {error}", file=str(folder)) from None
    return settings.model_copy(update={"prompts": found | texts})
