"""What is right and wrong with ranks, machines and folders, and how to launch instead.

Each check takes the facts of all ranks and of the whole (see `facts`) and yields
`Finding`s. A fault is what would keep a run from going well; a note is worth a look.
"""

import shlex
import sys
from dataclasses import dataclass

OK, NOTE, FAULT = "ok", "note", "FAULT"
# what is normal on one machine and between machines, and what no network should take
LATENCY = {"near": 25e-6, "far": 100e-6, "worst": 2e-3}  # seconds of a small Allreduce
BANDWIDTH = {"near": 0.5e9, "far": 0.2e9, "worst": 0.05e9}  # bytes/s of a large one
MEMORY = 2e9  # bytes/s that a rank should read
DISK = 50e6  # bytes/s of a disk
ROOM = 1 << 30  # bytes that runs should find free
CLOCKS = 1.0  # seconds between the clocks of machines


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's; `cure` is what to set or how to launch instead."""

    level: str
    about: str
    text: str
    cure: dict | None = None


def launchers(ranks, whole):
    """Do launcher and MPI belong together?"""
    size, started = whole["size"], whole["started"]
    library = whole["library"]
    if size == 1 and started > 1:
        by = "mpirun" if whole["by_mpirun"] else "srun"
        text = f"{by} started {started} programs, and {library} sees 1 in each"
        yield Finding(FAULT, "launcher", f"{text}: it belongs to another MPI", {})
    elif size > 1:
        yield Finding(OK, "launcher", f"{size} ranks, {library}")
    else:
        yield Finding(NOTE, "launcher", f"one rank, {library}; try it under mpirun")
    other = whole["path_flavour"], whole["on_path"]
    if other[0] and other[0] != whole["flavour"] and not whole["by_mpirun"]:
        text = f"{other[1]} is {other[0]}'s, and this environment has"
        yield Finding(FAULT, "launcher", f"{text} {whole['flavour']}", {})
    if whole["mpirun"] is None:
        yield Finding(NOTE, "launcher", "there is no mpirun: pip install mpich")


def wheels(ranks, whole):
    """Is there one MPI in the environment?"""
    found = sorted({name for rank in ranks for name in rank["wheels"]})
    if len(found) > 1:
        names = " and ".join(found)
        text = f"{names} overwrite each other's mpirun: make an environment for each"
        yield Finding(FAULT, "wheels", text)


def versions(ranks, whole):
    """Does every machine have the same packages?"""
    hosts = {rank["host"]: rank["versions"] for rank in ranks}
    first, *others = hosts
    for host in others:
        wrong = set(hosts[host]) ^ set(hosts[first])
        if wrong:
            text = f"{first} and {host} differ: {', '.join(sorted(wrong))}"
            yield Finding(FAULT, "packages", text)


def _by_host(ranks):
    hosts = dict.fromkeys(rank["host"] for rank in ranks)
    return {host: [r for r in ranks if r["host"] == host] for host in hosts}


def _allowed(there):
    return {core for rank in there for core in rank["allowed"]}


def crowding(ranks, whole):
    """Has each rank a core of its own?"""
    for host, there in _by_host(ranks).items():
        cores, allowed = there[0]["cores"], _allowed(there)
        ranks_here = f"{len(there)} rank{'s' * (len(there) > 1)}"
        text = f"{ranks_here} on the {cores} cores of {host}"
        if len(there) > cores:
            cure = {"ranks": cores * len(whole["hosts"])}
            yield Finding(FAULT, "cores", f"{text}: they wait for each other", cure)
        elif len(there) > len(allowed):
            where = ", ".join(map(str, sorted(allowed)))
            text = f"{ranks_here} of {host} are all bound to core {where}"
            yield Finding(FAULT, "binding", text, {"bind": True})
        else:
            yield Finding(OK, "cores", text)


