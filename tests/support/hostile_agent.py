"""An agent that tries what it may not; its user's id says what. What came of it is printed, which its log keeps.

Its children are this file as a program: a fork of a process with as many threads as an agent's may find a lock taken.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import mmap
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HOME = Path(os.environ.get("GREENROOM_HOME", "")) / "host"
OTHER = "prewarm_" + "0" * 32
PTRACE_ATTACH = 16
PR_SET_NAME = 15


def make(assignment: Any) -> Any:
    from livekit.agents import Agent  # seconds, which its children do without

    what = assignment.user_id
    if what in DEEDS:
        threading.Thread(target=DEEDS[what], daemon=True).start()
    if what in LIES:
        threading.Thread(target=LIES[what], args=[assignment], daemon=True).start()
    return Agent(instructions="be quiet")


def tell(**found: object) -> None:
    print(json.dumps(found), flush=True)


def child(deed: str, *told: object) -> list[str]:
    """What runs one that does this."""
    return [sys.executable, "-I", "-S", __file__, deed, *map(str, told)]


def outcome(deed: Callable[[], object]) -> str:
    try:
        deed()
    except Exception as error:
        return type(error).__name__
    return "done"


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[1])


def trace(pid: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.ptrace(PTRACE_ATTACH, pid, 0, 0) != 0:
        raise PermissionError(ctypes.get_errno(), "ptrace")


def others() -> dict[str, int]:
    zygote = os.getppid()
    found = {"zygote": zygote, "host": parent(zygote)}
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and int(entry.name) != os.getpid() and parent(int(entry.name)) == zygote:
                found["agent"] = int(entry.name)
    return found


def look() -> None:
    for name, pid in others().items():
        reads = {part: outcome(Path(f"/proc/{pid}/{part}").open) for part in ("environ", "mem", "maps", "fd/0")}
        if os.getuid() != 0:  # root may, and what is traced stands still
            reads["trace"] = outcome(lambda pid=pid: trace(pid))
        tell(who=name, **reads)
    tell(
        environment=sorted(os.environ),
        user=os.getuid(),
        logs=outcome(lambda: list((HOME / "logs").iterdir())),
        agents=outcome(lambda: list((HOME / "agents").iterdir())),
        key=outcome((HOME / "key").read_bytes),
        own_log=outcome(lambda: Path("/proc/self/fd/1").readlink().open()),
    )


def ask(**message: object) -> str:
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(20)
        line.connect(str(HOME / "host.sock"))
        line.sendall(json.dumps({"v": 1, **message}).encode() + b"\n")
        with contextlib.suppress(ConnectionResetError):
            answer = line.recv(65536)
            return str(json.loads(answer)["type"]) if answer else "closed"
        return "closed"


def hello(session_id: str, proof: str = "") -> dict[str, object]:
    ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    own = {"pid": os.getpid(), "start_ticks": ticks, "phase": "ready", "created_at": 1.0, "startup_s": 0.1}
    return {"type": "hello", "session_id": session_id, "proof": proof, **own}


def requests() -> dict[str, str]:
    spawn = {"type": "spawn", "session_id": OTHER, "requested_at": 1.0, "timeout_s": 1.0}
    return {
        "spawn": ask(**spawn),
        "check": ask(type="check"),
        "retire": ask(type="retire"),
        "an invented session": ask(**hello(OTHER)),
        "with a made-up proof": ask(**hello(OTHER, "0" * 64)),
    }


def ask_host() -> None:
    tell(asker="agent", **requests())
    tell(asker="child", **said_by("ask"))
    while not (answers := said_by("orphan")):
        pass  # its host had found what was left behind, and ended it before it had asked
    tell(asker="orphan", **answers)


def said_by(deed: str) -> dict[str, str]:
    """By a child, or by what it left behind."""
    return dict(json.loads(subprocess.run(child(deed), stdout=subprocess.PIPE, check=True).stdout or "{}"))


def orphan() -> None:
    subprocess.Popen(child("ask_alone", os.getpid()), start_new_session=True)


def ask_alone(parent_pid: str) -> None:
    while os.getppid() == int(parent_pid):
        time.sleep(0.01)
    tell(**requests())


def hog() -> None:
    kept = []
    while len(kept) < 100:  # above its bound, and below where the kernel gives no more and all of it would be let go
        kept.append(bytearray(b"x" * 8_000_000))
        time.sleep(0.01)
    time.sleep(600)


def bomb() -> None:
    kept = []
    while True:
        with contextlib.suppress(OSError):
            kept.append(subprocess.Popen(["sleep", "600"]))


def share() -> None:
    kept = mmap.mmap(-1, 900_000_000)
    for _ in range(900):
        kept.write(b"x" * 1_000_000)
    time.sleep(600)


def breed() -> None:
    kept = [subprocess.Popen(child("fatten")) for _ in range(6)]
    kept[0].wait()


def fatten() -> None:
    kept = b"x" * 200_000_000
    time.sleep(600 + len(kept))


def scatter() -> None:
    kept = [subprocess.Popen(["sleep", "600"], start_new_session=True) for _ in range(100)]
    kept[0].wait()


def leave_behind() -> None:
    """One that it still has, and one that has left its session and lost its parent."""
    kept = subprocess.Popen(["sleep", "600"], start_new_session=True)
    subprocess.run(["setsid", "sh", "-c", "sleep 600 &"], check=True)
    tell(left=kept.pid)


def say_hello(line: socket.socket, assignment: Any, **claim: object) -> None:
    own = hello(assignment.session_id) | {"phase": "active", "assignment": assignment.model_dump() | claim}
    line.connect(str(HOME / "host.sock"))
    line.sendall(json.dumps({"v": 1, **own}).encode() + b"\n")


def flood(assignment: Any) -> None:
    turn = json.dumps({"v": 1, "type": "turn", "role": "user", "text": "x" * 100, "at": 1.0}).encode() + b"\n"
    with socket.socket(socket.AF_UNIX) as line:
        say_hello(line, assignment)
        tell(flood="begins")
        while True:
            line.sendall(turn * 30)
            time.sleep(0.01)


def usurp(assignment: Any) -> None:
    with socket.socket(socket.AF_UNIX) as line:
        say_hello(line, assignment, fence=2**53 - 1, user_id="victim-user")
        tell(usurped=True)
        time.sleep(600)


def say_key() -> None:
    os.system('echo "a shell says $MY_API_KEY"')  # past this process's own streams
    print(f"Python says {os.environ['MY_API_KEY']}")
    tell(said=True)


def stay(assignment: Any) -> None:
    with socket.socket(socket.AF_UNIX) as line:
        say_hello(line, assignment)
        line.sendall(b'{"v":1,"type":"leaving","reason":"bye"}\n')
        tell(said="bye")
        time.sleep(600)


def dial() -> None:
    own, handed = [dialled() for _ in range(40)], []
    for _ in range(5):
        ours, theirs = socket.socketpair()
        subprocess.run(child("hand_over", theirs.fileno()), pass_fds=[theirs.fileno()], check=True)
        handed += socket.recv_fds(ours, 1, 4)[1]
    tell(own=sum(map(is_open, own)), childrens=sum(is_open(socket.socket(fileno=fd)) for fd in handed))
    time.sleep(600)


def hand_over(to: str) -> None:
    lines = [dialled() for _ in range(4)]
    time.sleep(0.2)
    socket.send_fds(socket.socket(fileno=int(to)), [b"x"], [line.fileno() for line in lines])


def dialled() -> socket.socket:
    line = socket.socket(socket.AF_UNIX)
    line.connect(str(HOME / "host.sock"))
    return line


def is_open(line: socket.socket) -> bool:
    try:
        line.recv(65536, socket.MSG_DONTWAIT)
    except BlockingIOError:
        return True
    except ConnectionResetError:
        pass
    return False


def name() -> None:
    named = subprocess.Popen(child("misname"), stdout=subprocess.PIPE)
    assert named.stdout is not None
    tell(**json.loads(named.stdout.readline()))


def misname() -> None:
    ctypes.CDLL(None).prctl(PR_SET_NAME, b"\x0bVmSwap: \xff", 0, 0, 0)
    tell(named=True)
    time.sleep(600)


def open_files() -> None:
    kept = []
    with contextlib.suppress(OSError):
        while True:
            kept.append(os.open("/dev/null", os.O_RDONLY))
    tell(opened=len(kept))
    for fd in kept:
        os.close(fd)


def busy() -> None:
    for _ in range(3):
        subprocess.Popen(child("spin"))
    tell(nice=os.nice(0), group=Path("/proc/self/autogroup").read_text().split()[-1])


def spin() -> None:
    while True:
        pass


DEEDS = {
    "look": look, "ask": ask_host, "files": open_files, "busy": busy, "leave": leave_behind, "say": say_key,
    "dial": dial, "name": name, "hog": hog, "share": share, "breed": breed, "bomb": bomb, "scatter": scatter,
}  # fmt: skip
LIES = {"flood": flood, "usurp": usurp, "stay": stay}
CHILDRENS: dict[str, Callable[..., None]] = {
    "ask": lambda: tell(**requests()), "orphan": orphan, "ask_alone": ask_alone, "fatten": fatten,
    "hand_over": hand_over, "misname": misname, "spin": spin,
}  # fmt: skip

if __name__ == "__main__":
    CHILDRENS[sys.argv[1]](*sys.argv[2:])
