"""A gate report in a signed envelope: who vouches for it, over exactly which bytes.

The envelope is DSSE, the statement in it in-toto's: its subject is the candidate's file by
digest, its predicate the report. Tools that read attestations read it.
(https://github.com/secure-systems-lab/dsse, https://in-toto.io/Statement/v1)
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from pydantic import ValidationError
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import Error, VerificationError
from securesystemslib.signer import Key, Signer, SSlibKey

from contracts.canonical import canonical_json
from contracts.errors import CorruptError, InputError, RefusedError
from contracts.gate_report import GateReport

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "urn:longtail:gate-report:v1"
_MAX_ENVELOPE_BYTES = 32 * 1024**2


def signed_report(report: GateReport, signers: Sequence[Signer]) -> bytes:
    """The envelope's bytes. Raises `InputError` without a signer."""
    if not signers:
        raise InputError("nobody signs", report.candidate_name)
    envelope = Envelope(canonical_json(_statement(report)), PAYLOAD_TYPE, {})
    for signer in signers:
        envelope.sign(signer)
    return json.dumps(envelope.to_dict(), indent=1, sort_keys=True).encode() + b"\n"


def verified_report(
    content: bytes, keys: Mapping[str, Key], place: str, threshold: int = 1
) -> GateReport:
    """The report, once at least `threshold` of the keys (by id) have signed it.

    Raises `CorruptError` for what is no envelope, `RefusedError` when too few have signed.
    """
    if len(content) > _MAX_ENVELOPE_BYTES:
        raise InputError(f"larger than {_MAX_ENVELOPE_BYTES} bytes", place)
    try:
        envelope = Envelope.from_dict(json.loads(content))
    except (ValueError, KeyError, TypeError, AttributeError, Error) as error:
        raise CorruptError(f"this is no signed report: {error}", place) from error
    if envelope.payload_type != PAYLOAD_TYPE:
        raise CorruptError(f"signs {envelope.payload_type}, not {PAYLOAD_TYPE}", place)
    try:
        envelope.verify(list(keys.values()), threshold)
    except (VerificationError, ValueError) as error:
        raise RefusedError(
            f"not signed by {threshold} of the known keys: {error}", place
        ) from error
    return _report_in(envelope.payload, place)


def check_may_go(report: GateReport, model: str, place: str) -> None:
    """Raises `RefusedError` where the report is of another model than that of this digest, or one
    of its gates did not pass.
    """
    if report.candidate != model:
        raise RefusedError(
            f"the report is of the model {report.candidate[:12]}, not of {model[:12]}", place
        )
    if stopped := report.stopped_by:
        raise RefusedError(
            f"the gate `{stopped.gate}` did not pass: {stopped.verdict} {stopped.reason}".rstrip(),
            place,
        )


def read_public_keys(paths: Iterable[Path]) -> dict[str, Key]:
    """Public keys of PEM files, by id. Raises `InputError`."""
    keys: dict[str, Key] = {}
    for path in paths:
        try:
            key = SSlibKey.from_crypto(load_pem_public_key(path.read_bytes()))
        except OSError as error:
            raise InputError(f"cannot be read: {error.strerror}", str(path)) from error
        except (ValueError, TypeError, UnsupportedAlgorithm, Error) as error:
            raise InputError("not a public key in PEM", str(path)) from error
        keys[key.keyid] = key
    return keys


def _statement(report: GateReport) -> dict[str, Any]:
    return {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": report.candidate_name, "digest": {"sha256": report.candidate}}],
        "predicateType": PREDICATE_TYPE,
        "predicate": report.model_dump(mode="json"),
    }


def _report_in(payload: bytes, place: str) -> GateReport:
    try:
        statement = json.loads(payload)
        kinds = statement["_type"], statement["predicateType"]
        report = GateReport.model_validate(statement["predicate"])
        subject = statement["subject"][0]["digest"]["sha256"]
    except (ValueError, KeyError, TypeError, IndexError, ValidationError) as error:
        raise CorruptError(f"the statement holds no gate report: {error}", place) from error
    if kinds != (STATEMENT_TYPE, PREDICATE_TYPE):
        raise CorruptError(f"a statement of another kind: {kinds}", place)
    if subject != report.candidate:
        raise CorruptError("the statement is about another file than its report", place)
    return report
