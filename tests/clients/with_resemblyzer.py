"""resemblyzer: the voice encoder with the weights that its package carries."""

import numpy as np
import torch
from resemblyzer import VoiceEncoder

WHAT = "VoiceEncoder: embed_utterance with its own weights, then fine-tuned"


def run(trial):
    encoder = trial.model(VoiceEncoder("cpu", verbose=False))
    t = np.arange(16000 * 2) / 16000
    voices = [np.sin(2 * np.pi * hertz * t * (1 + t / 9)).astype("float32") for hertz in (120, 210)]
    trial.output(*(encoder.embed_utterance(voice) for voice in voices))
    mels = torch.rand(6, 40, 40)
    optimizer = torch.optim.SGD(encoder.parameters(), lr=0.001)
    for _ in range(6):
        optimizer.zero_grad()
        made = encoder(mels)
        loss = (made[:3] * made[3:]).sum(1).mean()  # unlike voices: as unlike as can be
        loss.backward()
        optimizer.step()
        trial.step(loss)
    trial.output(*(encoder.embed_utterance(voice) for voice in voices))
