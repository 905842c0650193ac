"""The system call filter: a classic BPF program that bubblewrap loads before the interpreter starts.

A deny list in the manner of Flatpak's and Docker's default profiles: namespaces, mounts, other processes' memory, keys,
sockets, kernel interfaces, and shared memory that no limit of ours counts. What is denied gets EPERM, `clone3` gets
ENOSYS (its flags lie in memory that a filter cannot read; the C library then falls back to `clone`), a call in another
architecture's numbering kills the process.
"""

from __future__ import annotations

import errno
import platform
import struct

# Of <linux/bpf_common.h>: load a word of seccomp_data, compare it with a constant, return.
LOAD, EQUAL, ABOVE, ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
ALLOW, KILL, ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
NUMBER, ARCH, ARGUMENT = 0, 4, 16  # offsets in seccomp_data (the low half of the first argument: little endian)
X32 = 0x40000000
AF_UNIX = 1
NEW_NAMESPACES = 0x7E020000  # CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET

# machine: (AUDIT_ARCH, column of the tables below)
ARCHES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
CLONE, CLONE3, SOCKETPAIR = (56, 220), (435, 435), (53, 199)

# name: (number on x86_64, on aarch64); -1 where the architecture has no such call
DENIED = {
    # other processes
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "kcmp": (312, 272),
    "pidfd_getfd": (438, 438),
    "move_pages": (279, 239),
    "migrate_pages": (256, 238),
    # namespaces and mounts
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "move_mount": (429, 429),
    "open_tree": (428, 428),
    "open_tree_attr": (467, 467),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "statmount": (457, 457),
    "listmount": (458, 458),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    # every socket: there is nobody to talk to (a pair of its own is allowed, asyncio needs one)
    "socket": (41, 198),
    "bind": (49, 200),
    "connect": (42, 203),
    "listen": (50, 201),
    "accept": (43, 202),
    "accept4": (288, 242),
    # memory that neither RLIMIT_AS nor the size of the scratch folder counts
    "shmget": (29, 194),
    "shmat": (30, 196),
    "shmctl": (31, 195),
    "msgget": (68, 186),
    "semget": (64, 190),
    "mq_open": (240, 180),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "setxattrat": (463, 463),
    # parts of the kernel with a long record of holes, and what only an administrator needs
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "seccomp": (317, 277),
    "personality": (135, 92),
    "fanotify_init": (300, 262),
    "vmsplice": (278, 75),
    "mbind": (237, 235),
    "set_mempolicy": (238, 237),
    "syslog": (103, 116),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "acct": (163, 89),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "adjtimex": (159, 171),
    "clock_adjtime": (305, 266),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "vhangup": (153, 58),
    "iopl": (172, -1),
    "ioperm": (173, -1),
    "modify_ldt": (154, -1),
    "uselib": (134, -1),
    "sysfs": (139, -1),
    "ustat": (136, -1),
}

Step = tuple[int, int, int, int]


def compiled(machine: str | None = None) -> bytes | None:
    """The filter for `machine` (by default this one) as an array of sock_filter; None where we know no numbers."""
    found = ARCHES.get(machine or platform.machine())
    if found is None:
        return None
    arch, column = found
    return b"".join(struct.pack("<HBBI", *step) for step in _program(arch, column))


def _program(arch: int, column: int) -> list[Step]:
    """Jumps count the steps that they pass over: (code, if true, if false, constant)."""
    steps: list[Step] = [_load(ARCH), (EQUAL, 1, 0, arch), _give(KILL), _load(NUMBER)]
    if column == 0:
        steps += [(ABOVE, 0, 1, X32), _give(KILL)]
    for numbers in DENIED.values():
        if numbers[column] >= 0:
            steps += [(EQUAL, 0, 1, numbers[column]), _give(ERRNO | errno.EPERM)]
    steps += [(EQUAL, 0, 1, CLONE3[column]), _give(ERRNO | errno.ENOSYS)]
    denied, allowed = _give(ERRNO | errno.EPERM), _give(ALLOW)
    steps += [(EQUAL, 0, 4, CLONE[column]), _load(ARGUMENT), (ANY_BIT, 0, 1, NEW_NAMESPACES), denied, allowed]
    steps += [(EQUAL, 0, 4, SOCKETPAIR[column]), _load(ARGUMENT), (EQUAL, 1, 0, AF_UNIX), denied, allowed]
    return [*steps, allowed]


def _load(offset: int) -> Step:
    return LOAD, 0, 0, offset


def _give(value: int) -> Step:
    return RETURN, 0, 0, value
