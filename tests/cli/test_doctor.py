"""`edgecifar doctor`."""

import json

from edgecifar import __version__, doctor


def test_doctor_prints_facts_and_what_is_missing(edgecifar, tmp_path, monkeypatch):
    monkeypatch.setenv("EDGECIFAR_CACHE", str(tmp_path))
    code, out, err = edgecifar("doctor")
    assert (code, err) == (0, "")
    assert out.startswith(f"edgecifar  {__version__}, Python 3.")
    assert f"6 missing, in {tmp_path}" in out
    assert "edgecifar data download" in out


def test_doctor_with_nothing_missing_says_so(edgecifar, monkeypatch):
    found = doctor.diagnose() | {"advice": []}
    monkeypatch.setattr(doctor, "diagnose", lambda: found)
    assert edgecifar("doctor")[1].endswith("\nnothing is missing\n")


def test_complete_images_need_no_advice(edgecifar, official):
    out = edgecifar("doctor")[1]
    assert f"6 present, in {official}" in out
    assert "edgecifar data download" not in out


def test_doctor_as_json_is_the_diagnosis(edgecifar, tmp_path, monkeypatch):
    monkeypatch.setenv("EDGECIFAR_CACHE", str(tmp_path))
    code, out, _ = edgecifar("doctor", "--json")
    assert code == 0
    assert json.loads(out)["images"]["files"] == {"missing": 6}


def test_the_facts_fit_a_narrow_terminal(screen):
    code, lines = screen(60, "doctor", EDGECIFAR_CACHE="/nowhere")
    assert code == 0
    assert max(map(len, lines)) <= 60
