"""The progress callback."""

from edgecifar.progress import as_whole_of


def test_a_job_can_be_shown_as_the_whole_of_another():
    seen = []

    def update(done, total=None, label=None):
        seen.append((done, total, label))

    with as_whole_of(update, 100)("bench", 1.0) as inner:
        inner(0.25, label="loading")
        inner(1.0)
    assert seen == [(25, None, "loading"), (100, None, None)]
