"""The settings of one protected bucket, and what of them makes no sense together."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import pydantic

CHANNELS: Final = {
    "s3": ("kafka", "sqs", "none"),
    "gcs": ("pubsub", "none"),
    "azure": ("azure-queue", "none"),
}
"""By what each provider can tell us; with none the bucket is only swept."""


class BucketSection(pydantic.BaseModel):
    """One protected bucket (or container), called `name` here.

    `channel` is how its provider tells what happens, `channel_name` the topic, queue URL (SQS), subscription
    (`projects/P/subscriptions/S`) or queue; `channel_endpoint` the brokers of another Kafka, or a server other
    than the provider's. `credentials_file` is a TOML file (`access_key_id` and `secret_access_key`, or
    `connection_string`), for gcs a service account's JSON; empty means the provider's own variables of the
    environment. `keys` is `plain` where the store sends keys unescaped (versitygw, older Ceph). `has_versions`:
    the bucket keeps versions and its notices name them. `wedding_metadata` names the metadata by which an object
    outside of the mapping's prefix names its wedding. What is younger than `grace_seconds` the sweep leaves to
    its notice.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, pydantic.Field(pattern=r"^[a-z0-9-]{1,40}$")]
    provider: Literal["s3", "gcs", "azure"] = "s3"
    bucket: Annotated[str, pydantic.Field(min_length=1, max_length=222)]
    endpoint: str = ""
    region: str = ""
    credentials_file: str = ""
    prefix: str = ""
    keys: Literal["escaped", "plain"] = "escaped"
    has_versions: bool = False
    wedding_metadata: str = ""
    channel: Literal["none", "kafka", "sqs", "pubsub", "azure-queue"] = "none"
    channel_name: str = ""
    channel_endpoint: str = ""
    sweep_seconds: Annotated[float, pydantic.Field(gt=0, le=86400)] = 300.0
    grace_seconds: Annotated[float, pydantic.Field(ge=0, le=3600)] = 10.0

    @pydantic.model_validator(mode="after")
    def _check_channel(self) -> BucketSection:
        allowed = CHANNELS[self.provider]
        if self.channel not in allowed:
            message = f"channel {self.channel!r} does not belong to {self.provider}: one of {', '.join(allowed)}"
            raise ValueError(message)
        if (self.channel == "none") != (self.channel_name == ""):
            message = "channel and channel_name are set together, or neither"
            raise ValueError(message)
        return self
