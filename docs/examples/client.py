#!/usr/bin/env python3
"""A whole client of Atoll: enters the world, walks about at random, and prints whom it sees.

    pip install msgpack
    python3 client.py 127.0.0.1:7000 --name Mara --seconds 30
    python3 client.py 127.0.0.1:7000 --name Mara --act '{"craft": {"recipe": "rope"}}'

The numbers in the comments are sections of docs/protocol.md. Python 3.9 or newer.

Exit codes: 0 done, 1 no connection (or it was lost), 2 wrong arguments, 3 the server broke the protocol, 4 refused,
130 interrupted.
"""

import argparse
import json
import math
import random
import select
import socket
import struct
import sys
import time

try:
    import msgpack
except ImportError:
    sys.exit("This client needs the MessagePack library: pip install msgpack")

HELLO, MOVE, PING = 0x01, 0x02, 0x03
BYE, ACT, SEAT, WELCOME, REJECT, TICK, PONG, LAND, ACTED = 0x04, 0x05, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87
SERVER_FRAME_BYTES_MAX = 1024 * 1024
QUANTA_PER_M, QUANTA_PER_CHUNK = 128, 4096
CONNECT_S, ANSWER_S, LEAVE_S = 5.0, 20.0, 2.0
PLAYER = 0


class Lost(Exception):
    """The connection could not be made, or ended."""


class Fault(Exception):
    """The server sent something that the protocol does not allow."""


class Refused(Exception):
    """The server refused us and says why."""

    def __init__(self, message):
        super().__init__(message["text"])
        self.code, self.reason = message["code"], message["reason"]


def unpack(layout, data, at=0):
    """struct.unpack_from, but what is cut short is the server's fault."""
    try:
        return struct.unpack_from(layout, data, at)
    except struct.error:
        raise Fault("something is cut short") from None


class Connection:
    """Frames over TCP (2)."""

    def __init__(self, address):
        host, _, port = address.rpartition(":")
        try:
            self.socket = socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_S)
        except (OSError, ValueError, OverflowError) as error:
            raise Lost(f"no connection to {address}: {error}") from None
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received = bytearray()
        self.last_sent = time.monotonic()

    def send(self, kind, body=b""):
        try:
            self.socket.sendall(struct.pack(">IB", len(body) + 1, kind) + body)
        except OSError as error:
            # A refusal may have come just before the end: it says more than the error does.
            for refusal in self.frames_within(0.2):
                if refusal[0] == REJECT:
                    raise Refused(control(refusal[1])) from None
            raise Lost(f"connection lost: {error}") from None
        self.last_sent = time.monotonic()

    def frames_within(self, seconds):
        """The next whole frames; none if nothing comes in time. Raises Lost at the end of the connection."""
        frames = self.cut()
        if frames:
            return frames
        readable, _, _ = select.select([self.socket], [], [], max(0.0, seconds))
        if not readable:
            return []
        try:
            data = self.socket.recv(256 * 1024)
        except OSError as error:
            raise Lost(f"connection lost: {error}") from None
        if not data:
            raise Lost("the server closed the connection")
        self.received += data
        return self.cut()

    def cut(self):
        frames, at = [], 0
        while len(self.received) - at >= 4:
            (length,) = struct.unpack_from(">I", self.received, at)
            if not 1 <= length <= SERVER_FRAME_BYTES_MAX:
                raise Fault(f"a frame of {length} bytes was announced")
            if len(self.received) - at < 4 + length:
                break
            frames.append((self.received[at + 4], bytes(self.received[at + 5 : at + 4 + length])))
            at += 4 + length
        del self.received[:at]
        return frames

    def ask(self, hello, wanted):
        """Says HELLO, returns the wanted answer and the frames that came with it (1, 4)."""
        self.send(HELLO, msgpack.packb(hello))
        until = time.monotonic() + ANSWER_S
        while time.monotonic() < until:
            frames = self.frames_within(until - time.monotonic())
            for at, (kind, body) in enumerate(frames):
                if kind == REJECT:
                    raise Refused(control(body))
                if kind == wanted:
                    return control(body), frames[at + 1 :]
        raise Lost(f"no answer within {ANSWER_S:.0f} seconds")

    def leave(self):
        """Says BYE and reads to the end: closing with something unread may throw the BYE away (12)."""
        until = time.monotonic() + LEAVE_S
        try:
            self.send(BYE)
            self.socket.shutdown(socket.SHUT_WR)
            while time.monotonic() < until:
                self.frames_within(until - time.monotonic())
        except (Lost, Refused, Fault, OSError):
            pass
        self.close()

    def close(self):
        self.socket.close()


