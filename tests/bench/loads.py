"""The loads that agents are measured under. Each is a context: ready inside, gone after it."""
import contextlib
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import threading
import time

from agents import renice, stop

HERE = pathlib.Path(__file__).resolve().parent
# Above everybody else on a busy machine, so that what runs is the load; below the agents.
LOAD_NICE = -15


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(command, **options):
    options.setdefault("stdout", subprocess.DEVNULL)
    options.setdefault("stderr", subprocess.DEVNULL)
    options.setdefault("stdin", subprocess.DEVNULL)
    nice = options.pop("nice", 0)
    return subprocess.Popen(command, start_new_session=True, preexec_fn=lambda: renice(nice), **options)


@contextlib.contextmanager
def started(command, **options):
    process = start(command, **options)
    try:
        yield process
    finally:
        stop(process, patience=5)


def build_frames(folder):
    program = os.path.join(folder, "frames")
    subprocess.run(["g++", "-O2", "-g", "-fomit-frame-pointer", str(HERE / "frames.cc"), "-o", program],
                   check=True)
    return program


@contextlib.contextmanager
def hot_loop(program, depth):
    """One on each CPU."""
    with contextlib.ExitStack() as stack:
        for cpu in os.sched_getaffinity(0):
            process = stack.enter_context(started([program, str(depth)], nice=LOAD_NICE))
            os.sched_setaffinity(process.pid, {cpu})
        yield


@contextlib.contextmanager
def compiling(jobs=1, nice=0):
    """g++ on a file with many headers, again and again."""
    with tempfile.TemporaryDirectory(prefix="hotpath-bench-") as folder:
        source = pathlib.Path(folder, "headers.cc")
        source.write_text("#include <algorithm>\n#include <functional>\n#include <iostream>\n#include <map>\n"
                          "#include <random>\n#include <regex>\n#include <string>\n#include <vector>\n"
                          "int main(int argc, char** argv) {\n"
                          "  std::map<std::string, std::vector<std::string>> found;\n"
                          "  for (int i = 0; i < argc; ++i)\n"
                          "    if (std::regex_match(argv[i], std::regex(\"a+b\")))\n"
                          "      found[argv[i]].push_back(argv[i]);\n"
                          "  std::cout << found.size();\n}\n")
        loop = f"while :; do g++ -std=c++20 -O2 -c {source} -o /dev/null; done"
        with contextlib.ExitStack() as stack:
            for _ in range(jobs):
                stack.enter_context(started(["sh", "-c", loop], nice=nice))
            yield


@contextlib.contextmanager
def redis(nice=0):
    port = str(free_port())
    with tempfile.TemporaryDirectory(prefix="hotpath-bench-") as folder, \
            started(["redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", folder],
                    nice=nice):
        wait_for_port(int(port))
        with started(["redis-benchmark", "-p", port, "-l", "-q", "-t", "set,get,lpush,lrange_100", "-r", "10000"],
                     nice=nice):
            yield


@contextlib.contextmanager
def nginx(nice=0):
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="hotpath-bench-") as folder:
        os.chmod(folder, 0o755)
        pathlib.Path(folder, "index.html").write_text("<p>hotpath</p>\n" * 60)
        config = pathlib.Path(folder, "nginx.conf")
        config.write_text(
            f"daemon off; worker_processes 2; pid {folder}/pid; error_log {folder}/error.log;\n"
            "events { worker_connections 512; }\n"
            f"http {{ access_log off; server {{ listen 127.0.0.1:{port}; root {folder}; }} }}\n")
        with started(["nginx", "-c", str(config), "-e", f"{folder}/error.log"], nice=nice):
            wait_for_port(port)
            with started(["wrk", "-t", "1", "-c", "16", "-d", "3600", f"http://127.0.0.1:{port}/"], nice=nice):
                yield


@contextlib.contextmanager
def postgres(nice=0):
    """A new cluster of the user postgres, with pgbench's tables and four clients."""
    programs = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin"))[-1]
    port = str(free_port())
    with tempfile.TemporaryDirectory(prefix="hotpath-bench-") as folder:
        shutil.chown(folder, "postgres")
        as_user = ["runuser", "-u", "postgres", "--"]
        options = {"check": True, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder}
        subprocess.run([*as_user, programs / "initdb", "-D", f"{folder}/data", "-A", "trust", "--no-sync"],
                       **options)
        with started([*as_user, programs / "postgres", "-D", f"{folder}/data", "-p", port, "-k", folder,
                      "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"], cwd=folder, nice=nice):
            wait_for_port(int(port))
            pgbench = [*as_user, "pgbench", "-h", "127.0.0.1", "-p", port]
            for _ in range(50):
                if subprocess.run([*pgbench, "-i", "-s", "2", "-q", "postgres"],
                                  **{**options, "check": False}).returncode == 0:
                    break
                time.sleep(0.2)
            with started([*pgbench, "-c", "4", "-T", "3600", "postgres"], cwd=folder, nice=nice):
                yield


@contextlib.contextmanager
def idle_processes(count):
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(started(["sleep", "3600"]))
        yield


@contextlib.contextmanager
def exits(rate_hz=50):
    """Processes that end at once, `rate_hz` of them a second."""
    ending = threading.Event()

    def run():
        due = time.monotonic()
        while not ending.is_set():
            subprocess.run(["/bin/true"], check=False)
            due = max(due + 1 / rate_hz, time.monotonic() - 0.1)
            ending.wait(max(0, due - time.monotonic()))

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join()


def wait_for_port(port, patience=30):
    ends = time.monotonic() + patience
    while time.monotonic() < ends:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(f"nothing listens on port {port}")


@contextlib.contextmanager
def busy_processes(count):
    """`count` processes that never stop, so that each sample is likely another process."""
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(started(["sh", "-c", "while :; do :; done"]))
        yield


SPIN = """
#include <time.h>
int main(void) {
  while (clock() < CLOCKS_PER_SEC / 10) {}
}
"""


@contextlib.contextmanager
def many_files(count):
    """`count` programs of different build IDs, each run for 100 ms of CPU, one after the other on each CPU."""
    ending = threading.Event()
    with tempfile.TemporaryDirectory(prefix="hotpath-bench-") as folder:
        source = pathlib.Path(folder, "spin.c")
        source.write_text(SPIN, encoding="ascii")
        for number in range(count):
            subprocess.run(["gcc", "-O1", f"-Wl,--build-id=0x{number:040x}", "-o", f"{folder}/spin{number}", source],
                           check=True)

        def run(first):
            number = first
            while not ending.is_set():
                subprocess.run([f"{folder}/spin{number % count}"], check=False)
                number += os.cpu_count()

        threads = [threading.Thread(target=run, args=(cpu,)) for cpu in range(os.cpu_count())]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            ending.set()
            for thread in threads:
                thread.join()
