#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""guest.py - boot a kernel, run something in it, and report the result

  guest.py [OPTION]... run KERNEL COMMAND...      a command
  guest.py kselftest KERNEL TESTS [PROGRAM [OPTION...]]
                                                  selftests: hmm, hmm-tests, gpusvm, rdma
  guest.py each KERNEL                            tests one by one, see below
  guest.py list [TESTS]                           list tests, for "each"
  guest.py kunit [MACHINE]...                     mm/tests/hmm_kunit.c
  guest.py bits32 MACHINE...                      KUnit and selftests, on 32 bit

KERNEL is named in config/kernels, and is built first. MACHINE is um (the default,
which runs natively), x86_64, i386, arm or arm-lpae. Everything else runs in QEMU,
emulated. A panic, oops, warning or lock report in the console log is a failure,
whatever the tests report. Actions that count tests end with "N passed, N failed, N
skipped".

"each" reads lines of "PROGRAM TEST [MODULE [sound]]", where MODULE is a test driver
to use instead of KERNEL's, and prints a line for each, in the same order: pass, FAIL
or skip, as the test reports; splat if the kernel printed a warning or worse; crash if
the test or the guest did not finish. It reboots after a crash, and if a test marked as
sound does not pass: such a test checks that the previous one left no damage.

virtme-ng is not used: Debian 12 does not have it, and Debian 13's 1.35 had not run `true` on
kernel run after 120 s, emulated on a busy host, where boot() takes 44 to 60 s.
"""
import argparse
import fcntl
import functools
import itertools
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, NoReturn, TextIO

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
from ktap import SPLAT, Ktap  # noqa: E402

HERE = Path(__file__).resolve().parent.parent
TOP = HERE.parent.parent.parent
ENV = subprocess.run(["bash", "-c", '. "$0" && echo "$build"', HERE / "env.sh"],
                     check=False, text=True, stdout=subprocess.PIPE)
if ENV.returncode:
    sys.exit(1)  # env.sh has printed the reason
BUILD = Path(ENV.stdout.strip())
# The source of the tests
TREE = BUILD / os.environ.get("HMM_SOURCE", "tree")

# On a busy host, the guest may seem stuck for longer than its watchdogs tolerate, and
# its timer may seem dead during boot
PATIENCE = ("no_timer_check sysctl.kernel.watchdog_thresh=60 rcupdate.rcu_cpu_stall_timeout=300 "
            "sysctl.kernel.hung_task_timeout_secs=600")
COHERENT = 0x108000000, 0x118000000  # the coherent devices' memory, 256 MiB each


@dataclass
class Guest:
    """How to boot a guest"""
    memory: str = "2G"
    cpus: int = 2
    seconds: int = 600
    args: str = ""
    qemu: list[str] = field(default_factory=list)


def selftest_guest(devices: bool = True, **options: Any) -> Guest:
    qemu = ("-device intel-iommu -device edu "
            "-object memory-backend-ram,id=bar,size=4M,share=on -device ivshmem-plain,memdev=bar")
    return Guest("6G", args=f"numa=fake=2 numa_balancing=disable memmap=512M${COHERENT[0]:#x} "
                 "secretmem.enable=1 hugepagesz=1G hugepages=1 hugepagesz=2M hugepages=64",
                 qemu=qemu.split() if devices else [], **options)


@dataclass
class Tests:
    """A directory of selftests and what they need"""
    directory: str
    modules: list[list[str]]  # paths below the kernel's objects, parameters
    programs: list[str] = field(default_factory=list)  # default: all of the Makefile's
    goal: list[str] = field(default_factory=list)  # default: make's


DRIVER = ["lib/test_hmm/test_hmm.ko",
          *(f"spm_addr_dev{i}={address:#x}" for i, address in enumerate(COHERENT))]
TESTS = {
    "hmm": Tests("hmm", [DRIVER]),
    "hmm-tests": Tests("mm", [DRIVER], ["hmm-tests"], ["{out}/hmm-tests"]),
    "gpusvm": Tests("gpusvm", [["drivers/gpu/drm/drm_gpusvm_helper.ko"],
                               ["drivers/gpu/drm/tests/drm_gpusvm_test.ko"]]),
    # Built-in code has no module
    "rdma": Tests("rdma", [[f"{name}.ko"] for name in (
        "drivers/net/dummy", "drivers/block/brd", "drivers/block/loop", "net/ipv4/udp_tunnel",
        "net/ipv6/ip6_udp_tunnel", "drivers/infiniband/core/ib_core",
        "drivers/infiniband/core/ib_uverbs_support", "drivers/infiniband/core/ib_uverbs",
        "drivers/infiniband/sw/rxe/rdma_rxe")], ["rxe_odp.sh"], ["install", "INSTALL_PATH={out}"]),
}


class Failed(Exception):
    pass


def say(text: str) -> None:
    print(text, flush=True)


def locked(name: str) -> TextIO:
    """Takes the lock of this name, which is held while the file is open."""
    BUILD.mkdir(parents=True, exist_ok=True)
    lock = (BUILD / f"{name}.lock").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


def script(path: str, *args: str) -> None:
    if subprocess.run([HERE / path, *args], stdout=sys.stderr, check=False).returncode:
        raise Failed(f"{path} {' '.join(args)} failed; see above")


def make(log: Path, *args: str) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a") as out:
        made = subprocess.run(["make", "-s", *args], stdout=out, stderr=out, check=False)
    if made.returncode:
        errors = [line for line in log.read_text().splitlines() if re.search(r"error|\*\*\*", line)]
        raise Failed("\n".join(errors[:10] + [f"build failed; see {log}"]))


def build_tests(directory: str, out: Path, arch: str = "", cross: str = "", *more: str) -> None:
    """Uses the headers of the tested kernel, not those of this machine."""
    headers = BUILD / f"headers{arch and '-' + arch}"
    log = out.parent / f"{out.name}.log"
    log.unlink(missing_ok=True)
    out.mkdir(parents=True, exist_ok=True)
    make(log, "-C", str(TREE), f"O={headers}", *([f"ARCH={arch}"] if arch else []), "headers")
    make(log, "-C", str(TREE / "tools/testing/selftests" / directory), f"OUTPUT={out}",
         f"KHDR_INCLUDES=-isystem {headers}/usr/include",
         *([f"CROSS_COMPILE={cross}", f"CC={cross}gcc"] if cross else []), *more)


def makefile_programs(directory: str) -> list[str]:
    makefile = (TREE / "tools/testing/selftests" / directory / "Makefile").read_text()
    found = re.search(r"^TEST_GEN_PROGS\s*:?=\s*(.*)", makefile, re.M)
    return found[1].split() if found else []


def build_collection(tests: Tests) -> Path:
    """Returns the directory of its programs."""
    script("base/tree.sh", TREE.name)
    out = BUILD / "selftests" / tests.directory
    with locked("selftests"):
        build_tests(tests.directory, out, "", "", *(word.format(out=out) for word in tests.goal))
    return out


def timeout_of(directory: str) -> int:
    found = re.search(r"^timeout=(\d+)", (TREE / "tools/testing/selftests" / directory /
                                          "settings").read_text(), re.M)
    return int(found[1]) if found else 45


def complaints(log: Path) -> list[str]:
    return [line for line in log.read_text(errors="replace").splitlines() if SPLAT.search(line)]


def watched(argv: list[str], seconds: int, hear: Callable[[str], None], **options: Any) -> int:
    """Runs a kernel for at most this many seconds, and passes its output to hear()."""
    late = threading.Event()
    # QEMU closes a port to the guest when its input ends: never close this one
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               text=True, errors="replace", **options)

    def stop() -> None:
        late.set()
        process.kill()

    timer = threading.Timer(seconds, stop)
    timer.start()
    try:
        assert process.stdout
        for line in process.stdout:
            hear(line.rstrip("\n"))
        code = process.wait()
    finally:
        timer.cancel()
        process.kill()
    if late.is_set():
        raise Failed(f"timed out after {seconds} s")
    return code


def boot(kernel: str, guest: Guest, job: dict[str, Any], log: Path,
         hear: Callable[[str], None] = say) -> int:
    """Boots an x86-64 kernel to do a job, see init.py; returns the job's exit status."""
    image = BUILD / kernel / "vmlinux"
    if not image.exists():
        raise Failed(f"{image}: no such kernel image")
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("")
    job = {"modules": [], "programs": [], "command": [], "seconds": None, "dir": os.getcwd(),
           "visible": [str(TOP), str(BUILD), os.getcwd()]} | job
    with tempfile.TemporaryDirectory(prefix="guest.", dir=BUILD) as name:
        where = Path(name)
        (where / "job").write_text(json.dumps(job))
        status = where / "status"
        code = watched(
            ["qemu-system-x86_64", "-machine", "q35",
             # Threads and -icount exclude each other
             "-accel", f"tcg,thread={'single' if guest.cpus == 1 else 'multi'}",
             "-cpu", "max,la57=off", "-smp", str(guest.cpus), "-m", guest.memory,
             "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
             "-kernel", str(image), "-append",
             "console=ttyS0 loglevel=8 panic=-1 oops=panic root=root rootfstype=9p "
             "rootflags=trans=virtio,version=9p2000.L,msize=512000,cache=loose ro "
             f"init={HERE}/guest/init.py mitigations=off {PATIENCE} {guest.args} "
             f"-- {where}/job",
             "-virtfs", "local,path=/,mount_tag=root,security_model=none,readonly=on,multidevs=remap",
             "-serial", f"file:{log}", "-device", "virtio-serial",
             "-chardev", "stdio,id=out,signal=off", "-device", "virtserialport,chardev=out,name=out",
             "-chardev", f"file,id=status,path={status}",
             "-device", "virtserialport,chardev=status,name=status", *guest.qemu],
            guest.seconds, hear)
        if bad := complaints(log):
            raise Failed("\n".join([*bad[:5], f"{kernel}: warnings or errors from the kernel; see {log}"]))
        if code:
            raise Failed(f"{kernel}: QEMU ended with {code}; see {log}")
        if not status.exists() or not status.read_text():
            last = log.read_text(errors="replace").splitlines()[-3:]
            raise Failed("\n".join([*last, f"{kernel}: the guest stopped before the job was done; see {log}"]))
        return int(status.read_text())


