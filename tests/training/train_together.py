"""Take part in training one convolution with other processes: a process of its own.

    python train_together.py INDEX COUNT PORT OUT [KEY=VALUE ...]

`wait=N` waits after epoch N to be killed, and `resume=1` continues OUT. `heartbeat=N` is the
heartbeat in seconds, and `meeting=N` the time to meet. `only=idle` trains nothing and waits;
`only=check` only compares `seed=N`.
"""

import dataclasses
import sys
import time
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "support"))

import tiny_training

from edgecifar.data import shipped
from edgecifar.errors import UserError
from edgecifar.models import networks
from edgecifar.training import processes, trainer
from edgecifar.training.devices import choose_backend
from edgecifar.training.run_folder import Epoch


def main(index: int, count: int, port: str, out: Path, **asked: str) -> None:
    choose_backend("jax")
    processes.MEETING_S = int(asked.get("meeting", processes.MEETING_S))
    shipped.test_set = shipped.calibration_set
    networks.NETWORKS["convolution"] = tiny_training.convolution_network
    head, finetune = tiny_training.CONVOLUTION.stages
    recipe = dataclasses.replace(
        tiny_training.CONVOLUTION,
        network="convolution",
        stages=(head, dataclasses.replace(finetune, epochs=2, average=0.9)),
    )

    def on_epoch(epoch: Epoch) -> None:
        print(epoch.epoch, flush=True)
        if epoch.epoch == int(asked.get("wait", 0)):
            time.sleep(600)

    def work(used: Path) -> None:
        data, shown = shipped.calibration_set(), (tiny_training.no_progress, on_epoch)
        if asked.get("only") == "check":
            processes.check_same({"seed": asked["seed"]})
        elif asked.get("only") == "idle":
            print("idle", flush=True)
            time.sleep(600)
        elif "resume" in asked:
            trainer.resume(used, data, *shown)
        else:
            trainer.train(recipe, data, used, *shown)

    if count == 1:
        work(out)
        return
    own = processes.place(f"127.0.0.1:{port}", count, index, int(asked.get("heartbeat", 30)))
    try:
        processes.train_together(own, out, "resume" in asked, work)
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    index, count, port, out, *asked = sys.argv[1:]
    main(int(index), int(count), port, Path(out), **dict(each.split("=") for each in asked))
