"""The transition table of an HTTP/1.1 connection."""

from __future__ import annotations

from gateway.core.http1 import state


def test_every_state_leads_to_the_end() -> None:
    for start in range(len(state.NAMES)):
        reached = {start}
        while True:
            further = {new for old in reached for new in range(len(state.NAMES)) if state.allowed(old, new)}
            if further <= reached:
                break
            reached |= further
        assert reached & {state.CLOSED, state.SWITCHED}


def test_nothing_is_served_after_lingering_began() -> None:
    assert [new for new in range(len(state.NAMES)) if state.allowed(state.LINGER, new)] == [state.CLOSED]
    assert not any(state.allowed(state.CLOSED, new) for new in range(len(state.NAMES)))


def test_the_drawing_shows_the_states() -> None:
    assert all(name in (state.__doc__ or "") for name in state.NAMES)
