"""The servers that are compared, started privately: own folder, own ports, on loopback, ended with the
script however it ends.

Not here: what is measured. Invariant: a server that was started is in a `Stack`, and ends with it.
"""

import ctypes
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
RABBITMQ = "/usr/lib/rabbitmq/bin/rabbitmq-server"
SOCKETIO = os.path.join(ROOT, "benches/peers/socketio")

# Limits are on, with ceilings that are not reached: everything comes from one address, and their cost
# belongs into the figures. The beats are those that the clients ask for.
SETTINGS = {
    "LOG_LEVEL": "warn",
    "ANON_RECOGNITION": "token",
    "NETWORK_LIMITS": "127.0.0.0/8=100",
    "CONNECT_PER_NET": "0",
    "VISITORS_PER_NETWORK": "1000000",
    "RATE_ANON_PER_MIN": "1000000",
    "RATE_BURST": "1000000",
    "RATE_NET_PER_MIN": "10000000",
    "RATE_NET_BURST": "10000000",
    "HEART_BEAT": "10000,10000",
    "DESTINATION_RULES": "all /topic/** anyone; all /queue/** anyone; "
    "send /user/*/queue/bench anyone; send /user/** member",
}


# A shell over a server that starts others: when the pipe closes, because it was closed here or because the script
# is gone, all of the group ends.
GUARD = '"$@" & read _; kill -KILL 0'


class Failed(Exception):
    """A server does not start, or something that it needs is missing."""


def find_postgres():
    folders = [os.path.join("/usr/lib/postgresql", v, "bin") for v in sorted_versions()]
    return folders[-1] if folders else None


def sorted_versions():
    try:
        return sorted(os.listdir("/usr/lib/postgresql"), key=lambda v: [int(n) for n in re.findall(r"\d+", v)])
    except OSError:
        return []


def die_with_parent():
    """The kernel ends the child when the script is gone, also when it was killed."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


_used_ports = set()


def free_port():
    """A port below the range that the system gives to outgoing connections."""
    for port in range(21000 + os.getpid() % 5000, 32000):
        if port in _used_ports:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _used_ports.add(port)
        return port
    raise Failed("there is no free port")


def opens(port):
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Stack:
    """Some servers that belong together: where clients go, and whose processor time counts."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="stompbox-compare.")
        os.chmod(self.folder, 0o755)
        self.children = []
        self.urls = []
        self.pids = []
        self.options = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()

    def end(self):
        # In the order of their start reversed: nodes before what they stand on.
        for child in reversed(self.children):
            if child.stdin:
                child.stdin.close()
            elif child.poll() is None:
                child.terminate()
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        for child in self.children:
            # Whatever a server left behind is in the group that it led.
            try:
                os.killpg(child.pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                pass
        self.children = []
        shutil.rmtree(self.folder, ignore_errors=True)

    def path(self, name):
        return os.path.join(self.folder, name)

    def start(self, name, command, env=None, cwd=None, user=None, counts=True, is_guarded=False):
        if is_guarded:
            command = ["/bin/sh", "-c", GUARD, name, *command]
        with open(self.path(name + ".log"), "wb") as log:
            child = subprocess.Popen(
                command, env=env, cwd=cwd, user=user, stdin=subprocess.PIPE if is_guarded else subprocess.DEVNULL,
                stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
                preexec_fn=None if is_guarded else die_with_parent,
            )
        self.children.append(child)
        if counts:
            self.pids.append(child.pid)
        return child

    def said(self, name):
        with open(self.path(name + ".log"), errors="replace") as log:
            return log.read()

    def wait(self, name, child, ready, seconds=90):
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            answer = ready()
            if answer:
                return answer
            if child.poll() is not None:
                break
            time.sleep(0.1)
        raise Failed(f"{name} does not start:\n{self.said(name)[-2000:]}")

    def listening(self, name, child):
        """The address of a server that prints it."""
        def printed():
            found = re.search(r"^listening\s+(\S+:\d+)\s*$", self.said(name), re.M)
            return found and found.group(1)
        return self.wait(name, child, printed)

    # What the clustered ones stand on.

    def redis(self):
        if not shutil.which("redis-server"):
            raise Failed("redis-server is missing: apt-get install redis-server")
        port = free_port()
        os.mkdir(self.path("redis"))
        child = self.start("redis-server", [
            "redis-server", "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--appendonly", "no",
            "--dir", self.path("redis")])
        self.wait("redis-server", child, lambda: opens(port))
        return f"redis://127.0.0.1:{port}"

    def postgres(self):
        binaries = find_postgres()
        if not binaries:
            raise Failed("PostgreSQL is missing: apt-get install postgresql")
        user = "postgres" if os.getuid() == 0 else None
        os.mkdir(self.path("postgres"))
        if user:
            shutil.chown(self.path("postgres"), user)
        data, port = self.path("postgres/data"), free_port()
        made = subprocess.run(
            [os.path.join(binaries, "initdb"), "-D", data, "-U", "stompbox", "--auth=trust",
             "--encoding=UTF8", "--locale=C"], user=user, capture_output=True, text=True, cwd="/")
        if made.returncode:
            raise Failed("initdb: " + made.stderr[-500:])
        child = self.start("postgres", [
            os.path.join(binaries, "postgres"), "-D", data, "-h", "127.0.0.1", "-p", str(port),
            "-k", self.path("postgres"), "-c", "max_connections=200"], user=user, cwd="/")
        create = [os.path.join(binaries, "createdb"), "-h", "127.0.0.1", "-p", str(port), "-U", "stompbox", "stompbox"]
        self.wait("postgres", child, lambda: subprocess.run(create, capture_output=True).returncode == 0)
        return f"postgres://stompbox@127.0.0.1:{port}/stompbox"

    def rabbitmq(self, conf="", plugins="[]."):
        if not os.path.exists(RABBITMQ):
            raise Failed("RabbitMQ is missing: apt-get install rabbitmq-server")
        port, dist, epmd = free_port(), free_port(), free_port()
        home = self.path("rabbitmq")
        os.mkdir(home)
        for name, text in (("rabbitmq.conf", conf), ("enabled_plugins", plugins)):
            with open(os.path.join(home, name), "w") as file:
                file.write(text + "\n")
        surroundings = {
            **os.environ, "HOME": home, "ERL_EPMD_PORT": str(epmd), "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_MNESIA_BASE": home + "/mnesia", "RABBITMQ_LOG_BASE": home + "/log",
            "RABBITMQ_SCHEMA_DIR": home + "/schema", "RABBITMQ_GENERATED_CONFIG_DIR": home + "/generated",
            "RABBITMQ_PLUGINS_EXPAND_DIR": home + "/expanded", "RABBITMQ_PID_FILE": home + "/pid",
            "RABBITMQ_CONFIG_FILE": home + "/rabbitmq.conf", "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_ENABLED_PLUGINS_FILE": home + "/enabled_plugins",
            "RABBITMQ_NODENAME": "compare@localhost", "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(port), "RABBITMQ_DIST_PORT": str(dist),
            # Without this its schedulers spin while they wait, and all of that would be counted.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none",
        }
        self.start("epmd", ["epmd", "-port", str(epmd), "-address", "127.0.0.1"], env=surroundings, counts=False)
        child = self.start("rabbitmq", [RABBITMQ], env=surroundings, is_guarded=True)
        self.wait("rabbitmq", child, lambda: opens(port) and "completed with" in self.said("rabbitmq"))
        return f"amqp://guest:guest@127.0.0.1:{port}/%2f"


def stompbox(binary, tls=False):
    """A node alone: SQLite, engines in the process."""
    stack = Stack()
    env = {"PATH": os.environ["PATH"], **SETTINGS}
    scheme = "ws"
    if tls:
        scheme = "wss"
        made = subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
             "-days", "2", "-subj", "/CN=localhost", "-keyout", stack.path("key.pem"), "-out", stack.path("cert.pem")],
            capture_output=True, text=True)
        if made.returncode:
            raise Failed("openssl: " + made.stderr[-500:])
        env.update(TLS_CERT=stack.path("cert.pem"), TLS_KEY=stack.path("key.pem"))
        stack.options = ["--insecure"]
    child = stack.start("stompbox", [binary, "--config", "/dev/null", "--port", "0", "--data-dir", stack.path("data")], env=env)
    stack.urls = [f"{scheme}://{stack.listening('stompbox', child)}/ws-chat"]
    return stack


