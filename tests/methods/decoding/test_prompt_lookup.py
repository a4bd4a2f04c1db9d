import torch

from methods.decoding.prompt_lookup import PromptLookup


def draft(text, **hyperparameters):
    return PromptLookup(**hyperparameters).draft(torch.tensor(text)).tolist()


def test_what_followed_the_longest_ngram_is_drafted():
    assert draft([1, 2, 3, 9, 9, 2, 3, 7, 1, 2, 3], num_draft=3) == [9, 9, 2]


def test_the_first_occurrence_counts():
    assert draft([5, 1, 5, 2, 5], num_draft=2) == [1, 5]


def test_shorter_ngrams_are_tried_when_longer_ones_are_new():
    assert draft([4, 8, 6, 5, 8], max_ngram=3, num_draft=1) == [6]


def test_nothing_is_drafted_for_words_never_seen():
    assert draft([1, 2, 3, 4]) == []
    assert draft([1]) == []
