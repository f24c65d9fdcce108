"""The tables of docs/performance.md, made of docs/figures/compare.json and of nothing else.

Not here: measuring. Invariant: what stands between two markers is exactly what these functions make, so
that nobody's figures are typed by hand; a test runs the same and compares.
"""

import json
import os
import re

import cases
import servers

DOCUMENT = os.path.join(servers.ROOT, "docs/performance.md")
FIGURES = os.path.join(servers.ROOT, "docs/figures/compare.json")
FAULTS = ("lost", "duplicated", "reordered", "astray", "unreceipted")


def figure(value, digits=3):
    """So many digits that count, with commas between thousands."""
    if value is None:
        return "-"
    if value == 0:
        return "0"
    text = f"{value:.{digits}g}"
    number = float(text)
    if abs(number) >= 1000:
        return f"{number:,.0f}"
    return f"{number:f}".rstrip("0").rstrip(".") if "e" in text else text


class Figures:
    def __init__(self, whole):
        self.whole = whole

    def of(self, case, peer="stompbox", key=None):
        key = key or next(c.key for c in cases.CASES if c.name == case)
        return self.whole["cases"].get(case, {}).get(peer, {}).get(key)

    def no_broker(self, case, key=None):
        """Both modes, where they are one design: when one message comes at a time."""
        values = [self.of(case, peer, key) for peer in ("one-write", "joined")]
        values = [value for value in values if value is not None]
        return sum(values) / len(values) if values else None

    def failed(self, case, peer):
        return self.whole["cases"].get(case, {}).get(peer, {}).get("failed")

    def peers(self):
        found = {peer for runs in self.whole["cases"].values() for peer in runs}
        return ["before"] * ("before" in found) + [peer for peer in cases.PEERS if peer in found]


def run_line(whole):
    kind = "A quick run: the cases work, and the figures are worth nothing. " if whole["quick"] else ""
    versions = ", ".join(f"{name} {version}" for name, version in sorted(whole["versions"].items()))
    return f"{kind}{whole['date']}, {whole['machine']}; median of {whole['rounds']}, {whole['minutes']} minutes. {versions}."


