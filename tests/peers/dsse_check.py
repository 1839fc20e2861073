"""Verifies attestations of receipts with what nobody here wrote: `securesystemslib` checks the DSSE envelope,
`in-toto-attestation` the statement in it.

    dsse_check.py KEYID PUBLIC_KEY_IN_HEX FILE...

Exits 0 if all is well, and 1 with a reason if not. Prints each statement's subject and the record's decision.
"""

import base64
import binascii
import hashlib
import json
import sys
from pathlib import Path

from google.protobuf import json_format
from in_toto_attestation.v1 import statement_pb2
from in_toto_attestation.v1.statement import Statement
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import Error
from securesystemslib.signer import SSlibKey


def check(key, text):
    envelope = Envelope.from_dict(json.loads(text))
    envelope.verify([key], 1)
    if envelope.payload_type != "application/vnd.in-toto+json":
        raise ValueError("the payload is no in-toto statement")
    found = json_format.Parse(envelope.payload, statement_pb2.Statement())
    statement = Statement.copy_from_pb(found)
    statement.validate()

    payload = json.loads(envelope.payload)
    (subject,) = payload["subject"]
    receipt = payload["predicate"]["receipt"]
    record = base64.b64decode(receipt.split("\n")[1].removeprefix("extra "), validate=True)
    if hashlib.sha256(record).hexdigest() != subject["digest"]["sha256"]:
        raise ValueError("the subject is not the record of the receipt")
    if json.loads(record) != payload["predicate"]["record"]:
        raise ValueError("the record is not that of the receipt")
    print(json.dumps({"subject": subject["name"], "decision": payload["predicate"]["record"]["decision"]}))


def main():
    keyid, public, *files = sys.argv[1:]
    key = SSlibKey(keyid, "ed25519", "ed25519", {"public": public})
    for name in files:
        check(key, Path(name).read_text())


if __name__ == "__main__":
    try:
        main()
    except (Error, ValueError, KeyError, TypeError, OSError, binascii.Error, json_format.ParseError) as refusal:
        print(f"dsse_check: {type(refusal).__name__}: {refusal}", file=sys.stderr)
        sys.exit(1)
