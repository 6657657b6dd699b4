#!/usr/bin/env python3
"""Check an export of a waybill journal against a signed checkpoint, without waybill.

usage: verify.py EXPORT.jsonl CHECKPOINT VKEY
EXPORT.jsonl is what `waybill journal export` wrote, from record 0 on; CHECKPOINT a copy of
STATE/checkpoint, kept elsewhere; VKEY what `waybill journal key` printed, noted elsewhere.
Needs the openssl command. Exit 0: records are numbered from 0, times never go back, and the
first ones, as many as the checkpoint says, are those that the key has signed. Else exit 1.
"""
import base64, functools, hashlib, pathlib, subprocess, sys, tempfile

def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()

def require(ok, why):
    if not ok:
        raise ValueError(why)

def signed(note, vkey):
    """The size and the root in a checkpoint, whose signature must be the key's."""
    name, keyhash, key = vkey.split("+", 2)
    keyhash, key = bytes.fromhex(keyhash), base64.b64decode(key, validate=True)
    good = len(key) == 33 and key[0] == 1 and sha256(name.encode(), b"\n", key)[:4] == keyhash
    require(good, "the verifier key is mistyped, or not one of Ed25519")
    text, _, lines = note.rpartition(b"\n\n")  # what is signed ends with the first of the two
    signatures = [base64.b64decode(s[s.rindex(b" "):]) for s in lines.splitlines() if s.startswith(f"\u2014 {name} ".encode())]
    signature = next((s[4:] for s in signatures if s[:4] == keyhash), None)
    require(signature, "the checkpoint has no signature of this key")
    with tempfile.TemporaryDirectory() as tmp:
        pub, msg, sig = (pathlib.Path(tmp, n) for n in ("pub", "msg", "sig"))
        for file, data in (pub, bytes.fromhex("302a300506032b6570032100") + key[1:]), (msg, text + b"\n"), (sig, signature):
            file.write_bytes(data)  # the key as a SubjectPublicKeyInfo
        openssl = ["openssl", "pkeyutl", "-verify", "-rawin", "-pubin", "-keyform", "DER", "-inkey", pub, "-in", msg, "-sigfile", sig]
        require(subprocess.run(openssl, capture_output=True).returncode == 0, "the checkpoint's signature is wrong")
    origin, size, root = text.decode().split("\n")[:3]
    require(origin == name, f"the checkpoint is one of {origin}, not of {name}")
    return int(size), base64.b64decode(root)

def check(export, size, want):
    n, last, peaks, root = 0, b"", [], sha256()  # peaks are the roots of full subtrees, the largest first
    for n, line in enumerate(export, 1):
        start = b'{"v":1,"seq":%d,"at":"' % (n - 1)
        require(line.startswith(start) and line.endswith(b"}\n"), f"line {n} is not record {n - 1}, whole")
        before, last = last, line[len(start):len(start) + 27]  # such times sort as text does
        require(last >= before, f"the time of record {n - 1} is before that of the record before")
        peaks.append(sha256(b"\0", line[:-1]))
        for _ in range((n & -n).bit_length() - 1):  # a subtree is full for every zero bit that n ends with
            peaks[-2:] = [sha256(b"\1", *peaks[-2:])]
        if n == size:
            root = functools.reduce(lambda right, left: sha256(b"\1", left, right), reversed(peaks))
    require(n >= size, f"the export ends after {n} records, the checkpoint covers {size}")
    require(root == want, f"the first {size} records are not those that were signed")
    return f"valid: {size} records are as signed; {n - size} more are in order"

try:
    export, note, vkey = sys.argv[1:] if len(sys.argv) == 4 else sys.exit(__doc__)
    print(check(open(export, "rb"), *signed(open(note, "rb").read(), vkey.strip())))
except (OSError, ValueError) as e:
    sys.exit(f"NOT VALID: {e}")
