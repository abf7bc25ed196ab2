"""Regular files: what is none is refused at once, and an earlier file is whole whatever happens."""

import errno
import fcntl
import os
import resource
import signal
import socket
import stat
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from fresh_process import finds_no_faults

import lstmfast
from lstmfast import LSTM, Dense, Model, disk

PART = f".lstmfast-{disk._machine()}-0123456789abcdef.part"
FOREIGN = ".lstmfast-fedcba98-0123456789abcdef.part"


@pytest.fixture
def model():
    return Model([LSTM(3, input_shape=(None, 2)), Dense(1)], seed=0)


WRITERS = ["save", "export"]


@pytest.fixture(params=WRITERS)
def write(request, model):
    """Return a function that writes the model to a path."""
    if request.param == "save":
        return model.save
    pytest.importorskip("onnx")
    return lambda path: lstmfast.onnx.export(model, path)


READERS = ["load", "load_weights", "onnx.load"]


@pytest.fixture(params=READERS)
def read(request, model):
    """Return a function that reads a path."""
    if request.param == "onnx.load":
        pytest.importorskip("onnx")
        return lstmfast.onnx.load
    return model.load_weights if request.param == "load_weights" else lstmfast.load


def folder(path):
    path.mkdir()
    return "a folder"


def fifo(path):
    os.mkfifo(path)
    return "a FIFO"


def unix_socket(path):
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))
    return "a socket"


def device(path):
    path.symlink_to("/dev/zero")
    return "a character device"


def node(path):
    """A character device of its own, as root may make one: writing must not replace it."""
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("only root makes devices")
    return "a character device"


NO_FILES = [folder, fifo, unix_socket, device, node]


@pytest.fixture
def quick():
    """Fail, and do not hang, when something waits."""

    def late(*_):
        raise AssertionError("it waits")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(10)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


# ---------------------------------------------------------------- what is no file


def test_a_path_that_ends_as_folders_do(write, tmp_path):
    """It names a folder, there or not, and no file beside it."""
    for path in (f"{tmp_path}/", f"{tmp_path}/model/", os.fsencode(f"{tmp_path}/model/"), ""):
        with pytest.raises(ValueError, match="expected a regular file, got a folder"):
            write(path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("make", NO_FILES)
def test_what_is_no_file_is_not_read(make, read, tmp_path, quick):
    path = tmp_path / "model"
    what = make(path)
    with pytest.raises(ValueError, match=f"expected a regular file, got {what}") as error:
        read(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("make", NO_FILES)
def test_what_is_no_file_is_not_replaced(make, write, tmp_path, quick):
    path = tmp_path / "model"
    what = make(path)
    before = os.stat(path)
    with pytest.raises(ValueError, match=f"expected a regular file, got {what}") as error:
        write(path)
    assert str(os.path.realpath(path)) in str(error.value)
    assert os.path.samestat(os.stat(path), before) and os.listdir(tmp_path) == ["model"]


def test_files_without_a_size(read, quick):
    for path in ("/proc/self/maps", "/proc/self/environ", "/sys/kernel/mm/transparent_hugepage"):
        if os.path.exists(path):
            with pytest.raises((ValueError, OSError)):
                read(path)


def test_the_path_itself(write, read, tmp_path):
    for path in ("", tmp_path / "nowhere" / "model"):
        with pytest.raises((ValueError, FileNotFoundError)):
            write(path)
        with pytest.raises(FileNotFoundError):
            read(path)
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    for call in (write, read):
        with pytest.raises(OSError, match="Too many levels"):
            call(loop)
        with pytest.raises(ValueError, match="null"):
            call(str(tmp_path / "a\0b"))


# ---------------------------------------------------------------- links, permissions, names


def test_a_link_stays_and_leads_to_the_new_file(write, tmp_path):
    (tmp_path / "real").mkdir()
    link, real = tmp_path / "link", tmp_path / "real" / "model"
    link.symlink_to(Path("real") / "model")
    write(link)  # it leads nowhere yet
    assert link.is_symlink() and real.is_file() and not real.is_symlink()
    before = real.stat().st_ino
    write(link)
    assert link.is_symlink() and real.stat().st_ino != before
    assert os.listdir(tmp_path / "real") == ["model"]


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664, 0o755, 0o604])
def test_permissions_stay(mode, write, tmp_path):
    path = tmp_path / "model"
    path.write_bytes(b"")
    path.chmod(mode)
    if not os.geteuid():
        os.chown(path, 1234, 4321)
    before = path.stat()
    write(path)
    now = path.stat()
    assert stat.S_IMODE(now.st_mode) == mode and now.st_size
    assert (now.st_uid, now.st_gid) == (before.st_uid, before.st_gid)