def peers_table(figures):
    peers = figures.peers()
    heads = [{"before": "before", **cases.PEERS}[peer] for peer in peers]
    lines = ["| case | " + " | ".join(heads) + " |", "|---" * (len(peers) + 1) + "|"]
    rows = [(case.words, case.name, None) for case in cases.CASES if len(case.peers) == len(cases.PEERS)]
    rows.append(("CPU per connect and subscribe", "idle", "arrival_cpu_us"))
    for words, name, key in rows:
        cells = ["failed" if figures.failed(name, peer) else figure(figures.of(name, peer, key)) for peer in peers]
        lines.append(f"| {words} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def latency_table(figures):
    peers = figures.peers()
    heads = [{"before": "before", **cases.PEERS}[peer] for peer in peers]
    lines = ["| p50 / p99, ms | " + " | ".join(heads) + " |", "|---" * (len(peers) + 1) + "|"]
    for case in cases.CASES:
        if len(case.peers) != len(cases.PEERS) or case.bench[0] == "idle":
            continue
        cells = []
        for peer in peers:
            p50, p99 = (figures.of(case.name, peer, f"latency_p{n}_ms") for n in (50, 99))
            cells.append("-" if p50 is None else f"{figure(p50)} / {figure(p99)}")
        lines.append(f"| {case.words} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def own_table(figures):
    lines = ["| case | CPU us/message | messages/s | p50 ms | p99 ms | receipt p50 ms | receipt p99 ms |", "|---" * 7 + "|"]
    for case in cases.CASES:
        if case.bench[0] in ("idle", "churn") or len(case.peers) == len(cases.PEERS):
            continue
        for peer in ("before", *case.peers):
            if figures.of(case.name, peer, "messages") is None:
                continue
            name = case.words if peer == "stompbox" else f"{case.words}: {cases.PEERS.get(peer, peer)}"
            keys = ("cpu_us_per_message", "messages_per_second", "latency_p50_ms", "latency_p99_ms",
                    "receipt_p50_ms", "receipt_p99_ms")
            lines.append(f"| {name} | " + " | ".join(figure(figures.of(case.name, peer, key)) for key in keys) + " |")
    return "\n".join(lines)


class Goals:
    """Each goal with what was measured, and whether it is reached."""

    def __init__(self, figures):
        self.figures = figures
        self.rows = []

    def most(self, words, value, limit, unit="us"):
        self.judge(words, value, limit, f"at most {figure(limit)} {unit}", unit, lambda a, b: a <= b)

    def least(self, words, value, limit, unit):
        self.judge(words, value, limit, f"over {figure(limit)} {unit}", unit, lambda a, b: a > b)

    def judge(self, words, value, limit, goal, unit, holds):
        if value is None or limit is None:
            self.rows.append((words, goal if limit is not None else "-", "-", "not measured"))
        else:
            self.rows.append((words, goal, f"{figure(value)} {unit}", "reached" if holds(value, limit) else "**missed**"))

    def share(self, words, value, of, share, peer):
        """At most this share of what a peer takes."""
        goal = f"at most 1/{figure(1 / share)} of {peer}" if share < 1 else f"at most {figure(share)} times {peer}"
        if value is None or not of:
            self.rows.append((words, goal, "-", "not measured"))
            return
        ratio = value / of
        shown = f"{ratio:.2f} times" if share >= 1 else f"1/{figure(of / value)}"
        verdict = "reached" if ratio <= share else "**missed**"
        self.rows.append((words, goal, f"{shown} ({figure(value)} to {figure(of)})", verdict))


def goals_table(figures):
    of, goals = figures.of, Goals(figures)
    for name, words, socketio in (("fanout-100", "fan-out to 100", 1 / 10), ("fanout-1000", "fan-out to 1,000", 1 / 8)):
        goals.share(words, of(name), of(name, "ordinary"), 1, "the ordinary design")
        goals.share(words, of(name), of(name, "rabbitmq"), 1 / 80, "RabbitMQ")
        goals.share(words, of(name), of(name, "socketio"), socketio, "Socket.IO")
    words = "fan-out to 1,000 at 5/s"
    goals.share(words, of("fanout-trickle"), figures.no_broker("fanout-trickle"), 1.1, "no broker")
    p99 = "latency_p99_ms"
    goals.share(words + ", p99", of("fanout-trickle", key=p99), figures.no_broker("fanout-trickle", p99), 1.2, "no broker")
    words = "100 topics with 10 each"
    goals.share(words, of("rooms"), of("rooms", "ordinary"), 1, "the ordinary design")
    goals.share(words, of("rooms"), of("rooms", "rabbitmq"), 1 / 40, "RabbitMQ")
    goals.share(words, of("rooms"), of("rooms", "socketio"), 1 / 4, "Socket.IO")
    goals.share("direct, as fast as possible", of("direct"), figures.no_broker("direct"), 1.5, "no broker")
    goals.share("direct at 1,000/s", of("direct-trickle"), figures.no_broker("direct-trickle"), 1.5, "no broker")
    goals.most("stored, one node, 5,000/s", of("stored"), 40)
    goals.least("stored, one node", of("stored-most"), 20_000, "messages/s")
    goals.most("stored, at half of that, p99 of the receipt", of("stored-half", key="receipt_p99_ms"), 20, "ms")
    goals.most("stored, two nodes, two devices, 5,000/s, all processes", of("cluster-stored"), 150)
    goals.share("the same at 1,000/s", of("cluster-trickle"), of("cluster-trickle", "socketio-x2"), 1, "Socket.IO x2 + Redis")
    goals.least("all into one conversation, three nodes", of("conversation"), 10_000, "messages/s")
    goals.most("idle connection, 5,000 to 17,500", of("idle-slope"), 4, "KiB")
    goals.most("the same with kernel memory", of("idle-slope", key="kib_with_kernel"), 8, "KiB")
    goals.most("idle connection with TLS", of("idle-tls"), 14, "KiB")
    goals.most("idle connection after a message of 30 kB", of("idle-large"), 4, "KiB")
    goals.most("5,000 idle connections, beats every 10 s both ways", of("idle-beats"), 0.008, "cores")
    goals.most("CONNECT and SUBSCRIBE of a visitor", of("idle", key="arrival_cpu_us"), 100)
    faulty = {}
    for case, runs in figures.whole["cases"].items():
        for fault in FAULTS:
            count = runs.get("stompbox", {}).get(fault, 0)
            if count:
                faulty[fault] = faulty.get(fault, 0) + count
    shown = ", ".join(f"{count} {fault}" for fault, count in sorted(faulty.items())) or "0 / 0 / 0"
    goals.rows.append(("loss, duplicates, reordering in all of it", "0 / 0 / 0", shown, "**missed**" if faulty else "reached"))
    goals.share("a /topic message with two more nodes", of("topic-3"), of("topic-1"), 1.1, "one node alone")
    lines = ["| case | goal | measured | |", "|---|---|---|---|"]
    lines += [f"| {' | '.join(row)} |" for row in goals.rows]
    return "\n".join(lines)


def memory_table(figures):
    lines = ["| case | KiB/connection | with kernel memory | after 30 kB | arrival us CPU | idle cores |", "|---" * 6 + "|"]
    keys = ("kib_per_connection", "kib_with_kernel", "kib_after_bytes", "arrival_cpu_us", "idle_cores")
    for case in cases.CASES:
        if case.bench[0] != "idle":
            continue
        for peer in ("before", "stompbox"):
            if figures.of(case.name, peer, "kib_per_connection") is not None:
                words = case.words.replace(": KiB each", "") + (", before" if peer == "before" else "")
                lines.append(f"| {words} | " + " | ".join(figure(figures.of(case.name, peer, key)) for key in keys) + " |")
    return "\n".join(lines)


def all_tables(whole):
    figures = Figures(whole)
    return {
        "run": run_line(whole),
        "peers": peers_table(figures),
        "goals": goals_table(figures),
        "latency": latency_table(figures),
        "own": own_table(figures),
        "memory": memory_table(figures),
    }


def document(whole):
    """The document with its tables made anew."""
    with open(DOCUMENT) as file:
        text = file.read()
    for name, table in all_tables(whole).items():
        begin, end = f"<!-- compare:begin {name} -->", f"<!-- compare:end {name} -->"
        if begin not in text or end not in text:
            raise servers.Failed(f"docs/performance.md has no markers for {name}")
        text = re.sub(re.escape(begin) + ".*?" + re.escape(end), lambda _: f"{begin}\n{table}\n{end}", text, flags=re.S)
    return text


def load():
    with open(FIGURES) as file:
        return json.load(file)


def missing(whole):
    """Cases, or servers of a case, of which there is no figure."""
    runs = whole["cases"]
    return [f"{case.name}: {peer}" for case in cases.CASES for peer in case.peers if not runs.get(case.name, {}).get(peer)]


def write(check):
    """Writes the tables; with `check` says whether they are the right ones already."""
    made = document(load())
    with open(DOCUMENT) as file:
        is_right = file.read() == made
    if check:
        return is_right and not missing(load())
    with open(DOCUMENT, "w") as file:
        file.write(made)
    return True