def control(body):
    try:
        message = msgpack.unpackb(body)
    except Exception as error:  # msgpack has many kinds of these
        raise Fault(f"a control message is no MessagePack: {error}") from None
    if not isinstance(message, dict):
        raise Fault("a control message is no map")
    return message


def enter(allocator, name, island):
    """From the allocator's door to the inside of a node: connection, WELCOME, first frames (1)."""
    hello = {"min": 1, "max": 1, "features": ["land"], "client": "client.py"}
    wish = {} if island is None else {"island": island}
    door = Connection(allocator)
    try:
        seat, _ = door.ask({**hello, **wish, "name": name}, SEAT)
    finally:
        door.close()
    trouble = Lost("the allocator named no node")
    for address in seat["nodes"]:
        node = None
        try:
            node = Connection(address)
            welcome, frames = node.ask({**hello, "ticket": seat["ticket"]}, WELCOME)
            print(f"{name} is player {welcome['player']:016x} on island {welcome['island']}, "
                  f"through node {welcome['node']} at {address}", flush=True)
            return node, welcome, frames
        except Lost as lost:
            trouble = lost
        except Refused as refused:
            if refused.reason != "busy":
                raise
            trouble = refused
        if node:
            node.close()
    raise trouble


class Listing:
    """One entity in one source's roster of one chunk (9)."""

    def __init__(self, entity, epoch, kind, name, order):
        self.entity, self.epoch, self.kind, self.name, self.order = entity, epoch, kind, name, order
        self.place = (0, 0)


class Group:
    """What one source shows in one chunk: its roster, and the last number of each motion stream (10)."""

    def __init__(self):
        self.roster = None
        self.slots = {}
        self.motion = {}


class View:
    """Everybody in sight (10)."""

    def __init__(self, far_ring):
        self.far_ring = far_ring
        self.groups = {}
        self.entered = 0
        self.beings = {}

    def tick(self, body):
        """Applies a TICK (8). Returns (last move handled, correction or None, who came, who left)."""
        _, acknowledged, flags = unpack(">IHB", body)
        at, correction = 7, None
        if flags & 4:
            self.groups.clear()
        if flags & 2:
            centre = unpack(">hh", body, at)
            at += 4
            for key in [k for k in self.groups if rings(k[1], centre) > self.far_ring]:
                del self.groups[key]
        if flags & 1:
            correction = unpack(">ii", body, at)
            at += 8
        while at < len(body):
            at = self.block(body, at)
        came, left = self.compare()
        return acknowledged, correction, came, left

    def block(self, body, at):
        """Applies the block at this offset, returns the offset behind it (9)."""
        head, x, y, number, _, rests_on, length = unpack(">IhhHHHH", body, at)
        stream, keyframe, optional, level = head >> 24 & 7, head >> 24 & 8, head >> 24 & 16, head >> 29
        source, chunk = head & 0xFFFFFF, (x, y)
        if stream == 0:
            rests_on, length = number, rests_on << 16 | length
        if stream > 4 or level != 0 or source == 0:
            raise Fault(f"a block of stream {stream}, level {level}, source {source}")
        start, end = at + 16, at + 16 + length
        if end > len(body):
            raise Fault("a block is cut short")
        if optional:
            start += 2 + unpack(">H", body, start)[0]
        group = self.groups.setdefault((source, chunk), Group())
        last = group.roster if stream == 0 else group.motion.get(stream)
        if not keyframe and (last is None or number != (last + 1) & 0xFFFF):
            raise Fault(f"a gap in stream {stream} of source {source}, chunk {chunk}: {number} after {last}")
        if stream == 0:
            self.apply_roster(group, chunk, body[start:end], keyframe)
            group.roster = number
        else:
            self.apply_motion(group, chunk, body[start:end], rests_on)
            group.motion[stream] = number
        return end

    def apply_roster(self, group, chunk, payload, keyframe):
        before = group.slots
        if keyframe:
            group.slots = {}
        at = 0
        while at < len(payload):
            op, slot = unpack(">BH", payload, at)
            at += 3
            if op == 2:
                group.slots.pop(slot, None)
                continue
            if op != 1:
                raise Fault(f"a roster record of kind {op}")
            entity, epoch, pose, kind, _look, name_bytes = unpack(">QIIBBB", payload, at)
            at += 19 + name_bytes
            if at > len(payload):
                raise Fault("a name is cut short")
            self.entered += 1
            known = before.get(slot)
            order = known.order if known and known.entity == entity else self.entered
            name = payload[at - name_bytes : at].decode(errors="replace")
            listing = Listing(entity, epoch, kind, name, order)
            listing.place = place_of(pose, chunk)
            group.slots[slot] = listing

    def apply_motion(self, group, chunk, payload, rests_on):
        if group.roster is None or (rests_on - group.roster) & 0xFFFF not in (0, *range(0x8000, 0x10000)):
            raise Fault(f"motion that rests on roster {rests_on}, not on {group.roster}")
        if len(payload) % 6:
            raise Fault("a motion payload is cut short")
        for slot, pose in struct.iter_unpack(">HI", payload):
            if slot in group.slots:
                group.slots[slot].place = place_of(pose, chunk)

    def compare(self):
        """Who counts now, and the difference to before. One entity may be listed twice for a moment (10)."""
        now = {}
        for group in self.groups.values():
            for listing in group.slots.values():
                other = now.get(listing.entity)
                if not other or (listing.epoch, listing.order) > (other.epoch, other.order):
                    now[listing.entity] = listing
        came = [listing for entity, listing in now.items() if entity not in self.beings]
        left = [listing for entity, listing in self.beings.items() if entity not in now]
        self.beings = now
        return came, left


