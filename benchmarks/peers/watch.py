"""What a server's processes use, and what everybody else on the machine does meanwhile."""

import random
import resource
import signal
import socket
import threading
import time

import psutil

QUIET_CORES = 0.25


def free_port():
    """A port below the ephemeral range whose next four are free too (gRPC, metrics and the like of some peers)."""
    while True:
        port, taken = random.SystemRandom().randrange(20_000, 30_000), []
        try:
            for k in range(5):
                taken.append(socket.socket())
                taken[-1].bind(("127.0.0.1", port + k))
            return port
        except OSError:
            continue
        finally:
            for one in taken:
                one.close()


class Tree:
    """CPU seconds and resident memory of a process and all under it, remembered by pid and start time."""

    def __init__(self, pid):
        self.root, self.seen, self.cpu = psutil.Process(pid), {}, {}
        self.peak, self.ended = 0, threading.Event()
        self.sample()
        threading.Thread(target=self._watch, daemon=True).start()

    def sample(self):
        """CPU seconds until now."""
        held = 0
        try:
            for process in (self.root, *self.root.children(recursive=True)):
                self.seen.setdefault((process.pid, process.create_time()), process)
        except psutil.NoSuchProcess:
            return sum(self.cpu.values())
        for key, process in list(self.seen.items()):
            try:
                if process.is_running():
                    times = process.cpu_times()
                    self.cpu[key] = times.user + times.system
                    held += process.memory_info().rss
            except psutil.Error:  # it has just ended; what it used stays counted
                continue
        self.peak = max(self.peak, held)
        return sum(self.cpu.values())

    def end(self):
        """Stop watching."""
        self.ended.set()

    def kill(self):
        """End what was watched, politely first; nothing else is touched."""
        self.end()
        self.sample()
        for number, patience in ((signal.SIGTERM, 6), (signal.SIGKILL, 2)):
            for process in self.seen.values():
                try:
                    if process.is_running():
                        process.send_signal(number)
                except psutil.Error:
                    continue
            if not psutil.wait_procs(list(self.seen.values()), timeout=patience)[1]:
                return

    def _watch(self):
        while not self.ended.wait(0.5):
            self.sample()


def machine_cpu_s():
    times = psutil.cpu_times()
    return times.user + times.nice + times.system + times.irq + times.softirq + times.steal


def client_cpu_s():
    """Of the ended children of this process: wrk."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def wait_quiet(limit_s):
    """Until nobody else has used the machine for half a second, but no longer than ``limit_s``."""
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        busy, began = machine_cpu_s(), time.perf_counter()
        time.sleep(0.5)
        if (machine_cpu_s() - busy) / (time.perf_counter() - began) < QUIET_CORES:
            return
