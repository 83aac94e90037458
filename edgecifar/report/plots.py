"""Plots, as PNG files."""

from pathlib import Path


def training_curves(rows: list[dict], path: Path) -> None:
    """Draw validation top-1, the losses and the learning rate over the epochs of a run.

    Args:
        rows: one an epoch, with the columns of a run's `history.csv`.
        path: the PNG file to write.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    epochs = [row["epoch"] for row in rows]
    figure = Figure(figsize=(8, 9), layout="constrained")
    FigureCanvasAgg(figure)
    accuracy, loss, rate = figure.subplots(3, 1, sharex=True)

    top1 = [100 * row["validation_top1"] for row in rows]
    accuracy.plot(epochs, top1, "o-", color="tab:green")
    best = max(range(len(rows)), key=top1.__getitem__)
    accuracy.annotate(
        f"best {top1[best]:.2f} %",
        (epochs[best], top1[best]),
        xytext=(0, -18),
        textcoords="offset points",
        ha="center",
    )
    accuracy.set_ylabel("validation top-1, %")
    loss.plot(epochs, [row["loss"] for row in rows], "o-", label="training")
    loss.plot(epochs, [row["validation_loss"] for row in rows], "o-", label="validation")
    loss.set_ylabel("loss")
    loss.legend()
    rate.plot(epochs, [row["learning_rate"] for row in rows], "o-", color="tab:gray")
    rate.set_ylabel("learning rate at the epoch's end")
    rate.set_xlabel("epoch")
    rate.xaxis.get_major_locator().set_params(integer=True)

    starts = [i for i, row in enumerate(rows) if i == 0 or row["stage"] != rows[i - 1]["stage"]]
    for i in starts:
        accuracy.text(epochs[i], accuracy.get_ylim()[0], f" {rows[i]['stage']}", va="bottom")
    for axes in (accuracy, loss, rate):
        axes.grid(alpha=0.3)
        for i in starts[1:]:
            axes.axvline(epochs[i] - 0.5, color="black", linewidth=0.5)
    figure.savefig(path, dpi=120)
