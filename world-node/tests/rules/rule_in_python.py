"""The rule for crafting, in another process: reads requests from stdin and answers on stdout.

A message is a length (u32, big-endian) and that many bytes of MessagePack. A request is {actor, action, view}, an
answer {"Ok": effects} or {"Err": label}. Only the standard library is used, so the little of MessagePack that such
messages need is here.
"""

import struct
import sys

SLOTS, STAMINA, REGEN_TICKS = 24, 100, 10
STACKS = {"wood": 50, "stone": 50, "fibre": 100, "berry": 20, "rope": 20, "plank": 50, "pick": 1, "totem": 1}
ORDER = list(STACKS)
RECIPES = {
    "rope": ({"fibre": 4}, {"rope": 1}, 1),
    "plank": ({"wood": 1}, {"plank": 2}, 2),
    "pick": ({"wood": 3, "rope": 1}, {"pick": 1}, 5),
    "totem": ({"wood": 10, "stone": 5, "rope": 2}, {"totem": 1}, 10),
}


class Refused(Exception):
    pass


def unpack(data, at=0):
    """The value at `at`, and where the next one begins."""

    def number(code):
        size = struct.calcsize(code)
        return struct.unpack_from(code, data, at + 1)[0], at + 1 + size

    def text(length, begin):
        return data[begin : begin + length].decode(), begin + length

    def several(count, begin):
        values = []
        for _ in range(count):
            value, begin = unpack(data, begin)
            values.append(value)
        return values, begin

    def pairs(count, begin):
        flat, end = several(2 * count, begin)
        return dict(zip(flat[::2], flat[1::2])), end

    kind = data[at]
    if kind < 0x80:
        return kind, at + 1
    if kind < 0x90:
        return pairs(kind & 15, at + 1)
    if kind < 0xA0:
        return several(kind & 15, at + 1)
    if kind < 0xC0:
        return text(kind & 31, at + 1)
    if kind >= 0xE0:
        return kind - 256, at + 1
    if kind in (0xC0, 0xC2, 0xC3):
        return {0xC0: None, 0xC2: False, 0xC3: True}[kind], at + 1
    if 0xCC <= kind <= 0xD3:
        return number(">" + "BHIQbhiq"[kind - 0xCC])
    if 0xD9 <= kind <= 0xDF:
        take = {0xD9: text, 0xDA: text, 0xDB: text, 0xDC: several, 0xDD: several, 0xDE: pairs, 0xDF: pairs}[kind]
        return take(*number(">" + {0xD9: "B", 0xDB: "I", 0xDD: "I", 0xDF: "I"}.get(kind, "H")))
    raise ValueError(f"byte {kind:#x}")


def pack(value):
    if value is None:
        return b"\xc0"
    if value is True or value is False:
        return b"\xc3" if value else b"\xc2"
    if isinstance(value, int):
        return bytes([value]) if 0 <= value < 128 else struct.pack(">BQ", 0xCF, value)
    if isinstance(value, str):
        return struct.pack(">BH", 0xDA, len(value.encode())) + value.encode()
    if isinstance(value, list):
        return struct.pack(">BH", 0xDC, len(value)) + b"".join(map(pack, value))
    return struct.pack(">BH", 0xDE, len(value)) + b"".join(pack(k) + pack(v) for k, v in value.items())


def slots(*bags):
    return sum(-(-sum(bag.get(kind, 0) for bag in bags) // stack) for kind, stack in STACKS.items())


def spend(stamina, cost, now):
    gained = max(0, now - stamina["at"]) // REGEN_TICKS
    value = min(STAMINA, stamina["value"] + gained)
    at = max(now, stamina["at"]) if value == STAMINA else stamina["at"] + gained * REGEN_TICKS
    if cost > value:
        raise Refused("tired")
    return {"value": value - cost, "at": at}


def craft(actor, action, view):
    needs, gives, cost = RECIPES[action["craft"]["recipe"]]
    home = f"player/{actor['player']:016x}"
    found = view["docs"][home]["bag"]
    bag = found["bag"] if found else {"v": 2, "items": {}, "held": {}, "stamina": {"value": STAMINA, "at": 0}}
    stamina = spend(bag["stamina"], cost, actor["tick"])
    items = dict(bag["items"])
    if any(items.get(kind, 0) < count for kind, count in needs.items()):
        raise Refused("lacking")
    for kind, count in needs.items():
        items[kind] -= count
    if slots(items, bag["held"], gives) > SLOTS:
        raise Refused("bag_full")
    for kind, count in gives.items():
        items[kind] = items.get(kind, 0) + count
    items = {kind: items[kind] for kind in ORDER if items.get(kind)}
    player = {"player": actor["player"]}

    def lines(moved, giver, taker):
        return [{"kind": k, "count": moved[k], "from": giver, "to": taker} for k in ORDER if k in moved]

    commit = {
        "partition": home,
        "reads": ["bag"],
        "writes": {"bag": {"bag": {**bag, "v": 2, "items": items, "stamina": stamina}}},
        "events": [{"bag": player}],
        "ledger": lines(needs, player, "nobody") + lines(gives, "nobody", player),
    }
    return {"commit": commit, "transfer": None}


def main():
    stdin, stdout = sys.stdin.buffer, sys.stdout.buffer
    while head := stdin.read(4):
        request, _ = unpack(stdin.read(struct.unpack(">I", head)[0]))
        try:
            answer = {"Ok": craft(request["actor"], request["action"], request["view"])}
        except Refused as why:
            answer = {"Err": str(why)}
        body = pack(answer)
        stdout.write(struct.pack(">I", len(body)) + body)
        stdout.flush()


main()
