"""Settings: one TOML file, over it the environment (`WEDSYNC_STACK__KAFKA_PORT=9092`).

Secrets come from the environment or from files, never from flags. What is wrong is named in one line.
"""

from __future__ import annotations

import datetime as dt
import os
import pathlib
from typing import Annotated, Any, Final, Literal

import pydantic
import pydantic_settings

from ops.bucket_settings import BucketSection  # noqa: TC001 - pydantic reads annotations at run time
from ops.stack.settings import SLOT_WAL_KEEP_MIB
from schemas.backup import Priority  # noqa: TC001 - pydantic reads annotations at run time
from schemas.errors import ConfigError
from schemas.topics import SOURCE_BYTES_DEFAULT, SOURCE_BYTES_MAX
from streams.priority import Condition  # noqa: TC001

DEFAULT_FILE: Final = pathlib.Path("wedsync.toml")
PREFIX: Final = "WEDSYNC_"
REGISTRY_VARIABLE: Final = "SCHEMA_REGISTRY_URL"
"""Under the name everybody else's tools read it too."""
_Port = Annotated[int, pydantic.Field(ge=0, le=65535)]
_Seconds = Annotated[float, pydantic.Field(gt=0, le=86400)]


class _Section(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


class StackSection(_Section):
    """The local stack: ports (0 = free ones), heaps, and how much log the server keeps for a slot, in MiB."""

    kafka_port: _Port = 0
    connect_port: _Port = 0
    postgres_port: _Port = 0
    kafka_heap_mib: Annotated[int, pydantic.Field(ge=192)] = 384
    connect_heap_mib: Annotated[int, pydantic.Field(ge=256)] = 448
    slot_wal_keep_mib: Annotated[int, pydantic.Field(ge=32)] = SLOT_WAL_KEEP_MIB


class ColumnSection(_Section):
    """A column that is not captured as it is: `drop`, `mask` or `hash` its values before they leave the connector."""

    table: Annotated[str, pydantic.Field(pattern=r"^[A-Za-z0-9_]+\.[A-Za-z0-9_]+$")]
    column: Annotated[str, pydantic.Field(pattern=r"^[A-Za-z0-9_]+$")]
    action: Annotated[str, pydantic.Field(pattern=r"^(drop|mask|hash)$")]


class SourceSection(_Section):
    """The protected database; an empty URL means `database` of the local stack's Postgres.

    `new_epoch` says what happens when the log cannot go on (slot lost, dropped, moved; a hole): begin a new epoch
    and copy every table at once, or wait for `epoch begin`, loudly, with nothing captured meanwhile. `record_mib` is
    what one change may weigh in the log, in MiB: a larger one stops capture until this is raised, and `up`.
    """

    url: str = ""
    database: str = "platform"
    new_epoch: Literal["automatic", "ask"] = "automatic"
    heartbeat_ms: Annotated[int, pydantic.Field(ge=100, le=60000)] = 1000
    record_mib: Annotated[int, pydantic.Field(ge=1, le=SOURCE_BYTES_MAX >> 20)] = SOURCE_BYTES_DEFAULT >> 20
    columns: tuple[ColumnSection, ...] = ()


class ObjectsSection(_Section):
    """The folder of stored objects; `folder` empty means `<state>/objects`."""

    folder: str = ""
    bucket: Annotated[str, pydantic.Field(pattern=r"^[a-z0-9-]{1,40}$")] = "objects"
    settle_ms: Annotated[int, pydantic.Field(ge=0, le=60000)] = 30
    sweep_seconds: _Seconds = 10.0


class ApiSection(_Section):
    """Where applications send events: loopback unless a host is named; port 0 is a free one, kept from then on.

    `clients_file` empty means `<state>/api/clients.json`; `wedsync-backup clients add` writes it.
    """

    enabled: bool = True
    host: str = "127.0.0.1"
    port: _Port = 0
    clients_file: str = ""
    event_bytes_max: Annotated[int, pydantic.Field(ge=1024, le=8 << 20)] = 1 << 20
    request_bytes_max: Annotated[int, pydantic.Field(ge=1024, le=32 << 20)] = 4 << 20
    events_per_second: Annotated[float, pydantic.Field(gt=0, le=1_000_000)] = 1000.0
    events_burst: Annotated[int, pydantic.Field(ge=1, le=1_000_000)] = 10_000


class StoreSection(_Section):
    """One store. `domain` is what fails as one; two copies never share it."""

    name: Annotated[str, pydantic.Field(pattern=r"^[a-z0-9-]{1,40}$")]
    folder: str = ""
    provider: str = "folder"
    region: str = ""
    domain: str = ""
    is_eu: bool = False


class WindowsSection(_Section):
    """When a group commit closes, in milliseconds."""

    critical_ms: Annotated[int, pydantic.Field(ge=0, le=5000)] = 20
    high_ms: Annotated[int, pydantic.Field(ge=0, le=30000)] = 100
    standard_ms: Annotated[int, pydantic.Field(ge=0, le=120000)] = 250


class ArchiveSection(_Section):
    """Backup topics and stores.

    `partitions` is the number of each backup topic's partitions, fixed for the life of an archive: one sink
    process gains nothing from more than one, and more sinks than partitions would stand idle.
    `bandwidth_bytes_per_second` is what all sinks together may send to stores, each copy counted; 0 is no limit.
    `transfers_at_once` is how many copies one sink has under way. When either is short, the lanes share it 50/30/20.
    """

    partitions: Annotated[int, pydantic.Field(ge=1, le=1024)] = 1
    bandwidth_bytes_per_second: Annotated[int, pydantic.Field(ge=0)] = 0
    transfers_at_once: Annotated[int, pydantic.Field(ge=6, le=256)] = 12
    checkpoint_seconds: _Seconds = 2.0
    store_retry_seconds: _Seconds = 5.0
    windows: WindowsSection = WindowsSection()
    stores: tuple[StoreSection, ...] = ()


class RuleSection(_Section):
    """One line of the routing table, read from top to bottom: the first that holds gives lane and rank.

    `days` counts for `within_days` (at most) and `delivery_due` (exactly), `until_hour` of the day after for
    `same_day`, `minutes` for `active_uploads`. A lower rank goes first in its lane; -1 counts the hours to the wedding.
    """

    when: Condition
    lane: Priority
    rank: Annotated[int, pydantic.Field(ge=-1, le=65535)] = -1
    days: Annotated[int, pydantic.Field(ge=0, le=3650)] = 0
    until_hour: Annotated[int, pydantic.Field(ge=0, le=24)] = 0
    minutes: Annotated[int, pydantic.Field(ge=0, le=10080)] = 0


class RoutingSection(_Section):
    """Which condition gives a wedding's changes which lane; where none holds they are standard."""

    rules: tuple[RuleSection, ...] = ()


class RegistrySection(_Section):
    """A schema registry for the backup topics; `SCHEMA_REGISTRY_URL` sets its URL too. Empty: our own encoding.

    `subjects` names them after the topic (`<topic>-value`, a union of what it carries) or after the record.
    """

    url: Annotated[str, pydantic.Field(pattern=r"^(|https?://.+)$")] = ""
    subjects: Literal["topic", "record"] = "topic"
    timeout_seconds: Annotated[float, pydantic.Field(gt=0, le=60)] = 5.0


class Settings(pydantic_settings.BaseSettings):
    """All settings; see `render_reference` for the list with defaults."""

    model_config = pydantic_settings.SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True
    )

    state_dir: pathlib.Path = pathlib.Path(".wedsync")
    stack: StackSection = StackSection()
    source: SourceSection = SourceSection()
    objects: ObjectsSection = ObjectsSection()
    api: ApiSection = ApiSection()
    buckets: tuple[BucketSection, ...] = ()
    archive: ArchiveSection = ArchiveSection()
    routing: RoutingSection = RoutingSection()
    registry: RegistrySection = RegistrySection()
    mapping: dict[str, Any] = pydantic.Field(default_factory=dict)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[pydantic_settings.BaseSettings],
        init_settings: pydantic_settings.PydanticBaseSettingsSource,
        env_settings: pydantic_settings.PydanticBaseSettingsSource,
        dotenv_settings: pydantic_settings.PydanticBaseSettingsSource,
        file_secret_settings: pydantic_settings.PydanticBaseSettingsSource,
    ) -> tuple[pydantic_settings.PydanticBaseSettingsSource, ...]:
        """Let the environment win over the file."""
        del settings_cls, dotenv_settings, file_secret_settings
        return env_settings, init_settings

    @property
    def objects_folder(self) -> pathlib.Path:
        """Return the folder whose files are protected."""
        return pathlib.Path(self.objects.folder) if self.objects.folder else self.state_dir / "objects"

    @property
    def api_clients_file(self) -> pathlib.Path:
        """Return the file of the clients that may send events."""
        return pathlib.Path(self.api.clients_file) if self.api.clients_file else self.state_dir / "api" / "clients.json"

    @property
    def api_token_file(self) -> pathlib.Path:
        """Return the file of the token that `up` makes for the first client."""
        return self.state_dir / "api" / "default.token"

    @property
    def catalog_file(self) -> pathlib.Path:
        """Return the catalog's file."""
        return self.state_dir / "catalog" / "catalog.db"

    @property
    def router_file(self) -> pathlib.Path:
        """Return the router's memory, which others read."""
        return self.state_dir / "router" / "state.db"

    @property
    def master_key_file(self) -> pathlib.Path:
        """Return the master key's file."""
        return self.state_dir / "keys" / "master.key"

    @property
    def escrow_mark(self) -> pathlib.Path:
        """Return the file that remembers when the master key was last exported."""
        return self.state_dir / "keys" / "exported"

    @property
    def stores(self) -> tuple[StoreSection, ...]:
        """Return the stores: those of the settings, or the demo's eight folders."""
        return self.archive.stores or default_stores(self.state_dir)

    @property
    def store_retry(self) -> dt.timedelta:
        """Return how long a failed store is left alone."""
        return dt.timedelta(seconds=self.archive.store_retry_seconds)


