"""Writing an episode's pictures as a film."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib import import_module
from itertools import chain
from pathlib import Path

import numpy as np

ENDINGS = (".mp4", ".gif")


def check_video_path(path: str | Path) -> None:
    """Check, before there are pictures, that a film can be written.

    Arguments:
        path: the file, ``.mp4`` or ``.gif``; it is left as it is.

    Raises:
        ValueError: for another ending.
        ModuleNotFoundError: without PyAV for ``.mp4``, or without Pillow for ``.gif``; the extra
            ``video`` brings both.
        OSError: if the file cannot be written.

    Example:
        >>> check_video_path("episode.avi")
        Traceback (most recent call last):
            ...
        ValueError: a file that ends in .mp4 or .gif
    """
    path = Path(path)
    if path.suffix not in ENDINGS:
        raise ValueError(f"a file that ends in {' or '.join(ENDINGS)}")
    import_module("av" if path.suffix == ".mp4" else "PIL.Image")
    existed = path.exists()
    with path.open("ab"):
        pass
    if not existed:
        path.unlink()


def write_video(path: str | Path, frames: Iterable[np.ndarray], frame_rate: int) -> None:
    """Write pictures as a film, each as it comes.

    Arguments:
        path: the file, ``.mp4`` (H.264, with PyAV) or ``.gif`` (with Pillow).
        frames: pictures ``[H, W, 3]``, uint8, height and width even for ``.mp4``.
        frame_rate: pictures a second; of a GIF at most 50 are kept.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from PIL import Image
        >>> frames = [np.full((8, 8, 3), grey, np.uint8) for grey in (0, 100, 200)]
        >>> with TemporaryDirectory() as folder:
        ...     write_video(f"{folder}/episode.gif", frames, frame_rate=10)
        ...     Image.open(f"{folder}/episode.gif").n_frames
        3
    """
    write = _write_gif if Path(path).suffix == ".gif" else _write_mp4
    write(Path(path), iter(frames), frame_rate)


def _write_gif(path: Path, frames: Iterator[np.ndarray], frame_rate: int) -> None:
    from PIL import Image

    every = -(-frame_rate // 50)  # viewers slow down what is faster
    kept = (Image.fromarray(frame) for step, frame in enumerate(frames) if step % every == 0)
    first = next(kept)
    duration = 1000 * every / frame_rate
    first.save(path, save_all=True, append_images=kept, duration=duration, loop=0)


def _write_mp4(path: Path, frames: Iterator[np.ndarray], frame_rate: int) -> None:
    import av

    first = next(frames)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=frame_rate)
        stream.height, stream.width = first.shape[:2]
        stream.pix_fmt = "yuv420p"
        for frame in chain([first], frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
