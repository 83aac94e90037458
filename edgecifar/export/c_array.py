"""A TFLite file as C source, for TensorFlow Lite Micro, which reads no files."""

import re

from edgecifar.errors import UserError
from edgecifar.graphs import facts

BYTES_A_LINE = 16
HEX = tuple(f"0x{byte:02x}" for byte in range(256))


def c_source(file: bytes, name: str) -> tuple[str, str]:
    """Write a TFLite file as an array, as `xxd -i` does, with what a program must know of it.

    Both texts are valid C11 and C++11. The array is aligned to 16 bytes, as the schema wants the
    constants in it to be, and constant, so that it stays in flash.

    Args:
        file: its bytes.
        name: of the array, and of the two texts: NAME.cc or NAME.c, and NAME.h.

    Returns:
        The source and the header.

    Raises:
        UserError: the name cannot be one in C.
    """
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise UserError(f"{name!r} cannot name an array in C: use letters, digits and _")
    about = _about(facts.of_tflite(file))
    rows = (file[i : i + BYTES_A_LINE] for i in range(0, len(file), BYTES_A_LINE))
    values = "".join(f"    {', '.join(map(HEX.__getitem__, row))},\n" for row in rows)
    source = (
        f'{about}\n#include "{name}.h"\n\n'
        "#ifndef __cplusplus\n#include <stdalign.h>\n#endif\n\n"
        f"alignas(16) const unsigned char {name}[] = {{\n{values}}};\n"
        f"const unsigned int {name}_len = {len(file)};\n"
    )
    guard = f"EDGECIFAR_{name.upper()}_H_"
    header = (
        f"{about}\n#ifndef {guard}\n#define {guard}\n\n"
        '#ifdef __cplusplus\nextern "C" {\n#endif\n\n'
        f"extern const unsigned char {name}[];\nextern const unsigned int {name}_len;\n\n"
        f"#ifdef __cplusplus\n}}\n#endif\n\n#endif  // {guard}\n"
    )
    return source, header


def _about(known: facts.Facts) -> str:
    """A comment: the contract, and the operators that a resolver has to be given."""
    lines = [
        f"A TFLite file of {known.size_bytes:,} bytes, {known.precision}: "
        f"{known.parameters:,} parameters.",
        *(f"Input: {_port(port)}." for port in known.inputs),
        *(f"Output: {_port(port)}." for port in known.outputs),
        "Operators:",
        *(f"  {operator}" for operator in sorted(known.operators)),
    ]
    return "".join(f"// {_one_line(line)}\n" for line in lines)


def _port(port: facts.Port) -> str:
    text = f"{port.name}, {port.dtype} {port.shape_text}"
    if port.scale is None:
        return text
    return f"{text}, real value = {port.scale!r} * (integer - {port.zero_point})"


def _one_line(text: str) -> str:
    """A name in a file may end in a backslash, which would continue the comment."""
    return "".join(c if c.isprintable() and c != "\\" else "?" for c in text)