def threads(ranks, whole):
    """Are there no more BLAS threads than cores?"""
    for host, there in _by_host(ranks).items():
        wanted, cores = sum(rank["threads"] for rank in there), there[0]["cores"]
        each = there[0]["threads"]
        text = f"{each} BLAS threads a rank: {wanted} on the {cores} cores of {host}"
        if wanted > cores and wanted > len(there):
            cure = {"threads": max(1, cores // len(there))}
            yield Finding(FAULT, "threads", text, cure)
        elif any(rank["threads"] > len(rank["allowed"]) for rank in there):
            text += ", where ranks are bound to fewer"
            yield Finding(FAULT, "threads", text, {"threads": 1})
        else:
            yield Finding(OK, "threads", text)


def gpu(ranks, whole):
    """Does nothing here start a GPU's libraries, which nobody uses?"""
    found = sorted({name for rank in ranks for name in rank["gpu"]})
    if found:
        text = f"{', '.join(found)} is loaded into each rank: take a build without"
        yield Finding(FAULT, "GPU", text)
    else:
        yield Finding(OK, "GPU", "none of its libraries is loaded")


def machines(ranks, whole):
    """Have machines names and clocks that can be told apart?"""
    for host, there in _by_host(ranks).items():
        if any(rank["near"] < len(there) for rank in there):
            text = f"{len(there)} ranks call their machine {host}, but share no memory"
            yield Finding(FAULT, "hosts", f"{text}: names of machines must differ")
    if len(whole["hosts"]) > 1 and whole["clocks"] > CLOCKS:
        text = f"clocks of machines are {whole['clocks']:.1f} s apart: set them by NTP"
        yield Finding(FAULT, "clocks", text)
    if not whole["resolves"]:
        text = f"the name {whole['name']} has no address: MPI may not find its ranks"
        yield Finding(NOTE, "hosts", text)


def windows(ranks, whole):
    """Can ranks of a machine share memory?"""
    free = min((rank["shm_free"] or 0) for rank in ranks)
    if whole["shared"] is None:
        text = f"/dev/shm has {_bytes(free)} free: containers want --shm-size=2g"
        yield Finding(FAULT, "windows", text)
    elif not whole["shared"]:
        yield Finding(FAULT, "windows", "ranks do not see what others write there")
    else:
        yield Finding(OK, "windows", f"shared, {_bytes(free)} free in /dev/shm")


def folder(ranks, whole):
    """Can runs be written, with HDF5's locks?"""
    found = whole["folder"]
    path = found["path"]
    if found["error"]:
        yield Finding(FAULT, "folder", f"{path}: {found['error']}")
        return
    if found["lock"]:
        cure = {"env": {"HDF5_USE_FILE_LOCKING": "FALSE"}}
        yield Finding(FAULT, "locking", f"{path}: {found['lock']}", cure)
    speeds = f"writes {_bytes(found['write'])}/s, reads {_bytes(found['read'])}/s"
    slow = min(found["write"], found["read"]) < DISK
    few = found["free"] < ROOM
    level = FAULT if few else NOTE if slow else OK
    text = f"{path}: {speeds}, {_bytes(found['free'])} free"
    yield Finding(level, "folder", text)


def exchange(ranks, whole):
    """Is an Allreduce as quick as is normal?"""
    if whole["size"] == 1:
        return
    latency, bandwidth = whole["latency"], whole["bandwidth"]
    text = f"Allreduce takes {1e6 * latency:.1f} µs, {_bytes(bandwidth)}/s when large"
    crowded = any(len(each) > len(_allowed(each)) for each in _by_host(ranks).values())
    where = "near" if len(whole["hosts"]) == 1 else "far"
    normal = (
        f"{1e6 * LATENCY[where]:.0f} µs and {_bytes(BANDWIDTH[where])}/s are normal"
    )
    if crowded:
        yield Finding(NOTE, "exchange", f"{text}, with cores shared")
    elif latency > LATENCY["worst"] or bandwidth < BANDWIDTH["worst"]:
        text += f"; {normal}: is this the right network?"
        yield Finding(FAULT, "exchange", text)
    elif latency > LATENCY[where] or bandwidth < BANDWIDTH[where]:
        yield Finding(NOTE, "exchange", f"{text}; {normal}")
    else:
        yield Finding(OK, "exchange", text)


def memory(ranks, whole):
    """Does each rank read memory as fast as is normal, while all do?"""
    text = f"each rank reads {_bytes(whole['memory'])}/s while all do"
    if whole["memory"] < MEMORY:
        text += f"; {_bytes(MEMORY)}/s are normal: are other programs running here?"
    yield Finding(OK if whole["memory"] >= MEMORY else NOTE, "memory", text)


CHECKS = (launchers, wheels, versions, crowding, threads, gpu, machines, windows)
CHECKS += (folder, exchange, memory)


def findings(ranks, whole):
    """Return what all checks found, in their order."""
    return [each for check in CHECKS for each in check(ranks, whole)]


def launch_line(found, whole):
    """Return the line that starts a run as it should be, by what was found."""
    cures = [each.cure for each in found if each.cure]
    merged = {key: value for cure in cures for key, value in cure.items()}
    env = dict(merged.get("env", {}))
    if "threads" in merged:
        env["OMP_NUM_THREADS"] = str(merged["threads"])
    here = len(whole["hosts"]) == 1
    count = merged.get("ranks") or max(whole["size"], whole["started"])
    words = [whole["mpirun"] or "mpirun"]
    if whole["in_job"] and whole["flavour"] == "mpich":
        words = ["srun", "--mpi=pmi2"]
    if here and whole["size"] == 1:
        count = min(max(count, 2), whole["cores"])
    words += ["-n", str(count)]
    if "bind" in merged:
        words += ["--cpu-bind=cores"] if words[0] == "srun" else ["--bind-to", "core"]
    words += [sys.executable, "-m", "mpipgd", "train", "DATA"]
    return " ".join([*(f"{k}={v}" for k, v in env.items()), shlex.join(words)])


def _bytes(count):
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= unit:
            return f"{count / unit:.3g} {name}"
    return f"{count:.0f} B"
