"""Generated names: valid, short enough, and never the same for two things of one kind."""

import re

from hypothesis import given
from hypothesis import strategies as st

from xdit_api.crd import NAME_LIMIT
from xdit_operator import names

RESOURCE = st.from_regex(r"[a-z]([-a-z0-9]*[a-z0-9])?", fullmatch=True).filter(lambda n: len(n) <= NAME_LIMIT)
REPLICA = st.integers(0, 63)
LABEL = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")


@given(name=RESOURCE, replica=REPLICA, ordinal=st.integers(0, 255))
def test_names_fit_kubernetes(name: str, replica: int, ordinal: int) -> None:
    group = names.statefulset(name, replica)
    # controller-revision-hash is the StatefulSet's name, a dash and up to ten characters, in 63
    assert len(group) <= 52
    assert LABEL.fullmatch(group)
    assert len(f"{group}-{ordinal}") <= 63
    assert len(names.service(name)) <= 63
    assert LABEL.fullmatch(names.service(name))
    assert all(len(value) <= 63 for value in names.labels(name).values())


@given(one=st.tuples(RESOURCE, REPLICA), other=st.tuples(RESOURCE, REPLICA))
def test_two_groups_never_share_a_name(one: tuple[str, int], other: tuple[str, int]) -> None:
    assert (names.statefulset(*one) == names.statefulset(*other)) == (one == other)


@given(name=RESOURCE, replica=REPLICA)
def test_leader_is_pod_zero_behind_the_service(name: str, replica: int) -> None:
    assert names.leader_host(name, replica) == f"{name}-{replica}-0.{name}"


def test_numbers_in_labels() -> None:
    assert names.number({names.LABEL_REPLICA: "12"}, names.LABEL_REPLICA) == 12
    for other in (
        {},
        {names.LABEL_REPLICA: ""},
        {names.LABEL_REPLICA: "-1"},
        {names.LABEL_REPLICA: "x"},
        {names.LABEL_REPLICA: "٣"},
    ):
        assert names.number(other, names.LABEL_REPLICA) is None
