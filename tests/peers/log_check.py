"""Verifies an exported log and its receipts with what nobody here wrote: the note, checkpoint and Merkle code of
`sigstore`, the trees and proofs of `pymerkle`, and the signatures of `cryptography`.

    log_check.py log VKEY DIR                   every record of an exported log
    log_check.py receipts VKEY FILE...          receipts, each a C2SP tlog-proof that carries its record
    log_check.py cosigned VKEY COSIGNER FILE    that a checkpoint, or a receipt's, has this key's cosignature

Exits 0 if all is well, and 1 with a reason if not.
"""

import base64
import hashlib
import struct
import sys
from pathlib import Path
from types import SimpleNamespace

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey
from pymerkle import InmemoryTree, InvalidProof, verify_inclusion
from pymerkle.proof import InclusionProof
from sigstore._internal.merkle import verify_merkle_inclusion
from sigstore._internal.rekor.checkpoint import LogCheckpoint, SignedNote
from sigstore.errors import VerificationError


class Keyring:
    """One Ed25519 key, as sigstore's notes ask for it."""

    def __init__(self, vkey):
        self.name, key_id, key = vkey.split("+", 2)
        self.key_id = bytes.fromhex(key_id)
        typed = base64.b64decode(key, validate=True)
        if typed[0] != 1:
            raise VerificationError("not an Ed25519 key")
        self.key = Ed25519PublicKey.from_public_bytes(typed[1:])

    def verify(self, *, key_id, signature, data):
        try:
            self.key.verify(signature, data)
        except InvalidSignature as error:
            raise VerificationError("the signature is wrong") from error

    def checkpoint(self, text):
        """The checkpoint of a note that this key signed."""
        signed = SignedNote.from_text(text)
        signed.verify(self, self.key_id)
        checkpoint = LogCheckpoint.from_text(signed.note)
        if checkpoint.origin != self.name:
            raise VerificationError("the checkpoint is of another log")
        return checkpoint


class Cosigner:
    """A key that cosigns checkpoints, by c2sp.org/tlog-cosignature: Ed25519 of type 0x04, or ML-DSA-44 of type 0x06."""

    # By type: bytes of the public key and of a signature, and how the key is read.
    KINDS = {
        4: (32, 64, Ed25519PublicKey.from_public_bytes),
        6: (1312, 2420, MLDSA44PublicKey.from_public_bytes),
    }

    def __init__(self, vkey):
        self.name, key_id, key = vkey.split("+", 2)
        typed = base64.b64decode(key, validate=True)
        self.kind = typed[0]
        if self.kind not in self.KINDS:
            raise VerificationError("not a cosigner's key")
        length, self.length, read = self.KINDS[self.kind]
        if len(typed) != 1 + length:
            raise VerificationError("a cosigner's key of another length")
        self.key_id = hashlib.sha256(self.name.encode() + b"\n" + typed).digest()[:4]
        if self.key_id.hex() != key_id:
            raise VerificationError("the key id is not that of the name and the key")
        self.key = read(typed[1:])

    def message(self, note, checkpoint, time):
        if self.kind == 4:
            return b"cosignature/v1\ntime %d\n" % time + note.encode()
        name, origin = self.name.encode(), checkpoint.origin.encode()
        return b"".join(
            (
                b"subtree/v1\n\0",
                struct.pack(">B", len(name)),
                name,
                struct.pack(">Q", time),
                struct.pack(">B", len(origin)),
                origin,
                struct.pack(">QQ", 0, checkpoint.log_size),
                bytes.fromhex(checkpoint.log_hash),
            )
        )

    def verify(self, text, checkpoint):
        """When this key cosigned a checkpoint, in seconds since 1970."""
        note, _, lines = text.partition("\n\n")
        for line in lines.splitlines():
            dash, name, encoded = line.split(" ")
            stamped = base64.b64decode(encoded, validate=True)
            if (dash, name, stamped[:4]) != ("\u2014", self.name, self.key_id):
                continue
            if len(stamped) != 4 + 8 + self.length:
                raise VerificationError("a cosignature of another length")
            (time,) = struct.unpack(">Q", stamped[4:12])
            if not 0 < time < 1 << 63:
                raise VerificationError("a cosignature of no time")
            try:
                self.key.verify(stamped[12:], self.message(note + "\n", checkpoint, time))
            except InvalidSignature as error:
                raise VerificationError("the cosignature is wrong") from error
            return time
        raise VerificationError("the key did not cosign the checkpoint")


