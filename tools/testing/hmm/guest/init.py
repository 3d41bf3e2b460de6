#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""init.py JOB - first process of a guest that guest.py boots

The guest uses the host's root file system read-only, and tmpfs for everything that is
written. JOB is JSON: what to run, in which directory, and what has to be visible below
/tmp. Output goes to one virtio port, the exit status to another.
"""
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
from ktap import SPLAT, Ktap  # noqa: E402

MOUNTS = ["-t proc proc /proc", "-t sysfs sys /sys", "-t devtmpfs dev /dev",
          "-t tmpfs -o mode=1777 shm /dev/shm", "-t tmpfs run /run",
          "-t debugfs debugfs /sys/kernel/debug", "-t tracefs tracefs /sys/kernel/tracing"]
LEAKS = Path("/sys/kernel/debug/kmemleak")


def mount(args: str) -> None:
    subprocess.run(["mount", *args.split()], stderr=subprocess.DEVNULL, check=False)


def set_up(job: dict[str, Any]) -> None:
    for args in MOUNTS:
        if args.endswith("/dev/shm"):
            os.makedirs("/dev/shm", exist_ok=True)
        mount(args)
    if not os.path.lexists("/dev/fd"):
        os.symlink("/proc/self/fd", "/dev/fd")
    os.mkdir("/run/host")
    mount("--bind / /run/host")
    for place in "/tmp", "/var/tmp":
        mount(f"-t tmpfs -o mode=1777 tmp {place}")
        for path in job["visible"]:
            if path.startswith(place + "/"):
                os.makedirs(path, exist_ok=True)
                mount(f"--bind /run/host{path} {path}")
    os.chdir(job["dir"])


def port(name: str) -> int:
    for path in Path("/sys/class/virtio-ports").iterdir():
        if (path / "name").read_text().strip() == name:
            return os.open(f"/dev/{path.name}", os.O_WRONLY)
    raise OSError(f"no virtio port {name}")


def limited(argv: list[str], seconds: float | None, **options: Any) -> int | None:
    """Its exit status, or 124 after a timeout as in timeout(1); None if it cannot be killed."""
    with open(os.devnull) as null:
        process = subprocess.Popen(argv, stdin=null, start_new_session=True, **options)
    try:
        code = process.wait(seconds)
        return code if code >= 0 else 128 - code
    except subprocess.TimeoutExpired:
        pass
    for kill in signal.SIGTERM, signal.SIGKILL:
        os.killpg(process.pid, kill)
        try:
            process.wait(10)
            return 124
        except subprocess.TimeoutExpired:
            pass
    return None


def say(text: str) -> None:
    print(text, flush=True)


def run_programs(job: dict[str, Any]) -> int:
    """Load modules, run kselftests and print the exit status of each, run the command."""
    for module in job["modules"]:
        if subprocess.run(["insmod", *module], check=False).returncode:
            say(f"Bail out! {module[0]} cannot be loaded")
            return 1
    for program, *options in job["programs"]:
        path = Path(program)
        code = limited([f"./{path.name}", *options], job["seconds"], cwd=path.parent)
        say(f"# {path.name} ended with {137 if code is None else code}")
        if code is None:
            return 1
    return limited(job["command"], None) or 0 if job["command"] else 0


class Each:
    """Runs tests one by one, each with its test driver; see guest.py each."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.job = job
        self.loaded = ""
        self.log = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
        os.lseek(self.log, 0, os.SEEK_END)

    def complaints(self) -> int:
        """How many the kernel has logged since the last call."""
        count = 0
        while True:
            try:
                record = os.read(self.log, 8192).decode(errors="replace")
            except BlockingIOError:
                return count
            except BrokenPipeError:  # records were overwritten before they were read
                continue
            count += bool(SPLAT.search(record))

    def use_driver(self, module: str) -> bool:
        """A driver cannot be unloaded while a page of its memory is in use: that takes a reboot."""
        if module == self.loaded:
            return True
        if self.loaded and limited(["rmmod", self.job["driver"]], 20) != 0:
            return False
        self.loaded = module
        return subprocess.run(["insmod", module, *self.job["parameters"]], check=False).returncode == 0

    def test(self, program: str, test: str) -> str | None:
        self.complaints()
        with open("/run/tap", "wb") as tap:
            code = limited([f"./{program}", "-r", test], 130, cwd=self.job["programs"],
                           stdout=tap, stderr=subprocess.STDOUT)
        if code is None:
            return None
        ktap = Ktap()
        for line in Path("/run/tap").read_text(errors="replace").splitlines():
            ktap.feed(line)
            say(f"# {line}")
        if self.complaints():
            return "splat"
        if ktap.failed or code not in (0, 4):
            return "FAIL"
        return "pass" if ktap.passed else "skip" if ktap.skipped else "FAIL"

    def run(self) -> int:
        for line in self.job["list"]:
            program, test, module, sound = (line.split() + ["", ""])[:4]
            name = " ".join(line.split()[:3])
            if not self.use_driver(module or self.job["module"]):
                break
            say(f"begin {name}")
            Path("/dev/kmsg").write_text(f"begin {name}")
            verdict = self.test(program, test)
            if verdict is None:
                break
            say(f"{verdict} {name}")
            # Many of the kernel's checks report only once
            if verdict == "splat" or (sound and verdict != "pass"):
                break
        return 0


def look_for_leaks() -> None:
    """kmemleak reports to the console; it ignores objects younger than a few seconds."""
    if LEAKS.exists():
        Path("/dev/kmsg").write_text("init.py: looking for leaks, which takes half a minute")
        try:
            LEAKS.write_text("scan")
            time.sleep(6)
            LEAKS.write_text("scan")
            for line in LEAKS.read_text().splitlines():
                Path("/dev/kmsg").write_text(line)
        except OSError:  # kmemleak=off
            pass


def main(job: dict[str, Any]) -> None:
    out, status = port("out"), port("status")
    for fd in 1, 2:
        os.dup2(out, fd)
    code = Each(job).run() if "list" in job else run_programs(job)
    look_for_leaks()
    os.write(status, b"%d\n" % code)
    os.sync()
    Path("/proc/sysrq-trigger").write_text("b")
    time.sleep(60)


if __name__ == "__main__":
    os.environ.update(PATH="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                      HOME="/tmp", TERM="dumb", LC_ALL="C")
    # The kernel puts parameters that it does not know before it
    job_file = sys.argv[-1]
    description = json.loads(Path(job_file).read_text())
    set_up(description)
    worker = os.fork()
    if not worker:
        main(description)
    while os.wait()[0] != worker:
        pass