def stompbox_cluster(binary, nodes):
    """Several nodes on PostgreSQL, Redis and RabbitMQ, all of which count."""
    stack = Stack()
    env = {
        "PATH": os.environ["PATH"], **SETTINGS, "JWT_SECRET": "x" * 40,
        "REDIS_URL": stack.redis() + "/0", "RABBITMQ_URL": stack.rabbitmq(), "DATABASE_URL": stack.postgres(),
    }
    for number in range(nodes):
        name = f"node-{number}"
        child = stack.start(name, [binary, "--config", "/dev/null", "--port", "0", "--server-id", name,
                                   "--data-dir", stack.path(name)], env=env)
        stack.urls.append(f"ws://{stack.listening(name, child)}/ws-chat")
    return stack


TOPIC_PAIRS = ["--subscribe", "/topic/u-{self}", "--send", "/topic/u-{peer}"]


def rabbitmq_web_stomp():
    stack = Stack()
    port = free_port()
    stack.rabbitmq(
        conf=f"web_stomp.tcp.ip = 127.0.0.1\nweb_stomp.tcp.port = {port}\nstomp.listeners.tcp = none\n"
        "log.console.level = warning\nlog.file.level = warning",
        plugins="[rabbitmq_web_stomp].")
    stack.wait("rabbitmq", stack.children[-1], lambda: opens(port))
    stack.urls = [f"ws://127.0.0.1:{port}/ws"]
    stack.options = ["--login", "guest", "--passcode", "guest", "--vhost", "/"]
    return stack


def socketio(processes):
    """Socket.IO, alone or as several processes over its Redis adapter."""
    stack = Stack()
    env = {"PATH": os.environ["PATH"], "NODE_ENV": "production", "PING_INTERVAL": "10000"}
    if processes > 1:
        env["REDIS_URL"] = stack.redis()
    for number in range(processes):
        name = f"socketio-{number}"
        child = stack.start(name, ["node", os.path.join(SOCKETIO, "server.js")], env=env)
        stack.urls.append(f"ws://{stack.listening(name, child)}/socket.io/?EIO=4&transport=websocket")
    stack.options = ["--dialect", "socket.io"]
    return stack


def bare(binary, design):
    stack = Stack()
    child = stack.start("bare", [binary, "--design", design], env={"PATH": os.environ["PATH"]})
    stack.urls = [f"ws://{stack.listening('bare', child)}/"]
    return stack