def rings(a, b):
    return max(abs(a[0] - b[0]), abs(a[1] - b[1]))


def place_of(pose, chunk):
    """Quanta from the island's corner (5)."""
    return (chunk[0] * QUANTA_PER_CHUNK + (pose >> 20), chunk[1] * QUANTA_PER_CHUNK + (pose >> 8 & 0xFFF))


class Walker:
    """Our own body: walks at random, stays on land, obeys corrections (6, 7)."""

    def __init__(self, welcome):
        self.place = (welcome["x"], welcome["y"])
        self.edge = welcome["island_chunks"] * QUANTA_PER_CHUNK
        # A little slower than allowed: our clock is not the server's.
        per_s = 0.9 * welcome["walk_mm_per_s"] / 1000 * QUANTA_PER_M
        self.step = int(per_s * welcome["tick_ms"] / 1000)
        self.heading = random.randrange(256)
        self.sequence = 0
        self.land = {}

    def learn(self, body):
        """A LAND frame (7)."""
        if len(body) != 260:
            raise Fault(f"a LAND of {len(body)} bytes")
        self.land[unpack(">hh", body)] = body[4:]

    def can_stand(self, place):
        x, y = place
        if not (0 <= x < self.edge and 0 <= y < self.edge):
            return False
        tiles = self.land.get((x >> 12, y >> 12))
        return tiles is not None and tiles[16 * (y // 256 % 16) + x // 256 % 16] in (1, 2, 3)

    def walk(self):
        """The body of the next MOVE, or None if there is no way (6)."""
        self.heading = (self.heading + random.choice((-6, -3, 0, 0, 0, 3, 6))) % 256
        for _ in range(8):
            angle = self.heading / 256 * 2 * math.pi
            place = (self.place[0] + int(self.step * math.cos(angle)), self.place[1] + int(self.step * math.sin(angle)))
            if self.can_stand(place):
                self.place = place
                self.sequence = (self.sequence + 1) & 0xFFFF
                x, y = place
                pose = (x & 0xFFF) << 20 | (y & 0xFFF) << 8 | self.heading
                return struct.pack(">HhhI", self.sequence, x >> 12, y >> 12, pose)
            self.heading = random.randrange(256)
        return None

    def corrected(self, place):
        self.place = place
        self.heading = (self.heading + 128) % 256


class Acts:
    """What we ask for that lasts, and what came of it (16). This client doesn't come back after a lost connection;
    one that does keeps what is open and sends it again, first of all, as it was."""

    def __init__(self, welcome):
        self.first, self.island = welcome["epoch"] << 32, welcome["island"]
        self.given = 0
        self.open = {}

    def act(self, node, action):
        """Asks for an action (17), such as {"craft": {"recipe": "rope"}}."""
        self.given += 1
        number = self.first + self.given
        self.open[number] = action
        node.send(ACT, msgpack.packb({"id": number, "answered": min(self.open) - 1, "island": self.island,
                                      "action": msgpack.packb(action)}))

    def acted(self, message):
        """Prints what came of an act; of an answer to nothing, nothing."""
        if message["id"] not in self.open:
            return
        what = next(iter(self.open[message["id"]]))
        if message["outcome"] != "waiting":
            del self.open[message["id"]]
        why = f" ({message['reason']}): {message['text']}" if message["outcome"] == "refused" else ""
        print(f"act {message['id'] - self.first} ({what}): {message['outcome']}{why}", flush=True)


def name_of(listing):
    return listing.name or f"{listing.entity:016x}"


def report(view, me, place):
    """One line: how many are in sight, and the nearest players."""
    others = [b for b in view.beings.values() if b.entity != me and b.kind == PLAYER]
    creatures = sum(b.kind != PLAYER for b in view.beings.values())
    away = sorted((math.dist(b.place, place) / QUANTA_PER_M, name_of(b), b.place) for b in others)
    near = ", ".join(f"{name} {metres:.1f} m away at ({x / QUANTA_PER_M:.1f}, {y / QUANTA_PER_M:.1f})"
                     for metres, name, (x, y) in away[:3])
    print(f"at ({place[0] / QUANTA_PER_M:.1f}, {place[1] / QUANTA_PER_M:.1f}) players in sight: {len(others)}, "
          f"creatures: {creatures}" + (f", nearest: {near}" if near else ""), flush=True)


def live(node, welcome, frames, seconds, actions):
    """Asks for the actions, one after the other, walks and looks until the time is over."""
    view, walker, me = View(welcome["far_ring"]), Walker(welcome), welcome["player"]
    acts, wanted = Acts(welcome), list(actions)
    tick_s, keep_alive_s = welcome["tick_ms"] / 1000, welcome["keep_alive_ms"] / 1000 / 2
    now = time.monotonic()
    end, next_step, next_report, last_heard = now + seconds, now, now + 1, now
    corrections = 0
    while now < end:
        for kind, body in frames:
            last_heard = now
            if kind == REJECT:
                raise Refused(control(body))
            if kind == LAND:
                walker.learn(body)
            if kind == ACTED:
                acts.acted(control(body))
            if kind == TICK:
                _, correction, came, left = view.tick(body)
                if correction:
                    corrections += 1
                    walker.corrected(correction)
                for listing in came:
                    if listing.kind == PLAYER and listing.entity != me:
                        print(f"+ {name_of(listing)}", flush=True)
                for listing in left:
                    if listing.kind == PLAYER and listing.entity != me:
                        print(f"- {name_of(listing)}", flush=True)
        if now - last_heard > ANSWER_S:
            raise Lost(f"nothing heard for {ANSWER_S:.0f} seconds")
        if now >= next_step:
            next_step = max(next_step + tick_s, now)
            step = walker.walk()
            if step:
                node.send(MOVE, step)
        if wanted and not acts.open:
            acts.act(node, wanted.pop(0))
        if now - node.last_sent > keep_alive_s:
            node.send(PING, b"alive")
        if now >= next_report:
            next_report += 1
            report(view, me, walker.place)
        frames = node.frames_within(min(next_step, next_report, end) - time.monotonic())
        now = time.monotonic()
    print(f"left after {seconds:g} seconds, corrected {corrections} times", flush=True)


def action_of(text):
    """An action (17), written as JSON."""
    action = json.loads(text)
    if not isinstance(action, dict) or len(action) != 1:
        raise ValueError("an action is a map with one key")
    return action


def main():
    parser = argparse.ArgumentParser(description="Enters an Atoll world, walks about, prints whom it sees.")
    parser.add_argument("allocator", metavar="HOST:PORT", help="where the allocator listens")
    parser.add_argument("--name", required=True, help="1 to 24 letters, digits, hyphens or underscores")
    parser.add_argument("--seconds", type=float, default=30.0, help="how long to stay (default 30)")
    parser.add_argument("--island", type=int, help="the island to ask for")
    parser.add_argument("--act", metavar="JSON", action="append", default=[], type=action_of,
                        help="ask for this action; may be given several times")
    arguments = parser.parse_args()
    host, colon, port = arguments.allocator.rpartition(":")
    if not (host and colon and port.isdigit() and 0 < int(port) < 65536):
        parser.error(f"'{arguments.allocator}' is no HOST:PORT")
    if not 0 < arguments.seconds < math.inf:
        parser.error("--seconds must be more than 0")
    try:
        node, welcome, frames = enter(arguments.allocator, arguments.name, arguments.island)
        try:
            live(node, welcome, frames, arguments.seconds, arguments.act)
            node.leave()
        except KeyboardInterrupt:
            node.leave()
            raise
        finally:
            node.close()
    except Refused as refused:
        print(f"refused ({refused.code} {refused.reason}): {refused}", file=sys.stderr)
        return 4
    except (Fault, AttributeError, KeyError, TypeError) as fault:
        print(f"the server broke the protocol: {fault!r}", file=sys.stderr)
        return 3
    except Lost as lost:
        print(lost, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
