"""transformers: EnCodec from a configuration, an LSTM in its encoder and in its decoder."""

import torch
from transformers import EncodecConfig, EncodecModel

WHAT = "EncodecModel of 8 filters: sound to codes and back; encoder and decoder trained"
USUAL = "training of encoder and decoder: 32 filters, 2 × 512 units, 1 s, B=1; its defaults"


def run(trial):
    small = {
        "num_filters": 8, "hidden_size": 16, "codebook_size": 32, "codebook_dim": 16,
        "upsampling_ratios": [4, 2], "sampling_rate": 800, "target_bandwidths": [1.5],
    }  # fmt: skip
    config = EncodecConfig(**trial.size(small, {}))
    model = trial.model(EncodecModel(config))
    count = trial.size(400, 24000)
    B = trial.size(2, 1)
    sound = torch.sin(torch.arange(count) / 9.0).repeat(B, 1, 1) + torch.randn(B, 1, count) / 20
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, eps=1e-4)
    model.train()
    for _ in range(trial.size(15, 3)):
        optimizer.zero_grad()
        loss = (model.decoder(model.encoder(sound)) - sound).square().mean()
        loss.backward()
        optimizer.step()
        trial.step(loss)
    model.eval()
    with torch.no_grad():
        made = model(sound)
        trial.output(made.audio_codes, made.audio_values)
