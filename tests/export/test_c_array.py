import re
import shutil
import subprocess

import pytest
import tiny_graphs

from edgecifar.errors import UserError
from edgecifar.export.c_array import c_source

COMPILERS = {"c++": ["-std=c++11", "-x", "c++"], "cc": ["-std=c11", "-x", "c"]}
PROGRAM = """
#include <stdio.h>
#include "g_model.h"
int main(void) {
  if ((unsigned long long)g_model % 16 != 0) return 3;
  return fwrite(g_model, 1, g_model_len, stdout) == g_model_len ? 0 : 4;
}
"""


@pytest.fixture(scope="module")
def file() -> bytes:
    return tiny_graphs.tflite("int8")


def test_the_array_holds_the_bytes_and_their_number(file):
    source, header = c_source(file, "g_model")
    assert "alignas(16) const unsigned char g_model[] = {" in source
    assert bytes(int(value, 16) for value in re.findall(r"0x([0-9a-f]{2}),", source)) == file
    assert f"const unsigned int g_model_len = {len(file)};" in source
    assert '#include "g_model.h"' in source
    assert header.count("EDGECIFAR_G_MODEL_H_") == 3
    assert max(map(len, source.splitlines())) <= 100


def test_a_comment_says_what_a_program_must_know(file):
    for text in c_source(file, "g_model"):
        comment = [line for line in text.splitlines() if line.startswith("//")]
        assert f"// A TFLite file of {len(file):,} bytes, int8: 314 parameters." in comment
        assert (
            "// Input: image, uint8 (1, 32, 32, 3), "
            "real value = 0.007843137718737125 * (integer - 127)."
        ) in comment
        assert "//   FULLY_CONNECTED" in comment
    assert "// Input: image, uint8 (1, 32, 32, 3)." in c_source(tiny_graphs.tflite(), "m")[0]


@pytest.mark.parametrize("compiler", COMPILERS)
def test_a_compiler_gives_the_bytes_back(file, tmp_path, compiler):
    if not shutil.which(compiler):
        pytest.skip(f"there is no {compiler}")
    source, header = c_source(file, "g_model")
    for name, text in {"g_model.cc": source, "g_model.h": header, "main.cc": PROGRAM}.items():
        (tmp_path / name).write_text(text)
    command = [compiler, "-Wall", "-Wextra", "-Werror", *COMPILERS[compiler]]
    subprocess.run([*command, "main.cc", "g_model.cc", "-o", "run"], cwd=tmp_path, check=True)
    done = subprocess.run([tmp_path / "run"], capture_output=True)
    assert (done.returncode, done.stdout) == (0, file)


def test_a_name_in_a_file_cannot_leave_its_comment():
    from edgecifar.graphs.tflite import Graph

    graph = Graph(tiny_graphs.tflite())
    graph.inputs[0].raw.name = "image\n#error \\"
    source, _ = c_source(graph.to_bytes(), "g_model")
    assert "// Input: image?#error ?, uint8 (1, 32, 32, 3)." in source


@pytest.mark.parametrize("name", ["", "2fast", "g-model", "g model", "g_modèle"])
def test_a_name_that_c_does_not_take_is_refused(file, name):
    with pytest.raises(UserError, match="cannot name an array in C"):
        c_source(file, name)
