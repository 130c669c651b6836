"""Find what is wrong with ranks, machines and folders, and how to launch instead.

Each check takes the facts of all ranks and of the world (see `probe`) and yields
`Finding`s. A fault keeps a run from going well; a note is worth a look.
"""

import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from .probe import RankFacts, WorldFacts

OK, NOTE, FAULT = "ok", "note", "FAULT"
# What is normal for an Allreduce inside a node and between nodes, and the limit beyond
# which it is the wrong network.
LATENCY = {"intranode": 25e-6, "internode": 100e-6, "limit": 2e-3}  # s, one number
BANDWIDTH = {"intranode": 0.5e9, "internode": 0.2e9, "limit": 0.05e9}  # bytes/s
MIN_MEMORY_RATE = 2e9  # bytes/s that a rank reads
MIN_DISK_RATE = 50e6  # bytes/s
MIN_DISK_FREE = 1 << 30  # bytes
MAX_CLOCK_SPREAD = 1.0  # seconds between the clocks of machines

Ranks = Sequence[RankFacts]


@dataclass(frozen=True)
class Cure:
    """What to change in the line that launches a run."""

    ranks: int | None = None
    threads: int | None = None  # of BLAS
    bind: bool = False  # each rank to a core
    env: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's report."""

    level: str  # OK, NOTE or FAULT
    subject: str
    text: str
    cure: Cure | None = None


def check_launcher(ranks: Ranks, world: WorldFacts) -> Iterator[Finding]:
    """Check that launcher and MPI library belong together."""
    size, launcher_size, library = world.size, world.launcher_size, world.library
    if size == 1 and launcher_size > 1:
        launcher = "mpirun" if world.under_mpirun else "srun"
        text = f"{launcher} started {launcher_size} programs, and {library} sees 1 in"
        yield Finding(FAULT, "launcher", f"{text} each: it belongs to another MPI")
    elif size > 1:
        yield Finding(OK, "launcher", f"{size} ranks, {library}")
    else:
        yield Finding(NOTE, "launcher", f"one rank, {library}; try it under mpirun")
    vendor, path_vendor = world.launcher.vendor, world.launcher.path_vendor
    if path_vendor and path_vendor != vendor and not world.under_mpirun:
        text = f"{world.launcher.path_mpirun} is {path_vendor}'s, and this environment"
        yield Finding(FAULT, "launcher", f"{text} has {vendor}")
    if world.launcher.mpirun is None:
        yield Finding(NOTE, "launcher", "there is no mpirun: pip install mpich")


def check_wheels(ranks: Ranks, world: WorldFacts) -> Iterator[Finding]:
    """Check that the environment contains one MPI."""
    wheels = sorted({name for rank in ranks for name in rank.wheels})
    if len(wheels) > 1:
        names = " and ".join(wheels)
        text = f"{names} overwrite each other's mpirun: make an environment for each"
        yield Finding(FAULT, "wheels", text)


def check_versions(ranks: Ranks, world: WorldFacts) -> Iterator[Finding]:
    """Check that all machines have the same versions of packages."""
    versions = {rank.host: rank.versions for rank in ranks}
    first, *others = versions
    for host in others:
        different = set(versions[host]) ^ set(versions[first])
        if different:
            text = f"{first} and {host} differ: {', '.join(sorted(different))}"
            yield Finding(FAULT, "packages", text)


def _by_host(ranks: Ranks) -> dict[str, list[RankFacts]]:
    hosts = dict.fromkeys(rank.host for rank in ranks)
    return {host: [rank for rank in ranks if rank.host == host] for host in hosts}


def _allowed_cores(ranks: Ranks) -> set[int]:
    return {core for rank in ranks for core in rank.allowed_cores}