def report(ktap: Ktap) -> int:
    ktap.end()
    for failure in ktap.failures:
        say(f"not ok - {failure}")
    say(str(ktap))
    return 1 if ktap.failed else 0


def modules_of(kernel: str, tests: Tests, parameters: str) -> list[list[str]]:
    """Modules to load; the additional parameters are for the test driver."""
    if parameters and tests.modules != [DRIVER]:
        raise Failed(f"{tests.directory}: {parameters}: the tests do not use the test driver")
    return [[str(BUILD / kernel / path), *own, *parameters.split()] for path, *own in tests.modules
            if (BUILD / kernel / path).exists() or len(tests.modules) == 1]


def kselftest(kernel: str, name: str, words: list[str], options: argparse.Namespace) -> int:
    tests = TESTS[name]
    where = build_collection(tests)
    known = tests.programs or makefile_programs(tests.directory)
    programs = [words] if words else [[p] for p in known]
    for program, *_ in programs:
        if not (where / program).exists():
            raise Failed(f"{program}: no such program; there are {' '.join(known)}")
    script("base/kernel.sh", kernel)
    seconds = options.seconds or timeout_of(tests.directory)
    guest = guest_of(options, selftest_guest())
    guest.seconds = seconds * len(programs) + 120
    modules = modules_of(kernel, tests, options.parameters)
    ktap = Ktap()
    with (BUILD / kernel / f"{name}.tap").open("w") as tap:
        def hear(line: str) -> None:
            ktap.feed(line)
            print(line, file=tap, flush=True)
            say(line)

        try:
            code = boot(kernel, guest, {"modules": modules, "seconds": seconds,
                                        "programs": [[str(where / p), *o] for p, *o in programs]},
                        BUILD / kernel / f"{name}-console.log", hear)
            if code or ktap.ended < len(programs):
                ktap.fail("the guest failed or did not finish; see above")
        except Failed as why:
            say(str(why))
            ktap.fail("the guest failed or did not finish; see above")
    return report(ktap)


