"""The history of a training as TensorBoard shows it."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from edgecifar.errors import UserError

if TYPE_CHECKING:
    from edgecifar.training.run_folder import Epoch


def tensorboard_log(folder: Path) -> Callable[["Epoch"], None]:
    """Write each epoch's figures to an event file.

    Args:
        folder: where it goes; made when the first epoch has ended.

    Returns:
        A function to call with each epoch.

    Raises:
        UserError: TensorBoard is not installed.
    """
    try:
        from tensorboard.summary import Writer
    except ImportError as error:
        raise UserError("`tensorboard` needs TensorBoard: pip install tensorboard") from error
    writer = None

    def log(epoch: "Epoch") -> None:
        nonlocal writer
        writer = writer or Writer(str(folder))
        for name, value in dataclasses.asdict(epoch).items():
            if isinstance(value, float):
                writer.add_scalar(name, value, step=epoch.epoch)
        writer.flush()

    return log
