"""Other harnesses around the same interpreter, each as a process that measures when it is told to.

`python benchmarks/other_harnesses.py LoadGen|BenchmarkLitertModel` reads commands and writes
replies as `edgecifar.bench.worker` does; see there. Needs mlcommons-loadgen.
"""

import argparse
import contextlib
import json
import math
import sys
import tempfile
from pathlib import Path
from time import perf_counter_ns

import numpy as np

from edgecifar.bench.worker import commands as worker
from edgecifar.data.cifar10 import RECORD_BYTES, pixels_of

# LoadGen estimates no 90th percentile from fewer, and calls the test invalid.
MIN_QUERIES = 64


class LoadGen:
    """MLPerf Inference's LoadGen, single stream, over a Python SUT that is no more than it must be.

    The time that it tells is from issuing a query to `QuerySamplesComplete`: uint8 pixels in, as
    the file takes them, to float32 probabilities out.
    """

    def load(self, model: str, records: str, images: list[int], threads: int) -> dict:
        """Open the file, and make the SUT and the library of samples.

        Args:
            model: path of a TFLite file with uint8 in and out.
            records: path of a CIFAR-10 record file.
            images: the numbers of those of it that are the samples, all in memory.
            threads: of the interpreter.
        """
        import mlperf_loadgen
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(model_path=model, num_threads=threads)
        interpreter.allocate_tensors()
        (taken,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()
        scale, zero_point = given["quantization"]
        input_index, output_index, scale = taken["index"], given["index"], np.float32(scale)
        chosen = np.fromfile(records, np.uint8).reshape(-1, RECORD_BYTES)[images]
        samples = np.ascontiguousarray(pixels_of(chosen))[:, None]

        def infer(index: int) -> np.ndarray:
            interpreter.set_tensor(input_index, samples[index])
            interpreter.invoke()
            return (interpreter.get_tensor(output_index).astype(np.float32) - zero_point) * scale

        # One buffer for all responses: asking numpy for an address takes a microsecond.
        answer = infer(0)
        address, size = answer.ctypes.data, answer.nbytes
        complete, response = (
            mlperf_loadgen.QuerySamplesComplete,
            mlperf_loadgen.QuerySampleResponse,
        )

        def issue(query: list) -> None:
            answer[:] = infer(query[0].index)
            complete([response(query[0].id, address, size)])

        def wake(_: list[int]) -> None:
            until = perf_counter_ns() + worker.WAKE_S * 1e9
            while perf_counter_ns() < until:
                infer(0)

        self._infer, self._count = infer, len(samples)
        self._library = mlperf_loadgen
        self._sut = mlperf_loadgen.ConstructSUT(issue, lambda: None)
        self._samples = mlperf_loadgen.ConstructQSL(
            len(samples), len(samples), wake, lambda _: None
        )
        return {}

    def classes(self) -> dict:
        """The class of each image."""
        found = [self._infer(index).argmax() for index in range(self._count)]
        return {"classes": np.array(found).tolist()}

    def measure(self, limit_s: float) -> dict:
        """One performance test of that length.

        Returns:
            `p50_ns`, `p90_ns` and `count`, of its queries.
        """
        library = self._library
        settings = library.TestSettings()
        settings.scenario = library.TestScenario.SingleStream
        settings.mode = library.TestMode.PerformanceOnly
        settings.min_query_count = MIN_QUERIES
        settings.min_duration_ms = math.ceil(1000 * limit_s)
        settings.single_stream_expected_latency_ns = 10_000  # it prepares enough queries for that
        with tempfile.TemporaryDirectory() as folder:
            log = library.LogSettings()
            log.enable_trace = False
            log.log_output.outdir = folder
            log.log_output.copy_summary_to_stdout = False
            library.StartTestWithLogSettings(self._sut, self._samples, settings, log, "")
            lines = (Path(folder) / "mlperf_log_detail.txt").read_text().splitlines()
        entries = [json.loads(line[line.index("{") :]) for line in lines]
        said = {entry["key"]: entry["value"] for entry in entries}
        if said["result_validity"] != "VALID" or said["num_errors"]:
            raise RuntimeError(f"LoadGen found its test {said['result_validity']}")
        return {
            "p50_ns": said["result_50.00_percentile_latency_ns"],
            "p90_ns": said["result_90.00_percentile_latency_ns"],
            "count": said["result_query_count"],
        }


class BenchmarkLitertModel:
    """`ai_edge_litert.tools.benchmark_litert_model`: invocations alone, of one random input.

    It runs LiteRT's CompiledModel, where edgecifar and the SUT above have its Interpreter.
    """

    def load(self, model: str, threads: int) -> dict:
        """Import it.

        Args:
            model: path of a TFLite file.
            threads: of the model.
        """
        from ai_edge_litert.tools import benchmark_litert_model

        # It rounds to 10 us, which is 3 % of a fast model.
        benchmark_litert_model.round = lambda value, digits: value
        self._tool = benchmark_litert_model
        self._command = ["", f"--model={model}", f"--num_threads={threads}"]
        self._ms = 1.0
        return {}

    def measure(self, limit_s: float) -> dict:
        """One run of the tool, for about that long; it opens the file anew.

        Returns:
            `p50_ns` and `count`, of its invocations.
        """
        runs = math.ceil(1000 * limit_s / self._ms)
        woken = math.ceil(1000 * worker.WAKE_S / self._ms)
        sys.argv = [*self._command, f"--num_runs={runs}", f"--warmup_runs={woken}"]
        with contextlib.redirect_stdout(None):
            said = self._tool.run_benchmark(self._tool.parse_args())["latency"]
        self._ms = said["median_ms"]
        return {"p50_ns": 1e6 * said["median_ms"], "count": said["num_runs"]}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("harness", choices=["LoadGen", "BenchmarkLitertModel"])
    harness = globals()[parser.parse_args().harness]()
    worker.end_with_parent()
    replies = worker.take_stdout()
    for line in sys.stdin:
        replies.write(json.dumps(worker.obey(harness, json.loads(line))) + "\n")
        replies.flush()


if __name__ == "__main__":
    main()