def list_tests(tests_of: Tests) -> None:
    """The harness lists variants and tests of a fixture side by side."""
    where = build_collection(tests_of)
    beside = "" if tests_of is TESTS["hmm"] else f"../{tests_of.directory}/"
    for program in tests_of.programs or makefile_programs(tests_of.directory):
        said = subprocess.run([where / Path(program).stem, "-l"], text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, check=False).stdout
        fixture, variants, tests = "", [], []
        for line in [*said.splitlines(), "---"]:
            if line.startswith("---"):
                for variant, test in itertools.product(variants or [""], tests):
                    say(f"{beside}{program} {fixture}.{variant and variant + '.'}{test}")
                variants, tests = [], []
            elif not line.startswith("#"):
                fixture = line.split()[0] if line[:1] != " " else fixture
                variants += line[21:46].split()
                tests += line[47:].split()


def each(kernel: str, log: Path, guest: Guest, lines: list[str]) -> None:
    module, *parameters = TESTS["hmm"].modules[0]
    programs = BUILD / "selftests/hmm"
    for program in sorted({line.split()[0] for line in lines}):
        if not (programs / program).exists():
            raise Failed(f"{programs / program}: no such program")
    tap = log.with_name(log.name + ".tap")
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("")
    tap.write_text("")
    guest.args += " kmemleak=off"
    while lines:
        job = {"list": lines, "module": str(BUILD / kernel / module), "parameters": parameters,
               "driver": Path(module).stem, "programs": str(programs)}
        verdicts: list[str] = []
        begun, why = "", "no output"

        def hear(line: str) -> None:
            nonlocal begun
            with tap.open("a") as out:
                print(line, file=out)
            if line.startswith("begin "):
                begun = line[6:]
            elif re.match(r"(pass|FAIL|skip|splat) ", line):
                verdicts.append(line)
                say(line)
                begun = ""

        this = log.with_name(log.name + ".boot")
        try:
            boot(kernel, guest, job, this, hear)
        except Failed as reason:
            why = str(reason)
        with log.open("a") as out:
            out.write(this.read_text(errors="replace"))
        # A test that was started and did not finish ended this boot
        if begun:
            verdicts.append(f"crash {begun}")
            say(verdicts[-1])
        if not verdicts:
            raise Failed(f"{kernel}: no test started: {why}; see {log}")
        lines = lines[len(verdicts):]


