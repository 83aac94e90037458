import contextlib
import os
import signal
from pathlib import Path

import numpy as np
import psutil
import pytest
import tiny_models

from edgecifar.bench.classification import Answers, Pool
from edgecifar.bench.hosts.local import Local
from edgecifar.bench.hosts.process import WorkerFailed, WorkerProcess
from edgecifar.bench.settings import BenchSettings
from edgecifar.bench.task import prepare
from edgecifar.data import shipped
from edgecifar.runtimes import Options, named

LONG_S = 120.0
IMAGES = 40


@pytest.fixture
def workers(tiny_tflite):
    """Starts workers that have loaded a model; all are stopped after the test."""
    task = prepare(Local(), BenchSettings(samples=IMAGES), LONG_S)
    with contextlib.ExitStack() as started:

        def start() -> WorkerProcess:
            worker = WorkerProcess(Local())
            started.callback(worker.close)
            return worker

        def load(worker: WorkerProcess) -> dict:
            return task.load(worker, named("litert"), Path(tiny_tflite), Options())

        yield task, start, load


def test_answers_come_in_any_order_and_again_from_the_first_image():
    answers = Answers(images=5, classes=2)
    assert (answers.missing, answers.share) == (5, 0.0)
    answers.keep(4, np.array([[0.1, 0.9], [0.8, 0.2]], np.float32))
    assert list(answers.missing_stretches(2)) == [(1, 2), (3, 1)]
    answers.keep(2, np.array([[0.3, 0.7]], np.float32))
    assert list(answers.missing_stretches(2)) == [(1, 1), (3, 1)]
    assert (answers.missing, answers.share) == (2, pytest.approx(0.6))
    assert answers.predicted.tolist() == [0, 0, 1, 0, 1]


def test_without_classes_no_answer_is_missing():
    answers = Answers(images=5, classes=0)
    answers.keep(3, np.empty((4, 0), np.float32))
    assert (answers.missing, answers.share) == (0, 1.0)
    assert list(answers.missing_stretches(2)) == []


def test_workers_share_the_missing_images(workers):
    task, start, load = workers
    own = start()
    load(own)
    answers = Answers(IMAGES, 10)
    pool = Pool(own, answers, LONG_S)
    pool.add_helpers(1, start, load)
    pool.classify(15)
    assert answers.missing == IMAGES - 30  # one stretch for each of the two
    pool.classify(15)
    assert answers.missing == 0
    expected = tiny_models.probabilities(shipped.test_set().images(np.array(task.images)))
    np.testing.assert_allclose(answers.probabilities, expected, atol=1e-4)


def test_a_helper_that_fails_leaves_and_the_own_worker_goes_on(workers):
    _, start, load = workers
    own = start()
    load(own)
    helpers = []

    def load_and_die(worker: WorkerProcess) -> None:
        helpers.append(worker.pid)
        os.kill(worker.pid, signal.SIGKILL)
        load(worker)

    answers = Answers(IMAGES, 10)
    pool = Pool(own, answers, LONG_S)
    pool.add_helpers(1, start, load_and_die)
    pool.classify(15)
    assert answers.missing == IMAGES - 15
    assert not psutil.pid_exists(helpers[0])


def test_without_the_own_worker_all_are_stopped(workers):
    _, start, load = workers
    own = start()
    load(own)
    pool = Pool(own, Answers(IMAGES, 10), LONG_S)
    helpers = []
    pool.add_helpers(1, lambda: helpers.append(start()) or helpers[-1], load)
    os.kill(own.pid, signal.SIGKILL)
    with pytest.raises(WorkerFailed, match=r"SIGKILL.*in `classify`"):
        pool.classify(15)
    assert not psutil.pid_exists(helpers[0].pid)
