"""resemblyzer: the voice encoder with the weights that its package carries."""

import numpy as np
import torch
from resemblyzer import VoiceEncoder

WHAT = "VoiceEncoder: embed_utterance with its own weights, then fine-tuned"
USUAL = "training: its 3 × 256 units on 40 bands, T=160, B=16"


def run(trial):
    encoder = trial.model(VoiceEncoder("cpu", verbose=False))
    t = np.arange(16000 * trial.size(2, 5)) / 16000
    voices = [np.sin(2 * np.pi * hertz * t * (1 + t / 9)).astype("float32") for hertz in (120, 210)]
    trial.output(*(encoder.embed_utterance(voice) for voice in voices))
    half, frames = trial.size((3, 40), (8, 160))
    mels = torch.rand(2 * half, frames, 40)
    optimizer = torch.optim.SGD(encoder.parameters(), lr=0.001)
    for _ in range(trial.size(6, 4)):
        optimizer.zero_grad()
        made = encoder(mels)
        loss = (made[:half] * made[half:]).sum(1).mean()  # unlike voices: as unlike as can be
        loss.backward()
        optimizer.step()
        trial.step(loss)
    trial.output(*(encoder.embed_utterance(voice) for voice in voices))
