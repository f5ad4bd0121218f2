"""Odd inputs from a random.Random: bytes and JSON that are nearly valid, texts that programs stumble over.

The same generator gives the same input, so that a seed and a number are enough to see a failure again.
"""

import io
import json
import struct
import tarfile
import zipfile
import zlib
from random import Random

import numpy as np
import pyarrow as pa

NUMBERS = ("0", "-1", "1e999", "nan", "-inf", "1e-320", "9" * 30, "9" * 5000, "0x10", "1_0", "٣", "²", "+3", "3.0", "")
TEXTS = (
    "", " ", "\0", "\n", "\r\n", "\t", ",", '"', "'", ";", "\\", "/", "..", "../../etc/passwd", "/dev/zero", "C:\\x",
    "con", "~", "$HOME", "*", "{0..9}", "%00", "%s%n", "=1+1", "+1", "-1", "@x", "＝1", "'=1", "\ufeff", "\u202eabc",
    "\u2028", "a\u0300", "\U0001f600", "\ud800", "\x1b[31m", "\x7f", "<script>window.__planted=1</script>",
    "[x](javascript:alert(1))", "![i](http://evil.invalid/x)", "$x$", ":material/home:", ":red[a]", "`", "None", "null",
    "true", "nan", "file:///etc/passwd", "s3://", "http://", "hf:", "hf:x:y=z", "torchvision:X:/nowhere", "a" * 300,
    "x" * 5000, "é" * 4096, "' OR 1=1 --", "http://[::1", "://", "memory://x", *NUMBERS,
)  # fmt: skip
EDGES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1)
VALUES = (None, True, False, 0, -1, 1, 2**31, 2**63, 10**400, 0.5, float("nan"), float("inf"), "", "x", [], {}, [[]])


def odd_text(rng: Random) -> str:
    """One of TEXTS, several in a row, or random characters of every kind."""
    roll = rng.random()
    if roll < 0.6:
        return rng.choice(TEXTS)
    if roll < 0.75:
        return "".join(rng.choice(TEXTS)[:40] for _ in range(rng.randint(2, 4)))
    top = rng.choice((0x7F, 0xFF, 0xFFFF, 0x10FFFF))
    return "".join(chr(rng.randint(0, top)) for _ in range(rng.randint(0, 30)))


def mutated(rng: Random, data: bytes, most: int = 6) -> bytes:
    """The bytes with 1 to `most` changes: flips, edges of integers, cuts, copies, insertions; rarely only noise."""
    if rng.random() < 0.02:
        return rng.randbytes(rng.choice((0, 1, 4, 100, 2000)))
    held = bytearray(data)
    for _ in range(rng.randint(1, most)):
        at = rng.randrange(len(held) + 1)
        size = min(int(2 ** rng.uniform(0, 8)), len(held))
        roll = rng.randrange(8)
        if roll == 0 and at < len(held):
            held[at] ^= 1 << rng.randrange(8)
        elif roll == 1 and at < len(held):
            held[at] = rng.randrange(256)
        elif roll in (2, 3):
            width, order = rng.choice((1, 2, 4, 8)), rng.choice(("little", "big"))
            edge = (rng.choice(EDGES) + rng.choice((0, 0, 1, -1))) % (1 << (8 * width))
            held[at : at + width] = edge.to_bytes(width, order)
        elif roll == 4:
            del held[at : at + size]
        elif roll == 5:
            begin = rng.randrange(len(held) + 1)
            held[at:at] = held[begin : begin + size]
        elif roll == 6:
            held[at:at] = rng.randbytes(min(size, 32))
        elif rng.random() < 0.3:
            del held[at:]
    return bytes(held)


def mutated_text(rng: Random, data: bytes, marks: bytes = b',;"\n\r\t') -> bytes:
    """Text in UTF-8 with odd words and separators put in, lines swapped, dropped or doubled; now and then bytes."""
    if rng.random() < 0.25:
        return mutated(rng, data)
    held = data
    for _ in range(rng.randint(1, 3)):
        roll, at = rng.random(), rng.randrange(len(held) + 1)
        lines = held.split(b"\n")
        row = rng.randrange(len(lines))
        if roll < 0.35:
            cells = lines[row].split(b",")
            cells[rng.randrange(len(cells))] = odd_text(rng).encode("utf-8", "surrogatepass")
            lines[row] = b",".join(cells)
            held = b"\n".join(lines)
        elif roll < 0.6:
            held = held[:at] + bytes([rng.choice(marks)]) + held[at + rng.randint(0, 1) :]
        elif roll < 0.75:
            held = held[:at] + odd_text(rng).encode("utf-8", "surrogatepass") + held[at:]
        elif roll < 0.85:
            lines.insert(rng.randrange(len(lines) + 1), lines[row])
            held = b"\n".join(lines)
        elif roll < 0.95:
            del lines[row]
            held = b"\n".join(lines)
        else:
            held = rng.choice((b"\xef\xbb\xbf" + held, held.replace(b"\n", b"\r\n"), held.replace(b",", b";")))
    return held