@dataclass
class Machine:
    """A machine that runs KUnit and, if it is 32-bit, the selftests"""
    arch: str
    cross: str = ""
    image: str = ""
    qemu: str = ""
    memory: str = "1G"
    programs: str = ""
    package: str = ""

    @property
    def configs(self) -> list[str]:
        return [".kunitconfig", *(["bits32.config"] if self.programs else []), f"{self.arch}.config"]


# Devices of ARM's virt machine need cache maintenance, and hmm_dma refuses them. QEMU's
# default i386 has no NX, which DEBUG_VM warns about if PAE is enabled.
ARM = "qemu-system-arm -M virt -cpu cortex-a15 -append console=ttyAMA0"
MACHINES = {
    "um": Machine("um", image="linux"),
    "x86_64": Machine("x86_64", image="arch/x86/boot/bzImage",
                      qemu="qemu-system-x86_64 -append console=ttyS0"),
    "i386": Machine("i386", "i686-linux-gnu-", "arch/x86/boot/bzImage",
                    "qemu-system-i386 -cpu core2duo,-lm,-syscall -append console=ttyS0", "3G",
                    "range table errors model race dma", "libc6-dev-i386-cross"),
    "arm": Machine("arm", "arm-linux-gnueabihf-", "arch/arm/boot/zImage", ARM, "1G",
                   "range table errors model race", "libc6-dev-armhf-cross"),
    "arm-lpae": Machine("arm", "arm-linux-gnueabihf-", "arch/arm/boot/zImage", ARM, "3G",
                        "range table errors model race", "libc6-dev-armhf-cross"),
}


def have(command: str, package: str) -> None:
    if subprocess.run(["which", command], stdout=subprocess.DEVNULL, check=False).returncode:
        raise Failed(f"{command}: not found; apt-get install {package}")


