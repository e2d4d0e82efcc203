"""When a clip goes cold, and when it comes back; and the same as a bucket's lifecycle policy. Pure.

| a clip | goes to |
|---|---|
| in a label set, a dataset version, or with a review task that is open | hot |
| used (read by anybody) within `unused_days` | hot |
| received over `cold_after_days` ago, of at least `least_bytes` | cold |
| any other | where it is |

The service decides by moving objects between prefixes; the bucket only makes the cold prefix cheap,
since no bucket knows what a label set is.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

COLD_PREFIX = "cold/"


class TierRules(BaseModel):
    """Ages in days, prices per GB and month."""

    model_config = ConfigDict(frozen=True)

    cold_after_days: float = Field(30.0, ge=0)
    unused_days: float = Field(14.0, ge=0)
    least_bytes: int = Field(1_000_000, ge=0)
    hot_price: float = Field(0.023, ge=0)
    cold_price: float = Field(0.004, ge=0)
    currency: str = "USD"
    cold_class: str = "GLACIER_IR"


def lifecycle_policy(rules: TierRules, prefix: str, upload_days: int) -> dict[str, Any]:
    """The rules as `aws s3api put-bucket-lifecycle-configuration` takes them.

    Args:
        prefix: the store's own within its bucket.
        upload_days: after which an unfinished upload is over.

    The class has to be one that is read at once (as GLACIER_IR is): the service does not wait hours
    for a restore.
    """
    return {
        "Rules": [
            {
                "ID": "longtail-cold",
                "Status": "Enabled",
                "Filter": {
                    "And": {
                        "Prefix": prefix + COLD_PREFIX,
                        "ObjectSizeGreaterThan": max(rules.least_bytes - 1, 128 * 1024),
                    }
                },
                "Transitions": [{"Days": 0, "StorageClass": rules.cold_class}],
            },
            {
                "ID": "longtail-unfinished-uploads",
                "Status": "Enabled",
                "Filter": {"Prefix": prefix},
                "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": upload_days + 1},
            },
        ]
    }