_DEFAULT_STORES: Final = (
    ("aws-us-east-1", "aws", "us-east-1", False),
    ("aws-eu-west-1", "aws", "eu-west-1", True),
    ("gcs-europe-west3", "gcs", "europe-west3", True),
    ("azure-westeurope", "azure", "westeurope", True),
    ("b2-eu-central-003", "b2", "eu-central-003", True),
    ("wasabi-eu-south-1", "wasabi", "eu-south-1", True),
    ("gcs-us-west1", "gcs", "us-west1", False),
    ("wasabi-ap-southeast-1", "wasabi", "ap-southeast-1", False),
)
"""Eight folders on one disk that stand for eight locations, five of them in the EU."""


def default_stores(state_dir: pathlib.Path) -> tuple[StoreSection, ...]:
    """Return the embedded default: eight folders below the state folder."""
    return tuple(
        StoreSection(
            name=name,
            folder=str(state_dir / "stores" / name),
            provider=provider,
            region=region,
            domain=f"{provider}:{region}",
            is_eu=is_eu,
        )
        for name, provider, region, is_eu in _DEFAULT_STORES
    )


def load_settings(path: pathlib.Path | None = None, **overrides: Any) -> Settings:
    """Return the settings of a file (default `wedsync.toml`, if it is there) and the environment.

    Raises:
        ConfigError: one line that names the first wrong setting.
    """
    import tomllib  # noqa: PLC0415 - `--help` must not pay for it

    wanted = path or pathlib.Path(os.environ.get(f"{PREFIX}CONFIG", DEFAULT_FILE))
    values: dict[str, Any] = {}
    if wanted.exists():
        try:
            values = tomllib.loads(wanted.read_text())
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"{wanted} is not TOML: {error}", hint="compare it with what `wedsync-backup init` writes"
            ) from error
    elif path is not None or f"{PREFIX}CONFIG" in os.environ:
        raise ConfigError(f"the settings file {wanted} does not exist", hint="`wedsync-backup init` writes one")
    if url := os.environ.get(REGISTRY_VARIABLE):
        values["registry"] = {**values.get("registry", {}), "url": url}
    try:
        settings = Settings(**{**values, **overrides})
    except pydantic.ValidationError as error:
        raise _one_line(error, wanted) from error
    _check_stores(settings)
    _check_sources(settings)
    return settings