def check_cores(ranks: Ranks, world: WorldFacts) -> Iterator[Finding]:
    """Check that each rank has a core of its own."""
    for host, local_ranks in _by_host(ranks).items():
        cores, allowed = local_ranks[0].cores, _allowed_cores(local_ranks)
        count = f"{len(local_ranks)} rank{'s' * (len(local_ranks) > 1)}"
        text = f"{count} on the {cores} cores of {host}"
        if len(local_ranks) > cores:
            cure = Cure(ranks=cores * len(world.hosts))
            yield Finding(FAULT, "cores", f"{text}: they wait for each other", cure)
        elif len(local_ranks) > len(allowed):
            numbers = ", ".join(map(str, sorted(allowed)))
            text = f"{count} of {host} are all bound to core {numbers}"
            yield Finding(FAULT, "binding", text, Cure(bind=True))
        else:
            yield Finding(OK, "cores", text)


def check_threads(ranks: Ranks, world: WorldFacts) -> Iterator[Finding]:
    """Check that there are no more BLAS threads than cores."""
    for host, local_ranks in _by_host(ranks).items():
        total, cores = sum(rank.threads for rank in local_ranks), local_ranks[0].cores
        threads = local_ranks[0].threads
        text = f"{threads} BLAS threads a rank: {total} on the {cores} cores of {host}"
        if total > cores and total > len(local_ranks):
            cure = Cure(threads=max(1, cores // len(local_ranks)))
            yield Finding(FAULT, "threads", text, cure)
        elif any(rank.threads > len(rank.allowed_cores) for rank in local_ranks):
            text += ", where ranks are bound to fewer"
            yield Finding(FAULT, "threads", text, Cure(threads=1))
        else:
            yield Finding(OK, "threads", text)


def check_gpu(ranks: Ranks, world: WorldFacts) -> Iterator[Finding]:
    """Check that no GPU libraries are loaded, which nothing here uses."""
    libraries = sorted({name for rank in ranks for name in rank.gpu_libraries})
    if libraries:
        text = f"{', '.join(libraries)} is loaded into each rank: take a build without"
        yield Finding(FAULT, "GPU", text)
    else:
        yield Finding(OK, "GPU", "none of its libraries is loaded")


def check_hosts(ranks: Ranks, world: WorldFacts) -> Iterator[Finding]:
    """Check that machines have names of their own and clocks that agree."""
    for host, local_ranks in _by_host(ranks).items():
        count = len(local_ranks)
        if any(rank.node_ranks < count for rank in local_ranks):
            text = f"{count} ranks call their machine {host}, but share no memory"
            yield Finding(FAULT, "hosts", f"{text}: names of machines must differ")
    if len(world.hosts) > 1 and world.clock_spread > MAX_CLOCK_SPREAD:
        text = f"clocks of machines are {world.clock_spread:.1f} s apart"
        yield Finding(FAULT, "clocks", f"{text}: set them by NTP")
    if not world.launcher.resolves:
        text = f"the name {world.launcher.hostname} has no address"
        yield Finding(NOTE, "hosts", f"{text}: MPI may not find its ranks")


def check_windows(ranks: Ranks, world: WorldFacts) -> Iterator[Finding]:
    """Check that the ranks of a machine can share memory."""
    free = min(rank.shm_free or 0 for rank in ranks)
    if world.shares_memory is None:
        text = f"/dev/shm has {_bytes(free)} free: containers want --shm-size=2g"
        yield Finding(FAULT, "windows", text)
    elif not world.shares_memory:
        yield Finding(FAULT, "windows", "ranks do not see what others write there")
    else:
        yield Finding(OK, "windows", f"shared, {_bytes(free)} free in /dev/shm")


def check_folder(ranks: Ranks, world: WorldFacts) -> Iterator[Finding]:
    """Check that runs can be written, with HDF5's locks, and fast enough."""
    folder = world.folder
    path = folder.path
    if folder.error:
        yield Finding(FAULT, "folder", f"{path}: {folder.error}")
        return
    if folder.lock_error:
        cure = Cure(env={"HDF5_USE_FILE_LOCKING": "FALSE"})
        yield Finding(FAULT, "locking", f"{path}: {folder.lock_error}", cure)
    speeds = f"writes {_bytes(folder.write)}/s, reads {_bytes(folder.read)}/s"
    if folder.free < MIN_DISK_FREE:
        level = FAULT
    elif min(folder.write, folder.read) < MIN_DISK_RATE:
        level = NOTE
    else:
        level = OK
    yield Finding(level, "folder", f"{path}: {speeds}, {_bytes(folder.free)} free")


def check_exchange(ranks: Ranks, world: WorldFacts) -> Iterator[Finding]:
    """Check that an Allreduce is as fast as is normal."""
    if world.size == 1:
        return
    latency, bandwidth = world.latency, world.bandwidth
    text = f"Allreduce takes {1e6 * latency:.1f} µs, {_bytes(bandwidth)}/s when large"
    oversubscribed = any(
        len(local_ranks) > len(_allowed_cores(local_ranks))
        for local_ranks in _by_host(ranks).values()
    )
    reach = "intranode" if len(world.hosts) == 1 else "internode"
    normal = (
        f"{1e6 * LATENCY[reach]:.0f} µs and {_bytes(BANDWIDTH[reach])}/s are normal"
    )
    if oversubscribed:
        yield Finding(NOTE, "exchange", f"{text}, with cores shared")
    elif latency > LATENCY["limit"] or bandwidth < BANDWIDTH["limit"]:
        text += f"; {normal}: is this the right network?"
        yield Finding(FAULT, "exchange", text)
    elif latency > LATENCY[reach] or bandwidth < BANDWIDTH[reach]:
        yield Finding(NOTE, "exchange", f"{text}; {normal}")
    else:
        yield Finding(OK, "exchange", text)


def check_memory(ranks: Ranks, world: WorldFacts) -> Iterator[Finding]:
    """Check that each rank reads memory as fast as is normal while all do."""
    rate = world.memory_rate
    text = f"each rank reads {_bytes(rate)}/s while all do"
    if rate < MIN_MEMORY_RATE:
        normal = f"{_bytes(MIN_MEMORY_RATE)}/s are normal"
        text += f"; {normal}: are other programs running here?"
    yield Finding(OK if rate >= MIN_MEMORY_RATE else NOTE, "memory", text)


CHECKS = (
    check_launcher,
    check_wheels,
    check_versions,
    check_cores,
    check_threads,
    check_gpu,
    check_hosts,
    check_windows,
    check_folder,
    check_exchange,
    check_memory,
)


def examine(ranks: Ranks, world: WorldFacts) -> list[Finding]:
    """Return the findings of all checks, in their order."""
    return [finding for check in CHECKS for finding in check(ranks, world)]


def launch_line(findings: Sequence[Finding], ranks: Ranks, world: WorldFacts) -> str:
    """Return the line that starts a run as it should be, with all cures applied."""
    cures = [finding.cure for finding in findings if finding.cure]
    variables = {name: v for cure in cures for name, v in cure.env.items()}
    rank_counts = [cure.ranks for cure in cures if cure.ranks is not None]
    thread_counts = [cure.threads for cure in cures if cure.threads is not None]
    if thread_counts:
        variables["OMP_NUM_THREADS"] = str(thread_counts[-1])
    launcher = world.launcher
    words = [launcher.mpirun or "mpirun"]
    if launcher.in_slurm_job and launcher.vendor == "mpich":
        words = ["srun", "--mpi=pmi2"]
    count = rank_counts[-1] if rank_counts else max(world.size, world.launcher_size)
    if len(world.hosts) == 1 and world.size == 1:
        count = min(max(count, 2), ranks[0].cores)
    words += ["-n", str(count)]
    if any(cure.bind for cure in cures):
        words += ["--cpu-bind=cores"] if words[0] == "srun" else ["--bind-to", "core"]
    words += [sys.executable, "-m", "mpipgd", "train", "DATA"]
    settings = [f"{name}={value}" for name, value in variables.items()]
    return " ".join([*settings, shlex.join(words)])


def _bytes(count: float) -> str:
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= unit:
            return f"{count / unit:.3g} {name}"
    return f"{count:.0f} B"
