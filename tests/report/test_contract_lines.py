"""What stands under a bench's table of how its files were read."""

from edgecifar.bench.results.result import Row, result
from edgecifar.report.bench_table import markdown
from edgecifar.report.contract_lines import contract_lines


def lines_of(**fields) -> list[str]:
    row = {"model": "net.onnx", "runtime": "onnxruntime", "threads": 1, **fields}
    return contract_lines(result({}, [Row(**row)])["rows"])


def test_a_file_that_says_itself_how_it_is_read_needs_no_line():
    assert lines_of(normalization="raw", output="probabilities") == []
    assert lines_of(error="is damaged") == []


def test_the_normalization_that_was_found_out_is_named():
    tried = [
        {"normalization": "raw", "top1": 0.1, "images": 100},
        {"normalization": "unit", "top1": 0.7133, "images": 300},
    ]
    (line,) = lines_of(normalization="unit", normalization_tried=tried, output="logits")
    assert line == (
        "net.onnx: normalization unit, which is right on 71.3 % of 300 training images, the most "
        "of all tried"
    )
    older = [{"normalization": "unit", "top1": 0.5}]
    (line,) = lines_of(normalization="unit", normalization_tried=older)
    assert "right on 50.0 % of training images" in line


def test_outputs_and_frames_that_may_surprise_are_named():
    (line,) = lines_of(
        normalization="unit",
        output="sigmoids",
        output_name="scores",
        resize="crop",
        input={"dtype": "float32", "shape": [None, 3, 24, 24], "layout": "NCHW"},
    )
    assert line == (
        "net.onnx: its output 'scores' is read; it ends in sigmoids, whose values are taken as "
        "they are; images are cropped from 32 to 24 pixels"
    )
    row = Row(model="net.onnx", runtime="litert", threads=1, output="sigmoids")
    assert "it ends in sigmoids" in markdown(result({"cores": 2}, [row]))