def mutated_json(rng: Random, data: bytes) -> bytes:
    """JSON with values, keys or whole branches changed; now and then cut, nested without end, or changed as bytes."""
    roll = rng.random()
    if roll < 0.15:
        return mutated(rng, data)
    if roll < 0.18:
        return rng.choice((b"[" * 100_000, b'{"a":' * 50_000, b"[" * 900 + b"]" * 900, b"NaN", b"[]", b"{}", b"1"))
    found = json.loads(data)
    for _ in range(rng.randint(1, 3)):
        found = _branch(rng, found)
    return json.dumps(found, ensure_ascii=rng.random() < 0.5).encode("utf-8", "surrogatepass")


def _branch(rng: Random, value):
    """The value with something within it changed."""
    if isinstance(value, dict) and value and rng.random() < 0.85:
        key = rng.choice(list(value))
        roll = rng.random()
        if roll < 0.15:
            return {name: one for name, one in value.items() if name != key}
        if roll < 0.25:
            return {odd_text(rng) if name == key else name: one for name, one in value.items()}
        return {**value, key: _branch(rng, value[key])}
    if isinstance(value, list) and value and rng.random() < 0.85:
        at, roll = rng.randrange(len(value)), rng.random()
        if roll < 0.15:
            return value[:at] + value[at + 1 :]
        if roll < 0.25:
            return [*value, value[at]]
        return [*value[:at], _branch(rng, value[at]), *value[at + 1 :]]
    return odd_text(rng) if rng.random() < 0.5 else rng.choice(VALUES)


# ------------------------------------------------------------------------------------------------ containers


def mutated_png(rng: Random, data: bytes) -> bytes:
    """A PNG whose chunks are changed, dropped or doubled and have right checksums, so that a reader looks into them."""
    if rng.random() < 0.4:
        return mutated(rng, data)
    at, chunks = 8, []
    while at + 12 <= len(data):
        size = struct.unpack(">I", data[at : at + 4])[0]
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + size]))
        at += 12 + size
    for _ in range(rng.randint(1, 2)):
        row = rng.randrange(len(chunks))
        kind, body = chunks[row]
        roll = rng.random()
        if roll < 0.6:
            chunks[row] = kind, mutated(rng, body, 2)
        elif roll < 0.7:
            chunks.insert(rng.randrange(len(chunks)), (kind, body))
        elif roll < 0.8 and len(chunks) > 1:
            del chunks[row]
        elif roll < 0.9:
            name = rng.choice(
                (b"PLTE", b"tRNS", b"eXIf", b"iCCP", b"zTXt", b"iTXt", b"acTL", b"fcTL", b"fdAT", b"gAMA")
            )
            chunks.insert(1, (name, rng.randbytes(rng.randint(0, 64))))
        else:
            chunks.insert(1, (b"zTXt", b"a\0\0" + zlib.compress(bytes(200_000))))
    held = data[:8]
    for kind, body in chunks:
        held += struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    return held


def mutated_zip(rng: Random, data: bytes) -> bytes:
    """An archive, such as an npz, whose members are changed and packed again; now and then the bytes of it all."""
    if rng.random() < 0.3:
        return mutated(rng, data)
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        names = old.namelist()
        hit = rng.choice(names)
        for name in names:
            body = old.read(name)
            if name == hit:
                roll = rng.random()
                # The first bytes of an npy are its header, a Python literal: most of what can go wrong is there.
                body = mutated(rng, body[:128], 3) + body[128:] if roll < 0.6 else mutated(rng, body, 3)
                if rng.random() < 0.15:
                    name = odd_text(rng)[:60].replace("\0", "") + ".npy"
                if rng.random() < 0.1:
                    continue
            new.writestr(name.encode("utf-8", "replace").decode(), body)
    return out.getvalue()


