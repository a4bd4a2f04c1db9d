import subprocess
import sys

import numpy as np
import pytest

from sweeps.data import contexts, threads


def follow(context, key, hops):
    """The chain that begins with a key, read off the context as a person would."""
    chain = [key]
    for _ in range(hops):
        places = [p for p in np.flatnonzero(context == chain[-1]) if context[p + 1] != 3]
        assert len(places) == 1
        chain.append(int(context[places[0] + 1]))
        assert context[places[0] + 2] == contexts.DELIMITER
    return chain


@pytest.mark.parametrize(("hops", "needles"), [(1, 1), (3, 1), (2, 3)])
def test_the_answer_spells_the_threads_that_the_question_names(hops, needles):
    drawn = threads.stream("test", 40, 128, num_threads=6, hops=hops, needles=needles)
    for context, question, answer in zip(drawn.context, drawn.question, drawn.answer, strict=True):
        expected = []
        for number, key in enumerate(question[1:-2:3]):
            ordinal = threads.FIRST_ORDINAL + number
            assert question[3 * number] == ordinal
            expected += [ordinal, *follow(context, int(key), hops), contexts.DELIMITER]
        assert answer.tolist() == expected[1:-1]
        assert len(question) == threads.question_length(needles)
        assert len(answer) == threads.answer_length(needles, hops)
        assert threads.is_question(question.tolist())


def test_the_links_asked_for_are_where_it_says():
    drawn = threads.stream("test", 40, 128, num_threads=6, hops=2, needles=2)
    rows = np.arange(40)
    for needle in range(2):
        first, second = drawn.starts[:, needle].T
        assert (drawn.context[rows, first] == drawn.question[:, 1 + 3 * needle]).all()
        assert (drawn.context[rows, first + 1] == drawn.context[rows, second]).all()


def test_links_of_a_thread_stand_in_any_order():
    starts = threads.stream("test", 200, 128, num_threads=4, hops=2).starts[:, 0]
    assert 0.3 < (starts[:, 0] < starts[:, 1]).mean() < 0.7


def test_a_short_stream_is_the_front_of_a_long_one_and_splits_differ():
    long = threads.stream("test", 100)
    np.testing.assert_array_equal(threads.stream("test", 10).context, long.context[:10])
    assert (threads.stream("validation", 10).context != long.context[:10]).any()


def test_the_stream_is_the_same_bits_in_another_process():
    code = "from sweeps.data import threads; print(threads.stream('test', 70).answer.tolist())"
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout
    assert out.decode().strip() == str(threads.stream("test", 70).answer.tolist())


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ((48, 8, 2, 1), "8 threads of 2 hops need 49 tokens; context_length is 48"),
        ((1000, 41, 2, 1), "need 123 different keys; there are 120"),
        ((128, 4, 2, 5), "needles 5 is more than the 4 threads"),
        ((256, 20, 1, 9), "needles 9 is more than the 8 threads"),
    ],
)
def test_settings_without_examples_are_refused(knobs, message):
    with pytest.raises(ValueError, match=message):
        threads.stream("test", 2, *knobs)


@pytest.mark.parametrize(
    "tokens",
    [
        [124, 5, 3, 2, 125],  # asks for another needle than the first
        [124, 5, 3, 3, 124],  # no question mark
        [125, 5, 3, 2, 124],  # counts from the second
        [124, 124, 3, 2, 124],  # no key
        [124, 5, 4, 2, 124],  # no delimiter
        [124, 5, 3, 124, 6, 3, 2, 124],  # counts wrongly
    ],
)
def test_what_is_no_question_is_not_taken_for_one(tokens):
    assert threads.is_question([124, 5, 3, 2, 124])
    assert not threads.is_question(tokens)