def _one_line(error: pydantic.ValidationError, path: pathlib.Path) -> ConfigError:
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"])
    variable = PREFIX + "__".join(str(part).upper() for part in first["loc"])
    return ConfigError(f"setting {name}: {first['msg']}", hint=f"correct it in {path} or in {variable}")


def _check_sources(settings: Settings) -> None:
    names = ["platform", "application", settings.objects.bucket, *(bucket.name for bucket in settings.buckets)]
    if len(set(names)) != len(names):
        raise ConfigError(
            "setting buckets: a bucket is named like another source (platform, application, objects.bucket, a bucket)",
            hint="each names a log of its own: names must differ",
        )


def _check_stores(settings: Settings) -> None:
    names = [store.name for store in settings.stores]
    if len(set(names)) != len(names):
        raise ConfigError("setting archive.stores: two stores have the same name", hint="names must differ")
    for what, stores in (("", settings.stores), ("EU ", [store for store in settings.stores if store.is_eu])):
        domains = {store.domain or store.name for store in stores}
        if len(domains) < 3:  # noqa: PLR2004 - protected means three
            raise ConfigError(
                f"setting archive.stores: {len(domains)} {what}failure domains, protected means copies in 3",
                hint="add stores, or give them a `domain` of their own if they fail independently",
            )
