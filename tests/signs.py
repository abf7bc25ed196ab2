"""Signs of life: on a terminal, a test that takes long says so every few seconds."""

import os
import threading
from time import monotonic

SILENCE = 5  # seconds


class Signs:
    """A thread that writes to a file descriptor while a test goes on."""

    def __init__(self, descriptor, silence=SILENCE):
        self.descriptor, self.silence = descriptor, silence
        self.name, self.start, self.said, self.over = None, 0.0, 0.0, threading.Event()
        threading.Thread(target=self.watch, daemon=True).start()

    def watch(self):
        while not self.over.wait(self.silence / 10):
            name, now = self.name, monotonic()
            if name is not None and now - self.said >= self.silence:
                os.write(self.descriptor, f"\n{name}: {now - self.start:.0f} s so far\n".encode())
                self.said = now

    def pytest_runtest_logstart(self, nodeid):
        self.start = self.said = monotonic()
        self.name = nodeid

    def pytest_runtest_logfinish(self):
        self.name = None

    def pytest_unconfigure(self):
        self.over.set()
