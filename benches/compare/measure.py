"""Measuring: round by round, peer by peer, one stack of servers at a time.

Not here: what the cases are, tables. Invariant: in a round every peer has its turn before the next round
begins, so that what else the machine does meets all of them; a case that fails says why and stops nobody.
"""

import json
import os
import statistics
import subprocess
import time

import cases
import servers

# What is kept of each run; the rest stands in target/compare.
KEPT = (
    "cpu_us_per_delivery", "cpu_us_per_message", "cpu_us_per_arrival", "messages_per_second",
    "deliveries_per_second", "messages", "deliveries", "arrivals", "cpu_cores", "rss_kib", "kib_per_connection",
    "kib_with_kernel", "kib_after_bytes", "idle_cores", "arrival_cpu_us", "lost", "duplicated", "reordered", "astray",
    "unreceipted", "is_behind",
)
TIMES = ("latency", "receipt", "arrival")


class Measuring:
    def __init__(self, options, tools):
        self.options = options
        self.tools = tools
        self.results = {}
        self.began = time.monotonic()

    def say(self, words):
        print(f"[{time.monotonic() - self.began:6.0f} s] {words}", flush=True)

    def all(self):
        for number in range(self.options.rounds):
            for peer in self.options.peers:
                self.round(number, peer)
        return self.results

    def round(self, number, peer):
        mine = [case for case in self.options.cases
                if cases.peer_of(peer) in case.peers and not (case.once and number > 0)]
        stacks = {}
        for case in mine:
            stacks.setdefault(self.stack_name(case), []).append(case)
        for name, together in stacks.items():
            if name.startswith("fresh"):
                for case in together:
                    self.on(number, peer, name, [case])
            else:
                self.on(number, peer, name, together)

    @staticmethod
    def stack_name(case):
        return case.alone or "shared"

    def on(self, number, peer, name, together):
        try:
            stack = self.start(peer, name)
        except servers.Failed as error:
            self.say(f"{peer}: {error}")
            for case in together:
                self.note(case, peer, {"failed": str(error).splitlines()[0]})
            return
        with stack:
            for case in together:
                figures = self.run(number, peer, stack, case)
                self.note(case, peer, figures)

    def start(self, peer, name):
        binary = self.tools["before"] if peer == "before" else self.tools["stompbox"]
        kind = cases.peer_of(peer)
        if kind == "stompbox" and name.startswith("cluster-"):
            return servers.stompbox_cluster(binary, int(name.removeprefix("cluster-")))
        if kind == "stompbox":
            return servers.stompbox(binary, tls=name == "tls")
        if kind == "rabbitmq":
            return servers.rabbitmq_web_stomp()
        if kind.startswith("socketio"):
            return servers.socketio(2 if kind == "socketio-x2" else 1)
        return servers.bare(self.tools["bare"], kind)

    def run(self, number, peer, stack, case):
        folder = self.options.folder
        path = os.path.join(folder, f"{case.name}.{peer}.{number}")
        words = cases.command(case, cases.peer_of(peer), self.options.quick)
        if "rate" in case.extra:
            other, share = case.extra["rate"]
            runs = self.results.get(other, {}).get(peer, [{}])
            most = runs[-1].get("messages_per_second")
            if not most:
                return {"failed": f"{other} gave no rate"}
            words += ["--rate", str(max(1, round(most * share)))]
        urls = stack.urls[:1] if case.extra.get("first_url_only") else stack.urls
        for url in urls:
            words += ["--url", url]
        for pid in stack.pids:
            words += ["--pid", str(pid)]
        words += stack.options + ["--quiet", "--patience", "20s", "--json", path + ".json", "--svg", path + ".svg"]
        for old in (path + ".json", path + ".svg"):
            if os.path.exists(old):
                os.remove(old)
        limit = case.seconds + 240
        try:
            done = subprocess.run([self.tools["stompbox"], "bench", *words], capture_output=True, text=True, timeout=limit)
            said = done.stderr.strip()
        except subprocess.TimeoutExpired:
            said = f"it did not end within {limit} s"
        # In one line: an ERROR frame says its cause behind the first.
        figures = {"failed": " | ".join(said.splitlines())[:500] if said else "no words"}
        if os.path.exists(path + ".json"):
            with open(path + ".json") as file:
                whole = json.load(file)["figures"]
            figures = {key: whole[key] for key in KEPT if key in whole}
            for name in TIMES:
                if name in whole:
                    figures[name + "_p50_ms"] = whole[name]["p50_ms"]
                    figures[name + "_p99_ms"] = whole[name]["p99_ms"]
        shown = figures.get(case.key)
        shown = figures.get("failed") or (f"{shown:.3f}" if isinstance(shown, float) else shown)
        self.say(f"round {number + 1}, {peer}, {case.name}: {shown}" + (f" ({said})" if said and "failed" not in figures else ""))
        return figures

    def note(self, case, peer, figures):
        self.results.setdefault(case.name, {}).setdefault(peer, []).append(figures)


def median(runs):
    """Of each figure the median of its rounds; faults add up."""
    summed = ("lost", "duplicated", "reordered", "astray", "unreceipted")
    good = [run for run in runs if "failed" not in run]
    if not good:
        return {"failed": runs[-1]["failed"]} if runs else {}
    middle = {}
    for key in sorted({key for run in good for key in run}):
        values = [run[key] for run in good if key in run]
        if key in summed:
            middle[key] = sum(values)
        elif isinstance(values[0], bool):
            middle[key] = any(values)
        else:
            # Four digits are more than repeats.
            middle[key] = float(f"{statistics.median(values):.4g}")
    return middle
