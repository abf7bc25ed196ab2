"""Where in a recording somebody speaks: Silero's published model, its LSTM on an `LSTMStream`.

    pip install --no-deps silero-vad
    pip install onnx onnxruntime
    python -m lstmfast.examples.voice_activity --wav speech.wav
    python -m lstmfast.examples.voice_activity --quick

Nothing of the model is copied: its weights are read from the package silero-vad (MIT licence). It
takes 16,000 samples a second in chunks of 512, and gives each chunk, 32 ms, a probability of
speech. Without `--wav` the program has espeak-ng say three sentences with pauses between them.

Beside it run the runtimes that the package has files for, ONNX Runtime and PyTorch, where they are
installed: the same probabilities, and the microseconds that each takes for a chunk and for the LSTM
in it. Then many recordings are listened to at once, as a server does, each on a stream of its own.

The package holds two models of one shape: that of its ONNX files and of PyTorch's, and that of a
safetensors file (`--weights safetensors`), which was trained apart and gives other probabilities.

Source: Silero VAD 6, https://github.com/snakers4/silero-vad.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
import wave
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from .. import LSTMStream
from .picture import drawn
from .silero import CHUNK, RATE, VoiceActivity, lstm_of, probabilities, read_weights
from .silero_beside import Step, beside, cells, report, runtimes, times

__all__ = ["main"]

Array = np.ndarray[Any, np.dtype[Any]]

SPOKEN = (
    "Every gate of the network opens and closes.",
    "It remembers what was said before.",
    "And it forgets what it need not know.",
)
PAUSE = 1.0  # seconds


# ---------------------------------------------------------------- recordings


def read(path: str | Path) -> Array:
    """Return the sound (samples,) of a WAV file of 16-bit samples, 16,000 of them a second.

    Channels are averaged; another rate is brought to that one by straight lines from sample to
    sample.

    Raises
    ------
    ValueError
        For a file that is no such WAV, or without a sample.
    """
    try:
        with wave.open(str(path)) as file:
            rate, channels, width = file.getframerate(), file.getnchannels(), file.getsampwidth()
            held = file.readframes(file.getnframes())
    except (OSError, wave.Error, EOFError) as error:
        raise ValueError(f"wav: expected a WAV file, got {path}: {error}") from error
    if width != 2 or not held:
        raise ValueError(f"wav: expected samples of 16 bits, got {len(held)} bytes in {path}")
    sound = np.frombuffer(held, "<i2").reshape(-1, channels).mean(axis=1) / 2**15
    places = np.arange(int(len(sound) * RATE / rate)) * (rate / RATE)
    return np.interp(places, np.arange(len(sound)), sound).astype(np.float32)


def spoken() -> Array:
    """Return some sentences that espeak-ng says, with silence before and after each.

    Raises
    ------
    ValueError
        When it is not installed.
    """
    if shutil.which("espeak-ng") is None:
        raise ValueError("wav: expected --wav FILE, as espeak-ng is not installed to make one")
    silence = np.zeros(int(PAUSE * RATE), np.float32)
    parts = [silence]
    with tempfile.TemporaryDirectory() as scratch:
        for sentence in SPOKEN:
            path = Path(scratch) / "spoken.wav"
            subprocess.run(["espeak-ng", "-w", str(path), sentence], check=True)
            parts += [read(path), silence]
    return np.concatenate(parts)


def chunks_of(sound: Array) -> Array:
    """Return the chunks (N, 512) of a sound, the last filled with silence."""
    whole = np.zeros(-(-len(sound) // CHUNK) * CHUNK, np.float32)
    whole[: len(sound)] = sound
    return whole.reshape(-1, CHUNK)


# ---------------------------------------------------------------- the program


def compare(kind: str, weights: dict[str, Array], chunks: Array, rounds: int) -> Array:
    """Print what the other runtimes make of the chunks; return our probabilities."""
    model = VoiceActivity(weights)
    found = probabilities(model.step, chunks)
    others = beside(runtimes(kind))
    for name, step in others.items():
        apart = np.abs(probabilities(step, chunks) - found).max()
        print(f"probabilities beside {name}'s: at most {apart:.1e} apart")
    time_chunks(weights, model, others, chunks, rounds)
    return found


def time_chunks(
    weights: dict[str, Array], model: VoiceActivity, others: dict[str, Step], chunks: Array,
    rounds: int,
) -> None:  # fmt: skip
    """Print the microseconds of a chunk, and of the LSTM in it."""
    chunk = chunks[len(chunks) // 2][None]
    print(report("a chunk", times({"lstmfast": model.step, **others}, chunk, rounds)))
    ours = LSTMStream(*lstm_of(weights)).step
    steps = {"lstmfast": ours, **beside(cells(weights))}
    print(report("the LSTM", times(steps, model.features(chunk), rounds)))


def serve(weights: dict[str, Array], chunks: Array, streams: int, threads: int) -> str:
    """Listen to many recordings at once; return a line on how many seconds of sound a second."""
    models = [VoiceActivity(weights) for _ in range(streams)]
    begin = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        found = list(pool.map(lambda model: probabilities(model.step, chunks), models))
    taken = time.perf_counter() - begin
    if any(np.any(one != found[0]) for one in found):
        raise RuntimeError("streams that heard the same gave different probabilities")
    seconds = streams * chunks.size / RATE
    return f"{streams} streams in {threads} threads: {seconds / taken:.0f} s of sound in a second"


def speech(found: Array, threshold: float) -> list[tuple[float, float]]:
    """Return from when to when, in seconds, the probability is above a threshold."""
    above = np.concatenate(([False], found > threshold, [False]))
    edges = np.flatnonzero(above[1:] != above[:-1]) * CHUNK / RATE
    return [(float(a), float(b)) for a, b in edges.reshape(-1, 2)]


def paint(chunks: Array, found: Array) -> Callable[..., None]:
    """Return what draws the sound and the probability over time."""

    def painted(above: Any, below: Any) -> None:
        sound = chunks.reshape(-1)
        above.plot(np.arange(len(sound)) / RATE, sound, linewidth=0.3)
        above.set(ylabel="sound")
        below.plot((np.arange(len(found)) + 0.5) * CHUNK / RATE, found)
        below.set(xlabel="seconds", ylabel="probability of speech", ylim=(0, 1))

    return painted


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(
        prog="python -m lstmfast.examples.voice_activity",
        description="Find speech in a recording with Silero's model on an LSTMStream.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    option = made.add_argument
    option("--wav", metavar="FILE", help="16-bit WAV; default: what espeak-ng is made to say")
    option("--weights", choices=("onnx", "safetensors"), default="onnx", help="which file's")
    option("--threshold", type=float, default=0.5, help="probability from which on it is speech")
    option("--streams", type=int, default=32, help="recordings at once")
    option("--threads", type=int, default=2, help="that serve them")
    option("--quick", action="store_true", help="fewer repetitions")
    option("--out", type=Path, default=Path("voice_activity"), help="folder for the picture")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit status."""
    made = parser()
    arguments = made.parse_args(argv)
    try:
        weights = read_weights(arguments.weights)
        chunks = chunks_of(spoken() if arguments.wav is None else read(arguments.wav))
    except (ValueError, OSError) as error:
        made.error(str(error))
    found = compare(arguments.weights, weights, chunks, 20 if arguments.quick else 200)
    for begin, end in speech(found, arguments.threshold):
        print(f"speech from {begin:.2f} to {end:.2f} s")
    print(serve(weights, chunks, arguments.streams, arguments.threads))
    print(drawn(arguments.out / "speech.png", paint(chunks, found), rows=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
