"""The real disk: everything that depends on the operating system is here, nowhere else.

Linux is where it is proven; what another system lacks has a plain fallback.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import stat as modes
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, cast

from rdl.storage.disk import UNSUPPORTED, FileStat

FALLOC_FL_KEEP_SIZE = 1
RENAME_NOREPLACE = 1
NOTE = "user.rdl"
LOCAL_FILE_SYSTEMS = frozenset(
    {
        0xEF53,  # ext2, ext3, ext4
        0x58465342,  # xfs
        0x9123683E,  # btrfs
        0x01021994,  # tmpfs
        0x858458F6,  # ramfs
        0xF2F52010,  # f2fs
        0x2FC12FC1,  # zfs
        0xCA451A4E,  # bcachefs
        0x794C7630,  # overlayfs
        0x4D44,  # vfat
        0x2011BAB0,  # exfat
        0x7366746E,  # ntfs3
        0x3153464A,  # jfs
    }
)
"""f_type of statfs(2) whose page cache belongs to this machine; others count as remote."""
MODELESS_FILE_SYSTEMS = frozenset(
    {
        0x4D44,  # vfat
        0x2011BAB0,  # exfat
        0x5346544E,  # ntfs
        0x7366746E,  # ntfs3
        0x01021997,  # 9p, as under Windows
        0xFF534D42,  # cifs
        0xFE534D42,  # smb2
        0x65735546,  # fuse
    }
)
"""f_type of those whose mode bits are often an option of the mount."""
NO_LOCKS = (*UNSUPPORTED, errno.ENOLCK)
FLOCK = "hhqqi"
"""struct flock of fcntl(2): kind, whence, start, length, process."""


class PosixDisk:
    """A Disk by system calls."""

    def open_folder(self, path: Path) -> int:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def entries(self, folder: int) -> list[str]:
        return sorted(os.listdir(folder))

    def open(self, folder: int, name: str, *, create: bool = False, write: bool = True) -> int:
        flags = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | (os.O_RDWR if write else 0)
        if create:
            flags |= os.O_CREAT | os.O_EXCL
        return os.open(name, flags, 0o600, dir_fd=folder)

    def open_unnamed(self, folder: int) -> int:
        if sys.platform != "linux":
            raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))
        return os.open(".", os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o666, dir_fd=folder)

    def link(self, file: int, folder: int, name: str) -> None:
        os.link(f"/proc/self/fd/{file}", name, dst_dir_fd=folder, follow_symlinks=True)

    def close(self, handle: int) -> None:
        try:
            os.close(handle)
        except OSError as error:
            if error.errno == errno.EBADF:
                raise  # else it is closed all the same, and what counts was synced before

    def stat(self, folder: int, name: str) -> FileStat | None:
        try:
            return _file_stat(os.stat(name, dir_fd=folder, follow_symlinks=False))
        except FileNotFoundError:
            return None

    def fstat(self, file: int) -> FileStat:
        return _file_stat(os.fstat(file))

    def pread(self, file: int, view: memoryview, offset: int) -> int:
        return os.preadv(file, [view], offset)

    def pwrite(self, file: int, data: memoryview, offset: int) -> int:
        return os.pwrite(file, data, offset)

    def copy(
        self, source: int, target: int, offset: int, size: int, place: int | None = None
    ) -> int:
        place = offset if place is None else place
        if sys.platform == "linux":
            try:
                return os.copy_file_range(source, target, size, offset, place)
            except OSError as error:
                if error.errno not in (*UNSUPPORTED, errno.EXDEV):
                    raise
        return os.pwrite(target, os.pread(source, size, offset), place)

    def sync(self, file: int, *, metadata: bool = False) -> None:
        if sys.platform == "darwin":
            import fcntl

            fcntl.fcntl(file, fcntl.F_FULLFSYNC)
        elif metadata:
            os.fsync(file)
        else:
            os.fdatasync(file)

    def sync_folder(self, folder: int) -> None:
        try:
            os.fsync(folder)
        except OSError as error:
            if error.errno not in UNSUPPORTED:  # some file systems know no such thing
                raise

    def allocate(self, file: int, size: int) -> None:
        import resource

        limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
        if limit != resource.RLIM_INFINITY and size > limit:  # not seen by what keeps the size
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        function = _libc("fallocate", ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
        _call(function, file, FALLOC_FL_KEEP_SIZE, 0, size)

    def truncate(self, file: int, size: int) -> None:
        os.ftruncate(file, size)

    def rename(self, folder: int, old: str, new: str, *, replace: bool) -> None:
        if replace:
            os.rename(old, new, src_dir_fd=folder, dst_dir_fd=folder)
            return
        try:
            _rename_to_free_name(folder, old, new)
        except OSError as error:
            if error.errno not in UNSUPPORTED:
                raise
            self._link_to_free_name(folder, old, new)

    def _link_to_free_name(self, folder: int, old: str, new: str) -> None:
        try:
            os.link(old, new, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
        except OSError as error:
            if error.errno not in (*UNSUPPORTED, errno.EPERM):
                raise
            if self.stat(folder, new) is not None:  # neither way is there: look, then rename
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from error
            os.rename(old, new, src_dir_fd=folder, dst_dir_fd=folder)
        else:
            os.unlink(old, dir_fd=folder)

    def unlink(self, folder: int, name: str) -> None:
        os.unlink(name, dir_fd=folder)

    def lock(self, file: int) -> bool:
        import fcntl

        return _given(fcntl.flock, file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def is_locked(self, file: int) -> bool:
        import fcntl

        if _is_surely_unlocked(os.fstat(file).st_ino):
            return False
        if not _given(fcntl.flock, file, fcntl.LOCK_SH | fcntl.LOCK_NB):
            return True
        _given(fcntl.flock, file, fcntl.LOCK_UN)
        return False

    def pin(self, file: int, number: int, *, alone: bool) -> bool:
        """Lock the byte of this number, with others or alone, until the file is closed here; False
        when another handle has it otherwise. True where such locks are not to be had."""
        import fcntl

        return _locked_byte(file, number, fcntl.F_WRLCK if alone else fcntl.F_RDLCK)

    def unpin(self, file: int, number: int) -> None:
        import fcntl

        _locked_byte(file, number, fcntl.F_UNLCK)

    def is_pinned(self, file: int, number: int) -> bool:
        """Whether another handle has that byte locked, found out without taking it."""
        import fcntl

        if sys.platform != "linux":
            return False
        asked = struct.pack(FLOCK, fcntl.F_WRLCK, os.SEEK_SET, number, 1, 0)
        try:
            said = fcntl.fcntl(file, fcntl.F_OFD_GETLK, asked)
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            return False
        return bool(struct.unpack(FLOCK, said)[0] != fcntl.F_UNLCK)

    def free(self, file: int) -> int:
        facts = os.fstatvfs(file)
        return facts.f_bavail * facts.f_frsize

    def is_local(self, file: int) -> bool:
        return _file_system(file) in LOCAL_FILE_SYSTEMS

    def keeps_modes(self, folder: int) -> bool:
        return _file_system(folder) not in MODELESS_FILE_SYSTEMS

    def boot_id(self) -> str:
        return _boot_id()

    def user(self) -> int:
        return os.geteuid()

    def umask(self) -> int:
        try:
            with open("/proc/self/status", "rb", buffering=0) as file:
                status = file.read(1 << 12)
            return int(status.partition(b"\nUmask:")[2].split()[0], 8)
        except (OSError, IndexError, ValueError):  # not Linux: only a change tells the old one
            mask = os.umask(0o077)
            os.umask(mask)
            return mask

    def set_mode(self, file: int, mode: int) -> None:
        os.fchmod(file, mode)

    def set_mtime(self, file: int, mtime_ns: int) -> None:
        os.utime(file, ns=(mtime_ns, mtime_ns))

    def keeps_notes(self, folder: int) -> bool:
        if sys.platform == "linux":
            try:
                os.getxattr(folder, NOTE)
            except OSError as error:
                return error.errno == errno.ENODATA
            return True
        return False

    def set_note(self, file: int, value: bytes) -> None:
        if sys.platform == "linux":
            os.setxattr(file, NOTE, value)
        else:
            raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

    def note(self, file: int) -> bytes | None:
        if sys.platform == "linux":
            try:
                return os.getxattr(file, NOTE)
            except OSError:  # none there, or none possible: the same to us
                return None
        return None


@functools.lru_cache(maxsize=1)
def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:  # unknown: records that depend on it do not count
        return ""


def _file_stat(facts: os.stat_result) -> FileStat:
    return FileStat(
        kind=_kind(facts.st_mode),
        device=facts.st_dev & (1 << 64) - 1,
        inode=facts.st_ino,
        size=facts.st_size,
        allocated=facts.st_blocks * 512,
        mtime_ns=facts.st_mtime_ns,
        ctime_ns=facts.st_ctime_ns,
        mode=modes.S_IMODE(facts.st_mode),
        owner=facts.st_uid,
        links=facts.st_nlink,
    )


def _kind(mode: int) -> Literal["file", "folder", "link", "other"]:
    if modes.S_ISREG(mode):
        return "file"
    if modes.S_ISDIR(mode):
        return "folder"
    return "link" if modes.S_ISLNK(mode) else "other"


def _locked_byte(file: int, number: int, kind: int) -> bool:
    """By an open file description lock of fcntl(2), which belongs to the handle."""
    import fcntl

    if sys.platform != "linux":
        return True
    asked = struct.pack(FLOCK, kind, os.SEEK_SET, number, 1, 0)
    return _given(fcntl.fcntl, file, fcntl.F_OFD_SETLK, asked)


def _given(lock: Callable[..., object], *arguments: object) -> bool:
    """Whether nobody else has what is to be locked; True too where there are no such locks."""
    try:
        lock(*arguments)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
    return True


def _is_surely_unlocked(inode: int) -> bool:
    """Whether the system's list of locks names no file of this number (the device it names
    is not always that of stat(2)); false where there is no such list."""
    try:
        return f":{inode} " not in Path("/proc/locks").read_text()
    except OSError:
        return False


def _file_system(file: int) -> int | None:
    """f_type of statfs(2); None when unknown."""
    facts = (ctypes.c_long * 64)()  # struct statfs begins with f_type and is shorter
    try:
        function = _libc("fstatfs", ctypes.c_int, ctypes.c_void_p)
        _call(function, file, ctypes.byref(facts))
    except OSError:  # another system, or one that does not say
        return None
    return facts[0] & 0xFFFFFFFF


def _rename_to_free_name(folder: int, old: str, new: str) -> None:
    """renameat2(2) with RENAME_NOREPLACE; one of UNSUPPORTED where there is none."""
    path = ctypes.c_char_p
    function = _libc("renameat2", ctypes.c_int, path, ctypes.c_int, path, ctypes.c_uint)
    _call(function, folder, os.fsencode(old), folder, os.fsencode(new), RENAME_NOREPLACE)


@functools.cache
def _libc(name: str, *arguments: type[ctypes._SimpleCData[Any]]) -> Callable[..., int]:
    """A function of the C library that Python does not offer; ENOSYS when it is not there."""
    if not sys.platform.startswith("linux") or ctypes.sizeof(ctypes.c_long) < 8:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    try:
        function = getattr(ctypes.CDLL(None, use_errno=True), name)
    except AttributeError as error:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS)) from error
    function.argtypes, function.restype = arguments, ctypes.c_int
    return cast(Callable[..., int], function)


def _call(function: Callable[..., int], *arguments: object) -> None:
    """Call, again after a signal, and raise OSError by errno."""
    while function(*arguments) != 0:
        number = ctypes.get_errno()
        if number != errno.EINTR:
            raise OSError(number, os.strerror(number))
