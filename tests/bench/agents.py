"""What is measured: a private hotpathd, its metrics, its processes, and BPF's run time."""
import atexit
import contextlib
import http.client
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import tempfile
import time

BPFTOOL = next((p for p in ("/usr/sbin/bpftool", "/usr/bin/bpftool") if os.path.exists(p)), "bpftool")
STATS = pathlib.Path("/proc/sys/kernel/bpf_stats_enabled")


def count_bpf_run_time():
    """Has the kernel count the run time of BPF programs, until this process ends."""
    before = STATS.read_text()
    atexit.register(lambda: STATS.write_text(before))
    STATS.write_text("1")


def end_with_cleanup():
    """SIGTERM and SIGINT end the script by an exception, so that everything is cleaned up."""

    def stop(number, _frame):
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)


def renice(nice):
    """For a new process in a session of its own. Sessions share CPUs by the priority of their group."""
    os.nice(nice)
    with contextlib.suppress(OSError), open("/proc/self/autogroup", "w", encoding="ascii") as group:
        group.write(str(nice))


def stop(process, patience=10):
    """Ends a process and its group, by its number; waits for it."""
    if process.poll() is None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(process.pid, number)
            except ProcessLookupError:
                break
            try:
                process.wait(patience)
                break
            except subprocess.TimeoutExpired:
                pass
    try:  # What the leader of the group left behind.
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path):
        super().__init__("localhost", timeout=30)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Daemon:
    """A hotpathd on a socket of its own, without TCP; ended with all it started by stop()."""

    def __init__(self, program, hz=19, arguments=()):
        self.folder = tempfile.TemporaryDirectory(prefix="hotpath-bench-")
        self.socket = self.folder.name + "/socket"
        config = pathlib.Path(self.folder.name, "config.toml")
        config.write_text("")
        self.log = open(self.folder.name + "/log", "w+", encoding="utf-8")
        self.started = time.monotonic()
        # Priority: on a busy machine the reader is not to be what is measured.
        self.process = subprocess.Popen(
            [program, "--config", str(config), "--listen", "", "--socket", self.socket,
             "--state-dir", self.folder.name + "/state", "--frequency", str(hz), *arguments],
            stdout=self.log, stderr=self.log, start_new_session=True,
            preexec_fn=lambda: renice(-20))

    def get(self, path):
        connection = UnixConnection(self.socket)
        try:
            connection.request("GET", path)
            return connection.getresponse().read()
        finally:
            connection.close()

    def metrics(self):
        """Samples by name and labels, as in the text format."""
        found = {}
        for line in self.get("/metrics").decode().splitlines():
            if not line.startswith("#"):
                name, value = line.rsplit(" ", 1)
                found[name] = float(value)
        return found

    def wait_for(self, test, patience=60, interval=0.005):
        """The first metrics that pass the test, and when: seconds since the start."""
        while time.monotonic() - self.started < patience:
            if self.process.poll() is not None:
                self.log.seek(0)
                raise RuntimeError("hotpathd ended: " + self.log.read()[-500:])
            try:
                metrics = self.metrics()
                if test(metrics):
                    return metrics, time.monotonic() - self.started
            except OSError:
                pass
            time.sleep(interval)
        raise RuntimeError(f"hotpathd: nothing after {patience} s")

    def settle(self, least=2, most=6):
        """Waits until no new file has been indexed for a second: the tables of a load are there.

        On a machine where others build and test, new files never end: then after `most` seconds."""
        started = time.monotonic()
        files, since = None, started
        while True:
            now = time.monotonic()
            metrics = self.metrics()
            seen = (metrics["hotpathd_files_indexed_total"], metrics["hotpathd_file_queue_length"])
            if seen != files:
                files, since = seen, now
            if (now - started > least and now - since > 1 and seen[1] == 0) or now - started > most:
                return
            time.sleep(0.2)

    def tree(self):
        """Ids of the daemon and everything below it."""
        children = {}
        for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
            try:
                parent = int(path.read_text().rsplit(")", 1)[1].split()[1])
            except (OSError, ValueError):
                continue
            children.setdefault(parent, []).append(int(path.parent.name))
        found, left = [], [self.process.pid]
        while left:
            found.append(left[-1])
            left.extend(children.get(left.pop(), []))
        return found

    def memory_bytes(self):
        """(Rss, Pss) of the daemon and its children."""
        rss = pss = 0
        for pid in self.tree():
            try:
                text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
            except OSError:
                continue
            rss += sum(map(int, re.findall(r"^Rss: +(\d+) kB", text, re.M))) << 10
            pss += sum(map(int, re.findall(r"^Pss: +(\d+) kB", text, re.M))) << 10
        return rss, pss

    def cpu_seconds(self):
        """CPU time of the daemon, its children, and the children it has waited for."""
        total = 0
        ticks = os.sysconf("SC_CLK_TCK")
        for pid in self.tree():
            try:
                for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
                    total += int((task / "schedstat").read_text().split()[0]) / 1e9
                fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
                total += (int(fields[13]) + int(fields[14])) / ticks
            except OSError:
                continue
        return total

    def map_bytes(self):
        """Memory of the daemon's BPF maps: those it has a descriptor of, and the unwind tables."""
        total, seen = 0, set()
        for path in pathlib.Path(f"/proc/{self.process.pid}/fdinfo").iterdir():
            try:
                text = path.read_text()
            except OSError:
                continue
            number = re.search(r"^map_id:\s*(\d+)", text, re.M)
            if number and number[1] not in seen:
                seen.add(number[1])
                total += int(re.search(r"^memlock:\s*(\d+)", text, re.M)[1])
        return total + int(self.metrics()["hotpathd_unwind_table_bytes"])

    def stop(self):
        stop(self.process)
        self.log.close()
        self.folder.cleanup()


def bpftool(*arguments):
    result = subprocess.run([BPFTOOL, "-j", *arguments], capture_output=True, text=True, check=False)
    try:
        return json.loads(result.stdout)
    except json.JSONDecodeError:
        return []


def system_map_bytes():
    """Memory of all BPF maps of the machine; those inside other maps have no descriptor."""
    return sum(int(entry.get("bytes_memlock", 0)) for entry in bpftool("map", "show"))


def bpf_programs(kind):
    """Programs of a kind, by id."""
    return {entry["id"]: entry for entry in bpftool("prog", "show") if entry.get("type") == kind}