def path_of(index, width):
    """`x001/x234/067` for 1234067, and `.p/` with the width of a bundle that still grows."""
    groups = [f"{index % 1000:03}"]
    while index >= 1000:
        index //= 1000
        groups.insert(0, f"x{index % 1000:03}")
    return "/".join(groups) + ("" if width == 256 else f".p/{width}")


def entries(directory, size):
    for first in range(0, size, 256):
        width = min(256, size - first)
        data = (directory / "tile/entries" / path_of(first // 256, width)).read_bytes()
        for _ in range(width):
            length = int.from_bytes(data[:2], "big")
            record, data = data[2 : 2 + length], data[2 + length :]
            if len(record) != length:
                raise VerificationError("a bundle is cut short")
            yield record
        if data:
            raise VerificationError("a bundle is too long")


def check_log(keyring, directory):
    checkpoint = keyring.checkpoint((directory / "checkpoint").read_text())
    root = bytes.fromhex(checkpoint.log_hash)
    tree = InmemoryTree(algorithm="sha256")
    for record in entries(directory, checkpoint.log_size):
        tree.append_entry(record)
    if tree.get_root(checkpoint.log_size) != root:
        raise VerificationError("the records are not those of the signed root")
    for first in range(0, checkpoint.log_size, 256):
        width = min(256, checkpoint.log_size - first)
        tile = (directory / "tile/0" / path_of(first // 256, width)).read_bytes()
        leaves = b"".join(tree.get_leaf(first + at + 1) for at in range(width))
        if tile != leaves:
            raise VerificationError("a tile is not the hashes of its records")
    print("records", checkpoint.log_size)


def check_receipt(keyring, text):
    head, _, note = text.partition("\n\n")
    checkpoint = keyring.checkpoint(note)
    first, extra, index, *hashes = head.split("\n")
    if first != "c2sp.org/tlog-proof@v1" or not extra.startswith("extra ") or not index.startswith("index "):
        raise VerificationError("not a receipt")
    record = base64.b64decode(extra.removeprefix("extra "), validate=True)
    index = int(index.removeprefix("index "))
    hashes = [base64.b64decode(line, validate=True) for line in hashes]
    root, size = bytes.fromhex(checkpoint.log_hash), checkpoint.log_size

    proof = SimpleNamespace(log_index=index, tree_size=size, hashes=hashes, root_hash=root)
    entry = SimpleNamespace(_inner=SimpleNamespace(inclusion_proof=proof, canonicalized_body=record))
    verify_merkle_inclusion(entry)

    # pymerkle counts from one, and says by a rule on which side each hash stands; it checks that rule itself.
    if size > 1:
        from pymerkle.core import _inclusion_path_layout

        rule, _ = _inclusion_path_layout(index + 1, size)
        leaf = InmemoryTree(algorithm="sha256").hash_buff(record)
        given = InclusionProof("sha256", True, size, index + 1, rule, [leaf, *hashes])
        verify_inclusion(leaf, root, given, index=index + 1, size=size, algorithm="sha256")


def check_cosigned(keyring, cosigner, text):
    if text.startswith("c2sp.org/tlog-proof@v1\n"):
        text = text.partition("\n\n")[2]
    time = cosigner.verify(text, keyring.checkpoint(text))
    print("cosigned", time)


def main():
    command, vkey, *rest = sys.argv[1:]
    keyring = Keyring(vkey)
    if command == "log":
        check_log(keyring, Path(rest[0]))
    elif command == "receipts":
        for name in rest:
            check_receipt(keyring, Path(name).read_text())
        print("receipts", len(rest))
    elif command == "cosigned":
        check_cosigned(keyring, Cosigner(rest[0]), Path(rest[1]).read_text())
    else:
        raise SystemExit(f"unknown command {command}")


if __name__ == "__main__":
    try:
        main()
    except (VerificationError, InvalidProof, ValueError, OSError) as refusal:
        print(f"log_check: {type(refusal).__name__}: {refusal}", file=sys.stderr)
        sys.exit(1)