def boot_machine(name: str, args: str, seconds: int, log: Path, *more: str) -> Ktap:
    """Boots a kernel that prints TAP on its console."""
    machine = MACHINES[name]
    image = str(BUILD / f"kunit-{name}" / machine.image)
    args = f"panic=-1 oops=panic {args}"
    if machine.qemu:
        words = shlex.split(machine.qemu)
        argv = [*words[:-1], f"{words[-1]} {args}", "-kernel", image, "-m", machine.memory,
                "-smp", "2" if machine.programs else "1", "-nodefaults", "-display", "none",
                "-no-reboot", "-serial", "stdio", *more]
    else:
        argv = [image, "mem=1G", "console=tty", "con=null", "con0=fd:0,fd:1", *args.split()]
    ktap = Ktap()
    with log.open("w") as out:
        def hear(line: str) -> None:
            ktap.feed(line)
            print(line, file=out, flush=True)
            if re.search(r"^ *not ok|EXPECTATION FAILED|ASSERTION FAILED| ended with", line):
                say(line)

        try:
            code = watched(argv, seconds, hear, stderr=subprocess.STDOUT)
            if code and machine.qemu:
                ktap.fail(f"{name}: QEMU ended with {code}")
        except Failed as why:
            ktap.fail(f"{name}: {why}; see {log}")
    ktap.end()
    if bad := complaints(log):
        say("\n".join(bad[:5]))
        ktap.fail(f"{name}: warnings or errors from the kernel; see {log}")
    if not ktap.said:
        ktap.fail(f"{name}: no test reported a result; see {log}")
    return ktap


def kunit(name: str, tests: str) -> Ktap:
    with locked(f"kunit-{name}"):
        return build_and_run_kunit(name, tests)


def build_and_run_kunit(name: str, tests: str) -> Ktap:
    """Configures and builds with the kernel's own kunit.py."""
    machine = MACHINES[name]
    cross = machine.cross if machine.arch == "arm" else ""
    have(f"{cross}gcc", f"gcc-{cross.rstrip('-')}" if cross else "gcc")
    if machine.qemu:
        have(machine.qemu.split()[0], f"qemu-system-{'arm' if machine.arch == 'arm' else 'x86'}")
    say(f"{name}: KUnit")
    build, log = BUILD / f"kunit-{name}", BUILD / f"kunit-{name}.log"
    build.mkdir(parents=True, exist_ok=True)
    ccache = "ccache " if not subprocess.run(["which", "ccache"], stdout=subprocess.DEVNULL,
                                             check=False).returncode else ""
    configs = [HERE / "config/kunit" / c for c in dict.fromkeys([*machine.configs, f"{name}.config"])]
    with log.open("w") as out:
        built = subprocess.run(
            [TREE / "tools/testing/kunit/kunit.py", "build", "--arch", machine.arch, "--build_dir",
             build, *(f"--kunitconfig={c}" for c in configs if c.exists()),
             *([f"--cross_compile={cross}"] if cross else []), "--jobs", str(os.cpu_count()),
             "--make_options", f"CC={ccache}{cross}gcc"],
            stdout=out, stderr=out, stdin=subprocess.DEVNULL, check=False)
    if built.returncode:
        errors = [line for line in log.read_text().splitlines() if "rror" in line]
        raise Failed("\n".join([*errors[:10], f"{name}: build failed; see {log}"]))
    end = "reboot" if machine.qemu else "halt"
    return boot_machine(name, f"kunit.enable=1 kunit.filter_glob={tests} kunit_shutdown={end}", 900,
                        build / "test.log")


def initramfs(machine: Machine) -> Path:
    """Statically linked selftests and their first process"""
    for command, package in ("cpio", "cpio"), (f"{machine.cross}gcc",
                                               f"gcc-{machine.cross.rstrip('-')} {machine.package}"):
        have(command, package)
    out = BUILD / "bits32" / machine.arch
    root = out / "root"
    # The kernel's harness casts pointers to wider integers on 32 bit
    build_tests("hmm", root, machine.arch, machine.cross, "LDFLAGS=-static",
                "USERCFLAGS=-Wno-pointer-to-int-cast")
    subprocess.run([f"{machine.cross}gcc", "-O2", "-Wall", "-static", "-o", root / "init",
                    HERE / "guest/init32.c"], check=True)
    (root / "dev").mkdir(exist_ok=True)
    files = "\n".join([".", "dev", "init", *machine.programs.split()])
    with (out / "initramfs").open("wb") as image:
        subprocess.run(["cpio", "-o", "-H", "newc", "--quiet"], cwd=root, input=files.encode(),
                       stdout=image, check=True)
    return out / "initramfs"


def bits32(name: str) -> Ktap:
    """ARM without LPAE has no pmd_pfn() and similar functions. With LPAE, page tables can be
    in high memory (HIGHPTE, which no other architecture has any more), so that not only RCU
    notices a PTE left mapped. i386 has PAE. Tests that need device memory are skipped.
    """
    machine, seconds = MACHINES[name], 600
    say(f"{name}: selftests")
    image = initramfs(machine)
    programs = machine.programs.split()
    ktap = boot_machine(name, f"kunit.enable=0 rdinit=/init -- {seconds} " +
                        " ".join(f"/{p}" for p in programs), seconds * len(programs) + 120,
                        BUILD / "bits32" / f"{name}.log", "-initrd", str(image))
    if ktap.ended < len(programs):
        ktap.fail(f"{name}: the guest did not run all programs")
    return ktap


