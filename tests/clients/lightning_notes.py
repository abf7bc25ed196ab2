"""What clients on Lightning share: a callback that tells the trial, and a quiet trainer."""

try:
    from lightning.pytorch import Callback
except ImportError:
    from pytorch_lightning import Callback

__all__ = ["QUIET", "Notes", "notes_on"]

QUIET = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


def notes_on(base):
    """Return the callback for the Lightning that a project uses: there are two packages."""

    class Notes(base):
        """The model goes to the trial before training, each step's loss after it."""

        def __init__(self, trial):
            super().__init__()
            self.trial = trial

        def on_train_start(self, trainer, pl_module):
            self.trial.model(pl_module)

        def on_train_batch_end(self, trainer, pl_module, outputs, *rest):
            self.trial.step(outputs["loss"] if isinstance(outputs, dict) else outputs)

        def __deepcopy__(self, memo):  # projects copy the trainer's arguments
            return self

    return Notes


Notes = notes_on(Callback)