def test_a_new_file_heeds_the_umask(write, tmp_path):
    before = os.umask(0o027)
    try:
        write(tmp_path / "model")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "model").stat().st_mode) == 0o640


def test_a_group_that_cannot_be_kept_gains_nothing(tmp_path, monkeypatch):
    path = tmp_path / "model"
    path.write_bytes(b"old")
    path.chmod(0o674)

    def refused(*_):
        raise PermissionError

    found = os.stat(path)
    other = os.stat_result([*found[:5], found.st_gid + 1, *found[6:]])
    monkeypatch.setattr(os, "fchown", refused)
    monkeypatch.setattr(disk, "_earlier", lambda target: other)
    disk.replace(path, b"new")
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_attributes_stay(write, tmp_path):
    path = tmp_path / "model"
    path.write_bytes(b"")
    try:
        os.setxattr(path, "user.note", b"kept")
    except OSError:
        pytest.skip("no extended attributes here")
    write(path)
    assert os.getxattr(path, "user.note") == b"kept"


def test_names_at_the_limit(write, read, tmp_path):
    path = tmp_path / ("m" * 255)
    if read is lstmfast.onnx.load:
        lstmfast.onnx.export(Model([LSTM(2, input_shape=(None, 2))]), path)
    else:
        Model([LSTM(3, input_shape=(None, 2)), Dense(1)]).save(path)
    assert read(path) is None or isinstance(read(path), Model)
    with pytest.raises(OSError, match="too long"):
        write(tmp_path / ("m" * 256))
    assert os.listdir(tmp_path) == [path.name]


# ---------------------------------------------------------------- what goes wrong


def as_somebody(*paths):
    """Write to paths as a user who is not root; return those that may not be written to."""
    begun, told = os.pipe()
    number = os.fork()
    if not number:
        try:
            if not os.geteuid():
                os.setgroups([])
                os.setresgid(65534, 65534, 65534)
                os.setresuid(65534, 65534, 65534)
            for path in paths:
                try:
                    disk.replace(path, b"new")
                except PermissionError as error:
                    os.write(told, f"{error.filename}\n".encode())
        finally:
            os._exit(0)
    os.close(told)
    os.waitpid(number, 0)
    with open(begun, encoding="utf-8") as file:
        return file.read().splitlines()


def test_folders_and_files_that_may_not_be_written_to(tmp_path):
    for name in ("folder", "open"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model").write_bytes(b"old")
    (tmp_path / "folder").chmod(0o555)
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "open" / "model").chmod(0o444)
    for parent in (tmp_path, *tmp_path.parents):
        if "pytest-of-" in str(parent):  # pytest's own
            parent.chmod(0o755)
    paths = [tmp_path / name / "model" for name in ("folder", "open")]
    new = tmp_path / "open" / "another"
    assert as_somebody(*paths, new) == list(map(str, paths))
    assert new.read_bytes() == b"new"
    assert [path.read_bytes() for path in paths] == [b"old", b"old"]
    (tmp_path / "folder").chmod(0o755)


