"""How many processors the control groups of a process grant: trees as containers have them."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tvm_mobilenet.machine import quota
from tvm_mobilenet.machine.quota import cpu_quota, usable_cores
from tvm_mobilenet.machine.this_machine import describe_machine
from tvm_mobilenet.machine.topology import read

V2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = (
    "31 30 0:27 {root} /sys/fs/cgroup/cpu,cpuacct rw shared:10 - cgroup cgroup rw,cpu,cpuacct\n"
    "32 30 0:28 {root} /sys/fs/cgroup/memory rw shared:11 - cgroup cgroup rw,memory\n"
    "33 30 0:29 / /sys/fs/cgroup/systemd rw shared:12 - cgroup cgroup rw,xattr,name=systemd\n"
)
OTHERS = "22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw\n23 22 0:21 / /proc rw - proc proc rw\n"


def tree(root: Path, groups: str, mounts: str, files: dict[str, str]) -> Path:
    """Write what Linux publishes; files are under ``/sys/fs/cgroup``."""
    proc = root / "proc" / "self"
    proc.mkdir(parents=True)
    (proc / "cgroup").write_text(groups)
    (proc / "mountinfo").write_text(OTHERS + mounts)
    for name, text in files.items():
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    return root


@pytest.mark.parametrize(
    ("text", "processors"),
    [
        ("100000 100000", 1),
        ("150000 100000", 2),
        ("200000 100000", 2),
        ("10000 100000", 1),
        ("50000 25000", 2),
        ("6400000 100000", 64),
        ("max 100000", None),
        ("", None),
        ("nonsense", None),
        ("0 100000", None),
        ("100000 0", None),
    ],
)
def test_version_2_in_a_container(text: str, processors: int | None, tmp_path: Path) -> None:
    assert cpu_quota(tree(tmp_path, "0::/\n", V2, {"cpu.max": text})) == processors


@pytest.mark.parametrize(
    ("microseconds", "period", "processors"),
    [(150000, 100000, 2), (-1, 100000, None), (400000, 100000, 4), (0, 0, None), (20, 1000, 1)],
)
def test_version_1_in_a_container(
    microseconds: int, period: int, processors: int | None, tmp_path: Path
) -> None:
    """Docker's without a namespace: the path is the host's, what is mounted is the container."""
    inside = "/docker/3f"
    groups = f"5:memory:{inside}\n4:cpu,cpuacct:{inside}\n1:name=systemd:{inside}\n"
    files = {
        "cpu,cpuacct/cpu.cfs_quota_us": str(microseconds),
        "cpu,cpuacct/cpu.cfs_period_us": str(period),
        "memory/cpu.cfs_quota_us": "1000",  # not where it counts
        "memory/cpu.cfs_period_us": "1000",
    }
    assert cpu_quota(tree(tmp_path, groups, V1.format(root=inside), files)) == processors


def test_the_smallest_on_the_way_up_counts(tmp_path: Path) -> None:
    files = {
        "cpu.max": "max 100000",
        "kube.slice/cpu.max": "250000 100000",
        "kube.slice/pod.slice/cpu.max": "max 100000",
        "kube.slice/pod.slice/app/cpu.max": "800000 100000",
        "kube.slice/pod.slice/other/cpu.max": "100000 100000",
    }
    groups = "0::/kube.slice/pod.slice/app\n"
    assert cpu_quota(tree(tmp_path, groups, V2, files)) == 3


def test_of_a_part_that_is_mounted_what_is_below_counts(tmp_path: Path) -> None:
    mounts = V2.replace("0:26 / ", "0:26 /kube.slice ")
    files = {"cpu.max": "700000 100000", "app/cpu.max": "500000 100000"}
    assert cpu_quota(tree(tmp_path, "0::/kube.slice/app\n", mounts, files)) == 5


@pytest.mark.parametrize("group", ["/../../host.slice", "/elsewhere", "/gone/since"])
def test_of_a_group_that_cannot_be_seen_the_mount_counts(group: str, tmp_path: Path) -> None:
    assert cpu_quota(tree(tmp_path, f"0::{group}\n", V2, {"cpu.max": "300000 100000"})) == 3


def test_both_versions_at_once(tmp_path: Path) -> None:
    """Version 2 for names alone, as systemd's hybrid has it, and limits in version 1."""
    mounts = V1.format(root="/") + V2.replace("/sys/fs/cgroup ", "/sys/fs/cgroup/unified ")
    files = {
        "cpu,cpuacct/a/cpu.cfs_quota_us": "200000",
        "cpu,cpuacct/a/cpu.cfs_period_us": "100000",
        "unified/cgroup.procs": "1",
    }
    assert cpu_quota(tree(tmp_path, "4:cpu,cpuacct:/a\n0::/b\n", mounts, files)) == 2


