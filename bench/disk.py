"""What the benchmarks of the disk share: its speed, measured without minke, and files that are not in memory."""

import mmap
import os
import threading
import time

PIECE = 4 << 20
THREADS = 8


def drop(paths):
    """Takes files out of the page cache; what was written has to be on the disk for that."""
    for path in paths:
        with open(path, "rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def sequential_speed(paths, most_bytes=None):
    """Bytes a second of all files in order, past the page cache, eight reads at once."""
    pieces = [(path, at) for path in paths for at in range(0, os.path.getsize(path), PIECE)]
    if most_bytes:
        pieces = pieces[: max(1, most_bytes // PIECE)]
    descriptors = {path: os.open(path, os.O_RDONLY | os.O_DIRECT) for path in paths}
    todo, total, lock = iter(pieces), [0], threading.Lock()

    def work():
        buffer = mmap.mmap(-1, PIECE)
        while True:
            with lock:
                piece = next(todo, None)
            if piece is None:
                return
            got = os.preadv(descriptors[piece[0]], [buffer], piece[1])
            with lock:
                total[0] += got

    begin = time.perf_counter()
    threads = [threading.Thread(target=work) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - begin
    for descriptor in descriptors.values():
        os.close(descriptor)
    return total[0] / seconds