def test_a_disk_that_is_full(write, tmp_path):
    """A limit on the size of files is a full disk that tests can make."""
    path = tmp_path / "model"
    write(path)
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, limits[1]))
    try:
        with pytest.raises(OSError, match="too large") as error:
            write(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    assert error.value.errno == errno.EFBIG
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["model"]


@pytest.mark.parametrize("step", ["fsync", "replace", "fchmod"])
@pytest.mark.parametrize("kind", [OSError("no space left"), KeyboardInterrupt()])
def test_a_step_that_fails_leaves_the_earlier_file(step, kind, write, tmp_path, monkeypatch):
    path = tmp_path / "model"
    write(path)
    before = path.read_bytes()

    def failing(*_, **__):
        raise kind

    monkeypatch.setattr(os, step, failing)
    with pytest.raises(type(kind)):
        write(path)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["model"]


def test_file_and_folder_are_synced_in_order(write, tmp_path, monkeypatch):
    done, fsync, replace = [], os.fsync, os.replace

    def noted(file):
        done.append("folder" if stat.S_ISDIR(os.fstat(file).st_mode) else "file")
        fsync(file)

    monkeypatch.setattr(os, "fsync", noted)
    monkeypatch.setattr(os, "replace", lambda *names: done.append("replace") or replace(*names))
    write(tmp_path / "model")
    assert done == ["file", "replace", "folder"]


# ---------------------------------------------------------------- leftovers


def test_kill_9(environment):
    finds_no_faults(environment, "kills.py", "--count", 8, "--seed", 1, timeout=60)


@pytest.mark.parametrize("name", [PART, FOREIGN])
def test_leftovers_are_removed_by_the_next_save(name, write, tmp_path):
    (tmp_path / name).write_bytes(b"half")
    if name == FOREIGN:  # another machine may be writing it
        write(tmp_path / "model")
        assert sorted(os.listdir(tmp_path)) == [name, "model"]
        os.utime(tmp_path / name, (time.time() - 2 * disk.DAY,) * 2)
    write(tmp_path / "model")
    assert os.listdir(tmp_path) == ["model"]


def test_what_is_being_written_is_no_leftover(write, tmp_path):
    for age in (0, 2 * disk.DAY):
        with open(tmp_path / PART, "wb") as part:
            fcntl.flock(part, fcntl.LOCK_EX)
            os.utime(tmp_path / PART, (time.time() - age,) * 2)
            write(tmp_path / "model")
            assert sorted(os.listdir(tmp_path)) == [PART, "model"]


def test_only_parts_are_leftovers(write, tmp_path):
    others = {".lstmfast-x.part", PART[1:], f"{PART}x", ".model.part", PART.upper()}
    for name in others:
        (tmp_path / name).write_bytes(b"")
    (tmp_path / PART).symlink_to(tmp_path / ".model.part")
    (tmp_path / FOREIGN).mkdir()
    write(tmp_path / "model")
    assert set(os.listdir(tmp_path)) == others | {PART, FOREIGN, "model"}


def test_a_part_that_was_taken_for_a_leftover_is_made_anew(tmp_path, monkeypatch):
    """Between its making and its lock, a file may be removed by another process's save."""
    flock, removed = fcntl.flock, []

    def late(file, how):
        if not removed:
            removed.append(file.name)
            os.unlink(file.name)
        flock(file, how)

    monkeypatch.setattr(fcntl, "flock", late)
    disk.replace(tmp_path / "model", b"new")
    assert removed and (tmp_path / "model").read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["model"]


def test_many_write_at_once(tmp_path):
    """Threads and their leftovers do not remove each other's parts."""
    contents, errors = [bytes([n]) * 50_000 for n in range(4)], []

    def work(content):
        try:
            for _ in range(25):
                disk.replace(tmp_path / "model", content)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == [] and (tmp_path / "model").read_bytes() in contents
    assert os.listdir(tmp_path) == ["model"]


# ---------------------------------------------------------------- files that change


def test_a_file_that_is_cut_short_while_it_is_read(tmp_path):
    path = tmp_path / "data"
    path.write_bytes(bytes(10_000))
    with disk.Source(path) as source:
        source.check_same()
        os.truncate(path, 100)
        with pytest.raises(ValueError, match="got one cut short"):
            source.read(0, 10_000)
        with pytest.raises(ValueError, match="got one cut short"):
            source.content(10_000)
        with pytest.raises(ValueError, match="got one that was written to"):
            source.check_same()


@pytest.mark.parametrize("change", ["truncated", "written"])
def test_a_model_file_that_changes_while_it_is_read(change, tmp_path, monkeypatch):
    """A mapped file would end the process with SIGBUS."""
    path = tmp_path / "model"
    Model([LSTM(64, input_shape=(None, 64))]).save(path)
    read = disk.Source.read

    def changed(source, start, length):
        found = read(source, start, length)
        if length > 100_000 // 2:
            if change == "truncated":
                os.truncate(path, 1000)
            else:
                os.utime(path, ns=(0, 0))
        return found

    monkeypatch.setattr(disk.Source, "read", changed)
    with pytest.raises(ValueError, match="expected a file that stays as it is") as error:
        lstmfast.load(path)
    assert str(error.value).startswith(f"{path}: ")


def test_reading_gives_the_bytes(tmp_path):
    path, content = tmp_path / "data", np.arange(10_000, dtype="u1").tobytes()
    path.write_bytes(content)
    with disk.Source(path) as source:
        assert source.size == 10_000 and source.content(10_000) == content
        assert source.read(17, 5000).tobytes() == content[17:5017]
        with pytest.raises(ValueError, match="at most 9999 bytes, got 10000"):
            source.content(9_999)


def test_a_whole_file_that_was_written_to_while_it_was_read(tmp_path):
    path = tmp_path / "data"
    path.write_bytes(bytes(100))
    with disk.Source(path) as source:
        os.utime(path, ns=(0, 0))
        with pytest.raises(ValueError, match="got one that was written to"):
            source.content(100)


def test_a_save_during_a_save_leaves_it_alone(write, tmp_path, monkeypatch):
    """The part of the first is locked, so it is no leftover for the second."""
    fsync, inside = os.fsync, []

    def interrupted(file):
        if not inside:
            inside.append(file)
            disk.replace(tmp_path / "other", b"other")
        fsync(file)

    monkeypatch.setattr(os, "fsync", interrupted)
    write(tmp_path / "model")
    assert inside and sorted(os.listdir(tmp_path)) == ["model", "other"]
    assert (tmp_path / "model").stat().st_size > 100
