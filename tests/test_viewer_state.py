"""The viewer's state machine: every action in every state, and whole sittings at random."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefrl.types import Preference
from viewer.state import (
    AWAY,
    BREAK,
    CHOICES,
    DEBOUNCE,
    GLOW,
    HOLD,
    NOTE,
    SPEEDS,
    UNDOABLE,
    Action,
    Answer,
    Page,
    Pair,
    PutBack,
    Release,
    Skip,
    State,
    Undo,
    begin,
    forgotten,
    next_change,
    noted,
    present,
    press,
    tick,
    view,
)

PAIR = Pair(7, (20, 10), 10.0)  # two seconds, and one
ACTIONS = list(Action)


def shown(pair: Pair = PAIR, now: float = 100.0, review: bool = False) -> State:
    """A pair that has been on the screen for half a second."""
    state, effects = tick(present(begin(now - 0.5, review), pair, now - 0.5), now)
    assert not effects
    return state


def test_clips_play_in_step_and_the_shorter_one_holds_its_last_picture() -> None:
    state = present(begin(0.0), PAIR, 0.0)
    seen = [view(tick(state, t)[0]).pictures for t in (0.0, 0.05, 0.15, 0.95, 1.05, 1.95)]
    assert seen == [(0, 0), (0, 0), (1, 1), (9, 9), (10, 9), (19, 9)]


def test_they_hold_flash_and_begin_again() -> None:
    state = present(begin(0.0), PAIR, 0.0)
    end, hold, again = (view(tick(state, t)[0]) for t in (1.99, 2.01 + HOLD / 2, 2.01 + HOLD))
    assert (end.pictures, end.flash, end.played) == ((19, 9), False, 1.0)
    assert (hold.pictures, hold.flash) == ((19, 9), True)
    assert (again.pictures, again.flash) == ((0, 0), False)


@pytest.mark.parametrize(("action", "preference"), CHOICES.items())
def test_an_answer_says_how_the_pair_was_looked_at(action: Action, preference: Preference) -> None:
    state, (answer,) = press(shown(), action, 100.5)
    assert isinstance(answer, Answer)
    assert (answer.key, answer.preference) == (7, preference)
    assert answer.viewing.seconds == pytest.approx(1.0)
    assert answer.viewing.watched == pytest.approx(0.5)
    assert state.pair is None and state.answered == (7,)


def test_nothing_is_answered_right_after_it_is_shown() -> None:
    state = present(begin(0.0), PAIR, 0.0)
    same, effects = press(state, Action.LEFT, DEBOUNCE - 0.01)
    assert not effects and same.pair is PAIR
    _, effects = press(same, Action.LEFT, DEBOUNCE + 0.01)
    assert len(effects) == 1


def test_a_pause_stops_the_clips_and_an_answer_is_still_taken() -> None:
    paused, _ = press(shown(), Action.PAUSE, 100.0)
    later, _ = tick(paused, 105.0)
    assert view(later).pictures == view(paused).pictures and view(later).paused
    _, (answer,) = press(later, Action.TIE, 105.0)
    assert isinstance(answer, Answer)
    assert answer.viewing.seconds == pytest.approx(5.5)
    assert answer.viewing.watched == pytest.approx(0.25)


def test_under_the_legend_no_time_passes_and_nothing_is_answered() -> None:
    state, _ = press(shown(), Action.LEGEND, 100.0)
    for action in ACTIONS:
        closed, effects = press(state, action, 110.0)
        assert not effects and not closed.legend and closed.pair is PAIR and not closed.leaving
        assert closed.looked == pytest.approx(0.5) and closed.position == pytest.approx(0.5)


def test_replay_starts_over_and_goes_on() -> None:
    paused, _ = press(shown(), Action.PAUSE, 100.0)
    again, _ = press(paused, Action.REPLAY, 100.0)
    assert view(again).pictures == (0, 0) and not view(again).paused
    assert view(tick(again, 100.25)[0]).pictures == (2, 2)


def test_speeds_have_a_slowest_and_a_fastest() -> None:
    slow = fast = shown()
    for _ in range(2 * len(SPEEDS)):
        slow, _ = press(slow, Action.SLOWER, 100.0)
        fast, _ = press(fast, Action.FASTER, 100.0)
    assert (slow.speed, fast.speed) == (0.25, 4.0)
    assert tick(slow, 100.4)[0].position == pytest.approx(0.6)
    assert tick(fast, 100.1)[0].position == pytest.approx(0.9)
    assert present(fast, PAIR, 101.0).speed == 4.0  # the next pair has it too


def test_frame_by_frame_goes_round() -> None:
    state, _ = press(shown(), Action.FRAME_ON, 100.0)
    assert view(state).pictures == (6, 6) and state.paused
    for picture in (5, 4, 3, 2, 1, 0, 19, 18):
        state, _ = press(state, Action.FRAME_BACK, 100.0)
        assert view(state).pictures == (picture, min(picture, 9))
    state, _ = press(state, Action.FRAME_ON, 100.0)
    state, _ = press(state, Action.FRAME_ON, 100.0)
    assert view(state).pictures == (0, 0)


def test_tab_goes_through_the_answers_and_return_gives_one() -> None:
    state = shown()
    assert press(state, Action.CONFIRM, 100.0)[1] == ()
    for action in (*CHOICES, None, Action.LEFT, Action.TIE):
        state, _ = press(state, Action.FOCUS, 100.0)
        assert view(state).focus is action
    _, (answer,) = press(state, Action.CONFIRM, 100.0)
    assert isinstance(answer, Answer) and answer.preference is Preference.TIE
    assert present(state, PAIR, 100.0).focus is None


def test_undo_goes_back_pair_by_pair() -> None:
    state = begin(0.0)
    for key in range(30):
        state = present(state, Pair(key, (10, 10), 10.0), float(key))
        state, _ = press(state, Action.LEFT, key + 0.5)
    undone = []
    while True:
        state, effects = press(state, Action.UNDO, 31.0)
        if not effects:
            break
        (effect,) = effects
        assert isinstance(effect, Undo)
        undone.append(effect.key)
    assert undone == list(range(29, 29 - UNDOABLE, -1)) and UNDOABLE >= 10
    assert view(state).note and not view(tick(state, 31.1 + NOTE)[0]).note


def test_an_undo_puts_the_pair_on_the_screen_back() -> None:
    state = replace(shown(), answered=(3,))
    after, effects = press(state, Action.UNDO, 100.0)
    assert list(effects) == [PutBack(7), Undo(3)] and after.pair is None


def test_a_skipped_pair_is_not_answered() -> None:
    state, effects = press(shown(), Action.SKIP, 100.0)
    assert list(effects) == [Skip(7)] and state.pair is None and state.answered == ()


def test_an_answer_that_could_not_be_stored_cannot_be_undone() -> None:
    state, _ = press(shown(), Action.LEFT, 100.0)
    told = noted(forgotten(state, 7), "the disk is full", 100.0)
    assert told.answered == () and view(told).note == "the disk is full"


def test_an_answer_is_marked_while_the_next_pair_begins() -> None:
    for action, preference in CHOICES.items():
        state, _ = press(shown(), action, 100.0)
        state = present(state, replace(PAIR, key=8), 100.1)
        assert view(state).given is preference and view(state).standing is None
        assert view(tick(state, 99.9 + GLOW)[0]).given is preference
        assert view(tick(state, 100.1 + GLOW)[0]).given is None
        assert view(press(state, Action.UNDO, 100.2)[0]).given is None
        assert view(forgotten(state, 7)).given is None


def test_whoever_is_away_gives_the_pair_back() -> None:
    state, effects = tick(shown(), 100.0 + AWAY - 0.6)
    assert not effects
    state, effects = tick(state, 99.5 + AWAY)
    assert list(effects) == [Release()] and state.pair is None and view(state).away
    assert tick(state, 9999.0) == (replace(state, clock=9999.0), ())
    for action in ACTIONS:
        back, effects = press(state, action, 9999.0)
        assert not back.away and not effects and back.leaving == (action is Action.LEAVE)


def test_the_key_that_ends_an_absence_answers_nothing() -> None:
    """The press that finds the person away gives the pair back; it was shown too long ago."""
    back, effects = press(shown(), Action.LEFT, 100.0 + 2 * AWAY)
    assert list(effects) == [Release()] and back.pair is None and not back.away


def test_half_an_hour_of_work_asks_for_a_break() -> None:
    state, now = begin(0.0), 0.0
    while now < BREAK - 60:
        now += 60
        state, _ = press(state, Action.PAUSE, now)
        assert not view(state).break_due
    state, _ = press(state, Action.PAUSE, now + 60)
    assert view(state).break_due
    state, _ = tick(state, now + 60 + AWAY)
    state, _ = press(state, Action.PAUSE, now + 60 + 2 * AWAY)
    assert not view(state).break_due


def test_escape_leaves() -> None:
    assert press(shown(), Action.LEAVE, 100.0)[0].leaving
    assert press(begin(0.0), Action.LEAVE, 1.0)[0].leaving


@pytest.mark.parametrize("action", ACTIONS)
def test_without_a_pair_nothing_is_stored(action: Action) -> None:
    state, effects = press(begin(0.0), action, 1.0)
    assert not effects and state.pair is None


REVIEWED = replace(PAIR, standing=Preference.LEFT)


def test_a_review_corrects_an_answer_and_stays() -> None:
    state = shown(REVIEWED, review=True)
    same, effects = press(state, Action.LEFT, 100.0)
    assert not effects and same.pair is REVIEWED and view(same) == view(state)
    corrected, (answer,) = press(state, Action.RIGHT, 100.0)
    assert isinstance(answer, Answer) and answer.preference is Preference.RIGHT
    assert view(corrected).standing is Preference.RIGHT and view(corrected).key == 7


@pytest.mark.parametrize(
    ("action", "by"),
    [(Action.NEXT, 1), (Action.SKIP, 1), (Action.PREVIOUS, -1), (Action.UNDO, -1)],
)
def test_a_review_is_paged_through(action: Action, by: int) -> None:
    state, effects = press(shown(REVIEWED, review=True), action, 100.0)
    assert list(effects) == [Page(by)] and state.pair is None


def test_a_review_waits_for_ever() -> None:
    state, effects = tick(shown(REVIEWED, review=True), 1e6)
    assert not effects and state.pair is REVIEWED


def test_the_next_change_is_when_the_next_picture_is_due() -> None:
    state = present(begin(0.0), PAIR, 0.0)
    assert next_change(state) == pytest.approx(0.1)
    assert next_change(replace(state, speed=4.0)) == pytest.approx(0.025)
    assert next_change(replace(state, paused=True)) == 1.0
    now = 0.0
    for _ in range(200):
        due = next_change(state)
        before, state = view(state), tick(state, now := now + due + 1e-4)[0]
        assert view(state) != before or view(state).flash


@given(
    st.lists(
        st.tuples(st.sampled_from([*ACTIONS, None]), st.floats(0, 40)), min_size=1, max_size=60
    ),
    st.lists(st.tuples(st.integers(1, 60), st.integers(1, 60)), min_size=60, max_size=60),
    st.booleans(),
)
def test_a_sitting(
    script: list[tuple[Action | None, float]], sizes: list[tuple[int, int]], review: bool
) -> None:
    """Whatever is pressed: one answer for a pair, given while it could be seen, or an undo."""
    state, now = begin(0.0, review), 0.0
    ready, standing, lent = 0, set[int | str](), dict[int | str, Pair]()
    for action, pause in script:
        if state.pair is None and not state.away and ready < len(sizes):
            pair = Pair(ready, sizes[ready], 20.0, Preference.LEFT if review else None)
            state, lent[ready], ready = present(state, pair, now), pair, ready + 1
        before, now = state, now + pause
        state, effects = tick(state, now) if action is None else press(state, action, now)
        for effect in effects:
            match effect:
                case Answer(key, _, viewing):
                    assert before.pair is not None and before.pair.key == key
                    assert not before.legend and (review or key not in standing)
                    assert viewing.seconds >= DEBOUNCE and 0 <= viewing.watched <= 1
                    standing.add(key)
                case Undo(key):
                    assert not review and key in standing
                    standing.remove(key)
                    state = present(state, lent[key], now)
                case PutBack(key) | Skip(key):
                    assert before.pair is not None and before.pair.key == key
                case Release():
                    assert not review and state.pair is None and now - before.acted_at >= AWAY
                case Page():
                    assert review
        drawn = view(state)
        assert all(
            0 <= at < n
            for at, n in zip(
                drawn.pictures, (1, 1) if state.pair is None else state.pair.pictures, strict=True
            )
        )
        assert 0 <= drawn.played <= 1 and 0 < next_change(state) <= 1
        assert set(state.answered) <= standing and len(state.answered) <= UNDOABLE
        assert not state.leaving or action is Action.LEAVE
        if state.leaving:
            return


def test_the_next_pair_is_looked_at_anew() -> None:
    """It plays, and what was watched of the one before is not of this one."""
    pair = Pair(7, (20, 10), 10.0)
    state = present(begin(0.0), pair, 0.0)
    state, _ = press(state, Action.PAUSE, 1.9)
    state, _ = press(state, Action.TIE, 2.0)
    state = present(state, replace(pair, key=8), 2.0)
    _, (answer,) = press(state, Action.LEFT, 2.5)
    assert isinstance(answer, Answer)
    assert answer.viewing.watched == pytest.approx(0.25)
    assert answer.viewing.seconds == pytest.approx(0.5)
