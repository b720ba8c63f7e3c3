"""What held-out answers say, however many members judge them."""

from __future__ import annotations

import pytest
import torch

from prefrl.reward.calibration import HeldOut, judge


@pytest.mark.parametrize(
    ("n", "right", "informed", "guessing"),
    [(20, 15, False, False), (120, 66, False, True), (200, 150, True, False)],
)
def test_an_answer_that_many_members_judge_is_one_answer(
    n: int, right: int, informed: bool, guessing: bool
) -> None:
    """Sixteen times the evidence would make noise beat chance, and close the gate."""
    answers = HeldOut(
        differences=torch.tensor([1.0] * right + [-1.0] * (n - right)).expand(16, n),
        p_left=torch.ones(n),
        mask=torch.ones(16, n, dtype=torch.bool),
        where=torch.arange(n).expand(16, n),
    )
    verdict = judge(answers, temperature=1.0)
    assert verdict.accuracy == pytest.approx(right / n)
    assert (verdict.informed, verdict.guessing) == (informed, guessing)


@pytest.mark.parametrize(("decided", "guessing"), [(0, True), (1, False)])
def test_ties_alone_are_no_reward_to_follow(decided: int, guessing: bool) -> None:
    """However few: what it predicts is what its weights began with."""
    answers = HeldOut(
        differences=torch.ones(3, 10),
        p_left=torch.tensor([1.0] * decided + [0.5] * (10 - decided)),
        mask=torch.ones(3, 10, dtype=torch.bool),
        where=torch.arange(10).expand(3, 10),
    )
    verdict = judge(answers, temperature=1.0)
    assert verdict.guessing == guessing and not verdict.informed
