"""What the checks of a corpus find."""


def only_problem(report):
    (problem,) = report.problems
    assert "\n" not in problem
    return problem