def test_names_with_blanks_and_colons(tmp_path: Path) -> None:
    mounts = V2.replace("/sys/fs/cgroup ", r"/sys/fs/cgroup/with\040blank ")
    files = {"with blank/a:b c/cpu.max": "200000 100000"}
    assert cpu_quota(tree(tmp_path, "0::/a:b c\n", mounts, files)) == 2


def test_a_machine_without_control_groups_has_no_limit(tmp_path: Path) -> None:
    assert cpu_quota(tmp_path) is None
    assert cpu_quota(tree(tmp_path, "", "", {})) is None


@pytest.mark.parametrize(("granted", "cores"), [(None, 4), (1, 1), (3, 3), (64, 4)])
def test_a_machine_has_no_more_cores_than_are_granted(
    granted: int | None, cores: int, tmp_path: Path
) -> None:
    spec = describe_machine("x86_64", "", None, tmp_path, range(4), quota=granted)
    assert spec.cores == cores


def test_the_default_number_of_threads_and_native_ask_the_same(tmp_path: Path, monkeypatch) -> None:
    from tvm_mobilenet.machine import host
    from tvm_mobilenet.runtime.threads import thread_count

    for variable in ("TVM_NUM_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(variable, raising=False)
    tree(tmp_path, "0::/\n", V2, {"cpu.max": "40000 100000"})
    monkeypatch.setattr(quota, "read", lambda path: read(tmp_path / path.relative_to("/")))
    assert usable_cores() == thread_count(None) == host().cores == 1


@pytest.fixture
def limited() -> Iterator[Path]:
    """A control group of this machine's, limited to one processor; a process may join it."""
    kinds = {
        Path("/sys/fs/cgroup"): ("cpu.max", "50000 100000"),
        Path("/sys/fs/cgroup/cpu"): ("cpu.cfs_quota_us", "50000"),
        Path("/sys/fs/cgroup/cpu,cpuacct"): ("cpu.cfs_quota_us", "50000"),
    }
    for folder, (name, limit) in kinds.items():
        group = folder / f"tvm_mobilenet-{uuid.uuid4().hex}"
        try:
            (folder / "cgroup.procs").read_text()
            group.mkdir()
        except OSError:
            continue
        try:
            if (group / name).exists():  # else the controller is not handed down
                (group / name).write_text(limit)
                yield group
                return
        finally:
            group.rmdir()
    pytest.skip("this machine has no control groups that a test may limit")


def test_a_real_group(limited: Path) -> None:
    program = (
        "import os, sys; open(sys.argv[1], 'w').write(str(os.getpid()))\n"
        "from tvm_mobilenet.machine.quota import cpu_quota, usable_cores\n"
        "from tvm_mobilenet.machine import host\n"
        "print(cpu_quota(), usable_cores(), host().cores)"
    )
    command = [sys.executable, "-c", program, str(limited / "cgroup.procs")]
    told = subprocess.run(command, capture_output=True, text=True, check=True, cwd=os.getcwd())
    assert told.stdout.split() == ["1", "1", "1"]