def on_machines(names: list[str], *runs: Callable[[str], Ktap]) -> int:
    script("base/tree.sh", "tree")
    total = Ktap()
    for name, run in itertools.product(names, runs):
        ktap = run(name)
        say(f"{name}: {ktap}")
        for count in "passed", "failed", "skipped":
            setattr(total, count, getattr(total, count) + getattr(ktap, count))
        total.failures += ktap.failures
    return report(total)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(usage=(__doc__ or "").split("\n\n")[1].strip())
    parser.add_argument("action", choices=["run", "kselftest", "each", "list", "kunit", "bits32"])
    parser.add_argument("-m", "--memory")
    parser.add_argument("-c", "--cpus", type=int)
    parser.add_argument("-t", "--seconds", type=int, help="time limit of a command, or of each program")
    parser.add_argument("-a", "--args", help="kernel parameters", default="")
    parser.add_argument("-q", "--qemu", help="QEMU options", default="")
    parser.add_argument("-d", "--devices", choices=["memory", "all", "rdma"], default="",
                        help="load the test driver, in a guest with its memory or with all its devices; "
                        "or soft-RoCE")
    parser.add_argument("-l", "--log", type=Path, help="file for the console output")
    parser.add_argument("-p", "--parameters", help="parameters of the test driver", default="")
    parser.add_argument("-i", "--insmod", metavar="DRIVER", help="use this test driver")
    parser.add_argument("-f", "--filter", metavar="SUITE.TEST", default="hmm*",
                        help="run these KUnit tests, with * for any text")
    parser.add_argument("words", nargs=argparse.REMAINDER)
    return parser.parse_args()


def guest_of(options: argparse.Namespace, default: Guest) -> Guest:
    default.memory = options.memory or default.memory
    default.cpus = options.cpus or default.cpus
    default.seconds = options.seconds or default.seconds
    default.args += f" {options.args}"
    default.qemu += options.qemu.split()
    return default


def main() -> int:
    options = arguments()
    action, words = options.action, options.words
    if action in ("kunit", "bits32"):
        for name in words:
            if name not in MACHINES or (action == "bits32" and not MACHINES[name].programs):
                raise Failed(f"{name}: not one of {' '.join(MACHINES)}")
        unit_tests = functools.partial(kunit, tests=options.filter)
        return on_machines(words or ["um"], unit_tests, *([bits32] if action == "bits32" else []))
    if action == "list":
        if words and words[0] not in TESTS:
            raise Failed(f"{words[0]}: not one of {' '.join(TESTS)}")
        list_tests(TESTS[words[0] if words else "hmm"])
        return 0
    if not words:
        raise Failed(f"{action}: missing argument: KERNEL; see {HERE / 'config/kernels'}")
    kernel = words.pop(0)
    if action == "kselftest":
        if words and words[0] not in TESTS:
            raise Failed(f"{words[0]}: not one of {' '.join(TESTS)}")
        if not words:
            raise Failed(f"kselftest: missing argument: TESTS, one of {' '.join(TESTS)}")
        return kselftest(kernel, words[0], words[1:], options)
    if action == "each":
        guest = guest_of(options, selftest_guest(seconds=3000))
        each(kernel, options.log or BUILD / kernel / "each.log", guest, sys.stdin.read().splitlines())
        return 0
    guest, modules = Guest(), []
    if options.devices == "rdma":
        modules = modules_of(kernel, TESTS["rdma"], "")
    elif options.devices:
        guest = selftest_guest(options.devices == "all")
        modules = modules_of(kernel, TESTS["hmm"], options.parameters)
        modules[0][0] = options.insmod or modules[0][0]
    return boot(kernel, guest_of(options, guest), {"modules": modules, "command": words},
                options.log or BUILD / kernel / "console.log")


def fail(why: object) -> NoReturn:
    print(f"guest.py: {why}", file=sys.stderr)
    sys.exit(1)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failed as reason:
        fail(reason)