def mutated_tar(rng: Random, data: bytes) -> bytes:
    """A tar whose headers are changed and have right checksums; now and then the bytes of it all."""
    if rng.random() < 0.3:
        return mutated(rng, data)
    held, starts = bytearray(data), []
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        starts = [member.offset for member in tar.getmembers()]
    for start in rng.sample(starts, min(len(starts), rng.randint(1, 2))):
        header = held[start : start + 512]
        place, size = rng.choice(
            ((0, 100), (100, 8), (124, 12), (124, 12), (136, 12), (156, 1), (157, 100), (345, 155))
        )
        if place == 156:
            header[156] = rng.choice(b"0\x001234567xgLKSV")
        elif rng.random() < 0.5:
            word = odd_text(rng).encode("utf-8", "surrogatepass")[:size]
            header[place : place + size] = word.ljust(size, b"\0")
        else:
            header[place : place + size] = mutated(rng, bytes(header[place : place + size]), 2)[:size].ljust(
                size, b"\0"
            )
        header[148:156] = b" " * 8
        header[148:156] = b"%06o\0 " % sum(header)
        held[start : start + 512] = header
    return bytes(held)


def mutated_tail(rng: Random, data: bytes) -> bytes:
    """A Parquet file changed within its footer alone, whose length stays right; or all of its bytes."""
    if rng.random() < 0.5 or len(data) < 12:
        return mutated(rng, data)
    size = struct.unpack("<I", data[-8:-4])[0]
    footer = mutated(rng, data[-8 - size : -8], 3)
    return data[: -8 - size] + footer + struct.pack("<I", len(footer)) + data[-4:]


def mutated_safetensors(rng: Random, data: bytes) -> bytes:
    """Safetensors whose JSON header is changed and has the right length; or all of its bytes."""
    if rng.random() < 0.4:
        return mutated(rng, data)
    size = struct.unpack("<Q", data[:8])[0]
    header = mutated_json(rng, data[8 : 8 + size])
    return struct.pack("<Q", len(header)) + header + data[8 + size :]


def mutated_table(rng: Random, table: pa.Table) -> pa.Table:
    """A table with columns missing, renamed or of another type, values null, odd or moved, rows gone or doubled."""
    for _ in range(rng.randint(1, 2)):
        if not table.num_columns:
            break
        at = rng.randrange(table.num_columns)
        field, column, roll = table.schema.field(at), table.column(at), rng.randrange(9)
        if roll == 0:
            table = table.remove_column(at)
        elif roll == 1:
            names = table.column_names
            names[at] = odd_text(rng).encode("utf-8", "replace").decode()
            table = table.rename_columns(names)
        elif roll == 2:
            table = table.set_column(at, field.name, pa.array([odd_held(rng)] * table.num_rows, pa.string()))
        elif roll == 3:
            other = rng.choice((pa.null(), pa.list_(pa.int8()), pa.bool_(), pa.binary(), pa.timestamp("ns")))
            table = table.set_column(at, field.name, pa.nulls(table.num_rows, other))
        elif roll == 4:
            table = table.slice(0, rng.choice((0, 1, table.num_rows // 2)))
        elif roll == 5:
            table = pa.concat_tables([table, table.slice(0, rng.randint(1, 3))])
        elif roll == 6:
            table = table.append_column(field, column)
        else:
            values = column.to_pylist()
            for row in rng.sample(range(len(values)), min(len(values), rng.randint(1, 4))):
                values[row] = odd_value(rng, field.type)
            table = table.set_column(at, field, pa.array(values, field.type))
    return table


def odd_value(rng: Random, kind: pa.DataType):
    if rng.random() < 0.25:
        return None
    if pa.types.is_floating(kind):
        return rng.choice((float("nan"), float("inf"), float("-inf"), -1.0, 1e30, 0.0))
    if pa.types.is_integer(kind):
        return rng.choice((-1, 0, 10**6, 2 ** (kind.bit_width - 1) - 1, -(2 ** (kind.bit_width - 1))))
    if pa.types.is_boolean(kind):
        return rng.random() < 0.5
    return odd_held(rng) if pa.types.is_string(kind) or pa.types.is_large_string(kind) else None


def odd_held(rng: Random) -> str:
    """An odd text that UTF-8 can hold."""
    return odd_text(rng).encode("utf-8", "replace").decode()


def mutated_arrays(rng: Random, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Arrays of which one is gone, renamed, of another shape or kind, or holds odd values."""
    made = dict(arrays)
    name = rng.choice(sorted(made))
    array, roll = made[name], rng.randrange(7)
    if roll == 0:
        del made[name]
    elif roll == 1:
        made[odd_held(rng)] = made.pop(name)
    elif roll == 2:
        made[name] = array.reshape(-1)
    elif roll == 3:
        made[name] = array[: len(array) // 2].copy()
    elif roll == 4:
        made[name] = array.astype(rng.choice((np.int8, np.float64, np.bool_, np.uint64)))
    elif roll == 5:
        made[name] = np.zeros((0, *array.shape[1:]), array.dtype)
    else:
        made[name] = np.full_like(array, rng.choice((-1, 0, np.nan if array.dtype.kind == "f" else 99)))
    return made
